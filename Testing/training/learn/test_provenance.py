"""What a run is: older recipes as this version reads them, and what it owes to earlier weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from LiverTumorSegLib.inference.segmenter import Segmenter
from LiverTumorSegLib.model.file import ModelFile, ModelSpec
from looped import looped
from score_material import case

from training.learn.provenance import (
    as_dict,
    initialized_from,
    known_validation_cases,
    with_defaults,
)
from training.learn.recipes import RECIPES, BaseRecipe
from training.learn.recipes3d import VOLUME_RECIPES
from training.score.cases import refuse_training_cases, shared_with_training

EVERY_RECIPE: dict[str, BaseRecipe] = {**RECIPES, **VOLUME_RECIPES}


@dataclass(frozen=True)
class Part:
    old: float = 1.0
    new: float = 0.0


@dataclass(frozen=True)
class Whole:
    needed: int
    part: Part = field(default_factory=Part)
    other: Part = field(default_factory=lambda: Part(new=5.0))
    sizes: tuple[int, ...] = (1, 2)


def test_fields_of_today_are_filled_where_they_have_a_default() -> None:
    # fields of today are filled at any depth and the rest is kept
    stored = {"needed": 3, "part": {"old": 7.0}, "gone": True}
    filled = with_defaults(stored, Whole(needed=4, part=Part(old=8.0, new=9.0)))
    assert filled == {
        "needed": 3,
        "part": {"old": 7.0, "new": 0.0},  # the default, not what is wanted now
        "other": {"old": 1.0, "new": 5.0},
        "sizes": [1, 2],
        "gone": True,
    }
    assert stored == {"needed": 3, "part": {"old": 7.0}, "gone": True}

    # a field without a default stays missing
    assert "needed" not in with_defaults({}, Whole(needed=4))

    # a recipe stored before averages and tversky is the one without
    cpu = RECIPES["cpu"]
    old = as_before(cpu)
    assert with_defaults(old, cpu) == as_dict(cpu)
    for changed in (replace(cpu, ema=0.9), RECIPES["recall"], replace(cpu, seed=1)):
        assert with_defaults(old, changed) != as_dict(changed)


@looped("name", EVERY_RECIPE)
def test_a_recipe_of_today_comes_back_as_it_is(name: str) -> None:
    stored = as_dict(EVERY_RECIPE[name])
    assert with_defaults(stored, EVERY_RECIPE[name]) == stored


def as_before(recipe: BaseRecipe) -> dict[str, Any]:
    """A slice recipe as it was stored before there were averages and the Tversky term."""
    stored = as_dict(recipe)
    del stored["ema"]
    for key in ("tversky", "tversky_alpha", "tversky_beta"):
        del stored["loss"][key]
    return stored


def spec_of(**provenance: Any) -> ModelSpec:
    return ModelSpec(
        name="first",
        version="3",
        net="hybrid2d",
        net_args={},
        preprocessing={},
        labels={"background": 0, "liver": 1, "tumor": 2},
        training_hu_range=None,
        postprocessing={},
        provenance=provenance,
        storage="fp32",
    )


def bundle_of(**provenance: Any) -> ModelFile:
    return ModelFile(spec_of(**provenance), {}, "a" * 64)


OWN = {"train": ["1", "5"], "train_groups": ["p1"], "val": ["2"], "processes": 1}


def test_the_model_to_begin_with_is_named_and_no_case_twice() -> None:
    # the model to begin with is named
    told = initialized_from(spec_of(**OWN), bundle_of()).provenance
    assert told == {**OWN, "init": {"name": "first", "version": "3", "sha256": "a" * 64}}

    # cases of the run itself are not named twice
    told = initialized_from(spec_of(**OWN), bundle_of(train=["5"], train_groups=["p1"])).provenance
    assert (told["train"], told["train_groups"]) == (OWN["train"], OWN["train_groups"])


def test_a_case_that_any_earlier_run_has_seen_is_not_scored() -> None:
    # a score is refused on a case that either has seen
    earlier = bundle_of(train=["5", "40"], train_groups=["anna"])
    spec = initialized_from(spec_of(**OWN), earlier)
    assert spec.provenance["train"] == ["1", "5", "40"]
    assert spec.provenance["train_groups"] == ["p1", "anna"]
    segmenter = cast(Segmenter, SimpleNamespace(spec=spec))
    for seen in (case("1", "x"), case("40", "x"), case("200", "anna")):
        with pytest.raises(ValueError, match="shares a patient"):
            refuse_training_cases(segmenter, [seen])
    assert not shared_with_training(segmenter, [case("41", "p41")])

    # a third run still knows what the first has seen
    second = initialized_from(spec_of(**OWN), bundle_of(train=["40"], train_groups=["anna"]))
    third = initialized_from(
        spec_of(train=["7"], train_groups=["p7"]), ModelFile(second, {}, "b" * 64)
    )
    assert third.provenance["train"] == ["7", "1", "5", "40"]
    assert third.provenance["train_groups"] == ["p7", "p1", "anna"]
    assert third.provenance["init"]["sha256"] == "b" * 64


@looped(
    ("provenance", "known"),
    [
        ({"train": ["2"]}, ["2"]),
        ({"train_groups": ["anna"]}, ["3"]),
        ({"train": ["1"], "train_groups": ["p1"]}, []),
        ({}, []),
    ],
)
def test_validation_cases_that_the_first_weights_know(
    provenance: dict[str, Any], known: list[str]
) -> None:
    cases = [("1", "p1", "train"), ("2", "p2", "val"), ("3", "anna", "val")]
    manifest = {"cases": [dict(zip(("name", "group", "split"), c, strict=True)) for c in cases]}
    assert (
        known_validation_cases(bundle_of(**provenance), json.loads(json.dumps(manifest))) == known
    )
