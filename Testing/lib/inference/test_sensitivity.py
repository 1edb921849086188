"""The steps of sensitivity: an order of what a model's tuning has tried, around what was tested."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.sensitivity import Sensitivity
from LiverTumorSegLib.model.catalog import find_model
from LiverTumorSegLib.model.spec import ModelSpec, read_spec


def point(threshold: float, large: int, small: int, false_marks: float) -> dict[str, Any]:
    return {
        "tumor_threshold": threshold,
        "lesions_from_10_mm": [large, 40],
        "lesions_under_10_mm": [small, 60],
        "false_lesions_per_volume": false_marks,
    }


def spec_of(points: list[dict[str, Any]], tested: float) -> ModelSpec:
    default = read_spec(find_model(None, None).file.path)
    decision = Decision(tumor_threshold=tested, smoothing_mm=2.0).to_dict()
    return replace(default, decision=decision, tuning={"points": points})


def test_each_step_finds_more_at_more_false_marks_and_the_farthest_is_there() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        thresholds = np.sort(random.choice(np.arange(1, 20) / 20, 8, replace=False))[::-1]
        points = [
            point(float(t), int(random.integers(40)), int(random.integers(60)), random.random())
            for t in thresholds
        ]
        tested = float(random.choice(thresholds))
        sensitivity = Sensitivity.of(spec_of(points, tested))
        assert sensitivity is not None
        stops = sensitivity.stops
        assert max(-sensitivity.fewest, sensitivity.most) <= 2, "each costs a decision in every run"
        assert [stop.steps for stop in stops] == [*range(sensitivity.fewest, sensitivity.most + 1)]
        assert sensitivity.at(0).decision == Decision(tumor_threshold=tested, smoothing_mm=2.0)
        for one, next_one in pairwise(stops):
            assert sum(x[0] for x in (next_one.large, next_one.small)) > one.large[0] + one.small[0]
            assert next_one.false_lesions_per_volume > one.false_lesions_per_volume
            assert next_one.decision.tumor_threshold < one.decision.tumor_threshold
        last = stops[-1]
        for left_out in points:  # one that would have been a further step
            assert not (
                left_out["false_lesions_per_volume"] > last.false_lesions_per_volume
                and left_out["lesions_from_10_mm"][0] + left_out["lesions_under_10_mm"][0]
                > last.large[0] + last.small[0]
                and left_out["tumor_threshold"] < last.decision.tumor_threshold
            )


def test_steps_beyond_the_ends_are_refused_in_words() -> None:
    sensitivity = Sensitivity.of(spec_of([point(0.5, 30, 9, 1.0), point(0.9, 20, 5, 0.5)], 0.5))
    assert sensitivity is not None
    assert (sensitivity.fewest, sensitivity.most) == (-1, 0)
    for steps in (-2, 1):
        with pytest.raises(ValueError, match=r"this model has -1 \(fewer marks\) to 0"):
            sensitivity.at(steps)


def test_a_stop_says_what_to_expect_and_what_it_decides() -> None:
    sensitivity = Sensitivity.of(spec_of([point(0.5, 30, 9, 1.25), point(0.3, 35, 20, 2.5)], 0.5))
    assert sensitivity is not None
    more = sensitivity.at(1)
    assert str(more.expected()) == (
        "Where it was tuned it found 35 of 40 tumors from 10 mm and 20 of 60 smaller ones, with"
        " 2.5 false marks a CT."
    )
    told = more.to_dict()
    assert (told["steps"], told["tumor_threshold"]) == (1, 0.3)


def test_a_model_without_a_curve_with_its_own_decision_has_no_steps() -> None:
    whole = [point(0.5, 30, 9, 1.0), point(0.3, 35, 20, 2.0)]
    broken = [{"tumor_threshold": 0.5}, {"tumor_threshold": 0.3}]
    for points, tested in (([], 0.5), (whole, 0.7), (whole[:1], 0.5), (broken, 0.5)):
        assert Sensitivity.of(spec_of(points, tested)) is None


def test_the_default_model_has_steps_and_its_own_decision_is_one() -> None:
    spec = read_spec(find_model(None, None).file.path)
    sensitivity = Sensitivity.of(spec)
    assert sensitivity is not None
    assert len(sensitivity.stops) > 1
    assert sensitivity.at(0).decision == Decision.from_dict(spec.decision)
