"""Liver masks for stage 2: no scan is marked by a net that knows its patient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_threads
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.model.spec import STAGES, ModelSpec
from LiverTumorSegLib.nets import NETS
from looped import looped
from prepared_cases import file_times
from toy_volumes import CASES, STEPS, TINY_NET, tiny, write_toy_volumes

from training.data.patches import PatchSampling, load_volumes
from training.learn.recipes3d import VOLUME_RECIPES
from training.liver_masks import LiverNet, choose_nets, main, make_masks

one_thread = torch_threads.one_thread


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_volumes(tmp_path_factory.mktemp("toy") / "prepared")


def save_net(path: Path, groups: list[str], **changes: Any) -> Path:
    """A net with random weights that says it has seen ``groups``."""
    spec: dict[str, Any] = {
        "name": path.stem,
        "version": "0",
        "net": "gunetrpp",
        "net_args": TINY_NET,
        "preprocessing": STEPS.to_dict(),
        "labels": STAGES["liver"],
        "training_hu_range": (-40, 160),
        "postprocessing": {},
        "provenance": {"train_groups": groups},
        "storage": "fp32",
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(groups))
        net = NETS["gunetrpp"](**TINY_NET)
    ModelFile(ModelSpec(**(spec | changes)), dict(net.state_dict())).save(path)
    return path


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every net calls liver what is bright; the list gets the models that were asked, in order."""
    asked: list[str] = []

    def mask(self: LiverNet, image: Any) -> Any:
        asked.append(self.path.stem)
        return image > 0.35

    monkeypatch.setattr(LiverNet, "mask", mask)
    return asked


@pytest.fixture
def nets(tmp_path: Path) -> dict[str, Path]:
    """Folds of the training patients a, b, c, and the final net, which knows them all."""
    known = {"final": ["a", "b", "c"], "without_a": ["b", "c"], "without_bc": ["a"]}
    return {name: save_net(tmp_path / f"{name}.safetensors", g) for name, g in known.items()}


def words(prepared: Path, out: Path, nets: dict[str, Path]) -> list[str]:
    models = [str(nets["without_a"]), str(nets["without_bc"])]
    return [str(prepared), "-o", str(out), "--final", str(nets["final"]), "--models", *models]


def test_each_scan_is_marked_by_a_net_that_does_not_know_its_patient(
    prepared: Path, tmp_path: Path, nets: dict[str, Path], bright: list[str]
) -> None:
    out = tmp_path / "masks"
    assert main([*words(prepared, out, nets), "--device", "cpu"]) == 0
    records = json.loads((out / "manifest.json").read_text())["cases"]
    sha256 = {ModelFile.load(path).sha256: name for name, path in nets.items()}
    chosen = {name: sha256[record["model_sha256"]] for name, record in records.items()}
    assert chosen == {
        "1": "without_a",
        "2": "without_a",
        "3": "without_bc",
        "4": "without_bc",
        "5": "final",
    }  # scan 6 is a test scan
    known = {name: set(LiverNet.load(path, "cpu").groups) for name, path in nets.items()}
    for name, group, split in CASES:
        if split == "train":
            assert group not in known[chosen[name]]


def test_what_is_written_is_what_stage_2_reads(
    prepared: Path, tmp_path: Path, nets: dict[str, Path], bright: list[str]
) -> None:
    out = tmp_path / "masks"
    assert main([*words(prepared, out, nets), "--device", "cpu"]) == 0
    for volume in load_volumes(prepared, "train", "tumor", masks=out, margin_mm=0.0).volumes:
        assert np.array_equal(volume.region, volume.image > 0.35)
    made = json.loads((out / "manifest.json").read_text())
    by_hand = {}
    for name, record in made["cases"].items():
        mask = np.load(prepared / name / "image.npy") > 0.35
        liver = np.load(prepared / name / "labels.npy") > 0
        by_hand[name] = 2 * (mask & liver).sum() / (mask.sum() + liver.sum())
        assert record["dice"] == pytest.approx(by_hand[name], abs=1e-4)
    assert made["dice"]["val"] == pytest.approx(by_hand["5"], abs=1e-4)
    mean = np.mean([by_hand[name] for name in ("1", "2", "3", "4")])
    assert made["dice"]["train"] == pytest.approx(mean, abs=1e-4)


