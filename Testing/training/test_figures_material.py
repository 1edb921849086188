"""What the figures are drawn from: checked when it is handed over, and counted right."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.agreement import dice
from toy_figures import PLAIN, toy_calibration, toy_view, toy_views

from training.reports.material import NotDrawn, SliceView
from training.score.calibration import Calibration


def test_dice_of_a_view_is_that_of_its_masks() -> None:
    view = toy_view(shift_px=3)
    assert view.dice("liver") == pytest.approx(
        dice(view.predicted >= Label.LIVER, view.true >= Label.LIVER)
    )
    assert view.dice("tumor") == pytest.approx(
        dice(view.predicted == Label.TUMOR, view.true == Label.TUMOR)
    )


def test_a_mask_empty_on_both_sides_has_no_dice() -> None:
    empty = np.zeros((4, 5), np.uint8)
    view = SliceView("1", 0, np.zeros((4, 5), np.int16), empty, empty, (1.0, 1.0))
    assert math.isnan(view.dice("tumor"))


def test_arrays_of_different_shapes_are_refused() -> None:
    view = toy_view()
    with pytest.raises(ValueError, match=r"Slice \d+ of 7: CT .* must be 2D and of one shape"):
        replace(view, true=view.true[:-1])
    with pytest.raises(ValueError, match="above 0"):
        replace(view, spacing_ji_mm=(0.0, 1.0))


def test_the_matrix_has_a_row_a_class() -> None:
    with pytest.raises(ValueError, match=r"confusion matrix is \(2, 2\)"):
        replace(PLAIN, matrix=np.ones((2, 2), np.int64))


def test_some_views_are_spread_from_the_first_to_the_last() -> None:
    material = replace(PLAIN, views=toy_views(6))
    assert [v.case for v in material.some_views(3)] == ["case-0", "case-2", "case-5"]
    assert len(material.some_views(9)) == 6
    with pytest.raises(NotDrawn, match="none of the scored volumes has a tumor"):
        PLAIN.some_views(3)


def test_the_sample_shows_both_liver_and_tumor() -> None:
    view = toy_view("both")
    tumor_alone = replace(view, case="tumor", true=np.where(view.true > 0, 2, 0).astype(np.uint8))
    assert replace(PLAIN, views=[tumor_alone, view]).sample().case == "both"


def test_expected_calibration_error_by_hand() -> None:
    bins = toy_calibration()
    # bin 1: 0.02 predicted, 0.02 true; bin 4: 0.9 predicted, 0.6 true, a tenth of the voxels
    assert bins.ece() == pytest.approx(0.1 * 0.3)
    assert bins.ece(first_bin=1) == pytest.approx(0.3)
    assert bins.confidence[[0, 3]] == pytest.approx([0.02, 0.9])
    assert bins.frequency[[0, 3]] == pytest.approx([0.02, 0.6])
    assert np.isnan(bins.frequency[1:3]).all()


def test_calibration_without_voxels_and_with_wrong_bins() -> None:
    nothing = Calibration(np.array([0.0, 1.0]), np.array([0]), np.array([0.0]), np.array([0]))
    assert math.isnan(nothing.ece())
    with pytest.raises(ValueError, match="one edge more"):
        replace(nothing, counts=np.array([1, 2]))
    with pytest.raises(ValueError, match="must rise"):
        replace(nothing, edges=np.array([1.0, 0.0]))


def test_the_sentence_about_what_was_scored() -> None:
    assert PLAIN.basis == "9 volumes scored (test split, 3 patients)."
    assert replace(PLAIN, volumes=1).basis.startswith("1 volume scored")


def test_a_long_case_name_loses_its_middle() -> None:
    assert toy_view("7").label(11) == f"case 7\nslice {toy_view().slice_index}"
    short, _ = toy_view("hospital-a-scan-0123").label(11).split("\n")
    assert short == "case hosp...0123"
