"""The hybrid2d paper's Tables 3 to 8, from summaries of evaluations (spec sections 1, 3 and 6).

What the paper leaves open is shown with every reading side by side; what it prints and what its
arithmetic says differently stands in a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.reports.page import METRIC_NAMES, Table, interval, mean_sd, p_value
from training.score.cases import SetFacts
from training.score.voxels import EMPTY_POLICIES, Mask, policies_of
from training.score.words import NOT_DEFINED, number, plural

Record = Mapping[str, Any]

CLASS_ROWS: tuple[tuple[str, Mask], ...] = (
    ("liver, class 1 alone", "liver_only"),
    ("tumor", "tumor"),
    ("liver with tumor (LiTS)", "liver"),
)
SLICE_METRICS = ("dice", "iou", "precision", "recall", "specificity", "f1")
HISTORY_STEP = 10  # Table 5 prints every tenth epoch
PAPER_TEST = {  # Table 6: mean and SD per slice, 170 slices of 2 patients
    ("liver_only", "dice"): ".9157 ± .1223",
    ("tumor", "dice"): ".8103 ± .3037",
    ("liver_only", "iou"): ".8447 ± .0978",
    ("tumor", "iou"): ".6809 ± .2430",
    ("liver_only", "precision"): ".9200 ± .0800",
    ("tumor", "precision"): ".7800 ± .1800",
    ("liver_only", "recall"): ".9100 ± .0900",
    ("tumor", "recall"): ".8200 ± .2000",
    ("liver_only", "f1"): ".9150 ± .0850",
    ("tumor", "f1"): ".8000 ± .1900",
}
LITERATURE = (  # Table 8
    ("ResU-Net", "-", "83.00", "3D-IRCADb; the text claims 2 points over it, yet 83.00 > 81.03"),
    ("AIM-UNet", "97.86", "75.60", ""),
    ("AC-Net", "90.00", "80.00", "the text calls 91.57 just below it"),
    ("MA-cGAN", "96.20", "78.50", ""),
    ("HyborNet", "92.50", "55.50", ""),
    ("hybrid2d, as printed", "91.57", "81.03", "per slice, 2 test patients"),
)
LITERATURE_CAUTION = (
    "Literature rows are quoted from the paper. They come from other data, splits and units (slice,"
    " volume, pooled), so they cannot be ranked with each other or with the row measured here."
)
ABLATION_PAPER = {
    "neither": (".887", ".746"),
    "CLAHE": (NOT_DEFINED, NOT_DEFINED),
    "gamma": (NOT_DEFINED, NOT_DEFINED),
    "both": (".916", ".810"),
}


def data_table(sets: Sequence[SetFacts], context: str) -> Table:
    """Table 3: what each set holds, plural from the data."""
    total = sum(facts.volumes for facts in sets)
    rows = [_data_row(facts, total) for facts in sets]
    labeled, every = (sum(getattr(f, name) for f in sets) for name in ("labeled_slices", "slices"))
    return Table(
        key="table-3",
        title="Table 3. The data",
        columns=(
            "set",
            "volumes",
            "patients",
            "slices",
            "with liver or tumor",
            "with tumor",
            "tumor mL, least to most",
            "volume names",
        ),
        rows=rows,
        context=context,
        notes=(f"{every - labeled} of {every} slices show neither liver nor tumor.",),
        paper_notes=(
            "The paper drops such slices (2,847 of its 4,535).",
            "The paper: 8, 1 and 2 volumes with 1,350, 168 and 170 slices; which ones is not said.",
        ),
    )


def _data_row(facts: SetFacts, total: int) -> tuple[str, ...]:
    ml = sorted(facts.tumor_ml)
    return (
        facts.name,
        f"{facts.volumes} ({facts.volumes / total:.0%})" if total else "0",
        str(facts.patients),
        str(facts.slices),
        str(facts.labeled_slices),
        str(facts.tumor_slices),
        f"{ml[0]:.1f} to {ml[-1]:.1f}" if ml else NOT_DEFINED,
        " ".join(facts.names),
    )


def ablation_table(ablation: Mapping[str, Record], context: str) -> Table:
    """Table 4: the same training without and with parts of the preprocessing.

    ablation: name (neither, CLAHE, gamma, both, or another) -> summary of its evaluation.
    """
    rows = []
    for name, summary in ablation.items():
        liver, tumor = (
            summary["slices"]["labeled"][mask]["dice"]["agree"] for mask in ("liver_only", "tumor")
        )
        paper = ABLATION_PAPER.get(name, (NOT_DEFINED, NOT_DEFINED))
        rows.append((name, mean_sd(liver), mean_sd(tumor), *paper))
    return Table(
        key="table-4",
        title="Table 4. CLAHE and gamma, left out or not",
        columns=("preprocessing", "liver Dice", "tumor Dice", "paper: liver", "paper: tumor"),
        rows=rows,
        context=context,
        notes=(
            "The paper prints the first and the last row only, and its gains (3.3 %, 8.6 %) are"
            " relative: 2.9 and 6.4 points.",
        ),
    )


def history_table(history: Sequence[Record], context: str) -> Table:
    """Table 5: loss and validation Dice at every tenth epoch and at the best one."""
    best = min(range(len(history)), key=lambda n: history[n]["val_loss"])
    shown = sorted(
        {0, best, len(history) - 1, *range(HISTORY_STEP - 1, len(history), HISTORY_STEP)}
    )
    return Table(
        key="table-5",
        title="Table 5. Training, every tenth epoch",
        columns=("epoch", "train loss", "validation loss", "liver Dice", "tumor Dice", "rate"),
        rows=[
            (
                f"{n + 1}{' (least loss)' if n == best else ''}",
                number(history[n]["train_loss"], 4),
                number(history[n]["val_loss"], 4),
                number(history[n]["val_liver_dice"], 4),
                number(history[n]["val_tumor_dice"], 4),
                f"{history[n]['learning_rate']:.2e}",
            )
            for n in shown
        ],
        context=context,
        notes=("Dice here is pooled over all validation slices, the liver with its tumor.",),
        paper_notes=("The paper's epoch 98: .2931, .2766, .9382, .8226.",),
    )


def slice_table(summary: Record, context: str, *, labeled: bool = True) -> Table:
    """Table 6: per-slice metrics, all rules for empty slices side by side."""
    record = summary["slices"]["labeled" if labeled else "all"]
    rows = [
        (
            f"{METRIC_NAMES[metric]}, {shown}",
            *(_policy_cell(record[mask][metric], policy) for policy in EMPTY_POLICIES),
            number(summary["pooled"][mask][metric]),
            PAPER_TEST.get((mask, metric), NOT_DEFINED),
        )
        for metric in SLICE_METRICS
        for shown, mask in CLASS_ROWS
    ]
    if labeled:
        accuracy = summary["liver_against_tumor"]["pixel_accuracy_by_slice"]
        filler = [""] * (len(EMPTY_POLICIES) - 1)
        rows.append(("Pixel accuracy", mean_sd(accuracy), *filler, NOT_DEFINED, ".9920"))
    which = "slices with a label" if labeled else "all slices"
    return Table(
        key="table-6" if labeled else "table-6-all",
        title=f"Table 6. Per slice, mean ± SD over {record['slices']} {which}",
        columns=("metric, class", *_policy_heads(), "all voxels pooled", "paper"),
        rows=rows,
        context=context,
        notes=(*_policy_notes(record), *_slice_notes(labeled)),
    )


def _policy_cell(by_policy: Record, policy: str) -> str:
    """A metric that no rule changes has one value, which stands in the first column."""
    return mean_sd(by_policy[policy]) if policy in by_policy else ""


def _policy_heads() -> list[str]:
    return [f"rule “{policy}”" for policy in EMPTY_POLICIES]


def _policy_notes(record: Record) -> list[str]:
    rules = "; ".join(f"“{name}”: {text}" for name, text in EMPTY_POLICIES.items())
    groups = record["tumor"]["groups"]
    return [
        f"Rules for empty masks. {rules}. Precision, recall and F1 follow the same rules.",
        f"Tumor: {groups['both']} in truth and prediction, {groups['missed']} only in truth,"
        f" {groups['false']} only predicted, {groups['neither']} in neither.",
    ]


def _slice_notes(labeled: bool) -> list[str]:
    if not labeled:
        return ["Slices above and below the liver count here: false marks there lower the scores."]
    return [
        "Slices without liver and tumor are left out, as in the paper: false marks above and below"
        " the liver do not show here.",
        "The paper's IoU follows from its mean Dice (Eq. 16) and its IoU SDs are 0.8 of its Dice"
        " SDs; here IoU is computed slice by slice. F1 of pixels is Dice, slice by slice; the paper"
        " prints two different numbers for them.",
    ]


def validation_table(validation: Record, test: Record, context: str) -> Table:
    """Table 7: the validation scores beside those of the test."""
    rows = []
    for metric in ("dice", "iou"):
        for shown, mask in CLASS_ROWS:
            before, after = (
                record["slices"]["labeled"][mask][metric]["agree"] for record in (validation, test)
            )
            rows.append(
                (
                    f"{METRIC_NAMES[metric]}, {shown}",
                    mean_sd(before),
                    mean_sd(after),
                    _difference(before["mean"], after["mean"]),
                )
            )
    return Table(
        key="table-7",
        title="Table 7. Validation against test, per slice",
        columns=("metric, class", "validation", "test", "test - validation"),
        rows=rows,
        context=context,
        notes=(
            "Rule “agree”. The paper compares the best epoch's validation (.9382 and .8226) with"
            " its test (.9157 and .8103). Model and epoch were chosen on the validation set, so"
            " its scores are too good.",
        ),
    )


def _difference(before: float | None, after: float | None) -> str:
    return NOT_DEFINED if before is None or after is None else f"{after - before:+.3f}"


def literature_table(summary: Record, context: str) -> Table:
    """Table 8: what the paper quotes, with the row measured here under it."""
    dice = summary["slices"]["labeled"]
    liver, tumor = (dice[mask]["dice"]["agree"]["mean"] for mask in ("liver_only", "tumor"))
    counts = summary["counts"]
    here = (
        "this model, measured here",
        number(None if liver is None else 100 * liver, 2),
        number(None if tumor is None else 100 * tumor, 2),
        f"per slice, {plural(counts['patients'], 'patient')}",
    )
    return Table(
        key="table-8",
        title="Table 8. Quoted from the literature: not a ranking",
        columns=("method", "liver Dice, %", "tumor Dice, %", "caution"),
        rows=[*LITERATURE, here],
        context=context,
        notes=(LITERATURE_CAUTION,),
    )


def statistics_table(summary: Record, context: str) -> Table:
    """Section 1.8 of the spec: the paper's slice bootstrap, and the one by patient beside it."""
    rows = []
    for shown, mask in CLASS_ROWS:
        for policy in policies_of("dice"):
            dice = summary["slices"]["labeled"][mask]["dice"][policy]
            rows.append(
                (
                    f"{shown}, “{policy}”",
                    number(dice["mean"]),
                    interval(dice["interval_by_element"]),
                    interval(dice["interval_by_patient"]),
                )
            )
    test = summary["liver_against_tumor"]["paired_t_by_slice"]
    return Table(
        key="statistics",
        title="How sure: 95 % intervals of the mean Dice per slice",
        columns=("class, rule", "mean", "slices drawn (paper)", "patients drawn"),
        rows=rows,
        context=context,
        notes=(
            "1,000 resamples, seed 42. Drawing slices takes neighbors of one patient for"
            " independent: the interval is far too narrow. Drawing patients is the honest one.",
            f"Paired t-test by slice, liver (class 1) against tumor Dice, as the paper: t ="
            f" {number(test['statistic'], 2)}, {p_value(test['p'])}, n = {test['n']} slices. It"
            " answers no clinical question.",
        ),
    )
