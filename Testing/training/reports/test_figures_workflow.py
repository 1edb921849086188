"""Figure 1 tells the run as it was: counts, settings and augmentation of its own recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.inference.preprocess_liver_box import LiverBoxPreprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from toy_figures import (
    NET_ARGS,
    NO_SLICES,
    PREPROCESSING,
    check_readable,
    texts_of,
    toy_slices,
    toy_summary,
    toy_view,
)

from training.learn.provenance import as_dict
from training.learn.recipes import RECIPES
from training.reports.figures_method import Steps, draw_enhancement, draw_preprocessing
from training.reports.figures_workflow import augmentation_lines, augmented, draw_workflow
from training.reports.slices_to_show import NotDrawn
from training.score.voxels import Overlap

pytestmark = pytest.mark.usefixtures("figure_style")


def recipe(name: str) -> dict[str, Any]:
    """As a model file stores it."""
    return as_dict(RECIPES[name])


def test_the_workflow_tells_counts_settings_and_scores() -> None:
    summary = toy_summary(network={"recipe": recipe("cpu")})
    figure = draw_workflow(summary, toy_slices())
    check_readable(figure)
    words = " ".join(" ".join(texts_of(figure)).split())
    assert "training: 15 patients, 21 volumes, 1,869 slices" in words
    assert "validation: 4 patients, 4 volumes, 384 slices" in words
    assert "HU -40 to 160 become grays 0 to 255" in words
    assert "30% elastic bending" in words
    assert "shift by up to 25 HU" in words
    assert "flip" not in words, "this recipe is true to anatomy"
    assert "cross-entropy + Dice + 0.5 focal" in words
    assert "kept: largest validation Dice" in words
    matrix = np.array(summary["pooled"]["matrix"])
    assert f"tumor Dice {float(Overlap.of(matrix, 'tumor').dice):.3f}" in words
    assert "6 of 9 lesions found" in words


def test_the_papers_augmentation_is_told_with_its_probabilities() -> None:
    lines = augmentation_lines(recipe("paper"))
    assert lines[1:] == [
        "50% flip left-right",
        "30% flip front-back",
        "50% turn up to 25°",
        "50% shift, scale, turn",
        "30% elastic bending",
        "50% brightness, contrast",
        "30% noise",
        "20% blur",
        "30% 8 holes",
    ]
    assert augmentation_lines(recipe("tour")) == ["none in this recipe"]
    assert "not stored" in augmentation_lines({})[1]


def test_the_augmented_picture_is_the_recipes_own() -> None:
    gray = Steps.of(toy_view(), PREPROCESSING).final
    strong = augmented(gray, recipe("cpu")["augmentation"])
    assert strong.shape == gray.shape
    assert strong.dtype == np.uint8
    assert not np.array_equal(strong, gray)
    assert np.array_equal(augmented(gray, recipe("tour")["augmentation"]), gray)


def test_little_is_known_of_a_model_without_recipe_views_or_matrix() -> None:
    bare = toy_summary(
        network={"net": "gunetrpp"}, lesions={"true": [], "predicted": []}, history=[]
    )
    figure = draw_workflow(bare, NO_SLICES)
    check_readable(figure)
    assert "gunetrpp" in texts_of(figure)


def test_bars_of_the_net_follow_its_maps() -> None:
    figure = draw_workflow(toy_summary(), toy_slices())
    model = figure.axes[4]
    heights = [bar.get_height() ** 2 for bar in model.patches]
    assert heights == pytest.approx([64, 32, 16, 8, 16, 32, 64])
    widths = [bar.get_width() ** 2 for bar in model.patches]
    width = NET_ARGS["width"]
    assert widths == pytest.approx([width * n for n in (1, 2, 4, 8, 4, 2, 1)])


def test_unknown_sets_give_a_reason() -> None:
    with pytest.raises(NotDrawn, match="data sets are unknown"):
        draw_workflow(toy_summary(sets=[]), toy_slices())


def test_a_model_of_volumes_has_a_workflow_too() -> None:
    """Its settings have other names, and some a value an axis."""
    given = VolumePreprocessing(liver_margin_mm=0.0)
    stored = {"rotation_p": 0.2, "rotation_deg": [30, 30, 30], "zoom_p": 0.2, "mirror_p": [0.5, 0]}
    summary = toy_summary(
        network={
            "net": "gunetrpp",
            "preprocessing": given.to_dict(),
            "recipe": {"augmentation": stored, "learning_rate": 0.01, "loss": {"other": 1.0}},
        }
    )
    words = " ".join(" ".join(check_readable(draw_workflow(summary, toy_slices()))).split())
    assert "HU -250 to 250 become 0 to 1" in words
    assert "blank outside the liver" in words
    assert "20% turn up to 30°" in words
    assert "20% zoom" in words
    assert "50% mirror" in words
    assert "learning rate 0.01" in words
    assert "loss" not in words
    for draw in (draw_preprocessing, draw_enhancement):
        with pytest.raises(NotDrawn, match="gunetrpp does not see whole slices"):
            draw(summary, toy_slices())


def test_a_model_of_liver_boxes_has_a_workflow_too() -> None:
    steps = LiverBoxPreprocessing().to_dict()
    summary = toy_summary(network={"preprocessing": steps, "net_args": {"width": 8, "channels": 3}})
    words = " ".join(" ".join(check_readable(draw_workflow(summary, toy_slices()))).split())
    assert "a box of 40 mm around the liver" in words
    assert "counted from the median of the liver" in words
