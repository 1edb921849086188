"""Segment Editor as we set it: painted with Slicer's own editor logic."""

from __future__ import annotations

from typing import Any

import ct_scenes as toys
import numpy as np
import pytest
import slicer
import vtk
from LiverTumorSegSlicer.scene import editing
from LiverTumorSegSlicer.scene.nodes import readLabels, writeSegmentation


@pytest.fixture
def result(scene) -> tuple[Any, Any]:
    """(segmentation, volume) with the toy labels."""
    volume = toys.addCt()
    return writeSegmentation(toys.toyLabels(), volume, toys.RECORD), volume


class Editor:
    """The part of ``qMRMLSegmentEditorWidget`` that is used, on a real settings node."""

    def __init__(self) -> None:
        self._node = slicer.vtkMRMLSegmentEditorNode()
        self._node.SetSingletonTag(editing.SINGLETON_TAG)
        self._node = slicer.mrmlScene.AddNode(self._node)

    def setSegmentationNode(self, node: Any) -> None:
        self._node.SetAndObserveSegmentationNode(node)

    def setSourceVolumeNode(self, node: Any) -> None:
        self._node.SetAndObserveSourceVolumeNode(node)

    def setCurrentSegmentID(self, segmentId: str) -> None:
        self._node.SetSelectedSegmentID(segmentId)

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node


def box() -> np.ndarray:
    """Across the border of the liver, over liver, tumor and fat."""
    mask = np.zeros(toys.SHAPE_KJI, bool)
    mask[5:10, 6:18, 8:22] = True
    return mask


def test_one_click_selects_everything(result):
    node, volume = result
    editor = Editor()
    editing.editInSegmentEditor(node, volume, "Tumor", openEditor=lambda: editor)
    settings = editor.mrmlSegmentEditorNode()
    assert settings.GetSegmentationNode() is node
    assert settings.GetSourceVolumeNode() is volume
    assert settings.GetSelectedSegmentID() == "Tumor"
    assert settings.GetMaskSegmentID() == "Liver"


def test_the_first_tumor_is_chosen_when_none_is_named(result):
    node, volume = result
    editor = Editor()
    editing.editInSegmentEditor(node, volume, openEditor=lambda: editor)
    assert editor.mrmlSegmentEditorNode().GetSelectedSegmentID() == "Tumor"
    node.GetSegmentation().RemoveSegment("Tumor")
    assert editing.firstToEdit(node) == "Liver"


def test_tumor_is_painted_inside_the_liver_only_and_takes_from_it(result):
    node, volume = result
    brush, before = toys.Brush(node, volume), toys.toyLabels()
    editing.setMasking(brush.node, node, "Tumor")
    brush.draw("Tumor", box())
    expected = np.where(box() & (before == 1), 2, before)
    assert (readLabels(node, volume) == expected).all()
    seen = toys.labelsBySlicer(node, volume)
    assert not (seen["Liver"] & seen["Tumor"]).any()


def test_erased_tumor_is_liver_again(result):
    node, volume = result
    brush, before = toys.Brush(node, volume), toys.toyLabels()
    editing.setMasking(brush.node, node, "Tumor")
    brush.draw("Tumor", box(), erase=True)
    expected = np.where(box() & (before == 2), 1, before)
    assert (before[box()] == 2).any()
    assert (readLabels(node, volume) == expected).all()


def test_one_of_several_tumors_does_not_paint_over_another(scene):
    volume, before = toys.addCt(), toys.toyLabels()
    node = writeSegmentation(before, volume, toys.RECORD, onePerLesion=True)
    others = {name: mask for name, mask in toys.labelsBySlicer(node, volume).items()}
    brush = toys.Brush(node, volume)
    editing.setMasking(brush.node, node, "Tumor_3")
    brush.draw("Tumor_3", box())
    seen = toys.labelsBySlicer(node, volume)
    assert (seen["Tumor 1"] == others["Tumor 1"]).all()
    assert (seen["Tumor 3"] == (others["Tumor 3"] | (box() & (before == 1)))).all()


