"""Human work is never lost unasked, a run can be undone, and a failure changes nothing."""

from __future__ import annotations

from typing import Any

import ct_scenes as toys
import numpy as np
import pytest
import slicer
from LiverTumorSegSlicer.scene import nodes as scene_code
from LiverTumorSegSlicer.scene import segments
from LiverTumorSegSlicer.scene.nodes import (
    EditedSegmentsError,
    hasEditedSegments,
    hasResult,
    readLabels,
    removeResult,
    writeSegmentation,
)
from looped import looped

OTHER = np.where(toys.toyLabels() == 2, 1, toys.toyLabels()).astype(np.uint8)
OTHER[6, 7:12, 8:12] = 2  # another run's opinion


@pytest.fixture
def result(scene) -> tuple[Any, Any]:
    """(segmentation, volume) with the toy labels."""
    volume = toys.addCt()
    return writeSegmentation(toys.toyLabels(), volume, toys.RECORD), volume


def statusOf(node: Any, segmentId: str) -> int:
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    return logic.GetSegmentStatus(node.GetSegmentation().GetSegment(segmentId))


def paintVoxel(node: Any, volume: Any, segmentId: str = "Tumor") -> None:
    """Through Slicer's Segment Editor logic."""
    mask = np.zeros(toys.SHAPE_KJI, bool)
    mask[7, 11, 11] = True
    toys.Brush(node, volume).draw(segmentId, mask)


def addSpleen(node: Any, volume: Any) -> str:
    """A segment that no run made."""
    segmentId = node.GetSegmentation().AddEmptySegment("Spleen", "Spleen")
    mask = np.zeros(toys.SHAPE_KJI, np.uint8)
    mask[1, 15:17, 2:20] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segmentId, volume)
    return segmentId


def test_a_fresh_result_is_not_edited(result):
    node, _volume = result
    assert hasEditedSegments(node) == []
    assert hasEditedSegments(None) == []


@looped("segmentId", ["Liver", "Tumor"])
def test_painting_in_segment_editor_is_an_edit(result, segmentId):
    node, volume = result
    mask = toys.toyLabels() == 0
    toys.Brush(node, volume).draw(segmentId, mask)
    assert segmentId in hasEditedSegments(node)


def test_painting_tumor_takes_from_the_liver_so_both_are_edited(result):
    node, volume = result
    paintVoxel(node, volume)
    assert hasEditedSegments(node) == ["Liver", "Tumor"]


def test_undoing_the_only_stroke_leaves_nothing_edited(result):
    node, volume = result
    mask = np.zeros(toys.SHAPE_KJI, bool)
    mask[7, 11, 11] = True
    brush = toys.Brush(node, volume)
    brush.draw("Tumor", mask)
    assert hasEditedSegments(node)
    brush.undo()
    for segmentId in ("Liver", "Tumor"):
        segment = node.GetSegmentation().GetSegment(segmentId)
        assert segments.fingerprint(segment) == segments.tagOf(segment, segments.FINGERPRINT)


def test_a_script_that_edits_without_touching_the_status_is_noticed(result):
    node, volume = result
    mask = (toys.toyLabels() == 2).astype(np.uint8)
    mask[0, 0, 0] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "Tumor", volume)
    assert statusOf(node, "Tumor") == slicer.vtkSlicerSegmentationsModuleLogic.NotStarted
    assert hasEditedSegments(node) == ["Tumor"]


@looped("status", ["InProgress", "Completed", "Flagged"])
def test_a_reviewed_segment_counts_as_work(result, status):
    node, _volume = result
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(node.GetSegmentation().GetSegment("Liver"), getattr(logic, status))
    assert hasEditedSegments(node) == ["Liver"]


def test_renamed_deleted_and_hand_made_segments_count(result):
    node, volume = result
    node.GetSegmentation().GetSegment("Liver").SetName("Left lobe")
    node.GetSegmentation().RemoveSegment("Tumor")
    mine = node.GetSegmentation().AddEmptySegment("", "tumor 1")
    assert hasEditedSegments(node) == ["Left lobe", "tumor 1", "Tumor (deleted)"]
    node.GetSegmentation().RemoveSegment(mine)
    addSpleen(node, volume)
    assert "Spleen" not in hasEditedSegments(node)


