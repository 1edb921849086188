"""Records of voxel metrics: levels, rules and counts, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from score_material import labels, three_scores

from training.score.voxels import (
    Overlap,
    describe,
    labeled_slices,
    policies_of,
    pooled_record,
    slice_dice,
    slice_matrices,
    slice_record,
    volume_record,
)

SCORES = three_scores()
VOLUMES = [score.matrices for score in SCORES]
GROUPS = [score.group for score in SCORES]


def test_descriptions_and_which_slices_are_labeled() -> None:
    # describe
    assert describe([1.0, 3.0, np.nan]) == {
        "n": 2,
        "mean": 2.0,
        "sd": pytest.approx(np.sqrt(2)),
        "median": 2.0,
    }
    assert describe([1.0])["sd"] is None
    assert describe([]) == {"n": 0, "mean": None, "sd": None, "median": None}

    # labeled slices are those whose truth shows something
    matrices = slice_matrices(labels(liver=slice(0, 10)), labels(liver=slice(2, 5)))
    assert np.flatnonzero(labeled_slices(matrices)).tolist() == [2, 3, 4]


def test_the_three_rules_by_hand() -> None:
    """Slices with a label: tumor on 4 of a's, found; on 2 of b's, missed."""
    record = slice_record(VOLUMES, GROUPS, labeled=True)
    tumor = record["tumor"]
    assert record["slices"] == 18
    assert tumor["groups"] == {"both": 5, "missed": 1, "false": 1, "neither": 11}
    dice = tumor["dice"]
    assert (dice["agree"]["n"], dice["present"]["n"], dice["skip"]["n"]) == (18, 6, 7)
    assert dice["agree"]["mean"] == pytest.approx((4 + 11) / 18)
    assert dice["present"]["mean"] == pytest.approx(4 / 6)
    assert dice["skip"]["mean"] == pytest.approx(4 / 7)


def test_all_slices_see_what_lies_above_the_liver() -> None:
    labeled = slice_record(VOLUMES, GROUPS, labeled=True)["liver"]["dice"]["agree"]["mean"]
    every = slice_record(VOLUMES, GROUPS, labeled=False)
    assert every["slices"] == 30
    assert labeled == 1.0  # c's extra slice shows no label in truth
    assert every["liver"]["groups"]["false"] == 1
    assert every["liver"]["dice"]["agree"]["mean"] == pytest.approx(29 / 30)


def test_a_metric_that_no_rule_changes_stands_once() -> None:
    assert policies_of("specificity") == ("agree",)
    record = volume_record(VOLUMES, GROUPS)
    assert list(record["tumor"]["specificity"]) == ["agree"]
    assert set(record["tumor"]["dice"]) == {"agree", "present", "skip"}


def test_volume_and_pooled_agree_with_the_counts() -> None:
    record, pooled = volume_record(VOLUMES, GROUPS), pooled_record(VOLUMES)
    by_hand = [float(Overlap.of(m.sum(axis=0), "liver").dice) for m in VOLUMES]
    assert record["liver"]["dice"]["agree"]["mean"] == pytest.approx(np.mean(by_hand))
    joined = np.concatenate(VOLUMES).sum(axis=0)
    assert pooled["tumor"]["dice"] == pytest.approx(float(Overlap.of(joined, "tumor").dice))
    assert np.sum(pooled["matrix"]) == 3 * 10 * 40 * 40


def test_intervals_by_patient_are_wider_where_patients_differ() -> None:
    dice = slice_record(VOLUMES, GROUPS, labeled=True)["tumor"]["dice"]["present"]
    slices, patients = dice["interval_by_element"], dice["interval_by_patient"]
    assert patients[1] - patients[0] > slices[1] - slices[0]


def test_slice_dice_is_what_the_record_averages() -> None:
    values = slice_dice(VOLUMES, "tumor", policy="skip")
    record = slice_record(VOLUMES, GROUPS, labeled=True)["tumor"]["dice"]["skip"]
    assert np.nanmean(values) == pytest.approx(record["mean"])
