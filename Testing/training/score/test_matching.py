"""Lesion matching against the challenge script's known quirks and a matching voxel by voxel."""

from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np
import pytest
from looped import looped
from numpy.typing import NDArray
from scipy import ndimage

from training.score.matching import (
    HALF,
    MODES,
    THRESHOLDS,
    TOUCH,
    Detection,
    Mode,
    lits_detection,
    match_lesions,
)

Labels = NDArray[np.uint8]
Span = tuple[int, int]


def volume(*spans: Span, rows: int = 3) -> Labels:
    """Tumors along i, each from start to stop, 3 x 3 voxels thick; liver around."""
    labels = np.ones((rows + 2, 5, 40), dtype=np.uint8)
    for start, stop in spans:
        labels[1:4, 1:4, start:stop] = 2
    return labels


def counts(predicted: Labels, true: Labels, mode: Mode, threshold: float = HALF) -> tuple[int, ...]:
    found = lits_detection(predicted, true, mode=mode, threshold=threshold)
    return found.tp, found.fp, found.fn


# Predicted spans, true spans, the IoU, and (TP, FP, FN) of both modes at > 0.5 and at > 0: what the
# script was seen to give for such cases, and what it should have given.
TOYS: dict[str, tuple[list[Span], list[Span], float | None, dict[tuple[str, float], Any]]] = {
    "too little overlap": (
        [(11, 19)],
        [(10, 14)],
        0.33,
        {
            ("official", HALF): (0, 1, 1),
            ("clean", HALF): (0, 1, 1),
            ("official", TOUCH): (1, 0, 0),
            ("clean", TOUCH): (1, 0, 0),
        },
    ),
    "a false positive before it": (  # the union is then the truth alone: 3 of 4 voxels
        [(2, 4), (11, 19)],
        [(10, 14)],
        0.33,
        {
            ("official", HALF): (1, 1, 0),
            ("clean", HALF): (0, 2, 1),
            ("official", TOUCH): (1, 1, 0),
            ("clean", TOUCH): (1, 1, 0),
        },
    ),
    "one prediction over two": (
        [(10, 19)],
        [(10, 14), (15, 19)],
        0.89,
        {
            ("official", HALF): (1, 0, 1),
            ("clean", HALF): (2, 0, 0),
            ("official", TOUCH): (1, 0, 1),
            ("clean", TOUCH): (2, 0, 0),
        },
    ),
    "one far too large over two": (
        [(10, 19)],
        [(12, 13), (15, 16)],
        0.22,
        {
            ("official", HALF): (-1, 2, 3),
            ("clean", HALF): (0, 1, 2),
            ("official", TOUCH): (1, 0, 1),
            ("clean", TOUCH): (2, 0, 0),
        },
    ),
    "two predictions on one": (
        [(10, 14), (15, 19)],
        [(10, 19)],
        0.89,
        {
            ("official", HALF): (1, 1, 0),
            ("clean", HALF): (1, 0, 0),
            ("official", TOUCH): (1, 1, 0),
            ("clean", TOUCH): (1, 0, 0),
        },
    ),
    "no true lesion": (  # the script ends with an error
        [(10, 14), (20, 22)],
        [],
        None,
        {(mode, over): (0, 2, 0) for mode in MODES for over in THRESHOLDS},
    ),
    "nothing touches": (
        [(10, 14), (20, 22)],
        [(16, 18)],
        None,
        {(mode, over): (0, 2, 1) for mode in MODES for over in THRESHOLDS},
    ),
    "nothing predicted": (
        [],
        [(10, 14), (20, 22)],
        None,
        {(mode, over): (0, 0, 2) for mode in MODES for over in THRESHOLDS},
    ),
    "nothing at all": (
        [],
        [],
        None,
        {(mode, over): (0, 0, 0) for mode in MODES for over in THRESHOLDS},
    ),
}


@looped("toy", TOYS)
def test_toys_come_out_as_the_script_gives_them_and_as_they_should(toy: str) -> None:
    predicted, true, iou, expected = TOYS[toy]
    match = match_lesions(volume(*predicted), volume(*true))
    assert [round(pair.iou, 2) for pair in match.pairs] == ([] if iou is None else [iou])
    for (mode, threshold), numbers in expected.items():
        made = counts(volume(*predicted), volume(*true), mode, threshold)
        assert made == numbers, (mode, threshold)


