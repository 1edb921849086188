"""Intervals and tests against SciPy, the hybrid2d paper's printed numbers and the normal theory."""

from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import pytest
from looped import looped
from numpy.typing import NDArray

from training.score.statistics import (
    FEW_PATIENTS,
    bland_altman,
    bootstrap_mean,
    few_patients_warning,
    paired_t,
    wilcoxon_by_patient,
)

N = 170  # the paper's test slices
LIVER, TUMOR = (0.9157, 0.1223), (0.8103, 0.3037)  # its mean and SD of Dice, Table 6
Floats = NDArray[np.float64]


def sample(seed: int, n: int, mean: float, sd: float) -> Floats:
    """Values with exactly this mean and this SD (n - 1)."""
    values = np.random.default_rng(seed).normal(size=n)
    return np.asarray(mean + sd * (values - values.mean()) / values.std(ddof=1))


def correlated(r: float) -> tuple[Floats, Floats]:
    """The paper's liver and tumor Dice with exactly this correlation."""
    one, other = sample(0, N, 0, 1), sample(1, N, 0, 1)
    other = other - one * (one @ other) / (one @ one)  # now orthogonal
    mixed = r * one + sqrt(1 - r * r) * other / other.std(ddof=1)
    return LIVER[0] + LIVER[1] * one, TUMOR[0] + TUMOR[1] * mixed


@looped(("moments", "printed"), [(LIVER, (0.8973, 0.9341)), (TUMOR, (0.7646, 0.8560))])
def test_slices_taken_as_independent_give_the_papers_interval(
    moments: tuple[float, float], printed: tuple[float, float]
) -> None:
    """mean -+ 1.96 SD / sqrt(170); a bootstrap of 1000 comes within a tenth of its width."""
    mean, sd = moments
    half = 1.96 * sd / sqrt(N)
    assert (round(mean - half, 4), round(mean + half, 4)) == pytest.approx(printed, abs=1.1e-4)
    made = bootstrap_mean(sample(2, N, mean, sd))
    assert (made.low, made.high) == pytest.approx(printed, abs=0.2 * half)
    assert (made.mean, made.n, made.units) == (pytest.approx(mean), N, N)
    assert made.warning is None


def test_the_papers_t_is_that_of_slices_paired_with_a_correlation_of_0_106() -> None:
    paired = paired_t(*correlated(0.106))
    assert paired.statistic == pytest.approx(4.36, abs=0.005)
    assert paired.p < 0.001
    assert paired.difference == pytest.approx(TUMOR[0] - LIVER[0])
    assert paired.n == N
    assert paired_t(*correlated(0.0)).statistic == pytest.approx(4.20, abs=0.005)  # as unpaired


def test_the_bootstrap_is_scipys_percentile_interval() -> None:
    values = np.random.default_rng(3).beta(8, 2, size=60)
    ours = bootstrap_mean(values, resamples=20_000)
    from scipy.stats import bootstrap

    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile")
    interval = theirs.confidence_interval
    width = interval.high - interval.low
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=width / 20)


def test_the_bootstrap_follows_seed_and_confidence() -> None:
    # the seed alone decides
    values = sample(4, 40, 0.7, 0.2)
    assert bootstrap_mean(values) == bootstrap_mean(values, seed=42, resamples=1000)
    assert bootstrap_mean(values) != bootstrap_mean(values, seed=43)

    # less confidence is a narrower interval
    values = sample(5, 40, 0.7, 0.2)
    wide, narrow = bootstrap_mean(values), bootstrap_mean(values, confidence=0.5)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_patients_are_drawn_whole_by_their_values_in_any_order() -> None:
    # patients are drawn whole: Two patients of many slices: only three means can come out, and
    # slices hide it.
    values = np.repeat([0.9, 0.5], [30, 10])
    patients = ["a"] * 30 + ["b"] * 10
    by_patient = bootstrap_mean(values, groups=patients)
    assert (by_patient.low, by_patient.high) == pytest.approx((0.5, 0.9))
    assert (by_patient.mean, by_patient.n, by_patient.units) == (pytest.approx(0.8), 40, 2)
    by_slice = bootstrap_mean(values)
    assert by_slice.high - by_slice.low < 0.15

    # patients weigh as many values as they have: The means that a draw of one, the other or both
    # give: 0.9, 0.5 and the pooled 0.8.
    values = np.repeat([0.9, 0.5], [30, 10])
    middle = bootstrap_mean(values, groups=["a"] * 30 + ["b"] * 10, confidence=0.2)
    assert (middle.low, middle.high) == pytest.approx((0.8, 0.8))

    # patients of one value are the plain bootstrap
    values = sample(6, 25, 0.6, 0.1)
    grouped, plain = bootstrap_mean(values, groups=list(range(25))), bootstrap_mean(values)
    assert (grouped.low, grouped.high) == (plain.low, plain.high)

    # the order of patients does not matter to who they are
    values, patients = [0.9, 0.5, 0.9, 0.5], ["a", "b", "a", "b"]
    made = bootstrap_mean(values, groups=patients)
    assert (made.units, made.low, made.high) == (2, pytest.approx(0.5), pytest.approx(0.9))


