"""Which lesions were found: the lesion matching of the LiTS challenge, repaired or to the letter.

    lits_detection(predicted, true)                                   # clean, overlap > 0.5
    lits_detection(predicted, true, mode="official", threshold=0.0)   # as the script counts a touch
    table = lesion_table(predicted, true, ct.spacing_kji_mm)          # a row a lesion
    total = sum((lits_detection(p, t) for p, t in volumes), start=Detection.none())
    print(f"{total.tp} of {total.true_lesions} found, {total.fp_per_volume:.1f} false a volume")

A lesion is a component of the tumor label whose voxels share faces (6-neighborhood), as in the
challenge; ``LiverTumorSegLib.result.lesions`` counts corners too and so finds fewer, larger ones.

Matching (from what PatrickChrist/lits-challenge-scoring does): the true lesions that one prediction
overlaps, and no other overlaps more, are merged; each prediction goes to the merged true lesion it
shares most voxels with; the predictions of one true lesion are merged. Such a pair is detected when
its overlap, intersection over union, is strictly greater than the threshold: 0.5, or 0 for any
touch. A true lesion can be touched and yet be in no pair, when the prediction that touches it most
belongs to another one; it counts as missed.

``clean`` counts true lesions: TP are all those merged into the detected pairs, FN the others; FP
are the predictions that belong to no detected pair.

``official`` repeats the script: TP is the number of pairs, less the merged true lesions of each
pair that fails, so it can be negative; FP and FN are all predicted and all true lesions less TP.
And the union is taken with the predictions that were matched to the true lesion which bears the
*number of the pair's first prediction*: it is right only while these numbers agree. In a volume
without true lesions, where the script ends with an error, every prediction is an FP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from LiverTumorSegLib.labels import Label
from numpy.typing import NDArray
from scipy import ndimage

Mode = Literal["clean", "official"]
MODES: tuple[Mode, ...] = get_args(Mode)
TOUCH, HALF = 0.0, 0.5
THRESHOLDS = (TOUCH, HALF)  # the challenge reports both
CONNECTIVITY = 6

Labels = NDArray[np.uint8]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Detection:
    """Counts of found, false and missed lesions; add those of several volumes.

    clean: ``tp + fn`` true lesions; ``predicted - fp`` predictions belong to a detected pair.
    official: the script's numbers, TP and F1 may be negative.
    Precision, recall and F1 without anything to divide by: NaN when clean, 0 when official.
    """

    mode: Mode
    threshold: float
    tp: int
    fp: int
    fn: int
    predicted: int
    volumes: int = 1

    @classmethod
    def none(cls, mode: Mode = "clean", threshold: float = HALF) -> Detection:
        """The counts of no volume, to start a sum from."""
        return cls(mode, threshold, tp=0, fp=0, fn=0, predicted=0, volumes=0)

    def __add__(self, other: Detection) -> Detection:
        if (self.mode, self.threshold) != (other.mode, other.threshold):
            raise ValueError(
                f"Counts of {self.mode} at > {self.threshold} and of {other.mode} at > "
                f"{other.threshold} do not add up; count all volumes in one way."
            )
        return Detection(
            self.mode,
            self.threshold,
            tp=self.tp + other.tp,
            fp=self.fp + other.fp,
            fn=self.fn + other.fn,
            predicted=self.predicted + other.predicted,
            volumes=self.volumes + other.volumes,
        )

    @property
    def true_lesions(self) -> int:
        return self.tp + self.fn

    @property
    def precision(self) -> float:
        """TP / (TP + FP)."""
        return self._rate(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """TP / (TP + FN)."""
        return self._rate(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return self._rate(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def fp_per_volume(self) -> float:
        """False predictions over volumes; NaN without volumes."""
        return self.fp / self.volumes if self.volumes else float("nan")

    def _rate(self, part: int, whole: int) -> float:
        undefined = 0.0 if self.mode == "official" else float("nan")
        return part / whole if whole else undefined


@dataclass(frozen=True, eq=False)
class Lesions:
    """Numbered components of one label map.

    numbers: int32 ``(i, j, k)``, 0 elsewhere. The axes are the file's and not ours, as the script
        numbers lesions along them (k fastest) and its result depends on the numbers.
    voxels: int64, entry n - 1 of lesion n.
    """

    numbers: NDArray[np.int32]
    voxels: NDArray[np.int64]

    @classmethod
    def of(cls, mask_kji: NDArray[np.bool_]) -> Lesions:
        mask_ijk = np.ascontiguousarray(mask_kji.transpose())
        numbers = np.zeros(mask_ijk.shape, dtype=np.int32)
        count = int(ndimage.label(mask_ijk, output=numbers))
        return cls(numbers, np.bincount(numbers[mask_ijk], minlength=count + 1)[1:])

    def __len__(self) -> int:
        return len(self.voxels)

    @cached_property
    def boxes(self) -> list[Box]:
        """The bounding box of each lesion, entry n - 1 of lesion n."""
        found = ndimage.find_objects(self.numbers) if len(self) else []
        return [(box[0], box[1], box[2]) for box in found]


@dataclass(frozen=True)
class Pair:
    """Merged predictions and the merged true lesion they were assigned to, by number."""

    predicted: tuple[int, ...]
    true: tuple[int, ...]
    shared_voxels: int
    union_voxels: int

    @property
    def iou(self) -> float:
        return self.shared_voxels / self.union_voxels


@dataclass(frozen=True, eq=False)
class LesionMatch:
    """The lesions of a volume and how they belong together.

    start_kji: where the box that holds all tumor begins in the scan.
    shared: (predicted number, true number) -> voxels, only those that touch.
    pairs: by the number of their first prediction.
    """

    predicted: Lesions
    true: Lesions
    start_kji: tuple[int, int, int]
    shared: dict[tuple[int, int], int]
    pairs: tuple[Pair, ...]

    def detected(self, mode: Mode, threshold: float) -> tuple[Pair, ...]:
        """The pairs whose overlap, as the mode takes it, exceeds the threshold."""
        if mode == "official":
            return _officially_detected(self, threshold)
        return tuple(pair for pair in self.pairs if pair.iou > threshold)

    def detection(self, mode: Mode, threshold: float) -> Detection:
        """The counts of this volume."""
        found = self.detected(mode, threshold)
        if mode == "clean":
            tp = sum(len(pair.true) for pair in found)
            fp = len(self.predicted) - sum(len(pair.predicted) for pair in found)
        else:
            failed = set(self.pairs) - set(found)
            tp = len(self.pairs) - sum(len(pair.true) for pair in failed)
            fp = len(self.predicted) - tp
        fn = len(self.true) - tp
        return Detection(mode, threshold, tp, fp, fn, predicted=len(self.predicted))


def lits_detection(
    predicted: Labels, true: Labels, *, mode: Mode = "clean", threshold: float = HALF
) -> Detection:
    """Lesions found, false and missed in one volume; uint8 labels ``(k, j, i)`` on one grid."""
    return match_lesions(predicted, true).detection(mode, threshold)


def match_lesions(predicted: Labels, true: Labels) -> LesionMatch:
    """Find and match the lesions of two label maps ``(k, j, i)``; ``ValueError`` if shapes differ.

    Works in the box around all tumor; every question about the volume's lesions can then be asked
    of the result.
    """
    if predicted.shape != true.shape or true.ndim != 3:
        raise ValueError(
            f"Prediction {predicted.shape} and truth {true.shape} must be 3D and of one shape; "
            "bring both to the CT's own grid."
        )
    tumor_predicted, tumor_true = predicted == Label.TUMOR, true == Label.TUMOR
    found = ndimage.find_objects((tumor_predicted | tumor_true).view(np.uint8))
    box = found[0] if found else (slice(0, 0),) * 3
    lesions = Lesions.of(tumor_predicted[box]), Lesions.of(tumor_true[box])
    start_k, start_j, start_i = (part.start for part in box)
    shared = _shared_voxels(*lesions)
    return LesionMatch(*lesions, (start_k, start_j, start_i), shared, _pairs(*lesions, shared))


def _shared_voxels(predicted: Lesions, true: Lesions) -> dict[tuple[int, int], int]:
    """Voxels of each (predicted, true) pair of numbers that touch; one look at each voxel."""
    both = (predicted.numbers > 0) & (true.numbers > 0)
    codes = predicted.numbers[both].astype(np.int64) * (len(true) + 1) + true.numbers[both]
    found, counts = np.unique(codes, return_counts=True)
    numbers = (divmod(int(code), len(true) + 1) for code in found)
    return dict(zip(numbers, (int(count) for count in counts), strict=True))


def _pairs(
    predicted: Lesions, true: Lesions, shared: dict[tuple[int, int], int]
) -> tuple[Pair, ...]:
    """Merge and assign (see the module). Ties go to the lowest number, as in the script."""
    groups = _merged_true(shared)
    assigned = _assigned(shared, groups)
    made = []
    for group in groups:
        if members := assigned.get(group[0]):  # none: its prediction shares more with another
            voxels = sum(int(predicted.voxels[p - 1]) for p in members)
            voxels += sum(int(true.voxels[g - 1]) for g in group)
            both = sum(members.values())
            made.append(Pair(tuple(members), group, both, voxels - both))
    return tuple(sorted(made, key=lambda pair: pair.predicted))


def _merged_true(shared: dict[tuple[int, int], int]) -> list[tuple[int, ...]]:
    """Groups of true lesions that one prediction overlaps most, each by number."""
    best: dict[int, tuple[int, int]] = {}  # true -> (voxels, prediction)
    for (p, g), voxels in sorted(shared.items()):
        if voxels > best.get(g, (0, 0))[0]:
            best[g] = voxels, p
    groups: dict[int, list[int]] = {}  # prediction -> true
    for g in sorted(best):
        groups.setdefault(best[g][1], []).append(g)
    return [tuple(group) for group in groups.values()]


def _assigned(
    shared: dict[tuple[int, int], int], groups: Sequence[tuple[int, ...]]
) -> dict[int, dict[int, int]]:
    """First number of a group -> {prediction: voxels shared}, each prediction in one group."""
    first_of = {g: group[0] for group in groups for g in group}
    voxels_of: dict[int, dict[int, int]] = {}  # prediction -> {first number of a group: voxels}
    for (p, g), voxels in shared.items():
        by_group = voxels_of.setdefault(p, {})
        by_group[first_of[g]] = by_group.get(first_of[g], 0) + voxels
    assigned: dict[int, dict[int, int]] = {}
    for p in sorted(voxels_of):
        by_group = voxels_of[p]
        most = max(sorted(by_group), key=by_group.__getitem__)
        assigned.setdefault(most, {})[p] = by_group[most]
    return assigned


def _officially_detected(match: LesionMatch, threshold: float) -> tuple[Pair, ...]:
    """The script's test: a wrong partner in the union, and no longer that once it has failed."""
    standing = {pair.true[0]: pair for pair in match.pairs}
    for pair in match.pairs:
        partner = standing.get(pair.predicted[0])
        union = sum(int(match.true.voxels[g - 1]) for g in pair.true)
        for p in partner.predicted if partner else ():
            union += int(match.predicted.voxels[p - 1])
            union -= sum(match.shared.get((p, g), 0) for g in pair.true)
        if pair.shared_voxels / union <= threshold:
            del standing[pair.true[0]]
    return tuple(pair for pair in match.pairs if pair.true[0] in standing)
