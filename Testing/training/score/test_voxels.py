"""Voxel metrics against counts of bool masks, SciPy's dissimilarities and MONAI's rates."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.result.agreement import dice
from looped import looped
from numpy.typing import NDArray
from scipy.spatial import distance

from training.score.voxels import (
    EMPTY_POLICIES,
    MASKS,
    METRICS,
    EmptyPolicy,
    Mask,
    Metric,
    Overlap,
    pixel_accuracy,
    scored,
    slice_matrices,
)

RATIOS = (*METRICS, "lits_rvd")


def random_labels(seed: int, slices: int = 6) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 3, (slices, 7, 9), dtype=np.uint8)


def masked(labels: NDArray[np.uint8], mask: Mask) -> NDArray[np.bool_]:
    return {"liver": labels >= 1, "liver_only": labels == 1, "tumor": labels == 2}[mask]


def overlap(tp: Any, fp: Any, fn: Any, tn: Any) -> Overlap:
    return Overlap(*(np.asarray(count, dtype=np.int64) for count in (tp, fp, fn, tn)))


def test_slices_volumes_and_pools_are_counted_by_class() -> None:
    # a hand made slice is counted by true row and predicted column
    true = np.array([[[0, 0, 1, 1], [1, 2, 2, 2]]], dtype=np.uint8)
    predicted = np.array([[[0, 1, 1, 1], [2, 2, 2, 0]]], dtype=np.uint8)
    assert slice_matrices(predicted, true).tolist() == [[[1, 1, 0], [0, 2, 1], [1, 0, 2]]]

    # each mask has the voxels of its classes: Liver holds the tumor (LiTS), liver_only is class 1
    # (the paper's table).
    predicted, true = random_labels(0), random_labels(1)
    matrices = slice_matrices(predicted, true)
    for mask in MASKS:
        p, t = masked(predicted, mask), masked(true, mask)
        counted = Overlap.of(matrices, mask)
        for name, both in (("tp", p & t), ("fp", p & ~t), ("fn", ~p & t), ("tn", ~p & ~t)):
            assert getattr(counted, name).tolist() == both.sum(axis=(1, 2)).tolist(), (mask, name)
            assert getattr(counted, name).dtype == np.int64

    # a volume is the sum of its slices and a pool that of its volumes
    pairs = [(random_labels(s, slices=s), random_labels(s + 50, slices=s)) for s in (2, 3, 5)]
    volumes = [slice_matrices(p, t).sum(axis=0) for p, t in pairs]
    together = [np.concatenate(side) for side in zip(*pairs, strict=True)]
    assert np.array_equal(sum(volumes), slice_matrices(*together).sum(axis=0))
    for (predicted, true), volume in zip(pairs, volumes, strict=True):
        for mask in MASKS:
            expected = dice(masked(predicted, mask), masked(true, mask))
            assert float(Overlap.of(volume, mask).dice) == pytest.approx(expected)


def test_dice_and_iou_are_scipys_and_each_follows_from_the_other() -> None:
    predicted, true = random_labels(2), random_labels(3)
    matrices = slice_matrices(predicted, true)
    for mask in MASKS:
        counted = Overlap.of(matrices, mask)
        for k in range(len(true)):
            p, t = masked(predicted[k], mask).ravel(), masked(true[k], mask).ravel()
            assert counted.dice[k] == pytest.approx(1 - distance.dice(p, t))
            assert counted.iou[k] == pytest.approx(1 - distance.jaccard(p, t))
        assert counted.iou == pytest.approx(counted.dice / (2 - counted.dice))  # Eq. 16
        assert counted.voe == pytest.approx(1 - counted.iou)
        assert counted.f1 == pytest.approx(
            2 * counted.precision * counted.recall / (counted.precision + counted.recall)
        )


def test_rates_are_monais() -> None:
    import torch
    from monai.metrics import compute_confusion_matrix_metric, get_confusion_matrix

    predicted, true = random_labels(4), random_labels(5)
    matrices = slice_matrices(predicted, true)
    for mask in MASKS:
        p, t = (torch.from_numpy(masked(x, mask)[:, None].astype(float)) for x in (predicted, true))
        theirs = get_confusion_matrix(p, t)
        for name in ("precision", "recall", "specificity", "accuracy", "f1 score"):
            ours = getattr(Overlap.of(matrices, mask), name.split()[0])
            expected = compute_confusion_matrix_metric(name, theirs)[:, 0].numpy()
            assert ours == pytest.approx(expected), (mask, name)


def test_rvd_is_positive_when_too_large_and_the_scripts_when_too_small() -> None:
    too_large = overlap(10, 5, 0, 100)
    assert float(too_large.rvd) == pytest.approx(0.5)
    assert float(too_large.lits_rvd) == pytest.approx(-5 / 15)
    swapped = overlap(10, 0, 5, 100)
    assert float(swapped.rvd) == float(too_large.lits_rvd)
    assert float(swapped.lits_rvd) == float(too_large.rvd)


def test_pixel_accuracy_is_of_three_classes() -> None:
    predicted, true = random_labels(6), random_labels(7)
    matrices = slice_matrices(predicted, true)
    assert pixel_accuracy(matrices) == pytest.approx((predicted == true).mean(axis=(1, 2)))
    assert float(pixel_accuracy(matrices.sum(axis=0))) == pytest.approx((predicted == true).mean())
    assert np.isnan(pixel_accuracy(np.zeros((3, 3), dtype=np.int64)))


BOTH_EMPTY, TRUTH_EMPTY = overlap(0, 0, 0, 20), overlap(0, 4, 0, 16)
PREDICTION_EMPTY, ALL_MASK = overlap(0, 0, 5, 15), overlap(12, 0, 8, 0)
UNDEFINED = {
    "dice": (nan, 0, 0, 0.75),
    "f1": (nan, 0, 0, 0.75),
    "iou": (nan, 0, 0, 0.6),
    "voe": (nan, 1, 1, 0.4),
    "precision": (nan, 0, nan, 1),
    "recall": (nan, nan, 0, 0.6),
    "specificity": (1, 0.8, 1, nan),
    "accuracy": (1, 0.8, 0.75, 0.6),
    "rvd": (nan, nan, -1, -0.4),
    "lits_rvd": (nan, -1, nan, 8 / 12),
}


@looped("name", RATIOS)
def test_what_an_empty_mask_gives_is_the_table_of_the_docstring(name: str) -> None:
    """Silently too: no warning of a division by zero, no infinity."""
    cases = (BOTH_EMPTY, TRUTH_EMPTY, PREDICTION_EMPTY, ALL_MASK)
    with np.errstate(all="raise"):
        values = [float(getattr(case, name)) for case in cases]
    assert values == pytest.approx(list(UNDEFINED[name]), nan_ok=True)
    assert inf not in np.abs(values)


POLICY_VALUES: dict[EmptyPolicy, tuple[float, float, float]] = {
    "agree": (1, 0, 0),
    "present": (nan, nan, 0),
    "skip": (nan, 0, 0),
}


@looped("policy", EMPTY_POLICIES)
@looped("name", ["dice", "iou", "precision", "recall", "f1", "voe"])
def test_policies_decide_about_empty_slices_alone(name: Metric, policy: EmptyPolicy) -> None:
    """Both empty, truth empty, prediction empty, then a slice that no policy touches."""
    slices = overlap([0, 0, 0, 6], [0, 4, 0, 3], [0, 0, 5, 1], [20, 16, 15, 10])
    expected = np.array([*POLICY_VALUES[policy], nan])
    if name == "voe":
        expected = 1 - expected
    expected[3] = getattr(slices, name)[3]
    assert scored(slices, name, policy) == pytest.approx(expected, nan_ok=True)
    for k in range(4):  # a single volume, a 0-dimensional count
        one = overlap(slices.tp[k], slices.fp[k], slices.fn[k], slices.tn[k])
        assert float(scored(one, name, policy)) == pytest.approx(expected[k], nan_ok=True)


@looped("policy", EMPTY_POLICIES)
@looped("name", ["specificity", "accuracy", "rvd"])
def test_other_metrics_are_no_matter_of_policy(name: Metric, policy: EmptyPolicy) -> None:
    slices = overlap([0, 0, 6], [0, 4, 3], [0, 0, 1], [20, 16, 10])
    assert scored(slices, name, policy) == pytest.approx(getattr(slices, name), nan_ok=True)


def test_scoring_leaves_the_counts_and_their_values_as_they_were() -> None:
    slices = overlap([0, 6], [0, 3], [0, 1], [20, 10])
    scored(slices, "dice", "agree")
    assert np.isnan(slices.dice[0])
    assert slices.tp.tolist() == [0, 6]


def test_the_policy_moves_the_mean_as_the_paper_leaves_open() -> None:
    """Nine empty slices in ten: the same prediction has a mean of 0.96, 0.6 or 0.6."""
    slices = overlap([0] * 9 + [3], [0] * 9 + [2], [0] * 9 + [2], [30] * 10)
    means = {p: float(np.nanmean(scored(slices, "dice", p))) for p in EMPTY_POLICIES}
    assert means == pytest.approx({"agree": 0.96, "present": 0.6, "skip": 0.6})


@looped(
    ("predicted", "true", "words"),
    [
        (random_labels(0, 2), random_labels(0, 3), "one shape"),
        (random_labels(0)[0], random_labels(0)[0], "3D"),
        (random_labels(0).astype(np.int16), random_labels(0), "prediction must hold uint8"),
        (random_labels(0), random_labels(0) + np.uint8(1), "truth must hold uint8 labels 0, 1, 2"),
    ],
)
def test_other_arrays_are_refused(predicted: Any, true: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        slice_matrices(predicted, true)
