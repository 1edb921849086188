"""How sure a lesion is: a calibration fitted on validation patients, and how well it holds.

    slope, offset = fit_confidence([evidence_of_anna, evidence_of_ben])
    bins = reliability(left_out([evidence_of_anna, evidence_of_ben]))

P(tumor) of a voxel is sigmoid(slope * logit(share) + offset), its share of the tumor being what
``LiverTumorSegLib.inference.decision`` compares with a threshold; a lesion's confidence is the mean
over its voxels. Fitted by maximum likelihood (Platt 1999) on the voxels that were labeled tumor,
for these are what a lesion's confidence speaks of, and so that every patient weighs the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from LiverTumorSegLib.inference.decision import FULL_SCALE, LEAST_SHARE, Decision
from numpy.typing import NDArray

from training.score.matching import LesionMatch

FEWEST_PATIENTS = 2  # one to fit on, another to look at
MOST_VOXELS = 200_000  # of a patient, to fit on
LARGEST = 10.0  # slope, and offset either way: patients without any error drive them to infinity

Floats = NDArray[np.float64]
Shares = NDArray[np.float32]
Confidence = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Evidence:
    """The voxels of one patient that were labeled tumor, in one order that is always the same.

    shares: float32 ``(n,)``, of the tumor, 0 to 1. tumor: bool ``(n,)``, whether they truly are.
    lesions: ``(n,)``, the number of the predicted lesion (6-neighborhood) they belong to, from 0.
    """

    patient: str
    shares: Shares
    tumor: NDArray[np.bool_]
    lesions: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        patient: str,
        match: LesionMatch,
        slices: Iterable[tuple[int, Shares]],
    ) -> Evidence:
        """Evidence from the lesions of one volume ``(k, j, i)``, and the shares ``(j, i)`` of its
        slices k.

        Slices without any label may be left out.
        """
        numbers = match.predicted.numbers.transpose()
        true = match.true.numbers.transpose() > 0
        first, *corner = match.start_kji
        window = tuple(
            slice(start, start + length)
            for start, length in zip(corner, numbers.shape[1:], strict=True)
        )
        parts = []
        for k, share_ji in slices:
            if 0 <= k - first < len(numbers):
                inside = numbers[k - first] > 0
                lesions = numbers[k - first][inside].astype(np.int64) - 1
                parts.append((share_ji[window][inside], true[k - first][inside], lesions))
        if not parts:
            return cls(patient, np.zeros(0, np.float32), np.zeros(0, bool), np.zeros(0, np.int64))
        return cls(patient, *(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def __add__(self, other: Evidence) -> Evidence:
        """Another scan of the patient."""
        return Evidence(
            self.patient,
            np.concatenate([self.shares, other.shares]),
            np.concatenate([self.tumor, other.tumor]),
            np.concatenate([self.lesions, other.lesions + self.lesions.max(initial=-1) + 1]),
        )

    def thinned(self) -> Evidence:
        """The same evidence with at most :data:`MOST_VOXELS` voxels, evenly spread over all."""
        count = min(len(self.shares), MOST_VOXELS)
        index = np.arange(count) * len(self.shares) // max(count, 1)
        return Evidence(self.patient, self.shares[index], self.tumor[index], self.lesions[index])

    def lesion_pairs(self, fitted: Confidence) -> list[tuple[float, float]]:
        """(confidence, true share) of each lesion: what users see of it, and what is true."""
        probabilities = Decision(calibration=fitted).stored_probability(self.shares) / FULL_SCALE
        voxels = np.bincount(self.lesions)
        confidence = np.bincount(self.lesions, weights=probabilities) / voxels
        true_share = np.bincount(self.lesions, weights=self.tumor) / voxels
        return list(zip(confidence.tolist(), true_share.tolist(), strict=True))


def by_patient(evidence: Iterable[Evidence]) -> list[Evidence]:
    """Scans of one patient joined; patients without a voxel labeled tumor do not count."""
    patients: dict[str, Evidence] = {}
    for one in evidence:
        known = patients.get(one.patient)
        patients[one.patient] = one if known is None else known + one
    return [one for one in patients.values() if len(one.shares)]


def fit_confidence(patients: Sequence[Evidence]) -> Confidence:
    """Slope, 0 or more, and offset; every patient weighs the same, however large its tumors.

    Of patients without an error, or without a hit, no likelihood is the greatest: slope and offset
    end at 10. ``ValueError`` without a patient, or with one who has no voxel labeled tumor.
    """
    from scipy.optimize import minimize

    if not patients or any(len(one.shares) == 0 for one in patients):
        raise ValueError("A confidence is fitted on patients with voxels labeled tumor.")
    thin = [one.thinned() for one in patients]
    logits = _logit(np.concatenate([one.shares for one in thin]))
    tumor = np.concatenate([one.tumor for one in thin])
    weights = np.concatenate([np.full(len(one.shares), 1 / len(one.shares)) for one in thin])

    def loss(pair: Floats) -> tuple[float, Floats]:
        """Negative log likelihood of a patient's mean voxel, and its gradient."""
        score = pair[0] * logits + pair[1]
        value = weights @ np.logaddexp(0, np.where(tumor, -score, score))
        error = weights * (0.5 * (1 + np.tanh(0.5 * score)) - tumor)
        return float(value) / len(thin), np.array([error @ logits, error.sum()]) / len(thin)

    bounds = [(0.0, LARGEST), (-LARGEST, LARGEST)]
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(found.x[0]), float(found.x[1])


def _logit(shares: Shares) -> Floats:
    known = shares.astype(np.float64).clip(LEAST_SHARE, 1 - LEAST_SHARE)
    return np.asarray(np.log(known / (1 - known)))


def left_out(patients: Sequence[Evidence]) -> list[tuple[float, float]]:
    """(confidence, true share) of every lesion, by a fit that has not seen its patient."""
    pairs = []
    for one in patients:
        others = [other for other in patients if other.patient != one.patient]
        pairs += one.lesion_pairs(fit_confidence(others))
    return pairs