def test_hidden_colored_and_reordered_segments_are_not_edited(result):
    node, _volume = result
    segmentation = node.GetSegmentation()
    segmentation.GetSegment("Tumor").SetColor(0, 0, 1)
    node.GetDisplayNode().SetSegmentVisibility("Tumor", False)
    segmentation.SetSegmentIndex("Tumor", 0)
    assert node.CreateClosedSurfaceRepresentation()
    assert hasEditedSegments(node) == []


def test_a_run_does_not_replace_edits_unasked(result):
    node, volume = result
    paintVoxel(node, volume)
    before = toys.sceneState()
    with pytest.raises(EditedSegmentsError, match="Liver, Tumor") as caught:
        writeSegmentation(OTHER, volume, toys.RECORD, segmentationNode=node)
    assert caught.value.names == ["Liver", "Tumor"]
    assert toys.sceneState() == before
    writeSegmentation(OTHER, volume, toys.RECORD, segmentationNode=node, discardEdits=True)
    assert (readLabels(node, volume) == OTHER).all()
    assert hasEditedSegments(node) == []


def test_a_run_into_a_chosen_segmentation_keeps_nothing_hidden(result, scene):
    node, volume = result
    before = scene.GetNumberOfNodes()
    writeSegmentation(OTHER, volume, toys.RECORD, segmentationNode=node, onePerLesion=True)
    writeSegmentation(np.zeros_like(OTHER), volume, {}, segmentationNode=node)
    assert scene.GetNumberOfNodes() == before
    assert removeResult(node) is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_two_runs_without_a_chosen_segmentation_make_two(result, scene):
    node, volume = result
    again = writeSegmentation(OTHER, volume, toys.RECORD)
    assert again is not node
    assert (readLabels(node, volume) == toys.toyLabels()).all()
    assert (readLabels(again, volume) == OTHER).all()


def test_removing_a_result_of_its_own_removes_all_its_nodes(scene):
    volume = toys.addCt()
    before = toys.sceneState()
    node = writeSegmentation(toys.toyLabels(), volume, toys.RECORD)
    assert hasResult(node)
    assert removeResult(node) is None
    assert not hasResult(node)
    assert toys.sceneState() == before


def test_edits_are_not_removed_unasked(result):
    node, volume = result
    paintVoxel(node, volume)
    before = toys.sceneState()
    with pytest.raises(EditedSegmentsError):
        removeResult(node)
    assert toys.sceneState() == before
    assert removeResult(node, discardEdits=True) is None


def test_other_segments_of_the_segmentation_stay(result):
    node, volume = result
    addSpleen(node, volume)
    spleen = toys.labelsBySlicer(node, volume)["Spleen"]
    writeSegmentation(OTHER, volume, {}, segmentationNode=node)
    assert list(toys.labelsBySlicer(node, volume)) == ["Liver", "Tumor", "Spleen"]
    assert (toys.labelsBySlicer(node, volume)["Spleen"] == spleen).all()
    assert (readLabels(node, volume) == OTHER).all()
    removeResult(node)
    assert list(toys.labelsBySlicer(node, volume)) == ["Spleen"]
    assert (toys.labelsBySlicer(node, volume)["Spleen"] == spleen).all()
    assert not hasResult(node)


def test_a_segment_painted_in_our_own_layer_survives_a_run(result):
    node, volume = result
    spleenId = node.GetSegmentation().AddEmptySegment("Spleen", "Spleen")
    mask = np.zeros(toys.SHAPE_KJI, bool)
    mask[1, 15:17, 2:20] = True
    toys.Brush(node, volume).draw(spleenId, mask)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    writeSegmentation(OTHER, volume, {}, segmentationNode=node, discardEdits=True)
    assert (toys.labelsBySlicer(node, volume)["Spleen"] == mask).all()
    removeResult(node)
    assert (toys.labelsBySlicer(node, volume)["Spleen"] == mask).all()
    assert not readLabels(node, volume).any()


def test_an_identifier_that_is_taken_is_not_used_twice(scene):
    volume = toys.addCt()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.GetSegmentation().AddEmptySegment("Liver", "right kidney")
    writeSegmentation(toys.toyLabels(), volume, {}, segmentationNode=node)
    assert segments.segmentIds(node.GetSegmentation()) == ["Liver", "Liver_2", "Tumor"]
    assert (readLabels(node, volume) == toys.toyLabels()).all()


