"""Scores as the G-UNETR++ authors take them: on 256 x 256 x N pixels, distances in pixels.

    scores = grid_scores(predicted_kji, true_kji, lps.spacing_kji_mm)  # labels in LPS order
    record = grid_record([("100", scores), ...])                       # for summary.json

After the authors' public notebook (Shin et al., Diagnostics 2026, 16, 429), whose definitions are
used so that its numbers can stand beside ours:

* a label map is brought to the grid by linear interpolation and cut to whole numbers, so a pixel is
  tumor only if all that it covers is: a rim is lost, from truth and prediction alike;
* pixels count as cubes of side 1, whatever their size in mm;
* RAVD is |V_true - V_predicted| / V_true;
* truth and prediction are handed over in the wrong order, so the column SEN is the precision
  TP / (TP + FP), and the column SPE the negative predictive value TN / (TN + FN);
* a case with a Dice of 0 is left out of the mean. Here the mean over all cases stands beside it.

The numbers that count are those on the CT's own grid in mm: see ``tables_lits``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.labels import Label
from numpy.typing import NDArray
from scipy.spatial import KDTree

from training.score.surfaces import surface_points
from training.score.voxels import Overlap, describe

GridMask = Literal["liver", "tumor"]
GRID_MASKS: tuple[GridMask, ...] = get_args(GridMask)
Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
GRID = VolumePreprocessing()
ROUNDING = 1e-4  # of a mean of whole numbers

COLUMNS = {  # as published -> what it is
    "dice": "Dice",
    "jaccard": "Jaccard",
    "voe": "VOE",
    "ravd": "RAVD",
    "assd_px": "ASSD, pixels",
    "rmsd_px": "RMSD, pixels",
    "mssd_px": "MSSD, pixels",
    "precision": "precision (published as SEN)",
    "npv": "negative predictive value (published as SPE)",
    "recall": "recall (not published)",
    "specificity": "specificity (not published)",
}


@dataclass(frozen=True, kw_only=True)
class GridScores:
    """One mask of one volume; NaN where a score is not defined.

    dice, jaccard, voe: with both masks empty NaN. ravd: NaN without truth. *_px: mean, root mean
    square and maximum of the distances of each surface's pixels to the other surface, in pixels,
    NaN when a mask is empty. precision, recall, npv, specificity: shares of pixels.
    true_px, predicted_px: pixels of the masks.
    """

    dice: float
    jaccard: float
    voe: float
    ravd: float
    assd_px: float
    rmsd_px: float
    mssd_px: float
    precision: float
    npv: float
    recall: float
    specificity: float
    true_px: int
    predicted_px: int

    @classmethod
    def of(cls, predicted: Mask, true: Mask) -> GridScores:
        """Compare bool masks ``(k, j, i)`` of the grid."""
        tp = int(np.count_nonzero(predicted & true))
        fp, fn = int(predicted.sum()) - tp, int(true.sum()) - tp
        tn = true.size - tp - fp - fn
        overlap = Overlap(*(np.asarray(n) for n in (tp, fp, fn, tn)))
        handed_over_wrongly = Overlap(*(np.asarray(n) for n in (tp, fn, fp, tn)))
        distances = _distances_px(predicted, true)
        return cls(
            dice=float(overlap.dice),
            jaccard=float(overlap.iou),
            voe=float(overlap.voe),
            ravd=abs(float(overlap.rvd)),
            assd_px=float(distances.mean()),
            rmsd_px=float(np.sqrt(np.square(distances).mean())),
            mssd_px=float(distances.max()),
            precision=float(overlap.precision),
            npv=float(handed_over_wrongly.specificity),
            recall=float(overlap.recall),
            specificity=float(overlap.specificity),
            true_px=tp + fn,
            predicted_px=tp + fp,
        )


def _distances_px(predicted: Mask, true: Mask) -> NDArray[np.float64]:
    """Both ways; a surface pixel is one that lacks one of its six neighbors. NaN for no surface."""
    if not predicted.any() or not true.any():
        return np.array([np.nan])
    _, ours = surface_points(predicted)
    _, theirs = surface_points(true)
    ways = [KDTree(b).query(a, workers=-1)[0] for a, b in ((ours, theirs), (theirs, ours))]
    return np.concatenate(ways).astype(np.float64)


def on_grid(labels_kji: Labels, spacing_kji_mm: Spacing) -> Labels:
    """Labels ``(k, j, i)`` in LPS order on the authors' grid ``(k, 256, 256)``, in their way."""
    k, rows, columns = labels_kji.shape
    geometry = GRID.geometry((rows, columns), spacing_kji_mm[1:])
    side = (GRID.size_px, GRID.size_px)
    placed = np.zeros((k, *side), np.uint8)
    for source, target in zip(labels_kji, placed, strict=True):
        if source.any():
            square = geometry.to_grid(source, cv2.INTER_NEAREST_EXACT).astype(np.float32)
            mean = cv2.resize(square, side, interpolation=cv2.INTER_LINEAR)
            target[...] = np.floor(mean + ROUNDING)
    return placed


def grid_scores(
    predicted_kji: Labels, true_kji: Labels, spacing_kji_mm: Spacing
) -> dict[GridMask, GridScores]:
    """Liver (with its tumor) and tumor; labels ``(k, j, i)`` of one CT in LPS order."""
    predicted, true = (on_grid(labels, spacing_kji_mm) for labels in (predicted_kji, true_kji))
    least: dict[GridMask, Label] = {"liver": Label.LIVER, "tumor": Label.TUMOR}
    return {mask: GridScores.of(predicted >= n, true >= n) for mask, n in least.items()}


def grid_record(cases: Sequence[tuple[str, Mapping[GridMask, GridScores]]]) -> dict[str, Any]:
    """A nested record: the scores of each case; statistics over those whose truth has the mask.

    For each mask and score ``all`` has a Dice of 0 for a missed mask, and ``published`` leaves such
    cases out.
    """
    record: dict[str, Any] = {
        "cases": [
            {"case": name, **{mask: asdict(scores[mask]) for mask in GRID_MASKS}}
            for name, scores in cases
        ]
    }
    for mask in GRID_MASKS:
        there = [scores[mask] for _, scores in cases if scores[mask].true_px > 0]
        overlapping = [one for one in there if one.dice > 0]
        record[mask] = {
            column: {
                "all": describe([getattr(one, column) for one in there]),
                "published": describe([getattr(one, column) for one in overlapping]),
            }
            for column in COLUMNS
        }
    return record
