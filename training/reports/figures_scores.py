"""Figure 8 and what goes with it voxel by voxel: confusion, calibration, Dice of each patient.

The confusion matrix is of all voxels in one pot; so is the calibration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from training.reports.slices_to_show import NotDrawn
from training.reports.style import (
    INK,
    LIVER_ON_WHITE,
    NORMAL,
    SMALL,
    SOFT,
    TRAINING,
    TUMOR_ON_WHITE,
    VALIDATION,
    counted,
    foot_legend,
    page,
    short_ticks,
)
from training.score.calibration import REGION, Calibration
from training.score.statistics import CONFIDENCE
from training.score.summary import Record, basis
from training.score.voxels import Counts, Floats, Mask
from training.score.words import plural

CLASS_NAMES = ("background", "liver", "tumor")  # LiTS numbers 0, 1, 2
DOTS: dict[Mask, tuple[str, str, str]] = {  # color, marker, name
    "liver": (LIVER_ON_WHITE, "o", "liver with tumor"),
    "tumor": (TUMOR_ON_WHITE, "s", "tumor"),
}
NAMED_PATIENTS = 45  # more than that: every second, third ... is named


def draw_confusion(summary: Record) -> Figure:
    """Figure 8: the 3 x 3 confusion of all voxels, as counts and as shares of each true class."""
    matrix = np.asarray(summary["pooled"]["matrix"])
    figure = page(
        "Which class was taken for which",
        "Rows are the true classes, columns the predicted ones; the diagonal is right, and each row"
        " on the right adds up to 100 %. Here the liver is the liver without its tumors.",
        f"{counted(matrix.sum())} voxels. {basis(summary)}",
        4.1,
        number=8,
    )
    counts, shares = figure.subplots(1, 2)
    norm = LogNorm(1, max(10, int(matrix.max())), clip=True)  # the tumor is rare: powers of ten
    _heat(counts, matrix, [[counted(v) for v in row] for row in matrix], norm)
    counts.set_title("Voxels")
    percent = row_percent(matrix)
    _heat(shares, percent, [[_percent(v) for v in row] for row in percent], Normalize(0, 100))
    shares.set_title("Percent of each true class")
    return figure


def row_percent(matrix: Counts) -> Floats:
    """Each row of a matrix in percent of its sum; NaN for a class that the truth lacks."""
    totals = matrix.sum(axis=1, keepdims=True)
    result: Floats = np.full(matrix.shape, np.nan)
    np.divide(100.0 * matrix, totals, out=result, where=totals > 0)
    return result


def _percent(value: float) -> str:
    if math.isnan(value):
        return "none in truth"
    return f"{value:.2f} %" if value >= 0.005 or value == 0 else "< 0.01 %"


def _heat(
    axes: Axes, values: Floats | Counts, texts: Sequence[Sequence[str]], norm: Normalize
) -> None:
    """A 3 x 3 heat map with a text in each cell, dark on light and light on dark."""
    axes.imshow(values, cmap="Blues", norm=norm)
    places = range(len(CLASS_NAMES))
    axes.set_xticks(places, CLASS_NAMES)
    axes.set_yticks(places, CLASS_NAMES, rotation=90, va="center")
    axes.tick_params(length=0, labelsize=NORMAL)
    axes.grid(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    for row in places:
        for column in places:
            value = values[row, column]
            dark = bool(np.isfinite(value)) and norm(value) > 0.55
            axes.text(
                column,
                row,
                texts[row][column],
                ha="center",
                va="center",
                size=NORMAL + 1 if len(texts[row][column]) < 11 else SMALL,
                color="white" if dark else INK,
                weight="bold" if row == column else "normal",
            )


def draw_calibration(summary: Record) -> Figure:
    """Reliability of the predicted tumor probability, and how many voxels each bin holds."""
    record = summary["calibration"]
    bins = record and Calibration.from_record(record)
    if bins is None or not bins.counts.sum():
        raise NotDrawn("No tumor probabilities were collected: score a volume that shows liver.")
    figure = page(
        "Can the tumor probability be believed?",
        "Of the voxels that were given a probability of 0.7, seven in ten should be tumor: points"
        " on the diagonal. Below it the model is too sure, above it not sure enough.",
        f"{counted(bins.counts.sum())} voxels {REGION}, {counted(bins.truth_sums.sum())} of them"
        f" tumor.{_without_lowest(bins)} {basis(summary)}",
        4.1,
    )
    reliability, histogram = figure.subplots(1, 2)
    _draw_reliability(reliability, bins)
    _draw_counts(histogram, bins)
    for axes in (reliability, histogram):
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("predicted probability of tumor (0 to 1)")
    return figure


def _without_lowest(bins: Calibration) -> str:
    """Most voxels lie in the bin next to 0; what the error is beyond it."""
    rest = bins.ece(first_bin=1)
    if math.isnan(rest):
        return ""
    return f" Over probabilities from {bins.edges[1]:.2g} on, the calibration error is {rest:.3f}."


def _draw_reliability(axes: Axes, bins: Calibration) -> None:
    used = bins.counts > 0
    x, y = bins.confidence[used], bins.frequency[used]
    axes.plot([0, 1], [0, 1], "--", color=SOFT, lw=1.2, label="perfect calibration")
    axes.vlines(x, x, y, color=VALIDATION, lw=3, alpha=0.45, label="gap")
    axes.plot(x, y, "o-", color=TRAINING, markersize=6, label="observed, bin by bin")
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_ylabel("share that is tumor in truth (0 to 1)")
    axes.set_title(f"Expected calibration error {bins.ece():.4f}")
    axes.legend(loc="upper left")


def _draw_counts(axes: Axes, bins: Calibration) -> None:
    axes.bar(
        bins.edges[:-1],
        bins.counts,
        np.diff(bins.edges),
        align="edge",
        color=TRAINING,
        edgecolor="white",
    )
    axes.set_yscale("log")
    axes.set_ylim(0.7, 3.0 * float(bins.counts.max()))
    axes.yaxis.set_major_formatter(short_ticks())
    axes.grid(False, axis="x")
    axes.set_ylabel("voxels (logarithmic)")
    axes.set_title("How many voxels each bin holds")


def draw_patients(summary: Record) -> Figure:
    """Dice of each patient as dots, and each mask's mean with its bootstrap interval."""
    rows = sorted(_dice_of_patients(summary["cases"]), key=_tumor_then_liver)
    figure = page(
        "Dice of each patient",
        "1 is full agreement, 0 none. A dot is one patient, the best tumor Dice on top; a line with"
        " its band is the mean over patients with its confidence interval.",
        f"{plural(len(rows), 'patient')}, {_with_tumor(rows)} with a tumor Dice. {basis(summary)}",
        0.8 + 0.21 * min(max(len(rows), 8), NAMED_PATIENTS),
        legend_rows=len(DOTS),
    )
    axes = figure.subplots()
    for mask in DOTS:
        _draw_dots(axes, rows, mask)
    for mask in DOTS:
        _draw_interval(axes, summary, mask)
    step = math.ceil(len(rows) / NAMED_PATIENTS)
    axes.yaxis.set_major_locator(FixedLocator(range(0, len(rows), step)))
    axes.set_yticklabels([row.patient for row in rows[::step]])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("Dice (0 to 1)")
    axes.set_ylabel("patient")
    axes.grid(False, axis="x")
    handles, _ = axes.get_legend_handles_labels()
    dots, lines = handles[: len(DOTS)], handles[len(DOTS) :]
    foot_legend(figure, [*dots, *lines], 2 if lines else 1)
    return figure