@looped("groups", [None, ["a"], []])
def test_one_value_has_no_interval_and_none_no_mean(groups: list[str] | None) -> None:
    if groups != []:
        one = bootstrap_mean([0.7], groups=groups)
        assert (one.mean, one.n, one.units) == (0.7, 1, 1)
        assert isnan(one.low)
        assert isnan(one.high)
    if groups != ["a"]:
        none = bootstrap_mean([], groups=groups)
        assert (none.n, none.units) == (0, 0)
        assert isnan(none.mean)
        assert isnan(none.low)


def test_one_patient_has_no_interval_however_many_slices() -> None:
    made = bootstrap_mean(sample(7, 90, 0.8, 0.1), groups=["a"] * 90)
    assert (made.mean, made.units) == (pytest.approx(0.8), 1)
    assert isnan(made.low)
    assert made.warning is not None
    assert made.warning.startswith("Only 1 patient:")


def test_values_not_measured_are_left_out() -> None:
    values = np.array([0.5, np.nan, 0.7, np.nan])
    made = bootstrap_mean(values, groups=["a", "a", "b", "c"])
    assert (made.mean, made.n, made.units) == (pytest.approx(0.6), 2, 2)
    assert bootstrap_mean(values).n == 2
    assert isnan(bootstrap_mean([np.nan, np.nan]).mean)
    assert paired_t(values, [0.1, 0.2, np.nan, 0.4]).n == 1
    assert bland_altman(values, [0.1, 0.2, 0.3, 0.4]).n == 2
    assert wilcoxon_by_patient(values, [0.1, 0.2, 0.3, 0.4], ["a", "a", "b", "c"]).n == 2


def test_under_ten_patients_there_is_a_warning() -> None:
    assert few_patients_warning(FEW_PATIENTS) is None
    assert "Only 9 patients" in str(few_patients_warning(FEW_PATIENTS - 1))
    for patients in (9, 10):
        values, names = sample(8, patients, 0.7, 0.1), list(range(patients))
        warnings = (
            bootstrap_mean(values, groups=names).warning,
            wilcoxon_by_patient(values, values[::-1], names).warning,
        )
        assert [warning is None for warning in warnings] == [patients == 10] * 2


