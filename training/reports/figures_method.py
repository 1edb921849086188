"""Figures 3 and 4: what preprocessing makes of a slice, with the model's own settings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.preprocess_liver_box import LiverBoxPreprocessing
from LiverTumorSegLib.inference.preprocess_resampled import ResampledPreprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.inference.segmenter import PREPROCESSINGS, Preprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.overview.views import AIR_HU
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.reports.panels import (
    BoxMm,
    around,
    body,
    height_over_width,
    scale_bar,
    show_ct,
    show_gray,
    side_letters,
)
from training.reports.slices_to_show import NotDrawn, Slices, SliceView
from training.reports.style import SOFT, TRAINING, page
from training.score.summary import Record, basis

ROWS_OF_FIGURE_4 = 4
Gray = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Steps:
    """A slice after each step, 8-bit grays on the net's grid ``(size_px, size_px)``.

    The steps are what the net's own preprocessing gives when the later ones are switched off.
    """

    scaled: Gray
    clahe: Gray
    final: Gray

    @classmethod
    def of(cls, view: SliceView, preprocessing: SlicePreprocessing) -> Steps:
        square = preprocessing.square(view.hu, view.spacing_ji_mm)
        plain = replace(preprocessing, use_clahe=False, use_gamma=False)
        without_gamma = replace(preprocessing, use_gamma=False)
        return cls(
            scaled=plain.enhance(square),
            clahe=without_gamma.enhance(square),
            final=preprocessing.enhance(square),
        )


def preprocessing_of(summary: Record) -> Preprocessing:
    """The preprocessing of the scored network; of a cascade, of its tumor network."""
    stored = summary["network"]["preprocessing"]
    kind = PREPROCESSINGS[stored.get("kind", SlicePreprocessing.KIND)]
    return kind.from_dict(stored)


def _of_slices(summary: Record) -> SlicePreprocessing:
    """Raises :class:`NotDrawn` for a model that does not prepare whole slices one by one."""
    steps = preprocessing_of(summary)
    if isinstance(steps, SlicePreprocessing):
        return steps
    net = summary["network"]["net"]
    raise NotDrawn(f"{net} does not see whole slices one by one: this figure is of models that do.")


def draw_preprocessing(summary: Record, slices: Slices) -> Figure:
    """Figure 3: one slice in four panels: original, min-max, CLAHE, gamma; below it a close-up."""
    steps, view = _of_slices(summary), slices.sample()
    boxes = body(view), around(view, [view.true > 0], margin_mm=5.0)
    width_in = 2.3
    figure = page(
        "Preprocessing of one slice, step by step",
        f"Every slice goes this way, in training and in use: {', '.join(step_texts(steps))}."
        " Below: a close-up of the liver.",
        f"Case {view.case}, slice {view.slice_index}. {basis(summary)}",
        1.05 + width_in * sum(height_over_width(box) for box in boxes),
        number=3,
    )
    ratios = [height_over_width(box) for box in boxes]
    grid = figure.subplots(2, 4, height_ratios=ratios)
    for row, box in zip(grid, boxes, strict=True):
        _draw_steps(row, view, steps, box)
        scale_bar(row[0], box)
    side_letters(grid[0, 0])
    clahe, gamma = "" if steps.use_clahe else " (off)", "" if steps.use_gamma else " (off)"
    titles = ("1 Original", "2 Min-max", f"3 CLAHE{clahe}", f"4 Gamma{gamma}")
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title)
    _color_bar(figure, grid[:, :1], "HU")
    _color_bar(figure, grid[:, 1:], "gray level (0 to 255)")
    return figure


def _draw_steps(
    row: NDArray[np.object_], view: SliceView, preprocessing: SlicePreprocessing, box: BoxMm
) -> None:
    steps = Steps.of(view, preprocessing)
    show_ct(row[0], view, box)
    for axes, gray in zip(row[1:], (steps.scaled, steps.clahe, steps.final), strict=True):
        show_gray(axes, gray, view, preprocessing, box)


def step_texts(steps: Preprocessing) -> list[str]:
    """The preprocessing steps of a CT as text; those that are switched off are left out."""
    low, high = steps.window_hu
    if isinstance(steps, LiverBoxPreprocessing):
        return [
            f"a box of {steps.around_mm:g} mm around the liver",
            f"pixels of {steps.pixel_mm:g} mm, a neighbor {steps.neighbor_mm:g} mm below and above",
            f"HU {low} to {high}, counted from the median of the liver",
        ]
    if isinstance(steps, VolumePreprocessing):
        side = f"slices of {steps.size_px} x {steps.size_px} pixels"
        outside = [] if steps.liver_margin_mm is None else ["blank outside the liver"]
        return [side, f"HU {low} to {high} become 0 to 1", *outside]
    if isinstance(steps, ResampledPreprocessing):
        mean, std = steps.mean_std_hu
        clipped = [] if steps.clip_hu is None else [f"HU clipped to {low} to {high}"]
        voxels = " x ".join(f"{side:g}" for side in steps.spacing_mm)
        return [*clipped, f"(HU - {mean:g}) / {std:g}", f"voxels of {voxels} mm"]
    hu = "least to largest HU of the slice" if steps.preset == "paper" else f"HU {low} to {high}"
    texts = [f"{hu} become grays 0 to 255", f"square of {steps.grid_px} x {steps.grid_px} pixels"]
    if steps.use_clahe:
        tiles = steps.clahe_tiles
        texts.append(f"CLAHE ({tiles} x {tiles} tiles, clip limit {steps.clahe_clip:g})")
    if steps.use_gamma:
        texts.append(f"gamma {steps.gamma:g}")
    return [*texts, f"resize to {steps.size_px} x {steps.size_px} pixels"]


def _color_bar(figure: Figure, panels: NDArray[np.object_], unit: str) -> None:
    """Under a block of panels that share their gray scale."""
    first: Axes = panels.flat[0]  # type: ignore[assignment]
    bar = figure.colorbar(
        first.images[0],
        ax=panels,
        location="bottom",
        aspect=14 * panels.shape[1],
        shrink=0.85,
        pad=0.02,
    )
    bar.set_label(unit)
    bar.outline.set_visible(False)
    bar.ax.grid(False)


def draw_enhancement(summary: Record, slices: Slices) -> Figure:
    """Figure 4: several slices before and after enhancement, with their histograms."""
    preprocessing, views = _of_slices(summary), slices.some_views(ROWS_OF_FIGURE_4)
    used = {"CLAHE": preprocessing.use_clahe, "gamma": preprocessing.use_gamma}
    enhancement = " and ".join(name for name, on in used.items() if on)
    if not enhancement:
        raise NotDrawn("This model enhances nothing: its preprocessing has no CLAHE and no gamma.")
    figure = page(
        "Slices before and after enhancement",
        f"Enhancement ({enhancement}) spreads the grays of soft tissue, so that a tumor stands out"
        " more from the liver around it, and noise too. The numbers are the median gray of the"
        " liver minus that of the tumor.",
        f"{len(views)} of {summary['counts']['volumes']} volumes, each its slice with most tumor;"
        f" histograms are of tissue (above {AIR_HU} HU and above the scan's least value), and their"
        f" bars at both ends may reach beyond the axis. {basis(summary)}",
        0.5 + 1.9 * len(views),
        number=4,
    )
    grid = figure.subplots(len(views), 3, squeeze=False, width_ratios=(1, 1, 1.3))
    for axes, heading in zip(grid[0], ("Min-max only", "Enhanced", "Histogram"), strict=True):
        axes.set_title(heading)
    for row, view in zip(grid, views, strict=True):
        steps = Steps.of(view, preprocessing)
        box = body(view)
        show_gray(row[0], steps.scaled, view, preprocessing, box)
        show_gray(row[1], steps.final, view, preprocessing, box)
        for axes in row[:2]:
            axes.set_anchor("W")
        row[0].set_ylabel(view.label(16))
        labels = preprocessing.place_labels(view.true, view.spacing_ji_mm)
        _draw_histogram(row[2], steps, labels, _tissue(view, preprocessing))
    grid[-1, 2].set_xlabel("gray level (0 to 255)")
    return figure


def tumor_contrast(gray: Gray, labels: NDArray[np.uint8]) -> float:
    """Median gray of the liver minus that of the tumor; NaN when one is missing."""
    liver, tumor = gray[labels == Label.LIVER], gray[labels == Label.TUMOR]
    if len(liver) == 0 or len(tumor) == 0:
        return float("nan")
    return float(np.median(liver) - np.median(tumor))


def _tissue(view: SliceView, preprocessing: SlicePreprocessing) -> NDArray[np.bool_]:
    """On the net's grid, what is neither air nor cut off at the floor of a clipped scan."""
    mask = view.hu > max(AIR_HU, int(view.hu.min()))
    return preprocessing.place_labels(mask.astype(np.uint8), view.spacing_ji_mm) > 0


def _draw_histogram(
    axes: Axes, steps: Steps, labels: NDArray[np.uint8], inside: NDArray[np.bool_]
) -> None:
    """Share of pixels a gray level, before as an area, after as a line."""
    edges = np.arange(0, 257, 4)
    highest = 0.0
    for gray, color, name, filled in (
        (steps.scaled, SOFT, "min-max only", True),
        (steps.final, TRAINING, "enhanced", False),
    ):
        counts, _ = np.histogram(gray[inside], edges)
        percent = 100.0 * counts / max(1, counts.sum())
        highest = max(highest, float(percent[1:-1].max()))
        axes.stairs(
            percent,
            edges,
            fill=filled,
            color=color,
            alpha=0.35 if filled else 1.0,
            lw=1.6,
            label=name + _contrast_text(tumor_contrast(gray, labels)),
        )
    axes.set_xlim(0, 256)
    axes.set_ylim(0, 1.6 * max(highest, 0.1))
    axes.set_ylabel("pixels (%)")
    axes.legend(loc="upper left")


def _contrast_text(contrast: float) -> str:
    return "" if np.isnan(contrast) else f": liver - tumor {contrast:+.0f}"
