"""Figures 2, 9, 10 and 11, and failures: slices of cases, their truth and what was predicted.

Dice printed on a slice is of that slice alone. "Liver" is the liver with its tumors, as LiTS counts
it; a mask that is empty in truth and prediction has no Dice and says so.
"""

from __future__ import annotations

import math

import numpy as np
from LiverTumorSegLib.labels import Label
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from training.reports.panels import (
    BoxMm,
    around,
    bare,
    body,
    corner_label,
    frame_panel,
    height_over_width,
    outline,
    overlay,
    scale_bar,
    show_ct,
    show_labels,
    side_letters,
)
from training.reports.slices_to_show import NotDrawn, Slices, SliceView
from training.reports.style import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    INK,
    LIVER,
    SMALL,
    SOFT,
    TUMOR,
    TUMOR_ON_WHITE,
    foot_legend,
    page,
)
from training.score.summary import Record, basis
from training.score.voxels import Mask

ROWS_OF_FIGURE_9, CASES_OF_FIGURE_10 = 3, 6
Pixels = NDArray[np.bool_]


def draw_sample(summary: Record, slices: Slices) -> Figure:
    """Figure 2: one slice in four panels: CT, overlay, liver mask, tumor mask."""
    view = slices.sample()
    box = body(view)
    figure = page(
        "One slice and its truth",
        "The tumor is a part of the liver; the liver mask holds both.",
        f"Case {view.case}, slice {view.slice_index}: of the {len(slices.views)} slices of these"
        f" figures the one that shows most of both. {basis(summary)}",
        0.35 + 2.35 * height_over_width(box),
        number=2,
        legend_rows=1,
    )
    panels = figure.subplots(1, 4)
    titles = ("CT", "Liver and tumor", "Liver mask", "Tumor mask")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title)
        frame_panel(axes, box)
    show_ct(panels[0], view, box)
    show_ct(panels[1], view, box)
    show_labels(panels[1], view, view.true)
    for axes, mask, color in zip(panels[2:], _masks(view.true), (LIVER, TUMOR), strict=True):
        overlay(axes, view, mask, color, 1.0)
    side_letters(panels[0])
    scale_bar(panels[0], box)
    foot_legend(figure, _label_patches(), 2)
    return figure


def draw_masks(summary: Record, slices: Slices) -> Figure:
    """Figure 9: three cases in five columns, Dice printed on the predictions."""
    views = slices.some_views(ROWS_OF_FIGURE_9)
    figure = page(
        "Liver and tumor, truth against prediction",
        "The masks lie on a darkened CT; a thin white line on a prediction is the outline of the"
        " truth. The liver holds its tumors. Dice is of the slice shown.",
        _chosen(len(views), summary),
        0.3 + 1.9 * len(views),
        number=9,
    )
    grid = figure.subplots(len(views), 5, squeeze=False)
    headings = ("CT", "True liver", "True tumor", "Predicted liver", "Predicted tumor")
    for axes, heading in zip(grid[0], headings, strict=True):
        axes.set_title(heading)
    for row, view in zip(grid, views, strict=True):
        _mask_row(row, view)
    return figure


def _mask_row(row: NDArray[np.object_], view: SliceView) -> None:
    box = around(view, [view.true > 0, view.predicted > 0])
    row[0].set_ylabel(view.label(16))
    for axes in row:
        show_ct(axes, view, box, dim=0.0 if axes is row[0] else 0.6)
    scale_bar(row[0], box)
    true, predicted = _masks(view.true), _masks(view.predicted)
    names: tuple[Mask, ...] = ("liver", "tumor")
    for n, color in enumerate((LIVER, TUMOR)):
        overlay(row[1 + n], view, true[n], color, 0.9)
        overlay(row[3 + n], view, predicted[n], color, 0.9)
        outline(row[3 + n], view, true[n], (1.0, 1.0, 1.0), linewidths=0.9)
        corner_label(row[3 + n], _dice_text(view, names[n]))


def draw_overlays(summary: Record, slices: Slices) -> Figure:
    """Figure 10: six cases, truth above, prediction below; green liver, red tumor."""
    views = slices.some_views(CASES_OF_FIGURE_10)
    figure = page(
        "Truth above, prediction below",
        "Dice is of the slice shown, which is the case's slice with most tumor.",
        _chosen(len(views), summary),
        3.75,
        number=10,
        legend_rows=1,
    )
    grid = figure.subplots(2, CASES_OF_FIGURE_10, squeeze=False)
    for column in range(CASES_OF_FIGURE_10):
        if column >= len(views):
            for axes in grid[:, column]:
                axes.set_axis_off()
            continue
        _overlay_column(grid[:, column], views[column])
    grid[0, 0].set_ylabel("truth")
    grid[1, 0].set_ylabel("prediction")
    foot_legend(figure, _label_patches(), 2)
    return figure


def _overlay_column(column: NDArray[np.object_], view: SliceView) -> None:
    box = around(view, [view.true > 0, view.predicted > 0])
    for axes, labels in zip(column, (view.true, view.predicted), strict=True):
        show_ct(axes, view, box)
        show_labels(axes, view, labels)
    scale_bar(column[0], box)
    column[0].set_title(view.label(11), size=SMALL, loc="center")
    liver, tumor = _two_digits(view.dice("liver")), _two_digits(view.dice("tumor"))
    column[1].set_xlabel(f"liver Dice {liver}\ntumor Dice {tumor}", size=SMALL)


