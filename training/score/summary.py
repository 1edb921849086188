"""All that an evaluation found, as one JSON-able record: what tables and figures are made from.

    record = summarize(scores, header)
    record["volumes"]["tumor"]["dice"]["present"]["mean"]

Every mean has its n and every rate its counts. What is not defined is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from training.cases.case import SET_NAMES
from training.score.calibration import pooled, reliability
from training.score.case import CaseScore, lesion_confidences
from training.score.gunetrpp_grid import grid_record
from training.score.lesions import LARGE_BINS, SIZE_LIMITS_MM, detection_by_size, detection_of
from training.score.lits import SCORED_MASKS, challenge_scores
from training.score.matching import MODES, THRESHOLDS, TOUCH, Detection
from training.score.statistics import bland_altman, few_patients_warning, paired_t
from training.score.surfaces import SurfaceScores
from training.score.voxels import (
    MASKS,
    EmptyPolicy,
    Overlap,
    describe,
    labeled_slices,
    pixel_accuracy,
    pooled_record,
    scored,
    slice_record,
    volume_record,
)
from training.score.words import plural

Record = dict[str, Any]
POLICIES: tuple[EmptyPolicy, EmptyPolicy, EmptyPolicy] = ("agree", "present", "skip")


def summarize(scores: Sequence[CaseScore]) -> Record:
    """The record of scored volumes, at least one."""
    volumes = [score.matrices for score in scores]
    groups = [score.group for score in scores]
    few = few_patients_warning(len(set(groups)))
    record: Record = {
        "counts": _counts(scores),
        "warnings": [few] if few else [],
        "slices": {
            "labeled": slice_record(volumes, groups, labeled=True),
            "all": slice_record(volumes, groups, labeled=False),
        },
        "volumes": volume_record(volumes, groups),
        "pooled": pooled_record(volumes),
        "surfaces": _surfaces(scores),
        "liver_against_tumor": _liver_against_tumor(scores),
        "lits": _lits(scores),
        "detection": _detection(scores),
        "lesion_confidence": _lesion_confidence(scores),
        "false_tumor": _false_tumor(scores),
        "burden": _burden(scores),
        "calibration": _calibration(scores),
        "published_grid": _published_grid(scores),
        "lesions": _lesions(scores),
        "cases": [_case(score) for score in scores],
        "seconds": sum(score.seconds for score in scores),
        "slices_run": sum(score.slices_run for score in scores),
    }
    plain: Record = json_able(record)
    return plain


def basis(summary: Record) -> str:
    """The sentence that ends the note of every figure: what was scored."""
    counts = summary["counts"]
    patients = plural(counts["patients"], "patient")
    return f"{plural(counts['volumes'], 'volume')} scored ({set_of(summary)}, {patients})."


def set_of(summary: Record) -> str:
    """The set that the scored cases are: the test split, or none of one split."""
    split: str = summary["split"]
    return f"{split} split" if split in SET_NAMES else split


def json_able(value: Any) -> Any:
    """Plain lists, dicts and numbers of six digits; NaN and infinity become None."""
    if isinstance(value, dict):
        return {str(key): json_able(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_able(item) for item in value]
    if isinstance(value, np.ndarray):
        return json_able(value.tolist())
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _counts(scores: Sequence[CaseScore]) -> Record:
    return {
        "volumes": len(scores),
        "patients": len({score.group for score in scores}),
        "tumor_volumes": sum(score.has_tumor for score in scores),
        "slices": sum(len(score.matrices) for score in scores),
        "labeled_slices": sum(int(labeled_slices(score.matrices).sum()) for score in scores),
    }


def _surfaces(scores: Sequence[CaseScore]) -> Record:
    """mask -> distance -> statistics, over the volumes where both have the mask."""
    names = list(SurfaceScores.__dataclass_fields__)
    return {
        mask: {name: describe([getattr(s.surface(mask), name) for s in scores]) for name in names}
        for mask in SCORED_MASKS
    }


def _liver_against_tumor(scores: Sequence[CaseScore]) -> Record:
    """The paper's paired t-test by slice (labeled slices, class 1 against class 2)."""
    matrices = np.concatenate([s.matrices[labeled_slices(s.matrices)] for s in scores])
    liver, tumor = (
        scored(Overlap.of(matrices, mask), "dice", "agree") for mask in ("liver_only", "tumor")
    )
    accuracy = pixel_accuracy(matrices)
    return {
        "paired_t_by_slice": asdict(paired_t(liver, tumor)),
        "pixel_accuracy_by_slice": describe(accuracy),
    }


def _lits(scores: Sequence[CaseScore]) -> Record:
    """The challenge's voxel and object scores, repaired and to the letter."""
    every: Record = {}
    for mode in MODES:
        values = asdict(challenge_scores([score.volume for score in scores], mode))
        del values["detections"]  # stands under "detection", with its counts
        every[mode] = values
    return every


