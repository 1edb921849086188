"""One case scored in every way that the report speaks of.

    ct, true_kji = read_pair(case)
    score = score_run(case, ct, run_model(segmenter, ct), true_kji)

Everything is measured on the CT's own grid, turned to LPS without interpolation, so that slices are
axial whatever way the file lies; slices count from 0 at the feet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from LiverTumorSegLib.inference.prediction import Prediction
from LiverTumorSegLib.inference.segmenter import Segmenter
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.plausibility import check
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

from training.cases.case import Case
from training.score.calibration import Calibration, tumor_calibration
from training.score.gunetrpp_grid import GridMask, GridScores, grid_scores
from training.score.lesions import LesionConfidence
from training.score.lits import VolumeScore, score_volume
from training.score.surfaces import SurfaceScores, surface_scores
from training.score.voxels import Counts, Mask, Metric, Overlap, scored

Labels = NDArray[np.uint8]
VOXEL_COLUMNS: tuple[Metric, ...] = (
    "dice",
    "iou",
    "precision",
    "recall",
    "specificity",
    "voe",
    "rvd",
)


@dataclass(frozen=True, eq=False)
class Run:
    """How the prediction came about.

    labels_kji: on the CT's own grid. tumor_probability_kji: on it too, 0 to 255 for a calibrated
        probability of tumor of 0 to 1; None when the model has none.
    doubts: sentences that users read beside the result, of its check.
    """

    labels_kji: Labels
    device: str
    slices: int
    slices_run: int
    seconds: float
    probabilities: NDArray[np.float16] | None = None
    tumor_probability_kji: NDArray[np.uint8] | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class CaseScore:
    """One volume's agreement with its reference.

    volume: voxels, objects and lesions. tumor_surface: of the whole tumor mask in mm, NaN where
        truth or prediction has none. calibration: None without probabilities. has_confidence: the
        model says how sure it is of each lesion. on_grid: by the G-UNETR++ authors' measures, where
        those were asked for. doubts: as in :class:`Run`.
    """

    name: str
    group: str
    spacing_kji_mm: tuple[float, float, float]
    voxel_ml: float
    volume: VolumeScore
    tumor_surface: SurfaceScores
    calibration: Calibration | None
    has_confidence: bool
    on_grid: Mapping[GridMask, GridScores] | None
    device: str
    slices_run: int
    seconds: float
    doubts: tuple[str, ...] = ()

    @property
    def matrices(self) -> Counts:
        """Confusion counts of each axial slice, (k, 3, 3)."""
        return self.volume.matrices

    @property
    def has_tumor(self) -> bool:
        return self.volume.burden.true_tumor > 0

    @property
    def false_tumor_ml(self) -> float:
        """Tumor marked where there is none."""
        return float(self.overlap("tumor").fp) * self.voxel_ml

    @property
    def false_tumor_on_free_slices_ml(self) -> float:
        """Tumor marked on slices without any."""
        per_slice = Overlap.of(self.matrices, "tumor")
        return float(per_slice.fp[per_slice.true_voxels == 0].sum()) * self.voxel_ml

    @property
    def tumor_free_slices(self) -> int:
        """Slices without tumor in truth."""
        return int((Overlap.of(self.matrices, "tumor").true_voxels == 0).sum())

    def overlap(self, mask: Mask) -> Overlap:
        """Voxel counts of the whole volume."""
        return Overlap.of(self.volume.matrix, mask)

    def dice(self, mask: Mask) -> float:
        """Both empty 1, one of them 0."""
        return float(scored(self.overlap(mask), "dice", "agree"))

    def surface(self, mask: Mask) -> SurfaceScores:
        return self.tumor_surface if mask == "tumor" else self.volume.liver.surface

    def row(self) -> dict[str, Any]:
        """A line of cases.csv."""
        k, j, i = self.spacing_kji_mm
        row: dict[str, Any] = {
            "case": self.name,
            "patient": self.group,
            "slices": len(self.matrices),
            "spacing_k_mm": round(k, 4),
            "spacing_j_mm": round(j, 4),
            "spacing_i_mm": round(i, 4),
        }
        masks: tuple[Mask, Mask] = ("liver", "tumor")
        for mask in masks:
            row |= {f"{mask}_{name}": value for name, value in self._mask_row(mask).items()}
        return row | self._tumor_row()

    def _mask_row(self, mask: Mask) -> dict[str, Any]:
        """Dice as by the rule "agree" for empty masks; what is not defined stays empty."""
        overlap, surface = self.overlap(mask), self.surface(mask)
        values: dict[str, Any] = {
            name: _rounded(float(scored(overlap, name, "agree"))) for name in VOXEL_COLUMNS
        }
        values |= {name: _rounded(value) for name, value in vars(surface).items()}
        return values | {
            "true_ml": round(float(overlap.true_voxels) * self.voxel_ml, 4),
            "predicted_ml": round(float(overlap.predicted_voxels) * self.voxel_ml, 4),
            "shared_voxels": int(overlap.tp),
            "predicted_voxels": int(overlap.predicted_voxels),
            "true_voxels": int(overlap.true_voxels),
        }

    def _tumor_row(self) -> dict[str, Any]:
        touched, half = (self.volume.detections["clean", over] for over in (0.0, 0.5))
        burden = self.volume.burden
        return {
            "lesions_true": touched.true_lesions,
            "lesions_predicted": touched.predicted,
            "lesions_found_over_0": touched.tp,
            "false_lesions_over_0": touched.fp,
            "lesions_found_over_half": half.tp,
            "false_lesions_over_half": half.fp,
            "burden_true_percent": _rounded(100 * burden.true),
            "burden_predicted_percent": _rounded(100 * burden.predicted("clean")),
            "false_tumor_ml": round(self.false_tumor_ml, 4),
            "false_tumor_on_tumor_free_slices_ml": round(self.false_tumor_on_free_slices_ml, 4),
            "slices_run": self.slices_run,
            "seconds": round(self.seconds, 2),
            "device": self.device,
        }

    def lesion_rows(self) -> list[dict[str, Any]]:
        """Lines of lesions.csv: every true lesion, then every predicted one.

        true_share: a predicted lesion's overlap, by the name under which its confidence is judged.
        """
        table = self.volume.table
        sides = (("true", table.true), ("predicted", table.predicted))
        return [
            {"case": self.name, "patient": self.group, "side": side, **row}
            | {"true_share": row["overlap_fraction"] if side == "predicted" else None}
            for side, lesions in sides
            for row in (lesion.row() for lesion in lesions)
        ]

    def doubt_rows(self) -> list[dict[str, Any]]:
        """Lines of doubts.csv: what the check of the result tells its reader."""
        return [{"case": self.name, "patient": self.group, "sentence": one} for one in self.doubts]

    def slice_rows(self) -> list[dict[str, Any]]:
        """Lines of slices.csv: the nine counts, from which every voxel metric follows."""
        names = [label.name.lower() for label in Label]
        return [
            {"case": self.name, "patient": self.group, "slice": k}
            | {
                f"true_{names[t]}_predicted_{names[p]}": int(matrix[t, p])
                for t in Label
                for p in Label
            }
            for k, matrix in enumerate(self.matrices)
        ]


def lesion_confidences(scores: Sequence[CaseScore]) -> list[LesionConfidence] | None:
    """Confidence of every predicted lesion; None when the model gives none."""
    if not all(score.has_confidence for score in scores):
        return None
    return [
        LesionConfidence(lesion.confidence, lesion.overlap_fraction)
        for score in scores
        for lesion in score.volume.table.predicted
        if lesion.confidence is not None
    ]


def read_pair(case: Case) -> tuple[CtVolume, Labels]:
    """A case's CT and its true labels; ``ValueError`` when they lie on different grids."""
    ct, _ = case.read_ct()
    true, _ = case.read_labels()
    if true.shape != ct.shape_kji:
        raise ValueError(
            f"The labels of case {case.name} have the shape {true.shape} and its CT"
            f" {ct.shape_kji}; give labels on the CT's own grid."
        )
    return ct, true


