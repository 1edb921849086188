"""Prepared volumes that a tiny patch net can learn in seconds, for the tests of training.

A test file takes the fixture by its name: ``prepared = toy_volumes.prepared``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing

from training.data.augment3d import NONE
from training.data.patches import PatchSampling
from training.learn.recipes3d import VOLUME_RECIPES, PatchRecipe

STEPS = VolumePreprocessing(window_hu=(-40, 160), size_px=64)
SPACING_KJI_MM = (3.0, 2.0, 2.0)  # of a CT of 64 x 64 pixels, so the grid's as well
TINY_NET: dict[str, Any] = {
    "patch_kji": (16, 32, 32),
    "dims": (4, 8, 16, 32),
    "depth": 1,
    "projections": (4, 4, 4, 4),
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
Who = tuple[str, str, str]  # name, patient group, split
CASES: tuple[Who, ...] = (
    ("1", "a", "train"),
    ("2", "a", "train"),
    ("3", "b", "train"),
    ("4", "c", "train"),
    ("5", "d", "val"),
    ("6", "e", "test"),
)


def tiny(stage: str, **changes: Any) -> PatchRecipe:
    """A recipe that takes a second an epoch."""
    recipe = VOLUME_RECIPES[f"gunetrpp-small-{stage}"]
    sampling = PatchSampling(iterations=3, foreground_share=0.5)
    common: dict[str, Any] = {"net_args": TINY_NET, "augmentation": NONE, "sampling": sampling}
    return replace(recipe, **(common | {"epochs": 2, "batch": 2} | changes))


def write_toy_volumes(
    folder: Path, cases: Sequence[Who] = CASES, *, slices: int = 28, tumor: bool = True
) -> Path:
    """A bright ball is liver, a dark ball in it tumor."""
    records = []
    for number, (name, group, split) in enumerate(cases):
        random = np.random.default_rng(number)
        k, j, i = np.indices((slices, 64, 64))
        middle = random.uniform(26, 38, 2)
        apart_px = np.hypot(j - middle[0], i - middle[1])
        labels = (np.hypot(1.5 * (k - slices // 2), apart_px) < 14).astype(np.uint8)
        if tumor:
            spot = np.hypot(1.5 * (k - slices // 2), np.hypot(j - middle[0] - 5, i - middle[1]))
            labels[spot < 5] = 2
        image = random.normal(0.2, 0.05, labels.shape) + 0.5 * (labels == 1) + 0.25 * (labels == 2)
        (folder / name).mkdir(parents=True)
        np.save(folder / name / "image.npy", image.clip(0, 1).astype(np.float16))
        np.save(folder / name / "labels.npy", labels)
        records.append(
            {
                "name": name,
                "group": group,
                "split": split,
                "ct_sha256": f"sha of {name}",
                "slices": slices,
                "spacing_kji_mm": list(SPACING_KJI_MM),
                "shape_kji": [slices, 64, 64],
                "tumor_ml": int((labels == 2).sum()) * 0.012,
            }
        )
    manifest = {
        "format": 1,
        "preprocessing": STEPS.to_dict(),
        "group_by": "patient",
        "hu_range": [-40, 160],
        "cases": records,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_toy_masks(prepared: Path, folder: Path) -> Path:
    """Masks of the true liver, as ``training.liver_masks`` stores them."""
    folder.mkdir(parents=True)
    records = {}
    for case in json.loads((prepared / "manifest.json").read_text())["cases"]:
        labels = np.load(prepared / case["name"] / "labels.npy")
        np.save(folder / f"{case['name']}.npy", (labels > 0).astype(np.uint8))
        records[case["name"]] = {"ct_sha256": case["ct_sha256"], "dice": 1.0}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "cases": records}))
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_toy_volumes(tmp_path_factory.mktemp("toy") / "prepared")
    write_toy_masks(folder, folder.parent / "masks")
    return folder
