"""Parts of the liver handed over by another segmentation: by numbers, wherever they lie."""

from __future__ import annotations

from typing import Any

import ct_scenes as toys
import numpy as np
import pytest
import slicer
from LiverTumorSegSlicer.scene.geometry import ijkToRas
from LiverTumorSegSlicer.scene.lesion_measures import measureSegments
from LiverTumorSegSlicer.scene.liver_parts import PART_NAME, measureParts, partIds
from LiverTumorSegSlicer.scene.nodes import writeSegmentation
from panel_desk import PanelDesk, waitUntil


def addParts(volume: Any, masks: dict[str, np.ndarray], name: str = "Parts") -> Any:
    """A segmentation as other modules leave it, with these segments on the CT's grid."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for segment, mask in masks.items():
        segmentId = node.GetSegmentation().AddEmptySegment("", segment)
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            mask.astype(np.uint8), node, segmentId, volume
        )
    return node


def halves(labels: np.ndarray, **names: slice) -> dict[str, np.ndarray]:
    """The liver cut along i."""
    masks = {}
    for name, where in names.items():
        masks[name] = np.zeros(labels.shape, bool)
        masks[name][:, :, where] = labels[:, :, where] > 0
    return masks


def twiceAsFine(volume: Any) -> Any:
    """A volume in the same place, with two voxels for each, along each axis."""
    halved = np.diag([0.5, 0.5, 0.5, 1.0])
    halved[:3, 3] = -0.25
    shape = [2 * n for n in volume.GetImageData().GetDimensions()[::-1]]
    return slicer.util.addVolumeFromArray(
        np.zeros(shape, np.int16), ijkToRAS=ijkToRas(volume) @ halved
    )


@pytest.mark.parametrize("onePerLesion", [False, True])
def test_parts_on_another_grid_and_under_a_transform_are_those_of_the_label_map(
    scene: Any, onePerLesion: bool
) -> None:
    labels, volume = toys.toyLabels(), toys.addCt()
    node = writeSegmentation(labels, volume, toys.RECORD, onePerLesion=onePerLesion)
    masks = halves(labels, liver_segment_2=slice(0, 13), liver_segment_5=slice(13, None))
    fine = twiceAsFine(volume)
    parts = addParts(
        fine, {name: np.kron(mask, np.ones((2, 2, 2))) for name, mask in masks.items()}
    )
    whole = addParts(volume, {"Left lobe": masks["liver_segment_2"], "Liver": labels > 0})
    moved = toys.addTransform(toys.rotation(2, 20))
    for one in (volume, node, parts, whole):
        one.SetAndObserveTransformNodeID(moved.GetID())
    lesions = measureSegments(node, volume)[1]
    measured = measureParts(parts, node, volume, lesions)
    voxelMl = 0.0018
    for part, mask in zip(measured.parts, masks.values(), strict=True):
        assert part.volume_ml == pytest.approx(mask.sum() * voxelMl)
        assert part.without_tumor_ml == pytest.approx((mask & (labels == 1)).sum() * voxelMl)
    assert [part.name for part in measured.parts] == list(masks)
    expected = {1: "liver_segment_2", 2: "liver_segment_5", 3: "liver_segment_5"}
    assert measured.part_of_lesion == expected
    (lobe,) = measureParts(whole, node, volume, lesions).parts
    assert lobe.name == "Left lobe", "the liver is no part of itself"


def test_names_that_tell_a_part_and_names_that_do_not() -> None:
    parts = (
        "I IV VIII IVb 4a S7 Segment_3 liver_segment_8 Couinaud-IV Remnant left_lobe Caudate FLR"
    )
    others = "liver tumor spleen portal_vein 9 IX hepatic_vein vessels gallbladder aorta IIII"
    assert PART_NAME.fullmatch("Segment 4 of liver")
    assert not PART_NAME.fullmatch("Liver segmentation")
    assert [name for name in parts.split() if not PART_NAME.fullmatch(name)] == []
    assert [name for name in others.split() if PART_NAME.fullmatch(name)] == []


def test_territories_with_names_of_their_own_are_taken_but_liver_and_tumor_are_not(
    scene: Any,
) -> None:
    labels, volume = toys.toyLabels(), toys.addCt()
    masks = halves(labels, North=slice(0, 9), Liver=slice(0, 5), Tumor=slice(9, 11))
    segmentation = addParts(volume, masks).GetSegmentation()
    names = [segmentation.GetSegment(segmentId).GetName() for segmentId in partIds(segmentation)]
    assert names == ["North"]


def partColumn(desk: PanelDesk) -> list[str]:
    table = desk.ui.lesionTable
    return [table.item(row, 8).text() for row in range(table.rowCount)]


def test_the_panel_shows_parts_once_they_are_chosen_and_follows_their_edits(
    desk: PanelDesk,
) -> None:
    volume = desk.loadCt("Scan")
    desk.answerWith()
    desk.run()
    assert not desk.ui.partsSelector.visible
    assert desk.ui.lesionTable.isColumnHidden(8)
    labels = desk.labelsKji
    middle = int(np.argwhere(labels > 0)[:, 0].mean())
    upper, lower = (labels > 0), (labels > 0)
    upper[:middle], lower[middle:] = False, False
    node = addParts(volume, {"II": upper, "VI": lower})
    slicer.app.processEvents()
    waitUntil(lambda: desk.ui.partsSelector.visible)
    assert not desk.ui.partsTable.visible
    desk.ui.partsSelector.setCurrentNode(node)
    assert not desk.ui.lesionTable.isColumnHidden(8)
    assert set(partColumn(desk)) <= {"II", "VI"}
    table = desk.ui.partsTable
    assert [table.item(row, 0).text() for row in range(table.rowCount)] == ["II", "VI"]
    shares = [float(table.item(row, 3).text()) for row in range(2)]
    healthy = labels == 1
    assert shares[0] == pytest.approx(100 * (upper & healthy).sum() / healthy.sum(), abs=0.06)
    assert sum(shares) == pytest.approx(100, abs=0.11)
    desk.click(desk.ui.copyTableButton)
    assert f"\tnew\t{partColumn(desk)[0]}\n" in slicer.app.clipboard().text()
    desk.click(desk.ui.acceptButton)
    assert set(partColumn(desk)) <= {"II", "VI"}, "also after it was measured again"
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        (upper | lower).astype(np.uint8), node, node.GetSegmentation().GetNthSegmentID(0), volume
    )
    node.GetSegmentation().RemoveSegment(node.GetSegmentation().GetNthSegmentID(1))
    waitUntil(lambda: set(partColumn(desk)) == {"II"})
    assert desk.parameters.liverParts is node, "kept in the scene"
    desk.ui.partsSelector.setCurrentNode(None)
    assert desk.ui.lesionTable.isColumnHidden(8)
    desk.parameters.liverParts = node
    assert set(partColumn(desk)) == {"II"}
    slicer.mrmlScene.RemoveNode(node)
    assert desk.ui.lesionTable.isColumnHidden(8)
    assert not desk.ui.partsTable.visible


def test_parts_of_elsewhere_are_a_sentence(desk: PanelDesk) -> None:
    volume = desk.loadCt("Scan")
    desk.answerWith()
    desk.run()
    beside = desk.labelsKji == 0
    desk.ui.partsSelector.setCurrentNode(addParts(volume, {"Left lobe": beside}, "Lungs"))
    slicer.app.processEvents()
    assert desk.ui.partsLabel.text == "No segment of Lungs lies mostly in this liver."
    assert desk.ui.lesionTable.isColumnHidden(8)