def test_lesions_touch_by_voxels_and_match_above_the_threshold() -> None:
    # overlap must be more than the threshold
    half = volume((10, 12)), volume((10, 14))  # IoU 0.5 sharp
    assert counts(*half, "clean") == counts(*half, "official") == (0, 1, 1)
    assert counts(*half, "clean", 0.499) == counts(*half, "official", 0.499) == (1, 0, 0)

    # lesions that share only edges or corners are two
    labels = np.zeros((4, 4, 4), dtype=np.uint8)
    labels[0, 0, 0] = labels[0, 1, 1] = labels[1, 2, 2] = 2
    assert counts(labels, labels, "clean") == (3, 0, 0)


def test_numbers_and_ties_are_those_of_the_script() -> None:
    # the script numbers lesions along the files first axis first: In ``(k, j, i)`` the lesion of
    # the lower i comes first, though its k is higher.
    labels = np.zeros((9, 5, 9), dtype=np.uint8)
    labels[7, 2, 1] = 2
    labels[1, 2, 6:8] = 2
    assert match_lesions(labels, labels).predicted.voxels.tolist() == [1, 2]

    # ties go to the lowest number as in the script: Both predictions share 3 voxels with the
    # first lesion, one of them 3 with the second too.
    true, predicted = np.ones((2, 3, 5, 24), dtype=np.uint8)
    true[1, 1, 0:12] = true[1, 3, 6:12] = 2
    predicted[1, 1, 2:5] = 2
    predicted[1, 1, 7:10] = predicted[1, 2, 9] = predicted[1, 3, 7:10] = 2
    match = match_lesions(predicted, true)
    assert match.shared == {(1, 1): 3, (2, 1): 3, (2, 2): 3}
    assert [(pair.predicted, pair.true) for pair in match.pairs] == [((1, 2), (1,))]


def test_a_touched_lesion_can_be_in_no_pair() -> None:
    """The prediction that touches the second lesion most shares more with the first."""
    true, predicted = np.ones((2, 3, 5, 24), dtype=np.uint8)
    true[1, 1, 0:20] = true[1, 3, 14:20] = 2
    predicted[1, 1, 0:10] = 2  # shares 10 voxels with the first
    predicted[1, 1, 12:18] = predicted[1, 2, 17] = predicted[1, 3, 15:18] = 2  # shares 6 and 3
    match = match_lesions(predicted, true)
    assert match.shared == {(1, 1): 10, (2, 1): 6, (2, 2): 3}
    assert [(pair.predicted, pair.true) for pair in match.pairs] == [((1, 2), (1,))]
    assert match.pairs[0].iou == pytest.approx(16 / 24)
    assert counts(predicted, true, "clean", TOUCH) == (1, 0, 1)


def random_tumors(seed: int) -> tuple[Labels, Labels]:
    """Two label maps with many lesions that overlap in all sorts of ways."""
    rng = np.random.default_rng(seed)
    base = ndimage.gaussian_filter(rng.normal(size=(14, 22, 22)), 1.1)
    made = []
    for _ in range(2):
        field = base + 0.75 * ndimage.gaussian_filter(rng.normal(size=base.shape), 1.1)
        made.append(np.where(field > np.quantile(field, 0.84), 2, 1).astype(np.uint8))
    return made[0], made[1]


def by_voxels(
    predicted: Labels, true: Labels, mode: Mode, threshold: float
) -> tuple[int, int, int]:
    """The matching as written down in the module, with masks of whole lesions at every step."""
    p_map, n_predicted = ndimage.label(predicted.T == 2)
    g_map, n_true = ndimage.label(true.T == 2)
    shared = np.array(
        [
            [np.count_nonzero((p_map == p) & (g_map == g)) for g in range(1, n_true + 1)]
            for p in range(1, n_predicted + 1)
        ]
    ).reshape(n_predicted, n_true)
    merged_map, sizes = g_map.copy(), dict.fromkeys(range(1, n_true + 1), 1)
    for p in range(n_predicted):
        own = [g for g in range(n_true) if shared[p, g] and shared[:, g].argmax() == p]
        for g in own:
            merged_map[g_map == g + 1] = own[0] + 1
            sizes[own[0] + 1] = len(own)
    owner_map = np.zeros_like(p_map)  # of each predicted voxel, the merged lesion it is for
    groups: dict[int, list[int]] = {}
    for p in range(1, n_predicted + 1):
        votes = np.bincount(merged_map[p_map == p], minlength=n_true + 1)
        votes[0] = 0
        if votes.any():
            owner_map[p_map == p] = votes.argmax()
            groups.setdefault(int(votes.argmax()), []).append(p)
    tp_official, tp_clean, used = len(groups), 0, 0
    for g in sorted(groups, key=lambda g: groups[g][0]):
        truth = merged_map == g
        both = np.count_nonzero(np.isin(p_map, groups[g]) & truth)
        union = np.count_nonzero(np.isin(p_map, groups[g]) | truth)
        if both / union > threshold:
            tp_clean, used = tp_clean + sizes[g], used + len(groups[g])
        if both / np.count_nonzero((owner_map == groups[g][0]) | truth) <= threshold:
            owner_map[owner_map == g] = 0
            tp_official -= sizes[g]
    if mode == "official":
        return tp_official, n_predicted - tp_official, n_true - tp_official
    return tp_clean, n_predicted - used, n_true - tp_clean


