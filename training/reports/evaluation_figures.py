"""From scores to what the figures show: chosen slices are loaded, the rest is counts.

material = figure_material(segmenter, scores, cases, labels_folder, ...)
draw_all(folder, material)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from LiverTumorSegLib.ct.nifti import read_labels
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.segmenter import Segmenter

from training.cases.case import Case
from training.reports.material import (
    FigureMaterial,
    LesionOutcome,
    PatientDice,
    SliceChoice,
    SliceView,
    VolumePair,
    choose_ranked,
    choose_views,
    ranked_slices,
)
from training.score.case import CaseScore, lesion_confidences
from training.score.cases import SetFacts
from training.score.matching import TOUCH
from training.score.statistics import bootstrap_mean
from training.score.summary import pooled_calibration
from training.score.voxels import Mask, Overlap, scored

VIEWS = 6  # of Figure 10
MASKS: tuple[Mask, Mask] = ("liver", "tumor")
OF_SLICE_MODELS = ("fig01-workflow", "fig03-preprocessing", "fig04-enhancement")


def undrawable(segmenter: Segmenter) -> dict[str, str]:
    """Figures of steps that this model does not have: name -> why it is not drawn."""
    if isinstance(segmenter.preprocessing, SlicePreprocessing):
        return {}
    why = "It shows how slices are prepared one by one, and this model takes whole volumes."
    return dict.fromkeys(OF_SLICE_MODELS, why)


def figure_material(
    segmenter: Segmenter,
    scores: Sequence[CaseScore],
    cases: Sequence[Case],
    labels: Path,
    *,
    scope: str,
    sets: Sequence[SetFacts],
    history: Sequence[Mapping[str, Any]],
) -> FigureMaterial:
    """labels: folder of the predictions, ``<case>.nii.gz`` each."""
    tumor = {score.name: Overlap.of(score.matrices, "tumor") for score in scores}
    chosen, ranked = choose_views(tumor, VIEWS), choose_ranked(tumor)
    slices = segmenter.preprocessing
    if not isinstance(slices, SlicePreprocessing):
        slices = SlicePreprocessing()  # no figure shows it: see undrawable
    is_slice_model = slices is segmenter.preprocessing
    tumor_spec = list(segmenter.spec.networks.values())[-1]
    loaded = _load([*chosen, *ranked.values()], {case.name: case for case in cases}, labels)
    return FigureMaterial(
        scope=scope,
        volumes=len(scores),
        preprocessing=slices,
        net=tumor_spec.net,
        net_args=tumor_spec.net_args,
        recipe=segmenter.spec.provenance.get("recipe") if is_slice_model else None,
        sets=sets,
        history=history or None,
        matrix=np.sum([score.volume.matrix for score in scores], axis=0),
        views=[loaded[choice] for choice in chosen],
        ranked={rank: loaded[choice] for rank, choice in ranked.items()},
        ranked_of=len(ranked_slices(tumor)),
        calibration=pooled_calibration(scores),
        lesions=_lesions(scores),
        confidences=lesion_confidences(scores),
        pairs=[_pair(score) for score in scores],
        patient_dice=_patients(scores),
        dice_intervals={
            mask: bootstrap_mean(_dice(scores, mask), groups=[score.group for score in scores])
            for mask in MASKS
        },
    )


def _load(
    wanted: Iterable[SliceChoice], cases: Mapping[str, Case], labels: Path
) -> dict[SliceChoice, SliceView]:
    """Each case is read once."""
    by_case: dict[str, list[SliceChoice]] = {}
    for choice in dict.fromkeys(wanted):
        by_case.setdefault(choice.case, []).append(choice)
    return {
        choice: view
        for name, choices in by_case.items()
        for choice, view in _views(cases[name], choices, labels / f"{name}.nii.gz")
    }


def _views(
    case: Case, choices: Sequence[SliceChoice], predicted: Path
) -> Iterable[tuple[SliceChoice, SliceView]]:
    ct, _ = case.read_ct()
    lps, turn = ct.to_lps()
    true, made = (turn.apply(read[0]) for read in (case.read_labels(), read_labels(predicted)))
    _, row_mm, column_mm = lps.spacing_kji_mm
    for choice in choices:
        k = choice.slice_index
        hu, truth, prediction = lps.hu[k].copy(), true[k].copy(), made[k].copy()
        yield choice, SliceView(case.name, k, hu, truth, prediction, (row_mm, column_mm))


def _lesions(scores: Sequence[CaseScore]) -> list[LesionOutcome]:
    """Found means any overlap; Dice is that of the pair which decides it."""
    return [
        LesionOutcome(
            lesion.equivalent_diameter_mm,
            lesion.detected(TOUCH),
            2 * lesion.matched_iou / (1 + lesion.matched_iou),
        )
        for score in scores
        for lesion in score.volume.table.true
    ]


def _pair(score: CaseScore) -> VolumePair:
    tumor, burden = score.overlap("tumor"), score.volume.burden
    percents = (100 * burden.true, 100 * burden.predicted("clean"))
    true_percent, predicted_percent = (p if np.isfinite(p) else None for p in percents)
    return VolumePair(
        score.name,
        float(tumor.true_voxels) * score.voxel_ml,
        float(tumor.predicted_voxels) * score.voxel_ml,
        true_percent,
        predicted_percent,
    )


def _patients(scores: Sequence[CaseScore]) -> list[PatientDice]:
    """Mean over the volumes of each patient; NaN where all are empty of the mask."""
    groups: dict[str, list[CaseScore]] = {}
    for score in scores:
        groups.setdefault(score.group, []).append(score)
    return [
        PatientDice(group, {mask: _mean_dice(of_patient, mask) for mask in MASKS})
        for group, of_patient in groups.items()
    ]


def _mean_dice(scores: Sequence[CaseScore], mask: Mask) -> float:
    values = _dice(scores, mask)
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _dice(scores: Sequence[CaseScore], mask: Mask) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([float(scored(s.overlap(mask), "dice", "skip")) for s in scores])
