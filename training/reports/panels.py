"""CT slices as panels of a figure, in millimeters: gray image, tints, outlines, scale bar.

box_mm = around(view, [view.true > 0])
show_ct(axes, view, box_mm)
show_labels(axes, view, view.true)
scale_bar(axes, box_mm)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.overview.views import Plane, body_extent, choose_window
from matplotlib import patheffects
from matplotlib.axes import Axes
from numpy.typing import NDArray

from training.reports.slices_to_show import SliceView
from training.reports.style import LIVER, SMALL, TUMOR, Color

BoxMm = tuple[float, float, float, float]  # left, top, right, bottom


def show_ct(axes: Axes, view: SliceView, box_mm: BoxMm | None = None, dim: float = 0.0) -> None:
    """The CT of a slice in millimeters, gray, in the window the overview uses.

    box_mm: the part to show. dim: share of black laid over, so that colors on it stand out.
    """
    low, high = choose_window([_plane(view)])
    axes.imshow(
        np.clip(view.hu, low, high) * (1 - dim) + low * dim,
        cmap="gray",
        vmin=low,
        vmax=high,
        extent=_extent(view),
        interpolation="bilinear",
    )
    frame_panel(axes, box_mm or whole(view))


def frame_panel(axes: Axes, box_mm: BoxMm) -> None:
    """Show this part of a plane on black, without ticks."""
    axes.set_xlim(box_mm[0], box_mm[2])
    axes.set_ylim(box_mm[3], box_mm[1])
    axes.set_aspect("equal")
    bare(axes)
    axes.set_facecolor("black")


def bare(axes: Axes) -> None:
    """No ticks, no grid, no frame: a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def overlay(
    axes: Axes, view: SliceView, mask: NDArray[np.bool_], color: Color, alpha: float = 0.35
) -> None:
    """A mask ``(j, i)`` of a slice as a tint of one color."""
    tint = np.zeros((*mask.shape, 4), np.float32)
    tint[mask] = (*color, alpha)
    axes.imshow(tint, extent=_extent(view), interpolation="nearest")


def outline(
    axes: Axes, view: SliceView, mask: NDArray[np.bool_], color: Color | str, **style: Any
) -> None:
    """The outline of a mask ``(j, i)``, between the pixels; nothing for an empty mask."""
    if not mask.any():
        return
    rows, columns = (np.arange(-1, n + 1) + 0.5 for n in mask.shape)
    row_mm, column_mm = view.spacing_ji_mm
    axes.contour(
        columns * column_mm,
        rows * row_mm,
        np.pad(mask, 1).astype(np.float32),
        levels=[0.5],
        colors=[color],
        **{"linewidths": 1.3, **style},
    )


def show_labels(axes: Axes, view: SliceView, labels: NDArray[np.uint8]) -> None:
    """Liver green and tumor red over a CT: tints with outlines."""
    overlay(axes, view, labels == Label.LIVER, LIVER, 0.28)
    overlay(axes, view, labels == Label.TUMOR, TUMOR, 0.45)
    outline(axes, view, labels >= Label.LIVER, LIVER)
    outline(axes, view, labels == Label.TUMOR, TUMOR)


def scale_bar(axes: Axes, box_mm: BoxMm) -> None:
    """A white bar of a round length at the lower right of a CT panel."""
    left, top, right, bottom = box_mm
    length = 50.0 if right - left > 160 else 20.0
    x, y = right - 0.05 * (right - left), bottom - 0.06 * (bottom - top)
    halo = [patheffects.withStroke(linewidth=4.5, foreground="black")]
    axes.plot([x - length, x], [y, y], color="white", lw=2.5, path_effects=halo, zorder=5)
    label(axes, x, y - 0.02 * (bottom - top), f"{length:g} mm", ha="right")


def label(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """White text on a CT, legible over any gray."""
    halo = [patheffects.withStroke(linewidth=2.2, foreground="black")]
    style = {"color": "white", "size": SMALL, "va": "bottom", "path_effects": halo, **style}
    axes.text(x, y, text, **style)


def corner_label(axes: Axes, text: str) -> None:
    """White text at the upper left of a CT panel."""
    label(axes, 0.03, 0.97, text, transform=axes.transAxes, va="top")


def side_letters(axes: Axes) -> None:
    """R at the left: a slice is seen from the feet, so the patient's right is on the left."""
    label(axes, 0.02, 0.5, "R", transform=axes.transAxes, va="center")
    label(axes, 0.98, 0.5, "L", transform=axes.transAxes, va="center", ha="right")


def whole(view: SliceView) -> BoxMm:
    """All of a slice."""
    _, right, bottom, _ = _extent(view)
    return 0.0, 0.0, right, bottom


def height_over_width(box: BoxMm) -> float:
    return (box[3] - box[1]) / (box[2] - box[0])


def body(view: SliceView, *, square: bool = False) -> BoxMm:
    """The body with its labels and a margin, no more than the slice unless it is made square."""
    left, top, right, bottom = body_extent([_plane(view)])
    _, _, last, lowest = whole(view)
    left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, last), min(bottom, lowest)
    return _square((left, top, right, bottom)) if square else (left, top, right, bottom)


def around(view: SliceView, masks: Sequence[NDArray[np.bool_]], margin_mm: float = 18.0) -> BoxMm:
    """A square in millimeters around masks ``(j, i)``; the whole slice when all are empty."""
    mask = np.any(masks, axis=0)
    row_mm, column_mm = view.spacing_ji_mm
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        rows, columns, margin_mm = np.arange(mask.shape[0]), np.arange(mask.shape[1]), 0.0
    top, bottom = rows[0] * row_mm, (rows[-1] + 1) * row_mm
    left, right = columns[0] * column_mm, (columns[-1] + 1) * column_mm
    return _square((float(left), float(top), float(right), float(bottom)), margin_mm)


def _square(box: BoxMm, margin_mm: float = 0.0) -> BoxMm:
    left, top, right, bottom = box
    half = max(bottom - top, right - left) / 2 + margin_mm
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - half, y - half, x + half, y + half


def show_gray(
    axes: Axes,
    gray: NDArray[np.uint8],
    view: SliceView,
    preprocessing: SlicePreprocessing,
    box_mm: BoxMm,
) -> None:
    """Show what the net sees of a slice, ``(size_px, size_px)``, laid where the slice's CT would
    lie.
    """
    shape = (view.hu.shape[0], view.hu.shape[1])
    place = preprocessing.geometry(shape, view.spacing_ji_mm)
    row_mm, column_mm = (
        n * mm / filled
        for n, mm, filled in zip(shape, view.spacing_ji_mm, place.content_ji, strict=True)
    )
    top, left = place.offset_ji[0] * row_mm, place.offset_ji[1] * column_mm
    right, bottom = place.grid_px * column_mm - left, place.grid_px * row_mm - top
    extent = (-left, right, bottom, -top)
    axes.imshow(gray, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="bilinear")
    frame_panel(axes, box_mm)


def _plane(view: SliceView) -> Plane:
    return Plane(view.hu, view.true, view.true, None, view.spacing_ji_mm)


def _extent(view: SliceView) -> BoxMm:
    """Matplotlib's order: left, right, bottom, top."""
    rows, columns = view.hu.shape
    return 0.0, columns * view.spacing_ji_mm[1], rows * view.spacing_ji_mm[0], 0.0
