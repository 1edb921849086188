"""Figure 1: from data to scores, each step with the settings and counts it really had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.preprocess_resampled import ResampledPreprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.labels import Label
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.reports.figures_cases import draw_error_map
from training.reports.figures_method import Steps, preprocessing_of, step_texts
from training.reports.figures_network import (
    DECODER_TINT,
    ENCODER_TINT,
    ENDS_TINT,
    TRANSFORMER_TINT,
    facts_of,
)
from training.reports.figures_training import loss_text
from training.reports.panels import bare, body, show_ct, show_gray, show_labels
from training.reports.slices_to_show import NotDrawn, Slices, SliceView
from training.reports.style import (
    INK,
    LARGE,
    NORMAL,
    PAPER,
    SMALL,
    Box,
    canvas,
    draw_arrow,
    draw_box,
    page,
    wrapped,
    write,
)
from training.score.summary import Record, basis
from training.score.voxels import Overlap
from training.score.words import plural

PICTURE_IN, COLUMN_IN, SEED = 1.62, 1.78, 7
SETS = {"train": "training", "val": "validation", "test": "test"}
SELECTED = {"loss": "smallest validation loss", "dice": "largest validation Dice"}
AUGMENTATIONS = {  # probability -> its text, filled from the recipe
    "horizontal_flip_p": "flip left-right",
    "vertical_flip_p": "flip front-back",
    "rotation_p": "turn up to {rotation_deg:g}\N{DEGREE SIGN}",
    "ssr_p": "shift, scale, turn",
    "elastic_p": "elastic bending",
    "brightness_contrast_p": "brightness, contrast",
    "gamma_p": "gamma",
    "low_resolution_p": "low resolution",
    "noise_p": "noise",
    "blur_p": "blur",
    "dropout_p": "{dropout_holes} holes",
}
Paint = Callable[[Axes], None]


@dataclass(frozen=True)
class Step:
    """A column of the workflow: heading, what stands under it, and its picture."""

    name: str
    lines: Sequence[str]
    paint: Paint
    tint: str


def draw_workflow(summary: Record, slices: Slices) -> Figure:
    """Figure 1: data, preprocessing, augmentation, model, evaluation."""
    if not summary["sets"]:
        raise NotDrawn("The data sets are unknown: score a folder whose table tells the splits.")
    steps = _steps(summary, slices)
    rows = max(len(_lines(step)) for step in steps)
    figure = page(
        "From CT scans to scores",
        "Scans are split by patient: some patients train the model, others choose its best epoch,"
        " others are kept for the last test.",
        basis(summary),
        0.9 + PICTURE_IN + 0.185 * rows,
        number=1,
    )
    axes = canvas(figure)
    width, height = axes.get_xlim()[1], axes.get_ylim()[1]
    gap = (width - 0.16 - len(steps) * COLUMN_IN) / (len(steps) - 1)
    for n, step in enumerate(steps):
        x = 0.08 + COLUMN_IN / 2 + n * (COLUMN_IN + gap)
        box = Box(x, height / 2, COLUMN_IN, height - 0.1)
        _draw_step(figure, axes, box, n, step)
        if n:
            y = height - 0.5 - PICTURE_IN / 2 - 0.1
            draw_arrow(axes, (box.left[0] - gap, y), (box.left[0], y), mutation_scale=11)
    return figure


def _draw_step(figure: Figure, axes: Axes, box: Box, number: int, step: Step) -> None:
    draw_box(axes, box, step.tint)
    top = box.top[1]
    write(axes, (box.x, top - 0.25), f"{number + 1} {step.name}", bold=True, size=NORMAL + 1)
    corner = (box.x - PICTURE_IN / 2, top - 0.5 - PICTURE_IN)
    panel = _panel_at(figure, axes, corner)
    step.paint(panel)
    for n, line in enumerate(_lines(step)):
        at = box.left[0] + 0.08, corner[1] - 0.2 - 0.185 * n
        write(axes, at, line, ha="left", size=SMALL)


def _panel_at(figure: Figure, axes: Axes, corner: tuple[float, float]) -> Axes:
    """Axes of PICTURE_IN inches square inside the canvas."""
    size = figure.get_size_inches()
    place = axes.get_position()
    left, bottom = place.x0 + corner[0] / size[0], place.y0 + corner[1] / size[1]
    panel = figure.add_axes((left, bottom, PICTURE_IN / size[0], PICTURE_IN / size[1]))
    bare(panel)
    panel.set_facecolor(PAPER)
    return panel


def _lines(step: Step) -> list[str]:
    """Lines that fit a column; what a line goes on with is indented."""
    return [
        part for line in step.lines for part in wrapped(line, SMALL, COLUMN_IN - 0.16, indent="   ")
    ]


def _steps(summary: Record, slices: Slices) -> list[Step]:
    view = slices.sample() if slices.views else None
    recipe = summary["network"]["recipe"] or {}
    return [
        Step("Data", _data_lines(summary), _picture(view, _paint_data), ENDS_TINT),
        Step(
            "Preprocessing",
            _preprocessing_lines(summary),
            _picture(view, lambda axes, slice_: _paint_grays(axes, slice_, summary, None)),
            ENCODER_TINT,
        ),
        Step(
            "Augmentation",
            augmentation_lines(recipe),
            _picture(
                view,
                lambda axes, slice_: _paint_grays(
                    axes, slice_, summary, recipe.get("augmentation")
                ),
            ),
            TRANSFORMER_TINT,
        ),
        Step("Model", _model_lines(summary), lambda axes: _paint_net(axes, summary), ENDS_TINT),
        Step(
            "Evaluation",
            _evaluation_lines(summary),
            _picture(
                view, lambda axes, slice_: draw_error_map(axes, slice_, body(slice_, square=True))
            ),
            DECODER_TINT,
        ),
    ]


def _picture(view: SliceView | None, paint: Callable[[Axes, SliceView], None]) -> Paint:
    """The step's picture of the sample slice; an empty square when there is none."""

    def fill(axes: Axes) -> None:
        if view is not None:
            paint(axes, view)

    return fill


