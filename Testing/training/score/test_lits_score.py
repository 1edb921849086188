"""The challenge's scores of hand-made volumes, in the repaired and in the script's reading."""

from __future__ import annotations

from math import isnan, nan, sqrt

import numpy as np
import pytest
from LiverTumorSegLib.result.agreement import dice
from looped import looped
from numpy.typing import NDArray

from training.score.lits import (
    MISSING,
    OBJECT_SCORES,
    BurdenErrors,
    Mean,
    TumorBurden,
    VolumeScore,
    burden_errors,
    challenge_scores,
    missing_object,
    object_scores,
    score_volume,
)
from training.score.matching import HALF, MODES, TOUCH
from training.score.surfaces import surface_scores

SPACING = (3.0, 1.0, 0.5)
Labels = NDArray[np.uint8]
PENALTY = [0.0, 0.0, 1.0, MISSING, MISSING, MISSING, MISSING]


def scan(*tumors: slice, liver: slice | None = slice(2, 38)) -> Labels:
    """Liver and tumors along i; tumors are 3 x 3 voxels thick."""
    labels = np.zeros((7, 7, 40), dtype=np.uint8)
    if liver is not None:
        labels[1:6, 1:6, liver] = 1
    for tumor in tumors:
        labels[2:5, 2:5, tumor] = 2
    return labels


def score(predicted: Labels, true: Labels) -> VolumeScore:
    return score_volume(predicted, true, SPACING)


GOOD = scan(slice(10, 19), slice(25, 30)), scan(slice(10, 18), slice(25, 30))
MISSED = scan(), scan(slice(10, 14))
CLEAN_LIVER = scan(liver=slice(2, 30)), scan()  # no tumor in either
NO_LIVER = np.zeros((7, 7, 40), dtype=np.uint8), scan(slice(10, 14))
ONLY_TUMOR = np.where(scan(slice(10, 14)) == 2, 2, 0).astype(np.uint8), scan(slice(10, 14))


def test_an_object_is_scored_on_its_masks() -> None:
    """Volumes 9 and 8 along i: Dice 16/17."""
    predicted, true = scan(slice(10, 19)) == 2, scan(slice(10, 18)) == 2
    made = object_scores(predicted, true, SPACING)
    surface = surface_scores(predicted, true, SPACING)
    assert made.surface == surface
    for mode, rvd in (("clean", 1 / 8), ("official", -1 / 9)):
        values = made.values(mode)  # type: ignore[arg-type]
        assert tuple(values) == OBJECT_SCORES
        expected = [16 / 17, 8 / 9, 1 / 9, rvd, surface.assd_mm, surface.rmsd_mm, surface.msd_mm]
        assert list(values.values()) == pytest.approx(expected)


@looped(
    ("predicted", "true", "clean"),
    [
        (False, True, [0, 0, 1, -1, nan, nan, nan]),
        (True, False, [0, 0, 1, nan, nan, nan, nan]),
        (False, False, [nan] * 7),
    ],
)
def test_a_missing_object_is_left_out_or_9001(
    predicted: bool, true: bool, clean: list[float]
) -> None:
    masks = [np.full((4, 4, 4), filled) for filled in (predicted, true)]
    made = object_scores(masks[0], masks[1], SPACING)
    assert list(made.values("clean").values()) == pytest.approx(clean, nan_ok=True)
    assert list(made.values("official").values()) == PENALTY == list(missing_object().values())