@looped("seed", range(6))
def test_many_lesions_match_as_they_do_voxel_by_voxel(seed: int) -> None:
    predicted, true = random_tumors(seed)
    for mode in MODES:
        for threshold in (*THRESHOLDS, 0.2):
            expected = by_voxels(predicted, true, mode, threshold)
            assert counts(predicted, true, mode, threshold) == expected, (mode, threshold)


def test_the_random_volumes_hold_merges_splits_and_shifted_numbers() -> None:
    """Otherwise the test above would say little."""
    pairs = [p for seed in range(6) for p in match_lesions(*random_tumors(seed)).pairs]
    assert sum(len(pair.true) > 1 for pair in pairs) > 3
    assert sum(len(pair.predicted) > 1 for pair in pairs) > 3
    assert sum(pair.true[0] != pair.predicted[0] for pair in pairs) > 10
    differ = [
        counts(*random_tumors(seed), "clean", 0.2) != counts(*random_tumors(seed), "official", 0.2)
        for seed in range(6)
    ]
    assert any(differ)


def test_liver_around_and_room_beyond_change_nothing() -> None:
    predicted, true = random_tumors(7)
    match, wider = (
        match_lesions(*(np.pad(labels, pad) for labels in (predicted, true))) for pad in (0, 5)
    )
    assert match.pairs == wider.pairs
    assert np.array(wider.start_kji).tolist() == (np.array(match.start_kji) + 5).tolist()


def test_clean_counts_every_lesion_once_and_equal_maps_whole() -> None:
    # clean counts every lesion once
    for seed in range(4):
        predicted, true = random_tumors(seed)
        match = match_lesions(predicted, true)
        for threshold in THRESHOLDS:
            found = match.detection("clean", threshold)
            assert found.true_lesions == len(match.true)
            assert 0 <= found.tp <= len(match.true)
            assert 0 <= found.fp <= found.predicted == len(match.predicted)

    # equal maps are found whole in both modes
    true = random_tumors(3)[1]
    for mode in MODES:
        found = lits_detection(true, true, mode=mode)
        assert (found.fp, found.fn) == (0, 0)
        assert found.precision == found.recall == found.f1 == 1


def test_counts_of_one_kind_add_up_and_other_maps_are_refused() -> None:
    # counts add up over volumes
    toys = ("one prediction over two", "no true lesion", "nothing touches")
    made = [lits_detection(volume(*TOYS[toy][0]), volume(*TOYS[toy][1])) for toy in toys]
    total = sum(made, start=Detection.none())
    assert (total.tp, total.fp, total.fn) == (2, 4, 1)
    assert (total.predicted, total.true_lesions, total.volumes) == (5, 3, 3)
    assert total.precision == pytest.approx(2 / 6)
    assert total.recall == pytest.approx(2 / 3)
    assert total.f1 == pytest.approx(4 / 9)
    assert total.fp_per_volume == pytest.approx(4 / 3)

    # counts of different kinds do not add up
    with pytest.raises(ValueError, match="do not add up"):
        Detection.none("clean") + Detection.none("official")
    with pytest.raises(ValueError, match="do not add up"):
        Detection.none("clean", TOUCH) + Detection.none("clean", HALF)

    # maps of other shapes are refused
    with pytest.raises(ValueError, match="one shape"):
        lits_detection(volume(), volume(rows=4))


def test_rates_of_nothing_are_nan_when_clean_and_0_when_official() -> None:
    for name in ("precision", "recall", "f1"):
        assert isnan(getattr(Detection.none("clean"), name))
        assert getattr(Detection.none("official"), name) == 0
    assert isnan(Detection.none().fp_per_volume)
