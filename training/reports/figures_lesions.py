"""Plots of lesions and tumor volumes: found by size, confidence, Bland-Altman of their volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from training.reports.slices_to_show import NotDrawn
from training.reports.style import FAINT, INK, NORMAL, SOFT, TRAINING, VALIDATION, page
from training.score.summary import Record, basis
from training.score.voxels import Counts
from training.score.words import plural

SMALL_MM, LARGE_MM = 10.0, 20.0
SIZE_NAMES = ("under 10 mm", "10 to 20 mm", "over 20 mm")
LEAST_FOR_LIMITS = 3  # volumes: two differences have a spread, but it says nothing


def draw_lesions(summary: Record) -> Figure:
    """Lesions found and missed by size, and the Dice of each against its diameter."""
    lesions = summary["lesions"]["true"]
    if not lesions:
        raise NotDrawn("No lesion to show: none of the scored volumes has a tumor in its truth.")
    found = sum(lesion["found"] for lesion in lesions)
    figure = page(
        "Which lesions are found",
        "Every lesion of the truth, by the diameter of the sphere of its volume. Found: a predicted"
        " tumor overlaps it.",
        f"{found} of {plural(len(lesions), 'lesion')} found. {basis(summary)}",
        4.0,
    )
    bars, scatter = figure.subplots(1, 2)
    _draw_found(bars, lesions)
    _draw_sizes(scatter, lesions)
    return figure


def size_bin(diameter_mm: float) -> int:
    """0 under 10 mm, 1 from 10 to 20 mm, 2 over 20 mm."""
    return int(diameter_mm >= SMALL_MM) + int(diameter_mm > LARGE_MM)


def _draw_found(axes: Axes, lesions: Sequence[Record]) -> None:
    found, total = np.zeros(3, int), np.zeros(3, int)
    for lesion in lesions:
        place = size_bin(lesion["diameter_mm"])
        total[place] += 1
        found[place] += lesion["found"]
    _draw_shares(axes, found, total, ("found", "missed"))
    axes.set_xticks(np.arange(3), SIZE_NAMES, size=NORMAL)
    axes.set_xlabel("diameter of the lesion")
    axes.set_title("Found and missed, by size")
    _legend_below(axes)


def _draw_shares(axes: Axes, found: Counts, total: Counts, names: tuple[str, str]) -> None:
    """A bar for each count, its lower part what was found. names: of the parts, lower first."""
    places = np.arange(len(total))
    axes.bar(places, found, 0.62, color=TRAINING, label=names[0])
    some = total > found  # a bar of height 0 would still draw its edge
    if some.any():  # a legend of no bar would be in another color
        axes.bar(
            places[some],
            (total - found)[some],
            0.62,
            bottom=found[some],
            color="white",
            edgecolor=VALIDATION,
            hatch="///",
            label=names[1],
        )
    for n in places:
        share = f"\n({found[n] / total[n]:.0%})" if total[n] else ""
        text = f"{found[n]} of {total[n]}{share}" if total[n] else "none"
        axes.text(
            float(n), total[n] + 0.02 * total.max(), text, ha="center", va="bottom", size=NORMAL
        )
    axes.set_xlim(-0.6, len(total) - 0.4)
    axes.set_ylim(0, total.max() * 1.25)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(False, axis="x")
    axes.set_ylabel("lesions")


def _draw_sizes(axes: Axes, lesions: Sequence[Record]) -> None:
    for found, style, name in (
        (True, {"marker": "o", "color": TRAINING, "alpha": 0.75}, "found"),
        (False, {"marker": "x", "color": VALIDATION}, "missed"),
    ):
        part = [lesion for lesion in lesions if lesion["found"] == found]
        axes.plot(
            [lesion["diameter_mm"] for lesion in part],
            [lesion["dice"] for lesion in part],
            ls="",
            markersize=6.5,
            markeredgewidth=1.6 if not found else 0.0,
            label=f"{name}, n = {len(part)}",
            clip_on=False,
            in_layout=False,  # without points it would lie in the page's corner
            zorder=4,
            **style,
        )
    for edge in (SMALL_MM, LARGE_MM):
        axes.axvline(edge, color=SOFT, lw=1, ls=":")
    axes.set_xscale("log")
    _diameter_ticks(axes, [lesion["diameter_mm"] for lesion in lesions])
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("diameter in mm (logarithmic)")
    axes.set_ylabel("Dice of the lesion (0 to 1)")
    axes.set_title("How well each is outlined")
    _legend_below(axes)


def _legend_below(axes: Axes) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False)


def _diameter_ticks(axes: Axes, diameters_mm: Sequence[float]) -> None:
    low, high = min(*diameters_mm, SMALL_MM) / 1.25, max(*diameters_mm, LARGE_MM) * 1.25
    axes.set_xlim(low, high)
    steps = [m * 10.0**e for e in range(-1, 4) for m in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator([x for x in steps if low <= x <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw_confidence(summary: Record) -> Figure:
    """Each predicted lesion's confidence against its true share, and how many touch a true one."""
    lesions = summary["lesions"]["predicted"]
    if summary["lesion_confidence"] is None:
        raise NotDrawn(
            "No confidence of lesions: this model's file holds none; training.tune fits it."
        )
    if not lesions:
        raise NotDrawn("No predicted lesion to show: the model marked no tumor in these volumes.")
    touching = sum(lesion["true_share"] > 0 for lesion in lesions)
    figure = page(
        "How sure the model is of each lesion",
        "Confidence: the share of a lesion's voxels that the model expects to be tumor. True share:"
        " the share that is. On the diagonal it expects what comes true; below it is too sure.",
        f"{plural(len(lesions), 'predicted lesion')}, {touching} of them"
        f" {'touches' if touching == 1 else 'touch'} a true lesion. {basis(summary)}",
        4.3,
    )
    dots, bars = figure.subplots(1, 2)
    _draw_confidences(dots, lesions)
    _draw_touching(bars, summary["lesion_confidence"]["bins"])
    return figure