def test_the_burden_is_that_of_the_confusion_matrix_with_signed_errors() -> None:
    # the confusion matrix gives the burden
    volume = score(*GOOD)
    burden = volume.burden
    assert burden == TumorBurden(13 * 9, 36 * 25, 14 * 9, 36 * 25, 36 * 25 - 14 * 9)
    assert burden.true == pytest.approx(117 / 900)
    assert burden.predicted("clean") == burden.predicted("official") == pytest.approx(126 / 900)

    # burden errors are signed as each reading says: Errors predicted - true of +0.2, -0.1 and 0.
    burdens = [TumorBurden(t, 100, p, 100, 100 - p) for t, p in ((10, 30), (20, 10), (5, 5))]
    rmse = sqrt((0.2**2 + 0.1**2) / 3)
    clean, official = (burden_errors(burdens, mode) for mode in MODES)
    for made, largest in ((clean, 0.2), (official, 0.1)):
        assert (made.rmse, made.largest, made.bias) == pytest.approx((rmse, largest, 0.1 / 3))
        assert made.n == 3

    # a burden without a liver is left out or 9001
    nothing = TumorBurden(10, 100, 0, 0, 0)
    all_tumor = TumorBurden(10, 100, 40, 40, 0)  # nothing is exactly 1
    no_truth = TumorBurden(0, 0, 5, 50, 45)
    assert isnan(nothing.predicted("clean"))
    assert nothing.predicted("official") == MISSING
    assert all_tumor.predicted("clean") == 1
    assert all_tumor.predicted("official") == MISSING
    assert isnan(no_truth.true)
    clean = burden_errors([nothing, all_tumor, no_truth], "clean")
    assert (clean.n, clean.largest) == (1, pytest.approx(0.9))
    official = burden_errors([nothing, all_tumor, no_truth], "official")
    assert (official.n, official.rmse) == (2, pytest.approx(MISSING - 0.1))
    assert official.largest == pytest.approx(0.1 - MISSING)  # a plain maximum: far below 0

    # no burden at all is nan
    for mode in MODES:
        made = burden_errors([], mode)
        assert made.n == 0
        assert isnan(made.rmse)
        assert isnan(made.largest)
        assert isnan(made.bias)


def test_dice_of_a_volume_and_of_its_liver_follow_the_script() -> None:
    # dice of a volume follows the script on empty masks
    for pair in (GOOD, MISSED, CLEAN_LIVER, NO_LIVER):
        volume = score(*pair)
        for mode in MODES:
            assert volume.dice("tumor", mode) == dice(pair[0] == 2, pair[1] == 2)
            assert volume.dice("liver", mode) == dice(pair[0] >= 1, pair[1] >= 1)
    assert score(*CLEAN_LIVER).dice("tumor", "official") == 1
    assert score(*MISSED).dice("tumor", "official") == 0

    # a liver predicted as tumor alone is none for the script
    volume = score(*ONLY_TUMOR)
    assert volume.dice("liver", "official") == 0
    assert volume.dice("liver", "clean") == pytest.approx(2 * 36 / (36 + 900))
    assert volume.dice("tumor", "official") == 1
    assert volume.liver_values("official") == missing_object()
    assert volume.liver_values("clean")["dice"] == pytest.approx(2 * 36 / (36 + 900))

    # the liver is one object with its tumor
    volume = score(*CLEAN_LIVER)
    values = volume.liver_values("clean")
    assert values["dice"] == pytest.approx(2 * 28 / (28 + 36))
    assert values["rvd"] == pytest.approx(-8 / 36)
    assert volume.liver_values("official")["rvd"] == pytest.approx(8 / 28)
    assert values["msd_mm"] == pytest.approx(8 * 0.5)


def test_lesion_objects_are_the_merged_pairs_detected_at_half() -> None:
    """Two predictions on one truth are one object; a missed lesion and a false one are none."""
    true = scan(slice(10, 20), slice(30, 32))
    predicted = scan(slice(10, 14), slice(15, 19), slice(25, 27))
    (values,) = score(predicted, true).lesion_values("clean")
    masks = scan(slice(10, 14), slice(15, 19)) == 2, scan(slice(10, 20)) == 2
    assert values == pytest.approx(object_scores(*masks, SPACING).values("clean"))
    assert values["dice"] == pytest.approx(16 / 18)


