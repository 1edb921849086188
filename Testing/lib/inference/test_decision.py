"""The settings of a decision: its weights and its sigmoid against formulas, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.inference.decision import LEAST_SHARE, Decision
from looped import looped
from scipy import ndimage, special, stats

SHARES = np.linspace(0, 1, 1001, dtype=np.float32)


def test_weights_are_scipys_gaussian_cut_at_three_standard_deviations() -> None:
    # weights are a gaussian cut at three standard deviations
    away_mm = np.linspace(-20, 20, 401)
    weights = Decision(smoothing_mm=5.0).weights(away_mm)
    gaussian = stats.norm.pdf(away_mm, scale=5.0) / stats.norm.pdf(0, scale=5.0)
    expected = np.where(np.abs(away_mm) <= 15.000001, gaussian, 0)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)

    # averaging with the weights is scipys filter
    values = np.random.default_rng(0).random(60)
    weights = Decision(smoothing_mm=4.0).weights(2.0 * np.arange(-29, 30))  # slices of 2 mm
    averaged = np.convolve(values, weights / weights.sum(), mode="same")
    filtered = ndimage.gaussian_filter1d(values, sigma=2.0, truncate=3.0)
    np.testing.assert_allclose(averaged[10:50], filtered[10:50], rtol=1e-5)

    # without smoothing only the slice itself counts
    weights = Decision().weights(np.array([-1e-3, 0.0, 1e-3]))
    np.testing.assert_array_equal(weights, [0, 1, 0])


@looped(("spacing_mm", "alone"), [(3.0, False), (3.0001, True)])
def test_slices_out_of_reach_have_no_weight(spacing_mm: float, alone: bool) -> None:
    weights = Decision(smoothing_mm=1.0).weights(spacing_mm * np.arange(-3, 4))
    assert (np.count_nonzero(weights) == 1) == alone
    assert weights[3] == weights.max() == 1


@looped("pair", [(1.0, 0.0), (0.6, -1.3), (4.0, 2.0), (0.0, 0.5)])
def test_probability_is_the_calibrated_sigmoid(pair: tuple[float, float]) -> None:
    made = Decision(calibration=pair).probability(SHARES)
    known = np.clip(SHARES.astype(np.float64), LEAST_SHARE, 1 - LEAST_SHARE)
    expected = special.expit(pair[0] * special.logit(known) + pair[1])
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-9)
    assert (np.diff(made) >= 0).all()


def test_a_calibration_is_needed_and_neither_bends_a_slope_of_one_nor_overflows() -> None:
    # a slope of one takes the share at its word
    made = Decision(calibration=(1.0, 0.0)).probability(SHARES[1:-1])
    np.testing.assert_allclose(made, SHARES[1:-1], atol=1e-6)

    # steep slopes do not overflow
    with np.errstate(all="raise"):
        made = Decision(calibration=(1e4, -300.0)).probability(SHARES)
    assert (made[0], made[-1]) == (0, 1)

    # probability needs a calibration
    with pytest.raises(ValueError, match="not calibrated"):
        Decision().probability(SHARES)


def test_certainty_is_the_probability_in_255ths_and_never_0() -> None:
    decision = Decision(calibration=(1.2, -0.4))
    made = decision.stored_probability(SHARES)
    assert made.dtype == np.uint8
    assert np.abs(made / 255 - decision.probability(SHARES)).max() < 1 / 255
    np.testing.assert_array_equal(made[100:], np.rint(255 * decision.probability(SHARES))[100:])
    assert Decision(calibration=(1.0, -50.0)).stored_probability(SHARES).min() == 1


@looped(
    "wrong",
    [
        {"tumor_threshold": 0},
        {"tumor_threshold": 1.0},
        {"tumor_threshold": "half"},
        {"tumor_threshold": float("nan")},
        {"smoothing_mm": -1},
        {"smoothing_mm": float("inf")},
        {"smoothing_mm": True},
        {"calibration": (1.0,)},
        {"calibration": (-0.1, 0.0)},
        {"calibration": (1.0, float("nan"))},
        {"calibration": ("1", "0")},
        {"calibration": 1.0},
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
        Decision(**wrong)
