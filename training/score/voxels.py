"""Voxel metrics of two label maps, all from one confusion matrix a slice.

    matrices = slice_matrices(predicted, true)              # (k, 3, 3)
    per_slice = Overlap.of(matrices, "tumor")               # a value a slice
    volume = Overlap.of(matrices.sum(axis=0), "tumor")      # of the whole volume
    pooled = Overlap.of(sum(all_volume_matrices), "tumor")  # all voxels of all volumes in one pot
    dice = scored(per_slice, "dice", "agree")               # NaN where the policy leaves one out
    mean, n = np.nanmean(dice), np.isfinite(dice).sum()

Definitions: hybrid2d paper II.F (Dice, IoU, precision, recall, specificity, F1, pixel accuracy) and
the LiTS challenge (VOE, RVD). IoU comes from the counts of each slice, not from the mean Dice
(the paper's Eq. 16); F1 of voxels is the same number as Dice, always.

The records of many volumes name beside every mean how many slices or volumes it is of, and how many
of them were empty: the rule for empty masks can move a tumor score by more than a tenth (hybrid2d
spec, section 6, row 37).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from LiverTumorSegLib.labels import Label
from numpy.typing import ArrayLike, NDArray

from training.score.statistics import Interval, bootstrap_mean

Mask = Literal["liver", "liver_only", "tumor"]
MASKS: tuple[Mask, ...] = get_args(Mask)
CLASSES_OF: dict[Mask, tuple[Label, ...]] = {
    "liver": (Label.LIVER, Label.TUMOR),  # LiTS: the tumor is a part of the liver
    "liver_only": (Label.LIVER,),  # the paper's table of three classes
    "tumor": (Label.TUMOR,),
}

EmptyPolicy = Literal["agree", "present", "skip"]
EMPTY_POLICIES: dict[EmptyPolicy, str] = {
    "agree": "empty in truth and prediction scores 1, empty in one of them 0 (LiTS script)",
    "present": "only where the truth has it; a prediction that misses it scores 0",
    "skip": "empty in truth and prediction is left out, empty in one of them 0 (nnU-Net)",
}
Metric = Literal[
    "dice", "iou", "precision", "recall", "specificity", "f1", "accuracy", "voe", "rvd"
]
METRICS: tuple[Metric, ...] = get_args(Metric)
BY_POLICY: tuple[Metric, ...] = ("dice", "iou", "precision", "recall", "f1", "voe")

CLASSES = len(Label)
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Labels = NDArray[np.uint8]


def slice_matrices(predicted: Labels, true: Labels) -> Counts:
    """Voxel counts of each axial slice, ``(k, 3, 3)``: rows true class, columns predicted class.

    predicted, true: uint8 labels 0, 1, 2, ``(k, j, i)`` on one grid; ``ValueError`` otherwise.
    """
    _check_pair(predicted, true)
    matrices = np.empty((len(true), CLASSES, CLASSES), dtype=np.int64)
    for k, (predicted_ji, true_ji) in enumerate(zip(predicted, true, strict=True)):
        pairs = (true_ji * np.uint8(CLASSES) + predicted_ji).ravel()
        counts = np.bincount(pairs, minlength=CLASSES**2)
        matrices[k] = counts.reshape(CLASSES, CLASSES)
    return matrices


def _check_pair(predicted: Labels, true: Labels) -> None:
    if predicted.shape != true.shape or true.ndim != 3:
        raise ValueError(
            f"Prediction {predicted.shape} and truth {true.shape} must be 3D and of one shape; "
            "bring both to the CT's own grid."
        )
    for labels, name in ((predicted, "prediction"), (true, "truth")):
        if labels.dtype != np.uint8 or (labels.size and int(labels.max()) >= CLASSES):
            raise ValueError(
                f"The {name} must hold uint8 labels 0, 1, 2; map other structures to one of these."
            )


def pixel_accuracy(matrix: Counts) -> Floats:
    """Share of voxels whose class is right, of matrices ``(..., 3, 3)`` (II.F); NaN without voxels.

    Of all three classes at once, as the paper's table prints it; ``Overlap.accuracy`` is of one
    mask against the rest.
    """
    return _ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1)))


@dataclass(frozen=True, eq=False)
class Overlap:
    """Voxels of one mask that are true positive, false positive, false negative, true negative.

    int64 scalars or arrays of one shape, such as a value a slice. The properties are float arrays
    of that shape; a zero denominator gives NaN, never infinity:

    =============  ==========  ===========  ================  ===========
    property       both empty  truth empty  prediction empty  mask is all
    =============  ==========  ===========  ================  ===========
    dice, f1, iou  NaN         0            0                 as it is
    voe            NaN         1            1                 as it is
    precision      NaN         0            NaN               as it is
    recall         NaN         NaN          0                 as it is
    specificity    1           as it is     1                 NaN
    accuracy       1           as it is     as it is          as it is
    rvd            NaN         NaN          -1                as it is
    lits_rvd       NaN         -1           NaN               as it is
    =============  ==========  ===========  ================  ===========

    ("mask is all": the truth covers every voxel.) :func:`scored` puts the policy in NaN's place.
    """

    tp: Counts
    fp: Counts
    fn: Counts
    tn: Counts

    @classmethod
    def of(cls, matrix: Counts, mask: Mask) -> Overlap:
        """Overlap by confusion matrices ``(..., 3, 3)`` of :func:`slice_matrices`, or by sums."""
        inside = list(CLASSES_OF[mask])
        outside = [label for label in Label if label not in inside]
        return cls(
            tp=_block(matrix, inside, inside),
            fp=_block(matrix, outside, inside),
            fn=_block(matrix, inside, outside),
            tn=_block(matrix, outside, outside),
        )

    @property
    def true_voxels(self) -> Counts:
        return self.tp + self.fn

    @property
    def predicted_voxels(self) -> Counts:
        return self.tp + self.fp

    @property
    def dice(self) -> Floats:
        """2|P G| / (|P| + |G|)."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> Floats:
        """|P G| / |P u G|, the Jaccard index; D / (2 - D) of the same counts."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> Floats:
        """TP / (TP + FP)."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> Floats:
        """TP / (TP + FN), also called sensitivity."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Floats:
        """TN / (TN + FP). Near 1 in any CT, as most of it is background."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def f1(self) -> Floats:
        """2 TP / (2 TP + FP + FN): Dice under its other name."""
        return self.dice

    @property
    def accuracy(self) -> Floats:
        """(TP + TN) / all voxels, of this mask against the rest."""
        return _ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def voe(self) -> Floats:
        """Volumetric overlap error, 1 - IoU."""
        return 1.0 - self.iou

    @property
    def rvd(self) -> Floats:
        """Relative volume difference (V_predicted - V_true) / V_true: positive is too large."""
        return _ratio(self.fp - self.fn, self.true_voxels)

    @property
    def lits_rvd(self) -> Floats:
        """The relative volume difference as the LiTS script prints it, (V_true - V_predicted) /
        V_predicted.

        It hands the two masks over in swapped order, so positive is too small there.
        """
        return _ratio(self.fn - self.fp, self.predicted_voxels)