def test_the_script_scores_the_objects_that_its_union_and_count_let_through() -> None:
    # the script scores objects its union lets through: An earlier false positive shifts the
    # numbers: an IoU of 0.33 counts as detected.
    volume = score(scan(slice(4, 6), slice(11, 19)), scan(slice(10, 14)))
    assert volume.lesion_values("clean") == []
    (values,) = volume.lesion_values("official")
    assert values["jaccard"] == pytest.approx(1 / 3)

    # the script drops objects where its count is not positive: One pair is right (1 detected),
    # the other bridges two in vain (2 less): -1 + 1 = 0.
    true = scan(slice(4, 8), slice(15, 16), slice(18, 19))
    predicted = scan(slice(4, 8), slice(13, 22))
    volume = score(predicted, true)
    assert volume.detections["official", HALF].tp == 0
    assert volume.lesion_values("official") == []
    assert len(volume.lesion_values("clean")) == 1


def test_means_over_volumes_have_their_number_and_the_scripts_penalties() -> None:
    # many volumes have means with their number
    volumes = [score(*pair) for pair in (GOOD, MISSED, CLEAN_LIVER, NO_LIVER)]
    scores = challenge_scores(volumes, "clean")
    good = 2 * 13 / 27
    assert scores.volumes == 4
    assert scores.dice_per_case["tumor"] == Mean(pytest.approx((good + 0 + 1 + 0) / 4), 4)
    liver = (1 + 1 + 2 * 28 / 64 + 0) / 4
    assert scores.dice_per_case["liver"] == Mean(pytest.approx(liver), 4)
    assert scores.dice_global["tumor"] == pytest.approx(2 * 13 / (14 + 13 + 4 + 4))
    assert scores.dice_global["liver"] == pytest.approx(2 * (36 + 36 + 28) / (72 + 72 + 64 + 36))
    assert scores.objects["tumor"]["dice"].n == 2
    assert scores.objects["liver"]["dice"] == Mean(pytest.approx(liver), 4)
    assert scores.objects["liver"]["assd_mm"].n == 3  # none for the liver that is not there
    assert scores.burden.n == 3

    # the scripts means take the penalties in
    volumes = [score(*pair) for pair in (GOOD, NO_LIVER)]
    scores = challenge_scores(volumes, "official")
    assert scores.objects["liver"]["assd_mm"] == Mean(pytest.approx(MISSING / 2), 2)
    assert scores.objects["liver"]["voe"] == Mean(pytest.approx(0.5), 2)
    assert scores.burden.n == 2
    assert scores.burden.rmse > 6000

    # lesion counts are pooled at both thresholds
    volumes = [score(*pair) for pair in (GOOD, MISSED, CLEAN_LIVER)]
    for mode in MODES:
        scores = challenge_scores(volumes, mode)
        for threshold in (TOUCH, HALF):
            found = scores.detections[threshold]
            assert (found.mode, found.threshold, found.volumes) == (mode, threshold, 3)
            assert (found.tp, found.fp, found.fn) == (2, 0, 1)
    assert [len(volume.table.true) for volume in volumes] == [2, 1, 0]


def test_no_volumes_are_nan_and_equal_ones_perfect() -> None:
    # without volumes all is nan and 0
    for mode in MODES:
        scores = challenge_scores([], mode)
        means = [*scores.dice_per_case.values(), *scores.objects["liver"].values()]
        assert all(isnan(mean.value) and mean.n == 0 for mean in means)
        assert isnan(scores.dice_global["tumor"])
        assert scores.detections[HALF].volumes == 0
        assert isinstance(scores.burden, BurdenErrors)

    # equal volumes are perfect in both modes
    for mode in MODES:
        scores = challenge_scores([score(GOOD[1], GOOD[1])], mode)
        for mask in ("liver", "tumor"):
            found = {name: mean.value for name, mean in scores.objects[mask].items()}
            assert found == dict.fromkeys(OBJECT_SCORES, 0.0) | {"dice": 1.0, "jaccard": 1.0}
            assert scores.dice_global[mask] == 1
        assert (scores.burden.rmse, scores.burden.largest) == (0, 0)


def test_slices_are_kept_for_scores_by_slice() -> None:
    volume = score(*GOOD)
    assert volume.matrices.shape == (7, 3, 3)
    assert volume.matrix.sum() == GOOD[0].size