@dataclass(frozen=True)
class PatientDice:
    """Mean Dice of one patient's volumes, by mask; NaN where all are empty of it."""

    patient: str
    dice: Mapping[Mask, float]


def _dice_of_patients(cases: Sequence[Record]) -> list[PatientDice]:
    of_patient: dict[str, list[Record]] = {}
    for case in cases:
        of_patient.setdefault(case["patient"], []).append(case["dice"])
    return [
        PatientDice(patient, {mask: _mean([dice[mask] for dice in several]) for mask in DOTS})
        for patient, several in of_patient.items()
    ]


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def _draw_dots(axes: Axes, rows: Sequence[PatientDice], mask: Mask) -> None:
    color, marker, name = DOTS[mask]
    values = np.array([row.dice[mask] for row in rows])
    known = np.isfinite(values)
    axes.plot(
        values[known],
        np.flatnonzero(known),
        marker,
        color=color,
        markersize=6.5,
        markeredgecolor="white",
        markeredgewidth=0.8,
        label=f"{name}, n = {known.sum()}",
        clip_on=False,
        in_layout=False,
        zorder=4,
    )


def _draw_interval(axes: Axes, summary: Record, mask: Mask) -> None:
    """Nothing where one patient alone has the mask: there is no interval then."""
    statistics = summary["volumes"][mask]["dice"]["skip"]
    mean, bounds = statistics["mean"], statistics["interval_by_patient"]
    if not bounds:
        return
    color, _, name = DOTS[mask]
    low, high = bounds
    text = f"{name}: mean {mean:.3f} ({CONFIDENCE:.0%} CI {low:.3f} to {high:.3f})"
    axes.axvline(mean, color=color, lw=1.4, label=text)
    axes.axvspan(low, high, color=color, alpha=0.13, lw=0)


def _tumor_then_liver(row: PatientDice) -> tuple[bool, float, float]:
    """Rising, for an axis that runs upward; patients without a tumor Dice at the bottom."""
    tumor, liver = row.dice["tumor"], row.dice["liver"]
    known = math.isfinite(tumor)
    return known, tumor if known else 0.0, liver if math.isfinite(liver) else 0.0


def _with_tumor(rows: Sequence[PatientDice]) -> int:
    return sum(math.isfinite(row.dice["tumor"]) for row in rows)
