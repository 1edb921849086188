"""The lesion table against the library's own measures, and what sets it off."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import ct_scenes as toys
import numpy as np
import pytest
import slicer
from LiverTumorSegLib.result.lesions import LESION_COLUMNS, LiverMeasures, lesion_rows, measure
from LiverTumorSegSlicer.panel.lesion_table import LesionTable, headers
from LiverTumorSegSlicer.scene import geometry
from LiverTumorSegSlicer.scene.nodes import readVolume, writeSegmentation
from looped import looped

POINTS = ("centroid_ras_mm", "diameter_lines_ras_mm")


class HandDelay:
    """Waits until a test says that the time is up."""

    made: ClassVar[list[HandDelay]] = []

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self.isWaiting, self.starts = False, 0
        HandDelay.made.append(self)

    def start(self) -> None:
        self.isWaiting, self.starts = True, self.starts + 1

    def stop(self) -> None:
        self.isWaiting = False

    def cleanUp(self) -> None:
        self.isWaiting = False

    def pass_(self) -> None:
        """The time is up."""
        assert self.isWaiting, "nothing is waiting"
        self.isWaiting = False
        self._function()


class Watched:
    """A table on the toy liver, its delay, and how often it told of a change."""

    def __init__(self, **options: Any) -> None:
        self.volume = toys.addCt(options.pop("affine", None))
        self.node = writeSegmentation(toys.toyLabels(), self.volume, toys.RECORD, **options)
        self.changes = 0
        self.table = LesionTable(
            self.node, self.volume, onChanged=self._onChanged, makeDelay=HandDelay
        )
        self.delay = HandDelay.made[-1]
        self.table.compute()

    def _onChanged(self) -> None:
        self.changes += 1


@pytest.fixture
def watched(scene):
    made = Watched()
    yield made
    made.table.cleanUp()


@looped(("axes", "signs"), toys.ALL_ORIENTATIONS[::5])
@looped("onePerLesion", [False, True])
def test_the_rows_are_what_the_library_measures(scene, axes, signs, onePerLesion):
    scene.Clear(False)
    shown = Watched(affine=toys.orientedAffine(axes, signs), onePerLesion=onePerLesion)
    assertSame(shown.table.measures, measure(toys.toyLabels(), readVolume(shown.volume)))
    shown.table.cleanUp()


def assertSame(measures: LiverMeasures, expected: LiverMeasures) -> None:
    """The same numbers, but for the last bit of a coordinate."""
    assert replace(measures, lesions=()) == replace(expected, lesions=())
    assert len(measures.lesions) == len(expected.lesions)
    for lesion, other in zip(measures.lesions, expected.lesions, strict=True):
        assert lesion.centroid_ras_mm == pytest.approx(other.centroid_ras_mm, abs=1e-9)
        assert np.allclose(lesion.diameter_lines_ras_mm, other.diameter_lines_ras_mm, atol=1e-9)
        points = {name: getattr(other, name) for name in POINTS}
        assert replace(lesion, **points) == other


def test_what_the_run_called_hardly_a_tumor_is_marked_until_it_is_edited(scene):
    volume = toys.addCt()
    run = measure(toys.toyLabels(), readVolume(volume))
    first, *others = run.lesions
    doubted = replace(run, lesions=(replace(first, implausible="5 HU, as a cyst"), *others))
    node = writeSegmentation(
        toys.toyLabels(), volume, {**toys.RECORD, "lesions": lesion_rows(doubted)}
    )
    table = LesionTable(node, volume)
    table.compute()
    assert [row.cells()[0] for row in table.rows] == ["1 ?", "2", "3"]
    assert table.measures.lesions[0].implausible == "5 HU, as a cyst"
    mask = (toys.toyLabels() == 2).astype(np.uint8)
    mask[5] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, table.rows[0].segmentId, volume)
    table.compute()
    assert [row.cells()[0] for row in table.rows] == ["1", "2", "3"]
    table.cleanUp()


def test_transforms_count_in_millimeters(scene):
    volume = toys.addCt()
    volume.SetAndObserveTransformNodeID(toys.addTransform(np.diag([2.0, 2, 2, 1])).GetID())
    node = writeSegmentation(toys.toyLabels(), volume, toys.RECORD)
    table = LesionTable(node, volume)
    assertSame(table.compute(), measure(toys.toyLabels(), readVolume(volume)))
    assert table.rows[0].volumeMl == pytest.approx(45 * 0.8 * 0.9 * 2.5 * 8 / 1000)
    table.cleanUp()


def test_no_lesion_and_no_liver(scene):
    volume = toys.addCt()
    for labels in (np.minimum(toys.toyLabels(), 1), np.zeros(toys.SHAPE_KJI, np.uint8)):
        node = writeSegmentation(labels, volume, toys.RECORD)
        table = LesionTable(node, volume)
        assert table.compute() == measure(labels, readVolume(volume))
        assert table.rows == ()
        table.cleanUp()


def test_rows_name_their_segment_and_count_from_the_largest(scene):
    one = Watched()
    assert [row.number for row in one.table.rows] == [1, 2, 3]
    assert set(one.table.segmentIds) == {"Tumor"}
    one.table.cleanUp()
    each = Watched(onePerLesion=True)
    assert each.table.segmentIds == ("Tumor", "Tumor_2", "Tumor_3")
    assert [row.segmentName for row in each.table.rows] == ["Tumor 1", "Tumor 2", "Tumor 3"]
    each.table.cleanUp()


def test_touching_lesions_in_two_segments_are_two_rows(scene):
    volume, labels = toys.addCt(), toys.toyLabels()
    node = writeSegmentation(labels, volume, toys.RECORD)
    halves = np.zeros(toys.SHAPE_KJI, np.uint8)
    halves[5:8, 6:9, 9:12] = 1
    part = node.GetSegmentation().AddEmptySegment("", "Tumor 2")
    rest = ((labels == 2) & (halves == 0)).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(rest, node, "Tumor", volume)
    slicer.util.updateSegmentBinaryLabelmapFromArray(halves, node, part, volume)
    table = LesionTable(node, volume)
    measures = table.compute()
    assert [lesion.voxels for lesion in measures.lesions] == [27, 18, 8, 1]
    assert table.segmentIds == (part, "Tumor", "Tumor", "Tumor")
    assert measures.tumor_volume_ml == pytest.approx((labels == 2).sum() * 0.0018)
    table.cleanUp()


def test_the_point_of_a_row_is_in_the_lesion_on_its_slice(scene):
    labels = np.zeros((9, 40, 40), np.uint8)
    labels[1:8, 2:38, 2:38] = 1
    labels[4, 10:30, 10:30] = 2
    labels[4, 12:30, 12:28] = 1  # an arch, whose center is not in it
    volume = slicer.util.addVolumeFromArray(
        np.where(labels, 50, -900).astype(np.int16), ijkToRAS=toys.obliqueAffine()
    )
    table = LesionTable(writeSegmentation(labels, volume, toys.RECORD), volume)
    table.compute()
    toIjk = np.linalg.inv(geometry.worldIjkToRas(volume))
    i, j, k = np.rint(toIjk[:3, :3] @ table.rows[0].pointRasMm + toIjk[:3, 3]).astype(int)
    assert k == 4
    assert labels[k, j, i] == 2
    table.cleanUp()


def test_a_stroke_of_the_brush_measures_once_when_the_hand_rests(watched):
    brush = toys.Brush(watched.node, watched.volume)
    mask = np.zeros(toys.SHAPE_KJI, bool)
    for i in range(12, 15):
        mask[6, 7, i] = True
        brush.draw("Tumor", mask)
    assert watched.delay.starts > 1
    assert watched.changes == 0
    assert watched.table.measures.lesions[0].voxels == 45
    watched.delay.pass_()
    assert watched.changes == 1
    assert watched.table.measures.lesions[0].voxels == 48
    assert not watched.delay.isWaiting


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.node.GetSegmentation().RemoveSegment("Tumor"),
        lambda w: w.node.GetSegmentation().AddEmptySegment("", "Tumor 9"),
        lambda w: w.node.GetSegmentation().GetSegment("Tumor").SetName("Metastases"),
        lambda w: w.volume.SetAndObserveTransformNodeID(
            toys.addTransform(toys.rotation(0, 9)).GetID()
        ),
        lambda w: w.node.SetAndObserveTransformNodeID(
            toys.addTransform(toys.rotation(0, 9)).GetID()
        ),
        lambda w: w.volume.GetImageData().Modified(),
        lambda w: writeSegmentation(
            np.zeros(toys.SHAPE_KJI, np.uint8), w.volume, {}, segmentationNode=w.node
        ),
    ],
    ids=["removed", "added", "renamed", "CT moved", "segments moved", "CT changed", "new run"],
)
def test_what_changes_the_table_sets_it_off(watched, change):
    change(watched)
    watched.delay.pass_()
    assert watched.changes == 1


def test_measuring_at_once_makes_waiting_needless(watched):
    watched.node.GetSegmentation().RemoveSegment("Tumor")
    watched.table.compute()
    assert not watched.delay.isWaiting
    assert watched.table.rows == ()


def test_a_gone_segmentation_empties_the_table_and_says_why(watched, scene):
    watched.node.GetSegmentation().GetSegment("Tumor").SetName("x")
    scene.RemoveNode(watched.node)
    watched.delay.pass_()
    assert watched.table.rows == ()
    assert watched.table.measures is None
    assert "not in the scene" in watched.table.problem
    with pytest.raises(ValueError, match="not in the scene"):
        watched.table.compute()


def test_after_clean_up_nothing_is_watched(watched, scene):
    watched.table.cleanUp()
    watched.table.cleanUp()
    watched.node.GetSegmentation().RemoveSegment("Tumor")
    watched.volume.Modified()
    assert not watched.delay.isWaiting
    assert len(watched.table.rows) == 3
    scene.Clear(False)


def test_the_real_timer_measures_after_an_edit(scene):
    import qt

    volume = toys.addCt()
    node = writeSegmentation(toys.toyLabels(), volume, toys.RECORD)
    loop = qt.QEventLoop()
    table = LesionTable(node, volume, onChanged=lambda: loop.quit())
    table.compute()
    node.GetSegmentation().RemoveSegment("Tumor")
    assert len(table.rows) == 3
    deadline = qt.QTimer()
    deadline.setSingleShot(True)
    deadline.connect("timeout()", lambda: loop.quit())
    deadline.start(5000)
    loop.exec_()
    assert table.rows == ()
    table.cleanUp()
    table.compute()


def sliceNodes() -> list[Any]:
    nodes = []
    for name, orientation in (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal")):
        node = slicer.vtkMRMLSliceNode()
        node.SetLayoutName(name)
        node.SetSingletonTag(name)
        nodes.append(slicer.mrmlScene.AddNode(node))
        nodes[-1].SetOrientation(orientation)
        nodes[-1].SetDimensions(200, 200, 1)
        nodes[-1].SetFieldOfView(400.0, 400.0, 1.0)
    return nodes


def offset(view: Any, pointRasMm: tuple[float, ...]) -> np.ndarray:
    """A point in a view, from its middle: to the right, up, and toward the person, in mm."""
    return np.linalg.inv(slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS()))[:3] @ [
        *pointRasMm,
        1.0,
    ]


def test_a_jump_goes_to_the_lesion_s_slices_without_panning_the_views(watched, scene):
    """The anatomy around stays where the eye has it; only what is out of the view is fetched."""
    views = sliceNodes()
    row = watched.table.rows[0]
    for view in views:
        view.JumpSliceByCentering(*row.pointRasMm)
    for panMm, isFetched in ((150.0, False), (250.0, True)):
        for view in views:
            view.JumpSliceByCentering(*(mm + panMm for mm in row.pointRasMm))
        before = [offset(view, row.pointRasMm) for view in views]
        watched.table.jumpTo(row)
        for view, old in zip(views, before, strict=True):
            right, up, away = offset(view, row.pointRasMm)
            assert away == pytest.approx(0, abs=1e-6), "it is on the slice shown"
            expected = (0, 0) if isFetched else old[:2]
            assert (right, up) == pytest.approx(expected, abs=1e-6)


def test_the_diameters_of_the_row_are_drawn_where_they_were_measured(watched, scene):
    def lines() -> list[Any]:
        return slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")

    assert lines() == []
    for row in watched.table.rows:
        watched.table.jumpTo(row)
        longest, across = lines()
        lengths = (longest.GetLineLengthWorld(), across.GetLineLengthWorld())
        assert lengths == pytest.approx((row.longestMm, row.perpendicularMm), abs=0.05)
        for line in (longest, across):
            assert line.GetLocked()
            assert line.GetHideFromEditors()
            assert not line.GetSaveWithScene()
            assert line.GetDisplayNode().GetVisibility()
        ends = np.array(row.diametersRasMm)
        assert np.allclose(slicer.util.arrayFromMarkupsControlPoints(longest, world=True), ends[0])
    watched.table.compute()
    assert lines() == [], "they were of what was measured before"
    watched.table.jumpTo(watched.table.rows[0])
    watched.table.cleanUp()
    assert lines() == []


def test_closing_the_scene_takes_the_lines_and_nothing_fails(watched, scene):
    watched.table.jumpTo(watched.table.rows[0])
    scene.Clear(False)
    watched.table.cleanUp()
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode") == []


def test_a_jump_marks_the_lesion_in_all_slice_views(watched, scene):
    views = sliceNodes()
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair
    for row in watched.table.rows:
        watched.table.jumpTo(row)
        assert all(abs(offset(view, row.pointRasMm)[2]) < 1e-6 for view in views)
        assert np.allclose(crosshair.GetCrosshairRAS(), row.pointRasMm)
        assert crosshair.GetCrosshairMode() == crosshair.ShowSmallBasic
    watched.table.cleanUp()
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair


def test_the_users_own_crosshair_is_left_as_it_is(watched, scene):
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairMode(crosshair.ShowBasic)
    watched.table.jumpTo(watched.table.rows[0])
    assert crosshair.GetCrosshairMode() == crosshair.ShowBasic
    watched.table.cleanUp()
    assert crosshair.GetCrosshairMode() == crosshair.ShowBasic
    crosshair.SetCrosshairMode(crosshair.NoCrosshair)


def test_text_for_a_spreadsheet(watched):
    lines = watched.table.toText().splitlines()
    assert lines[0].split("\t") == list(headers())
    assert [line.split("\t")[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert lines[1].split("\t")[-3:] == ["Tumor", "new", "-"]
    assert "research only" in lines[4]
    assert all(len(line.split("\t")) == len(headers()) for line in lines[:4])


def test_a_csv_file_holds_what_a_runs_own_table_holds(watched, tmp_path):
    path = tmp_path / "lesions.csv"
    watched.table.saveCsv(path)
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[: len(LESION_COLUMNS) + 2] == [*LESION_COLUMNS, "segment", "review"]
    assert {row["ct"] for row in rows} == {watched.table.volumeNode.GetName()}
    liver_ml = watched.table.measures.liver_volume_ml
    assert {float(row["liver_volume_ml"]) for row in rows} == {round(liver_ml, 4)}
    assert {row["review"] for row in rows} == {"new"}
    assert [float(row["volume_ml"]) for row in rows] == [0.081, 0.0144, 0.0018]
    assert {row["segment"] for row in rows} == {"Tumor"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_only_when_asked(watched, tmp_path):
    path = tmp_path / "lesions.csv"
    path.write_text("mine")
    with pytest.raises(ValueError, match=r"lesions\.csv is there already"):
        watched.table.saveCsv(path)
    assert path.read_text() == "mine"
    watched.table.saveCsv(path, overwrite=True)
    assert path.read_text().startswith("number,")


def test_a_folder_that_is_not_there_is_told(watched, tmp_path):
    with pytest.raises(ValueError, match="could not be written"):
        watched.table.saveCsv(tmp_path / "none" / "lesions.csv")
