"""Does a tumor probability of 0.7 mean that seven of ten such voxels are tumor?

    bins = tumor_calibration(probabilities, true, predicted)   # of one volume
    total = pooled([bins_of_a, bins_of_b])
    total.ece()

Counted inside the liver only (true or predicted): the rest of a CT is easy background, and with it
any model would look well calibrated. The probabilities are the network's own, before
postprocessing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from LiverTumorSegLib.labels import Label
from numpy.typing import NDArray

from training.reports.material import Calibration

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