def _detection(scores: Sequence[CaseScore]) -> Record:
    """mode -> threshold -> counts; and (clean) by size, and of all but the small."""
    every: Record = {
        mode: {
            str(over): _rates(
                sum(
                    (s.volume.detections[mode, over] for s in scores),
                    start=Detection.none(mode, over),
                )
            )
            for over in THRESHOLDS
        }
        for mode in MODES
    }
    tables = [score.volume.table for score in scores]
    by_size = {
        str(over): {size: _rates(found) for size, found in detection_by_size(tables, over).items()}
        for over in THRESHOLDS
    }
    large = {str(over): _rates(detection_of(tables, over, LARGE_BINS)) for over in THRESHOLDS}
    return {**every, "by_size": by_size, "large": {"from_mm": SIZE_LIMITS_MM[0], **large}}


def _rates(found: Detection) -> Record:
    return {
        "tp": found.tp,
        "fp": found.fp,
        "fn": found.fn,
        "true": found.true_lesions,
        "predicted": found.predicted,
        "volumes": found.volumes,
        "precision": found.precision,
        "recall": found.recall,
        "f1": found.f1,
        "fp_per_volume": found.fp_per_volume,
    }


def _lesion_confidence(scores: Sequence[CaseScore]) -> Record | None:
    """Bins of predicted lesions by how sure the model is of them; None when it does not say."""
    lesions = lesion_confidences(scores)
    if lesions is None:
        return None
    patients = len({score.group for score in scores if score.volume.table.predicted})
    return {
        "patients": patients,
        "warning": few_patients_warning(patients),
        "bins": reliability([(lesion.confidence, lesion.true_share) for lesion in lesions]),
        "mean_confidence": describe([lesion.confidence for lesion in lesions])["mean"],
        "mean_true_share": describe([lesion.true_share for lesion in lesions])["mean"],
    }


def _false_tumor(scores: Sequence[CaseScore]) -> Record:
    """What is marked where there is no tumor: whole tumor-free volumes, and tumor-free slices."""
    free = [score for score in scores if not score.has_tumor]
    return {
        "tumor_free_volumes": len(free),
        "without_any": sum(score.false_tumor_ml == 0 for score in free),
        "ml_in_tumor_free_volumes": {s.name: round(s.false_tumor_ml, 4) for s in free},
        "ml_on_tumor_free_slices": describe([s.false_tumor_on_free_slices_ml for s in scores]),
        "ml_a_volume": describe([s.false_tumor_ml for s in scores]),
    }


def _burden(scores: Sequence[CaseScore]) -> Record:
    """Agreement of tumor volume (mL) and of burden (percent of the liver)."""
    tumor = [s.overlap("tumor") for s in scores]
    ml = [
        np.array([float(getattr(o, side)) * s.voxel_ml for o, s in zip(tumor, scores, strict=True)])
        for side in ("predicted_voxels", "true_voxels")
    ]
    percent = [
        np.array([100 * s.volume.burden.predicted("clean") for s in scores]),
        np.array([100 * s.volume.burden.true for s in scores]),
    ]
    return {
        "tumor_ml": asdict(bland_altman(*ml)),
        "percent": asdict(bland_altman(*percent)),
    }


def _calibration(scores: Sequence[CaseScore]) -> Record | None:
    """The bins of all volumes in one pot; None when a volume has none."""
    parts = [score.calibration for score in scores if score.calibration is not None]
    return pooled(parts).to_record() if len(parts) == len(scores) else None


def _published_grid(scores: Sequence[CaseScore]) -> Record | None:
    """None unless every case was measured so."""
    measured = [(score.name, score.on_grid) for score in scores if score.on_grid is not None]
    return grid_record(measured) if len(measured) == len(scores) else None


def _lesions(scores: Sequence[CaseScore]) -> Record:
    """Every lesion as the figures show it; found means any overlap.

    dice: of the pair which decides about a true lesion, 0 when it was missed.
    """
    tables = [score.volume.table for score in scores]
    return {
        "true": [
            {
                "diameter_mm": lesion.equivalent_diameter_mm,
                "found": lesion.detected(TOUCH),
                "dice": 2 * lesion.matched_iou / (1 + lesion.matched_iou),
            }
            for table in tables
            for lesion in table.true
        ],
        "predicted": [
            {"confidence": lesion.confidence, "true_share": lesion.overlap_fraction}
            for table in tables
            for lesion in table.predicted
        ],
    }


def _case(score: CaseScore) -> Record:
    """What later comparisons need of one volume; None for a mask that both leave empty."""
    dice = {mask: float(scored(score.overlap(mask), "dice", "skip")) for mask in MASKS}
    tumor, burden = score.overlap("tumor"), score.volume.burden
    return {
        "case": score.name,
        "patient": score.group,
        "has_tumor": score.has_tumor,
        "dice": dice,
        "tumor_ml": {
            "true": float(tumor.true_voxels) * score.voxel_ml,
            "predicted": float(tumor.predicted_voxels) * score.voxel_ml,
        },
        "burden_percent": {
            "true": 100 * burden.true,
            "predicted": 100 * burden.predicted("clean"),
        },
        "slices": len(score.matrices),
        "tumor_free_slices": score.tumor_free_slices,
        "false_tumor_ml": score.false_tumor_ml,
        "false_tumor_on_tumor_free_slices_ml": score.false_tumor_on_free_slices_ml,
        "seconds": score.seconds,
        "device": score.device,
    }
