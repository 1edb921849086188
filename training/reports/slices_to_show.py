"""The few slices that the figures of an evaluation show: chosen by rule, stored beside its scores.

    slices = collect(scores, cases, Path("scores/labels"))
    slices.save(Path("scores/slices.npz"))
    Slices.load(Path("scores/slices.npz")).sample()

Chosen from per-slice counts alone, so that only what will be drawn is read: six cases spread evenly
from best to worst (:func:`choose_views`), best, quartiles and worst of all slices with tumor
(:func:`choose_ranked`), and the volumes that failed (:func:`choose_failures`). With the file every
figure can be drawn again without the CTs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from LiverTumorSegLib.ct.nifti import read_labels
from LiverTumorSegLib.files import whole_file
from numpy.typing import NDArray

from training.cases.case import Case
from training.score.case import CaseScore
from training.score.voxels import Mask, Overlap, slice_matrices

RANKS = ("best", "upper quartile", "median", "lower quartile", "worst")
VIEWS = 6  # of Figure 10
FAILURES = 6


class NotDrawn(ValueError):
    """Why a figure cannot be drawn, and what to do about it: one sentence for the user."""


@dataclass(frozen=True, eq=False)
class SliceView:
    """One axial slice with its truth and a prediction, all ``(j, i)`` on one grid.

    LPS order: rows run to posterior, columns to the patient's left, as a radiologist looks at it.
    hu: int16. true, predicted: uint8 labels 0, 1, 2. spacing_ji_mm: of rows and of columns.
    """

    case: str
    slice_index: int
    hu: NDArray[np.int16]
    true: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    spacing_ji_mm: tuple[float, float]

    def __post_init__(self) -> None:
        if self.hu.ndim != 2 or not self.hu.shape == self.true.shape == self.predicted.shape:
            raise ValueError(
                f"Slice {self.slice_index} of {self.case}: CT {self.hu.shape}, truth"
                f" {self.true.shape} and prediction {self.predicted.shape} must be 2D and of one"
                " shape."
            )
        if min(self.spacing_ji_mm) <= 0:
            raise ValueError(f"Pixels of {self.spacing_ji_mm} mm are impossible; give mm above 0.")

    def label(self, letters: int) -> str:
        """Two lines to head a panel; a long case name loses its middle."""
        case = self.case
        if len(case) > letters:
            half = (letters - 3) // 2
            case = f"{case[:half]}...{case[-half:]}"
        return f"case {case}\nslice {self.slice_index}"

    def overlap(self, mask: Mask) -> Overlap:
        """Pixel counts of one mask on this slice."""
        return Overlap.of(slice_matrices(self.predicted[None], self.true[None])[0], mask)

    def dice(self, mask: Mask) -> float:
        """Dice on this slice; NaN where truth and prediction are both empty."""
        return float(self.overlap(mask).dice)


@dataclass(frozen=True)
class SliceChoice:
    """A slice to load: ``slice_index`` along k of the case's per-slice counts."""

    case: str
    slice_index: int


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of scored cases that figures show.

    views: one slice of each case, best tumor Dice first (:func:`choose_views`).
    ranked: rank -> slice, best first (:func:`choose_ranked`), out of ``ranked_of`` slices.
    failures: one slice of each of the worst volumes, the worst first (:func:`choose_failures`).
    """

    views: Sequence[SliceView] = ()
    ranked: Mapping[str, SliceView] = field(default_factory=dict)
    ranked_of: int = 0
    failures: Sequence[SliceView] = ()

    def some_views(self, count: int) -> list[SliceView]:
        """Up to ``count`` of the views, the first and the last among them, evenly between.

        Raises :class:`NotDrawn` when there is none.
        """
        if not self.views:
            raise NotDrawn("No slice to show: none of the scored volumes has a tumor in its truth.")
        if len(self.views) <= count:
            return list(self.views)
        places = np.linspace(0, len(self.views) - 1, count).round().astype(int)
        return [self.views[n] for n in places]

    def sample(self) -> SliceView:
        """The view that shows most of both liver and tumor, by the product of their areas."""
        return max(self.some_views(len(self.views)), key=_liver_and_tumor)

    @property
    def _all(self) -> tuple[SliceView, ...]:
        return (*self.views, *self.ranked.values(), *self.failures)

    def save(self, path: Path) -> None:
        """All slices in one .npz, each stored once."""
        chosen = {_choice(view): view for view in self._all}
        places = {choice: n for n, choice in enumerate(chosen)}
        index = {
            "slices": [
                {"case": v.case, "slice": v.slice_index, "spacing_ji_mm": v.spacing_ji_mm}
                for v in chosen.values()
            ],
            "views": [places[_choice(view)] for view in self.views],
            "ranked": {rank: places[_choice(view)] for rank, view in self.ranked.items()},
            "ranked_of": self.ranked_of,
            "failures": [places[_choice(view)] for view in self.failures],
        }
        arrays = {
            f"{name}_{n}": getattr(view, name)
            for n, view in enumerate(chosen.values())
            for name in ("hu", "true", "predicted")
        }
        with whole_file(path) as part, open(part, "wb") as file:
            np.savez_compressed(file, index=np.array(json.dumps(index)), **arrays)

    @classmethod
    def load(cls, path: Path) -> Slices:
        """Read what :meth:`save` wrote; ``ValueError`` for anything else."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                index = json.loads(str(stored["index"]))
                views = [
                    SliceView(
                        one["case"],
                        one["slice"],
                        stored[f"hu_{n}"],
                        stored[f"true_{n}"],
                        stored[f"predicted_{n}"],
                        tuple(one["spacing_ji_mm"]),
                    )
                    for n, one in enumerate(index["slices"])
                ]
                return cls(
                    views=[views[n] for n in index["views"]],
                    ranked={rank: views[n] for rank, n in index["ranked"].items()},
                    ranked_of=index["ranked_of"],
                    failures=[views[n] for n in index.get("failures", [])],
                )
        except Exception as error:  # zip, JSON and NumPy each have errors of their own
            raise ValueError(
                f"{path.name} holds no slices of training.evaluate; evaluate again."
            ) from error


