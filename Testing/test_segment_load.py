"""From a model file to a segmenter: end to end on a tiny CT, and every refusal on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from LiverTumorSegLib import segment as segment_file
from LiverTumorSegLib.bundle import ModelBundle
from LiverTumorSegLib.catalog import ModelEntry, ModelFile
from LiverTumorSegLib.nets.hybrid2d import Hybrid2d
from LiverTumorSegLib.postprocess import Postprocessing
from LiverTumorSegLib.preprocess import SlicePreprocessing
from LiverTumorSegLib.segment import describe, load_segmenter
from LiverTumorSegLib.spec import BundleError, ModelSpec, file_sha256
from LiverTumorSegLib.volume import CtVolume

SMALL = SlicePreprocessing(grid_px=64, size_px=64)
STORED = Postprocessing(smallest_liver_ml=0, liver_margin_mm=7.0)
AS_IT_IS = Postprocessing(
    largest_liver_component=False,
    tumor_inside_liver=False,
    smallest_lesion_mm=0,
    smallest_liver_ml=0,
)


def tiny_net() -> Hybrid2d:
    """Random weights, with an output layer that makes all three classes win somewhere."""
    torch.manual_seed(1)
    net = Hybrid2d(width=8, size_px=64).eval()
    torch.nn.init.normal_(net.head.weight, std=20.0)
    with torch.no_grad():
        net.head.bias -= net(torch.rand(1, 1, 64, 64)).mean((0, 2, 3))
    return net


def write_bundle(path: Path, **changes: Any) -> str:
    """A model file with :func:`tiny_net`; its SHA-256."""
    values: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "net": "hybrid2d",
        "net_args": {"width": 8, "size_px": 64},
        "preprocessing": SMALL.to_dict(),
        "labels": {"background": 0, "liver": 1, "tumor": 2},
        "training_hu_range": None,
        "postprocessing": STORED.to_dict(),
        "provenance": {},
        "storage": "fp32",
    }
    return ModelBundle(ModelSpec(**{**values, **changes}), tiny_net().state_dict()).save(path)


def tiny_ct() -> CtVolume:
    """Four LPS slices of 64 x 64 square pixels, which preprocessing and its inverse only copy."""
    hu = np.random.default_rng(0).integers(-200, 300, (4, 64, 64)).astype(np.int16)
    return CtVolume(hu, np.diag([-1.5, -1.5, 5.0, 1.0]))


def test_the_labels_are_the_networks_own(tmp_path: Path) -> None:
    """By hand: gray, network, softmax, argmax, where the two best are not all but level."""
    write_bundle(tmp_path / "tiny.safetensors")
    worker = load_segmenter(
        tmp_path / "tiny.safetensors", "cpu", folder=tmp_path, postprocessing=AS_IT_IS
    )
    result = worker.segment(tiny_ct(), probabilities=True)
    grays = np.stack([SMALL(hu, (1.5, 1.5)) for hu in tiny_ct().hu])
    with torch.no_grad():
        expected = tiny_net()(torch.tensor(grays)[:, None] / 255).softmax(1).movedim(1, 0).numpy()
    assert set(expected.argmax(0).ravel()) == {0, 1, 2}
    assert result.probabilities is not None
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-3)
    second, first = np.sort(expected, axis=0)[-2:]
    clear = first - second > 1e-3
    np.testing.assert_array_equal(result.labels_kji[clear], expected.argmax(0)[clear])
    assert (result.device, result.slices_run, result.slices) == ("cpu", 4, 4)


def test_what_is_told_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    sha256 = write_bundle(path)
    told = json.loads(json.dumps(describe(load_segmenter(str(path), "cpu", folder=tmp_path))))
    assert (told["model"], told["version"]) == ("tiny", "1")
    assert told["sha256"] == sha256 == file_sha256(path)
    assert SlicePreprocessing.from_dict(told["preprocessing"]) == SMALL
    assert Postprocessing.from_dict(told["postprocessing"]) == STORED


def test_the_callers_choices(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    write_bundle(path)
    stored = load_segmenter(path, "cpu", folder=tmp_path)
    assert (stored.scan, stored.postprocessing) == (True, STORED)
    chosen = load_segmenter(path, "cpu", folder=tmp_path, scan=False, postprocessing=AS_IT_IS)
    assert (chosen.scan, chosen.postprocessing) == (False, AS_IT_IS)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"preprocessing": {**SMALL.to_dict(), "denoise": 3}}, "denoise.*newer LiverTumorSeg"),
        ({"preprocessing": {**SMALL.to_dict(), "kind": "volume"}}, "not for slices"),
        ({"preprocessing": {"window_hu": 7}}, "newer LiverTumorSeg"),
        ({"postprocessing": {"fill_holes": True}}, "fill_holes.*newer LiverTumorSeg"),
        ({"labels": {"background": 0, "tumor": 1, "liver": 2}}, "classes.*use another model"),
    ],
)
def test_a_model_file_that_asks_for_more_than_there_is(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    write_bundle(tmp_path / "odd.safetensors", **changes)
    with pytest.raises(BundleError, match=sentence):
        load_segmenter(tmp_path / "odd.safetensors", "cpu", folder=tmp_path)


def test_models_and_devices_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model 'best'"):
        load_segmenter("best", "cpu", folder=tmp_path)
    with pytest.raises(ValueError, match="no model"):
        load_segmenter(tmp_path / "none.safetensors", "cpu", folder=tmp_path)
    write_bundle(tmp_path / "tiny.safetensors")
    with pytest.raises(ValueError, match="'abacus' is unknown"):
        load_segmenter(tmp_path / "tiny.safetensors", "abacus", folder=tmp_path)


def test_a_cascade_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    files = (ModelFile(Path("a"), None, None), ModelFile(Path("b"), None, None))
    pair = ModelEntry("pair", "Pair", "1", files, "none", {}, "")
    monkeypatch.setattr(segment_file, "find_model", lambda name, folder: pair)
    with pytest.raises(BundleError, match="pair has 2 files"):
        load_segmenter("pair")
