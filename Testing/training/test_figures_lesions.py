"""Lesions by size with n of N, and Bland-Altman limits that agree with the formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from toy_figures import check_readable, texts_of, toy_material

from training.reports.figures_lesions import (
    Limits,
    draw_bland_altman,
    draw_confidence,
    draw_lesions,
    size_bin,
)
from training.reports.material import LesionOutcome, NotDrawn, VolumePair
from training.score.lesions import LesionConfidence


@pytest.mark.parametrize(
    ("diameter_mm", "place"), [(3, 0), (9.99, 0), (10, 1), (20, 1), (20.01, 2), (90, 2)]
)
def test_size_bins_are_those_on_the_axis(diameter_mm: float, place: int) -> None:
    assert size_bin(diameter_mm) == place


def test_found_and_missed_are_counted_by_size() -> None:
    lesions = [
        LesionOutcome(5.0, False, 0.0),
        LesionOutcome(8.0, True, 0.3),
        LesionOutcome(15.0, True, 0.6),
        LesionOutcome(15.0, False, 0.0),
        LesionOutcome(16.0, True, math.nan),
    ]
    figure = draw_lesions(toy_material(lesions=lesions))
    bars, scatter = figure.axes
    assert [text.get_text() for text in bars.texts] == ["1 of 2\n(50%)", "2 of 3\n(67%)", "none"]
    found, missed = bars.containers
    assert [bar.get_height() for bar in found] == [1, 2, 0]
    assert [bar.get_height() for bar in missed] == [1, 1]
    assert [bar.get_y() for bar in missed] == [1, 2]
    dots, crosses = scatter.lines[:2]
    assert list(dots.get_xdata()) == [8.0, 15.0]  # a lesion without a Dice is in the bars only
    assert list(dots.get_ydata()) == [0.3, 0.6]
    assert list(crosses.get_xdata()) == [5.0, 15.0]
    assert "3 of 5 lesions found" in " ".join(texts_of(figure))


@pytest.mark.parametrize("diameter_mm", [0.8, 15.0, 190.0])
def test_one_lesion_of_any_size_can_be_read(diameter_mm: float) -> None:
    figure = draw_lesions(toy_material(lesions=[LesionOutcome(diameter_mm, True, 0.5)]))
    check_readable(figure)
    low, high = figure.axes[1].get_xlim()
    assert low < diameter_mm < high


def test_lesions_lie_by_confidence_and_true_share() -> None:
    pairs = [(0.9, 0.8), (0.75, 0.0), (0.5, 0.01), (1.0, 1.0), (0.1, 0.0)]
    figure = draw_confidence(toy_material(confidences=[LesionConfidence(*pair) for pair in pairs]))
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


@pytest.mark.parametrize("true_share", [0.0, 1.0])
def test_one_lesion_with_confidence_can_be_read(true_share: float) -> None:
    figure = draw_confidence(toy_material(confidences=[LesionConfidence(1.0, true_share)]))
    check_readable(figure)


def test_limits_of_agreement_by_the_formulas() -> None:
    differences = np.array([1.0, -2.0, 4.0, 0.5, -1.5])
    limits = Limits.of(differences)
    sd = math.sqrt(((differences - differences.mean()) ** 2).sum() / 4)
    assert limits.mean == pytest.approx(0.4)
    assert (limits.low, limits.high) == pytest.approx((0.4 - 1.96 * sd, 0.4 + 1.96 * sd))
    # Bland and Altman 1999: var(limit) = s2 (1/n + 1.96^2 / (2 (n - 1)))
    half = stats.t(4).ppf(0.975) * sd * math.sqrt(1 / 5 + 1.96**2 / 8)
    assert limits.uncertainty == pytest.approx(half)


def test_differences_are_prediction_minus_truth_against_their_mean() -> None:
    pairs = [
        VolumePair("a", 10.0, 14.0, 1.0, 2.0),
        VolumePair("b", 50.0, 40.0, 8.0, 4.0),
        VolumePair("c", 0.0, 0.0, None, 0.0),
    ]
    volume, burden = draw_bland_altman(toy_material(pairs=pairs)).axes
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
    pairs = [VolumePair("c", 0.0, 0.0, None, None)]
    figure = draw_bland_altman(toy_material(pairs=pairs))
    check_readable(figure)
    assert "1 volume without a liver" in " ".join(texts_of(figure))


def test_no_tumors_give_a_reason() -> None:
    with pytest.raises(NotDrawn, match="No lesion"):
        draw_lesions(toy_material(lesions=[]))
    with pytest.raises(NotDrawn, match="No tumor volumes"):
        draw_bland_altman(toy_material(pairs=[]))
    with pytest.raises(NotDrawn, match="No confidence of lesions: "):
        draw_confidence(toy_material(confidences=None))
    with pytest.raises(NotDrawn, match="marked no tumor"):
        draw_confidence(toy_material(confidences=[]))
