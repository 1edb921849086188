"""``training.train`` on volumes: the files of a run, going on, both stages, and exporting them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_threads
import toy_volumes
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.model.file import ModelFile, file_sha256
from LiverTumorSegLib.model.spec import stage_of
from looped import looped
from run_folder import history, same_bits
from toy_slices import write_toy
from toy_volumes import STEPS, TINY_NET, tiny

from training import export
from training.data.augment3d import PAPER
from training.data.patches import PatchSampling
from training.learn.provenance import CASCADE_STEPS
from training.learn.recipes3d import VOLUME_RECIPES, Validation
from training.learn.trainer3d import PatchTrainer
from training.train import main

one_thread, prepared = torch_threads.one_thread, toy_volumes.prepared
FEW = PatchSampling(iterations=2, foreground_share=0.5)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small recipes, on the toy's net; everything that draws random numbers."""
    for stage in ("liver", "tumor"):
        check = Validation(patches=4)
        recipe = tiny(stage, augmentation=PAPER, sampling=FEW, check=check)
        net_args = {**TINY_NET, "dropout": 0.1, "attention_dropout": 0.1}
        recipe = replace(recipe, net_args=net_args, select="last")
        monkeypatch.setitem(VOLUME_RECIPES, f"gunetrpp-small-{stage}", recipe)


def call(prepared: Path, run: Path, stage: str, *options: object) -> int:
    words = ["-o", run, "--recipe", f"gunetrpp-small-{stage}", "--device", "cpu", *options]
    if stage == "tumor":
        words += ["--masks", prepared.parent / "masks"]
    return main([str(prepared), *map(str, words)])


@looped("stage", ["liver", "tumor"])
def test_a_run_gives_a_stage_of_a_cascade(prepared: Path, tmp_path: Path, stage: str) -> None:
    assert call(prepared, tmp_path, stage) == 0
    lines = history(tmp_path)
    assert [line["epoch"] for line in lines] == [0, 1]
    assert {"train_loss", "val_loss", f"val_{stage}_dice"} <= lines[0].keys()
    spec = ModelFile.load(tmp_path / "best.safetensors").spec
    assert stage_of(spec) == stage
    assert spec.name == f"gunetrpp-{stage}"
    steps = VolumePreprocessing.from_dict(spec.preprocessing)
    seen = {"liver_margin_mm": 10.0, "mask_as_channel": True} if stage == "tumor" else {}
    assert steps.to_dict() == {**STEPS.to_dict(), **seen}
    assert Postprocessing.from_dict(spec.postprocessing) == CASCADE_STEPS
    assert spec.training_hu_range == (-40, 160)
    told = spec.provenance
    assert (told["train"], told["val"]) == (["1", "2", "3", "4"], ["5"])
    assert told["train_groups"] == ["a", "b", "c"]
    assert (told["split_group_by"], told["processes"]) == ("patient", 1)
    assert {"init": None, **told["recipe"]} == json.loads((tmp_path / "recipe.json").read_text())


def test_a_fold_says_which_patients_it_knows(prepared: Path, tmp_path: Path) -> None:
    known = []
    for fold in ("1/2", "2/2"):
        run = tmp_path / fold[0]
        assert call(prepared, run, "liver", "--fold", fold, "--epochs", 1) == 0
        told = ModelFile.load(run / "best.safetensors").spec.provenance
        assert told["val"] == ["5"]
        known.append(set(told["train_groups"]))
    assert known[0] | known[1] == {"a", "b", "c"}
    assert not known[0] & known[1]


class Stopped(Exception):
    pass


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ema = ("--ema", 0.9)
    assert call(prepared, tmp_path / "whole", "tumor", *ema) == 0
    run_epoch = PatchTrainer.run_epoch

    def stops(self: PatchTrainer, show: Any = iter) -> dict[str, float]:
        facts = run_epoch(self, show)
        if self.epoch == 1:
            raise Stopped
        return facts

    with monkeypatch.context() as patch:
        patch.setattr(PatchTrainer, "run_epoch", stops)
        with pytest.raises(Stopped):
            call(prepared, tmp_path / "parts", "tumor", *ema)
    torch.manual_seed(999)
    assert call(prepared, tmp_path / "parts", "tumor", *ema) == 0
    lines = [history(tmp_path / f) for f in ("whole", "parts")]
    for line in lines[0] + lines[1]:
        line.pop("seconds")
    assert lines[0] == lines[1]
    whole, parts = (ModelFile.load(tmp_path / f / "best.safetensors") for f in ("whole", "parts"))
    assert same_bits(whole.state, parts.state)
    ends = [torch.load(tmp_path / f / "last.pt", weights_only=True) for f in ("whole", "parts")]
    for key in ("net", "average", "optimizer"):
        assert same_bits(ends[0][key], ends[1][key]), key
    assert same_bits(whole.state, dict(ends[0]["average"]["net"]))  # select "last"
    assert not same_bits(whole.state, dict(ends[0]["net"]))


