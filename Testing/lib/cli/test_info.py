"""``livertumorseg info``: the numbers of a CT, the description of a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import MODEL_SPEC, PATIENT, save_ct, some_affine, some_hu
from LiverTumorSegLib.cli.info import describe_file
from LiverTumorSegLib.model.spec import BundleError, ModelSpec, file_sha256
from looped import FOUR_AXES, looped
from numpy.typing import NDArray


def write_model(path: Path, spec: ModelSpec = MODEL_SPEC) -> Path:
    """A model's description with a single weight: enough to be described."""
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"__metadata__": {"spec": spec.to_json()}, "w": tensor}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return path


def test_a_ct_in_its_own_order_of_axes(tmp_path: Path) -> None:
    text = describe_file(save_ct(tmp_path / f"{PATIENT}.nii.gz"))
    hu = some_hu()
    assert "64 x 60 x 10 voxels (i, j, k), 5.000 x 5.000 x 4.000 mm" in text
    assert "10 axial slices along k" in text
    assert f"{hu.min()} to {hu.max()} HU" in text
    assert PATIENT not in text


@looped(axes_to_ras=FOUR_AXES)
def test_the_axis_of_the_slices(tmp_path: Path, axes_to_ras: NDArray[np.float64]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = axes_to_ras
    shape = dict(zip("ijk", (20, 21, 22), strict=True))
    axis = "ijk"[int(np.argmax(np.abs(axes_to_ras[2])))]
    path = save_ct(tmp_path / "ct.nii", some_hu((20, 21, 22)), affine)
    assert f"{shape[axis]} axial slices along {axis}" in describe_file(path)


def test_warnings_follow(tmp_path: Path) -> None:
    path = save_ct(tmp_path / f"{PATIENT}.nii", np.maximum(some_hu(), -40), some_affine())
    last = describe_file(path).splitlines()[-1]
    assert last.startswith("Warning: ")
    assert "below -40 HU" in last
    assert PATIENT not in last


def test_a_model_without_torch(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.safetensors")
    lines = dict(line.split(maxsplit=1) for line in describe_file(path).splitlines())
    assert lines["model"] == "tiny 0.3"
    assert lines["SHA-256"] == file_sha256(path)
    assert lines["network"] == 'hybrid2d {"width": 8}'
    assert json.loads(lines["preprocessing"]) == MODEL_SPEC.preprocessing
    assert json.loads(lines["postprocessing"]) == MODEL_SPEC.postprocessing
    assert json.loads(lines["decision"]) == MODEL_SPEC.decision
    assert json.loads(lines["labels"]) == MODEL_SPEC.labels
    assert "trained on HU    -1024 to 3071\n" in describe_file(path)
    assert lines["licence"] == "CC0"


def test_long_provenance_is_cut_and_unknown_ranges_are_said(tmp_path: Path) -> None:
    provenance = {"split": [f"volume-{n}" for n in range(500)], "note": "x" * 301, "short": "y"}
    spec = replace(MODEL_SPEC, provenance=provenance, training_hu_range=None)
    text = describe_file(write_model(tmp_path / "m.safetensors", spec))
    assert max(len(line) for line in text.splitlines()) <= 320
    assert text.count("...") == 2
    assert "trained on HU    not stated" in text


def test_errors_are_those_of_the_readers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.nii does not exist"):
        describe_file(tmp_path / "none.nii")
    with pytest.raises(BundleError, match="no such model file"):
        describe_file(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no model at all")
    with pytest.raises(BundleError, match="not a model file"):
        describe_file(tmp_path / "text.safetensors")
