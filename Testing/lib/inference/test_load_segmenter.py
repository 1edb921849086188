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
    save_halves,
)
from LiverTumorSegLib.inference.cascade import Cascade
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.patches import PatchNetwork
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.region import CascadeSettings
from LiverTumorSegLib.inference.segmenter import Segmenter, load_segmenter
from LiverTumorSegLib.inference.slices import SliceNetwork
from LiverTumorSegLib.inference.sliding_window import SlidingWindow
from LiverTumorSegLib.model.catalog import import_model
from LiverTumorSegLib.model.file import ModelFile, join_files
from LiverTumorSegLib.model.spec import STAGES, BundleError, ModelSpec, file_sha256, join_specs
from LiverTumorSegLib.nets.hybrid2d import Hybrid2d
from LiverTumorSegLib.settings import RunSettings
from LiverTumorSegLib.volume import CtVolume
from looped import looped
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
    return ModelFile(ModelSpec(**{**values, **changes}), tiny_net().state_dict()).save(path)


def tiny_ct() -> CtVolume:
    """Four LPS slices of 64 x 64 square pixels, which preprocessing and its inverse only copy."""
    hu = np.random.default_rng(0).integers(-200, 300, (4, 64, 64)).astype(np.int16)
    return CtVolume(hu, np.diag([-1.5, -1.5, 5.0, 1.0]))


def test_the_labels_are_the_networks_own(tmp_path: Path) -> None:
    """By hand: gray, network, softmax, argmax, where the two best are not all but level."""
    write_bundle(tmp_path / "tiny.safetensors")
    worker = as_it_is(tmp_path / "tiny.safetensors")
    result = worker.segment(tiny_ct(), keep_prediction=True)
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
    told = json.loads(
        json.dumps(
            load_segmenter(RunSettings(model=str(path), device="cpu"), folder=tmp_path).describe()
        )
    )
    assert (told["model"], told["version"]) == ("tiny", "1")
    assert told["sha256"] == sha256 == file_sha256(path)
    assert SlicePreprocessing.from_dict(told["networks"]["all"]["preprocessing"]) == SMALL
    assert Postprocessing.from_dict(told["postprocessing"]) == STORED


