"""Does a tumor probability of 0.7 mean that seven of ten such voxels are tumor?

    bins = tumor_calibration(probabilities, true, predicted)   # of one volume
    total = pooled([bins_of_a, bins_of_b])
    total.ece()

Counted inside the liver only (true or predicted): the rest of a CT is easy background, and with it
any model would look well calibrated. The probabilities are the network's own, before
postprocessing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from LiverTumorSegLib.labels import Label
from numpy.typing import NDArray

from training.score.voxels import Counts, Floats

BIN_EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Voxels sorted into bins of predicted tumor probability.

    edges: ``(bins + 1,)``, rising from 0 to 1. counts: voxels of each bin. probability_sums: sum of
    their predicted probability. truth_sums: how many of them are tumor in truth. All ``(bins,)``.
    """

    edges: Floats
    counts: Counts
    probability_sums: Floats
    truth_sums: Counts

    def __post_init__(self) -> None:
        bins = len(self.edges) - 1
        if bins < 1 or any(
            len(values) != bins for values in (self.counts, self.probability_sums, self.truth_sums)
        ):
            raise ValueError("Calibration needs one count and two sums a bin, and one edge more.")
        if np.any(np.diff(self.edges) <= 0):
            raise ValueError("The edges of calibration bins must rise.")

    def to_record(self) -> dict[str, Any]:
        """For summary.json, with the error; the inverse of :meth:`from_record`."""
        return {
            "region": REGION,
            "edges": self.edges,
            "voxels": self.counts,
            "probability_sums": self.probability_sums,
            "tumor_voxels": self.truth_sums,
            "ece": self.ece(),
            "ece_without_first_bin": self.ece(first_bin=1),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Calibration:
        names = ("edges", "voxels", "probability_sums", "tumor_voxels")
        return cls(*(np.asarray(record[name]) for name in names))

    @property
    def confidence(self) -> Floats:
        """Mean predicted probability of each bin; NaN where it is empty."""
        return _ratio(self.probability_sums, self.counts)

    @property
    def frequency(self) -> Floats:
        """Share of each bin's voxels that are tumor in truth; NaN where it is empty."""
        return _ratio(self.truth_sums, self.counts)

    def ece(self, first_bin: int = 0) -> float:
        """Expected calibration error, 0 to 1: the mean gap between the two, weighted by voxels.

        first_bin: 1 leaves out the bin next to probability 0, where most voxels are.
        NaN when no voxel is left.
        """
        counts = self.counts[first_bin:]
        gaps = np.abs(self.probability_sums - self.truth_sums)[first_bin:]
        return float(gaps.sum() / counts.sum()) if counts.sum() else float("nan")


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    result: Floats = np.full(len(whole), np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


BINS = 10
EDGES = np.linspace(0.0, 1.0, BINS + 1)
REGION = "inside the true or the predicted liver"


def tumor_calibration(
    probabilities: NDArray[np.float16], true: NDArray[np.uint8], predicted: NDArray[np.uint8]
) -> Calibration:
    """Ten bins of equal width, probability 1 in the last.

    probabilities ``(3, k, j, i)`` by class; labels ``(k, j, i)``.
    """
    return pooled(
        _of_voxels(tumor[inside], true_ji[inside] == Label.TUMOR)
        for tumor, true_ji, inside in _slices(probabilities[Label.TUMOR], true, predicted)
    )


def _slices(
    tumor: NDArray[np.float16], true: NDArray[np.uint8], predicted: NDArray[np.uint8]
) -> Iterable[tuple[NDArray[np.float16], NDArray[np.uint8], NDArray[np.bool_]]]:
    """Slice by slice, as a volume of float64 would not fit into the memory."""
    for tumor_ji, true_ji, predicted_ji in zip(tumor, true, predicted, strict=True):
        yield tumor_ji, true_ji, (true_ji >= Label.LIVER) | (predicted_ji >= Label.LIVER)


def pooled(parts: Iterable[Calibration]) -> Calibration:
    """The bins of several volumes in one pot; empty bins for none."""
    every: Sequence[Calibration] = list(parts)
    return Calibration(
        EDGES,
        sum((part.counts for part in every), np.zeros(BINS, np.int64)),
        sum((part.probability_sums for part in every), np.zeros(BINS)),
        sum((part.truth_sums for part in every), np.zeros(BINS, np.int64)),
    )


def _of_voxels(probability: NDArray[np.float16], tumor: NDArray[np.bool_]) -> Calibration:
    values = probability.astype(np.float64)
    bins = np.minimum((values * BINS).astype(np.int64), BINS - 1)
    return Calibration(
        EDGES,
        np.bincount(bins, minlength=BINS),
        np.bincount(bins, weights=values, minlength=BINS).astype(np.float64),
        np.bincount(bins[tumor], minlength=BINS),
    )


def reliability(lesions: Sequence[tuple[float, float]]) -> list[dict[str, Any]]:
    """Four bins of lesions by their confidence, 1 in the last.

    lesions: (confidence, true share) of each. A row has low, high, lesions (their number),
    mean_confidence, mean_true_share (None in an empty bin) and touching (a true lesion).
    """
    pairs = np.array(lesions, np.float64).reshape(-1, 2)
    bins = np.searchsorted(BIN_EDGES[1:-1], pairs[:, 0], side="right")
    rows = []
    for n, (low, high) in enumerate(pairwise(BIN_EDGES)):
        inside = pairs[bins == n]
        confidence, true_share = inside.mean(axis=0).tolist() if len(inside) else (None, None)
        rows.append(
            {
                "low": low,
                "high": high,
                "lesions": len(inside),
                "mean_confidence": confidence,
                "mean_true_share": true_share,
                "touching": int(np.count_nonzero(inside[:, 1] > 0)),
            }
        )
    return rows
