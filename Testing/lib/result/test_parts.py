"""Parts of a liver counted by hand, and what must hold of any parts."""

from __future__ import annotations

import numpy as np
import pytest
from LiverTumorSegLib.result.parts import measure_parts

VOXEL_ML = 0.5


def liver_of_two_lobes() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels, lesions and both lobes: 4 x 10 x 10 voxels of liver, right 240, left 160.

    Lesion 1 has 12 voxels, 8 of them right and 4 left; lesion 2 has 3, all left.
    """
    labels, lesions = np.zeros((8, 14, 14), np.uint8), np.zeros((8, 14, 14), np.uint16)
    labels[2:6, 2:12, 2:12] = 1
    lesions[3, 4:6, 4:10] = 1
    lesions[4, 9, 8:11] = 2
    labels[lesions > 0] = 2
    right, left = np.zeros(labels.shape, bool), np.zeros(labels.shape, bool)
    right[2:6, 2:12, 2:8] = True
    left[2:6, 2:12, 8:12] = True
    return labels, lesions, right, left


def test_two_lobes_are_what_a_person_counts() -> None:
    labels, lesions, right, left = liver_of_two_lobes()
    measured = measure_parts(labels, lesions, [("right", right), ("left", left)], VOXEL_ML)
    first, second = measured.parts
    assert (first.name, first.volume_ml, first.without_tumor_ml) == ("right", 120.0, 116.0)
    assert (second.name, second.volume_ml, second.without_tumor_ml) == ("left", 80.0, 76.5)
    assert first.share_percent == pytest.approx(100 * 232 / 385)
    assert second.share_percent == pytest.approx(100 * 153 / 385)
    assert measured.in_no_part_ml == 0
    assert measured.part_of_lesion == {1: "right", 2: "left"}


def test_what_is_outlined_beside_the_liver_does_not_count_and_another_organ_is_no_part() -> None:
    labels, lesions, _right, left = liver_of_two_lobes()
    left[2:6, 2:12, 12:14] = True  # 80 voxels too far
    spleen = np.zeros(labels.shape, bool)
    spleen[0:3, 0:3, 0:3] = True  # one of 27 voxels in the liver
    nothing = np.zeros(labels.shape, bool)
    parts = [("spleen", spleen), ("empty", nothing), ("left", left)]
    measured = measure_parts(labels, lesions, parts, VOXEL_ML)
    (part,) = measured.parts
    assert (part.name, part.volume_ml, part.outside_ml) == ("left", 80.0, 40.0)
    assert measured.in_no_part_ml == 120.0
    assert measured.part_of_lesion == {1: "left", 2: "left"}, "the part with most of it"


def test_any_division_of_the_liver_adds_up_to_it_and_holds_each_lesion_where_most_of_it_is() -> (
    None
):
    random = np.random.default_rng(3)
    for _again in range(20):
        labels, lesions, *_lobes = liver_of_two_lobes()
        numbers = random.integers(0, 5, labels.shape)
        parts = [(str(n), (numbers == n) & (labels > 0)) for n in range(5)]
        measured = measure_parts(labels, lesions, parts, VOXEL_ML)
        assert sum(part.volume_ml for part in measured.parts) == 200.0
        assert sum(part.without_tumor_ml for part in measured.parts) == 192.5
        shares = [part.share_percent for part in measured.parts]
        assert sum(share for share in shares if share) == pytest.approx(100)
        for lesion, name in measured.part_of_lesion.items():
            counts = np.bincount(numbers[lesions == lesion], minlength=5)
            assert int(name) == counts.argmax()


def test_no_liver_and_a_liver_that_is_all_tumor() -> None:
    labels, lesions, right, _left = liver_of_two_lobes()
    none = measure_parts(labels * 0, lesions * 0, [("right", right)], VOXEL_ML)
    assert (none.parts, none.part_of_lesion) == ((), {})
    labels[labels > 0] = 2
    (part,) = measure_parts(labels, (labels > 0) * 1, [("right", right)], VOXEL_ML).parts
    assert part.without_tumor_ml == 0
    assert part.share_percent is None