def test_minutes_end_a_run(prepared: Path, tmp_path: Path) -> None:
    assert call(prepared, tmp_path, "liver", "--minutes", 1e-6) == 0
    assert not (tmp_path / "history.jsonl").exists() or history(tmp_path)[0]["steps"] <= 1


def test_init_goes_on_from_the_other_stage(prepared: Path, tmp_path: Path) -> None:
    """Both nets have two classes: the liver's weights are a start for the tumor's."""
    assert call(prepared, tmp_path / "liver", "liver", "--epochs", 1) == 0
    best = tmp_path / "liver" / "best.safetensors"
    slow = ("--epochs", 1, "--learning-rate", 1e-12)
    assert call(prepared, tmp_path / "tumor", "tumor", "--init", best, *slow) == 0
    begun, ended = (
        dict(ModelFile.load(path).build_net().named_parameters())
        for path in (best, tmp_path / "tumor" / "best.safetensors")
    )
    assert all(torch.allclose(begun[n], ended[n], atol=1e-7, rtol=0) for n in begun)
    told = ModelFile.load(tmp_path / "tumor" / "best.safetensors").spec.provenance
    assert told["init"] == {"name": "gunetrpp-liver", "version": "0", "sha256": file_sha256(best)}


def test_a_fold_that_begins_with_a_net_of_all_patients_knows_them_too(
    prepared: Path, tmp_path: Path
) -> None:
    """Else it would mark the liver of patients that its first weights were trained on."""
    assert call(prepared, tmp_path / "all", "liver", "--epochs", 1) == 0
    fold = ("--fold", "1/2", "--init", tmp_path / "all" / "best.safetensors", "--epochs", 1)
    assert call(prepared, tmp_path / "fold", "liver", *fold) == 0
    told = ModelFile.load(tmp_path / "fold" / "best.safetensors").spec.provenance
    assert set(told["train_groups"]) == {"a", "b", "c"}
    assert set(told["train"]) == {"1", "2", "3", "4"}


@looped(
    ("fault", "words"),
    [
        ("no masks", "give them by --masks"),
        ("slices", "run python -m training.prepare --volumes"),
        ("volumes", "holds volumes"),
        ("width", "neither --width nor --size-px"),
        ("size", "neither --width nor --size-px"),
        ("fold", "as 1/2"),
        ("masks for slices", "for the recipes of a cascade"),
    ],
)
def test_what_cannot_work_ends_with_2_and_a_sentence(
    fault: str, words: str, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    if fault == "no masks":
        code = main([str(prepared), "-o", str(run), "--recipe", "gunetrpp-small-tumor"])
    elif fault == "slices":
        code = call(write_toy(tmp_path / "2d"), run, "liver")
    elif fault == "volumes":
        code = main([str(prepared), "-o", str(run), "--recipe", "tour", "--device", "cpu"])
    elif fault == "width":
        code = call(prepared, run, "liver", "--width", 8)
    elif fault == "size":
        code = call(prepared, run, "liver", "--size-px", 64)
    elif fault == "fold":
        code = call(prepared, run, "liver", "--fold", "3/2")
    else:
        slices = write_toy(tmp_path / "2d")
        code = main([str(slices), "-o", str(run), "--recipe", "tour", "--fold", "1/2"])
    assert code == 2
    assert words in capsys.readouterr().err
    assert not run.exists()


def test_the_shipped_form_is_measured_on_volumes(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(prepared, tmp_path / "run", "tumor", "--epochs", 1) == 0
    out, masks = tmp_path / "small-tumor.safetensors", prepared.parent / "masks"
    words = [tmp_path / "run", "-o", out, "--name", "small-tumor", "--device", "cpu"]
    words += ["--prepared", prepared, "--masks", masks]
    assert export.main([str(word) for word in words]) == 0
    printed = json.loads(capsys.readouterr().out)
    told = ModelFile.load(out, sha256=printed["sha256"]).spec
    assert (told.name, told.storage, stage_of(told)) == ("small-tumor", "int8", "tumor")
    measured = told.provenance["validation_volumes_dice"]
    assert printed["validation_volumes_dice"] == measured
    assert {name: set(dice) for name, dice in measured.items()} == {
        "fp32": {"tumor"},
        "int8": {"tumor"},
    }