def _paint_data(axes: Axes, view: SliceView) -> None:
    show_ct(axes, view, body(view, square=True))
    show_labels(axes, view, view.true)


def _paint_grays(
    axes: Axes, view: SliceView, summary: Record, augmentation: Mapping[str, Any] | None
) -> None:
    """What the net sees of the slice; the CT itself for a net that sees no whole slices.

    augmentation: of the recipe, drawn once; None for the slice as it is.
    """
    box, preprocessing = body(view, square=True), preprocessing_of(summary)
    if not isinstance(preprocessing, SlicePreprocessing):
        show_ct(axes, view, box)
        return
    gray = Steps.of(view, preprocessing).final
    if augmentation is not None:
        gray = augmented(gray, augmentation)
    show_gray(axes, gray, view, preprocessing, box)


def augmented(gray: NDArray[np.uint8], stored: Mapping[str, Any]) -> NDArray[np.uint8]:
    """One draw of an augmentation as a model file stores it, of grays ``(rows, columns)``."""
    import torch

    from training.data.augment import Augmentation

    settings: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()
    }
    image = torch.from_numpy(gray)[None, None].float() / 255
    labels = torch.zeros(1, *gray.shape, dtype=torch.int64)
    changed, _ = Augmentation(**settings)(image, labels, torch.Generator().manual_seed(SEED))
    shown = changed[0, 0].clamp(0, 1).numpy()
    return np.asarray(np.rint(shown * 255), np.uint8)