def _draw_confidences(axes: Axes, lesions: Sequence[Record]) -> None:
    axes.plot([0, 1], [0, 1], "--", color=SOFT, lw=1.2, label="confidence = true share")
    for touches, fill, name in ((True, TRAINING, "touches"), (False, "white", "does not touch")):
        part = [lesion for lesion in lesions if (lesion["true_share"] > 0) == touches]
        axes.plot(
            [lesion["confidence"] for lesion in part],
            [lesion["true_share"] for lesion in part],
            "o",
            color=TRAINING if touches else VALIDATION,
            markerfacecolor=fill,
            markersize=7,
            markeredgewidth=1.6,
            alpha=0.8,
            label=f"{name} a true lesion, n = {len(part)}",
            clip_on=False,
            in_layout=False,  # without points it would lie in the page's corner
            zorder=4,
        )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("confidence (0 to 1)")
    axes.set_ylabel("true share (0 to 1)")
    axes.set_title("Each predicted lesion")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)


def _draw_touching(axes: Axes, bins: Sequence[Record]) -> None:
    touching, total = (np.array([part[name] for part in bins]) for name in ("touching", "lesions"))
    _draw_shares(axes, touching, total, ("touch a true lesion", "do not"))
    names = [f"{part['low']:g} to {part['high']:g}" for part in bins]
    axes.set_xticks(np.arange(len(names)), names, size=NORMAL)
    axes.set_xlabel("confidence")
    axes.set_title("How many touch a true lesion")
    _legend_below(axes)


def draw_bland_altman(summary: Record) -> Figure:
    """Tumor volume and tumor burden: the difference to the truth against the mean of both."""
    cases, limits = summary["cases"], summary["burden"]
    volumes_ml = [_pair(case["tumor_ml"]) for case in cases]
    burdens = [_pair(case["burden_percent"]) for case in cases]
    burdens = [pair for pair in burdens if None not in pair]
    left_out = len(cases) - len(burdens)
    figure = page(
        "Tumor volume and tumor burden against the truth",
        "Bland-Altman: above 0 the prediction holds more tumor than the truth, below 0 less. About"
        " 95 % of volumes like these are expected between the limits of agreement.",
        (
            f"{plural(left_out, 'volume')} without a liver and so without a burden. "
            if left_out
            else ""
        )
        + basis(summary),
        4.0,
    )
    volume, burden = figure.subplots(1, 2)
    _draw_differences(volume, volumes_ml, limits["tumor_ml"], ("tumor volume", "ml"))
    _draw_differences(burden, burdens, limits["percent"], ("tumor burden", "% of the liver"))
    return figure


def _pair(values: Record) -> tuple[Any, Any]:
    return values["true"], values["predicted"]


def _draw_differences(
    axes: Axes, values: Sequence[tuple[Any, Any]], limits: Record, shown: tuple[str, str]
) -> None:
    """values: true and predicted. limits: of agreement, by the record. shown: quantity, unit."""
    pairs, (quantity, unit) = np.array(values, np.float64).reshape(-1, 2), shown
    axes.set_title(f"{quantity.capitalize()}, n = {len(pairs)}")
    axes.set_xlabel(f"mean of truth and prediction ({unit})")
    axes.set_ylabel(f"prediction minus truth ({unit})")
    axes.axhline(0, color=INK, lw=1)
    if len(pairs) == 0:
        return
    differences = pairs[:, 1] - pairs[:, 0]
    axes.plot(
        pairs.mean(axis=1),
        differences,
        "o",
        color=TRAINING,
        markersize=7,
        markeredgecolor="white",
        label="a volume",
        clip_on=False,
        in_layout=False,
        zorder=4,
    )
    if len(pairs) >= LEAST_FOR_LIMITS:
        _draw_limits(axes, limits)
    axes.set_xlim(0, max(1e-3, 1.06 * float(pairs.mean(axis=1).max())))
    axes.margins(y=0.08)
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.14), frameon=False)


def _draw_limits(axes: Axes, limits: Record) -> None:
    """Bias with 95 % limits of agreement (Bland and Altman 1986)."""
    bias, low, high = limits["bias"], limits["low"], limits["high"]
    axes.axhspan(low, high, color=FAINT, alpha=0.35, lw=0)
    axes.axhline(bias, color=VALIDATION, label=f"mean difference {bias:+.3g}")
    text = (
        f"limits of agreement {low:+.3g} and {high:+.3g}\n"
        f"(each \N{PLUS-MINUS SIGN} {limits['limit_error']:.2g}, 95 % confidence)"
    )
    axes.axhline(low, color=VALIDATION, ls="--", lw=1.3, label=text)
    axes.axhline(high, color=VALIDATION, ls="--", lw=1.3)