def draw_errors(summary: Record, slices: Slices) -> Figure:
    """Figure 11: slices from the best to the worst tumor Dice, with a map of the errors.

    The classes are nested, background < liver < tumor: a pixel with too high a class is a false
    positive, one with too low a class a false negative, so liver and tumor share one map.
    """
    if not slices.ranked:
        raise NotDrawn("No errors to show: none of the scored slices has a tumor in its truth.")
    rows = list(slices.ranked.items())
    figure = page(
        "Where the prediction is wrong, from the best slice to the worst",
        "Yellow: called liver or tumor, and is not (or called tumor, and is liver). Blue: liver or"
        " tumor that was missed. Lines: outlines of the true liver and tumor.",
        f"{len(rows)} of {slices.ranked_of} slices with tumor: the best, the quartiles and the"
        f" worst by the tumor Dice of the slice. {basis(summary)}",
        0.3 + 2.08 * len(rows),
        number=11,
        legend_rows=1,
    )
    grid = figure.subplots(len(rows), 4, squeeze=False)
    for axes, heading in zip(grid[0], ("CT", "Truth", "Prediction", "Errors"), strict=True):
        axes.set_title(heading)
    for row, (rank, view) in zip(grid, rows, strict=True):
        _error_row(row, rank, view)
    patches = [
        Patch(color=FALSE_POSITIVE, label="false positive"),
        Patch(color=FALSE_NEGATIVE, label="false negative"),
        *_label_patches(),
    ]
    foot_legend(figure, patches, 4)
    return figure


def _error_row(row: NDArray[np.object_], rank: str, view: SliceView) -> None:
    box = around(view, [view.true > 0, view.predicted > 0])
    for axes in row[:3]:
        show_ct(axes, view, box)
    show_labels(row[1], view, view.true)
    show_labels(row[2], view, view.predicted)
    draw_error_map(row[3], view, box)
    scale_bar(row[0], box)
    dice = _two_digits(view.dice("tumor"))
    row[0].set_ylabel(
        f"{rank}\ntumor Dice {dice}\n\n{view.label(14)}",
        rotation=0,
        ha="right",
        va="center",
        linespacing=1.3,
    )


def draw_failures(summary: Record, slices: Slices) -> Figure:
    """The worst volumes as outlines alone: no pixel of a CT, so that any page may show them."""
    if not slices.failures:
        raise NotDrawn("No failures to show: no scored volume has a wrong voxel of tumor.")
    columns = 3
    rows = -(-len(slices.failures) // columns)
    figure = page(
        "Where it fails, in outlines",
        "Gray: outline of the true liver. Red, filled: true tumor. Black, dashed: what was marked.",
        f"The {len(slices.failures)} of {summary['counts']['volumes']} volumes with the lowest"
        f" tumor Dice, the worst first; of each its slice with most wrong tumor. {basis(summary)}",
        0.3 + 4.0 * rows,
        legend_rows=1,
    )
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        bare(axes)
    for axes, view in zip(grid, slices.failures, strict=False):
        _outlines_alone(axes, view)
    handles = [
        Patch(facecolor=(*TUMOR, 0.35), edgecolor=TUMOR_ON_WHITE, label="true tumor"),
        Line2D([], [], color=INK, ls="--", label="marked as tumor"),
        Line2D([], [], color=SOFT, label="true liver"),
    ]
    foot_legend(figure, handles, 3)
    return figure


def _outlines_alone(axes: Axes, view: SliceView) -> None:
    box = around(view, [view.true > 0, view.predicted == Label.TUMOR])
    frame_panel(axes, box)
    axes.set_facecolor("white")
    liver, tumor = _masks(view.true)
    marked = view.predicted == Label.TUMOR
    overlay(axes, view, tumor, TUMOR, 0.35)
    outline(axes, view, liver, SOFT, linewidths=1.0)
    outline(axes, view, tumor, TUMOR_ON_WHITE, linewidths=1.2)
    outline(axes, view, marked, INK, linewidths=1.4, linestyles="--")
    pixel_cm2 = view.spacing_ji_mm[0] * view.spacing_ji_mm[1] / 100
    missed, false = (np.count_nonzero(m) * pixel_cm2 for m in (tumor & ~marked, marked & ~tumor))
    axes.set_title(view.label(24))
    axes.set_xlabel(f"missed {missed:.1f} cm², falsely marked {false:.1f} cm²", size=SMALL)


def draw_error_map(axes: Axes, view: SliceView, box: BoxMm) -> None:
    """False positives yellow, false negatives blue, over a darkened CT."""
    show_ct(axes, view, box, dim=0.45)
    overlay(axes, view, view.predicted > view.true, FALSE_POSITIVE, 0.95)
    overlay(axes, view, view.predicted < view.true, FALSE_NEGATIVE, 0.95)
    for mask, color in zip(_masks(view.true), (LIVER, TUMOR), strict=True):
        outline(axes, view, mask, color, linewidths=1.0)


def _masks(labels: NDArray[np.uint8]) -> tuple[Pixels, Pixels]:
    """Liver with tumor, and tumor."""
    return labels >= Label.LIVER, labels == Label.TUMOR


def _dice_text(view: SliceView, mask: Mask) -> str:
    value = view.dice(mask)
    return "none, as in truth" if math.isnan(value) else f"Dice {_two_digits(value)}"


def _two_digits(value: float) -> str:
    return "no Dice" if math.isnan(value) else f"{value:.2f}"


def _chosen(shown: int, summary: Record) -> str:
    return (
        f"{shown} of {summary['counts']['volumes']} volumes: of each its slice with most tumor, the"
        " cases spread evenly from the best tumor Dice of that slice to the worst."
        f" {basis(summary)}"
    )


def _label_patches() -> list[Patch]:
    return [Patch(color=LIVER, label="liver"), Patch(color=TUMOR, label="tumor")]
