"""CT panels lie in millimeters: masks, outlines and the net's own grid all in the right place."""

from __future__ import annotations

import numpy as np
import pytest
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.labels import Label
from looped import looped
from matplotlib.figure import Figure

from training.reports.panels import (
    around,
    body,
    outline,
    overlay,
    scale_bar,
    show_ct,
    show_gray,
    whole,
)
from training.reports.slices_to_show import SliceView

SPACING_JI_MM = (2.0, 0.5)


@pytest.fixture
def view() -> SliceView:
    """40 x 100 pixels of 2 x 0.5 mm; a tumor of rows 10 to 19 and columns 30 to 59."""
    hu = np.full((40, 100), -1000, np.int16)
    hu[4:36, 8:92] = 40
    true = np.zeros((40, 100), np.uint8)
    true[10:20, 30:60] = Label.TUMOR
    return SliceView("1", 3, hu, true, true, SPACING_JI_MM)


def test_a_slice_fills_its_millimeters(view: SliceView) -> None:
    axes = Figure().subplots()
    show_ct(axes, view)
    assert whole(view) == (0.0, 0.0, 50.0, 80.0)
    assert axes.images[0].get_extent() == [0.0, 50.0, 80.0, 0.0]
    assert axes.get_ylim() == (80.0, 0.0), "rows run downward, to posterior"
    assert axes.get_aspect() == 1.0


def test_darkening_keeps_black_and_lowers_the_rest(view: SliceView) -> None:
    axes = Figure().subplots()
    show_ct(axes, view, dim=0.5)
    shown, (low, high) = axes.images[0].get_array(), axes.images[0].get_clim()
    assert shown is not None
    assert shown[0, 0] == low
    assert shown[20, 50] == pytest.approx((40 + low) / 2)
    assert high > 40


def test_an_outline_runs_between_the_pixels_also_at_the_edge_and_of_nothing(
    view: SliceView,
) -> None:
    # an outline runs between the pixels
    axes = Figure().subplots()
    outline(axes, view, view.true == Label.TUMOR, (1.0, 0.0, 0.0))
    points = np.concatenate([path.vertices for path in axes.collections[0].get_paths()])
    # columns 30 to 59 of 0.5 mm, rows 10 to 19 of 2 mm
    assert points[:, 0].min() == pytest.approx(15.0)
    assert points[:, 0].max() == pytest.approx(30.0)
    assert points[:, 1].min() == pytest.approx(20.0)
    assert points[:, 1].max() == pytest.approx(40.0)

    # an empty mask has no outline and one at the edge a closed one
    axes = Figure().subplots()
    outline(axes, view, np.zeros((40, 100), bool), (1.0, 0.0, 0.0))
    assert not axes.collections
    outline(axes, view, np.ones((40, 100), bool), (1.0, 0.0, 0.0))
    (path,) = axes.collections[0].get_paths()
    assert np.allclose(path.vertices[0], path.vertices[-1])
    assert path.vertices.max(axis=0) == pytest.approx([50.0, 80.0])


def test_a_tint_covers_the_mask_alone(view: SliceView) -> None:
    axes = Figure().subplots()
    mask = view.true == Label.TUMOR
    overlay(axes, view, mask, (0.2, 0.4, 0.6), 0.5)
    tint = np.asarray(axes.images[0].get_array())
    assert (tint[..., 3] > 0).tolist() == mask.tolist()
    assert tint[15, 40] == pytest.approx([0.2, 0.4, 0.6, 0.5])


def test_a_close_up_is_a_square_in_millimeters(view: SliceView) -> None:
    left, top, right, bottom = around(view, [view.true > 0], margin_mm=5.0)
    assert (right - left, bottom - top) == pytest.approx((30.0, 30.0))  # 20 mm high, 15 wide
    assert (left + right) / 2 == pytest.approx(22.5)
    assert (top + bottom) / 2 == pytest.approx(30.0)
    nothing = around(view, [np.zeros((40, 100), bool)])
    assert nothing[1::2] == (0.0, 80.0)


def test_the_body_is_found_and_stays_on_the_slice(view: SliceView) -> None:
    left, top, right, bottom = body(view)
    assert left >= 0
    assert bottom <= 80
    assert left < 8 * 0.5
    assert right > 92 * 0.5 - 1e-6
    assert top < 4 * 2.0
    square = body(view, square=True)
    assert square[2] - square[0] == pytest.approx(square[3] - square[1])


def test_the_nets_grid_lies_on_the_ct(view: SliceView) -> None:
    """A slice that is not square is padded to a square: its pixels must stay in their place."""
    given = SlicePreprocessing(grid_px=64, size_px=64, use_clahe=False, use_gamma=False)
    gray = given(view.hu, SPACING_JI_MM)
    axes = Figure().subplots()
    show_gray(axes, gray, view, given, whole(view))
    left, right, bottom, top = axes.images[0].get_extent()
    assert (right - left, bottom - top) == pytest.approx((80.0, 80.0))
    px_mm = 80.0 / 64
    columns = np.flatnonzero((gray > 0).any(axis=0))
    assert left + columns[0] * px_mm == pytest.approx(8 * 0.5, abs=px_mm)
    assert left + (columns[-1] + 1) * px_mm == pytest.approx(92 * 0.5, abs=px_mm)
    rows = np.flatnonzero((gray > 0).any(axis=1))
    assert top + rows[0] * px_mm == pytest.approx(4 * 2.0, abs=px_mm)


@looped(("side_mm", "length_mm"), [(300.0, 50.0), (100.0, 20.0)])
def test_the_scale_bar_is_as_long_as_it_says(side_mm: float, length_mm: float) -> None:
    axes = Figure().subplots()
    scale_bar(axes, (10.0, 10.0, 10.0 + side_mm, 10.0 + side_mm))
    x = np.asarray(axes.lines[0].get_xdata(), float)
    assert x[1] - x[0] == pytest.approx(length_mm)
    assert axes.texts[0].get_text() == f"{length_mm:g} mm"
