"""Scores of the LiTS challenge: voxels, objects, tumor burden, lesions found.

    volume = score_volume(predicted, true, ct.spacing_kji_mm)
    scores = challenge_scores(volumes, "clean")
    print(scores.dice_per_case["tumor"].value, "of", scores.dice_per_case["tumor"].n, "volumes")

Definitions: Bilic et al., Med. Image Anal. 84 (2023) 102680, and what the challenge's script does
(PatrickChrist/lits-challenge-scoring). ``official`` gives that script's numbers with its quirks:

* whatever cannot be measured because an object is missing is 9001, and goes into the mean;
* a liver is predicted only if some voxel is exactly 1 (liver, not tumor);
* RVD is (V_true - V_predicted) / V_predicted, the sign and the base swapped;
* the largest burden error is the largest signed one, so one that is too high never shows;
* objects of the lesions count only in volumes where its number of detected lesions is over 0;
* lesion counts as :mod:`training.score.matching` says.

``clean`` leaves out what cannot be measured and says how many it stands on (``n``), has RVD as
(V_predicted - V_true) / V_true and the largest absolute burden error. In both, the lesion objects
are the merged pairs that were detected at > 0.5, over all volumes: they know nothing of the lesions
that were missed. Never quote them without the recall.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from LiverTumorSegLib.labels import Label
from numpy.typing import NDArray

from training.score.lesions import LesionTable
from training.score.matching import (
    HALF,
    MODES,
    THRESHOLDS,
    Box,
    Detection,
    LesionMatch,
    Lesions,
    Mode,
    Pair,
    match_lesions,
)
from training.score.surfaces import SurfaceScores, Triple, surface_scores
from training.score.voxels import Counts, Labels, Mask, Overlap, scored, slice_matrices

MISSING = 9001.0  # the script's number for what cannot be measured
OBJECT_SCORES = ("dice", "jaccard", "voe", "rvd", "assd_mm", "rmsd_mm", "msd_mm")
SCORED_MASKS: tuple[Mask, Mask] = ("liver", "tumor")


@dataclass(frozen=True)
class Mean:
    """A mean and the number of finite values it stands on; NaN when there are none."""

    value: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Mean:
        finite = [value for value in values if np.isfinite(value)]
        return cls(float(np.mean(finite)) if finite else float("nan"), len(finite))


@dataclass(frozen=True, eq=False)
class ObjectScores:
    """One object, a liver or a merged lesion, against its reference."""

    overlap: Overlap
    surface: SurfaceScores

    def values(self, mode: Mode) -> dict[str, float]:
        """The scores by the names in OBJECT_SCORES.

        With one of the two masks empty, ``clean`` has dice 0, jaccard 0, voe 1, NaN distances and
        an rvd of -1 (nothing predicted) or NaN (nothing true); with both empty all are NaN.
        ``official`` has the penalties of :func:`missing_object` in either case.
        """
        official = mode == "official"
        if official and (self.overlap.true_voxels == 0 or self.overlap.predicted_voxels == 0):
            return missing_object()
        return {
            "dice": float(self.overlap.dice),
            "jaccard": float(self.overlap.iou),
            "voe": float(self.overlap.voe),
            "rvd": float(self.overlap.lits_rvd if official else self.overlap.rvd),
            "assd_mm": self.surface.assd_mm,
            "rmsd_mm": self.surface.rmsd_mm,
            "msd_mm": self.surface.msd_mm,
        }


def missing_object() -> dict[str, float]:
    """The scores that the script gives an object that is not there: the worst overlap, 9001 for the
    rest.
    """
    return dict.fromkeys(OBJECT_SCORES, MISSING) | {"dice": 0.0, "jaccard": 0.0, "voe": 1.0}


def object_scores(
    predicted: NDArray[np.bool_], true: NDArray[np.bool_], spacing_kji_mm: Triple
) -> ObjectScores:
    """Compare two bool masks ``(k, j, i)`` on one grid."""
    surface = surface_scores(predicted, true, spacing_kji_mm)
    tp, sizes = np.count_nonzero(predicted & true), (predicted.sum(), true.sum())
    counts = (tp, sizes[0] - tp, sizes[1] - tp, true.size - sizes[0] - sizes[1] + tp)
    return ObjectScores(Overlap(*(np.asarray(count, dtype=np.int64) for count in counts)), surface)


@dataclass(frozen=True)
class TumorBurden:
    """Voxels of one volume; the burden is tumor over liver with tumor, 0 to 1.

    liver_*: label >= 1. predicted_liver_only: label 1 alone, what the script looks for.
    """

    true_tumor: int
    true_liver: int
    predicted_tumor: int
    predicted_liver: int
    predicted_liver_only: int

    @classmethod
    def of(cls, matrix: Counts) -> TumorBurden:
        """Tumor burden from the confusion matrix ``(3, 3)`` of the volume."""
        true, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
        return cls(
            true_tumor=int(true[Label.TUMOR]),
            true_liver=int(true[Label.LIVER :].sum()),
            predicted_tumor=int(predicted[Label.TUMOR]),
            predicted_liver=int(predicted[Label.LIVER :].sum()),
            predicted_liver_only=int(predicted[Label.LIVER]),
        )

    @property
    def true(self) -> float:
        """NaN without a true liver (the script ends with an error there)."""
        return self.true_tumor / self.true_liver if self.true_liver else float("nan")

    def predicted(self, mode: Mode) -> float:
        """NaN without a predicted liver; official: 9001 without a voxel that is exactly 1."""
        if mode == "official" and self.predicted_liver_only == 0:
            return MISSING
        return self.predicted_tumor / self.predicted_liver if self.predicted_liver else float("nan")


@dataclass(frozen=True)
class BurdenErrors:
    """Errors of the burden over volumes where both burdens are numbers; NaN when ``n`` is 0.

    rmse: root of the mean squared difference.
    largest: clean, the largest absolute difference; official, the largest true - predicted.
    bias: mean of predicted - true, positive is too much tumor (the script has none).
    """

    rmse: float
    largest: float
    bias: float
    n: int


def burden_errors(burdens: Iterable[TumorBurden], mode: Mode) -> BurdenErrors:
    """Over volumes; those without a burden are left out (``n`` says how many count)."""
    pairs = [(burden.predicted(mode), burden.true) for burden in burdens]
    errors = np.array([predicted - true for predicted, true in pairs], dtype=np.float64)
    errors = errors[np.isfinite(errors)]
    if not len(errors):
        return BurdenErrors(*(float("nan"),) * 3, n=0)
    largest = np.abs(errors).max() if mode == "clean" else (-errors).max()
    rmse = np.sqrt(np.square(errors).mean())
    return BurdenErrors(float(rmse), float(largest), float(errors.mean()), len(errors))


@dataclass(frozen=True, eq=False)
class VolumeScore:
    """All that the challenge asks of one volume; small, for it holds no label maps.

    matrices: ``(k, 3, 3)``, of each slice.
    lesions: the merged pairs detected at > 0.5, by mode.
    detections: by mode and threshold.
    """

    matrices: Counts
    liver: ObjectScores
    lesions: dict[Mode, tuple[ObjectScores, ...]]
    detections: dict[tuple[Mode, float], Detection]
    table: LesionTable

    @property
    def matrix(self) -> Counts:
        """``(3, 3)``, of the whole volume."""
        return np.asarray(self.matrices.sum(axis=0))

    @property
    def burden(self) -> TumorBurden:
        return TumorBurden.of(self.matrix)

    def dice(self, mask: Mask, mode: Mode) -> float:
        """Both empty 1, one empty 0; official: 0 for a liver without a voxel that is exactly 1."""
        if mode == "official" and mask == "liver" and not self.burden.predicted_liver_only:
            return 0.0
        return float(scored(Overlap.of(self.matrix, mask), "dice", "agree"))

    def liver_values(self, mode: Mode) -> dict[str, float]:
        """The liver as one object, by the names in OBJECT_SCORES."""
        if mode == "official" and not self.burden.predicted_liver_only:
            return missing_object()
        return self.liver.values(mode)

    def lesion_values(self, mode: Mode) -> list[dict[str, float]]:
        """Each detected (merged) lesion as an object."""
        if mode == "official" and self.detections[mode, HALF].tp <= 0:
            return []
        return [lesion.values(mode) for lesion in self.lesions[mode]]


def score_volume(predicted: Labels, true: Labels, spacing_kji_mm: Triple) -> VolumeScore:
    """Score uint8 labels 0, 1, 2 ``(k, j, i)`` on the scan's own grid.

    Raises ``ValueError`` when the two are not label maps of one shape.
    """
    matrices = slice_matrices(predicted, true)
    liver = object_scores(predicted >= Label.LIVER, true >= Label.LIVER, spacing_kji_mm)
    match = match_lesions(predicted, true)
    detected = {mode: match.detected(mode, HALF) for mode in MODES}
    objects = {
        pair: object_scores(*_pair_masks(match, pair), spacing_kji_mm)
        for pair in {pair for pairs in detected.values() for pair in pairs}
    }
    return VolumeScore(
        matrices=matrices,
        liver=liver,
        lesions={mode: tuple(objects[pair] for pair in detected[mode]) for mode in MODES},
        detections={(m, over): match.detection(m, over) for m in MODES for over in THRESHOLDS},
        table=LesionTable.of(match, spacing_kji_mm),
    )


def _pair_masks(match: LesionMatch, pair: Pair) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Predicted and true mask ``(k, j, i)`` of a pair, in the box around both."""
    sides = ((match.predicted, pair.predicted), (match.true, pair.true))
    box = _around([lesions.boxes[n - 1] for lesions, numbers in sides for n in numbers])
    predicted, true = (_mask(lesions, numbers, box) for lesions, numbers in sides)
    return predicted, true


