"""Boxes of a diagram: arrows begin and end at their edges, text stays inside."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from training.reports.style import Box, draw_arrow, draw_box, write, write_on_white


def test_edges_of_a_box() -> None:
    box = Box(2.0, 1.0, 3.0, 0.5)
    assert (box.top, box.bottom) == ((2.0, 1.25), (2.0, 0.75))
    assert (box.left, box.right) == ((0.5, 1.0), (3.5, 1.0))


def test_lines_lie_in_the_middle_of_the_box_the_first_one_bold() -> None:
    axes = Figure(figsize=(4, 2)).add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 4)
    axes.set_ylim(0, 2)
    box = Box(2.0, 1.0, 3.0, 0.8)
    draw_box(axes, box, "#ffffff", ["Name", "one", "two"])
    heights = [text.get_position()[1] for text in axes.texts]
    assert heights == sorted(heights, reverse=True)
    assert sum(heights) / 3 == pytest.approx(1.0)
    assert [text.get_weight() for text in axes.texts] == ["bold", "normal", "normal"]
    inside = axes.patches[0].get_window_extent()
    for text in axes.texts:
        extent = text.get_window_extent()
        assert inside.x0 < extent.x0
        assert extent.x1 < inside.x1
        assert inside.y0 < extent.y0
        assert extent.y1 < inside.y1


def test_arrows_and_words_on_them() -> None:
    axes = Figure().subplots()
    draw_arrow(axes, (0.0, 0.0), (1.0, 1.0), linestyle="--")
    (arrow,) = axes.patches
    assert isinstance(arrow, FancyArrowPatch)
    assert arrow.get_linestyle() == "--"
    write(axes, (0.5, 0.5), "plain")
    write_on_white(axes, (0.5, 0.5), "on the line")
    assert axes.texts[0].get_bbox_patch() is None
    assert axes.texts[1].get_bbox_patch() is not None
