"""Prepared data that a small net can learn in seconds, for the tests of training.

A test file takes the fixtures by their names: ``prepared = toy_slices.prepared``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing

from training.data.augment import NONE
from training.data.slices import SliceSet, load_split
from training.learn.recipes import SizePhase, SliceRecipe

PLAIN = SlicePreprocessing(grid_px=64, size_px=64, use_clahe=False, use_gamma=False)
# a second an epoch
TINY = SliceRecipe(
    net_args={"width": 8, "size_px": 64},
    augmentation=NONE,
    stages=(SizePhase(size_px=64, share=1.0),),
    learning_rate=2e-3,
    batch=4,
    epochs=3,
)


def write_toy(folder: Path, slices: int = 12, *, windowed: bool = True) -> Path:
    """A bright disk is liver, a dark spot in it tumor; every fourth slice shows neither.

    slices: of the training case; the validation case has half as many.
    """
    random = np.random.default_rng(0)
    cases = []
    for name, split, count in (("1", "train", slices), ("2", "val", slices // 2)):
        rows, columns = np.indices((64, 64))
        grays = random.normal(60, 8, (count, 64, 64))
        labels = np.zeros((count, 64, 64), np.uint8)
        for n in range(count):
            if n % 4 == 3:
                continue
            row, column = random.uniform(26, 38, 2)
            labels[n][np.hypot(rows - row, columns - column) < 16] = 1
            labels[n][np.hypot(rows - row + 5, columns - column) < 6] = 2
        grays += 120 * (labels == 1) + 60 * (labels == 2)
        bytes_ = np.rint(grays.clip(0, 255)).astype(np.uint8)
        (folder / name).mkdir(parents=True)
        arrays = {"images": bytes_, "labels": labels} | ({"windowed": bytes_} if windowed else {})
        for kind, array in arrays.items():
            np.save(folder / name / f"{kind}.npy", array)
        cases.append({"name": name, "group": f"p{name}", "split": split, "slices": count})
    manifest = {
        "format": 1,
        "preprocessing": PLAIN.to_dict(),
        "windowed": windowed,
        "hu_range": [-1000, 1200],
        "cases": cases,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def data(prepared: Path) -> SliceSet:
    return load_split(prepared, "train", with_windowed=True)


@pytest.fixture(scope="module")
def validation(prepared: Path) -> SliceSet:
    return load_split(prepared, "val")