def scored(overlap: Overlap, name: Metric, policy: EmptyPolicy) -> Floats:
    """A metric with the policy's word on empty masks; NaN where the policy leaves one out.

    dice, iou, precision, recall, f1 by :data:`EMPTY_POLICIES`: 0 wherever exactly one of truth and
    prediction is empty (precision without a prediction too), then for both empty 1 or NaN, and
    ``present`` drops all without truth. voe is 1 minus the scored iou. specificity, accuracy and
    rvd are no matter of policy and come as they are.
    """
    if name not in BY_POLICY:
        return np.asarray(getattr(overlap, name), dtype=np.float64)
    if name == "voe":
        return 1.0 - scored(overlap, "iou", policy)
    no_truth, no_prediction = overlap.true_voxels == 0, overlap.predicted_voxels == 0
    values = np.array(getattr(overlap, name), dtype=np.float64)
    values[no_truth ^ no_prediction] = 0.0
    values[no_truth & no_prediction] = 1.0 if policy == "agree" else np.nan
    if policy == "present":
        values[no_truth] = np.nan
    return values


def _block(matrix: Counts, rows: Iterable[int], columns: Iterable[int]) -> Counts:
    """Sum over true classes ``rows`` and predicted classes ``columns``."""
    return np.asarray(matrix[..., list(rows), :][..., list(columns)].sum(axis=(-2, -1)))


def _ratio(part: Counts, whole: Counts) -> Floats:
    """part / whole, NaN where whole is 0."""
    part, whole = np.asarray(part), np.asarray(whole)
    result: Floats = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=result, where=whole != 0)
    return result


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
    chosen = [m[labeled_slices(m)] if labeled else m for m in volumes]
    patients = [group for m, group in zip(chosen, groups, strict=True) for _ in range(len(m))]
    matrices = np.concatenate(chosen)
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
