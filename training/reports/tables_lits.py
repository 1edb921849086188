"""Tables that the LiTS challenge reports and a reader of a tumor tool needs: volumes, burden,
lesions.

Definitions: spec metrics-and-sota, section 2. ``clean`` is the repaired scoring, ``official`` the
challenge script to the letter, for comparison with published numbers only. Lesions are
6-neighborhood components, as the challenge counts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from LiverTumorSegLib.result.lesions import CONFIDENCE_MEANING

from training.reports.page import METRIC_NAMES, Table, interval, mean_sd, p_value, rate
from training.score.statistics import few_patients_warning, wilcoxon_by_patient
from training.score.voxels import EMPTY_POLICIES, Metric, policies_of
from training.score.words import NOT_DEFINED, number, plural

Record = Mapping[str, Any]

THRESHOLD_NAMES = {"0.0": "any overlap", "0.5": "IoU > 0.5"}
NO_CONFIDENCE = (
    "Confidence of lesions: this model gives none, as its file holds no calibration of it."
)
MASK_NAMES = {"liver": "liver (with tumor)", "tumor": "tumor"}
VOLUME_METRICS: tuple[Metric, ...] = (
    "dice",
    "iou",
    "precision",
    "recall",
    "specificity",
    "voe",
    "rvd",
)
SURFACE_NAMES = {
    "assd_mm": "ASSD, mm",
    "rmsd_mm": "RMSD, mm",
    "msd_mm": "MSD (Hausdorff), mm",
    "hd95_mm": "HD95, mm",
    "nsd_2mm": "NSD at 2 mm",
    "nsd_3mm": "NSD at 3 mm",
}
OBJECT_NAMES = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "voe": "VOE",
    "rvd": "RVD",
    "assd_mm": "ASSD, mm",
    "rmsd_mm": "RMSD, mm",
    "msd_mm": "MSD, mm",
}


def volume_table(summary: Record, context: str) -> Table:
    """Per volume, under each rule for empty masks, and pooled."""
    record = summary["volumes"]
    rows = [
        (
            f"{METRIC_NAMES[metric]}, {MASK_NAMES[mask]}",
            *(
                mean_sd(record[mask][metric][policy]) if policy in policies_of(metric) else ""
                for policy in EMPTY_POLICIES
            ),
            number(summary["pooled"][mask][metric]),
        )
        for metric in VOLUME_METRICS
        for mask in MASK_NAMES
    ]
    return Table(
        key="volumes",
        title=f"Per volume, mean ± SD over {record['volumes']} volumes",
        columns=(
            "metric, mask",
            *(f"rule “{policy}”" for policy in EMPTY_POLICIES),
            "all voxels pooled",
        ),
        rows=rows,
        context=context,
        notes=(
            "RVD = (predicted - true) / true: positive is too large. VOE = 1 - IoU.",
            "Specificity is near 1 in any CT, since most of it is background.",
        ),
    )


def volume_dice_table(summary: Record, context: str) -> Table:
    """Dice per volume with its median and its interval by patient."""
    rows = [
        (
            f"{shown}, “{policy}”",
            mean_sd(dice),
            number(dice["median"]),
            interval(dice["interval_by_patient"]),
        )
        for mask, shown in MASK_NAMES.items()
        for policy, dice in summary["volumes"][mask]["dice"].items()
    ]
    return Table(
        key="volume-dice",
        title="Dice per volume",
        columns=("mask, rule", "mean ± SD", "median", "95 % interval, patients drawn"),
        rows=rows,
        context=context,
        notes=_tumor_free_notes(summary["false_tumor"]),
    )


def _tumor_free_notes(false_tumor: Record) -> list[str]:
    free = false_tumor["tumor_free_volumes"]
    notes = [
        f"Tumor-free volumes without any tumor marked: {rate(false_tumor['without_any'], free)}."
    ]
    marked = false_tumor["ml_in_tumor_free_volumes"]
    if marked:
        listed = ", ".join(f"{name}: {ml:.2f} mL" for name, ml in marked.items())
        notes.append(f"Marked in them: {listed}.")
    slices = false_tumor["ml_on_tumor_free_slices"]
    notes.append(
        f"Tumor marked on tumor-free slices, mL a volume: {mean_sd(slices, 2)}, median"
        f" {number(slices['median'], 2)}."
    )
    return notes


def surface_table(summary: Record, context: str) -> Table:
    """Distances per volume where truth and prediction both have the mask."""
    rows = [
        (shown, *(mean_sd(summary["surfaces"][mask][name], 2) for mask in MASK_NAMES))
        for name, shown in SURFACE_NAMES.items()
    ]
    return Table(
        key="surfaces",
        title="Surface distances per volume",
        columns=("distance", *MASK_NAMES.values()),
        rows=rows,
        context=context,
        notes=(
            "Only volumes where truth and prediction both have the mask (n): a missed tumor has no"
            " distance, so read these beside the detection table.",
            "ASSD, RMSD, MSD: LiTS definitions (surface by the 18-neighborhood, both directions)."
            " HD95, NSD: MONAI's.",
        ),
    )


def challenge_table(summary: Record, context: str) -> Table:
    """The challenge's own columns, repaired and to the letter."""
    clean, official = summary["lits"]["clean"], summary["lits"]["official"]
    rows: list[tuple[str, ...]] = []
    for mask in MASK_NAMES:
        rows.append((f"Dice per case, {mask}", *_means(clean, official, "dice_per_case", mask)))
        rows.append(
            (f"Dice global, {mask}", *(number(s["dice_global"][mask]) for s in (clean, official)))
        )
    for mask, shown in (("liver", "liver"), ("tumor", "detected lesions")):
        for name, metric in OBJECT_NAMES.items():
            cells = [_of_n(scores["objects"][mask][name]) for scores in (clean, official)]
            rows.append((f"{metric}, {shown}", *cells))
    rows += [
        ("Tumor burden RMSE", *(_burden(s, "rmse") for s in (clean, official))),
        ("Tumor burden, largest error", *(_burden(s, "largest") for s in (clean, official))),
    ]
    return Table(
        key="challenge",
        title="The columns of the LiTS challenge",
        columns=("score", "clean", "official script"),
        rows=rows,
        context=context,
        notes=(
            "Detected lesions only (IoU > 0.5): these rows know nothing of the missed ones. RVD:"
            " clean is (predicted - true) / true, the script's is (true - predicted) / predicted."
            " 9001 is the script's number for what is missing, and it enters its means.",
            "Burden is a share, 0 to 1, of tumor in liver. Largest error: clean absolute, official"
            " signed.",
        ),
    )


