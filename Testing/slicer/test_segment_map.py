"""Segments that people changed, renamed, moved, split or made, back on the CT's voxels."""

from __future__ import annotations

from typing import Any

import ct_scenes as toys
import numpy as np
import pytest
import slicer
import vtk
from LiverTumorSegLib.labels import Label
from LiverTumorSegSlicer.scene import segments
from LiverTumorSegSlicer.scene.nodes import readLabels, writeSegmentation
from LiverTumorSegSlicer.scene.segment_map import mapSegments
from looped import looped


@pytest.fixture
def result(scene) -> tuple[Any, Any]:
    """(segmentation, volume) with the toy labels."""
    volume = toys.addCt()
    return writeSegmentation(toys.toyLabels(), volume, toys.RECORD), volume


def addSegment(node: Any, volume: Any, name: str, mask: np.ndarray, terminology: str = "") -> str:
    """As Segment Editor does: in a layer of its own, without any of our tags."""
    segmentId = node.GetSegmentation().AddEmptySegment("", name)
    if terminology:
        segment = node.GetSegmentation().GetSegment(segmentId)
        segment.SetTag(segment.GetTerminologyEntryTagName(), terminology)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segmentId, volume)
    return segmentId


def test_renamed_and_hidden_segments_are_still_known(result):
    node, volume = result
    for segmentId, name in (("Liver", "Tumor"), ("Tumor", "Something in segment VI")):
        node.GetSegmentation().GetSegment(segmentId).SetName(name)
        node.GetDisplayNode().SetSegmentVisibility(segmentId, False)
    node.SetDisplayVisibility(False)
    assert (readLabels(node, volume) == toys.toyLabels()).all()


def test_names_tell_where_nothing_else_does(scene):
    volume, labels = toys.addCt(), toys.toyLabels()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    addSegment(node, volume, "spleen", labels == 0)
    addSegment(node, volume, "liver", labels == 1)
    addSegment(node, volume, "Tumour_1", labels == 2)
    assert (readLabels(node, volume) == labels).all()


def test_terminology_goes_before_names(scene):
    volume, labels = toys.addCt(), toys.toyLabels()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    inKidney = segments.terminology(Label.TUMOR).replace("10200004^Liver", "64033007^Kidney")
    addSegment(node, volume, "A", labels == 1, segments.terminology(Label.LIVER))
    addSegment(node, volume, "B", labels == 2, segments.terminology(Label.TUMOR))
    addSegment(node, volume, "Tumor", labels == 0, inKidney)
    assert (readLabels(node, volume) == labels).all()


@looped("name", ["liver vessels", "Liver segment VIII", "tumor bed", "my tumor"])
def test_other_names_are_other_things(result, name):
    node, volume = result
    addSegment(node, volume, name, toys.toyLabels() == 0)
    assert (readLabels(node, volume) == toys.toyLabels()).all()


def test_a_tumor_that_a_person_added_counts(result):
    node, volume = result
    mask = np.zeros(toys.SHAPE_KJI, bool)
    mask[10, 4, 5:8] = True
    addSegment(node, volume, "Tumor 2", mask)
    expected = np.where(mask, 2, toys.toyLabels())
    assert (readLabels(node, volume) == expected).all()


def test_tumor_wins_where_a_person_let_it_overlap_the_liver(result):
    node, volume = result
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        (toys.toyLabels() > 0).astype(np.uint8), node, "Liver", volume
    )
    assert node.GetSegmentation().GetNumberOfLayers() == 2
    assert (readLabels(node, volume) == toys.toyLabels()).all()


def test_segments_beyond_the_volume_are_cut_off(scene):
    small = toys.addCt()
    labels = np.pad(toys.toyLabels(), 5, mode="edge")
    affine = toys.obliqueAffine()
    affine[:3, 3] -= affine[:3, :3] @ (5, 5, 5)
    large = slicer.util.addVolumeFromArray(np.where(labels, 50, -900).astype(np.int16), affine)
    node = writeSegmentation(labels, large, toys.RECORD)
    assert (readLabels(node, small) == toys.toyLabels()).all()
    back = np.pad(toys.toyLabels(), 5)
    inside = writeSegmentation(toys.toyLabels(), small, toys.RECORD)
    assert (readLabels(inside, large) == back).all()


