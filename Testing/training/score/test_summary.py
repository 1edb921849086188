"""The record behind the report: plain JSON, every mean with its n, every rate with its counts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from score_material import certainty, labels, score, three_scores

from training.score.summary import json_able, summarize
from training.score.voxels import Overlap


def test_a_summary_is_json_without_nan() -> None:
    # json able
    value = {"a": np.float64("nan"), 0.5: (np.int64(3), True, None), "c": np.array([1.0, np.inf])}
    assert json_able(value) == {"a": None, "0.5": [3, True, None], "c": [1.0, None]}
    assert json_able(1 / 3) == 0.333333

    # is json without nan
    text = json.dumps(summarize(three_scores()), allow_nan=False)
    assert json.loads(text)["counts"]["volumes"] == 3


def test_counts_detection_and_false_tumor_by_hand() -> None:
    record = summarize(three_scores())
    assert record["counts"] == {
        "volumes": 3,
        "patients": 3,
        "tumor_volumes": 2,
        "slices": 30,
        "labeled_slices": 18,
    }
    touched = record["detection"]["clean"]["0.0"]
    assert (touched["tp"], touched["true"], touched["fp"], touched["volumes"]) == (2, 3, 1, 3)
    sizes = record["detection"]["by_size"]["0.5"]
    assert sum(found["true"] for found in sizes.values()) == 3
    assert record["false_tumor"]["tumor_free_volumes"] == 1
    assert record["false_tumor"]["without_any"] == 1
    assert record["false_tumor"]["ml_in_tumor_free_volumes"] == {"c": 0.0}
    # b marks one of its two slices where there is no tumor: 16 voxels of 5 cubic millimeters
    assert record["false_tumor"]["ml_on_tumor_free_slices"]["mean"] == pytest.approx(0.08 / 3, 1e-5)


def test_large_lesions_are_counted_apart() -> None:
    """One of 12 mm found, two of 6.8 mm missed, and one of these marked elsewhere."""
    true, made = labels(tumors=[(3, 10), (6, 10)]), labels(tumors=[(6, 25)])
    for array in (true, made):
        array[3:6, 20:30, 6:10] = 2
    record = summarize([score("a", made, true)])["detection"]
    large, every = record["large"]["0.0"], record["clean"]["0.0"]
    assert record["large"]["from_mm"] == 10
    assert (large["tp"], large["true"], large["recall"], large["fp"]) == (1, 1, 1.0, 0)
    assert (every["tp"], every["true"], every["fp_per_volume"]) == (1, 3, 1.0)


def test_confidence_of_lesions_is_that_of_volumes_which_have_one() -> None:
    # confidence of lesions by hand
    record = summarize(three_scores(sure=204))["lesion_confidence"]
    assert [part["lesions"] for part in record["bins"]] == [0, 0, 0, 3]
    last = record["bins"][3]
    assert last["mean_confidence"] == record["mean_confidence"] == 0.8
    assert last["mean_true_share"] == record["mean_true_share"] == pytest.approx(2 / 3, abs=1e-5)
    assert last["touching"] == 2
    assert record["patients"] == 2, "the tumor-free one has no lesion marked"
    assert "2 patients" in record["warning"]

    # no confidence when one volume has none
    assert summarize(three_scores())["lesion_confidence"] is None
    mixed = [*three_scores(sure=204)[:2], three_scores()[2]]
    assert summarize(mixed)["lesion_confidence"] is None

    # confidence without a predicted lesion
    made = labels()
    record = summarize([score("a", made, made, certainty=certainty(made, 255))])
    assert sum(part["lesions"] for part in record["lesion_confidence"]["bins"]) == 0
    assert record["lesion_confidence"]["mean_confidence"] is None


def test_burden_by_hand() -> None:
    record = summarize(three_scores())["burden"]
    assert record["tumor_ml"]["n"] == 3
    assert record["tumor_ml"]["bias"] == pytest.approx(0.0)
    assert record["percent"]["bias"] == pytest.approx(0.0)


def test_few_patients_are_said_and_scans_of_one_patient_are_one() -> None:
    true = labels(tumors=[(3, 10)])
    record = summarize([score("6", true, true, group="6-10"), score("7", true, true, group="6-10")])
    assert record["counts"]["patients"] == 1
    assert "1 patient" in record["warnings"][0]
    many = summarize([score(str(n), true, true) for n in range(10)])
    assert many["warnings"] == []


def test_calibration_needs_every_volume() -> None:
    true = labels(tumors=[(3, 10)])
    probabilities = np.zeros((3, *true.shape), np.float16)
    probabilities[2] = true == 2
    whole = score("a", true, true, probabilities=probabilities)
    assert summarize([whole])["calibration"]["ece"] == 0.0
    assert summarize([whole, score("b", true, true)])["calibration"] is None


def test_cases_carry_what_a_comparison_needs() -> None:
    cases = summarize(three_scores())["cases"]
    assert [case["case"] for case in cases] == ["a", "b", "c"]
    assert [case["dice"]["tumor"] for case in cases] == [1.0, 0.0, None]
    assert [case["tumor_free_slices"] for case in cases] == [6, 8, 10]
    on_free = [case["false_tumor_on_tumor_free_slices_ml"] for case in cases]
    assert on_free == pytest.approx([0, 0.08, 0])


def test_pixel_accuracy_and_t_are_over_labeled_slices() -> None:
    record = summarize(three_scores())["liver_against_tumor"]
    assert record["paired_t_by_slice"]["n"] == 18
    assert record["pixel_accuracy_by_slice"]["n"] == 18


def test_an_empty_prediction_gives_a_record_too() -> None:
    true = labels(tumors=[(3, 10)])
    record = summarize([score("a", np.zeros_like(true), true)])
    assert record["volumes"]["liver"]["dice"]["agree"]["mean"] == 0.0
    assert record["surfaces"]["liver"]["assd_mm"]["n"] == 0
    matrix = np.array(record["pooled"]["matrix"])
    assert float(Overlap.of(matrix, "tumor").recall) == 0.0
