"""Training: the files of a run, going on where it stopped, and that it learns."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_threads
import toy_slices
from LiverTumorSegLib.files import _settle_once
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.model.file import ModelFile
from looped import looped
from run_folder import history, same_bits
from toy_slices import PLAIN, TINY

from training.data.augment import STRONG
from training.data.slices import Sampling, SliceSet, load_split
from training.learn.provenance import new_spec
from training.learn.recipes import SizePhase, SliceRecipe
from training.learn.run import train
from training.learn.trainer import SliceTrainer

one_thread, prepared = torch_threads.one_thread, toy_slices.prepared
data, validation = toy_slices.data, toy_slices.validation
# everything that draws random numbers, and two slice sizes
RANDOM = replace(
    TINY,
    augmentation=STRONG,
    sampling=Sampling(liver_free_share=0.25, tumor_share=0.4, case_balance=0.5),
    stages=(SizePhase(size_px=32, share=0.4), SizePhase(size_px=64, share=0.6)),
    hu_shift=15.0,
)


def run(recipe: SliceRecipe, prepared: Path, folder: Path, **options: Any) -> SliceTrainer:
    """One sitting of ``training.train``: a new trainer that goes on in its folder."""
    data = load_split(prepared, "train", with_windowed=True)
    validation = load_split(prepared, "val")
    folder.mkdir(exist_ok=True)
    trainer = SliceTrainer(recipe, data, **options)
    train(trainer, validation, folder, new_spec(recipe, prepared, validation, data))
    return trainer


class Stopped(Exception):
    pass


def stop_before(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is switched off in the middle of an epoch."""
    run_epoch = SliceTrainer.run_epoch

    def stops(self: SliceTrainer, show: Any = iter) -> dict[str, float]:
        facts = run_epoch(self, show)
        if self.epoch == epoch:
            raise Stopped
        return facts

    monkeypatch.setattr(SliceTrainer, "run_epoch", stops)


