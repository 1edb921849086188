"""Lesions in a report: which are found, how many are false, how sure the model is of each.

    found = large_lesions_table(summary, context)      # 10 mm and more, the false ones beside it
    tables = [detection_table(summary, context), false_tumor_table(summary, context)]
    if summary["lesion_confidence"]:
        tables.append(confidence_table(summary, context))

Lesions are 6-neighborhood components, as the LiTS challenge counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from LiverTumorSegLib.result.lesions import CONFIDENCE_MEANING

from training.reports.tables import Table, mean_sd, rate
from training.score.words import number, plural

Record = Mapping[str, Any]

THRESHOLD_NAMES = {"0.0": "any overlap", "0.5": "IoU > 0.5"}
NO_CONFIDENCE = (
    "Confidence of lesions: this model gives none, as its file holds no calibration of it."
)


def large_lesions_table(summary: Record, context: str) -> Table:
    """What a reader asks first: how many lesions that matter are found, at what price."""
    large, every = summary["detection"]["large"], summary["detection"]["clean"]
    least = f"{large['from_mm']:g} mm and more"
    return Table(
        key="large-lesions",
        title=f"Lesions of {least}",
        columns=(
            "overlap",
            "recall (found of true)",
            "false a volume, any size",
            f"false a volume, {least}",
        ),
        rows=[
            (
                shown,
                rate(large[over]["tp"], large[over]["true"]),
                _false_cell(every[over]),
                _false_cell(large[over]),
            )
            for over, shown in THRESHOLD_NAMES.items()
        ],
        context=context,
        notes=(
            "Size: diameter of a ball of the lesion's volume, of the true lesion for recall and of"
            " the predicted one for false ones. Counting “clean”, as below.",
        ),
    )


def detection_table(summary: Record, context: str) -> Table:
    """Lesions found and false, at both thresholds and in both ways of counting."""
    rows = []
    for mode in ("clean", "official"):
        for over, shown in THRESHOLD_NAMES.items():
            found = summary["detection"][mode][over]
            rows.append((f"{shown}, {mode}", *_detection_cells(found)))
    for over, shown in THRESHOLD_NAMES.items():
        for size, found in summary["detection"]["by_size"][over].items():
            rows.append((f"{shown}, clean, {size}", *_detection_cells(found)))
    return Table(
        key="detection",
        title="Lesions found",
        columns=(
            "overlap, counting, size",
            "recall (found of true)",
            "precision (of predicted)",
            "F1",
            "false a volume",
        ),
        rows=rows,
        context=context,
        notes=(
            "Lesions are 6-neighborhood components. Size: diameter of a ball of the lesion's volume"
            " (10 and 20 mm sharp in the middle bin); found and missed by the true lesion's size,"
            " false ones by the prediction's.",
            "“official” repeats the challenge script with its quirks (its count of found lesions"
            " can be negative); “clean” merges and matches by the true union.",
        ),
    )


def _detection_cells(found: Record) -> tuple[str, str, str, str]:
    correct = found["predicted"] - found["fp"]
    return (
        rate(found["tp"], found["true"]),
        rate(correct, found["predicted"]),
        number(found["f1"]),
        _false_cell(found),
    )


def _false_cell(found: Record) -> str:
    return f"{number(found['fp_per_volume'], 2)} ({found['fp']} in {found['volumes']})"


def false_tumor_table(summary: Record, context: str) -> Table:
    """Tumor marked where there is none, a row a volume, and the mean."""
    false_tumor = summary["false_tumor"]
    rows = [
        (
            case["case"],
            case["patient"],
            "yes" if case["has_tumor"] else "no",
            number(case["false_tumor_ml"], 2),
            f"{case['tumor_free_slices']} of {case['slices']}",
            number(case["false_tumor_on_tumor_free_slices_ml"], 2),
        )
        for case in summary["cases"]
    ]
    marked, on_free = false_tumor["ml_a_volume"], false_tumor["ml_on_tumor_free_slices"]
    mean = ("mean ± SD", "", "", mean_sd(marked, 2), "", mean_sd(on_free, 2))
    return Table(
        key="false-tumor",
        title="Tumor marked where there is none",
        columns=(
            "case",
            "patient",
            "tumor in truth",
            "false tumor, mL",
            "tumor-free slices",
            "false tumor on them, mL",
        ),
        rows=[*rows, mean],
        context=context,
    )


def confidence_table(summary: Record, context: str) -> Table:
    """Predicted lesions by how sure the model is of them, and what they turned out to be."""
    record = summary["lesion_confidence"]
    bins = record["bins"]
    rows = [_confidence_row(_bounds(part), part) for part in bins]
    every = record | {name: sum(part[name] for part in bins) for name in ("lesions", "touching")}
    patients = plural(record["patients"], "patient")
    return Table(
        key="lesion-confidence",
        title="Confidence of lesions",
        columns=(
            "confidence",
            "predicted lesions",
            "mean confidence",
            "mean true share",
            "touch a true lesion",
        ),
        rows=[*rows, _confidence_row("all", every)],
        context=context,
        notes=(
            f"Confidence: {CONFIDENCE_MEANING}. True share: the share that is tumor in truth. Where"
            " confidence holds, the two means are alike.",
            f"Lesions of {patients}; each counts once, whatever its size.",
            *([record["warning"]] if record["warning"] else []),
        ),
    )


def _bounds(part: Record) -> str:
    """The last bin has its upper bound too."""
    return f"{part['low']:.2f} to {'' if part['high'] == 1 else 'under '}{part['high']:.2f}"


def _confidence_row(name: str, values: Record) -> tuple[str, ...]:
    return (
        name,
        str(values["lesions"]),
        number(values["mean_confidence"]),
        number(values["mean_true_share"]),
        rate(values["touching"], values["lesions"]),
    )
