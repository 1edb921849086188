"""Which way from a network's probabilities to labels scores best, tried without the network.

    cases = [PredictedCase(case, patient, prediction, true_lps) for ...]
    search = Search(cases, Setting(segmenter.decision, segmenter.postprocessing))
    chosen = search.best()
    for left in search.leave_one_out():
        print(left.name, left.setting, left.scores.score)

Tumor threshold and smoothing are tried in all pairs; then, with that smoothing, tumor and seed
threshold; then seed threshold and the least share of liver, where a network of its own looks for
it; with the best the smallest lesion, and then the margin around the liver. The score
is the mean of the tumor Dice, all voxels of all volumes in one pot, and the F1 of lesions at any
overlap (6-neighborhood, ``clean``): voxels alone would forget small lesions, and lesions alone
their outlines. What scores the same goes to the setting nearest the one that the model had. With a
least recall, settings that find fewer of the lesions from 10 mm are chosen only where none reaches
it: a reader takes a false mark away in a click, and does not see a lesion that is not marked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import fsum
from typing import Any

import numpy as np
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.prediction import Candidates, Marks, Prediction
from LiverTumorSegLib.labels import Label
from numpy.typing import NDArray
from scipy import ndimage

from training.score.lesions import SIZE_LIMITS_MM
from training.score.lits import Mean
from training.score.matching import TOUCH, Detection, LesionMatch, match_lesions
from training.tuning.platt import Evidence, by_patient

TRIED: dict[str, tuple[float, ...]] = {
    "tumor_threshold": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "smoothing_mm": (0.0, 2.0, 4.0, 6.0, 8.0),
    "seed_threshold": (0.0, 0.9, 0.95, 0.98, 0.99, 0.995, 0.997, 0.998, 0.999),
    "least_liver_share": (0.0, 0.3, 0.5, 0.7),
    "smallest_lesion_mm": (0.0, 3.0, 5.0, 7.0, 10.0),
    "max_distance_to_liver_mm": (0.0, 5.0, 10.0, 20.0),
}
STEPS = (
    ("tumor_threshold", "smoothing_mm"),
    ("tumor_threshold", "seed_threshold"),
    ("seed_threshold", "least_liver_share"),
    ("smallest_lesion_mm",),
    ("max_distance_to_liver_mm",),
)

Labels = NDArray[np.uint8]
Box = tuple[slice, slice, slice]
Show = Callable[[Sequence[Decision]], Iterable[Decision]]


@dataclass(frozen=True)
class Setting:
    """One way to turn probabilities into labels.

    smoothing: whether smoothing through the plane is to be tried at all; a network that sees
        neighboring slices has no use for it.
    two_networks: whether one of them looks for the liver alone, whose share can be asked for.
    """

    decision: Decision
    postprocessing: Postprocessing
    smoothing: bool = field(default=True, compare=False)
    two_networks: bool = field(default=False, compare=False)

    @property
    def tried(self) -> dict[str, tuple[float, ...]]:
        """The part of TRIED that such a model has."""
        has = {"smoothing_mm": self.smoothing, "least_liver_share": self.two_networks}
        return {name: values for name, values in TRIED.items() if has.get(name, True)}

    @property
    def values(self) -> dict[str, float]:
        """The values by the names in :attr:`tried`."""
        known = {**self.decision.to_dict(), **self.postprocessing.to_dict()}
        return {name: float(known[name]) for name in self.tried}

    def with_value(self, name: str, value: float) -> Setting:
        """The same with one of :attr:`tried` changed."""
        decided, cleaned = self.decision.to_dict(), self.postprocessing.to_dict()
        (decided if name in decided else cleaned)[name] = value
        return replace(
            self,
            decision=Decision.from_dict(decided),
            postprocessing=Postprocessing.from_dict(cleaned),
        )

    def without_confidence(self) -> Setting:
        """The same labels."""
        return replace(self, decision=replace(self.decision, calibration=None))

    def distance(self, other: Setting) -> float:
        """Sum of the differences, each as a part of the range that is tried."""
        return fsum(
            abs(self.values[name] - other.values[name]) / (max(tried) - min(tried))
            for name, tried in self.tried.items()
        )


@dataclass(frozen=True)
class VolumeCounts:
    """Counts of what a setting finds in one volume.

    shared, predicted, true: voxels of tumor in both, in the prediction, in the truth.
    large_found, large_true: of the true lesions of 10 mm and more (diameter of a ball of the same
        volume) those that are touched, and all.
    """

    case: str
    patient: str
    shared: int
    predicted: int
    true: int
    voxel_ml: float
    detection: Detection
    large_found: int
    large_true: int

    @classmethod
    def of(
        cls, case: str, patient: str, match: LesionMatch, spacing_kji_mm: tuple[float, float, float]
    ) -> VolumeCounts:
        voxel_ml = float(np.prod(spacing_kji_mm)) / 1000
        large = _large(match.true.voxels, voxel_ml)
        found = {n - 1 for pair in match.detected("clean", TOUCH) for n in pair.true}
        return cls(
            case=case,
            patient=patient,
            shared=sum(match.shared.values()),
            predicted=int(match.predicted.voxels.sum()),
            true=int(match.true.voxels.sum()),
            voxel_ml=voxel_ml,
            detection=match.detection("clean", TOUCH),
            large_found=sum(bool(large[n]) for n in found),
            large_true=int(large.sum()),
        )


def _large(voxels: NDArray[np.int64], voxel_ml: float) -> NDArray[np.bool_]:
    """Of 10 mm and more."""
    diameters_mm = (6000 * voxel_ml / np.pi * voxels) ** (1 / 3)
    large: NDArray[np.bool_] = diameters_mm >= SIZE_LIMITS_MM[0]
    return large


@dataclass(frozen=True)
class Scores:
    """Over volumes. NaN where nothing can be divided by.

    tumor_dice: all voxels in one pot. tumor_dice_per_volume: mean over volumes with tumor.
    detection: at any overlap; large_found, large_true: of it the true lesions from 10 mm.
    false_ml_without_tumor: marked in volumes without any tumor; marked_without_tumor: how many of
    these volumes have a mark.
    """

    tumor_dice: float
    tumor_dice_per_volume: Mean
    detection: Detection
    large_found: int
    large_true: int
    false_ml_without_tumor: float
    marked_without_tumor: int
    volumes_without_tumor: int

    @classmethod
    def of(cls, counts: Sequence[VolumeCounts]) -> Scores:
        free = [one for one in counts if one.true == 0]
        return cls(
            tumor_dice=_dice(counts),
            tumor_dice_per_volume=Mean.of(_dice([one]) for one in counts if one.true),
            detection=sum((one.detection for one in counts), Detection.none("clean", TOUCH)),
            large_found=sum(one.large_found for one in counts),
            large_true=sum(one.large_true for one in counts),
            false_ml_without_tumor=fsum(one.predicted * one.voxel_ml for one in free),
            marked_without_tumor=sum(one.predicted > 0 for one in free),
            volumes_without_tumor=len(free),
        )

    @property
    def large_recall(self) -> float:
        """Of true lesions from 10 mm the share that is found; 1 where there are none."""
        return self.large_found / self.large_true if self.large_true else 1.0

    @property
    def score(self) -> float:
        """The score that decides the choice; NaN without true and predicted tumor."""
        return (self.tumor_dice + self.detection.f1) / 2

    def row(self) -> dict[str, Any]:
        """Columns of a table; None where not defined."""
        return {
            "tumor_dice_pooled": _rounded(self.tumor_dice),
            "tumor_dice_per_tumor_volume": _rounded(self.tumor_dice_per_volume.value),
            "tumor_volumes": self.tumor_dice_per_volume.n,
            "lesions_found": self.detection.tp,
            "lesions_true": self.detection.true_lesions,
            "false_lesions": self.detection.fp,
            "lesions_from_10_mm_found": self.large_found,
            "lesions_from_10_mm_true": self.large_true,
            "false_lesions_per_volume": _rounded(self.detection.fp_per_volume),
            "lesion_f1": _rounded(self.detection.f1),
            "volumes_without_tumor": self.volumes_without_tumor,
            "of_these_marked": self.marked_without_tumor,
            "false_ml_on_volumes_without_tumor": _rounded(self.false_ml_without_tumor),
            "score": _rounded(self.score),
        }


def _dice(counts: Sequence[VolumeCounts]) -> float:
    both = sum(one.predicted + one.true for one in counts)
    return 2 * sum(one.shared for one in counts) / both if both else float("nan")


def _rounded(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


@dataclass(frozen=True, eq=False)
class CroppedPrediction:
    """A :class:`Prediction` of each slice alone, on the CT's own pixels, in a box.

    Much smaller, and decided on faster, than the whole; what it decides is the same.
    liver_lps: as in a Prediction, cut to the box. share: float32 (k, j, i), what is
        compared with the threshold, 0 where tumor may not be. liver_share: float16 (k, j, i), the
        probability of the network that looked for the liver; None where one network did both.
    """

    liver_lps: NDArray[np.bool_]
    share: NDArray[np.float32]
    spacing_kji_mm: tuple[float, float, float]
    liver_share: NDArray[np.float16] | None = None

    @classmethod
    def of(cls, prediction: Prediction, true: Labels) -> tuple[CroppedPrediction, Labels]:
        """Cut to the box around all that may be labeled, and the truth with it."""
        place = prediction.tumor_lps
        found = prediction.liver_lps | (true == Label.TUMOR)
        wide = (slice(max(s.start - 1, 0), s.stop + 1) for s in box_around(found | _all(place)))
        k, j, i = box = next(wide), next(wide), next(wide)
        share = np.zeros(true[box].shape, np.float32)
        for number, share_ji in prediction.shares():
            if k.start <= number < k.stop:
                share[number - k.start] = share_ji[j, i]
        if place is not None:
            share[~place[box]] = 0
        liver_share = None
        if prediction.has_liver_network:
            slices = [prediction.liver_share(number)[j, i] for number in range(k.start, k.stop)]
            liver_share = np.stack(slices, dtype=np.float16, casting="same_kind")
        liver_lps = prediction.liver_lps[box].copy()
        cropped = cls(liver_lps, share, prediction.spacing_kji_mm, liver_share)
        return cropped, true[box].copy()

    def marks(self, decision: Decision) -> Marks:
        """Where tumor is before any step; ``ValueError`` for a decision over several slices."""
        if decision.smoothing_mm > 0:
            raise ValueError("A cropped prediction knows each slice alone.")
        voxels = np.flatnonzero(self.share > decision.tumor_threshold)
        shares, liver = self.share.reshape(-1)[voxels], None
        if self.liver_share is not None:
            liver = self.liver_share.reshape(-1)[voxels].astype(np.float32)
        return Candidates(self.share.shape, voxels, shares, liver).marks(decision)

    def shares(self, smoothing_mm: float = 0.0) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Each slice of the box with its shares, (j, i)."""
        del smoothing_mm  # 0, as tumor_mask has made sure
        yield from enumerate(self.share)


