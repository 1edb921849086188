"""Figures 6 and 7: loss, Dice and IoU of a run, epoch by epoch.

    draw_loss({**summary, "history": history})

Epochs are counted from 1, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.reports.slices_to_show import NotDrawn
from training.reports.style import (
    LIVER_ON_WHITE,
    SMALL,
    SOFT,
    TRAINING,
    TUMOR_ON_WHITE,
    VALIDATION,
    page,
    short_ticks,
)
from training.score.summary import Record
from training.score.voxels import Floats

FEW_EPOCHS = 25  # up to so many, every epoch gets its own dot


@dataclass(frozen=True, eq=False)
class Curves:
    """The curves of a training history, all ``(epochs,)``; NaN where a line lacks the value.

    epoch: from 1. size_px: of the slices trained and validated on. best: the place of the smallest
    validation loss among the epochs at the last slice size, since other sizes have other losses.
    """

    epoch: Floats
    train_loss: Floats
    val_loss: Floats
    liver_dice: Floats
    tumor_dice: Floats
    learning_rate: Floats
    size_px: Floats
    best: int

    @classmethod
    def of(cls, history: Sequence[Mapping[str, Any]]) -> Curves:
        """Raises :class:`NotDrawn` when there is no epoch or no validation loss."""
        if not history:
            raise NotDrawn("No epoch of a training is known: name the run's folder with --run RUN.")
        val_loss, size_px = _column(history, "val_loss"), _column(history, "size_px")
        last_size = np.isnan(size_px) | (size_px == size_px[-1])
        comparable = np.where(last_size & np.isfinite(val_loss), val_loss, np.inf)
        if not np.isfinite(comparable).any():
            raise NotDrawn("No epoch of the run has a finite validation loss: see its history.")
        return cls(
            epoch=_column(history, "epoch") + 1,
            train_loss=_column(history, "train_loss"),
            val_loss=val_loss,
            liver_dice=_column(history, "val_liver_dice"),
            tumor_dice=_column(history, "val_tumor_dice"),
            learning_rate=_column(history, "learning_rate"),
            size_px=size_px,
            best=int(np.argmin(comparable)),
        )

    @property
    def marker(self) -> str:
        """The marker of a curve: a dot at each epoch of a short run, none in a long one."""
        return "o" if len(self.epoch) <= FEW_EPOCHS else ""

    @property
    def note(self) -> str:
        epochs = len(self.epoch)
        text = f"n = {epochs} epoch{'s' if epochs > 1 else ''}."
        sizes = self.size_px[np.isfinite(self.size_px)]
        if len(set(sizes)) > 1:
            text += (
                " The dotted line marks where the slices grew; losses on both sides of it do not"
                " compare, so the best epoch is looked for to its right."
            )
        return text


def _column(history: Sequence[Mapping[str, Any]], name: str) -> Floats:
    values = [line.get(name) for line in history]
    return np.array([np.nan if value is None else float(value) for value in values])


def draw_loss(summary: Record) -> Figure:
    """Figure 6: training and validation loss, the smallest validation loss marked green."""
    curves = Curves.of(summary["history"])
    figure = page(
        "Loss during training",
        "Lower is better. Where the validation loss rises while the training loss falls, the net"
        " begins to learn its training cases by heart.",
        curves.note,
        4.9,
        number=6,
    )
    loss, rate = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _line(loss, curves, curves.train_loss, TRAINING, "training loss", "-")
    _line(loss, curves, curves.val_loss, VALIDATION, "validation loss", "--")
    value, epoch = curves.val_loss[curves.best], curves.epoch[curves.best]
    loss.plot(
        epoch,
        value,
        "o",
        color=LIVER_ON_WHITE,
        markersize=10,
        markeredgecolor="white",
        markeredgewidth=1.5,
        label=f"smallest validation loss: {value:.4g} in epoch {epoch:.0f}",
        zorder=5,
    )
    recipe = summary["network"]["recipe"]
    terms = loss_text(recipe["loss"]) if recipe else ""
    loss.set_ylabel(f"loss ({terms})" if terms else "loss")
    loss.set_ylim(bottom=0)
    loss.legend(loc="best")
    rate.plot(curves.epoch, curves.learning_rate, color=SOFT, marker=curves.marker, markersize=3)
    rate.set_ylabel("learning\nrate")
    rate.set_ylim(bottom=0)
    rate.yaxis.set_major_locator(MaxNLocator(3))
    rate.yaxis.set_major_formatter(short_ticks())
    _epochs(rate, curves)
    _mark_stages(loss, rate, curves=curves)
    return figure


def draw_dice(summary: Record) -> Figure:
    """Figure 7: (a) Dice and (b) IoU of liver and tumor on the validation set.

    The history holds pooled Dice, D of one pot of pixels, so IoU is exactly D / (2 - D) (Eq. 16).
    """
    curves = Curves.of(summary["history"])
    figure = page(
        "Overlap with the truth during training, on the validation set",
        "1 is full agreement, 0 none. All pixels of all validation slices in one pot; IoU follows"
        " from Dice, D / (2 - D), exactly. The liver includes the tumor.",
        curves.note + f" Vertical line: smallest validation loss, epoch {_best_epoch(curves)}.",
        3.9,
        number=7,
    )
    panels = figure.subplots(1, 2, sharey=True)
    liver, tumor = curves.liver_dice, curves.tumor_dice
    _draw_overlap(panels[0], curves, "(a) Dice", liver, tumor)
    _draw_overlap(panels[1], curves, "(b) IoU", iou_of_dice(liver), iou_of_dice(tumor))
    return figure


def iou_of_dice(dice: Floats) -> Floats:
    """Eq. 16; exact where both come from the same counts, as here."""
    return dice / (2 - dice)


def _draw_overlap(axes: Axes, curves: Curves, title: str, liver: Floats, tumor: Floats) -> None:
    for values, color, part, dash in (
        (liver, LIVER_ON_WHITE, "liver", "-"),
        (tumor, TUMOR_ON_WHITE, "tumor", "--"),
    ):
        name = f"{part}: {values[curves.best]:.3f} in epoch {_best_epoch(curves)}"
        _line(axes, curves, values, color, name, dash)
    axes.axvline(float(curves.epoch[curves.best]), color=SOFT, lw=1, zorder=1)
    axes.set_title(title)
    axes.set_ylabel(f"{title[4:]} (0 to 1)")
    axes.set_ylim(0, 1)
    axes.tick_params(labelleft=True)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
    _epochs(axes, curves)
    _mark_stages(axes, curves=curves)


def loss_text(loss: Mapping[str, float]) -> str:
    """The terms of a recipe's loss with their weights, those of weight 0 left out."""
    names = {"cross_entropy": "cross-entropy", "dice": "Dice", "focal": "focal"}
    terms = [
        name if loss[key] == 1 else f"{loss[key]:g} {name}"
        for key, name in names.items()
        if loss.get(key)
    ]
    return " + ".join(terms)


def _best_epoch(curves: Curves) -> int:
    return int(curves.epoch[curves.best])


def _line(axes: Axes, curves: Curves, values: Floats, color: str, name: str, dash: str) -> None:
    axes.plot(
        curves.epoch, values, dash, color=color, label=name, marker=curves.marker, markersize=4
    )


def _epochs(axes: Axes, curves: Curves) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    margin = 0.02 * max(1.0, float(curves.epoch[-1] - 1)) + 0.1
    axes.set_xlim(1 - margin, float(curves.epoch[-1]) + margin)


def _mark_stages(*panels: Axes, curves: Curves) -> None:
    """A dotted line where the slices change their size, named in the first panel."""
    changes = np.flatnonzero(np.diff(curves.size_px) != 0) + 1
    for n in changes:
        if not np.isfinite(curves.size_px[n - 1 : n + 1]).all():
            continue
        for axes in panels:
            axes.axvline(float(curves.epoch[n]) - 0.5, color=SOFT, lw=1, ls=":")
        before, after = curves.size_px[n - 1 : n + 1]
        panels[0].annotate(
            f"{before:.0f} px | {after:.0f} px",
            (float(curves.epoch[n]) - 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            size=SMALL,
            color=SOFT,
        )
