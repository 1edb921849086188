"""Liver and tumor segments on the voxels of a CT, wherever the segments themselves lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.parts import Outline
from slicer.i18n import tr as _

from .geometry import (
    gridIn,
    ijkToRas,
    isInScene,
    isUnderLinearTransforms,
    shiftBetween,
    toMatrix,
)
from .segments import LABELMAP, layerArray, rolesOf
from .volumes import refuseWrongNode

Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class SegmentMap:
    """Which segment each voxel of a CT belongs to.

    numbersKji: ``(k, j, i)``, 0 for none of them, n for ``segmentIds[n - 1]``.
    segmentIds: liver first, then tumor; each in the order of the segmentation.
    labels: what each of them is.
    """

    numbersKji: np.ndarray
    segmentIds: tuple[str, ...]
    labels: tuple[Label, ...]

    def labelsKji(self) -> np.ndarray:
        """uint8 ``(k, j, i)`` of :class:`Label`."""
        table = np.array([Label.BACKGROUND, *self.labels], np.uint8)
        if self.numbersKji.dtype == np.uint8 and (table == np.arange(len(table))).all():
            return self.numbersKji.copy()
        return table[self.numbersKji]


def mapSegments(segmentationNode: Any, volumeNode: Any) -> SegmentMap:
    """Map the liver and tumor segments of a segmentation to a CT's voxels, hidden ones too.

    Where tumor and liver overlap it is tumor. Segments on the CT's own grid are copied; others
    (edited on another grid, or under another transform) are resampled to the nearest voxel.
    Raises ``ValueError`` when a node is gone.
    """
    refuseWrongNode(volumeNode)
    if not isInScene(segmentationNode):
        raise ValueError(
            _("The segmentation is not in the scene (any more); choose another one, or segment.")
        )
    segmentation = _withLabelmaps(segmentationNode)
    roles = sorted(rolesOf(segmentation).items(), key=lambda role: role[1])
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    numbersKji = np.zeros(shape, np.uint8 if len(roles) < 256 else np.uint16)
    for layer, numbers in _byLayer(segmentation, roles):
        _paste(numbersKji, layer, numbers, segmentationNode, volumeNode)
    return SegmentMap(
        numbersKji, tuple(role[0] for role in roles), tuple(role[1] for role in roles)
    )


def segmentOutlines(
    segmentationNode: Any, volumeNode: Any, chosenIds: Iterable[str], box: Box
) -> Iterator[Outline]:
    """Each of these segments, whatever it is, by its identifier: its mask in a box of a CT's
    voxels, and how many voxels of the CT it has. They may overlap.

    They come layer by layer, and those without voxels not at all. Both nodes are in the scene.
    """
    segmentation = _withLabelmaps(segmentationNode)
    roles = [(segmentId, Label.BACKGROUND) for segmentId in chosenIds]
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    whole = tuple(slice(0, count) for count in shape)
    for layer, numbers in _byLayer(segmentation, roles):
        valuesKji, first = _placed(layer, segmentationNode, volumeNode)
        inVolume = valuesKji[_common(whole, first, valuesKji.shape)[1]]
        inBox, inLayer = _common(box, first, valuesKji.shape)
        for entry in numbers:
            mask = np.zeros([side.stop - side.start for side in box], np.bool_)
            mask[inBox] = valuesKji[inLayer] == entry.value
            yield Outline(entry.segmentId, mask, int(np.count_nonzero(inVolume == entry.value)))


def _withLabelmaps(segmentationNode: Any) -> Any:
    """The segmentation, with label maps made of what there is else."""
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetNumberOfSegments() and not segmentation.ContainsRepresentation(LABELMAP):
        segmentationNode.CreateBinaryLabelmapRepresentation()
    return segmentation


@dataclass(frozen=True)
class _Numbered:
    """A segment, the value of its voxels in its layer, and their number in the map."""

    segmentId: str
    value: int
    number: int


def _byLayer(
    segmentation: vtk.vtkObject, roles: list[tuple[str, Label]]
) -> list[tuple[vtk.vtkObject, list[_Numbered]]]:
    """The layers to copy, in order, each with its segments of one role."""
    groups: list[tuple[Label, vtk.vtkObject, list[_Numbered]]] = []
    for number, (segmentId, label) in enumerate(roles, start=1):
        segment = segmentation.GetSegment(segmentId)
        layer = segment.GetRepresentation(LABELMAP)
        if layer is None or layer.IsEmpty():
            continue
        entry = _Numbered(segmentId, segment.GetLabelValue(), number)
        same = [group for group in groups if group[0] is label and group[1] is layer]
        if same:
            same[0][2].append(entry)
        else:
            groups.append((label, layer, [entry]))
    return [(layer, numbers) for _label, layer, numbers in groups]


def _paste(
    numbersKji: np.ndarray,
    layer: vtk.vtkObject,
    numbers: list[_Numbered],
    segmentationNode: Any,
    volumeNode: Any,
) -> None:
    valuesKji, first = _placed(layer, segmentationNode, volumeNode)
    whole = tuple(slice(0, count) for count in numbersKji.shape)
    inVolume, inLayer = _common(whole, first, valuesKji.shape)
    table = np.zeros(max(entry.value for entry in numbers) + 2, numbersKji.dtype)
    for entry in numbers:
        table[entry.value] = entry.number
    found = np.take(table, valuesKji[inLayer], mode="clip")  # larger values: the last, a zero
    np.copyto(numbersKji[inVolume], found, where=found != 0)


def _placed(
    layer: vtk.vtkObject, segmentationNode: Any, volumeNode: Any
) -> tuple[np.ndarray, np.ndarray]:
    """A layer's values, and the CT's voxel (k, j, i) that the first of them lies at."""
    shift = _shiftOf(layer, segmentationNode, volumeNode)
    if shift is None:
        layer, shift = _resampled(layer, segmentationNode, volumeNode), (0, 0, 0)
    valuesKji, start = layerArray(layer)
    return valuesKji, np.array(start) + shift


def _common(box: Box, first: np.ndarray, shape: tuple[int, ...]) -> tuple[Box, Box]:
    """What a box and a layer have in common: within the box, and within the layer."""
    start = np.array([side.start for side in box])
    low = np.maximum(first, start)
    high = np.maximum(np.minimum(first + shape, [side.stop for side in box]), low)
    inBox = tuple(slice(*edges) for edges in zip(low - start, high - start, strict=True))
    return inBox, tuple(slice(*edges) for edges in zip(low - first, high - first, strict=True))


def _shiftOf(
    layer: vtk.vtkObject, segmentationNode: Any, volumeNode: Any
) -> tuple[int, int, int] | None:
    """Voxels from a layer's indices to the CT's; None when it lies on another grid."""
    if not _isRelativePlaceLinear(segmentationNode, volumeNode):
        return None
    matrix = vtk.vtkMatrix4x4()
    layer.GetImageToWorldMatrix(matrix)
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    grid = gridIn(segmentationNode, volumeNode)
    return shiftBetween(slicer.util.arrayFromVTKMatrix(matrix), grid, shape)


def _isRelativePlaceLinear(segmentationNode: Any, volumeNode: Any) -> bool:
    """Whether matrices describe how both lie to each other; under one transform they always do."""
    if segmentationNode.GetTransformNodeID() == volumeNode.GetTransformNodeID():
        return True
    return isUnderLinearTransforms(segmentationNode) and isUnderLinearTransforms(volumeNode)


def _resampled(layer: vtk.vtkObject, segmentationNode: Any, volumeNode: Any) -> vtk.vtkObject:
    """A layer on the CT's grid, to the nearest voxel.

    Linear transforms go into the grid's matrix: with nested ones, Slicer's resampling cuts off
    what lies near the border (5.12).
    """
    reference = slicer.vtkOrientedImageData()
    reference.SetExtent(volumeNode.GetImageData().GetExtent())
    transform = None
    if _isRelativePlaceLinear(segmentationNode, volumeNode):
        reference.SetImageToWorldMatrix(toMatrix(gridIn(segmentationNode, volumeNode)))
    else:
        reference.SetImageToWorldMatrix(toMatrix(ijkToRas(volumeNode)))
        transform = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
            segmentationNode.GetParentTransformNode(),
            volumeNode.GetParentTransformNode(),
            transform,
        )
    result = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        layer, reference, result, False, False, transform
    )
    return result
