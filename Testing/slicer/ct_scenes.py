"""CTs, label maps and records for the tests of what stands between the scene and arrays."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import slicer
import vtk
from LiverTumorSegSlicer.scene.geometry import toMatrix

SHAPE_KJI = (14, 18, 22)
RECORD: dict[str, Any] = {
    "notice": "For research only, not for diagnosis.",
    "model": {"model": "hybrid2d", "version": "1.2", "sha256": "ab" * 32},
    "warnings": ["One sentence."],
}
ALL_ORIENTATIONS = [
    (axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)
]  # all 48: which patient axis i, j and k run along, and which way


def orientedAffine(axes: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    """``(4, 4)`` ijk to RAS mm with spacing 0.8, 0.9 and 2.5 along i, j and k."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (axis, sign, spacing) in enumerate(zip(axes, signs, (0.8, 0.9, 2.5), strict=True)):
        affine[axis, column] = sign * spacing
    affine[:3, 3] = (-31.5, 12.25, 107.0)
    return affine


def obliqueAffine() -> np.ndarray:
    """``(4, 4)``: LPS, turned by 12 and -8 degrees, anisotropic."""
    return rotation(0, 12.3) @ rotation(2, -8.7) @ orientedAffine((0, 1, 2), (-1, -1, 1))


def rotation(axis: int, degrees: float) -> np.ndarray:
    """``(4, 4)`` about one of the patient's axes."""
    matrix = np.eye(4)
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    a, b = [other for other in range(3) if other != axis]
    matrix[a, a], matrix[b, b], matrix[a, b], matrix[b, a] = c, c, -s, s
    return matrix


def toyLabels(shapeKji: tuple[int, int, int] = SHAPE_KJI) -> np.ndarray:
    """A liver that looks different from every side, with lesions of 45, 8 and 1 voxels."""
    labels = np.zeros(shapeKji, np.uint8)
    labels[2:12, 3:15, 4:19] = 1
    labels[2:5, 3:6, 4:9] = 0
    labels[5:8, 6:9, 7:12] = 2
    labels[9:11, 10:12, 14:16] = 2
    labels[3, 12, 17] = 2
    return labels


def addCt(affine: np.ndarray | None = None, name: str = "CT", dtype: type = np.int16) -> Any:
    """A volume node with the toy liver in it."""
    labels = toyLabels()
    hu = np.where(labels == 1, 110, np.where(labels == 2, 60, -900)).astype(dtype)
    hu += (np.indices(labels.shape).sum(axis=0) % 7).astype(dtype)
    return slicer.util.addVolumeFromArray(
        hu, ijkToRAS=obliqueAffine() if affine is None else affine, name=name
    )


def addTransform(matrix: np.ndarray, parent: Any = None) -> Any:
    """A linear transform node, under another one when given."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Transform")
    node.SetMatrixTransformToParent(toMatrix(matrix))
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def labelsBySlicer(segmentationNode: Any, volumeNode: Any) -> dict[str, np.ndarray]:
    """Each segment, by name, on the volume's grid, as Slicer itself reads it."""
    segmentation = segmentationNode.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    return {
        segmentation.GetSegment(i).GetName(): slicer.util.arrayFromSegmentBinaryLabelmap(
            segmentationNode, i, volumeNode
        ).astype(bool)
        for i in ids
    }


def sceneState() -> dict[str, Any]:
    """All nodes, and what every segmentation holds: equal before and after nothing happened."""
    scene, state = slicer.mrmlScene, {}
    for n in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(n)
        state[node.GetID()] = (node.GetName(), segmentsOf(node))
    return state


def segmentsOf(node: Any) -> list[Any]:
    """What people see of a segmentation, comparable; empty for other nodes."""
    if not node.IsA("vtkMRMLSegmentationNode"):
        return []
    from LiverTumorSegSlicer.scene import segments

    segmentation = node.GetSegmentation()
    ours = {n: node.GetAttribute(n) for n in node.GetAttributeNames() if n.startswith(segments.TAG)}
    listed: list[Any] = [node.GetTransformNodeID(), ours]
    for segmentId in segments.segmentIds(segmentation):
        segment = segmentation.GetSegment(segmentId)
        listed.append(
            (segmentId, segment.GetName(), segment.GetColor(), segments.fingerprint(segment))
        )
    return listed


class Brush:
    """Slicer's own Segment Editor logic: paints and erases as its effects do."""

    def __init__(self, segmentationNode: Any, volumeNode: Any) -> None:
        self.node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetSegmentEditorNode(self.node)
        self._segmentationNode = segmentationNode
        self.node.SetAndObserveSegmentationNode(segmentationNode)
        self.node.SetAndObserveSourceVolumeNode(volumeNode)

    def draw(self, segmentId: str, maskKji: np.ndarray, *, erase: bool = False) -> None:
        """Add a mask on the CT's grid to a segment, or take it away, under the node's masking."""
        logic = self._logic
        self.node.SetSelectedSegmentID(segmentId)
        logic.SetCurrentSegmentID(segmentId)
        logic.UpdateReferenceGeometryImage()
        logic.UpdateMaskLabelmap()
        logic.ResetModifierLabelmapToDefault()
        modifier = logic.GetModifierLabelmap()
        from vtk.util.numpy_support import vtk_to_numpy

        vtk_to_numpy(modifier.GetPointData().GetScalars())[:] = maskKji.ravel()
        modifier.Modified()
        mode = logic.ModificationModeRemove if erase else logic.ModificationModeAdd
        logic.SaveStateForUndo()
        logic.ModifySegmentByLabelmap(
            self._segmentationNode, segmentId, modifier, mode, False, False
        )

    def undo(self) -> None:
        """Take back the last stroke."""
        self._logic.Undo()


def addBend(volumeNode: Any, bendMm: float, along: int = 2) -> Any:
    """A grid transform above a CT, as Slicer's DICOM reader makes for unevenly spaced slices.

    Every second slice is moved along the slices' normal, or along i (0) or j (1) within its plane.
    """
    dims, image = volumeNode.GetImageData().GetDimensions(), vtk.vtkImageData()
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASDirectionMatrix(matrix)
    image.SetDimensions(2, 2, dims[2])
    image.AllocateScalars(vtk.VTK_DOUBLE, 3)
    spacing = volumeNode.GetSpacing()
    image.SetSpacing(spacing[0] * (dims[0] - 1), spacing[1] * (dims[1] - 1), spacing[2])
    image.SetOrigin(*volumeNode.GetOrigin())
    for k in range(dims[2]):
        for j in range(2):
            for i in range(2):
                for axis in range(3):
                    moved = bendMm * (k % 2) * matrix.GetElement(axis, along)
                    image.SetScalarComponentFromDouble(i, j, k, axis, moved)
    grid = slicer.vtkOrientedGridTransform()
    grid.SetGridDirectionMatrix(matrix)
    grid.SetDisplacementGridData(image)
    grid.SetInterpolationModeToLinear()
    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLGridTransformNode", "CT acquisition transform"
    )
    node.SetAndObserveTransformToParent(grid)
    volumeNode.SetAndObserveTransformNodeID(node.GetID())
    return node