@looped(("schedule", "ema"), [("plateau", 0.0), ("cosine", 0.9)])
@looped("stop", [1, 2])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    prepared: Path, tmp_path: Path, schedule: str, ema: float, stop: int
) -> None:
    recipe = replace(RANDOM, schedule=schedule, ema=ema, plateau_patience=0)
    whole = run(recipe, prepared, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        stop_before(stop, patch)
        with pytest.raises(Stopped):
            run(recipe, prepared, tmp_path / "parts")
    assert len(history(tmp_path / "parts")) == stop
    torch.manual_seed(999)  # what another process would have drawn must not matter
    parts = run(recipe, prepared, tmp_path / "parts")
    assert parts.epoch == whole.epoch == 3
    for key, value in whole.state().items():
        if key != "elapsed_s":
            assert same_bits(value, parts.state()[key]), key
    best = [ModelFile.load(tmp_path / f / "best.safetensors") for f in ("whole", "parts")]
    assert same_bits(best[0].state, best[1].state)
    lines = [history(tmp_path / f) for f in ("whole", "parts")]
    for line in lines[0] + lines[1]:
        line.pop("seconds")
    assert lines[0] == lines[1]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills as POSIX does")
def test_a_run_killed_at_any_rename_goes_on_to_the_same_bits(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each: of the checkpoint, the best model, the history. Nothing stays."""
    recipe, replace_file, killed = replace(TINY, epochs=2), os.replace, 0
    whole = run(recipe, prepared, tmp_path / "whole")

    for at in range(1, 100):
        folder, done = tmp_path / str(at), []

        def kill(source: Path, target: Path, at: int = at, done: list[Path] = done) -> None:
            for step in (lambda: replace_file(source, target), lambda: None):
                done.append(target)
                if len(done) == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                step()

        if (child := os.fork()) == 0:
            os.replace = kill  # type: ignore[assignment]
            run(recipe, prepared, folder)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            break
        killed += 1
        _settle_once.cache_clear()  # as in a new process
        again = run(recipe, prepared, folder)
        assert same_bits(again.net.state_dict(), whole.net.state_dict())
        assert [line["epoch"] for line in history(folder)] == [0, 1]
        best = [ModelFile.load(f / "best.safetensors").state for f in (folder, tmp_path / "whole")]
        assert same_bits(*best)
        names = {path.name for path in (tmp_path / "whole").iterdir()}
        assert {path.name for path in folder.iterdir()} == names
    assert killed >= 8  # two files an epoch, at least


def test_a_finished_run_is_left_alone(prepared: Path, tmp_path: Path) -> None:
    run(replace(TINY, epochs=1), prepared, tmp_path / "run")
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    run(replace(TINY, epochs=1), prepared, tmp_path / "run")
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


def test_another_seed_gives_another_net(prepared: Path, tmp_path: Path) -> None:
    one, other = (
        run(replace(TINY, epochs=1, seed=seed), prepared, tmp_path / str(seed)) for seed in (1, 2)
    )
    assert not same_bits(one.net.state_dict(), other.net.state_dict())


def test_it_learns_a_toy(prepared: Path, tmp_path: Path) -> None:
    run(replace(TINY, epochs=15, batch=2, learning_rate=5e-3), prepared, tmp_path / "run")
    lines = history(tmp_path / "run")
    assert lines[-1]["train_loss"] < 0.4 * lines[0]["train_loss"]
    assert min(line["val_loss"] for line in lines) < 0.5 * lines[0]["val_loss"]
    assert max(line["val_liver_dice"] for line in lines) > 0.9


def test_the_best_epoch_is_kept_as_a_model_file(
    prepared: Path, tmp_path: Path, data: SliceSet, validation: SliceSet
) -> None:
    trainer = run(replace(TINY, epochs=4), prepared, tmp_path / "run")
    bundle = ModelFile.load(tmp_path / "run" / "best.safetensors")
    least = min(line["val_loss"] for line in history(tmp_path / "run"))
    trainer.net.load_state_dict(bundle.build_net().state_dict())
    assert trainer.validate(validation, 64)["val_loss"] == pytest.approx(least, abs=1e-5)
    assert bundle.spec.net_args == TINY.net_args
    assert bundle.spec.preprocessing == data.preprocessing.to_dict()
    assert bundle.spec.training_hu_range == (-1000, 1200)
    assert bundle.spec.provenance["train"] == ["1"]
    assert bundle.spec.provenance["val"] == ["2"]
    assert bundle.spec.provenance["processes"] == 1
    assert bundle.spec.labels == {"background": 0, "liver": 1, "tumor": 2}


def test_the_average_is_kept_and_the_checkpoint_holds_both(prepared: Path, tmp_path: Path) -> None:
    trainer = run(replace(TINY, ema=0.9, select="last"), prepared, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert state["average"]["steps"] == 9  # three epochs of nine slices in fours
    assert same_bits(state["net"], trainer.net.state_dict())
    assert not same_bits(state["net"], state["average"]["net"])
    kept = ModelFile.load(tmp_path / "run" / "best.safetensors").build_net()
    assert same_bits(dict(kept.state_dict()), dict(state["average"]["net"]))


def test_a_model_is_run_at_the_size_that_it_was_trained_at(prepared: Path, tmp_path: Path) -> None:
    smaller = replace(TINY, epochs=1, stages=(SizePhase(size_px=32, share=1.0),))
    run(smaller, prepared, tmp_path / "run")
    assert [line["size_px"] for line in history(tmp_path / "run")] == [32]
    stored = ModelFile.load(tmp_path / "run" / "best.safetensors").spec.preprocessing
    assert SlicePreprocessing.from_dict(stored) == replace(PLAIN, size_px=32)


def test_a_split_by_volume_stays_with_the_model(
    prepared: Path, tmp_path: Path, data: SliceSet, validation: SliceSet
) -> None:
    manifest = json.loads((prepared / "manifest.json").read_text())
    leaking = tmp_path / "leaking"
    leaking.mkdir()
    (leaking / "manifest.json").write_text(json.dumps({**manifest, "group_by": "volume"}))
    told = new_spec(TINY, leaking, validation, data).provenance
    assert told["split_group_by"] == "volume"
    assert "split_group_by" not in new_spec(TINY, prepared, validation, data).provenance


def test_the_history_has_a_line_an_epoch(prepared: Path, tmp_path: Path) -> None:
    recipe = replace(RANDOM, schedule="cosine", learning_rate=3e-7)
    run(recipe, prepared, tmp_path / "run")
    lines = history(tmp_path / "run")
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert [line["size_px"] for line in lines] == [32, 32, 64]
    for line in lines:
        assert line["steps"] == 3  # 9 slices with liver, 3 without, in fours
        assert 0 < line["learning_rate"] < 3e-7
        assert line["seconds"] > 0
        assert line["train_loss"] > 0
        assert {"val_loss", "val_liver_dice", "val_tumor_dice"} <= line.keys()


def test_nothing_but_the_checkpoint_is_pickled_and_that_is_read_as_plain_tensors(
    prepared: Path, tmp_path: Path
) -> None:
    run(replace(TINY, epochs=1), prepared, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert state["epoch"] == 1
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"last.pt", "best.safetensors", "history.jsonl"}
