"""Figures 2, 9, 10, 11, failures: which case stands where; errors have the right color."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from LiverTumorSegLib.labels import Label
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from toy_figures import check_readable, texts_of, toy_slices, toy_summary, toy_view, toy_views

from training.reports.figures_cases import (
    draw_error_map,
    draw_errors,
    draw_failures,
    draw_masks,
    draw_overlays,
    draw_sample,
)
from training.reports.panels import whole
from training.reports.slices_to_show import RANKS, NotDrawn, SliceView
from training.reports.style import FALSE_NEGATIVE, FALSE_POSITIVE, LIVER, TUMOR, Color

pytestmark = pytest.mark.usefixtures("figure_style")


def covered(axes: Axes, color: Color) -> NDArray[np.bool_]:
    """Where a tint of this color lies over the CT."""
    tints = [np.asarray(image.get_array()) for image in axes.images]
    tints = [tint for tint in tints if tint.ndim == 3]
    return np.any(
        [(tint[..., 3] > 0) & np.isclose(tint[..., :3], color).all(axis=2) for tint in tints],
        axis=0,
    )


def test_sample_shows_ct_overlay_liver_and_tumor() -> None:
    view = toy_slices().sample()
    ct, both, liver, tumor = draw_sample(toy_summary(), toy_slices()).axes
    assert [axes.get_title(loc="left") for axes in (ct, both, liver, tumor)] == [
        "CT",
        "Liver and tumor",
        "Liver mask",
        "Tumor mask",
    ]
    assert len(ct.images) == 1
    assert np.array_equal(covered(both, LIVER), view.true == Label.LIVER)
    assert np.array_equal(covered(both, TUMOR), view.true == Label.TUMOR)
    assert np.array_equal(covered(liver, LIVER), view.true >= Label.LIVER)
    assert np.array_equal(covered(tumor, TUMOR), view.true == Label.TUMOR)


def test_figure_9_has_three_cases_in_five_columns_with_their_dice() -> None:
    views = toy_views(3)
    figure = draw_masks(toy_summary(), toy_slices(views))
    rows = np.array(figure.axes).reshape(3, 5)
    assert [axes.get_title(loc="left") for axes in rows[0]] == [
        "CT",
        "True liver",
        "True tumor",
        "Predicted liver",
        "Predicted tumor",
    ]
    for row, view in zip(rows, views, strict=True):
        assert row[0].get_ylabel() == f"case {view.case}\nslice {view.slice_index}"
        assert np.array_equal(covered(row[1], LIVER), view.true >= Label.LIVER)
        assert np.array_equal(covered(row[4], TUMOR), view.predicted == Label.TUMOR)
        assert row[3].texts[0].get_text() == f"Dice {view.dice('liver'):.2f}"
        assert row[4].texts[0].get_text() == f"Dice {view.dice('tumor'):.2f}"
    assert draw_masks(toy_summary(), toy_slices()).axes[0].get_ylabel().startswith("case case")
    assert len(draw_masks(toy_summary(), toy_slices()).axes) == 15


def test_a_slice_without_tumor_says_so_instead_of_a_dice() -> None:
    view = toy_view()
    free = replace(view, true=np.minimum(view.true, 1), predicted=np.minimum(view.predicted, 1))
    figure = draw_masks(toy_summary(), toy_slices([free]))
    assert figure.axes[4].texts[0].get_text() == "none, as in truth"
    check_readable(figure)
    assert "tumor no Dice" not in " ".join(
        texts_of(draw_overlays(toy_summary(), toy_slices([free])))
    )


def test_figure_10_has_truth_above_prediction() -> None:
    views = toy_views(6)
    figure = draw_overlays(toy_summary(), toy_slices(views))
    above, below = np.array(figure.axes).reshape(2, 6)
    assert (above[0].get_ylabel(), below[0].get_ylabel()) == ("truth", "prediction")
    for truth, prediction, view in zip(above, below, views, strict=True):
        assert np.array_equal(covered(truth, TUMOR), view.true == Label.TUMOR)
        assert np.array_equal(covered(prediction, TUMOR), view.predicted == Label.TUMOR)
        assert np.array_equal(covered(prediction, LIVER), view.predicted == Label.LIVER)
        assert f"tumor Dice {view.dice('tumor'):.2f}" in prediction.get_xlabel()


def test_fewer_cases_than_places_say_how_many() -> None:
    figure = draw_overlays(toy_summary(), toy_slices(toy_views(2)))
    check_readable(figure)
    assert any("2 of 9 volumes" in text for text in texts_of(figure))


def test_long_names_do_not_run_into_each_other() -> None:
    views = [replace(v, case=f"WIDE-HOSPITAL-NAME-{n:09}") for n, v in enumerate(toy_views(6))]
    ranked = {"upper quartile": views[0]}
    for draw in (draw_overlays, draw_masks, draw_errors, draw_failures):
        check_readable(draw(toy_summary(), toy_slices(views, ranked=ranked)))


def test_errors_are_yellow_and_blue_by_nested_classes() -> None:
    true = np.array([[0, 0, 0, 1, 1, 1, 2, 2, 2]], np.uint8).repeat(6, axis=0)
    made = np.array([[0, 1, 2, 0, 1, 2, 0, 1, 2]], np.uint8).repeat(6, axis=0)
    view = SliceView("1", 0, np.full(true.shape, 50, np.int16), true, made, (1.0, 1.0))
    axes = Figure().subplots()
    draw_error_map(axes, view, whole(view))
    assert covered(axes, FALSE_POSITIVE)[0].tolist() == [0, 1, 1, 0, 0, 1, 0, 0, 0]
    assert covered(axes, FALSE_NEGATIVE)[0].tolist() == [0, 0, 0, 1, 0, 0, 1, 1, 0]


def test_failures_show_outlines_and_no_pixel_of_a_ct() -> None:
    """The same masks on another CT give the same picture; what was missed stands below."""
    view = toy_view(shift_px=4)
    pictures = []
    for hu in (view.hu, np.full_like(view.hu, 77)):
        figure = draw_failures(toy_summary(), toy_slices(failures=[replace(view, hu=hu)]))
        check_readable(figure)
        figure.canvas.draw()
        pictures.append(np.asarray(figure.canvas.buffer_rgba()).copy())  # type: ignore[attr-defined]
    np.testing.assert_array_equal(*pictures)
    axes = figure.axes[0]
    assert np.array_equal(covered(axes, TUMOR), view.true == Label.TUMOR)
    missed = (view.true == Label.TUMOR) & (view.predicted != Label.TUMOR)
    cm2 = missed.sum() * view.spacing_ji_mm[0] * view.spacing_ji_mm[1] / 100
    assert f"missed {cm2:.1f} cm²" in axes.get_xlabel()
    with pytest.raises(NotDrawn, match="no scored volume has a wrong voxel"):
        draw_failures(toy_summary(), toy_slices(failures=()))


def test_figure_11_goes_from_the_best_to_the_worst() -> None:
    views = dict(zip(RANKS, toy_views(5), strict=True))
    figure = draw_errors(toy_summary(), toy_slices(ranked=views, ranked_of=123))
    rows = np.array(figure.axes).reshape(5, 4)
    titles = [axes.get_title(loc="left") for axes in rows[0]]
    assert titles == ["CT", "Truth", "Prediction", "Errors"]
    for row, (rank, view) in zip(rows, views.items(), strict=True):
        assert row[0].get_ylabel().startswith(f"{rank}\ntumor Dice {view.dice('tumor'):.2f}")
        assert np.array_equal(covered(row[3], FALSE_POSITIVE), view.predicted > view.true)
        assert np.array_equal(covered(row[3], FALSE_NEGATIVE), view.predicted < view.true)
    words = " ".join(texts_of(figure))
    assert "5 of 123 slices with tumor" in words
    assert "false positive" in words


def test_without_tumor_there_is_a_reason() -> None:
    for draw in (draw_sample, draw_masks, draw_overlays, draw_errors):
        with pytest.raises(NotDrawn, match="none of the scored"):
            draw(toy_summary(), toy_slices([]))