def test_the_callers_choices(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    write_bundle(path)
    stored = load_segmenter(RunSettings(model=str(path), device="cpu"), folder=tmp_path)
    chosen = load_segmenter(
        RunSettings(model=str(path), device="cpu", coarse_search=False, smallest_lesion_mm=8.5),
        folder=tmp_path,
    )
    for segmenter, search in ((stored, True), (chosen, False)):
        assert isinstance(segmenter.network, SliceNetwork)
        assert segmenter.network.coarse_search == search
    assert stored.postprocessing == STORED
    assert chosen.postprocessing == replace(STORED, smallest_lesion_mm=8.5)


def as_it_is(path: Path) -> Segmenter:
    segmenter = load_segmenter(RunSettings(model=str(path), device="cpu"))
    segmenter.postprocessing = AS_IT_IS
    return segmenter


def test_the_decision_is_the_files(tmp_path: Path) -> None:
    decision = Decision(tumor_threshold=0.7, smoothing_mm=5.0, calibration=(1.5, -0.25))
    write_bundle(tmp_path / "plain.safetensors")
    write_bundle(tmp_path / "decided.safetensors", decision=decision.to_dict())
    plain, decided = (as_it_is(tmp_path / f"{name}.safetensors") for name in ("plain", "decided"))
    assert (plain.decision, decided.decision) == (Decision(), decision)
    assert json.loads(json.dumps(decided.describe()))["decision"] == decision.to_dict()
    made = decided.segment(tiny_ct())
    expected = plain.predict(tiny_ct()).decide(decision, AS_IT_IS)
    np.testing.assert_array_equal(made.labels_kji, expected[0])
    assert made.tumor_probability_kji is not None
    np.testing.assert_array_equal(made.tumor_probability_kji, expected[1])
    assert plain.segment(tiny_ct()).tumor_probability_kji is None


def test_a_run_may_mark_more_or_fewer_in_steps_that_were_tested(tmp_path: Path) -> None:
    """Found in tests at each seed threshold: from many marks to few."""
    decision = Decision(tumor_threshold=0.5, seed_threshold=0.9, calibration=(1.0, 0.0))
    points = [
        {
            "tumor_threshold": 0.5,
            "seed_threshold": seed,
            "lesions_from_10_mm": [large, 70],
            "lesions_under_10_mm": [20, 60],
            "false_lesions_per_volume": false_marks,
        }
        for seed, large, false_marks in ((0.0, 66, 2.5), (0.9, 60, 1.0), (0.99, 55, 0.5))
    ]
    path = tmp_path / "steps.safetensors"
    write_bundle(path, decision=decision.to_dict(), tuning={"points": points})

    def loaded(**settings: Any) -> Decision:
        return load_segmenter(RunSettings(model=str(path), device="cpu", **settings)).decision

    for steps, seed in ((0, 0.9), (1, 0.0), (-1, 0.99)):
        assert loaded(sensitivity=steps) == replace(decision, seed_threshold=seed)
    assert loaded(tumor_threshold=0.3) == replace(decision, tumor_threshold=0.3, seed_threshold=0)
    with pytest.raises(ValueError, match=r"has -1 \(fewer marks\) to 1 \(more marks\)"):
        loaded(sensitivity=2)
    write_bundle(path, decision=decision.to_dict())
    with pytest.raises(ValueError, match="tested with one decision only"):
        loaded(sensitivity=1)


def test_a_mirrored_slice_model_sees_the_mirrored_patient_alike(tmp_path: Path) -> None:
    steps = replace(SMALL, use_clahe=False)  # whose tiles are not seen alike from both sides
    write_bundle(tmp_path / "tiny.safetensors", preprocessing=steps.to_dict())
    ct = tiny_ct()
    turned = CtVolume(np.ascontiguousarray(ct.hu[..., ::-1]), ct.ijk_to_ras)
    worker = load_segmenter(
        RunSettings(model=str(tmp_path / "tiny.safetensors"), device="cpu"), tta=True
    )
    made, mirrored = (worker.segment(one, keep_prediction=True) for one in (ct, turned))
    assert made.probabilities is not None
    assert mirrored.probabilities is not None
    np.testing.assert_allclose(made.probabilities, mirrored.probabilities[..., ::-1], atol=1e-3)


@looped(
    ("changes", "sentence"),
    [
        ({"preprocessing": {**SMALL.to_dict(), "denoise": 3}}, "denoise.*newer LiverTumorSeg"),
        ({"preprocessing": {"kind": "volume"}}, "takes no patches"),
        ({"preprocessing": {"kind": {"x": 1}}}, "unknown here"),
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
        load_segmenter(
            RunSettings(model=str(tmp_path / "odd.safetensors"), device="cpu"), folder=tmp_path
        )


def test_models_and_devices_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model 'best'"):
        load_segmenter(RunSettings(model="best", device="cpu"), folder=tmp_path)
    with pytest.raises(ValueError, match="no model"):
        load_segmenter(
            RunSettings(model=str(tmp_path / "none.safetensors"), device="cpu"), folder=tmp_path
        )
    write_bundle(tmp_path / "tiny.safetensors")
    with pytest.raises(ValueError, match="'abacus' is unknown"):
        load_segmenter(
            RunSettings(model=str(tmp_path / "tiny.safetensors"), device="abacus"), folder=tmp_path
        )


# cascades


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_cascade(tmp_path_factory.mktemp("pair") / "small.safetensors")


def changed(pair: Path, folder: Path, **changes: Any) -> Path:
    """The same with another description of the tumor network."""
    file = ModelFile.load(pair)
    tumor = replace(file.spec.pair["tumor"], **changes)
    spec = replace(file.spec, pair={**file.spec.pair, "tumor": tumor})
    ModelFile(spec, file.state).save(folder / "changed.safetensors")
    return folder / "changed.safetensors"


def test_the_cascade_s_labels_are_its_networks_own(pair: Path) -> None:
    """By hand: both networks whole in one window, the liver's answer blanks the rest."""
    worker = as_it_is(pair)
    assert isinstance(worker.network, Cascade)
    worker.network.settings = replace(worker.network.settings, clean_liver=False)
    hu = np.random.default_rng(0).integers(-40, 160, (16, 64, 64)).astype(np.int16)
    ct = CtVolume(hu, np.diag([-1.5, -1.5, 5.0, 1.0]))
    result = worker.segment(ct, keep_prediction=True)
    image = LIVER_STEPS(ct.hu, ct.spacing_kji_mm)
    liver = windowed(0, image[None])
    region = TUMOR_STEPS.search_region(liver > 0.5, ct.spacing_kji_mm, ct.shape_kji)
    tumor = np.where(region, windowed(1, TUMOR_STEPS.channels(image, region)), 0)
    assert result.probabilities is not None
    grid = TUMOR_STEPS.grid((64, 64), (1.5, 1.5))
    expected = np.stack([grid.to_native(plane.astype(np.float32)) for plane in tumor])
    assert region.any()
    np.testing.assert_allclose(result.probabilities[2], expected, atol=2e-3)
    clear = np.abs(expected - 0.5) > 5e-3
    np.testing.assert_array_equal((result.labels_kji == 2)[clear], (expected > 0.5)[clear])


class Plain:
    """A net of the pair without any of the runner's means."""

    batch = 1

    def __init__(self, seed: int) -> None:
        self.net = random_net(seed)

    def __call__(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(self.net(torch.tensor(patches)).softmax(1)[:, 1:])


def windowed(seed: int, channels: NDArray[np.float16]) -> NDArray[np.float16]:
    return SlidingWindow(patch_kji=PATCH_KJI)(channels, Plain(seed))[0]


def test_what_is_told_of_a_cascade(pair: Path, tmp_path: Path) -> None:
    import_model(pair, tmp_path, name="mine")
    for model in (pair, "mine"):
        worker = load_segmenter(RunSettings(model=str(model), device="cpu"), folder=tmp_path)
        told = json.loads(json.dumps(worker.describe()))
        assert (told["model"], told["version"]) == ("small", "1")
        assert told["sha256"] == worker.sha256 == file_sha256(pair)
        assert list(told["networks"]) == ["liver", "tumor"]
        assert CascadeSettings.from_dict(told["cascade"]).clean_liver
        stored = replace(CASCADE_STEPS, smallest_liver_ml=0.0)
        assert Postprocessing.from_dict(told["postprocessing"]) == stored
        assert worker.spec.provenance["train"] == ["1", "2"]
        assert worker.preprocessing == TUMOR_STEPS
        assert worker.device == "cpu"


def test_the_callers_choices_for_a_cascade(pair: Path, tmp_path: Path) -> None:
    worker = load_segmenter(
        RunSettings(model=str(pair), device="cpu", smallest_lesion_mm=8.5), tta=True
    )
    assert isinstance(worker.network, Cascade)
    assert worker.postprocessing.smallest_lesion_mm == 8.5
    assert worker.postprocessing.smallest_liver_ml == 0.0, "the others are the file's"
    for network in (worker.network.liver, worker.network.tumor):
        assert isinstance(network, PatchNetwork)
        assert network.window.mirror_axes == (0, 1, 2)
        assert network.window.patch_kji == PATCH_KJI
    asked = changed(pair, tmp_path, tta=True)
    tumor = load_segmenter(RunSettings(model=str(asked), device="cpu")).network.tumor  # type: ignore[union-attr]
    assert tumor.window.mirror_axes == (0, 1, 2), "as the file itself wants"
    with pytest.raises(ValueError, match="'abacus' is unknown"):
        load_segmenter(RunSettings(model=str(pair), device="abacus"))


@looped(
    ("changes", "sentence"),
    [
        ({"preprocessing": {**TUMOR_STEPS.to_dict(), "denoise": 3}}, "denoise.*newer LiverTumor"),
        ({"preprocessing": {"kind": "hologram"}}, "'hologram' is unknown"),
        ({"preprocessing": SMALL.to_dict()}, "'gunetrpp' takes no slices"),
    ],
)
def test_a_cascade_that_asks_for_more_than_there_is(
    pair: Path, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BundleError, match=sentence):
        load_segmenter(RunSettings(model=str(changed(pair, tmp_path, **changes)), device="cpu"))


def test_networks_that_do_not_make_a_cascade(tmp_path: Path) -> None:
    liver, tumor = (ModelFile.load(path) for path in save_halves(tmp_path))
    write_bundle(tmp_path / "tiny.safetensors")
    whole = ModelFile.load(tmp_path / "tiny.safetensors")
    for first, second in ((tumor, liver), (liver, liver), (tumor, tumor)):
        with pytest.raises(BundleError, match="is not the"):
            join_files(first, second, name="pair", version="1", cascade={})
    needs_liver = ModelFile(replace(liver.spec, preprocessing=TUMOR_STEPS.to_dict()), liver.state)
    path = tmp_path / "pair.safetensors"
    join_files(needs_liver, tumor, name="pair", version="1", cascade={}).save(path)
    with pytest.raises(BundleError, match="needs to be shown the liver"):
        load_segmenter(RunSettings(model=str(path), device="cpu"))
    pair = join_files(whole, tumor, name="pair", version="1", cascade={})
    with pytest.raises(BundleError, match="is not the"):
        join_files(pair, tumor, name="pair", version="1", cascade={})


def test_the_pair_has_seen_what_either_has_seen(tmp_path: Path) -> None:
    liver, tumor = (ModelFile.load(path).spec for path in save_halves(tmp_path))
    words = {"train": ["1", "2"], "train_groups": ["a"], "split_group_by": "volume"}
    liver = replace(liver, training_hu_range=(-1024, 160), provenance=words)
    told = {"train": ["2", "10"], "recipe": {"epochs": 3}, "split_group_by": "patient"}
    tumor = replace(tumor, training_hu_range=(-40, 3000), provenance=told)
    joint = join_specs("pair", "3", liver, tumor, {})
    assert (joint.name, joint.version, joint.is_cascade) == ("pair", "3", True)
    assert joint.provenance["train"] == ["1", "10", "2"]
    assert joint.provenance["train_groups"] == ["a"]
    assert joint.networks["tumor"].provenance["recipe"] == {"epochs": 3}
    assert joint.provenance["split_group_by"] == "patient", "refused where either would be"
    assert joint.training_hu_range == (-1024, 3000)
    assert joint.labels == {"background": 0, "liver": 1, "tumor": 2}
    both = join_specs("pair", "3", liver, replace(tumor, provenance=liver.provenance), {})
    assert both.provenance["split_group_by"] == "volume"
    assert ModelSpec.from_json(both.to_json()) == both
