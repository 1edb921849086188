"""Calibration by what the greatest likelihood fulfils, and lesions as users see them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from choice_material import DEFAULT, Spot, answered, scan, segmenter
from LiverTumorSegLib.inference.decision import Decision
from looped import looped
from numpy.typing import NDArray

from training.score.calibration import reliability
from training.score.lesions import lesion_table
from training.tuning import platt as confidence
from training.tuning.platt import LARGEST, Evidence, by_patient, fit_confidence, left_out


def patient(
    name: str, count: int, fitted: tuple[float, float], seed: int = 0, lesions: int = 4
) -> Evidence:
    """Voxels whose truth is drawn by just such a calibration."""
    random = np.random.default_rng(seed)
    shares = random.uniform(0.31, 0.999, count).astype(np.float32)
    tumor = random.random(count) < Decision(calibration=fitted).probability(shares)
    return Evidence(name, shares, tumor, np.arange(count) * lesions // count)


def errors(patients: list[Evidence], fitted: tuple[float, float]) -> tuple[float, float]:
    """Mean of probability - truth over patients, plain and times the logit of the share."""
    plain, by_logit = [], []
    for one in patients:
        error = Decision(calibration=fitted).probability(one.shares) - one.tumor
        logit = np.log(one.shares / (1 - one.shares.astype(np.float64)))
        plain.append(error.mean())
        by_logit.append((error * logit).mean())
    return float(np.mean(plain)), float(np.mean(by_logit))


@looped("true", [(1.0, 0.0), (0.6, -1.0), (2.0, 0.5)])
def test_what_the_voxels_were_drawn_by_is_found(true: tuple[float, float]) -> None:
    patients = [patient("a", 30_000, true, 1), patient("b", 60_000, true, 2)]
    assert fit_confidence(patients) == pytest.approx(true, abs=0.12)


def test_at_the_greatest_likelihood_no_error_is_left() -> None:
    """Whatever the patients: the expected tumor is the true one, also weighted by the logit."""
    patients = [patient("a", 900, (1.5, 1.0), 1), patient("b", 40_000, (0.3, -2.0), 2)]
    fitted = fit_confidence(patients)
    assert errors(patients, fitted) == pytest.approx((0, 0), abs=1e-4)
    assert abs(errors(patients, (1.0, 0.0))[0]) > 0.1


def test_a_patient_weighs_the_same_however_large_its_tumors() -> None:
    a, b = patient("a", 3000, (1.5, 1.0), 1), patient("b", 3000, (0.3, -2.0), 2)
    large = b
    for _ in range(7):
        large += b
    assert fit_confidence([a, large]) == pytest.approx(fit_confidence([a, b]), abs=1e-3)


def test_a_slope_is_never_negative() -> None:
    """Where a higher share means less tumor, the share of tumor itself is the best guess."""
    one = patient("a", 20_000, (1.0, 0.0))
    falling = replace(one, tumor=one.shares < 0.6)
    slope, offset = fit_confidence([falling])
    assert slope == 0
    assert 1 / (1 + np.exp(-offset)) == pytest.approx(falling.tumor.mean(), abs=1e-3)


@looped("truth", [True, False])
def test_patients_without_error_or_without_hit_end_at_a_bound(truth: bool) -> None:
    one = patient("a", 500, (1.0, 0.0))
    fitted = fit_confidence([replace(one, tumor=np.full(500, truth))])
    assert max(map(abs, fitted)) <= LARGEST
    probability = Decision(calibration=fitted).probability(one.shares)
    assert np.abs(probability - truth).max() < 0.05


def test_scans_of_one_patient_are_one_and_nobody_is_refused() -> None:
    # nobody to fit on
    with pytest.raises(ValueError, match="labeled tumor"):
        fit_confidence([])

    # scans of one patient are one and empty ones none
    a, b = patient("a", 100, (1.0, 0.0), 1), patient("b", 60, (1.0, 0.0), 2)
    nothing = answered("3", "c", []).evidence(DEFAULT)
    joined = by_patient([a, nothing, b, replace(b, patient="a")])
    assert [(one.patient, len(one.shares)) for one in joined] == [("a", 160), ("b", 60)]
    assert len(joined[0].lesion_pairs((1.0, 0.0))) == 8
    assert joined[0].lesion_pairs((1.0, 0.0))[4:] == b.lesion_pairs((1.0, 0.0))


def test_thinning_is_even_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    one = patient("a", 1000, (1.0, 0.0), lesions=1000)
    assert (one.thinned().lesions == np.arange(1000)).all()
    monkeypatch.setattr(confidence, "MOST_VOXELS", 300)
    thin = one.thinned()
    assert len(thin.shares) == len(thin.tumor) == 300
    assert set(np.diff(thin.lesions)) == {3, 4}
    assert (thin.shares == one.shares[thin.lesions]).all()
    assert (one.thinned().lesions == thin.lesions).all()


@looped("smoothing_mm", [0.0, 4.0])
def test_lesions_are_as_sure_as_users_see_them(smoothing_mm: float) -> None:
    """The segmenter's certainty, as the evaluation reads it, in the same lesions."""
    spots = [Spot(2, 7, 10, share=0.9), Spot(3, 6, 30, share=0.7, true=False)]
    spots += [Spot(5, 8, 12, row=23, share=0.8, true=False), Spot(4, 8, 44, share=0.99)]
    fitted = (0.7, -0.4)
    decided = DEFAULT.with_value("smoothing_mm", smoothing_mm)
    evidence = answered("3", "anna", spots).evidence(decided)
    calibrated = replace(decided, decision=replace(decided.decision, calibration=fitted))
    ct, true = scan(spots)
    result = segmenter(calibrated).segment(ct)
    assert result.tumor_probability_kji is not None
    labels = result.labels_kji
    table = lesion_table(labels, true, ct.spacing_kji_mm)
    shown = table.with_confidence(labels, result.tumor_probability_kji).predicted
    expected = [(lesion.confidence, lesion.overlap_fraction) for lesion in shown]
    assert len(expected) >= 3
    assert np.allclose(evidence.lesion_pairs(fitted), expected, rtol=0, atol=1e-9)
    assert len(evidence.shares) == np.count_nonzero(labels == 2)
    assert np.count_nonzero(evidence.tumor) == np.count_nonzero((labels == 2) & (true == 2))


def test_who_is_left_out_has_no_say_in_its_own_confidence() -> None:
    a, b, c = (patient(name, 4000, (1.0, n - 1.0), n) for n, name in enumerate("abc"))
    lied: NDArray[np.bool_] = ~a.tumor
    honest, other = left_out([a, b, c]), left_out([replace(a, tumor=lied), b, c])
    assert len(honest) == 12
    assert [x for x, _ in honest[:4]] == [x for x, _ in other[:4]]
    assert [x for x, _ in honest[4:]] != [x for x, _ in other[4:]]


def test_bins_by_hand() -> None:
    rows = reliability([(0.0, 0.0), (0.24, 0.1), (0.25, 0.0), (0.8, 0.5), (1.0, 0.9), (0.75, 0.1)])
    assert [row["lesions"] for row in rows] == [2, 1, 0, 3]
    assert [row["touching"] for row in rows] == [1, 0, 0, 3]
    assert rows[0]["mean_confidence"] == pytest.approx(0.12)
    assert rows[3]["mean_true_share"] == pytest.approx(0.5)
    assert rows[2]["mean_confidence"] is rows[2]["mean_true_share"] is None
    assert [(row["low"], row["high"]) for row in rows][-1] == (0.75, 1.0)
    assert sum(row["lesions"] for row in reliability([])) == 0