def test_segments_on_a_finer_grid_are_resampled(result):
    node, volume = result
    fine = toys.obliqueAffine() @ np.diag([1 / 3, 1 / 3, 1 / 3, 1])
    fine[:3, 3] -= fine[:3, :3] @ (1, 1, 1)
    labels = np.kron(toys.toyLabels(), np.ones((3, 3, 3), np.uint8))
    fineVolume = slicer.util.addVolumeFromArray(labels.astype(np.int16), ijkToRAS=fine)
    for segmentId, label in (("Liver", 1), ("Tumor", 2)):
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            (labels == label).astype(np.uint8), node, segmentId, fineVolume
        )
    layer = node.GetSegmentation().GetSegment("Liver").GetRepresentation("Binary labelmap")
    assert layer.GetSpacing()[2] < 1
    assert (readLabels(node, volume) == toys.toyLabels()).all()


@pytest.mark.parametrize("nested", [False, True])
def test_a_transform_on_one_of_the_two_counts(result, nested):
    node, volume = result
    turn = toys.rotation(0, 25)
    transform = toys.addTransform(turn, toys.addTransform(turn) if nested else None)
    node.SetAndObserveTransformNodeID(transform.GetID())
    moved = turn @ turn @ toys.obliqueAffine() if nested else turn @ toys.obliqueAffine()
    elsewhere = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(volume), ijkToRAS=moved)
    assert (readLabels(node, elsewhere) == toys.toyLabels()).all()
    assert (readLabels(node, volume) != toys.toyLabels()).any()
    volume.SetAndObserveTransformNodeID(transform.GetID())
    assert (readLabels(node, volume) == toys.toyLabels()).all()


def test_a_transform_that_bends_space_moves_the_segments(result):
    node, volume = result
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    fixed, moving = vtk.vtkPoints(), vtk.vtkPoints()
    for point in np.random.default_rng(1).uniform(-200, 200, (8, 3)):
        fixed.InsertNextPoint(point)
        moving.InsertNextPoint(point[0] + 30, point[1], point[2])
    spline.SetSourceLandmarks(fixed)
    spline.SetTargetLandmarks(moving)
    bending = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    bending.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(bending.GetID())
    shifted = toys.obliqueAffine()
    shifted[0, 3] += 30
    elsewhere = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(volume), shifted)
    assert (readLabels(node, elsewhere) == toys.toyLabels()).mean() > 0.995


def test_segments_that_are_surfaces_are_voxelized(result):
    node, volume = result
    node.GetSegmentation().SetConversionParameter("Smoothing factor", "0")
    assert node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.GetSegmentation().RemoveRepresentation("Binary labelmap")
    found = readLabels(node, volume)
    assert (found == toys.toyLabels()).mean() > 0.95
    assert 30 < (found == 2).sum() < 60


def test_a_segmentation_without_segments_is_all_background(scene):
    volume = toys.addCt()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert readLabels(node, volume).max() == 0
    assert readLabels(node, volume).shape == toys.SHAPE_KJI


def test_gone_nodes_are_refused(result, scene):
    node, volume = result
    scene.RemoveNode(node)
    with pytest.raises(ValueError, match="not in the scene"):
        readLabels(node, volume)
    with pytest.raises(ValueError, match="not in the scene"):
        readLabels(node, None)


def test_the_map_names_the_segment_of_each_voxel(scene):
    volume = toys.addCt()
    node = writeSegmentation(toys.toyLabels(), volume, toys.RECORD, onePerLesion=True)
    found = mapSegments(node, volume)
    assert found.segmentIds == ("Liver", "Tumor", "Tumor_2", "Tumor_3")
    assert found.labels == (Label.LIVER, Label.TUMOR, Label.TUMOR, Label.TUMOR)
    assert np.bincount(found.numbersKji.ravel())[2:].tolist() == [45, 8, 1]


def test_reading_leaves_the_scene_alone(result):
    node, volume = result
    before = toys.sceneState()
    labels = readLabels(node, volume)
    labels[:] = 0
    assert toys.sceneState() == before
    assert (readLabels(node, volume) == toys.toyLabels()).all()


def test_labels_come_back_from_under_an_acquisition_transform(scene):
    """Written, read and written again: all on the CT's own grid, which nothing bends."""
    volume = toys.addCt()
    toys.addBend(volume, 0.3)
    labels = toys.toyLabels()
    node = writeSegmentation(labels, volume, toys.RECORD)
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    assert np.array_equal(readLabels(node, volume), labels)
    again = np.roll(labels, 1, axis=2)
    writeSegmentation(again, volume, toys.RECORD, segmentationNode=node)
    assert np.array_equal(readLabels(node, volume), again)
