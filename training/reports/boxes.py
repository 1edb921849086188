"""Boxes, arrows and small pictures of a diagram; all places in inches from the lower left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from training.reports.style import INK, NORMAL, PAPER, SMALL, SOFT

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle around a center, with the places where arrows begin and end."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> Point:
        return self.x, self.y + self.height / 2

    @property
    def bottom(self) -> Point:
        return self.x, self.y - self.height / 2

    @property
    def left(self) -> Point:
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> Point:
        return self.x + self.width / 2, self.y


def draw_box(axes: Axes, box: Box, color: str, lines: Sequence[str] = ()) -> None:
    """A box of one color; its first line is bold, the others are small."""
    corner = box.x - box.width / 2, box.y - box.height / 2
    axes.add_patch(
        FancyBboxPatch(
            corner,
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.07",
            facecolor=color,
            edgecolor=SOFT,
            linewidth=1.0,
        )
    )
    step = 0.18
    y = box.y + step * (len(lines) - 1) / 2
    for n, line in enumerate(lines):
        write(axes, (box.x, y - n * step), line, bold=n == 0, size=NORMAL if n == 0 else SMALL)


def draw_arrow(axes: Axes, start: Point, end: Point, **style: Any) -> None:
    """From edge to edge; dashed for what skips a part."""
    given = {"color": INK, "linewidth": 1.3, "mutation_scale": 13, "arrowstyle": "-|>", **style}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=1, shrinkB=1, **given))


def write(axes: Axes, at: Point, text: str, *, bold: bool = False, **style: Any) -> None:
    """Text around a point, or beside it (``ha``)."""
    given = {"ha": "center", "va": "center", "size": SMALL, "color": INK, **style}
    axes.text(*at, text, weight="bold" if bold else "normal", **given)


def write_on_white(axes: Axes, at: Point, text: str, **style: Any) -> None:
    """Text that interrupts the line it lies on."""
    patch = {"facecolor": PAPER, "edgecolor": "none", "pad": 2.0}
    write(axes, at, text, bbox=patch, **style)
