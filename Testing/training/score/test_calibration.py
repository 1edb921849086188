"""Reliability bins: by hand, and against a model that is calibrated by construction."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from toy_figures import toy_calibration

from training.score.calibration import BINS, Calibration, pooled, tumor_calibration
from training.score.summary import json_able


def volume(tumor: list[float], true: list[int], predicted: list[int]) -> tuple[np.ndarray, ...]:
    probabilities = np.zeros((3, 1, 1, len(tumor)), np.float16)
    probabilities[2, 0, 0] = tumor
    return (
        probabilities,
        np.array(true, np.uint8)[None, None],
        np.array(predicted, np.uint8)[None, None],
    )


def test_by_hand() -> None:
    # the last voxel lies outside both livers and does not count
    bins = tumor_calibration(
        *volume([0.05, 0.25, 0.25, 1.0, 0.9], [1, 2, 1, 2, 0], [0, 1, 1, 2, 0])
    )
    assert bins.counts.tolist() == [1, 0, 2, 0, 0, 0, 0, 0, 0, 1]
    assert bins.truth_sums.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 1]
    assert bins.probability_sums[2] == pytest.approx(0.5)
    assert bins.ece() == pytest.approx((0.05 + 0.5 + 0) / 4, abs=1e-3)
    assert bins.ece(first_bin=1) == pytest.approx(0.5 / 3, abs=1e-3)


def test_a_predicted_liver_counts_where_the_true_one_is_not() -> None:
    assert tumor_calibration(*volume([0.5, 0.5], [0, 0], [1, 0])).counts.sum() == 1


def test_a_calibrated_model_has_hardly_an_error_and_an_overconfident_one_has() -> None:
    # a calibrated model has hardly an error
    random = np.random.default_rng(0)
    p = random.random(200_000)
    true = np.where(random.random(p.size) < p, 2, 1)
    bins = tumor_calibration(*volume(list(p), list(true), list(true)))
    assert bins.ece() < 0.01
    assert bins.counts.min() > 0

    # an overconfident model has one
    true = [1, 1, 1, 2] * 50
    assert tumor_calibration(*volume([0.95] * 200, true, true)).ece() == pytest.approx(
        0.7, abs=0.01
    )


def test_pooled_is_the_joined_volume() -> None:
    random = np.random.default_rng(1)
    parts = [
        volume(list(random.random(50)), list(random.integers(0, 3, 50)), [1] * 50) for _ in range(2)
    ]
    joined = [np.concatenate([a, b], axis=-1) for a, b in zip(parts[0], parts[1], strict=True)]
    total, whole = pooled(tumor_calibration(*part) for part in parts), tumor_calibration(*joined)
    np.testing.assert_array_equal(total.counts, whole.counts)
    np.testing.assert_array_equal(total.truth_sums, whole.truth_sums)
    np.testing.assert_allclose(total.probability_sums, whole.probability_sums)


def test_nothing_to_calibrate_and_wrong_bins() -> None:
    # of nothing
    empty = pooled([])
    assert len(empty.counts) == BINS
    assert np.isnan(empty.ece())

    # calibration without voxels and with wrong bins
    nothing = Calibration(np.array([0.0, 1.0]), np.array([0]), np.array([0.0]), np.array([0]))
    assert math.isnan(nothing.ece())
    with pytest.raises(ValueError, match="one edge more"):
        replace(nothing, counts=np.array([1, 2]))
    with pytest.raises(ValueError, match="must rise"):
        replace(nothing, edges=np.array([1.0, 0.0]))


def test_expected_calibration_error_by_hand() -> None:
    bins = toy_calibration()
    # bin 1: 0.02 predicted, 0.02 true; bin 4: 0.9 predicted, 0.6 true, a tenth of the voxels
    assert bins.ece() == pytest.approx(0.1 * 0.3)
    assert bins.ece(first_bin=1) == pytest.approx(0.3)
    assert bins.confidence[[0, 3]] == pytest.approx([0.02, 0.9])
    assert bins.frequency[[0, 3]] == pytest.approx([0.02, 0.6])
    assert np.isnan(bins.frequency[1:3]).all()


def test_calibration_comes_back_from_its_record() -> None:
    bins = toy_calibration()
    back = Calibration.from_record(json_able(bins.to_record()))
    for name in ("edges", "counts", "probability_sums", "truth_sums"):
        np.testing.assert_array_equal(getattr(back, name), getattr(bins, name))
    assert back.ece() == bins.ece()
