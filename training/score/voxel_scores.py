"""Voxel metrics of many volumes as one nested record: by slice, by volume, pooled.

Every mean stands beside how many slices or volumes it is of, and how many of them were empty: the
rule for empty masks can move a tumor score by more than a tenth (hybrid2d spec, section 6, row 37).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.score.statistics import Interval, bootstrap_mean
from training.score.voxels import (
    BY_POLICY,
    EMPTY_POLICIES,
    MASKS,
    Counts,
    EmptyPolicy,
    Mask,
    Metric,
    Overlap,
    scored,
)

Floats = NDArray[np.float64]

TABLE_METRICS: tuple[Metric, ...] = (
    "dice",
    "iou",
    "precision",
    "recall",
    "specificity",
    "f1",
    "voe",
    "rvd",
)


def slice_record(volumes: Sequence[Counts], groups: Sequence[str], *, labeled: bool) -> Any:
    """Per-slice metrics over the slices of all volumes: mask -> metric -> policy -> statistics.

    volumes: matrices ``(k, 3, 3)``. groups: the patient of each volume.
    labeled: only slices whose truth shows liver or tumor, as the hybrid2d paper (II.B); it makes
        false positives above and below the liver invisible.
    """
    kept = [m[labeled_slices(m)] if labeled else m for m in volumes]
    patients = [group for m, group in zip(kept, groups, strict=True) for _ in range(len(m))]
    matrices = np.concatenate(kept)
    record: dict[str, Any] = {"slices": len(matrices)}
    for mask in MASKS:
        overlap = Overlap.of(matrices, mask)
        record[mask] = {"groups": _empty_groups(overlap)} | {
            name: _by_policy(overlap, name, patients) for name in TABLE_METRICS
        }
    return record


def volume_record(volumes: Sequence[Counts], groups: Sequence[str]) -> Any:
    """The same per volume, all its slices in one pot."""
    matrices = np.stack([m.sum(axis=0) for m in volumes])
    record: dict[str, Any] = {"volumes": len(matrices)}
    for mask in MASKS:
        overlap = Overlap.of(matrices, mask)
        record[mask] = {"groups": _empty_groups(overlap)} | {
            name: _by_policy(overlap, name, groups) for name in TABLE_METRICS
        }
    return record


def pooled_record(volumes: Sequence[Counts]) -> Any:
    """All voxels of all volumes in one pot (LiTS: global): mask -> metric -> value or None."""
    matrix = np.sum([m.sum(axis=0) for m in volumes], axis=0)
    record: dict[str, Any] = {"matrix": matrix.tolist()}
    for mask in MASKS:
        overlap = Overlap.of(matrix, mask)
        record[mask] = {name: _finite(getattr(overlap, name)) for name in TABLE_METRICS}
    return record


def policies_of(metric: Metric) -> tuple[EmptyPolicy, ...]:
    """The policies that can change a metric; a metric that none changes has its first only."""
    every = tuple(EMPTY_POLICIES)
    return every if metric in BY_POLICY else every[:1]


def slice_dice(volumes: Sequence[Counts], mask: Mask, *, policy: EmptyPolicy = "agree") -> Floats:
    """Dice of every labeled slice of all volumes, one after the other; NaN where left out."""
    matrices = np.concatenate([m[labeled_slices(m)] for m in volumes])
    return scored(Overlap.of(matrices, mask), "dice", policy)


def labeled_slices(matrices: Counts) -> NDArray[np.bool_]:
    """Slices whose truth shows liver or tumor."""
    return np.asarray(matrices[:, 1:, :].sum(axis=(1, 2)) > 0)


def _empty_groups(overlap: Overlap) -> dict[str, int]:
    """How many have the mask in truth and prediction, in one of them, in none."""
    truth, prediction = overlap.true_voxels > 0, overlap.predicted_voxels > 0
    return {
        "both": int((truth & prediction).sum()),
        "missed": int((truth & ~prediction).sum()),
        "false": int((~truth & prediction).sum()),
        "neither": int((~truth & ~prediction).sum()),
    }


def _by_policy(overlap: Overlap, name: Metric, patients: Sequence[str]) -> dict[str, Any]:
    return {
        policy: _statistics(scored(overlap, name, policy), patients, intervals=name == "dice")
        for policy in policies_of(name)
    }


def _statistics(values: Floats, patients: Sequence[str], *, intervals: bool) -> dict[str, Any]:
    """Mean, SD, median, n; for Dice the 95 % intervals, by element and by patient."""
    record = describe(values)
    if intervals:
        record["interval_by_element"] = _bounds(bootstrap_mean(values))
        record["interval_by_patient"] = _bounds(bootstrap_mean(values, groups=patients))
    return record


def describe(values: ArrayLike) -> dict[str, Any]:
    """n, mean, SD (n - 1) and median of the finite values; None where there are too few."""
    array = np.asarray(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    return {
        "n": len(finite),
        "mean": float(finite.mean()) if len(finite) else None,
        "sd": float(finite.std(ddof=1)) if len(finite) > 1 else None,
        "median": float(np.median(finite)) if len(finite) else None,
    }


def _bounds(interval: Interval) -> list[float] | None:
    return [interval.low, interval.high] if np.isfinite(interval.low) else None


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