def _all(place: NDArray[np.bool_] | None) -> NDArray[np.bool_] | bool:
    return True if place is None else place


@dataclass(frozen=True, eq=False)
class PredictedCase:
    """A volume that the networks have seen, in LPS order. true: its labels."""

    case: str
    patient: str
    prediction: Prediction | CroppedPrediction
    true: Labels

    def counts(
        self, decision: Decision, steps: Iterable[Postprocessing]
    ) -> dict[Setting, VolumeCounts]:
        """Decided once, cleaned in several ways."""
        marks = self.prediction.marks(decision)
        box = self._box(marks.tumor)
        return {
            Setting(decision, step): VolumeCounts.of(
                self.case,
                self.patient,
                self._match(marks, step, box),
                self.prediction.spacing_kji_mm,
            )
            for step in steps
        }

    def evidence(self, setting: Setting) -> Evidence:
        """The network's probabilities on the voxels that are labeled tumor at last."""
        marks = self.prediction.marks(setting.decision)
        first, rows, columns = box = self._box(marks.tumor)
        match = self._match(marks, setting.postprocessing, box)
        shares = self.prediction.shares(setting.decision.smoothing_mm)
        slices = ((k - first.start, share_ji[rows, columns]) for k, share_ji in shares)
        return Evidence.of(self.patient, match, slices)

    def _box(self, tumor: NDArray[np.bool_]) -> Box:
        """Nothing is labeled outside of it, nor is there tumor; a rim is left, which a median
        looks at."""
        k, j, i = box_around(self.prediction.liver_lps | tumor | (self.true == Label.TUMOR))
        wide = (slice(max(side.start - 1, 0), side.stop + 1) for side in (k, j, i))
        return next(wide), next(wide), next(wide)

    def _match(self, marks: Marks, step: Postprocessing, box: Box) -> LesionMatch:
        liver = step.liver(self.prediction.liver_lps[box])
        outside = np.zeros(marks.tumor.shape, np.bool_)
        outside.reshape(-1)[marks.outside] = True
        liver[outside[box]] = False
        labels = step.labels_in(liver, marks.tumor[box], self.prediction.spacing_kji_mm)
        return match_lesions(labels, np.ascontiguousarray(self.true[box]))


