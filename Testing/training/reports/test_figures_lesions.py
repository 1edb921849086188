"""Lesions by size with n of N, and Bland-Altman limits that agree with the formulas."""

from __future__ import annotations

import pytest
from looped import looped
from toy_figures import burdens, check_readable, confident, texts_of, toy_summary

from training.reports.figures_lesions import (
    draw_bland_altman,
    draw_confidence,
    draw_lesions,
    size_bin,
)
from training.reports.slices_to_show import NotDrawn
from training.score.summary import Record

pytestmark = pytest.mark.usefixtures("figure_style")


def with_true(lesions: list[Record]) -> Record:
    return toy_summary(lesions={"true": lesions, "predicted": []})


@looped(("diameter_mm", "place"), [(3, 0), (9.99, 0), (10, 1), (20, 1), (20.01, 2), (90, 2)])
def test_size_bins_are_those_on_the_axis(diameter_mm: float, place: int) -> None:
    assert size_bin(diameter_mm) == place


def test_found_and_missed_are_counted_by_size() -> None:
    lesions = [
        {"diameter_mm": 5.0, "found": False, "dice": 0.0},
        {"diameter_mm": 8.0, "found": True, "dice": 0.3},
        {"diameter_mm": 15.0, "found": True, "dice": 0.6},
        {"diameter_mm": 15.0, "found": False, "dice": 0.0},
        {"diameter_mm": 16.0, "found": True, "dice": 0.7},
    ]
    figure = draw_lesions(with_true(lesions))
    bars, scatter = figure.axes
    assert [text.get_text() for text in bars.texts] == ["1 of 2\n(50%)", "2 of 3\n(67%)", "none"]
    found, missed = bars.containers
    assert [bar.get_height() for bar in found] == [1, 2, 0]
    assert [bar.get_height() for bar in missed] == [1, 1]
    assert [bar.get_y() for bar in missed] == [1, 2]
    dots, crosses = scatter.lines[:2]
    assert list(dots.get_xdata()) == [8.0, 15.0, 16.0]
    assert list(dots.get_ydata()) == [0.3, 0.6, 0.7]
    assert list(crosses.get_xdata()) == [5.0, 15.0]
    assert "3 of 5 lesions found" in " ".join(texts_of(figure))


@looped("diameter_mm", [0.8, 15.0, 190.0])
def test_one_lesion_of_any_size_can_be_read(diameter_mm: float) -> None:
    figure = draw_lesions(with_true([{"diameter_mm": diameter_mm, "found": True, "dice": 0.5}]))
    check_readable(figure)
    low, high = figure.axes[1].get_xlim()
    assert low < diameter_mm < high


def test_lesions_lie_by_confidence_and_true_share() -> None:
    pairs = [(0.9, 0.8), (0.75, 0.0), (0.5, 0.01), (1.0, 1.0), (0.1, 0.0)]
    figure = draw_confidence(toy_summary(**confident(pairs)))
    dots, bars = figure.axes
    diagonal, touching, others = dots.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    assert list(touching.get_xdata()) == [0.9, 0.5, 1.0]
    assert list(touching.get_ydata()) == [0.8, 0.01, 1.0]
    assert list(others.get_xdata()) == [0.75, 0.1]
    assert touching.get_markerfacecolor() == touching.get_color()
    assert others.get_markerfacecolor() == "white"
    shown = [text.get_text() for text in bars.texts]
    assert shown == ["0 of 1\n(0%)", "none", "1 of 1\n(100%)", "2 of 3\n(67%)"]
    assert "5 predicted lesions, 3 of them touch" in " ".join(texts_of(figure))


@looped("true_share", [0.0, 1.0])
def test_one_lesion_with_confidence_can_be_read(true_share: float) -> None:
    figure = draw_confidence(toy_summary(**confident([(1.0, true_share)])))
    check_readable(figure)


def test_differences_are_prediction_minus_truth_against_their_mean() -> None:
    pairs = [
        (10.0, 14.0, 1.0, 2.0),
        (50.0, 40.0, 8.0, 4.0),
        (0.0, 0.0, None, 0.0),
    ]
    volume, burden = draw_bland_altman(toy_summary(**burdens(pairs))).axes
    dots = volume.lines[1]
    assert list(dots.get_xdata()) == [12.0, 45.0, 0.0]
    assert list(dots.get_ydata()) == [4.0, -10.0, 0.0]
    assert volume.lines[2].get_ydata()[0] == pytest.approx(-2.0)
    assert list(burden.lines[1].get_ydata()) == [1.0, -4.0]
    assert burden.get_title(loc="left") == "Tumor burden, n = 2"
    assert len(burden.lines) == 2, "two differences give no limits"
    assert volume.get_xlabel().endswith("(ml)")
    assert burden.get_xlabel().endswith("(% of the liver)")


def test_volumes_without_a_liver_are_counted() -> None:
    figure = draw_bland_altman(toy_summary(**burdens([(0.0, 0.0, None, None)])))
    check_readable(figure)
    assert "1 volume without a liver" in " ".join(texts_of(figure))


def test_no_tumors_give_a_reason() -> None:
    with pytest.raises(NotDrawn, match="No lesion"):
        draw_lesions(with_true([]))
    with pytest.raises(NotDrawn, match="No confidence of lesions: "):
        draw_confidence(toy_summary(lesion_confidence=None))
    with pytest.raises(NotDrawn, match="marked no tumor"):
        draw_confidence(toy_summary(**confident([])))
