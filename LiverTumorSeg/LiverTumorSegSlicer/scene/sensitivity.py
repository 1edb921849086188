"""Another sensitivity for a result in the scene, without a second run.

    plan = planStep(mapSegments(...), steps, 0, +1, protected, onePerLesion)    # in a thread
    carryOut(segmentationNode, volumeNode, plan)

Only what is as a run has left it follows: a lesion that somebody has edited, accepted, rejected or
added by hand stays, with all that touches it at either step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.step_labels import StepLabels

from .geometry import gridIn
from .kept import Kept
from .nodes import RECORD, WRITTEN, resultRecord
from .review import ADDED_TAG, newTumor, putInto, takeOut
from .segment_map import SegmentMap
from .segments import (
    CLOSED_SURFACE,
    FINGERPRINT,
    WRITTEN_NAME,
    boxAround,
    fingerprint,
    isEdited,
    makeLayer,
    rolesOf,
    segmentIds,
    showForReview,
    tagOf,
)

NEIGHBORS = np.ones((3, 3, 3))
Box = tuple[slice, slice, slice]


def protectedSegments(segmentationNode: Any) -> set[str]:
    """Tumor segments that a person has judged, added, or named as one lesion's own."""
    segmentation = segmentationNode.GetSegmentation()
    roles = rolesOf(segmentation)
    tumors = [key for key, label in roles.items() if label is Label.TUMOR]
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    found = set()
    for key in tumors:
        segment = segmentation.GetSegment(key)
        isJudged = logic.GetSegmentStatus(segment) in (logic.Completed, logic.Flagged)
        isNamed = len(tumors) > 1 and tagOf(segment, WRITTEN_NAME) != segment.GetName()
        if isJudged or isNamed or tagOf(segment, ADDED_TAG):
            found.add(key)
    return found


def untouchedSegments(segmentationNode: Any) -> set[str]:
    """Liver and tumor segments that are as a run, or a step of sensitivity, has left them."""
    segmentation = segmentationNode.GetSegmentation()
    return {key for key in rolesOf(segmentation) if not isEdited(segmentation.GetSegment(key))}


@dataclass(frozen=True, eq=False)
class Plan:
    """Which voxels go from which segment to which.

    start: index in the CT of the first voxel of all masks. lost, gained: by segment. new: each a
    tumor without a segment. emptied: segments that hold nothing afterwards.
    touched: as of ``Kept``.
    """

    start: tuple[int, int, int]
    lost: dict[str, np.ndarray]
    gained: dict[str, np.ndarray]
    new: list[np.ndarray]
    emptied: list[str]
    touched: np.ndarray


def planStep(
    found: SegmentMap,
    steps: StepLabels,
    before: int,
    after: int,
    protected: set[str],
    onePerLesion: bool,
    touched: np.ndarray | None = None,
) -> Plan:
    """Plan what is to be done for a step; arrays alone, so that a thread can do it."""
    box = _boxOf(steps.voxels, found.numbersKji.shape)
    numbers = found.numbersKji[box].astype(np.int32)
    is_, will = _labelsAt(steps, before, found, box), _labelsAt(steps, after, found, box)
    current = np.array([Label.BACKGROUND, *found.labels], np.uint8)[numbers]
    isTouched = np.where(is_ == 255, current == Label.TUMOR, current != is_)
    isTouched |= np.isin(numbers, _numbersOf(found, protected))
    places = _placesIn(steps, found, box)
    if touched is not None:
        isTouched[places] |= touched
    free = _mayChange(current, is_, will, isTouched)
    changes = free & (is_ != will)
    wanted, count = _wanted(found, numbers, will, changes, protected, onePerLesion)
    return _planOf(found, numbers, wanted, count, box, isTouched[places])


