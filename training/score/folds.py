"""Models with the cases that they have not seen: one with a set of a split, or a cross-validation.

    for part in read_folds(Path("folds")):
        print(part.name, part.model, part.split.test)

A cross-validation is a folder with a model and a split for each fold, ``fold1.safetensors`` beside
``fold1.json`` and so on. Each model is asked about the test cases of its own fold, so that every
case is judged by a model that was trained on other patients, and counts once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.segmenter import PREPROCESSINGS, Segmenter, parse_settings
from LiverTumorSegLib.model.spec import ModelSpec

from training.cases.case import Case
from training.cases.splits import Split, apply_split, load_split
from training.score.cases import chosen_cases, refuse_training_cases

OUT_OF_FOLD = "out of fold"
FEWEST_FOLDS = 2


@dataclass(frozen=True)
class Fold:
    """A part of a cross-validation: the model is asked about the test cases of its split."""

    name: str
    model: Path
    split: Split


@dataclass(frozen=True, eq=False)
class Judged:
    """A model with the cases that it is judged by; fold: empty where it is the only one."""

    segmenter: Segmenter
    cases: Sequence[Case]
    fold: str = ""


def is_cross_validation(model: str | Path) -> bool:
    """A folder, where a model's name or file could stand."""
    return Path(model).is_dir()


def read_folds(folder: Path) -> list[Fold]:
    """The folds of a folder, in the order of their names.

    ``ValueError`` when there are fewer than two, one lacks its split, or two test the same case.
    """
    models = sorted(folder.glob("*.safetensors"))
    if len(models) < FEWEST_FOLDS:
        raise ValueError(
            f"{folder.name} holds no cross-validation; it needs a model and a split for each fold,"
            " fold1.safetensors beside fold1.json and so on."
        )
    folds = []
    for model in models:
        split = model.with_suffix(".json")
        if not split.is_file():
            raise ValueError(f"{model.name} has no split beside it; put {split.name} there.")
        folds.append(Fold(model.stem, model, load_split(split)))
    _refuse_shared(folds)
    return folds


def _refuse_shared(folds: Sequence[Fold]) -> None:
    fold_of: dict[str, str] = {}
    for fold in folds:
        groups = {fold.split.groups.get(name, name) for name in fold.split.test}
        for group in sorted(groups):
            if group in fold_of:
                raise ValueError(
                    f"{fold_of[group]} and {fold.name} both test patient {group}; a patient is"
                    " tested in one fold only."
                )
        fold_of |= dict.fromkeys(groups, fold.name)


def judge_folds(
    folder: Path, cases: Sequence[Case], load: Callable[[Path], Segmenter]
) -> list[Judged]:
    """Each fold's model with the cases that it is new to; load: how a model is made ready."""
    return [_judged(fold, load(fold.model), cases) for fold in read_folds(folder)]


def _judged(fold: Fold, segmenter: Segmenter, cases: Sequence[Case]) -> Judged:
    """The fold's model with its test cases; ``ValueError`` when it was trained on one of them."""
    tested = chosen_cases(apply_split(fold.split, cases), "test")
    refuse_training_cases(segmenter, tested)
    return Judged(segmenter, tested, fold.name)


def described(parts: Sequence[Judged]) -> dict[str, Any]:
    """The description of a cross-validation: the networks, which must be alike, and each fold's
    file.

    networks: what all folds share, by which a model trained on all patients is recognized as of the
    same kind. ``ValueError`` when one fold's network or preprocessing is another.
    """
    kinds = [network_kinds(part.segmenter.spec) for part in parts]
    for part, kind in zip(parts, kinds, strict=True):
        if kind != kinds[0]:
            raise ValueError(
                f"The model of {part.fold} is of another kind than that of {parts[0].fold}; all"
                " folds of a cross-validation are trained in one way."
            )
    return {
        "networks": kinds[0],
        "folds": {
            part.fold: {
                "sha256": part.segmenter.sha256,
                "cases": [case.name for case in part.cases],
            }
            for part in parts
        },
    }


def network_kinds(spec: ModelSpec) -> dict[str, Any]:
    """Each network and its preprocessing, and how two are joined, without the weights."""
    kinds = {
        "networks": {
            name: {"net": one.net, "net_args": one.net_args, "preprocessing": one.preprocessing}
            for name, one in spec.networks.items()
        },
        "cascade": spec.cascade,
    }
    return with_all_settings(kinds)


def with_all_settings(kinds: Mapping[str, Any]) -> dict[str, Any]:
    """What ``network_kinds`` gave, also of an earlier version, which knew fewer settings."""
    networks = {
        name: {**one, "preprocessing": _all_settings(one["preprocessing"])}
        for name, one in kinds["networks"].items()
    }
    return {**kinds, "networks": networks}


def _all_settings(stored: dict[str, Any]) -> dict[str, Any]:
    kind = PREPROCESSINGS.get(stored.get("kind", SlicePreprocessing.KIND))
    steps = {} if kind is None or not stored else parse_settings(kind, stored).to_dict()
    settings: dict[str, Any] = json.loads(json.dumps(steps or stored))
    return settings


def joint_sha256(parts: Sequence[Judged]) -> str:
    """The hash of a model file; of several, the hash of their hashes in a row."""
    hashes = [part.segmenter.sha256 or "" for part in parts]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