def box_around(mask: NDArray[np.bool_]) -> Box:
    found = ndimage.find_objects(mask.view(np.uint8))
    k, j, i = found[0] if found else (slice(0, 1),) * 3
    return k, j, i


@dataclass(frozen=True)
class LeftOut:
    """A patient, or all patients of a fold, scored by what was chosen on all others.

    blind: no other patient has tumor, so there was nothing to choose by, and nothing was changed.
    """

    name: str
    setting: Setting
    counts: tuple[VolumeCounts, ...]
    blind: bool

    @property
    def scores(self) -> Scores:
        return Scores.of(self.counts)


class Search:
    """Tries settings on volumes, each once.

    default: how labels are made as yet. show: a progress bar around the decisions to try.
    folds: patients of each part that is left out together, by name; each patient for himself where
        there are none.
    least_recall: share of the lesions from 10 mm that is to be found.
    ``ValueError`` when no volume has tumor.
    """

    def __init__(
        self,
        volumes: Sequence[PredictedCase],
        default: Setting,
        show: Show = iter,
        *,
        folds: Mapping[str, Collection[str]] | None = None,
        least_recall: float = 0.0,
    ) -> None:
        self.least_recall = least_recall
        self.volumes, self.default, self._show = volumes, default, show
        self.by_fold = bool(folds)
        self.parts = folds or {patient: [patient] for patient in self.patients}
        self._known: dict[Setting, tuple[VolumeCounts, ...]] = {}
        self._evidence: dict[Setting, list[Evidence]] = {}
        if not self._can_choose(self.patients):
            raise ValueError(
                "No validation case has tumor, so no decision on tumor can be chosen; give a split"
                " whose validation patients have some."
            )

    @property
    def patients(self) -> list[str]:
        return list(dict.fromkeys(volume.patient for volume in self.volumes))

    def tried(self) -> list[Setting]:
        """The settings that :meth:`best` looks at when it chooses on all patients, in its order."""
        return self._walk(self.patients)[1]

    def best(self, patients: Collection[str] | None = None) -> Setting:
        """The setting that scores best on the volumes of these patients; of all by default."""
        return self._walk(self.patients if patients is None else patients)[0]

    def counts(
        self, setting: Setting, patients: Collection[str] | None = None
    ) -> tuple[VolumeCounts, ...]:
        """Counts of each volume of these patients; of all by default."""
        self._try([setting])
        known = self._known[setting]
        return tuple(one for one in known if patients is None or one.patient in patients)

    def scores(self, setting: Setting) -> Scores:
        """Over all volumes."""
        return Scores.of(self.counts(setting))

    def evidence(self, setting: Setting, patients: Collection[str] | None = None) -> list[Evidence]:
        """Evidence of each patient with voxels labeled tumor; all by default."""
        if setting not in self._evidence:
            self._evidence[setting] = by_patient(v.evidence(setting) for v in self.volumes)
        known = self._evidence[setting]
        return [one for one in known if patients is None or one.patient in patients]

    def leave_one_out(self) -> list[LeftOut]:
        """Each part, scored by a choice that knows only the others; none of a single part."""
        parts = self.parts
        return [self._left_out(name) for name in parts] if len(parts) > 1 else []

    def _left_out(self, name: str) -> LeftOut:
        left = self.parts[name]
        others = [other for other in self.patients if other not in left]
        blind = not self._can_choose(others)
        setting = self.default if blind else self.best(others)
        return LeftOut(name, setting, self.counts(setting, left), blind)

    def curve(self, setting: Setting) -> dict[Decision, Scores]:
        """The scores that marking more or fewer lesions would give, the rest as it is.

        From many marks to few: by the seed threshold, which leaves outlines as they are, where the
        setting has one; else by the tumor threshold.
        """
        decision = setting.decision
        name = "seed_threshold" if decision.has_seeds else "tumor_threshold"
        values = sorted({*TRIED[name], setting.values[name]})
        steps = [setting.with_value(name, value) for value in values]
        if decision.has_seeds:
            steps = [one for one in steps if one.decision.has_seeds or not one.values[name]]
        return {one.decision: self.scores(one) for one in steps}

    def _can_choose(self, patients: Collection[str]) -> bool:
        return any(
            bool((volume.true == Label.TUMOR).any())
            for volume in self.volumes
            if volume.patient in patients
        )

    def _walk(self, patients: Collection[str]) -> tuple[Setting, list[Setting]]:
        """The best, and all that was looked at; each step goes out from the best before it."""
        best, seen, known = self.default, [self.default], self.default.tried
        for names in STEPS:
            candidates = [best]
            for name in names:
                if name in known:
                    candidates = [c.with_value(name, v) for c in candidates for v in known[name]]
            best = self._best_of([best, *candidates], patients)
            seen += candidates
        return best, list(dict.fromkeys(seen))

    def _best_of(self, candidates: Sequence[Setting], patients: Collection[str]) -> Setting:
        self._try(candidates)

        def merit(setting: Setting) -> tuple[float, float, float]:
            scores = Scores.of(self.counts(setting, patients))
            enough = min(scores.large_recall, self.least_recall)
            return enough, scores.score, -setting.distance(self.default)

        return max(candidates, key=merit)

    def _try(self, settings: Iterable[Setting]) -> None:
        """Score what has not been scored; each decision is made once."""
        steps: dict[Decision, list[Postprocessing]] = {}
        for setting in settings:
            if setting not in self._known:
                steps.setdefault(setting.decision, []).append(setting.postprocessing)
        for decision in self._show(list(steps)) if steps else ():
            found = [volume.counts(decision, steps[decision]) for volume in self.volumes]
            for setting in found[0]:
                self._known[setting] = tuple(counts[setting] for counts in found)