def _means(clean: Record, official: Record, name: str, mask: str) -> tuple[str, str]:
    return _of_n(clean[name][mask]), _of_n(official[name][mask])


def _of_n(mean: Record) -> str:
    return f"{number(mean['value'])} (n = {mean['n']})"


def _burden(scores: Record, name: str) -> str:
    return f"{number(scores['burden'][name], 4)} (n = {scores['burden']['n']})"


def burden_table(summary: Record, context: str) -> Table:
    """Tumor volume and burden against the truth."""
    shown = {"tumor_ml": ("Tumor volume, mL", 2), "percent": ("Tumor burden, % of the liver", 2)}
    rows = []
    for name, (title, digits) in shown.items():
        values = summary["burden"][name]
        rows.append(
            (
                title,
                number(values["bias"], digits),
                number(values["sd"], digits),
                interval((values["low"], values["high"]), digits),
                str(values["n"]),
            )
        )
    return Table(
        key="burden",
        title="Tumor volume and burden: Bland-Altman",
        columns=("quantity", "bias (predicted - true)", "SD", "95 % limits of agreement", "n"),
        rows=[_without_none(row) for row in rows],
        context=context,
    )


def _without_none(row: Sequence[str]) -> Sequence[str]:
    return [NOT_DEFINED if NOT_DEFINED in cell else cell for cell in row]


def cases_table(summary: Record, context: str) -> Table:
    """Every volume in a row, so that no mean hides one."""
    rows = [
        (
            case["case"],
            case["patient"],
            "yes" if case["has_tumor"] else "no",
            *(number(case["dice"][mask]) for mask in ("liver", "liver_only", "tumor")),
            number(case["false_tumor_ml"], 2),
            number(case["seconds"], 1),
        )
        for case in summary["cases"]
    ]
    return Table(
        key="cases",
        title="Every volume",
        columns=(
            "case",
            "patient",
            "tumor in truth",
            "liver Dice",
            "liver Dice, class 1 alone",
            "tumor Dice",
            "false tumor, mL",
            "seconds",
        ),
        rows=rows,
        context=context,
        notes=("n/a: neither truth nor prediction has it. cases.csv has more columns.",),
    )


def comparison_table(summary: Record, baseline: Record, context: str) -> Table:
    """Wilcoxon by patient against another model's evaluation of the same cases.

    Raises ``ValueError`` when the two did not score the same volumes.
    """
    here = {case["case"]: case for case in summary["cases"]}
    there = {case["case"]: case for case in baseline["cases"]}
    if here.keys() != there.keys():
        raise ValueError(
            "The baseline scored other volumes than this evaluation; evaluate both on one split."
        )
    patients = [case["patient"] for case in here.values()]
    rows = []
    for mask, shown in MASK_NAMES.items():
        before, after = (
            [_nan(cases[name]["dice"][mask]) for name in here] for cases in (there, here)
        )
        test = wilcoxon_by_patient(before, after, patients)
        rows.append(
            (
                f"Dice per volume, {shown}",
                mean_sd(baseline["volumes"][mask]["dice"]["skip"]),
                mean_sd(summary["volumes"][mask]["dice"]["skip"]),
                number(test.difference, 4),
                f"{p_value(_none(test.p))} (n = {test.n} patients)",
            )
        )
    few = few_patients_warning(len(set(patients)))
    return Table(
        key="comparison",
        title=f"Against {baseline['model']}",
        columns=("score", "baseline", "this model", "mean difference", "Wilcoxon by patient"),
        rows=rows,
        context=context,
        notes=[
            "Rule “skip”. Pairs are the means of each patient.",
            *([few] if few else []),
        ],
    )


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _none(value: float) -> float | None:
    return value if value == value else None


def large_lesions_table(summary: Record, context: str) -> Table:
    """Detection of lesions that matter: how many are found, at how many false ones."""
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
