"""A result at every step of sensitivity, made from one prediction of the networks.

steps = labels_at_steps(ct, segmenter.decision, done, sensitivity)
seen = tumor_seen(done)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.segmenter import Segmentation
from LiverTumorSegLib.inference.sensitivity import Sensitivity, Stop
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.sentences import key_and_values
from LiverTumorSegLib.volume import CtVolume, bounding_box

from .lesions import LiverMeasures, lesion_rows
from .plausibility import LiverLook, check
from .step_labels import StepLabels, TumorSeen

Labels = NDArray[np.uint8]


def tumor_seen(done: Segmentation) -> TumorSeen | None:
    """Where the network for tumors saw how much of one; None where there is no liver.

    done: with its prediction.
    """
    assert done.prediction is not None, "the run was to keep what the networks said"
    labels = done.reorientation.apply(done.labels_kji)
    box = bounding_box(labels)
    if box is None:
        return None
    seen = np.zeros(labels.shape, np.uint8)
    for k in range(box[0].start, box[0].stop):
        if k in done.prediction.tumor.by_slice:
            share = done.prediction.tumor.last_native(k)[box[1:]]
            seen[(k, *box[1:])] = np.rint(255 * share.clip(0, 1))
    native = done.reorientation.undo(seen)
    first = bounding_box(done.labels_kji) or box
    start = (first[0].start, first[1].start, first[2].start)
    return TumorSeen(start, np.ascontiguousarray(native[first]))


def labels_at_steps(
    ct: CtVolume,
    decision: Decision,
    done: Segmentation,
    sensitivity: Sensitivity,
    between: Callable[[int, int], None] = lambda _done, _count: None,
) -> StepLabels:
    """Decide, clean and check at every step.

    done: a segmentation by ``decision``, checked, with its prediction.
    between(done, count): called before each step; what it raises stops the work.
    """
    found: list[tuple[Labels, dict[str, Any]]] = []
    count = len(sensitivity.stops)
    between(0, count)
    decide = _decider(done, [stop.decision for stop in sensitivity.stops])
    look: LiverLook | None = None
    for stop in sensitivity.stops:
        between(len(found), count)
        is_done = stop.decision == decision
        made = (done.labels_kji, done.tumor_probability_kji) if is_done else decide(stop.decision)
        checked = check(ct, *made, seen=look)
        look = checked.look
        found.append((checked.labels_kji, _told(stop, checked.measures)))
    differs, first = np.zeros(ct.hu.size, np.bool_), found[0][0].reshape(-1)
    for labels, _ in found:
        flat = labels.reshape(-1)
        differs |= (flat == Label.TUMOR) | (flat != first)
    voxels = np.flatnonzero(differs)
    return StepLabels(
        sensitivity.fewest,
        voxels,
        np.stack([labels.reshape(-1)[voxels] for labels, _ in found]),
        tuple(record for _, record in found),
    )


def _decider(
    done: Segmentation, decisions: Sequence[Decision]
) -> Callable[[Decision], tuple[Labels, Labels | None]]:
    """Decides on the CT's grid: what a voxel's share is and how the liver is cleaned does not
    depend on the thresholds, and is found once."""
    prediction, steps = done.prediction, done.postprocessing
    assert prediction is not None, "the run was to keep what the networks said"
    lowest = min(decisions, key=lambda one: one.tumor_threshold)
    candidates, liver = prediction.candidates(lowest), steps.liver(prediction.liver_lps)
    held = liver.copy()
    held.reshape(-1)[candidates.voxels] = True
    box = bounding_box(held)
    if box is None:
        return lambda _decision: (np.zeros(done.labels_kji.shape, np.uint8), None)
    near, liver_near = candidates.within(box), liver[box]

    def whole(part: Labels) -> Labels:
        result = np.zeros(liver.shape, np.uint8)
        result[box] = part
        return done.reorientation.undo(result)

    def decide(decision: Decision) -> tuple[Labels, Labels | None]:
        labels, certainty = prediction.decide_among(near, liver_near.copy(), decision, steps)
        return whole(labels), None if certainty is None else whole(certainty)

    return decide


def _told(stop: Stop, measures: LiverMeasures) -> dict[str, Any]:
    return {
        "sensitivity": stop.to_dict(),
        "expected": key_and_values(stop.expected()),
        "decision": stop.decision.to_dict(),
        "lesions": lesion_rows(measures),
    }
