"""What one does with a result in the panel: look, copy, save, edit, export, take it away."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import qt
import slicer
from LiverTumorSegLib.result.lesions import Lesion, LiverMeasures, measure, measures_to_dict
from LiverTumorSegSlicer.panel.dialogs import Replace
from LiverTumorSegSlicer.panel.lesion_panel import resultText
from LiverTumorSegSlicer.scene.geometry import ijkToRas
from LiverTumorSegSlicer.scene.nodes import readLabels
from LiverTumorSegSlicer.scene.volumes import readVolume
from LiverTumorSegSlicer.self_test import AnsweringRunner
from panel_desk import PanelDesk, waitUntil


@pytest.fixture
def result(desk: PanelDesk) -> Any:
    """The segmentation of a run over the test CT."""
    desk.volume = desk.loadCt("Scan")
    desk.answerWith()
    return desk.run()


def rowRect(table: Any, row: int) -> Any:
    return table.visualItemRect(table.item(row, 0)).center()


def sliceOffsets() -> dict[str, float]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    return {node.GetName(): round(node.GetSliceOffset(), 2) for node in nodes}


@pytest.mark.usefixtures("result")
def test_a_click_on_a_row_shows_the_tumor_in_all_views(desk: PanelDesk) -> None:
    table = desk.ui.lesionTable
    places = []
    for row in (0, 1):
        qt.QTest.mouseClick(
            table.viewport(), qt.Qt.LeftButton, qt.Qt.NoModifier, rowRect(table, row)
        )
        places.append(sliceOffsets())
    assert all(places[0][view] != places[1][view] for view in ("Red", "Green", "Yellow"))
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    assert crosshair.GetCrosshairMode() != crosshair.NoCrosshair
    qt.QTest.keyClick(table, qt.Qt.Key_Up)
    assert sliceOffsets() == places[0], "the arrow keys go through the tumors"
    slicer.util.selectModule("SampleData")
    assert crosshair.GetCrosshairMode() == crosshair.NoCrosshair


def test_measuring_again_does_not_move_the_views(desk: PanelDesk, result: Any) -> None:
    node = slicer.util.getNode("Red")
    node.SetSliceOffset(node.GetSliceOffset() + 7)
    before, shown = sliceOffsets(), desk.ui.resultLabel.text
    mask = (desk.labelsKji == 2).astype(np.uint8)
    mask[:12] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, result, "Tumor", desk.volume)
    waitUntil(lambda: desk.ui.resultLabel.text != shown)
    assert sliceOffsets() == before


def test_an_edit_is_measured_soon_after(desk: PanelDesk, result: Any) -> None:
    before = desk.ui.resultLabel.text
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        np.zeros_like(desk.labelsKji), result, "Tumor", desk.volume
    )
    waitUntil(lambda: desk.ui.resultLabel.text != before)
    assert desk.ui.resultLabel.text.endswith("no tumor found.")
    assert desk.ui.lesionTable.rowCount == 0


def test_nothing_is_measured_while_the_module_is_left(desk: PanelDesk, result: Any) -> None:
    slicer.util.selectModule("SampleData")
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        np.zeros_like(desk.labelsKji), result, "Tumor", desk.volume
    )
    assert not desk.ui.resultCollapsibleButton.visible
    slicer.util.selectModule("LiverTumorSeg")
    assert desk.ui.resultLabel.text.endswith("no tumor found.")


@pytest.mark.usefixtures("result")
def test_the_table_is_copied_with_its_numbers_and_the_notice(desk: PanelDesk) -> None:
    desk.click(desk.ui.copyTableButton)
    lines = slicer.app.clipboard().text().splitlines()
    assert lines[0] == desk.ui.resultLabel.text
    assert lines[1].split("\t")[:2] == ["Lesion", "Volume (mL)"]
    assert lines[2].split("\t")[1] == desk.ui.lesionTable.item(0, 1).text()
    assert lines[-1] == "For research only, not for diagnosis."


@pytest.mark.usefixtures("result")
def test_the_table_is_saved_as_csv(desk: PanelDesk, tmp_path: Path) -> None:
    desk.click(desk.ui.saveTableButton)
    assert desk.questions.asked == ["Scan liver and tumors.csv"], (
        "and the person changed their mind"
    )
    assert not list(tmp_path.glob("*.csv"))
    desk.questions.path = tmp_path
    for _again in range(2):  # the file dialog has asked before it is replaced
        desk.click(desk.ui.saveTableButton)
    with open(tmp_path / "Scan liver and tumors.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["1", "2"]
    assert {row["notice"] for row in rows} == {"For research only, not for diagnosis."}
    assert desk.questions.failures == []


@pytest.mark.usefixtures("result")
def test_a_table_that_cannot_be_saved_is_a_sentence(desk: PanelDesk, tmp_path: Path) -> None:
    desk.questions.path = tmp_path / "absent"
    desk.click(desk.ui.saveTableButton)
    assert len(desk.questions.failures) == 1


def test_segment_editor_opens_on_the_chosen_tumor(desk: PanelDesk, result: Any) -> None:
    table = desk.ui.lesionTable
    table.setCurrentCell(1, 0)
    desk.click(desk.ui.editButton)
    assert slicer.util.moduleSelector().selectedModule == "SegmentEditor"
    editor = slicer.modules.SegmentEditorWidget.editor
    assert editor.segmentationNode() is result
    assert editor.sourceVolumeNode() is desk.volume
    assert editor.currentSegmentID() == "Tumor"
    node, modes = editor.mrmlSegmentEditorNode(), slicer.vtkMRMLSegmentationNode
    assert node.GetMaskMode() == modes.EditAllowedInsideSingleSegment
    assert node.GetMaskSegmentID() == "Liver"
    slicer.util.selectModule("LiverTumorSeg")
    assert node.GetMaskMode() == modes.EditAllowedEverywhere
    assert desk.ui.lesionTable.rowCount == 2


def test_segment_editor_opens_on_that_lesion_s_own_segment(desk: PanelDesk) -> None:
    desk.loadCt()
    desk.parameters.onePerLesion = True
    desk.answerWith()
    desk.run()
    assert desk.ui.lesionTable.item(1, 6).text() == "Tumor 2"
    desk.ui.lesionTable.setCurrentCell(1, 0)
    desk.click(desk.ui.editButton)
    assert slicer.modules.SegmentEditorWidget.editor.currentSegmentID() == "Tumor_2"


def test_3d_is_made_on_request_only(desk: PanelDesk, result: Any) -> None:
    segmentation = result.GetSegmentation()
    assert not segmentation.ContainsRepresentation("Closed surface")
    assert not desk.ui.show3DButton.checked
    desk.click(desk.ui.show3DButton)
    assert segmentation.ContainsRepresentation("Closed surface")
    assert desk.ui.show3DButton.checked
    assert result.GetDisplayNode().GetSegmentOpacity3D("Liver") < 1
    result.RemoveClosedSurfaceRepresentation()  # as Segment Editor's own button does
    assert not desk.ui.show3DButton.checked
    desk.click(desk.ui.show3DButton)
    slicer.util.selectModule("SampleData")
    slicer.util.selectModule("LiverTumorSeg")
    assert desk.ui.show3DButton.checked
    desk.click(desk.ui.show3DButton)
    assert not segmentation.ContainsRepresentation("Closed surface")


def exportAction(desk: PanelDesk, words: str) -> Any:
    (action,) = (a for a in desk.ui.exportButton.menu().actions() if words in a.text)
    return action


@pytest.mark.usefixtures("result")
def test_labels_are_exported_as_nifti(desk: PanelDesk, tmp_path: Path) -> None:
    desk.questions.path = tmp_path
    exportAction(desk, "NIfTI").trigger()
    image = nibabel.load(tmp_path / "Scan liver and tumors.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), desk.labelsKji)
    assert desk.questions.failures == []


def test_a_ct_named_as_from_dicom_gives_file_names_that_windows_takes(
    desk: PanelDesk, tmp_path: Path
) -> None:
    desk.loadCt("4: Venous 3 mm")
    desk.answerWith()
    desk.run()
    desk.questions.path = tmp_path
    desk.click(desk.ui.saveTableButton)
    for words in ("NIfTI", "seg.nrrd"):
        exportAction(desk, words).trigger()
    name = "4 Venous 3 mm liver and tumors"
    assert {f"{name}{end}" for end in (".csv", ".nii.gz", ".seg.nrrd")} <= {
        path.name for path in tmp_path.iterdir()
    }


@pytest.mark.usefixtures("result")
def test_segments_are_exported_as_seg_nrrd(desk: PanelDesk, tmp_path: Path) -> None:
    desk.questions.path = tmp_path
    exportAction(desk, "seg.nrrd").trigger()
    loaded = slicer.util.loadSegmentation(str(tmp_path / "Scan liver and tumors.seg.nrrd"))
    assert np.array_equal(readLabels(loaded, desk.volume), desk.labelsKji)


@pytest.mark.usefixtures("result")
def test_dicom_seg_is_refused_in_words_for_a_ct_without_dicom(desk: PanelDesk) -> None:
    exportAction(desk, "DICOM SEG...").trigger()
    assert len(desk.questions.failures) == 1
    assert "not loaded from Slicer's DICOM database" in desk.questions.failures[0]


@pytest.mark.usefixtures("result")
def test_changing_one_s_mind_exports_nothing(desk: PanelDesk, tmp_path: Path) -> None:
    for words in ("NIfTI", "seg.nrrd"):
        exportAction(desk, words).trigger()
    assert desk.questions.failures == []
    assert not list(tmp_path.glob("Scan*"))


def test_remove_takes_the_result_away(desk: PanelDesk, result: Any) -> None:
    desk.click(desk.ui.removeButton)
    assert result.GetScene() is None
    assert desk.parameters.outputSegmentation is None
    assert not desk.ui.resultCollapsibleButton.visible
    assert desk.ui.statusLabel.text == "The result was removed."
    assert desk.questions.asked == []


def test_remove_asks_before_edits_are_lost(desk: PanelDesk, result: Any) -> None:
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        np.zeros_like(desk.labelsKji), result, "Tumor", desk.volume
    )
    desk.questions.agrees = False
    desk.click(desk.ui.removeButton)
    assert "Tumor" in desk.questions.asked[0]
    assert result.GetScene() is slicer.mrmlScene
    desk.questions.agrees = True
    desk.click(desk.ui.removeButton)
    assert result.GetScene() is None


def test_segments_of_a_person_are_measured_and_not_removed(desk: PanelDesk) -> None:
    volume = desk.loadCt()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "By hand")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for number, name in ((1, "liver"), (2, "tumor")):
        segmentId = node.GetSegmentation().AddEmptySegment(name, name)
        mask = (desk.labelsKji == number).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segmentId, volume)
    desk.ui.outputSelector.setCurrentNode(node)
    assert desk.ui.lesionTable.rowCount == 2
    assert not desk.ui.removeButton.enabled
    assert "No run" in desk.ui.removeButton.toolTip


def test_probability_volumes_come_and_go_with_the_result(desk: PanelDesk) -> None:
    volume = desk.loadCt("Scan")
    runner = runWithProbabilities(desk)
    assert "--probabilities" in runner.arguments
    tumor = slicer.util.getNode("Scan tumor probability (%)")
    percent = slicer.util.arrayFromVolume(tumor)
    assert percent.dtype == np.uint8
    np.testing.assert_array_equal(percent, np.where(desk.labelsKji == 2, 75, 0))
    np.testing.assert_allclose(ijkToRas(tumor), ijkToRas(volume))
    assert desk.parameters.inputVolume is volume
    desk.click(desk.ui.removeButton)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def runWithProbabilities(desk: PanelDesk) -> Any:
    desk.click(desk.ui.advancedCollapsibleButton)
    desk.ui.keepProbabilitiesCheckBox.checked = True
    share = np.zeros((3, *desk.labelsKji.shape), np.float16)
    share[2][desk.labelsKji == 2] = 0.75
    desk.answer = lambda: AnsweringRunner(lambda ct: desk.labelsKji, probabilities=share)
    desk.run()
    return desk.runners[-1]


def confidences(desk: PanelDesk) -> list[str]:
    return [desk.ui.lesionTable.item(n, 5).text() for n in range(desk.ui.lesionTable.rowCount)]


def answerSure(desk: PanelDesk, volume: Any, level: int) -> None:
    """From now on the child is so sure, in 255ths, of all tumors."""
    sure = np.where(desk.labelsKji == 2, level, 0).astype(np.uint8)
    desk.answerWith(**measures_to_dict(measure(desk.labelsKji, readVolume(volume), sure)))


def test_confidence_stands_in_the_table_and_is_explained(desk: PanelDesk) -> None:
    answerSure(desk, desk.loadCt("Scan"), 204)
    desk.run()
    assert confidences(desk) == ["80", "80"]
    header = desk.ui.lesionTable.horizontalHeaderItem(5)
    assert header.text() == "Conf.\n(%)"
    assert "calibrated" in header.toolTip()
    desk.click(desk.ui.copyTableButton)
    assert "\t80\tTumor\tnew\t-\n" in slicer.app.clipboard().text()


def test_an_edited_lesion_has_no_confidence_any_more_and_the_others_keep_theirs(
    desk: PanelDesk,
) -> None:
    volume = desk.loadCt()
    answerSure(desk, volume, 204)
    node = desk.run()
    edited = (desk.labelsKji == 2).astype(np.uint8)
    edited[np.unravel_index(edited.argmax(), edited.shape)] = 0  # a voxel of the lower one
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited, node, "Tumor", volume)
    waitUntil(lambda: sorted(confidences(desk)) == ["-", "80"])
    desk.answerWith()  # a model without any
    desk.questions.replace = Replace.REPLACE
    desk.run()
    assert confidences(desk) == ["-", "-"]


def lesion(volumeMl: float) -> Lesion:
    return Lesion(1, volumeMl, 10.0, 8.0, (0.0, 0.0, 0.0), 3, None, 10)


def test_the_line_says_the_case_in_words() -> None:
    one = LiverMeasures(1512.4, 3.126, 0.2067, (lesion(3.126),))
    assert resultText(one) == "Liver 1512 mL, 1 tumor 3.13 mL, burden 0.2 %"
    many = LiverMeasures(1512.4, 24.06, 1.59, (lesion(20.0), lesion(4.06)))
    assert resultText(many) == "Liver 1512 mL, 2 tumors 24.1 mL, burden 1.6 %"
    assert resultText(LiverMeasures(900.0, 0.0, 0.0, ())) == "Liver 900 mL, no tumor found."
    assert resultText(LiverMeasures(0.0, 0.0, None, ())) == "No liver found."
    onlyTumor = LiverMeasures(3.0, 3.0, None, (lesion(3.0),))
    assert resultText(onlyTumor) == "Liver 3 mL, 1 tumor 3.00 mL"
