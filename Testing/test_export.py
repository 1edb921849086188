"""The shipped form of a trained model says what it is and what its storage costs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from LiverTumorSegLib.bundle import ModelBundle
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.nets import NETS
from LiverTumorSegLib.postprocess import Postprocessing
from LiverTumorSegLib.preprocess import SlicePreprocessing
from LiverTumorSegLib.spec import ModelSpec

from training.export import main

PREPROCESSING = SlicePreprocessing(grid_px=64, size_px=64)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a best epoch."""
    net_args = {"width": 8, "size_px": 64}
    spec = ModelSpec(
        name="hybrid2d",
        version="0",
        net="hybrid2d",
        net_args=net_args,
        preprocessing=PREPROCESSING.to_dict(),
        labels={label.name.lower(): int(label) for label in Label},
        training_hu_range=(-40, 160),
        postprocessing=Postprocessing().to_dict(),
        provenance={"train": ["0"], "val": ["3"]},
        storage="fp32",
    )
    folder = tmp_path / "run"
    folder.mkdir()
    bundle = ModelBundle(spec, dict(NETS["hybrid2d"](**net_args).state_dict()))
    bundle.save(folder / "best.safetensors")
    return folder


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    folder = tmp_path / "prepared"
    (folder / "3").mkdir(parents=True)
    random = np.random.default_rng(0)
    np.save(folder / "3" / "images.npy", random.integers(0, 256, (5, 64, 64), np.uint8))
    np.save(folder / "3" / "labels.npy", random.integers(0, 3, (5, 64, 64), np.uint8))
    manifest = {
        "preprocessing": PREPROCESSING.to_dict(),
        "windowed": False,
        "hu_range": [-40, 160],
        "cases": [{"name": "3", "split": "val"}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_names_licence_and_the_price_of_int8(
    run: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.safetensors"
    code = main([str(run), "-o", str(out), "--name", "small", "--prepared", str(prepared)])
    assert code == 0
    printed = json.loads(capsys.readouterr().out)
    bundle = ModelBundle.load(out, sha256=printed["sha256"])
    assert (bundle.spec.name, bundle.spec.storage) == ("small", "int8")
    assert bundle.spec.provenance["train"] == ["0"]
    assert bundle.spec.provenance["licence"] == "CC BY-NC-SA 4.0"
    measured = bundle.spec.provenance["validation_slices_dice"]
    assert set(measured) == {"fp32", "int8"}
    assert printed["bytes"] == out.stat().st_size


def test_fp32_form_has_the_very_weights(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "full.safetensors"
    assert main([str(run), "-o", str(out), "--name", "full", "--storage", "fp32"]) == 0
    before = ModelBundle.load(run / "best.safetensors").state
    after = ModelBundle.load(out).state
    assert all((before[name] == after[name]).all() for name in before)


def test_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.safetensors"
    assert main([str(tmp_path), "-o", str(out), "--name", "m"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()