def _boxOf(voxels: np.ndarray, shapeKji: tuple[int, ...]) -> Box:
    """The box around these flat indices, and one voxel more on each side."""
    if not voxels.size:
        return (slice(0, 1),) * 3
    sides = []
    for indices, size in zip(np.unravel_index(voxels, shapeKji), shapeKji, strict=True):
        sides.append(slice(max(int(indices.min()) - 1, 0), min(int(indices.max()) + 2, size)))
    k, j, i = sides
    return k, j, i


def _labelsAt(steps: StepLabels, step: int, found: SegmentMap, box: Box) -> np.ndarray:
    """Labels of a step in a box; 255 for what no step has changed and none calls tumor."""
    labels = np.full([side.stop - side.start for side in box], 255, np.uint8)
    labels[_placesIn(steps, found, box)] = steps.at(step)[0]
    return labels


def _placesIn(steps: StepLabels, found: SegmentMap, box: Box) -> tuple[np.ndarray, ...]:
    """Where the voxels of all steps lie in a box."""
    kji = np.unravel_index(steps.voxels, found.numbersKji.shape)
    return tuple(n - side.start for n, side in zip(kji, box, strict=True))


def _numbersOf(found: SegmentMap, segments: set[str]) -> list[int]:
    return [n for n, key in enumerate(found.segmentIds, start=1) if key in segments]


def _mayChange(
    current: np.ndarray, was: np.ndarray, will: np.ndarray, isTouched: np.ndarray
) -> np.ndarray:
    """Which voxels belong to no lesion that a person has touched."""
    from scipy import ndimage

    isTumor = (current == Label.TUMOR) | (was == Label.TUMOR) | (will == Label.TUMOR)
    lesions, count = ndimage.label(isTumor, NEIGHBORS)
    touched = np.zeros(count + 1, bool)
    touched[lesions[isTouched & isTumor]] = True
    touched[0] = False
    free: np.ndarray = (was != 255) & ~touched[lesions] & ~isTouched
    return free


def _wanted(
    found: SegmentMap,
    numbers: np.ndarray,
    will: np.ndarray,
    changes: np.ndarray,
    protected: set[str],
    onePerLesion: bool,
) -> tuple[np.ndarray, int]:
    """The number of each voxel's segment afterwards, and how many of them are new."""
    wanted = numbers.copy()
    livers = [n for n, label in enumerate(found.labels, start=1) if label is Label.LIVER]
    wanted[changes & (will == Label.BACKGROUND)] = 0
    wanted[changes & (will == Label.LIVER)] = livers[0] if livers else 0
    isTumor = changes & (will == Label.TUMOR)
    first = len(found.segmentIds) + 1
    if onePerLesion:
        return wanted, _separate(wanted, numbers, will, isTumor, first)
    keys = zip(found.segmentIds, found.labels, strict=True)
    ours = [key for key, label in keys if label is Label.TUMOR and key not in protected]
    wanted[isTumor] = _numbersOf(found, set(ours[:1]))[0] if ours else first
    return wanted, int(not ours and bool(isTumor.any()))


def _separate(
    wanted: np.ndarray, numbers: np.ndarray, will: np.ndarray, isNew: np.ndarray, first: int
) -> int:
    """Give each lesion that grows or appears one segment: that of its largest part, or a new one.

    Changes ``wanted``; returns how many are new.
    """
    from scipy import ndimage

    lesions, _ = ndimage.label(will == Label.TUMOR, NEIGHBORS)
    boxes, made = ndimage.find_objects(lesions), 0
    for lesion in np.unique(lesions[isNew]):
        if not lesion:
            continue
        here = boxes[lesion - 1]
        mask = lesions[here] == lesion
        parts = np.bincount(wanted[here][mask & ~isNew[here]], minlength=1)
        parts[0] = 0
        if parts.any():
            number = int(parts.argmax())
        else:
            number, made = first + made, made + 1
        wanted[here][mask] = number
    return made