def test_wilcoxon_is_scipys_on_the_means_of_patients() -> None:
    rng = np.random.default_rng(9)
    patients = rng.integers(0, 12, size=150)
    baseline = rng.beta(6, 2, size=150)
    proposed = baseline + rng.normal(0.02, 0.05, size=150)
    means = [
        [side[patients == patient].mean() for patient in range(12)] for side in (baseline, proposed)
    ]
    from scipy.stats import wilcoxon

    expected = wilcoxon(*means)
    made = wilcoxon_by_patient(baseline, proposed, patients.tolist())
    assert (made.statistic, made.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert made.difference == pytest.approx(np.mean(means[1]) - np.mean(means[0]))
    assert made.n == 12


def test_many_slices_of_five_patients_are_never_significant() -> None:
    """All better, 100 slices each: 2 / 2^5 is the smallest p there is."""
    baseline, names = np.full(500, 0.5), np.repeat(list("abcde"), 100).tolist()
    proposed = baseline + np.repeat([0.1, 0.2, 0.3, 0.4, 0.45], 100)
    made = wilcoxon_by_patient(baseline, proposed, names)
    assert (made.p, made.n) == (pytest.approx(2 / 32), 5)
    assert made.difference > 0


@looped("n", [0, 1])
def test_fewer_than_two_pairs_test_nothing(n: int) -> None:
    first, second, names = [0.9] * n, [0.6] * n, ["a"] * n
    for made in (paired_t(first, second), wilcoxon_by_patient(first, second, names)):
        assert made.n == n
        assert isnan(made.p)
        assert isnan(made.statistic)
        assert made.difference == pytest.approx(-0.3 if n else np.nan, nan_ok=True)


def test_without_spread_but_rounding_there_is_no_test() -> None:
    # without spread there is no test
    values, names = sample(10, 12, 0.5, 0.1), list(range(12))
    for shift in (0.0, 0.1):  # rounding makes the shifted differences unequal
        made = paired_t(values, values + shift)
        assert isnan(made.p)
        assert made.difference == pytest.approx(shift)
    same = wilcoxon_by_patient(values, values, names)
    assert (same.n, same.difference) == (12, 0)
    assert isnan(same.p)
    assert wilcoxon_by_patient(values, values + 0.1, names).p < 0.001

    # means that differ by rounding alone are the same: The same three values in another order:
    # their sums are 0.6 and 0.6000000000000001.
    baseline, proposed = np.array([0.1, 0.2, 0.3] * 3), np.array([0.3, 0.2, 0.1] * 3)
    names = np.repeat(list("abc"), 3).tolist()
    assert baseline[:3].sum() != proposed[:3].sum()
    made = wilcoxon_by_patient(baseline, proposed, names)
    assert isnan(made.p)
    assert made.difference == 0


def test_bland_altman_is_bias_and_limits_that_hold_95_in_100() -> None:
    # bland altman is bias and 1 96 sd
    reference = np.array([10.0, 20.0, 30.0, 40.0])
    measured = reference + np.array([1.0, 3.0, 1.0, 3.0])
    made = bland_altman(measured, reference)
    sd = float(np.std([1, 3, 1, 3], ddof=1))
    assert (made.bias, made.sd, made.n) == (pytest.approx(2), pytest.approx(sd), 4)
    assert (made.low, made.high) == pytest.approx((2 - 1.96 * sd, 2 + 1.96 * sd))
    # Bland and Altman 1999: var(limit) = s2 (1/n + 1.96^2 / (2 (n - 1))); t of 3 degrees: 3.1824
    error = 3.182446 * sd * (1 / 4 + 1.96**2 / (2 * 3)) ** 0.5
    assert made.limit_error == pytest.approx(error)
    assert bland_altman(reference, measured).bias == pytest.approx(-2)

    # limits hold 95 in 100 normal differences
    differences = np.random.default_rng(11).normal(3, 2, size=20_000)
    made = bland_altman(differences, np.zeros(20_000))
    inside = (differences > made.low) & (differences < made.high)
    assert inside.mean() == pytest.approx(0.95, abs=0.005)

    # one pair has a bias but no limits
    one = bland_altman([5.0], [3.0])
    assert (one.bias, one.n) == (2, 1)
    assert isnan(one.sd)
    assert isnan(one.low)
    assert isnan(one.high)
    none = bland_altman([], [])
    assert none.n == 0
    assert isnan(none.bias)
    assert isnan(none.low)


def test_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="name the patient of every value"):
        bootstrap_mean([1.0, 2.0], groups=["a"])
    with pytest.raises(ValueError, match="are no pairs"):
        paired_t([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="are no pairs"):
        bland_altman([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="are no pairs"):
        wilcoxon_by_patient([1.0, 2.0], [1.0], ["a", "b"])
    with pytest.raises(ValueError, match="name the patient of every value"):
        wilcoxon_by_patient([1.0, 2.0], [1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="one list"):
        bootstrap_mean([[1.0, 2.0]])
