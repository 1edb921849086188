"""What a run is and what it will give, as JSON-able data: its recipe and its model file's words.

    spec = new_spec(recipe, Path("prepared"), validation, data)
    spec = new_volume_spec(recipe, Path("prepared3d"), validation, data)

Scores are added by :mod:`training.export`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from LiverTumorSegLib.bundle import ModelSpec
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.postprocess import Postprocessing
from LiverTumorSegLib.postprocess_cascade import CascadePostprocessing
from LiverTumorSegLib.spec import STAGES

from training.datasets import SliceSet, read_manifest
from training.recipes import Course, Recipe
from training.recipes_volume import VolumeRecipe
from training.volume_patches import VolumeSet


def as_dict(recipe: Course) -> dict[str, Any]:
    """A recipe as JSON keeps it."""
    stored: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return stored


def new_spec(
    recipe: Recipe, prepared: Path, validation: SliceSet, data: SliceSet, processes: int = 1
) -> ModelSpec:
    """The description of what a run on slices will give.

    The provenance names how the cases were split where ``prepare`` says so: a split by volume
    leaks patients, and scores on it are for comparison only.
    """
    manifest = read_manifest(prepared)
    groups = sorted({c["group"] for c in manifest["cases"] if c["split"] == "train"})
    return _spec(
        recipe,
        manifest,
        name=recipe.net,
        preprocessing=manifest["preprocessing"],
        labels={label.name.lower(): int(label) for label in Label},
        postprocessing=Postprocessing().to_dict(),
        provenance=_provenance(recipe, manifest, data.cases, groups, validation.cases, processes),
    )


def new_volume_spec(
    recipe: VolumeRecipe, prepared: Path, validation: VolumeSet, data: VolumeSet, processes: int = 1
) -> ModelSpec:
    """The description of what a run on volumes, for one stage of a cascade, will give.

    Its training cases and patients are those of ``data``, of which a fold may have been left out.
    """
    manifest = read_manifest(prepared)
    words = _provenance(
        recipe, manifest, data.cases, list(data.groups), validation.cases, processes
    )
    return _spec(
        recipe,
        manifest,
        name=f"{recipe.net}-{recipe.stage}",
        preprocessing=data.preprocessing.to_dict(),
        labels=STAGES[recipe.stage],
        postprocessing=CascadePostprocessing().to_dict(),
        provenance=words,
    )


def _spec(recipe: Course, manifest: Mapping[str, Any], **words: Any) -> ModelSpec:
    return ModelSpec(
        version="0",
        net=recipe.net,
        net_args=recipe.net_args,
        training_hu_range=(manifest["hu_range"][0], manifest["hu_range"][1]),
        storage="fp32",
        **words,
    )


def _provenance(
    recipe: Course,
    manifest: Mapping[str, Any],
    train: Sequence[str],
    train_groups: Sequence[str],
    val: Sequence[str],
    processes: int,
) -> dict[str, Any]:
    split_by = {"split_group_by": manifest["group_by"]} if "group_by" in manifest else {}
    return {
        "train": list(train),
        "train_groups": list(train_groups),
        "val": list(val),
        "recipe": as_dict(recipe),
        "processes": processes,
        **split_by,
    }
