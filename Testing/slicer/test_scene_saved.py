"""Saved and loaded again, a result is the same, and still known as a result."""

from __future__ import annotations

from typing import Any

import ct_scenes as toys
import numpy as np
import pytest
import slicer
from LiverTumorSegSlicer.panel.lesion_table import LesionTable
from LiverTumorSegSlicer.scene import segments
from LiverTumorSegSlicer.scene.nodes import (
    hasEditedSegments,
    hasResult,
    readLabels,
    removeResult,
    resultRecord,
    writeSegmentation,
)

OTHER = np.roll(toys.toyLabels(), 2, axis=1)


def reload(path: str) -> tuple[Any, Any]:
    """Save the scene, close it, load it. Returns the segmentation and the CT."""
    assert slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(False)
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
    slicer.util.loadScene(path)
    return slicer.util.getNode("CT liver and tumors"), slicer.util.getNode("CT")


def assertSameResult(node: Any, volume: Any, labels: np.ndarray) -> None:
    assert (readLabels(node, volume) == labels).all()
    assert resultRecord(node) == toys.RECORD
    assert hasResult(node)
    for segmentId in ("Liver", "Tumor"):
        segment = node.GetSegmentation().GetSegment(segmentId)
        label = segments.rolesOf(node.GetSegmentation())[segmentId]
        assert segments.tagOf(segment, "TerminologyEntry") == segments.terminology(label)
        assert segments.tagOf(segment, segments.MODEL) == "hybrid2d"
        assert segments.tagOf(segment, segments.SHA256) == "ab" * 32
        assert np.allclose(
            segment.GetColor(), np.array(segments.COLORS_RGB[label]) / 255, atol=1e-5
        )


@pytest.mark.parametrize("onePerLesion", [False, True])
def test_a_scene_file_keeps_the_result_the_tags_and_the_table(scene, tmp_path, onePerLesion):
    volume, labels = toys.addCt(toys.rotation(0, 9) @ toys.obliqueAffine()), toys.toyLabels()
    node = writeSegmentation(labels, volume, toys.RECORD, onePerLesion=onePerLesion)
    table = LesionTable(node, volume)
    table.compute()
    table.cleanUp()
    node, volume = reload(str(tmp_path / "scene.mrb"))
    assertSameResult(node, volume, labels)
    assert hasEditedSegments(node) == []
    again = LesionTable(node, volume)
    again.compute()
    again.cleanUp()
    assert [row.cells() for row in again.rows] == [row.cells() for row in table.rows]
    assert again.toText() == table.toText()


def test_edits_are_still_known_after_reload(scene, tmp_path):
    volume = toys.addCt()
    node = writeSegmentation(toys.toyLabels(), volume, toys.RECORD)
    mask = (toys.toyLabels() == 2).astype(np.uint8)
    mask[0, 0, 0] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "Tumor", volume)
    node, volume = reload(str(tmp_path / "scene.mrb"))
    assert hasEditedSegments(node) == ["Tumor"]


def test_a_result_can_be_removed_after_reload(scene, tmp_path):
    volume = toys.addCt()
    node = writeSegmentation(toys.toyLabels(), volume, toys.RECORD)
    writeSegmentation(OTHER, volume, toys.RECORD, segmentationNode=node)
    node, volume = reload(str(tmp_path / "scene.mrb"))
    assertSameResult(node, volume, OTHER)
    assert removeResult(node) is None
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def test_a_scene_file_keeps_a_transformed_result_in_place(scene, tmp_path):
    volume = toys.addCt()
    outer = toys.addTransform(toys.rotation(2, 10))
    volume.SetAndObserveTransformNodeID(toys.addTransform(toys.rotation(0, 33), outer).GetID())
    writeSegmentation(toys.toyLabels(), volume, toys.RECORD)
    node, volume = reload(str(tmp_path / "scene.mrb"))
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    assertSameResult(node, volume, toys.toyLabels())
    assert hasEditedSegments(node) == []


def test_a_seg_nrrd_alone_keeps_segments_and_tags(scene, tmp_path):
    volume = toys.addCt()
    node = writeSegmentation(toys.toyLabels(), volume, toys.RECORD)
    assert slicer.util.saveNode(node, str(tmp_path / "result.seg.nrrd"))
    scene.RemoveNode(node)
    node = slicer.util.loadSegmentation(str(tmp_path / "result.seg.nrrd"))
    assert (readLabels(node, volume) == toys.toyLabels()).all()
    assert hasEditedSegments(node) == []
    assert segments.tagOf(node.GetSegmentation().GetSegment("Tumor"), segments.VERSION) == "1.2"