def test_a_second_call_marks_only_what_has_changed(
    prepared: Path, tmp_path: Path, nets: dict[str, Path], bright: list[str]
) -> None:
    out = tmp_path / "masks"
    command = [*words(prepared, out, nets), "--device", "cpu"]
    assert main(command) == 0
    before = file_times(out)
    bright.clear()
    assert main(command) == 0
    assert bright == []
    assert file_times(out) == before
    save_net(nets["without_a"], ["b", "c"], version="1")
    assert main(command) == 0
    assert bright == ["without_a", "without_a"]
    bright.clear()
    assert main([*command, "--overlap", "0.25"]) == 0
    assert len(bright) == 5


def test_the_mask_is_the_nets_windows_cleaned(prepared: Path, tmp_path: Path) -> None:
    """A speck away from the liver goes, as in inference."""
    net = LiverNet.load(save_net(tmp_path / "n.safetensors", ["a"]), "cpu", overlap=0.0)

    class Bright:
        batch = 1

        def __call__(self, patches: Any) -> Any:
            return (patches > 0.35).astype(np.float32)

    object.__setattr__(net, "runner", Bright())
    image = np.load(prepared / "5" / "image.npy")
    speck = np.zeros(image.shape, np.bool_)
    speck[2:5, 2:5, 2:5] = True
    assert not (image[speck] > 0.35).any()
    image[speck] = 1.0
    mask = net.mask(image)
    assert not mask[speck].any()
    liver = np.load(prepared / "5" / "labels.npy") > 0
    assert 2 * (mask & liver).sum() / (mask.sum() + liver.sum()) > 0.95


def test_a_patient_that_every_net_knows_is_refused(
    prepared: Path, tmp_path: Path, nets: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    nets["without_bc"] = save_net(tmp_path / "x.safetensors", ["a", "c"])
    assert main([*words(prepared, tmp_path / "masks", nets), "--device", "cpu"]) == 2
    assert "trained on the patient of 4" in capsys.readouterr().err
    assert not (tmp_path / "masks").exists()


def test_a_validation_patient_that_the_final_net_knows_is_refused(
    tmp_path: Path, nets: dict[str, Path]
) -> None:
    final = LiverNet.load(save_net(tmp_path / "f.safetensors", ["d"]), "cpu")
    case = {"name": "5", "group": "d", "split": "val"}
    with pytest.raises(ValueError, match="trained on the patient of 5"):
        choose_nets([case], final, [])


@looped("fault", ["stage", "preprocessing"])
def test_nets_of_another_kind_are_refused(
    fault: str, prepared: Path, tmp_path: Path, nets: dict[str, Path]
) -> None:
    path = tmp_path / "other.safetensors"
    if fault == "stage":
        tumor = {**STEPS.to_dict(), "liver_margin_mm": 0.0}
        save_net(path, ["a"], labels=STAGES["tumor"], preprocessing=tumor)
        with pytest.raises(ValueError, match="not the liver network"):
            LiverNet.load(path, "cpu")
    else:
        save_net(path, ["a"], preprocessing={**STEPS.to_dict(), "window_hu": [-250, 250]})
        other, final = LiverNet.load(path, "cpu"), LiverNet.load(nets["final"], "cpu")
        with pytest.raises(ValueError, match="prepared otherwise"):
            make_masks(prepared, tmp_path / "masks", final, [other])


def test_folds_are_trained_without_a_part_of_the_patients(
    prepared: Path, tmp_path: Path, nets: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command trains its own nets; together they leave out every patient once."""
    sampling = PatchSampling(iterations=1)
    monkeypatch.setitem(VOLUME_RECIPES, "gunetrpp-small-liver", tiny("liver", sampling=sampling))
    out = tmp_path / "masks"
    command = [str(prepared), "-o", str(out), "--final", str(nets["final"]), "--folds", "2"]
    command += ["--recipe", "gunetrpp-small-liver", "--epochs", "1", "--device", "cpu"]
    assert main([*command, "--overlap", "0"]) == 0
    known = [
        set(ModelFile.load(out / f"fold-{n}/best.safetensors").spec.provenance["train_groups"])
        for n in (1, 2)
    ]
    assert known[0] | known[1] == {"a", "b", "c"}
    assert known[0] & known[1] == set()
    assert set(json.loads((out / "manifest.json").read_text())["cases"]) == {
        "1",
        "2",
        "3",
        "4",
        "5",
    }