def _mask(lesions: Lesions, numbers: Sequence[int], box: Box) -> NDArray[np.bool_]:
    is_chosen = np.zeros(len(lesions) + 1, dtype=np.bool_)
    is_chosen[list(numbers)] = True
    mask: NDArray[np.bool_] = is_chosen[lesions.numbers[box]].transpose()
    return mask


def _around(boxes: Sequence[Box]) -> Box:
    i, j, k = (
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*boxes, strict=True)
    )
    return i, j, k


@dataclass(frozen=True)
class ChallengeScores:
    """The challenge's scores of many volumes.

    dice_per_case, dice_global: by "liver" (label >= 1) and "tumor"; global pools all voxels.
    objects: mask -> name in OBJECT_SCORES -> mean over livers or over detected lesions.
    detections: by threshold, 0 and 0.5.
    """

    mode: Mode
    volumes: int
    dice_per_case: dict[Mask, Mean]
    dice_global: dict[Mask, float]
    objects: dict[Mask, dict[str, Mean]]
    burden: BurdenErrors
    detections: dict[float, Detection]


def challenge_scores(volumes: Sequence[VolumeScore], mode: Mode) -> ChallengeScores:
    """Over volumes; without any, every mean is NaN with n 0 and every count 0."""
    pooled = sum((volume.matrix for volume in volumes), start=np.zeros((3, 3), dtype=np.int64))
    livers = [volume.liver_values(mode) for volume in volumes]
    lesions = [values for volume in volumes for values in volume.lesion_values(mode)]
    return ChallengeScores(
        mode=mode,
        volumes=len(volumes),
        dice_per_case={m: Mean.of(v.dice(m, mode) for v in volumes) for m in SCORED_MASKS},
        dice_global={m: float(Overlap.of(pooled, m).dice) for m in SCORED_MASKS},
        objects={"liver": _means(livers), "tumor": _means(lesions)},
        burden=burden_errors((volume.burden for volume in volumes), mode),
        detections={
            over: sum((v.detections[mode, over] for v in volumes), start=Detection.none(mode, over))
            for over in THRESHOLDS
        },
    )


def _means(objects: Sequence[dict[str, float]]) -> dict[str, Mean]:
    return {name: Mean.of(values[name] for values in objects) for name in OBJECT_SCORES}