def test_the_liver_is_painted_beside_its_tumors(result):
    node, volume = result
    brush, before = toys.Brush(node, volume), toys.toyLabels()
    editing.setMasking(brush.node, node, "Liver")
    brush.draw("Liver", box())
    expected = np.where(box() & (before == 0), 1, before)
    assert (readLabels(node, volume) == expected).all()
    brush.draw("Liver", box(), erase=True)
    expected = np.where(box() & (expected == 1), 0, expected)
    assert (readLabels(node, volume) == expected).all()


def test_without_a_liver_a_tumor_may_be_drawn_anywhere(result):
    node, volume = result
    node.GetSegmentation().RemoveSegment("Liver")
    brush = toys.Brush(node, volume)
    editing.setMasking(brush.node, node, "Tumor")
    brush.draw("Tumor", box())
    assert (readLabels(node, volume)[box()] == 2).all()


def test_on_return_other_segmentations_can_be_drawn_again(result, scene):
    node, volume = result
    editor = Editor()
    editing.editInSegmentEditor(node, volume, openEditor=lambda: editor)
    settings, modes = editor.mrmlSegmentEditorNode(), slicer.vtkMRMLSegmentationNode
    editing.releaseMasking(scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    assert settings.GetMaskMode() == modes.EditAllowedInsideSingleSegment
    editing.releaseMasking(node)
    assert settings.GetMaskMode() == modes.EditAllowedEverywhere


def test_nothing_is_opened_without_something_to_edit(result, scene):
    node, volume = result

    def mayNotOpen():
        raise AssertionError("Segment Editor was opened")

    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    for chosen, segmentId in ((empty, None), (node, "Spleen")):
        with pytest.raises(ValueError, match="segment is not there"):
            editing.editInSegmentEditor(chosen, volume, segmentId, openEditor=mayNotOpen)
    scene.RemoveNode(node)
    with pytest.raises(ValueError, match="not in the scene"):
        editing.editInSegmentEditor(node, volume, openEditor=mayNotOpen)


def test_surfaces_appear_and_go_on_request(result):
    node, volume = result
    assert not editing.is3DShown(node)
    show3D(node)
    assert editing.is3DShown(node)
    display = node.GetDisplayNode()
    assert display.GetSegmentOpacity3D("Liver") < display.GetSegmentOpacity3D("Tumor") == 1
    volumes = [surfaceVolume(node, segmentId) for segmentId in ("Liver", "Tumor")]
    assert volumes[0] == pytest.approx((toys.toyLabels() == 1).sum() * 1.8, rel=0.1)
    assert volumes[1] > 0  # smoothing takes much from so small a tumor
    node.RemoveClosedSurfaceRepresentation()
    assert not editing.is3DShown(node)
    assert (readLabels(node, volume) == toys.toyLabels()).all()


def show3D(node: Any) -> None:
    """As Slicer's own button and the panel do together."""
    node.GetSegmentation().CreateRepresentation("Closed surface")
    editing.style3D(node)


def surfaceVolume(node: Any, segmentId: str) -> float:
    """Inside a segment's surface, in mm3."""
    surface = vtk.vtkPolyData()
    assert node.GetClosedSurfaceRepresentation(segmentId, surface)
    mass = vtk.vtkMassProperties()
    mass.SetInputData(surface)
    return float(mass.GetVolume())


def test_surfaces_of_nothing_and_of_a_gone_node(scene):
    volume = toys.addCt()
    node = writeSegmentation(np.zeros(toys.SHAPE_KJI, np.uint8), volume, toys.RECORD)
    show3D(node)
    node.RemoveClosedSurfaceRepresentation()
    with pytest.raises(ValueError, match="could not make"):
        editing.style3D(node)
    scene.RemoveNode(node)
    assert not editing.is3DShown(node)
    with pytest.raises(ValueError, match="not in the scene"):
        editing.style3D(node)