def _choice(view: SliceView) -> SliceChoice:
    return SliceChoice(view.case, view.slice_index)


def _liver_and_tumor(view: SliceView) -> float:
    pixel_mm2 = view.spacing_ji_mm[0] * view.spacing_ji_mm[1]
    liver, tumor = (float(view.overlap(mask).true_voxels) for mask in ("liver_only", "tumor"))
    return liver * tumor * pixel_mm2**2


def collect(scores: Sequence[CaseScore], cases: Sequence[Case], labels: Path) -> Slices:
    """Read what the rules choose. labels: folder of the predictions, ``<case>.nii.gz`` each."""
    tumor = {score.name: Overlap.of(score.matrices, "tumor") for score in scores}
    views, ranked = choose_views(tumor, VIEWS), choose_ranked(tumor)
    failures = choose_failures(tumor, FAILURES)
    by_case: dict[str, list[int]] = {}
    for choice in dict.fromkeys([*views, *ranked.values(), *failures]):
        by_case.setdefault(choice.case, []).append(choice.slice_index)
    read = {
        _choice(view): view
        for case in cases
        if case.name in by_case
        for view in _read(case, by_case[case.name], labels / f"{case.name}.nii.gz")
    }
    return Slices(
        views=[read[choice] for choice in views],
        ranked={rank: read[choice] for rank, choice in ranked.items()},
        ranked_of=len(ranked_slices(tumor)),
        failures=[read[choice] for choice in failures],
    )


def _read(case: Case, slice_indices: Sequence[int], predicted: Path) -> Iterable[SliceView]:
    """Slices of one case, which is read once."""
    ct, _ = case.read_ct()
    lps, reorientation = ct.to_lps(copy=False)
    true, made = (
        reorientation.apply(labels[0]) for labels in (case.read_labels(), read_labels(predicted))
    )
    _, row_mm, column_mm = lps.spacing_kji_mm
    for k in slice_indices:
        hu, truth, prediction = lps.hu[k].copy(), true[k].copy(), made[k].copy()
        yield SliceView(case.name, k, hu, truth, prediction, (row_mm, column_mm))


def choose_views(tumor: Mapping[str, Overlap], count: int) -> list[SliceChoice]:
    """Each case's slice with the most true tumor, ``count`` of them, best tumor Dice first.

    tumor: case -> counts of the mask "tumor", a value a slice. The cases lie evenly in the order
    of that slice's Dice, the best and the worst among them. Cases without tumor do not take part;
    all that remain come when there are fewer than ``count``.
    """
    largest = [
        (case, int(np.argmax(overlap.true_voxels)))
        for case, overlap in tumor.items()
        if np.any(overlap.true_voxels > 0)
    ]
    largest.sort(key=lambda pair: (-tumor[pair[0]].dice[pair[1]], pair[0]))
    if len(largest) > count:
        largest = [largest[n] for n in np.linspace(0, len(largest) - 1, count).round().astype(int)]
    return [SliceChoice(case, k) for case, k in largest]


def choose_failures(tumor: Mapping[str, Overlap], count: int) -> list[SliceChoice]:
    """Of the volumes with the lowest tumor Dice the slice with most wrong tumor, worst first.

    A mark in a volume without tumor is a Dice of 0; of equals the one with more wrong voxels on its
    slice comes first. A volume without a wrong voxel is no failure.
    """
    rows = []
    for case, overlap in tumor.items():
        wrong = overlap.fp + overlap.fn
        k = int(np.argmax(wrong))
        if wrong[k]:
            shared = 2 * int(np.sum(overlap.tp))
            dice = shared / (shared + int(np.sum(wrong)))
            rows.append((dice, -int(wrong[k]), case, k))
    return [SliceChoice(case, k) for _, _, case, k in sorted(rows)[:count]]


def choose_ranked(tumor: Mapping[str, Overlap]) -> dict[str, SliceChoice]:
    """Rank -> slice, best first, over all slices with true tumor, by tumor Dice.

    Among slices of equal Dice the one with more tumor counts as the worse, so that the worst of
    many that were missed is the largest miss; the best of equals is the one with more tumor too.
    Fewer than five slices give the ranks that differ. No tumor gives an empty dict.
    """
    rows = ranked_slices(tumor)
    if not rows:
        return {}
    places = np.linspace(0, len(rows) - 1, len(RANKS)).round().astype(int)
    chosen = {rank: rows[n] for rank, n in zip(RANKS, places, strict=True)}
    chosen["best"] = min(rows, key=lambda row: (-row[0], -row[1]))
    shown: dict[str, SliceChoice] = {}
    for rank, (_, _, case, k) in chosen.items():
        choice = SliceChoice(case, k)
        if choice not in shown.values():
            shown[rank] = choice
    return shown


def ranked_slices(tumor: Mapping[str, Overlap]) -> list[tuple[float, int, str, int]]:
    """(Dice, true voxels, case, slice) of all slices with true tumor, best first."""
    rows = [
        (float(overlap.dice[k]), int(overlap.true_voxels[k]), case, int(k))
        for case, overlap in tumor.items()
        for k in np.flatnonzero(overlap.true_voxels > 0)
    ]
    return sorted(rows, key=lambda row: (-row[0], row[1], row[2], row[3]))
