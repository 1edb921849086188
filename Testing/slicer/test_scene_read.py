"""A CT out of a volume node, and what is refused."""

from __future__ import annotations

from itertools import product

import ct_scenes as toys
import numpy as np
import pytest
import slicer
import vtk
from LiverTumorSegSlicer.scene.nodes import checkVolume, readVolume
from looped import looped


def hu() -> np.ndarray:
    return (np.arange(3 * 4 * 5, dtype=np.int16) * 20 - 1000).reshape(3, 4, 5)


def addVolume(voxels: np.ndarray, cls: str | None = None):
    return slicer.util.addVolumeFromArray(voxels, nodeClassName=cls)


def refusal(node) -> str:
    with pytest.raises(ValueError, match=r"\.$") as caught:
        readVolume(node)
    return str(caught.value)


def test_the_copy_is_the_callers_own(scene):
    node = addVolume(hu())
    ct = readVolume(node)
    slicer.util.arrayFromVolume(node)[:] = 0
    assert np.array_equal(ct.hu, hu())
    assert ct.hu.flags.writeable


@looped("dtype", [np.uint8, np.uint16])
def test_numbers_that_cannot_be_negative_are_no_hounsfield_units(scene, dtype):
    assert "nothing below 0" in refusal(addVolume((np.abs(hu()) % 256).astype(dtype)))


@looped("dtype", [np.int8, np.int32, np.float32, np.float64])
def test_other_number_types_become_int16(scene, dtype):
    voxels = np.clip(hu(), -100, 100).astype(dtype)
    assert np.array_equal(readVolume(addVolume(voxels)).hu, voxels.astype(np.int16))


def test_fractions_are_rounded_and_extremes_clipped(scene):
    voxels = hu().astype(np.float32)
    voxels[0, 0, :4] = (-1000.6, 40.5, 1e6, -1e6)
    node = addVolume(voxels)
    assert readVolume(node).hu[0, 0, :4].tolist() == [-1001, 40, 32767, -32768]
    assert any("clipped" in warning for warning in checkVolume(node))


def test_values_that_are_no_numbers_are_refused(scene):
    voxels = hu().astype(np.float32)
    voxels[1, 1, 1] = np.nan
    assert "no finite numbers" in refusal(addVolume(voxels))
    voxels[1, 1, 1] = -np.inf
    assert refusal(addVolume(voxels))


def test_a_normal_ct_gives_no_warning_and_a_windowed_one_does(scene):
    assert checkVolume(toys.addCt()) == ()
    noGeometry, windowed = checkVolume(addVolume(np.clip(hu(), -100, 200)))
    assert "identity" in noGeometry
    assert "display window" in windowed


def test_implausible_spacing_is_refused_before_a_run(scene):
    node = toys.addCt(np.diag([-0.0008, -0.0009, 0.0025, 1.0]))
    assert "too small" in refusal(node)


def test_nothing_selected_and_removed_nodes(scene):
    assert "not in the scene" in refusal(None)
    node = toys.addCt()
    scene.RemoveNode(node)
    assert "not in the scene" in refusal(node)
    node = toys.addCt()
    scene.Clear(False)
    assert "not in the scene" in refusal(node)


def test_label_maps_colors_vectors_and_other_nodes_are_refused(scene):
    labels = addVolume(np.ones((3, 4, 5), np.uint8), "vtkMRMLLabelMapVolumeNode")
    assert "label map" in refusal(labels)
    colors = addVolume(np.zeros((3, 4, 5, 3), np.uint8), "vtkMRMLVectorVolumeNode")
    assert "several values" in refusal(colors)
    manyValues = addVolume(np.zeros((3, 4, 5, 9), np.float32), "vtkMRMLVectorVolumeNode")
    assert "several values" in refusal(manyValues)
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode")
    assert "one frame" in refusal(sequence)
    assert "no 3D volume" in refusal(scene.AddNewNodeByClass("vtkMRMLModelNode"))


