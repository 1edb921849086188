"""How sure a mean or a difference is: bootstrap, paired tests, limits of agreement.

    per_slice = bootstrap_mean(dice)                     # as the hybrid2d paper: slices independent
    honest = bootstrap_mean(dice, groups=patients)       # whole patients are drawn
    test = paired_t(liver_dice, tumor_dice)              # the paper's t-test
    test = wilcoxon_by_patient(baseline, proposed, patients)
    limits = bland_altman(predicted_ml, true_ml)
    print(honest.low, honest.high, honest.warning or "")

Slices of one patient resemble each other, so an interval or a test over slices takes a few patients
for many and comes out too narrow: the paper's 170 slices are of 2 patients. Everything here that
goes by patient draws or averages whole patients, and says so when there are too few of them.

NaN marks a value that was not measured: it is left out, a pair if either of it is NaN; ``n`` counts
what is left.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES, SEED, CONFIDENCE = 1000, 42, 0.95  # hybrid2d paper: 1,000 resamples, 95 %
FEW_PATIENTS = 10
NORMAL_95 = 1.96  # standard deviations on both sides that hold 95 % of a normal distribution
SAME = 1e-12  # differences this close to each other, or to 0, are rounding
NAN = float("nan")

Floats = NDArray[np.float64]


def few_patients_warning(patients: int) -> str | None:
    """A sentence to print beside anything that stands on under 10 patients, else ``None``."""
    if patients >= FEW_PATIENTS:
        return None
    of = "1 patient" if patients == 1 else f"{patients} patients"
    return (
        f"Only {of}: intervals and tests of under {FEW_PATIENTS} patients are unreliable and say "
        "little about the next patient."
    )


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap confidence interval.

    n: values the mean stands on. units: what was drawn, patients or single values.
    low, high: NaN with fewer than two units; the mean is NaN with none.
    warning: set when patients were drawn and there are under 10 of them.
    """

    mean: float
    low: float
    high: float
    n: int
    units: int
    confidence: float = CONFIDENCE
    warning: str | None = None


