"""The cascade's recipes: the published numbers, and where ours depart from them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from LiverTumorSegLib.nets import NETS
from looped import looped

from training.learn.losses3d import REFERENCE
from training.learn.recipes import RECIPES
from training.learn.recipes3d import VOLUME_RECIPES, PatchRecipe
from training.learn.trainer import RATES, SELECTORS


@looped("stage", ["liver", "tumor"])
def test_the_published_numbers(stage: str) -> None:
    """Specification: section 7 for the optimizer, 4 for patches and batches."""
    for name in (f"gunetrpp-{stage}", f"gunetrpp-{stage}-reference"):
        recipe = VOLUME_RECIPES[name]
        assert (recipe.optimizer, recipe.learning_rate, recipe.momentum) == ("sgd", 0.01, 0.99)
        assert (recipe.weight_decay, recipe.clip_norm) == (3e-5, 12.0)
        assert (recipe.schedule, recipe.epochs, recipe.sampling.iterations) == ("poly", 1000, 250)
        assert recipe.patch_kji == (64, 128, 128)
        assert recipe.size_at(0.5) == 128
    assert VOLUME_RECIPES[f"gunetrpp-{stage}"].batch == 2
    assert VOLUME_RECIPES[f"gunetrpp-{stage}-reference"].batch == 8


def test_the_full_recipe_is_the_papers_and_ours_differ_as_they_say() -> None:
    # the full net is the papers
    with torch.device("meta"):
        recipe = VOLUME_RECIPES["gunetrpp-tumor"]
        net = NETS[recipe.net](**recipe.net_args)
    assert sum(p.numel() for p in net.parameters()) == 97_725_934

    # ours trains the hausdorff term and looks for tumors
    tumor = VOLUME_RECIPES["gunetrpp-tumor"]
    assert tumor.loss.hausdorff == "soft"
    assert tumor.sampling.foreground_share == pytest.approx(1 / 3)
    assert tumor.liver_margin_mm is not None
    assert tumor.liver_margin_mm > 0
    assert not tumor.mask_first

    # names are unlike those of slices
    assert not VOLUME_RECIPES.keys() & RECIPES.keys()

    # the small nets are the small preset
    for stage in ("liver", "tumor"):
        recipe = VOLUME_RECIPES[f"gunetrpp-small-{stage}"]
        assert recipe.patch_kji == (32, 64, 64)
        assert (recipe.net_args["dims"], recipe.net_args["depth"]) == ((16, 32, 64, 64), 1)
        with torch.device("meta"):
            net: Any = NETS[recipe.net](**recipe.net_args)
        assert sum(p.numel() for p in net.parameters()) < 5e6, "a pair is to fit 10 MB in int8"


@looped("stage", ["liver", "tumor"])
def test_the_reference_is_the_code_to_the_letter(stage: str) -> None:
    reference = VOLUME_RECIPES[f"gunetrpp-{stage}-reference"]
    assert reference.loss == REFERENCE
    assert reference.net_args["spatial_layout"] == "reference"
    assert (reference.sampling.foreground_share, reference.sampling.region_share) == (0, 0)
    assert reference.check.patches == 50 * 8
    if stage == "tumor":
        assert (reference.liver_margin_mm, reference.mask_first) == (0.0, True)
        assert reference.select == "last"
    else:
        assert reference.select == "dice"


@looped("name", VOLUME_RECIPES)
def test_every_recipe_can_be_built_and_stored(name: str) -> None:
    recipe = VOLUME_RECIPES[name]
    assert recipe.schedule in RATES
    assert recipe.select in SELECTORS
    with torch.device("meta"):
        net: Any = NETS[recipe.net](**recipe.net_args)
    assert net.patch_kji == recipe.patch_kji
    assert json.loads(json.dumps(asdict(recipe)))["stage"] in name


@looped(
    ("change", "words"),
    [
        ({"optimizer": "adam"}, "sgd, adamw"),
        ({"liver_margin_mm": 2.0}, "the liver's has none"),
        ({"stage": "tumor"}, "needs liver_margin_mm"),
        ({"mask_as_channel": True}, "is for a tumor net"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    liver: PatchRecipe = VOLUME_RECIPES["gunetrpp-liver"]
    with pytest.raises(ValueError, match=words):
        replace(liver, **change)


def test_the_last_epoch_is_always_the_best_where_so_chosen() -> None:
    assert SELECTORS["last"]({}) < 0


def test_dice_is_of_what_the_net_finds() -> None:
    both = {"val_liver_dice": 0.9, "val_tumor_dice": 0.5}
    assert SELECTORS["dice"](both) == pytest.approx(-0.7)
    assert SELECTORS["dice"]({"val_tumor_dice": 0.5}) == -0.5
