"""Where volumes and segmentations lie: matrices in millimeters, and the place in the data tree.

A segmentation keeps its voxels on the CT's own grid and stands under the CT's own parent
transform, so that both move together, a hardened transform leaves them together, and a DICOM SEG
still fits the DICOM images, which know nothing of the transform.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

BENT_AT_MOST = 0.25  # of the distance of slices
WITHIN_VOXELS = 0.01  # grids that differ by less anywhere are the same grid


def isInScene(node: Any) -> bool:
    """Whether a node is there and belongs to the present scene; removed nodes have none."""
    return node is not None and node.GetScene() is slicer.mrmlScene


def toMatrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """A VTK matrix of a ``(4, 4)`` array."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, dtype=np.float64).ravel())
    return matrix


def isUnderLinearTransforms(node: Any) -> bool:
    """Whether all transforms above a node together are linear; without any they are."""
    parent = node.GetParentTransformNode()
    return parent is None or bool(parent.IsTransformToWorldLinear())


def parentToWorld(node: Any) -> np.ndarray:
    """``(4, 4)``, mm: what all transforms above a node do together; the identity without any.

    Raises ``ValueError`` when they bend space.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not isUnderLinearTransforms(node):
        raise ValueError(
            _(
                "A transform that bends space (nonlinear) is applied to this CT or segmentation; "
                "harden it first (in the Data module: right click on the transform, Harden)."
            )
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def ijkToRas(volumeNode: Any) -> np.ndarray:
    """``(4, 4)``: voxel i, j, k to mm in the node's own coordinates, below its transforms."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def worldIjkToRas(volumeNode: Any) -> np.ndarray:
    """``(4, 4)``: voxel i, j, k to mm in the world, with all transforms above the volume.

    Slicer puts a transform that bends space a little above a CT whose slices are not quite evenly
    spaced; its best linear part counts then. Raises ``ValueError`` when it bends space by more
    than a part of a voxel: labels would lie elsewhere than they seem to.
    """
    if isUnderLinearTransforms(volumeNode):
        return parentToWorld(volumeNode) @ ijkToRas(volumeNode)
    matrix, bentMm = _straightened(volumeNode)
    if bentMm > BENT_AT_MOST * np.linalg.norm(matrix[:3, :3], axis=0).max():
        parentToWorld(volumeNode)  # has the sentence
    return matrix


def bentMm(volumeNode: Any) -> float:
    """How far, at most, transforms move a voxel from where a linear one would; in mm."""
    return 0.0 if isUnderLinearTransforms(volumeNode) else _straightened(volumeNode)[1]


def _straightened(volumeNode: Any) -> tuple[np.ndarray, float]:
    """The linear ``(4, 4)`` that is nearest to where a volume's voxels really lie, and the rest.

    Seen at the corners and the middle of every slice, along each axis of the volume.
    """
    transform = vtk.vtkGeneralTransform()
    volumeNode.GetParentTransformNode().GetTransformToWorld(transform)
    last = np.array(volumeNode.GetImageData().GetDimensions()) - 1
    ijk = []
    for axis in range(3):
        others = [n for n in range(3) if n != axis]
        for position in range(last[axis] + 1):
            for share in ((0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)):
                point = np.zeros(3)
                point[axis], point[others] = position, last[others] * share
                ijk.append((*point, 1.0))
    voxels = np.array(ijk)
    places = voxels @ ijkToRas(volumeNode).T
    world = np.array([transform.TransformPoint(place[:3]) for place in places])
    linear = np.linalg.lstsq(voxels, world, rcond=None)[0].T
    offMm = np.linalg.norm(voxels @ linear.T - world, axis=1)
    return np.vstack([linear, (0, 0, 0, 1)]), float(offMm.max())


def gridIn(segmentationNode: Any, volumeNode: Any) -> np.ndarray:
    """``(4, 4)``: voxel i, j, k of a volume to mm in a segmentation's own coordinates.

    Exactly the volume's own matrix when both stand under the same transform, whatever it does.
    Raises ``ValueError`` when a transform of either bends space by more than a part of a voxel.
    """
    if segmentationNode.GetTransformNodeID() == volumeNode.GetTransformNodeID():
        return ijkToRas(volumeNode)
    return np.linalg.inv(parentToWorld(segmentationNode)) @ worldIjkToRas(volumeNode)


def shiftBetween(
    fromIjkToMm: np.ndarray, toIjkToMm: np.ndarray, shapeKji: tuple[int, ...]
) -> tuple[int, int, int] | None:
    """Voxels ``(k, j, i)`` to add to an index on one grid for the same place on the other.

    None when the grids differ by more than a shift of whole voxels anywhere within ``shapeKji``.
    """
    between = np.linalg.inv(toIjkToMm) @ fromIjkToMm
    shift = np.rint(between[:3, 3])
    drift = np.abs(between[:3, :3] - np.eye(3)) @ np.array(shapeKji[::-1], dtype=float)
    if (drift + np.abs(between[:3, 3] - shift)).max() > WITHIN_VOXELS:
        return None
    i, j, k = (int(v) for v in shift)
    return k, j, i


def placeBeside(node: Any, volumeNode: Any) -> None:
    """Put a node next to a volume in the data tree: under its study, or its folder."""
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if tree is None:
        return
    item, volumeItem = tree.GetItemByDataNode(node), tree.GetItemByDataNode(volumeNode)
    if item and volumeItem:  # 0 is no item
        tree.SetItemParent(item, tree.GetItemParent(volumeItem))


def removeFromScene(node: Any) -> None:
    """Remove a node with its display and storage nodes, which the scene would keep."""
    if not isInScene(node):
        return
    belongings = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    belongings += [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
    slicer.mrmlScene.RemoveNode(node)
    for belonging in belongings:
        if isInScene(belonging):
            slicer.mrmlScene.RemoveNode(belonging)
