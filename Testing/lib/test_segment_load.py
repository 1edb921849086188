"""From a model file to a segmenter: end to end on a tiny CT, and every refusal on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cascade_model import (
    CASCADE_STEPS,
    LIVER_STEPS,
    PATCH_KJI,
    TUMOR_STEPS,
    random_net,
    save_cascade,
)
from LiverTumorSegLib.inference import segmenter as segment_file
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.segmenter import (
    CascadeSegmenter,
    SliceSegmenter,
    describe,
    load_segmenter,
)
from LiverTumorSegLib.inference.sliding_window import SlidingWindow
from LiverTumorSegLib.model.catalog import ModelEntry, ModelFile, import_model
from LiverTumorSegLib.model.file import ModelBundle
from LiverTumorSegLib.model.spec import STAGES, BundleError, ModelSpec, file_sha256
from LiverTumorSegLib.nets.hybrid2d import Hybrid2d
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

SMALL = SlicePreprocessing(grid_px=64, size_px=64)
STORED = Postprocessing(smallest_liver_ml=0, max_distance_to_liver_mm=7.0)
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


def test_the_decision_is_the_files(tmp_path: Path) -> None:
    decision = Decision(tumor_threshold=0.7, smoothing_mm=5.0, calibration=(1.5, -0.25))
    write_bundle(tmp_path / "plain.safetensors")
    write_bundle(tmp_path / "decided.safetensors", decision=decision.to_dict())
    plain, decided = (
        load_segmenter(tmp_path / f"{name}.safetensors", "cpu", postprocessing=AS_IT_IS)
        for name in ("plain", "decided")
    )
    assert isinstance(plain, SliceSegmenter)
    assert isinstance(decided, SliceSegmenter)
    assert (plain.decision, decided.decision) == (Decision(), decision)
    assert json.loads(json.dumps(decided.describe()))["decision"] == decision.to_dict()
    made, expected = decided.segment(tiny_ct()), plain.answers(tiny_ct()).decide(decision)
    np.testing.assert_array_equal(made.labels_kji, expected[0])
    assert made.certainty_kji is not None
    np.testing.assert_array_equal(made.certainty_kji, expected[1])
    assert plain.segment(tiny_ct()).certainty_kji is None


def test_a_mirrored_slice_model_sees_the_mirrored_patient_alike(tmp_path: Path) -> None:
    steps = replace(SMALL, use_clahe=False)  # whose tiles are not seen alike from both sides
    write_bundle(tmp_path / "tiny.safetensors", preprocessing=steps.to_dict())
    ct = tiny_ct()
    turned = CtVolume(np.ascontiguousarray(ct.hu[..., ::-1]), ct.ijk_to_ras)
    worker = load_segmenter(tmp_path / "tiny.safetensors", "cpu", mirror=True)
    made, mirrored = (worker.segment(one, probabilities=True) for one in (ct, turned))
    assert made.probabilities is not None
    assert mirrored.probabilities is not None
    np.testing.assert_allclose(made.probabilities, mirrored.probabilities[..., ::-1], atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"preprocessing": {**SMALL.to_dict(), "denoise": 3}}, "denoise.*newer LiverTumorSeg"),
        ({"preprocessing": {**SMALL.to_dict(), "kind": "volume"}}, "kind.*newer LiverTumorSeg"),
        ({"preprocessing": {"kind": "volume"}, "labels": STAGES["liver"]}, "liver network of a"),
        ({"preprocessing": {"kind": "volume"}, "labels": STAGES["tumor"]}, "tumor network of a"),
        ({"preprocessing": {"window_hu": 7}}, "newer LiverTumorSeg"),
        ({"postprocessing": {"fill_holes": True}}, "fill_holes.*newer LiverTumorSeg"),
        ({"decision": {"in_plane_mm": 2.0}}, "in_plane_mm.*newer LiverTumorSeg"),
        ({"decision": {"confidence": 1.0}}, "calibration is.*newer LiverTumorSeg"),
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


# cascades


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_cascade(tmp_path_factory.mktemp("pair"))


def changed(pair: tuple[Path, Path], folder: Path, **changes: Any) -> list[Path]:
    """The same with another description of the tumor's file."""
    bundle = ModelBundle.load(pair[1])
    path = folder / "changed.safetensors"
    ModelBundle(replace(bundle.spec, **changes), bundle.state).save(path)
    return [pair[0], path]


def test_the_cascade_s_labels_are_its_networks_own(pair: tuple[Path, Path]) -> None:
    """By hand: both networks whole in one window, the liver's answer blanks the rest."""
    steps = Postprocessing(
        largest_liver_component=False,
        tumor_inside_liver=False,
        smallest_lesion_mm=0,
        smallest_liver_ml=0,
    )
    worker = load_segmenter(pair, "cpu", postprocessing=steps)
    assert isinstance(worker, CascadeSegmenter)
    hu = np.random.default_rng(0).integers(-40, 160, (16, 64, 64)).astype(np.int16)
    ct = CtVolume(hu, np.diag([-1.5, -1.5, 5.0, 1.0]))
    result = worker.segment(ct, probabilities=True)
    image = LIVER_STEPS(ct.hu, ct.spacing_kji_mm)
    liver = windowed(0, image[None])
    region = TUMOR_STEPS.liver_region(liver > 0.5, ct.spacing_kji_mm, ct.shape_kji)
    tumor = windowed(1, TUMOR_STEPS.channels(image, region))
    assert result.probabilities is not None
    seen = region[:, 8:-8, 8:-8]  # of the grid's own pixels nothing but a copy is made
    made = result.probabilities[2, :, 8:-8, 8:-8]
    geometry = TUMOR_STEPS.geometry((64, 64), (1.5, 1.5))
    expected = np.stack([TUMOR_STEPS.undo(plane[None], geometry)[0] for plane in tumor])
    assert seen.any()
    np.testing.assert_allclose(made[seen], expected[:, 8:-8, 8:-8][seen], atol=2e-3)
    clear = np.abs(expected - 0.5) > 5e-3
    found = result.labels_kji == 2
    np.testing.assert_array_equal(found[clear & region], (expected > 0.5)[clear & region])


