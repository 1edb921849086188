"""What the figures are drawn from: plain arrays and numbers that an evaluation hands over.

    view = SliceView("29", 41, hu_ji, true_ji, predicted_ji, (0.74, 0.74))
    material = FigureMaterial(scope="test split", volumes=9, preprocessing=..., net="hybrid2d",
                              net_args={"width": 32}, views=[view], ...)

Slices are chosen by rule and not by taste, from per-slice counts alone, so that only the few that
will be drawn are loaded: six cases spread evenly from best to worst (:func:`choose_views`), and
best, quartiles and worst of all slices with tumor (:func:`choose_ranked`).

Nothing here reads a file or runs a model. What was not handed over is not drawn, and the figure's
place is taken by the one sentence of :class:`NotDrawn`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from numpy.typing import NDArray

from training.score.calibration import Calibration
from training.score.cases import SetFacts
from training.score.lesions import LesionConfidence
from training.score.statistics import Interval
from training.score.voxels import CLASSES, Counts, Mask, Overlap, slice_matrices

RANKS = ("best", "upper quartile", "median", "lower quartile", "worst")


class NotDrawn(ValueError):
    """Why a figure cannot be drawn, and what to hand over: one sentence for the user."""


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
class LesionOutcome:
    """One true lesion: diameter of the sphere of its volume, whether it was found, its Dice.

    dice: 0 for a missed lesion; NaN when it was not computed.
    """

    equivalent_diameter_mm: float
    detected: bool
    dice: float


@dataclass(frozen=True)
class VolumePair:
    """Tumor of one volume by truth and by prediction.

    percent: tumor burden, tumor over liver with tumor; None where no liver was labeled.
    """

    case: str
    true_ml: float
    predicted_ml: float
    true_percent: float | None
    predicted_percent: float | None


@dataclass(frozen=True)
class PatientDice:
    """Dice of one patient's volumes, by mask; NaN where there is nothing to score."""

    patient: str
    dice: Mapping[Mask, float]


@dataclass(frozen=True, kw_only=True)
class FigureMaterial:
    """Everything the figures show. What is left out stays undrawn, with the reason.

    scope: what was scored, in words, such as "test split, 9 patients". volumes: how many.
    preprocessing, net, net_args, recipe: as the model file has them (``recipe`` from its
        provenance). sets: train, val, test as far as they are known.
    history: the lines of the run's history.jsonl. matrix: int64 (3, 3), rows true, columns
        predicted, of all voxels. views: one slice of each case, best tumor Dice first
        (:func:`choose_views`). ranked: rank -> slice, best first
        (:func:`choose_ranked`), out of ``ranked_of`` slices.
    confidences: of all predicted lesions; None when the model gives none.
    """

    scope: str
    volumes: int
    preprocessing: SlicePreprocessing | VolumePreprocessing
    net: str
    net_args: Mapping[str, Any]
    recipe: Mapping[str, Any] | None = None
    sets: Sequence[SetFacts] = ()
    history: Sequence[Mapping[str, Any]] | None = None
    matrix: Counts | None = None
    views: Sequence[SliceView] = ()
    ranked: Mapping[str, SliceView] = field(default_factory=dict)
    ranked_of: int = 0
    calibration: Calibration | None = None
    lesions: Sequence[LesionOutcome] = ()
    confidences: Sequence[LesionConfidence] | None = None
    pairs: Sequence[VolumePair] = ()
    patient_dice: Sequence[PatientDice] = ()
    dice_intervals: Mapping[Mask, Interval] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.matrix is not None and np.shape(self.matrix) != (CLASSES, CLASSES):
            raise ValueError(
                f"The confusion matrix is {np.shape(self.matrix)}; it has one row and one column a"
                f" class, ({CLASSES}, {CLASSES})."
            )

    @property
    def basis(self) -> str:
        """What was scored, as the sentence that ends every note."""
        return f"{self.volumes} volume{'' if self.volumes == 1 else 's'} scored ({self.scope})."

    @property
    def slice_preprocessing(self) -> SlicePreprocessing:
        """Raises :class:`NotDrawn` for a model that sees whole volumes."""
        if isinstance(self.preprocessing, SlicePreprocessing):
            return self.preprocessing
        raise NotDrawn(f"{self.net} sees whole volumes: this figure is of a model of slices.")

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


def _liver_and_tumor(view: SliceView) -> float:
    pixel_mm2 = view.spacing_ji_mm[0] * view.spacing_ji_mm[1]
    liver, tumor = (float(view.overlap(mask).true_voxels) for mask in ("liver_only", "tumor"))
    return liver * tumor * pixel_mm2**2


@dataclass(frozen=True)
class SliceChoice:
    """A slice to load: ``slice_index`` along k of the case's per-slice counts."""

    case: str
    slice_index: int


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
