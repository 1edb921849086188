"""Figure 8, calibration and patients: the numbers on the page are the numbers handed over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from looped import looped
from toy_figures import check_readable, of_patients, texts_of, toy_calibration, toy_summary

from training.reports.figures_scores import (
    draw_calibration,
    draw_confusion,
    draw_patients,
    row_percent,
)
from training.reports.slices_to_show import NotDrawn
from training.score.calibration import Calibration

pytestmark = pytest.mark.usefixtures("figure_style")

MATRIX = np.array([[9_000_000, 500, 0], [1_000, 80_000, 19_000], [0, 250, 750]], np.int64)


def test_confusion_shows_counts_and_shares_of_each_row() -> None:
    counts, shares = draw_confusion(toy_summary(matrix=MATRIX)).axes
    shown = np.asarray(counts.images[0].get_array())
    assert np.array_equal(shown, MATRIX)
    assert [text.get_text() for text in counts.texts] == [f"{v:,}" for v in MATRIX.ravel()]
    percent = np.asarray(shares.images[0].get_array())
    assert percent.sum(axis=1) == pytest.approx([100.0] * 3)
    assert percent[2] == pytest.approx([0.0, 25.0, 75.0])
    assert [text.get_text() for text in shares.texts[6:]] == ["0.00 %", "25.00 %", "75.00 %"]
    assert shares.texts[1].get_text() == "0.01 %"  # 500 of 9 million is 0.0056 %
    for axes in (counts, shares):
        assert axes.get_ylabel() == "true class"
        assert axes.get_xlabel() == "predicted class"
        assert [t.get_text() for t in axes.get_xticklabels()] == ["background", "liver", "tumor"]


def test_rare_errors_missing_classes_and_few_bins_are_shown_as_they_are() -> None:
    # a rare error is not rounded to none
    matrix = np.diag([10**9, 10**6, 10**4]) + np.array([[0, 3, 0], [0, 0, 0], [0, 0, 0]])
    _, shares = draw_confusion(toy_summary(matrix=matrix)).axes
    assert shares.texts[1].get_text() == "< 0.01 %"
    assert shares.texts[2].get_text() == "0.00 %"

    # row percent of a missing class is undefined
    percent = row_percent(np.array([[3, 1], [0, 0]], np.int64))
    assert percent[0].tolist() == [75.0, 25.0]
    assert np.isnan(percent[1]).all()

    # one bin is enough and none is not
    one = Calibration(np.array([0.0, 1.0]), np.array([4]), np.array([2.0]), np.array([1]))
    check_readable(draw_calibration(toy_summary(calibration=one)))
    empty = replace(toy_calibration(), counts=np.zeros(4, np.int64))
    for nothing in ({**toy_summary(), "calibration": None}, toy_summary(calibration=empty)):
        with pytest.raises(NotDrawn, match="No tumor probabilities"):
            draw_calibration(nothing)


@looped(
    "matrix",
    [
        np.zeros((3, 3), np.int64),
        np.diag([31_234_567_890, 1_234_567_890, 0]),
        np.full((3, 3), 12_345_678_901),
    ],
)
def test_any_matrix_can_be_read(matrix: np.ndarray) -> None:
    figure = draw_confusion(toy_summary(matrix=matrix))
    check_readable(figure)
    cell_px = figure.axes[0].bbox.width / 3
    for text in figure.axes[0].texts:
        assert text.get_window_extent().width < cell_px
    missing = (matrix.sum(axis=1) == 0).sum()
    assert texts_of(figure).count("none in truth") == 3 * missing


def test_reliability_shows_used_bins_and_the_counts_of_all() -> None:
    figure = draw_calibration(toy_summary())
    reliability, histogram = figure.axes
    diagonal, observed = reliability.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    assert observed.get_xdata() == pytest.approx([0.02, 0.9])
    assert observed.get_ydata() == pytest.approx([0.02, 0.6])
    assert reliability.get_title(loc="left") == "Expected calibration error 0.0300"
    assert [bar.get_height() for bar in histogram.patches] == [900, 0, 0, 100]
    assert [bar.get_x() for bar in histogram.patches] == [0.0, 0.25, 0.5, 0.75]
    assert histogram.get_yscale() == "log"
    words = " ".join(texts_of(figure))
    assert "1,000 voxels" in words
    assert "78 of them tumor" in words
    assert "from 0.25 on, the calibration error is 0.300" in words


def test_patients_are_sorted_and_their_mean_is_the_one_handed_over() -> None:
    dice = {"a": (0.9, 0.4), "free": (0.8, None), "b": (0.7, 0.6)}
    intervals = {"liver": (0.8, None), "tumor": (0.5, [0.1, 0.7])}
    figure = draw_patients(toy_summary(**of_patients(dice, intervals)))
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["free", "a", "b"]
    liver, tumor, mean = axes.lines
    assert liver.get_xdata() == pytest.approx([0.8, 0.9, 0.7])
    assert tumor.get_xdata() == pytest.approx([0.4, 0.6])
    assert list(tumor.get_ydata()) == [1, 2]
    assert mean.get_xdata()[0] == 0.5
    (band,) = axes.patches
    assert band.get_extents().width > 0
    words = " ".join(texts_of(figure))
    assert "tumor: mean 0.500 (95% CI 0.100 to 0.700)" in words
    assert "3 patients, 2 with a tumor Dice" in words


@looped("count", [1, 44, 300])
def test_any_number_of_patients_can_be_read(count: int) -> None:
    dice = {f"patient-{n:04}": (0.9, n / count) for n in range(count)}
    intervals = {"liver": (0.9, [0.9, 0.9]), "tumor": (0.5, [0.4, 0.6])}
    figure = draw_patients(toy_summary(**of_patients(dice, intervals)))
    check_readable(figure)
    assert figure.get_size_inches()[1] < 14
    assert len(figure.axes[0].lines[0].get_xdata()) == count


def test_a_patient_is_the_mean_of_its_volumes() -> None:
    summary = toy_summary(**of_patients({"a": (0.9, 0.4), "b": (0.7, None)}, {}))
    for case in summary["cases"]:
        case["patient"] = "one"
    summary["volumes"] = toy_summary()["volumes"]
    (axes,) = draw_patients(summary).axes
    assert [line.get_xdata()[0] for line in axes.lines[:2]] == pytest.approx([0.8, 0.4])
