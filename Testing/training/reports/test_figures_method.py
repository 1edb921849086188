"""Figures 3 and 4 show what the model's own preprocessing does, no matter its settings."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.labels import Label
from looped import looped
from toy_figures import (
    PREPROCESSING,
    check_readable,
    texts_of,
    toy_slices,
    toy_summary,
    toy_view,
    toy_views,
)

from training.reports.figures_method import (
    Steps,
    draw_enhancement,
    draw_preprocessing,
    tumor_contrast,
)
from training.reports.slices_to_show import NotDrawn
from training.score.summary import Record

pytestmark = pytest.mark.usefixtures("figure_style")


def with_steps(preprocessing: SlicePreprocessing) -> Record:
    return toy_summary(network={"preprocessing": preprocessing.to_dict()})


def test_steps_end_where_the_net_begins() -> None:
    view = toy_view()
    steps = Steps.of(view, PREPROCESSING)
    assert np.array_equal(steps.final, PREPROCESSING(view.hu, view.spacing_ji_mm))
    square = PREPROCESSING.square(view.hu, view.spacing_ji_mm)
    assert np.array_equal(steps.scaled, square)  # 64 to 64 pixels: nothing to resize
    clahe = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(square)
    assert np.array_equal(steps.clahe, clahe)


def test_figure_3_has_four_panels_in_the_papers_order() -> None:
    figure = draw_preprocessing(toy_summary(), toy_slices())
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == ["1 Original", "2 Min-max", "3 CLAHE", "4 Gamma"]
    steps = Steps.of(toy_slices().sample(), PREPROCESSING)
    shown = [axes.images[0].get_array() for axes in figure.axes[1:4]]
    for panel, expected in zip(shown, (steps.scaled, steps.clahe, steps.final), strict=True):
        assert np.array_equal(np.asarray(panel), expected)


@looped("preset", ["window", "paper"])
def test_figure_3_says_what_is_left_out(preset: str) -> None:
    given = replace(PREPROCESSING, preset=preset, use_clahe=False, use_gamma=False)
    figure = draw_preprocessing(with_steps(given), toy_slices())
    check_readable(figure)
    words = " ".join(texts_of(figure))
    assert "CLAHE (off)" in words
    assert "Gamma (off)" in words
    assert "clip limit" not in words
    assert ("least to largest HU" in words) == (preset == "paper")


def test_figure_4_has_a_row_a_case_with_histograms_in_percent() -> None:
    figure = draw_enhancement(toy_summary(), toy_slices(toy_views(3)))
    assert len(figure.axes) == 3 * 3
    for axes in figure.axes[2::3]:
        for patch in axes.patches:
            values = patch.get_data().values  # type: ignore[attr-defined]
            assert values.sum() == pytest.approx(100.0)
    assert figure.axes[-1].get_xlabel() == "gray level (0 to 255)"
    assert len(draw_enhancement(toy_summary(), toy_slices()).axes) == 4 * 3


def test_contrast_is_liver_minus_tumor() -> None:
    labels = np.array([[1, 1, 2, 0]], np.uint8)
    gray = np.array([[100, 120, 70, 5]], np.uint8)
    assert tumor_contrast(gray, labels) == 40.0
    assert np.isnan(tumor_contrast(gray, np.minimum(labels, Label.LIVER)))


def test_a_slice_of_tumor_alone_is_drawn_too() -> None:
    view = toy_view()
    alone = replace(view, true=np.where(view.true > 0, 2, 0).astype(np.uint8))
    words = " ".join(texts_of(draw_enhancement(toy_summary(), toy_slices([alone]))))
    assert "nan" not in words


def test_a_model_without_enhancement_has_no_figure_4() -> None:
    given = replace(PREPROCESSING, use_clahe=False)
    assert "Enhancement (gamma) spreads" in " ".join(
        texts_of(draw_enhancement(with_steps(given), toy_slices(toy_views(1))))
    )
    with pytest.raises(NotDrawn, match="enhances nothing"):
        draw_enhancement(with_steps(replace(given, use_gamma=False)), toy_slices())