def _paint_net(axes: Axes, summary: Record) -> None:
    """Each block of the net as a bar: high as its map, wide as its channels."""
    facts = facts_of(summary)
    if facts is None:
        net = summary["network"]["net"]
        axes.text(0.5, 0.5, net, ha="center", va="center", size=LARGE, color=INK)
        return
    blocks = [*facts.encoder, *facts.decoder]
    tints = [ENCODER_TINT] * len(facts.encoder) + [DECODER_TINT] * len(facts.decoder)
    tints[len(facts.encoder) - 1] = TRANSFORMER_TINT
    # square roots, or the first level would be a hundred times as high as wide
    widths = [block.shape[2] ** 0.5 for block in blocks]
    places = np.cumsum([0.0, *widths]) + 2.0 * np.arange(len(blocks) + 1)
    for x, width, block, tint in zip(places, widths, blocks, tints, strict=False):
        height = block.shape[0] ** 0.5
        axes.bar(x, height, width, -height / 2, align="edge", color=tint, edgecolor=INK, lw=0.8)
    axes.set_xlim(-2, float(places[-1]))
    reach = 0.62 * facts.input[0] ** 0.5
    axes.set_ylim(-reach, reach)


def _data_lines(summary: Record) -> list[str]:
    lines = ["CT scans with liver and tumors outlined by experts"]
    for part in summary["sets"]:
        lines.append(
            f"{SETS.get(part['name'], part['name'])}: {plural(part['patients'], 'patient')},"
            f" {plural(part['volumes'], 'volume')}, {plural(part['slices'], 'slice')}"
        )
    return lines


def _preprocessing_lines(summary: Record) -> list[str]:
    steps = preprocessing_of(summary)
    of_volumes = isinstance(steps, VolumePreprocessing | ResampledPreprocessing)
    what = "whole volumes" if of_volumes else "axial slices"
    return [what, *step_texts(steps)]


def augmentation_lines(recipe: Mapping[str, Any]) -> list[str]:
    """Lines on what a recipe (as in a model file) does to a slice at random, and how often."""
    if "augmentation" not in recipe:
        return ["in training only", "recipe not stored in this model file"]
    # of a setting with a value an axis, the largest is shown
    stored = {k: max(v) if isinstance(v, list) else v for k, v in recipe["augmentation"].items()}
    others = {
        k: k.removesuffix("_p").replace("_", " ")
        for k in stored
        if k.endswith("_p") and k not in AUGMENTATIONS
    }
    lines = []
    for name, text in {**AUGMENTATIONS, **others}.items():
        probability = stored.get(name, 0.0)
        if probability == 0 or (stored.get("anatomical") and "flip" in name):
            continue
        lines.append(f"{probability:.0%} {text.format(**stored)}")
    if recipe.get("hu_shift", 0) > 0:
        lines.append(f"shift by up to {recipe['hu_shift']:g} HU")
    return ["in training, at random:", *lines] if lines else ["none in this recipe"]


def _model_lines(summary: Record) -> list[str]:
    lines, facts = [summary["network"]["net"]], facts_of(summary)
    if facts is not None:
        lines += [
            f"{facts.parameters / 1e6:.1f} million parameters",
            f"{len(Label)} classes: background, liver, tumor",
        ]
    lines += _training_lines(summary["network"]["recipe"] or {})
    if summary["history"]:
        lines.append(plural(len(summary["history"]), "epoch"))
    return lines


def _training_lines(recipe: Mapping[str, Any]) -> list[str]:
    """How the model was trained, as far as its recipe says so."""
    lines = []
    if "loss" in recipe and (terms := loss_text(recipe["loss"])):
        lines.append(f"loss: {terms}")
    if "learning_rate" in recipe:
        lines.append(f"learning rate {recipe['learning_rate']:g}")
    lines += [f"{key}: {recipe[key]}" for key in ("schedule", "batch") if key in recipe]
    if "select" in recipe:
        lines.append(f"kept: {SELECTED.get(recipe['select'], recipe['select'])}")
    return lines


def _evaluation_lines(summary: Record) -> list[str]:
    matrix, lesions = np.asarray(summary["pooled"]["matrix"]), summary["lesions"]["true"]
    lines = [f"{plural(summary['counts']['volumes'], 'volume')}, each on its own grid"]
    lines += [
        f"{mask} Dice {float(Overlap.of(matrix, mask).dice):.3f}, all voxels pooled"
        for mask in ("liver", "tumor")
    ]
    if lesions:
        found = sum(lesion["found"] for lesion in lesions)
        lines.append(f"{found} of {plural(len(lesions), 'lesion')} found")
    return [*lines, "picture: errors, yellow too much, blue missed"]