def _planOf(
    found: SegmentMap,
    numbers: np.ndarray,
    wanted: np.ndarray,
    new: int,
    box: Box,
    touched: np.ndarray,
) -> Plan:
    lost, gained, emptied = {}, {}, []
    differs = numbers != wanted
    leaving, coming = set(np.unique(numbers[differs])), set(np.unique(wanted[differs]))
    for number, key in enumerate(found.segmentIds, start=1):
        if number in leaving:
            lost[key] = (numbers == number) & differs
        if number in coming:
            gained[key] = (wanted == number) & differs
        elif number in leaving and found.labels[number - 1] is Label.TUMOR:
            whole = np.count_nonzero(found.numbersKji == number)
            if np.count_nonzero(lost[key]) == whole:
                emptied.append(key)
    first = len(found.segmentIds) + 1
    k, j, i = (side.start for side in box)
    made = [wanted == n for n in range(first, first + new)]
    return Plan((k, j, i), lost, gained, made, emptied, touched)


def carryOut(segmentationNode: Any, volumeNode: Any, plan: Plan) -> Iterator[None]:
    """Give the voxels to their segments, a short piece of work at each turn.

    3D surfaces go first: Slicer would make each of them anew after each piece.
    """
    segmentation = segmentationNode.GetSegmentation()
    grid = gridIn(segmentationNode, volumeNode)
    segmentation.RemoveRepresentation(CLOSED_SURFACE)
    for key, mask in plan.lost.items():
        takeOut(segmentationNode, key, _image(mask, plan.start, grid))
        yield
    for key, mask in plan.gained.items():
        putInto(segmentationNode, key, _image(mask, plan.start, grid))
        yield
    like = segmentation.GetSegment(next(iter(rolesOf(segmentation)), ""))
    for mask in plan.new:
        key = newTumor(segmentation, _image(mask, plan.start, grid), like)
        segment = segmentation.GetSegment(key)
        segment.SetTag(WRITTEN_NAME, segment.GetName())
        segment.SetTag(FINGERPRINT, fingerprint(segment))
        _setWritten(segmentationNode, {**_written(segmentationNode), key: segment.GetName()})
        yield
    for key in plan.emptied:
        if sum(label is Label.TUMOR for label in rolesOf(segmentation).values()) > 1:
            segmentation.RemoveSegment(key)
            written = _written(segmentationNode)
            written.pop(key, None)
            _setWritten(segmentationNode, written)
    if plan.new:
        showForReview(segmentationNode)


def noteStep(segmentationNode: Any, kept: Kept, step: int, plan: Plan, untouched: set[str]) -> None:
    """Say on the node what it holds now: as after a run, where nobody had touched a segment."""
    segmentation = segmentationNode.GetSegmentation()
    for key in untouched & set(segmentIds(segmentation)):
        segment = segmentation.GetSegment(key)
        segment.SetTag(FINGERPRINT, fingerprint(segment))
    assert kept.steps is not None, "a step is one of several"
    atStep = kept.steps.at(step)[1]
    record = resultRecord(segmentationNode)
    model = {**(record.get("model") or {}), "decision": atStep["decision"]}
    new = {"model": model, "sensitivity": atStep["sensitivity"], "lesions": atStep["lesions"]}
    segmentationNode.SetAttribute(RECORD, json.dumps({**record, **new}))
    kept.step = step
    kept.touched = plan.touched


def _image(mask: np.ndarray, start: tuple[int, int, int], grid: np.ndarray) -> Any:
    box = boxAround(mask)
    assert box is not None, "a plan holds no empty masks"
    first = [side.start + n for side, n in zip(box, start, strict=True)]
    return makeLayer(mask[box].astype(np.uint8), grid, (first[0], first[1], first[2]))


def _written(segmentationNode: Any) -> dict[str, str]:
    return dict(json.loads(segmentationNode.GetAttribute(WRITTEN) or "{}"))


def _setWritten(segmentationNode: Any, written: dict[str, str]) -> None:
    segmentationNode.SetAttribute(WRITTEN, json.dumps(written))
