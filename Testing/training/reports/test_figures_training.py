"""Figures 6 and 7: the curves of the history, and the green dot at its smallest validation loss."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looped import looped
from toy_figures import check_readable, texts_of, toy_history, toy_summary

from training.learn.provenance import as_dict
from training.learn.recipes import RECIPES
from training.reports.evaluation import read_history
from training.reports.figures_training import (
    Curves,
    draw_dice,
    draw_loss,
    iou_of_dice,
    loss_text,
)
from training.reports.slices_to_show import NotDrawn
from training.reports.style import LIVER_ON_WHITE

pytestmark = pytest.mark.usefixtures("figure_style")


def test_loss_shows_both_curves_and_marks_the_smallest_validation_loss() -> None:
    history = toy_history()
    axes = draw_loss(toy_summary(history=history)).axes[0]
    train, val, marker = axes.lines[:3]
    assert list(train.get_xdata()) == list(range(1, 31)), "epochs are counted from 1"
    assert list(train.get_ydata()) == [line["train_loss"] for line in history]
    assert list(val.get_ydata()) == [line["val_loss"] for line in history]
    assert (marker.get_xdata()[0], marker.get_ydata()[0]) == (21, 0.3)
    assert marker.get_color() == LIVER_ON_WHITE
    assert axes.get_legend().get_texts()[2].get_text().endswith("0.3 in epoch 21")


def test_only_epochs_of_the_last_slice_size_compete() -> None:
    history = toy_history()
    for line in history[:25]:
        line["size_px"] = 128
    figure = draw_loss(toy_summary(history=history))
    assert figure.axes[0].lines[2].get_xdata()[0] == 26
    words = " ".join(texts_of(figure))
    assert "128 px | 256 px" in words
    assert "losses on both sides of it do not compare" in words
    (line,) = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert list(line.get_xdata()) == [25.5, 25.5]


def test_histories_with_gaps_are_drawn_and_others_say_why_not() -> None:
    # a history with gaps is drawn
    history = toy_history()
    history[20]["val_loss"] = math.nan
    history[3]["val_tumor_dice"] = None
    del history[5]["learning_rate"]
    curves = Curves.of(history)
    assert curves.epoch[curves.best] in (20, 22)
    check_readable(draw_loss(toy_summary(history=history)))

    # histories that cannot be drawn say why
    for history, words in (
        ([], "--run RUN"),
        ([{"epoch": 0, "val_loss": math.nan}], "finite validation loss"),
    ):
        with pytest.raises(NotDrawn, match=words):
            draw_loss(toy_summary(history=history))


@looped("epochs", [1, 2])
def test_a_short_run_is_drawn_as_dots(epochs: int) -> None:
    history = toy_history(epochs)
    for draw in (draw_loss, draw_dice):
        figure = draw(toy_summary(history=history))
        assert figure.axes[0].lines[0].get_marker() == "o"
        check_readable(figure)


def test_iou_follows_from_pooled_counts_exactly() -> None:
    shared, predicted, true = 30, 50, 70
    dice = np.array([2 * shared / (predicted + true)])
    assert iou_of_dice(dice)[0] == pytest.approx(shared / (predicted + true - shared))


def test_dice_and_iou_panels() -> None:
    history = toy_history()
    dice, iou = draw_dice(toy_summary(history=history)).axes
    for n, part in enumerate(("val_liver_dice", "val_tumor_dice")):
        values = np.array([line[part] for line in history])
        assert np.allclose(dice.lines[n].get_ydata(), values)
        assert np.allclose(iou.lines[n].get_ydata(), values / (2 - values))
    for axes, name in ((dice, "(a) Dice"), (iou, "(b) IoU")):
        assert axes.get_title(loc="left") == name
        assert axes.get_ylim() == (0, 1)
        assert axes.get_xlabel() == "epoch"
    at_best = [text.get_text() for text in dice.get_legend().get_texts()]
    assert at_best[0] == f"liver: {history[20]['val_liver_dice']:.3f} in epoch 21"


def test_the_loss_is_named_by_its_recipe() -> None:
    recipe: dict[str, Any] = as_dict(RECIPES["paper"])
    assert loss_text(recipe["loss"]) == "cross-entropy + Dice + 0.5 focal"
    assert loss_text({**recipe["loss"], "dice": 0.0, "focal": 2.0}) == "cross-entropy + 2 focal"
    axes = draw_loss(toy_summary(network={"recipe": recipe})).axes[0]
    assert axes.get_ylabel() == "loss (cross-entropy + Dice + 0.5 focal)"


def test_a_history_is_read_from_its_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no history\.jsonl"):
        read_history(tmp_path)
    lines = toy_history(3)
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines) + "\n")
    assert read_history(tmp_path) == lines
    with open(tmp_path / "history.jsonl", "a") as file:
        file.write('{"epoch": 3, "val_')
    with pytest.raises(ValueError, match="is damaged"):
        read_history(tmp_path)