def run_model(
    segmenter: Segmenter,
    ct: CtVolume,
    predicted: tuple[Prediction, float] | None = None,
    relabel: Callable[[Prediction], Labels] | None = None,
    *,
    checked: bool = True,
) -> Run:
    """Segment a CT as users would, and return the probabilities too.

    predicted: what the networks have said of this CT, in so many seconds; else they are run.
    relabel: makes the labels, in LPS order, in place of the model's own steps and unchecked.
    checked: leave out what users' results do not show, such as marks in fat.
    """
    prediction, seconds = predicted or (None, 0.0)
    doubts: tuple[str, ...] = ()
    done = segmenter.segment(ct, keep_prediction=True, prediction=prediction)
    if relabel is not None and done.prediction is not None:
        labels_kji, probability = done.reorientation.undo(relabel(done.prediction)), None
    else:
        labels_kji, probability = done.labels_kji, done.tumor_probability_kji
        if checked:
            liver_hu = segmenter.spec.trained_liver_hu
            shown = check(ct, labels_kji, probability, trained_liver_hu=liver_hu)
            labels_kji, probability = shown.labels_kji, shown.tumor_probability_kji
            doubts = shown.warnings
    return Run(
        labels_kji,
        done.device,
        done.slices,
        done.slices_run,
        seconds + done.seconds,
        done.probabilities,
        probability,
        doubts,
    )


def score_run(
    case: Case, ct: CtVolume, run: Run, true_kji: Labels, *, published_grid: bool = False
) -> CaseScore:
    """Compare labels on the CT's own grid, both ``(k, j, i)``.

    published_grid: also by the G-UNETR++ authors' measures, on their grid.
    """
    lps, turn = ct.to_lps(copy=False)
    predicted, true = turn.apply(run.labels_kji), turn.apply(true_kji)
    spacing_mm = lps.spacing_kji_mm
    tumor = surface_scores(predicted == Label.TUMOR, true == Label.TUMOR, spacing_mm)
    volume, calibration = score_volume(predicted, true, spacing_mm), None
    if run.probabilities is not None:
        calibration = tumor_calibration(turn.apply(run.probabilities), true, predicted)
    if run.tumor_probability_kji is not None:
        table = volume.table.with_confidence(predicted, turn.apply(run.tumor_probability_kji))
        volume = replace(volume, table=table)
    return CaseScore(
        name=case.name,
        group=case.group,
        spacing_kji_mm=spacing_mm,
        voxel_ml=ct.voxel_ml,
        volume=volume,
        tumor_surface=tumor,
        calibration=calibration,
        has_confidence=run.tumor_probability_kji is not None,
        on_grid=grid_scores(predicted, true, spacing_mm) if published_grid else None,
        device=run.device,
        slices_run=run.slices_run,
        seconds=run.seconds,
        doubts=run.doubts,
    )


def _rounded(value: float) -> float | None:
    """Four digits; None (an empty cell) for what is not defined."""
    return round(value, 4) if np.isfinite(value) else None