def test_a_chosen_empty_segmentation_is_filled_and_emptied_again(scene):
    volume = toys.addCt()
    volume.SetAndObserveTransformNodeID(toys.addTransform(toys.rotation(0, 20)).GetID())
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    assert writeSegmentation(toys.toyLabels(), volume, {}, segmentationNode=node) is node
    assert node.GetName() == "Mine"
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    assert (readLabels(node, volume) == toys.toyLabels()).all()
    assert removeResult(node) is node
    assert node.GetSegmentation().GetNumberOfSegments() == 0
    assert not hasResult(node)


def test_a_chosen_segmentation_with_other_segments_keeps_its_transform(scene):
    volume, elsewhere = toys.addCt(), toys.addTransform(toys.rotation(1, 40))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    addSpleen(node, volume)
    node.SetAndObserveTransformNodeID(elsewhere.GetID())
    spleen = toys.segmentsOf(node)
    writeSegmentation(toys.toyLabels(), volume, {}, segmentationNode=node)
    assert node.GetTransformNodeID() == elsewhere.GetID()
    assert (readLabels(node, volume) == toys.toyLabels()).all()
    removeResult(node)
    assert toys.segmentsOf(node) == spleen


def test_surfaces_are_not_made_by_a_run(result):
    node, volume = result
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert node.CreateClosedSurfaceRepresentation()
    writeSegmentation(OTHER, volume, {}, segmentationNode=node)
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")


@looped("failing", ["exchangeSegments", "makeSegments", "_fill"])
def test_a_failure_half_way_leaves_a_chosen_segmentation_alone(result, monkeypatch, failing):
    node, volume = result
    addSpleen(node, volume)
    before = toys.sceneState()
    real = getattr(scene_code, failing)

    def fail(*arguments):
        real(*arguments)
        raise MemoryError("out of memory")

    def failOnce(*arguments):
        monkeypatch.setattr(scene_code, failing, real)
        fail(*arguments)

    monkeypatch.setattr(scene_code, failing, failOnce)
    with pytest.raises(MemoryError):
        writeSegmentation(OTHER, volume, {}, segmentationNode=node)
    assert toys.sceneState() == before
    assert (readLabels(node, volume) == toys.toyLabels()).all()


@looped("failing", ["exchangeSegments", "makeSegments", "placeBeside"])
def test_a_failure_half_way_leaves_no_new_node(scene, monkeypatch, failing):
    volume = toys.addCt()
    before = toys.sceneState()
    real = getattr(scene_code, failing)

    def fail(*arguments):
        real(*arguments)
        raise MemoryError("out of memory")

    monkeypatch.setattr(scene_code, failing, fail)
    with pytest.raises(MemoryError):
        writeSegmentation(toys.toyLabels(), volume, toys.RECORD)
    assert toys.sceneState() == before


def test_labels_that_do_not_fit_are_refused(result):
    node, volume = result
    before = toys.sceneState()
    with pytest.raises(ValueError, match="another size"):
        writeSegmentation(toys.toyLabels()[1:], volume, {}, segmentationNode=node)
    with pytest.raises(ValueError, match="uint8"):
        writeSegmentation(toys.toyLabels() + np.uint8(2), volume, {})
    with pytest.raises(ValueError, match="uint8"):
        writeSegmentation(toys.toyLabels().astype(np.int16), volume, {})
    assert toys.sceneState() == before


def test_nodes_that_were_deleted_meanwhile_are_refused(result, scene):
    node, volume = result
    scene.RemoveNode(node)
    before = toys.sceneState()
    with pytest.raises(ValueError, match="segmentation is not in the scene"):
        writeSegmentation(OTHER, volume, {}, segmentationNode=node)
    with pytest.raises(ValueError, match="segmentation is not in the scene"):
        removeResult(node)
    scene.RemoveNode(volume)
    with pytest.raises(ValueError, match="CT is not in the scene"):
        writeSegmentation(OTHER, volume, {})
    assert len(toys.sceneState()) <= len(before)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_closed_scene_stays_empty(result, scene):
    node, volume = result
    scene.Clear(False)
    before = toys.sceneState()
    for chosen in (None, node):
        with pytest.raises(ValueError, match="not in the scene"):
            writeSegmentation(OTHER, volume, {}, segmentationNode=chosen)
    assert toys.sceneState() == before
    assert hasEditedSegments(node) == []


def test_there_is_nothing_to_remove_without_a_run(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert not hasResult(node)
    with pytest.raises(ValueError, match="no result of a run"):
        removeResult(node)
