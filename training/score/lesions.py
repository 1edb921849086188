"""A row a lesion: where it is, how large, whether it was found; and detection by size.

    table = lesion_table(predicted, true, ct.spacing_kji_mm)
    missed = [lesion for lesion in table.true if not lesion.detected(0.5)]
    false = [lesion for lesion in table.predicted if not lesion.detected(0.5)]
    for size, counts in detection_by_size(tables, 0.5).items():
        print(f"{size}: {counts.tp} of {counts.true_lesions} found, {counts.fp} false")
    sure = table.with_confidence(predicted, probability).predicted[0].confidence

Lesions are those of :mod:`training.score.matching` (6-neighborhood), found or false as its
``clean`` mode says. The size of a lesion is the diameter of a ball of its volume. How sure the
model is of one it predicted is the mean of its voxels' tumor probability, as users see it beside
the lesion.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from math import pi, prod
from typing import Any

import numpy as np
from LiverTumorSegLib.inference.decision import FULL_SCALE
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.lesions import measure_labels
from numpy.typing import NDArray
from scipy import ndimage

from training.score.matching import HALF, TOUCH, Detection, LesionMatch, Lesions, match_lesions

SIZE_LIMITS_MM = (10.0, 20.0)  # both belong to the middle bin
SIZE_BINS = ("< 10 mm", "10-20 mm", "> 20 mm")
LARGE_BINS = SIZE_BINS[1:]  # 10 mm and more

Floats = NDArray[np.float64]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class ScoredLesion:
    """A true or a predicted lesion, seen against the lesions of the other side.

    number: the lesion's in the matching, from 1, in no order of size.
    center_kji: index of the middle of its bounding box, to look it up in the scan.
    equivalent_diameter_mm: of a ball of the same volume.
    longest_axial_diameter_mm: as RECIST takes it, along the slices of the grid's first axis.
    overlap_fraction: share of its voxels that are tumor on the other side too.
    best_iou: with the one lesion of the other side that fits best, unmerged; 0 if none touches.
    matched_iou: of the merged pair it belongs to, which decides detection; 0 without a pair.
    confidence: share of its voxels that the model expects to be tumor, 0 to 1; None for a true
        lesion and where the model says nothing of it.
    """

    number: int
    center_kji: tuple[int, int, int]
    volume_ml: float
    equivalent_diameter_mm: float
    longest_axial_diameter_mm: float
    overlap_fraction: float
    best_iou: float
    matched_iou: float
    confidence: float | None = None

    def detected(self, threshold: float) -> bool:
        """A true lesion is found, or a predicted one not false: its pair is over the threshold."""
        return self.matched_iou > threshold

    @property
    def size(self) -> str:
        """One of :data:`SIZE_BINS`; 10 and 20 mm sharp are in the middle one."""
        low_mm, high_mm = SIZE_LIMITS_MM
        above = self.equivalent_diameter_mm > high_mm
        return SIZE_BINS[0 if self.equivalent_diameter_mm < low_mm else 2 if above else 1]

    def row(self) -> dict[str, Any]:
        """A line of a CSV, with the verdicts at both thresholds of the challenge."""
        k, j, i = self.center_kji
        return {
            "number": self.number,
            "center_k": k,
            "center_j": j,
            "center_i": i,
            "volume_ml": round(self.volume_ml, 4),
            "equivalent_diameter_mm": round(self.equivalent_diameter_mm, 2),
            "longest_axial_diameter_mm": round(self.longest_axial_diameter_mm, 2),
            "size": self.size,
            "overlap_fraction": round(self.overlap_fraction, 4),
            "best_iou": round(self.best_iou, 4),
            "matched_iou": round(self.matched_iou, 4),
            "detected_over_0": self.detected(TOUCH),
            "detected_over_half": self.detected(HALF),
            "confidence": None if self.confidence is None else round(self.confidence, 4),
        }


@dataclass(frozen=True)
class LesionTable:
    """All lesions of one volume, by number."""

    true: tuple[ScoredLesion, ...]
    predicted: tuple[ScoredLesion, ...]

    @classmethod
    def of(cls, match: LesionMatch, spacing_kji_mm: Triple) -> LesionTable:
        """Lesions without any partner have zeros in the last three fields."""
        predicted, true = (_rows(match, side, spacing_kji_mm) for side in (0, 1))
        return cls(true, predicted)

    def with_confidence(
        self, predicted: NDArray[np.uint8], probability: NDArray[np.uint8]
    ) -> LesionTable:
        """The same table with the confidence of each predicted lesion.

        predicted: the labels ``(k, j, i)`` of the table. probability: on their grid, 0 to 255
            (``decision.FULL_SCALE``) for a probability of tumor of 0 to 1.
        """
        means = _means(predicted == Label.TUMOR, probability)
        pairs = zip(self.predicted, means, strict=True)
        return replace(
            self,
            predicted=tuple(
                replace(lesion, confidence=float(mean) / FULL_SCALE) for lesion, mean in pairs
            ),
        )

    def detection(self, threshold: float, sizes: Collection[str] = SIZE_BINS) -> Detection:
        """Counts of this volume, ``clean``; of some sizes, each lesion by its own size."""
        true = [lesion for lesion in self.true if lesion.size in sizes]
        predicted = [lesion for lesion in self.predicted if lesion.size in sizes]
        tp = sum(lesion.detected(threshold) for lesion in true)
        fp = sum(not lesion.detected(threshold) for lesion in predicted)
        return Detection("clean", threshold, tp, fp, len(true) - tp, len(predicted))


def lesion_table(
    predicted: NDArray[np.uint8], true: NDArray[np.uint8], spacing_kji_mm: Triple
) -> LesionTable:
    """The lesions of two label maps ``(k, j, i)`` on one grid; ``ValueError`` if shapes differ."""
    return LesionTable.of(match_lesions(predicted, true), spacing_kji_mm)


def detection_by_size(tables: Iterable[LesionTable], threshold: float) -> dict[str, Detection]:
    """Counts over volumes for each of :data:`SIZE_BINS`, ``clean``.

    Found and missed by the size of the true lesion, false ones by the size of the prediction.
    """
    tables = list(tables)
    return {size: detection_of(tables, threshold, (size,)) for size in SIZE_BINS}


def detection_of(
    tables: Iterable[LesionTable], threshold: float, sizes: Collection[str]
) -> Detection:
    """Counts over volumes of the lesions of some sizes together, such as :data:`LARGE_BINS`."""
    return sum(
        (table.detection(threshold, sizes) for table in tables),
        start=Detection.none("clean", threshold),
    )


def _rows(match: LesionMatch, side: int, spacing_kji_mm: Triple) -> tuple[ScoredLesion, ...]:
    """side: 0 for the predicted lesions, 1 for the true ones."""
    lesions = (match.predicted, match.true)[side]
    overlap, best, matched = _agreement(match, side)
    rows = []
    for n, (box, voxels) in enumerate(zip(lesions.boxes, lesions.voxels, strict=True)):
        k, j, i = (
            start + (part.start + part.stop - 1) // 2
            for start, part in zip(match.start_kji, reversed(box), strict=True)
        )
        volume_mm3 = int(voxels) * prod(spacing_kji_mm)
        rows.append(
            ScoredLesion(
                number=n + 1,
                center_kji=(k, j, i),
                volume_ml=volume_mm3 / 1000,
                equivalent_diameter_mm=(6 * volume_mm3 / pi) ** (1 / 3),
                longest_axial_diameter_mm=_longest_mm(
                    lesions.numbers[box] == n + 1, spacing_kji_mm
                ),
                overlap_fraction=float(overlap[n]),
                best_iou=float(best[n]),
                matched_iou=float(matched[n]),
            )
        )
    return tuple(rows)


def _means(tumor: NDArray[np.bool_], values: NDArray[np.uint8]) -> Floats:
    """Mean value of each lesion, by number: they are the same in any box around all tumor."""
    found = ndimage.find_objects(tumor.view(np.uint8))
    if not found:
        return np.zeros(0)
    lesions = Lesions.of(tumor[found[0]])
    inside = lesions.numbers > 0
    weights = values[found[0]].transpose()[inside]
    sums = np.bincount(lesions.numbers[inside], weights=weights, minlength=len(lesions) + 1)[1:]
    return np.asarray(sums / lesions.voxels)


def _longest_mm(mask_ijk: NDArray[np.bool_], spacing_kji_mm: Triple) -> float:
    """Longest axial diameter of one lesion, cut out of its volume."""
    labels_kji = mask_ijk.transpose().astype(np.uint8) * np.uint8(Label.TUMOR)
    k_mm, j_mm, i_mm = spacing_kji_mm
    lesion = measure_labels(labels_kji, np.diag([-i_mm, -j_mm, k_mm, 1.0])).lesions[0]
    return lesion.longest_axial_diameter_mm


def _agreement(match: LesionMatch, side: int) -> tuple[Floats, Floats, Floats]:
    """Overlap fraction, best and matched IoU of each lesion of a side; zeros without a partner."""
    p, g = np.array(list(match.shared), dtype=np.int64).reshape(-1, 2).T - 1
    shared = np.array(list(match.shared.values()), dtype=np.int64)
    iou = shared / (match.predicted.voxels[p] + match.true.voxels[g] - shared)
    voxels = (match.predicted, match.true)[side].voxels
    overlap, best, matched = np.zeros((3, len(voxels)))
    np.add.at(overlap, (p, g)[side], shared / voxels[(p, g)[side]])
    np.maximum.at(best, (p, g)[side], iou)
    for pair in match.pairs:
        matched[np.array((pair.predicted, pair.true)[side]) - 1] = pair.iou
    return overlap, best, matched


@dataclass(frozen=True)
class LesionConfidence:
    """One predicted lesion, both 0 to 1.

    confidence: share of its voxels that the model expects to be tumor. true_share: the share that
        is; above 0 it touches a true lesion.
    """

    confidence: float
    true_share: float
