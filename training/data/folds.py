"""Which volumes a stage is trained on, and which patients are left out so that it cannot know them.

data, validation = load_for(recipe, Path("prepared3d"), masks=None, fold="1/2")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.cases.draw import draw_parts
from training.data.patches import VolumeSet, load_volumes
from training.data.slices import read_manifest
from training.learn.recipes3d import VolumeRecipe

FOLD_SEED = 42


def load_for(
    recipe: VolumeRecipe, prepared: Path, masks: Path | None = None, fold: str | None = None
) -> tuple[VolumeSet, VolumeSet]:
    """Training and validation volumes as a recipe wants them.

    fold: "N/K": without part N of K of the training patients. Raises ``ValueError`` for a fold that
    is none, and as :func:`load_volumes_for`.
    """
    train, val = (load_volumes_for(recipe, prepared, s, masks) for s in ("train", "val"))
    if fold is not None:
        number, count = _parsed(fold)
        train = train.without(fold_groups(read_manifest(prepared), count)[number - 1])
    return train, val


def load_volumes_for(
    recipe: VolumeRecipe, prepared: Path, split: str, masks: Path | None = None
) -> VolumeSet:
    """One set as a recipe wants it; ``ValueError`` for masks that nothing would look at."""
    if masks is not None and recipe.liver_margin_mm is None:
        raise ValueError("The liver network sees the whole image; leave out --masks.")
    return load_volumes(
        prepared,
        split,
        recipe.stage,
        masks=masks,
        margin_mm=recipe.liver_margin_mm,
        mask_as_channel=recipe.mask_as_channel,
    )


def fold_groups(manifest: Mapping[str, Any], count: int) -> list[list[str]]:
    """The training patients in ``count`` parts with alike tumors, the same at every call.

    Raises ``ValueError`` when there are fewer patients than parts, or less than two parts.
    """
    sizes_ml: dict[str, float] = {}
    for case in manifest["cases"]:
        if case["split"] == "train":
            group = case["group"]
            sizes_ml[group] = max(sizes_ml.get(group, 0.0), float(case["tumor_ml"]))
    if not 2 <= count <= len(sizes_ml):
        raise ValueError(
            f"{count} folds of {len(sizes_ml)} training patients cannot be made; give a number from"
            " 2 up to that of the patients."
        )
    return draw_parts(sizes_ml, count, FOLD_SEED)


def _parsed(fold: str) -> tuple[int, int]:
    number, _, count = fold.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"The fold {fold!r} is none; give part and number of parts, as 1/2.")
    return int(number), int(count)
