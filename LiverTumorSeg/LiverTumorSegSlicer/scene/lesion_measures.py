"""The lesions of a segmentation as it is now, measured as the run's own record measures them.

Each tumor segment is measured by itself: two touching lesions that a person put into two segments
are two lesions. With one tumor segment the numbers are those of
``LiverTumorSegLib.result.lesions``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.lesions import Lesion, LiverMeasures, lesion_rows, measure_labels

from .geometry import worldIjkToRas
from .nodes import resultRecord
from .segment_map import SegmentMap, mapSegments
from .segments import boxAround

Box = tuple[slice, slice, slice]
TIE_DIGITS = 5  # of millimeters


@dataclass(frozen=True)
class MeasuredLesion:
    """A lesion, the segment it is in, and a point in it on the slice of its diameters.

    pointRasMm: the center of a voxel of the lesion, in the world.
    """

    lesion: Lesion
    segmentId: str
    pointRasMm: tuple[float, float, float]


def measureSegments(
    segmentationNode: Any, volumeNode: Any
) -> tuple[LiverMeasures, tuple[MeasuredLesion, ...]]:
    """Volumes and lesions, largest first, with the mean HU of the CT.

    A lesion's confidence is what the run's record says of it; None after an edit.

    Raises ``ValueError`` when a node is gone or the CT is under a transform that bends space.
    """
    grid = worldIjkToRas(volumeNode)
    found = mapSegments(segmentationNode, volumeNode)
    box = boxAround(found.numbersKji) or (slice(0, 1),) * 3
    numbersKji = found.numbersKji[box]
    voxels = np.bincount(numbersKji.ravel(), minlength=len(found.segmentIds) + 1)
    lesions = _lesions(found, box, slicer.util.arrayFromVolume(volumeNode), grid)
    lesions = _withConfidence(lesions, resultRecord(segmentationNode))
    counts = {label: 0 for label in Label}
    for number, label in enumerate(found.labels, start=1):
        counts[label] += int(voxels[number])
    liver, tumor = counts[Label.LIVER], counts[Label.TUMOR]
    voxelMl = abs(float(np.linalg.det(grid[:3, :3]))) / 1000
    measures = LiverMeasures(
        liver_volume_ml=(liver + tumor) * voxelMl,
        tumor_volume_ml=tumor * voxelMl,
        burden_percent=100.0 * tumor / (liver + tumor) if liver else None,
        lesions=tuple(measured.lesion for measured in lesions),
        slice_axis=_sliceAxis(grid),
    )
    return measures, lesions


def _sliceAxis(grid: np.ndarray) -> str:
    return measure_labels(np.zeros((1, 1, 1), np.uint8), grid).slice_axis


def _lesions(
    found: SegmentMap, box: Box, huKji: np.ndarray, grid: np.ndarray
) -> tuple[MeasuredLesion, ...]:
    """All lesions, numbered from the largest; ``box`` holds every voxel of a segment."""
    lesions = []
    for number, segmentId in enumerate(found.segmentIds, start=1):
        if found.labels[number - 1] is not Label.TUMOR:
            continue
        inSegment = found.numbersKji[box] == number
        tight = boxAround(inSegment)
        if tight is not None:
            whole = _within(box, tight)
            lesions += _lesionsOf(inSegment[tight], whole, huKji[whole], grid, segmentId)
    lesions.sort(key=lambda measured: -measured.lesion.voxels)
    return tuple(
        replace(measured, lesion=replace(measured.lesion, number=number))
        for number, measured in enumerate(lesions, start=1)
    )


def _withConfidence(
    lesions: tuple[MeasuredLesion, ...], record: dict[str, Any]
) -> tuple[MeasuredLesion, ...]:
    """Each with the confidence of the recorded lesion of the same size, slice and diameters."""
    known = {_sizeOf(row): row.get("confidence") for row in record.get("lesions", [])}
    return tuple(
        replace(measured, lesion=replace(measured.lesion, confidence=known.get(_sizeOf(row))))
        for measured, row in zip(lesions, map(_row, lesions), strict=True)
    )


def _row(measured: MeasuredLesion) -> dict[str, Any]:
    """A lesion as a row of a record."""
    measures = LiverMeasures(0.0, 0.0, None, (measured.lesion,))
    return lesion_rows(measures)[0]


def _sizeOf(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("volume_ml", "slice_index", "longest_axial_diameter_mm", "perpendicular_diameter_mm")
    return tuple(row.get(name) for name in names)


def _within(outer: Box, inner: Box) -> Box:
    k, j, i = (
        slice(o.start + n.start, o.start + n.stop) for o, n in zip(outer, inner, strict=True)
    )
    return k, j, i


def _lesionsOf(
    mask: np.ndarray,
    box: Box,
    huKji: np.ndarray,
    grid: np.ndarray,
    segmentId: str,
) -> list[MeasuredLesion]:
    """The lesions of one segment; all arrays are cut out of the CT by ``box``."""
    start = np.array([side.start for side in box])
    here = grid.copy()
    here[:3, 3] += grid[:3, :3] @ start[::-1]
    labelsKji = mask.astype(np.uint8) * np.uint8(Label.TUMOR)
    measures = measure_labels(labelsKji, here, huKji)
    axis = "kji".index(measures.slice_axis)
    lesions = []
    for lesion in measures.lesions:
        point = _pointIn(mask, lesion, axis, here)
        shifted = replace(lesion, slice_index=lesion.slice_index + int(start[axis]))
        lesions.append(MeasuredLesion(shifted, segmentId, point))
    return lesions


def _pointIn(
    mask: np.ndarray, lesion: Lesion, axis: int, grid: np.ndarray
) -> tuple[float, float, float]:
    """The voxel on the lesion's slice that is nearest to its center: never beside a crescent."""
    onSlice = np.argwhere(mask.take(lesion.slice_index, axis=axis))
    voxelsKji = np.insert(onSlice, axis, lesion.slice_index, axis=1)
    pointsMm = voxelsKji[:, ::-1] @ grid[:3, :3].T + grid[:3, 3]
    distances = np.linalg.norm(pointsMm - np.array(lesion.centroid_ras_mm), axis=1)
    nearest = np.argmin(distances.round(TIE_DIGITS))  # of equals the same one, after loading too
    r, a, s = (float(mm) for mm in pointsMm[nearest])
    return r, a, s