class Plain:
    """A net of the pair without any of the engine's means."""

    batch = 1

    def __init__(self, seed: int) -> None:
        self.net = random_net(seed)

    def __call__(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(self.net(torch.tensor(patches)).softmax(1)[:, 1:])


def windowed(seed: int, channels: NDArray[np.float16]) -> NDArray[np.float16]:
    return SlidingWindow(patch_kji=PATCH_KJI)(channels, Plain(seed))[0]


def test_the_files_of_a_cascade_in_either_order(pair: tuple[Path, Path]) -> None:
    first, second = (load_segmenter(files, "cpu") for files in (pair, pair[::-1]))
    assert first.describe() == second.describe()
    told = json.loads(json.dumps(describe(first)))
    assert (told["model"], told["version"]) == ("small", "1")
    assert told["sha256"] == first.sha256
    assert told["stages"]["liver"]["sha256"] == file_sha256(pair[0])
    stored = replace(CASCADE_STEPS, smallest_liver_ml=0.0)
    assert Postprocessing.from_dict(told["postprocessing"]) == stored
    assert first.spec.provenance["train"] == ["1", "2"]
    assert first.preprocessing == TUMOR_STEPS
    assert first.device == "cpu"


def test_an_imported_cascade_is_found_by_its_name(pair: tuple[Path, Path], tmp_path: Path) -> None:
    import_model(pair, tmp_path, name="mine")
    worker = load_segmenter("mine", "cpu", folder=tmp_path)
    assert isinstance(worker, CascadeSegmenter)
    assert worker.spec.name == "mine"


def test_the_callers_choices_for_a_cascade(pair: tuple[Path, Path], tmp_path: Path) -> None:
    worker = load_segmenter(pair, "cpu", smallest_lesion_mm=8.5, mirror=True)
    assert isinstance(worker, CascadeSegmenter)
    assert worker.postprocessing.smallest_lesion_mm == 8.5
    assert worker.postprocessing.smallest_liver_ml == 0.0, "the others are the file's"
    assert worker.liver.window.mirror_axes == worker.tumor.window.mirror_axes == (0, 1, 2)
    assert worker.liver.window.patch_kji == PATCH_KJI
    write_bundle(tmp_path / "tiny.safetensors")
    with pytest.raises(ValueError, match="'abacus' is unknown"):
        load_segmenter(pair, "abacus")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"preprocessing": {**TUMOR_STEPS.to_dict(), "denoise": 3}}, "denoise.*newer LiverTumor"),
        ({"postprocessing": {"fill_holes": True}}, "fill_holes.*newer LiverTumorSeg"),
        ({"decision": {"tumor_threshold": 0.7, "smoothing_mm": 4.0}}, "no smoothing_mm, and here"),
        ({"decision": {"sharpness": 1}}, "sharpness.*newer LiverTumorSeg"),
        ({"preprocessing": LIVER_STEPS.to_dict()}, "must see all and the tumor network the liver"),
    ],
)
def test_a_cascade_whose_files_ask_for_more_than_there_is(
    pair: tuple[Path, Path], tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BundleError, match=sentence):
        load_segmenter(changed(pair, tmp_path, **changes), "cpu")


DECIDES = Decision(tumor_threshold=0.7, calibration=(1.2, -0.4))


def test_a_cascade_decides_as_its_tumor_file_says(pair: tuple[Path, Path], tmp_path: Path) -> None:
    worker = load_segmenter(changed(pair, tmp_path, decision=DECIDES.to_dict()), "cpu")
    assert worker.decision == DECIDES
    assert worker.describe()["decision"] == DECIDES.to_dict()


def test_a_liver_network_decides_on_no_tumor(pair: tuple[Path, Path], tmp_path: Path) -> None:
    bundle = ModelBundle.load(pair[0])
    liver = tmp_path / "deciding.safetensors"
    ModelBundle(replace(bundle.spec, decision={"tumor_threshold": 0.7}), bundle.state).save(liver)
    with pytest.raises(BundleError, match=r"deciding\.safetensors decides on tumors"):
        load_segmenter((liver, pair[1]), "cpu")


def test_entries_that_are_no_cascade(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a catalog made by hand may list them."""

    def listed(*paths: Path) -> None:
        files = tuple(ModelFile(path, None, None) for path in paths)
        entry = ModelEntry("pair", "Pair", "1", files, "none", {}, "")
        monkeypatch.setattr(segment_file, "find_model", lambda name, folder: entry)

    listed(pair[1], pair[0])
    with pytest.raises(BundleError, match=r"tumor\.safetensors is not the liver network"):
        load_segmenter("pair", "cpu")
    listed(*pair, pair[0])
    with pytest.raises(BundleError, match="pair has 3 files; a cascade has two"):
        load_segmenter("pair", "cpu")
    write_bundle(
        tmp_path / "tumor.safetensors",
        preprocessing=TUMOR_STEPS.to_dict(),
        labels=STAGES["tumor"],
        net_args={"width": 8, "size_px": 64, "classes": 3},
    )
    listed(pair[0], tmp_path / "tumor.safetensors")
    with pytest.raises(BundleError, match="'hybrid2d' takes no patches"):
        load_segmenter("pair", "cpu")