def bootstrap_mean(
    values: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Percentile bootstrap of the mean of values ``(n,)``; the same seed gives the same interval.

    groups: the patient of each value. Then patients are drawn, with replacement, each with all of
    its values (cluster bootstrap), and the mean is over all values drawn. Without, every value is
    drawn by itself. Raises ``ValueError`` when groups and values differ in number.
    """
    flat = _flat(values)
    _check_groups(flat, groups)
    is_finite = np.isfinite(flat)
    labels = np.arange(len(flat)) if groups is None else _codes(groups)
    units, unit_of = np.unique(labels[is_finite], return_inverse=True)
    sums = np.bincount(unit_of, weights=flat[is_finite], minlength=len(units)).astype(np.float64)
    counts = np.bincount(unit_of, minlength=len(units))
    low = high = NAN
    if len(units) > 1:
        means = _resampled_means(sums, counts, resamples, seed)
        tail = 100 * (1 - confidence) / 2
        low, high = (float(np.percentile(means, at)) for at in (tail, 100 - tail))
    return Interval(
        mean=float(flat[is_finite].mean()) if is_finite.any() else NAN,
        low=low,
        high=high,
        n=int(is_finite.sum()),
        units=len(units),
        confidence=confidence,
        warning=None if groups is None else few_patients_warning(len(units)),
    )


def _resampled_means(
    sums: Floats, counts: NDArray[np.int64], resamples: int, seed: int
) -> list[float]:
    """Means over all values of the units drawn, one draw at a time: units may be 50,000 slices."""
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        drawn = rng.integers(len(sums), size=len(sums))
        means.append(float(sums[drawn].sum() / counts[drawn].sum()))
    return means


@dataclass(frozen=True)
class PairedTest:
    """A two-sided test of paired values.

    difference: mean of second - first over the ``n`` pairs; NaN without pairs.
    statistic, p: NaN where there is nothing to test: fewer than two pairs, or no spread (t: all
    differences are the same; Wilcoxon: all are 0).
    warning: set when the pairs are patients and there are under 10 of them.
    """

    statistic: float
    p: float
    difference: float
    n: int
    warning: str | None = None


def paired_t(first: ArrayLike, second: ArrayLike) -> PairedTest:
    """Paired t-test; t is positive when ``first`` is larger (the paper's liver against tumor).

    On slices it takes each for a patient of its own; see the module. ``ValueError`` when the two
    differ in number.
    """
    one, two = _pairs(first, second)
    difference = float((two - one).mean()) if len(one) else NAN
    if len(one) < 2 or np.allclose(two - one, difference, rtol=SAME, atol=SAME):
        return PairedTest(NAN, NAN, difference, len(one))
    from scipy.stats import ttest_rel

    result = ttest_rel(one, two)
    return PairedTest(float(result.statistic), float(result.pvalue), difference, len(one))


def wilcoxon_by_patient(
    baseline: ArrayLike, proposed: ArrayLike, patients: Sequence[Hashable]
) -> PairedTest:
    """Wilcoxon signed-rank test of two methods on the same cases, one pair of means a patient.

    baseline, proposed: a value a slice or a volume; patients: whose it is. Patients whose means
    agree are dropped by the test but counted in ``n``. The statistic is the smaller sum of ranks.
    Under 6 patients p cannot fall below 0.05, whatever the values. ``ValueError`` when the three
    differ in number.
    """
    _check_groups(_flat(baseline), patients)
    one, two = _flat(baseline), _flat(proposed)
    _check_lengths(one, two)
    is_finite = np.isfinite(one) & np.isfinite(two)
    _, unit_of = np.unique(_codes(patients)[is_finite], return_inverse=True)
    counts = np.bincount(unit_of)
    means = [np.bincount(unit_of, weights=side[is_finite]) / counts for side in (one, two)]
    differences = means[1] - means[0]
    differences[np.abs(differences) < SAME] = 0.0
    n, warning = len(counts), few_patients_warning(len(counts))
    difference = float(differences.mean()) if n else NAN
    if n < 2 or not differences.any():
        return PairedTest(NAN, NAN, difference, n, warning)
    from scipy.stats import wilcoxon

    result = wilcoxon(differences)
    return PairedTest(float(result.statistic), float(result.pvalue), difference, n, warning)


@dataclass(frozen=True)
class BlandAltman:
    """Agreement of two measurements of the same things.

    bias: mean of measured - reference. sd: of these differences (n - 1).
    low, high: 95 % limits of agreement, bias -+ 1.96 sd: where the next difference would lie.
    limit_error: half the 95 % confidence interval of each limit (Bland and Altman 1999).
    With one pair sd and limits are NaN; with none the bias too.
    """

    bias: float
    sd: float
    low: float
    high: float
    limit_error: float
    n: int


def bland_altman(measured: ArrayLike, reference: ArrayLike) -> BlandAltman:
    """Bias and limits of agreement, in the unit of the values; ``ValueError`` if numbers differ."""
    one, two = _pairs(measured, reference)
    differences, n = one - two, len(one)
    bias = float(differences.mean()) if n else NAN
    sd = limit_error = NAN
    if n > 1:
        from scipy.stats import t

        sd = float(differences.std(ddof=1))
        error = sd * math.sqrt(1 / n + NORMAL_95**2 / (2 * (n - 1)))
        limit_error = float(t.ppf(0.975, n - 1)) * error
    return BlandAltman(bias, sd, bias - NORMAL_95 * sd, bias + NORMAL_95 * sd, limit_error, n)


def _flat(values: ArrayLike) -> Floats:
    flat = np.asarray(values, dtype=np.float64)
    if flat.ndim != 1:
        raise ValueError(f"Values must be one list; this array has shape {flat.shape}.")
    return flat


def _pairs(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    """Both without the pairs that hold a NaN."""
    one, two = _flat(first), _flat(second)
    _check_lengths(one, two)
    is_finite = np.isfinite(one) & np.isfinite(two)
    return one[is_finite], two[is_finite]


def _check_lengths(one: Floats, two: Floats) -> None:
    if len(one) != len(two):
        raise ValueError(
            f"{len(one)} and {len(two)} values are no pairs; give both for the same cases."
        )


def _check_groups(values: Floats, groups: Sequence[Hashable] | None) -> None:
    if groups is not None and len(groups) != len(values):
        raise ValueError(
            f"{len(values)} values but {len(groups)} patients; name the patient of every value."
        )


def _codes(groups: Sequence[Hashable]) -> NDArray[np.intp]:
    """A number for each group, by first appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.intp)
