"""Liver parts out of a segmentation that another module or a person made: segments, lobes, a plan.

Names tell them where they can: I to VIII, ``liver_segment_4`` (TotalSegmentator), left lobe,
remnant. In a segmentation without such names (territories of Slicer-Liver are called as their
maker likes) every segment that lies in the liver is one, but for liver and tumors themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from LiverTumorSegLib.result.parts import PART_NAME, PartMeasures, measure_outlines

from .geometry import worldIjkToRas
from .lesion_measures import MeasuredLesion
from .segment_map import SegmentMap, mapSegments, segmentOutlines
from .segments import boxAround, rolesOf, segmentIds


def partIds(segmentation: Any) -> list[str]:
    """The segments that may be liver parts, in their order; where they lie is not looked at."""
    every = segmentIds(segmentation)
    named = [i for i in every if PART_NAME.fullmatch(segmentation.GetSegment(i).GetName().strip())]
    roles = rolesOf(segmentation)
    return named or [segmentId for segmentId in every if segmentId not in roles]


def measureParts(
    partsNode: Any, segmentationNode: Any, volumeNode: Any, lesions: Sequence[MeasuredLesion]
) -> PartMeasures:
    """The parts within the liver of a segmentation, and the part of each of its lesions.

    Raises ``ValueError`` when a node is gone or a transform bends space.
    """
    found = mapSegments(segmentationNode, volumeNode)
    grid = worldIjkToRas(volumeNode)
    voxelMl = abs(float(np.linalg.det(grid[:3, :3]))) / 1000
    segmentation = partsNode.GetSegmentation()
    order = partIds(segmentation)
    labels = found.labelsKji()
    box = boxAround(labels)
    if box is None:
        return PartMeasures((), 0.0, {})
    outlines = segmentOutlines(partsNode, volumeNode, order, box)
    numbers = _lesionNumbers(found, lesions, grid)[box]
    measured = measure_outlines(labels[box], numbers, outlines, voxelMl)
    names = {i: segmentation.GetSegment(i).GetName() for i in order}
    parts = sorted(measured.parts, key=lambda part: order.index(part.name))
    return replace(
        measured,
        parts=tuple(replace(part, name=names[part.name]) for part in parts),
        part_of_lesion={number: names[i] for number, i in measured.part_of_lesion.items()},
    )


def _lesionNumbers(
    found: SegmentMap, lesions: Sequence[MeasuredLesion], grid: np.ndarray
) -> np.ndarray:
    """Each voxel's lesion by its number in the table, 0 for none: found again by its point."""
    from scipy import ndimage

    numbersKji = np.zeros(found.numbersKji.shape, np.uint16)
    rasToIjk = np.linalg.inv(grid)
    for number, segmentId in enumerate(found.segmentIds, start=1):
        inSegment = found.numbersKji == number
        box = boxAround(inSegment)
        own = [one for one in lesions if one.segmentId == segmentId]
        if box is None or not own:
            continue
        pieces, count = ndimage.label(inSegment[box], np.ones((3, 3, 3)))
        table = np.zeros(count + 1, np.uint16)
        for one in own:
            pointKji = np.rint(rasToIjk @ [*one.pointRasMm, 1.0])[2::-1].astype(int)
            start = [side.start for side in box]
            table[pieces[tuple(pointKji - start)]] = one.lesion.number
        table[0] = 0
        numbersKji[box] |= table[pieces]
    return numbersKji
