"""Provenance of a training run: its recipe, data and first weights, as its model file stores them.

    spec = new_spec(recipe, Path("prepared"), validation, data)
    spec = new_volume_spec(recipe, Path("prepared3d"), validation, data)

    spec = initialized_from(spec, file)  # where the weights to begin with are another model's

Scores are added by :mod:`training.export`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.file import ModelFile, ModelSpec
from LiverTumorSegLib.model.spec import STAGES

from training.data.patches import VolumeSet
from training.data.slices import SliceSet, read_manifest
from training.learn.recipes import BaseRecipe, SliceRecipe
from training.learn.recipes3d import PatchRecipe

CASCADE_STEPS = Postprocessing(clean_liver=True, smallest_lesion_mm=3.0)


def as_dict(recipe: BaseRecipe) -> dict[str, Any]:
    """A recipe as JSON stores it."""
    stored: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return stored


def with_defaults(stored: Mapping[str, Any], recipe: Any) -> dict[str, Any]:
    """A recipe stored by an older version, completed by the defaults of newer fields.

    A field that is not there takes its default, by which a recipe does as it did before the field
    was made. recipe: any of the same kinds of dataclasses; its values do not count.
    """
    whole = dict(stored)
    for known in fields(recipe):
        part = getattr(recipe, known.name)
        if known.name in whole and is_dataclass(part):
            whole[known.name] = with_defaults(whole[known.name], part)
        elif known.name not in whole and known.default is not MISSING:
            whole[known.name] = known.default
        elif known.name not in whole and known.default_factory is not MISSING:
            whole[known.name] = known.default_factory()
    filled: dict[str, Any] = json.loads(json.dumps(whole, default=asdict))
    return filled


def init_record(file: ModelFile) -> dict[str, Any]:
    """Which model file a run began with."""
    return {"name": file.spec.name, "version": file.spec.version, "sha256": file.sha256}


def initialized_from(spec: ModelSpec, file: ModelFile) -> ModelSpec:
    """The description of a run that began with the weights of ``file``.

    What those weights were trained on counts as training data: a score on it would say nothing.
    """
    own, known = spec.provenance, file.spec.provenance
    both = {
        key: list(dict.fromkeys([*own[key], *map(str, known.get(key, []))]))
        for key in ("train", "train_groups")
    }
    return replace(spec, provenance={**own, **both, "init": init_record(file)})


def known_validation_cases(file: ModelFile, manifest: Mapping[str, Any]) -> list[str]:
    """Validation cases on which, or on whose patient, the weights to begin with were trained."""
    known = file.spec.provenance
    names, groups = (set(known.get(key, [])) for key in ("train", "train_groups"))
    return [
        case["name"]
        for case in manifest["cases"]
        if case["split"] == "val" and (case["name"] in names or case["group"] in groups)
    ]


def new_spec(
    recipe: SliceRecipe, prepared: Path, validation: SliceSet, data: SliceSet, processes: int = 1
) -> ModelSpec:
    """The description of what a run on slices will give, at the size it ends with.

    The provenance names how the cases were split where ``prepare`` says so: a split by volume
    leaks patients, and scores on it are for comparison only.
    """
    manifest = read_manifest(prepared)
    groups = sorted({c["group"] for c in manifest["cases"] if c["split"] == "train"})
    return _spec(
        recipe,
        manifest,
        name=recipe.net,
        preprocessing=replace(data.preprocessing, size_px=recipe.size_at(1.0)).to_dict(),
        labels={label.name.lower(): int(label) for label in Label},
        postprocessing=Postprocessing().to_dict(),
        provenance=_provenance(recipe, manifest, data.cases, groups, validation.cases, processes),
    )


def new_volume_spec(
    recipe: PatchRecipe, prepared: Path, validation: VolumeSet, data: VolumeSet, processes: int = 1
) -> ModelSpec:
    """The description of what a run on volumes, for one stage of a cascade, will give.

    Its training cases and patients are those of ``data``, of which a fold may have been left out.
    """
    manifest = read_manifest(prepared)
    provenance = _provenance(
        recipe, manifest, data.cases, list(data.groups), validation.cases, processes
    )
    return _spec(
        recipe,
        manifest,
        name=f"{recipe.net}-{recipe.stage}",
        preprocessing=data.preprocessing.to_dict(),
        labels=STAGES[recipe.stage],
        postprocessing=CASCADE_STEPS.to_dict(),
        provenance=provenance,
    )


def _spec(recipe: BaseRecipe, manifest: Mapping[str, Any], **values: Any) -> ModelSpec:
    return ModelSpec(
        version="0",
        net=recipe.net,
        net_args=recipe.net_args,
        training_hu_range=(manifest["hu_range"][0], manifest["hu_range"][1]),
        storage="fp32",
        **values,
    )


def _provenance(
    recipe: BaseRecipe,
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
