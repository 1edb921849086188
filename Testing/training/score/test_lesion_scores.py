"""Rows of lesions against hand-made boxes, scikit-image's regions and the challenge's counts."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
from LiverTumorSegLib.result.lesions import measure_labels
from looped import looped
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops

from training.score.lesions import (
    LARGE_BINS,
    SIZE_BINS,
    LesionTable,
    ScoredLesion,
    detection_by_size,
    detection_of,
    lesion_table,
)
from training.score.matching import THRESHOLDS, lits_detection

SPACING = (2.0, 0.5, 1.0)  # 1 mm3 a voxel


def boxes(*boxes_kji: tuple[slice, slice, slice]) -> NDArray[np.uint8]:
    labels = np.ones((12, 30, 30), dtype=np.uint8)
    for box in boxes_kji:
        labels[box] = 2
    return labels


def ball_of(diameter_mm: float) -> ScoredLesion:
    return ScoredLesion(1, (0, 0, 0), 1.0, diameter_mm, diameter_mm, 0.0, 0.0, 0.0)


def noise(seed: int) -> NDArray[np.uint8]:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(12, 24, 24)), 1.3)
    return np.where(field > 0.09, 2, 1).astype(np.uint8)


TRUE = boxes(np.s_[2:6, 2:12, 3:13], np.s_[8:10, 20:22, 20:22])
PREDICTED = boxes(np.s_[2:6, 2:12, 8:18], np.s_[1:2, 25:27, 2:4])


def test_rows_of_true_and_predicted_lesions_say_where_how_large_and_how_well() -> None:
    # a row says where how large and how well it fits
    first, second = lesion_table(PREDICTED, TRUE, SPACING).true
    assert first.center_kji == (3, 6, 7)
    assert first.volume_ml == pytest.approx(0.4)
    assert first.equivalent_diameter_mm == pytest.approx((6 * 400 / pi) ** (1 / 3))
    assert first.overlap_fraction == pytest.approx(0.5)
    assert first.best_iou == first.matched_iou == pytest.approx(1 / 3)
    assert (first.detected(0.0), first.detected(0.5)) == (True, False)
    assert (second.overlap_fraction, second.best_iou, second.matched_iou) == (0, 0, 0)
    assert second.volume_ml == pytest.approx(0.008)
    assert not second.detected(0.0)

    # predictions have rows too and a false one has zeros
    false, touching = lesion_table(PREDICTED, TRUE, SPACING).predicted
    assert (false.volume_ml, false.center_kji) == (pytest.approx(0.004), (1, 25, 2))
    assert (false.overlap_fraction, false.matched_iou, false.detected(0.0)) == (0, 0, False)
    assert (touching.overlap_fraction, touching.detected(0.0)) == (pytest.approx(0.5), True)

    # best iou is of one prediction and matched iou of all merged
    true = boxes(np.s_[2:4, 2:4, 2:11])
    predicted = boxes(np.s_[2:4, 2:4, 2:7], np.s_[2:4, 2:4, 8:11])
    table = lesion_table(predicted, true, SPACING)
    assert table.true[0].best_iou == pytest.approx(5 / 9)
    assert table.true[0].matched_iou == pytest.approx(8 / 9)
    assert [lesion.best_iou for lesion in table.predicted] == pytest.approx([5 / 9, 3 / 9])
    assert [lesion.matched_iou for lesion in table.predicted] == pytest.approx([8 / 9, 8 / 9])


def test_sizes_places_and_overlaps_are_those_of_scikit_image() -> None:
    predicted, true = noise(0), noise(1)
    components, _ = ndimage.label(true.transpose() == 2)
    regions = regionprops(components, intensity_image=(predicted.transpose() == 2).astype(float))
    rows = lesion_table(predicted, true, SPACING).true
    assert len(rows) == len(regions) > 5
    for row, region in zip(rows, regions, strict=True):
        assert row.volume_ml == pytest.approx(region.area / 1000)
        assert row.equivalent_diameter_mm == pytest.approx(region.equivalent_diameter_area)
        assert row.overlap_fraction == pytest.approx(region.intensity_mean)
        low, high = np.array(region.bbox).reshape(2, 3)
        assert row.center_kji == tuple((low + high - 1)[::-1] // 2)


@looped(
    ("diameter_mm", "bin_index"),
    [(0.5, 0), (9.999, 0), (10.0, 1), (15.0, 1), (20.0, 1), (20.001, 2), (90.0, 2)],
)
def test_ten_and_twenty_millimeters_belong_to_the_middle(
    diameter_mm: float, bin_index: int
) -> None:
    assert ball_of(diameter_mm).size == SIZE_BINS[bin_index]


def test_the_table_counts_what_the_challenge_counts() -> None:
    for seed in range(4):
        predicted, true = noise(seed), noise(seed + 1)
        near = np.where(np.random.default_rng(seed).random(true.shape) < 0.9, true, predicted)
        for made in (predicted, near.astype(np.uint8)):
            table = lesion_table(made, true, SPACING)
            for threshold in THRESHOLDS:
                assert table.detection(threshold) == lits_detection(made, true, threshold=threshold)


def test_sizes_sum_to_the_whole_each_lesion_by_its_own() -> None:
    # sizes sum to the whole over volumes
    tables = [lesion_table(noise(s), noise(s + 9), (9.0, 3.0, 3.0)) for s in range(3)]
    by_size = detection_by_size(tables, 0.0)
    assert list(by_size) == list(SIZE_BINS)
    whole = [table.detection(0.0) for table in tables]
    for name in ("tp", "fp", "fn", "predicted"):
        parts = [getattr(counts, name) for counts in by_size.values()]
        assert sum(parts) == sum(getattr(counts, name) for counts in whole)
    assert all(counts.true_lesions for counts in by_size.values())  # every bin is in use
    assert {counts.volumes for counts in by_size.values()} == {3}

    # a lesion is counted by its own size: A large truth found by a middle-sized prediction, and a
    # small false one.
    true = boxes(np.s_[0:10, 0:25, 0:25])
    predicted = boxes(np.s_[0:8, 0:20, 0:20], np.s_[5:6, 28:29, 28:29])
    by_size = detection_by_size([lesion_table(predicted, true, SPACING)], 0.0)
    small, middle, large = (by_size[size] for size in SIZE_BINS)
    assert (small.tp, small.fp, small.fn, small.predicted) == (0, 1, 0, 1)
    assert (middle.tp, middle.fp, middle.fn, middle.predicted) == (0, 0, 0, 1)
    assert (large.tp, large.fp, large.fn, large.predicted) == (1, 0, 0, 0)


def test_volumes_without_tumor_have_empty_tables() -> None:
    assert lesion_table(boxes(), boxes(), SPACING) == LesionTable((), ())
    assert lesion_table(PREDICTED, boxes(), SPACING).true == ()
    assert detection_by_size([], 0.5)[SIZE_BINS[0]].volumes == 0


def test_a_csv_line_has_plain_values_and_both_verdicts() -> None:
    row = lesion_table(PREDICTED, TRUE, SPACING).true[0].row()
    assert row["detected_over_0"] is True
    assert row["detected_over_half"] is False
    assert (row["center_k"], row["center_j"], row["center_i"]) == (3, 6, 7)
    assert (row["volume_ml"], row["matched_iou"], row["size"]) == (0.4, 0.3333, SIZE_BINS[0])
    assert row.pop("confidence") is None
    assert {type(value) for value in row.values()} == {int, float, str, bool}


def test_large_lesions_are_those_of_the_two_upper_bins() -> None:
    tables = [lesion_table(noise(s), noise(s + 9), (9.0, 3.0, 3.0)) for s in range(3)]
    _, middle, large = detection_by_size(tables, 0.0).values()
    both = detection_of(tables, 0.0, LARGE_BINS)
    for name in ("tp", "fp", "fn", "predicted"):
        assert getattr(both, name) == getattr(middle, name) + getattr(large, name)
    assert both.volumes == 3
    assert both.true_lesions == sum(
        lesion.equivalent_diameter_mm >= 10 for table in tables for lesion in table.true
    )


def test_confidence_is_the_mean_certainty_of_a_lesions_voxels() -> None:
    """Against scikit-image's regions; what lies outside of lesions does not count."""
    predicted, true = noise(0), noise(1)
    certainty = np.random.default_rng(2).integers(0, 256, predicted.shape).astype(np.uint8)
    components, _ = ndimage.label(predicted.transpose() == 2)
    regions = regionprops(components, intensity_image=certainty.transpose().astype(float))
    table = lesion_table(predicted, true, SPACING)
    sure = table.with_confidence(predicted, certainty)
    assert [one.confidence for one in sure.predicted] == pytest.approx(
        [region.intensity_mean / 255 for region in regions]
    )
    assert len(regions) > 5
    assert sure.true == table.true
    assert all(one.confidence is None for one in sure.true)
    assert sure.predicted[0].row()["confidence"] == pytest.approx(
        regions[0].intensity_mean / 255, abs=1e-4
    )


def test_confidence_without_a_predicted_lesion() -> None:
    table = lesion_table(boxes(), TRUE, SPACING)
    assert table.with_confidence(boxes(), np.zeros_like(TRUE)) == table


def test_longest_axial_diameter_is_that_of_the_measures_users_see() -> None:
    """A bar of 9 x 3 pixels on one slice, thinner on the next; a second lesion on a corner."""
    true = np.zeros((6, 30, 30), np.uint8)
    true[2, 5:8, 4:13] = 2
    true[3, 5:8, 4:8] = 2
    true[0, 20:22, 20:22] = 2
    table = lesion_table(true, true, (3.0, 0.8, 0.5))
    expected = measure_labels(true, np.diag([-0.5, -0.8, 3.0, 1.0])).lesions
    assert [one.longest_axial_diameter_mm for one in table.true] == pytest.approx(
        [one.longest_axial_diameter_mm for one in expected]
    )
    assert table.true[0].longest_axial_diameter_mm > table.true[1].longest_axial_diameter_mm