def test_a_volume_without_an_image_is_refused(scene):
    assert "holds no image" in refusal(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))


def test_single_slices_and_masks_are_refused(scene):
    assert "one slice" in refusal(addVolume(hu()[:1]))
    assert "mask" in refusal(addVolume((hu() > 0).astype(np.int16)))
    assert "same value" in refusal(addVolume(np.zeros((3, 4, 5), np.int16)))


def test_one_frame_of_a_sequence_is_read_as_a_volume(scene):
    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(scene)
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode")
    for shift in (0, 100):
        frame = addVolume(hu() + np.int16(shift))
        sequence.SetDataNodeAtValue(frame, str(shift))
        scene.RemoveNode(frame)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    logic.UpdateProxyNodesFromSequences(browser)
    browser.SetSelectedItemNumber(1)
    logic.UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    assert np.array_equal(readVolume(proxy).hu, hu() + 100)


def test_a_transform_that_bends_space_must_be_hardened_first(scene):
    node = toys.addCt()
    spline = vtk.vtkThinPlateSplineTransform()
    landmarks = [vtk.vtkPoints(), vtk.vtkPoints()]
    for points, moved in zip(landmarks, (0, 20), strict=True):
        for corner in product((-60, 0), (-20, 40), (80, 150)):
            points.InsertNextPoint(corner)
        points.InsertNextPoint(-36, 15 + moved, 118)
    spline.SetBasisToR()
    spline.SetSourceLandmarks(landmarks[0])
    spline.SetTargetLandmarks(landmarks[1])
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(transform.GetID())
    assert "harden it first" in refusal(node)
    linear = toys.addTransform(toys.rotation(0, 5), transform)
    node.SetAndObserveTransformNodeID(linear.GetID())
    assert "harden it first" in refusal(node)


def test_a_linear_transform_counts_in_the_place(scene):
    node = toys.addCt()
    node.SetAndObserveTransformNodeID(toys.addTransform(toys.rotation(1, 30)).GetID())
    expected = toys.rotation(1, 30) @ toys.obliqueAffine()
    assert np.allclose(readVolume(node).ijk_to_ras, expected)


def test_a_transform_that_flattens_space_is_refused(scene):
    node = toys.addCt()
    node.SetAndObserveTransformNodeID(toys.addTransform(np.diag([1.0, 1, 0, 1])).GetID())
    assert "zero" in refusal(node) or "singular" in refusal(node)


def test_a_transform_of_less_than_a_voxel_is_no_reason_to_refuse_a_ct(scene):
    """Slicer puts one above every CT whose slices lie a thousandth of a millimeter off."""
    for affine in (np.diag([-0.8, -0.9, 2.5, 1.0]), toys.obliqueAffine()):
        for bend, along, warned in (
            *((0.0, 2, False), (0.02, 2, False), (0.5, 2, True)),
            *((0.02, 0, False), (0.5, 1, True), (-0.5, 0, True)),
        ):
            node = toys.addCt(affine)
            toys.addBend(node, bend, along)
            ct, warnings = readVolume(node), checkVolume(node)
            assert np.abs(ct.ijk_to_ras - affine)[:3].max() < max(1e-6, abs(bend))
            assert len(warnings) == warned
            assert not warned or "mm; check the result" in warnings[0]
        for along in (2, 0):
            node = toys.addCt(affine)
            toys.addBend(node, 2.0, along)
            assert "harden it first" in refusal(node)


def test_a_linear_transform_above_a_small_bend_counts(scene):
    node = toys.addCt()
    bend = toys.addBend(node, 0.02)
    bend.SetAndObserveTransformNodeID(toys.addTransform(toys.rotation(1, 30)).GetID())
    expected = toys.rotation(1, 30) @ toys.obliqueAffine()
    assert np.allclose(readVolume(node).ijk_to_ras, expected, atol=0.02)
