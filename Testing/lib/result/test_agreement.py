"""Agreement with a reference: Dice by hand, empty masks, lesions made by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from LiverTumorSegLib.result.agreement import Agreement, compare, dice
from looped import looped
from numpy.typing import NDArray

Labels = NDArray[np.uint8]


def mask(text: str) -> NDArray[np.bool_]:
    return np.array([c == "#" for c in text])


@looped(
    ("predicted", "true", "value"),
    [
        ("##..", "##..", 1.0),
        ("##..", "..##", 0.0),
        ("###.", ".##.", 4 / 5),
        ("#...", "####", 2 / 5),
        (".##.", "##..", 1 / 2),
        ("....", "....", 1.0),  # nothing to find and nothing found
        ("....", "#...", 0.0),
        ("#...", "....", 0.0),
    ],
)
def test_dice(predicted: str, true: str, value: float) -> None:
    assert dice(mask(predicted), mask(true)) == pytest.approx(value)
    assert dice(mask(true), mask(predicted)) == pytest.approx(value)


def liver(*tumors: tuple[slice, slice, slice]) -> Labels:
    """A block of liver, 8 x 10 x 12, in 10 x 14 x 16, with blocks of tumor."""
    labels = np.zeros((10, 14, 16), np.uint8)
    labels[1:9, 2:12, 2:14] = 1
    for block in tumors:
        labels[block] = 2
    return labels


A = np.s_[2:4, 3:5, 3:5]  # 8 voxels
B = np.s_[6:8, 8:11, 9:12]  # 18 voxels
PART_OF_B = np.s_[6:8, 8:11, 9:10]  # 6 voxels
C = np.s_[2:4, 8:10, 9:11]  # 8 voxels, where the reference has none


def test_perfect_and_empty_masks() -> None:
    # perfect
    assert compare(liver(A, B), liver(A, B)) == Agreement(1.0, 1.0, 2, 2, 0)

    # no tumor anywhere agrees
    assert compare(liver(), liver()) == Agreement(1.0, 1.0, 0, 0, 0)

    # nothing at all
    nothing = np.zeros_like(liver())
    assert compare(nothing, nothing) == Agreement(1.0, 1.0, 0, 0, 0)
    assert compare(nothing, liver(A)) == Agreement(0.0, 0.0, 1, 0, 0)
    assert compare(liver(A), nothing) == Agreement(0.0, 0.0, 0, 0, 1)


def test_any_overlap_finds_a_lesion_once_and_what_touches_none_is_false() -> None:
    # one found in part one missed one made up
    agreement = compare(liver(PART_OF_B, C), liver(A, B))
    assert agreement.liver_dice == 1.0  # the liver counts with its tumor
    assert agreement.tumor_dice == pytest.approx(2 * 6 / (14 + 26))
    assert (agreement.lesions_true, agreement.lesions_found, agreement.false_lesions) == (2, 1, 1)

    # one prediction over two lesions finds both
    over_both = np.s_[2:8, 3:11, 3:12]
    agreement = compare(liver(over_both), liver(A, B))
    assert (agreement.lesions_found, agreement.false_lesions) == (2, 0)

    # two pieces on one lesion find it once
    other_part = np.s_[6:8, 8:11, 11:12]
    agreement = compare(liver(PART_OF_B, other_part), liver(B))
    assert (agreement.lesions_true, agreement.lesions_found, agreement.false_lesions) == (1, 1, 0)

    # touching without overlap is not found
    beside_a = np.s_[4:5, 5:6, 5:6]  # shares a corner with A
    agreement = compare(liver(beside_a), liver(A))
    assert (agreement.lesions_found, agreement.false_lesions, agreement.tumor_dice) == (0, 1, 0.0)

    # voxels that share a corner are one lesion
    assert compare(liver(), liver(A, np.s_[4:5, 5:6, 5:6])).lesions_true == 1

    # a found lesion outside the predicted liver counts
    alone = np.zeros_like(liver())
    alone[A] = 2
    agreement = compare(alone, liver(A))
    assert (agreement.tumor_dice, agreement.lesions_found) == (1.0, 1)
    assert agreement.liver_dice == pytest.approx(2 * 8 / (8 + 8 * 10 * 12))


def test_other_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        compare(liver(), liver()[1:])


def test_neither_input_is_changed() -> None:
    predicted, true = liver(PART_OF_B, C), liver(A, B)
    before = predicted.copy(), true.copy()
    compare(predicted, true)
    np.testing.assert_array_equal(predicted, before[0])
    np.testing.assert_array_equal(true, before[1])


def test_plain_values_for_json() -> None:
    kept = json.loads(json.dumps(compare(liver(PART_OF_B), liver(A, B)).to_dict()))
    assert kept.keys() == {
        "liver_dice",
        "tumor_dice",
        "lesions_true",
        "lesions_found",
        "false_lesions",
    }
    assert Agreement(**kept) == compare(liver(PART_OF_B), liver(A, B))
