"""Training: the schedules, going on where a run stopped, and that it learns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from LiverTumorSegLib.bundle import ModelBundle
from toy_slices import write_toy

from training.augment import NONE, STRONG
from training.datasets import Sampling, SliceSet, load_split
from training.recipes import Recipe, Stage
from training.train import Clock, Trainer, new_spec, pick_bf16, pick_device, train

TINY = Recipe(
    net_args={"width": 8, "size_px": 64},
    augmentation=NONE,
    stages=(Stage(size_px=64, share=1.0),),
    learning_rate=2e-3,
    batch=4,
    epochs=3,
)
# everything that draws random numbers, and two slice sizes
RANDOM = replace(
    TINY,
    augmentation=STRONG,
    sampling=Sampling(liver_free_share=0.25, tumor_share=0.4, case_balance=0.5),
    stages=(Stage(size_px=32, share=0.4), Stage(size_px=64, share=0.6)),
    hu_shift=15.0,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def data(prepared: Path) -> SliceSet:
    return load_split(prepared, "train", with_windowed=True)


@pytest.fixture(scope="module")
def validation(prepared: Path) -> SliceSet:
    return load_split(prepared, "val")


def run(recipe: Recipe, prepared: Path, folder: Path, **options: Any) -> Trainer:
    """One sitting of ``training.train``: a new trainer that goes on in its folder."""
    data = load_split(prepared, "train", with_windowed=True)
    validation = load_split(prepared, "val")
    folder.mkdir(exist_ok=True)
    trainer = Trainer(recipe, data, **options)
    train(trainer, validation, folder, new_spec(recipe, prepared, validation, data))
    return trainer


def history(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


class Stopped(Exception):
    pass


def stop_before(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is switched off in the middle of an epoch."""
    run_epoch = Trainer.run_epoch

    def stops(self: Trainer, show: Any = iter) -> dict[str, float]:
        facts = run_epoch(self, show)
        if self.epoch == epoch:
            raise Stopped
        return facts

    monkeypatch.setattr(Trainer, "run_epoch", stops)


def same_bits(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_bits(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_bits, one, other))
    return bool(one == other)


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    prepared: Path, tmp_path: Path, schedule: str, stop: int
) -> None:
    recipe = replace(RANDOM, schedule=schedule, plateau_patience=0)
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
    best = [ModelBundle.load(tmp_path / f / "best.safetensors") for f in ("whole", "parts")]
    assert same_bits(best[0].state, best[1].state)
    lines = [history(tmp_path / f) for f in ("whole", "parts")]
    for line in lines[0] + lines[1]:
        line.pop("seconds")
    assert lines[0] == lines[1]


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
    bundle = ModelBundle.load(tmp_path / "run" / "best.safetensors")
    least = min(line["val_loss"] for line in history(tmp_path / "run"))
    trainer.net.load_state_dict(bundle.build_net().state_dict())
    assert trainer.validate(validation, 64)["val_loss"] == pytest.approx(least, abs=1e-5)
    assert bundle.spec.net_args == TINY.net_args
    assert bundle.spec.preprocessing == data.preprocessing.to_dict()
    assert bundle.spec.training_hu_range == (-1000, 1200)
    assert bundle.spec.provenance["train"] == ["1"]
    assert bundle.spec.provenance["val"] == ["2"]
    assert bundle.spec.labels == {"background": 0, "liver": 1, "tumor": 2}


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


def facts(loss: float, size_px: int = 64, dice: float = 0.0) -> dict[str, float]:
    return {
        "val_loss": loss,
        "size_px": size_px,
        "val_liver_dice": dice,
        "val_tumor_dice": dice,
    }


def rate(trainer: Trainer) -> float:
    return float(trainer.optimizer.param_groups[0]["lr"])


def test_the_rate_halves_after_the_sixth_flat_epoch(data: SliceSet) -> None:
    """Patience 5 in the framework's meaning: five flat epochs are borne, the sixth lowers it."""
    trainer = Trainer(replace(TINY, epochs=100, learning_rate=1e-4), data)
    rates = []
    for _ in range(14):
        trainer.finish_epoch(facts(1.0))
        rates.append(rate(trainer))
    assert rates[:6] == [1e-4] * 6  # the first is the best so far, then five flat ones
    assert rates[6:12] == [5e-5] * 6
    assert rates[12:] == [2.5e-5] * 2


def test_the_rate_stays_while_the_loss_falls_and_a_better_epoch_starts_the_count_again(
    data: SliceSet,
) -> None:
    trainer = Trainer(replace(TINY, epochs=100, learning_rate=1e-4), data)
    losses = [1.0] * 6 + [0.9] * 6 + [0.8, 0.7, 0.6]
    for loss in losses:
        trainer.finish_epoch(facts(loss))
        assert rate(trainer) == 1e-4


def test_the_count_of_flat_epochs_outlives_a_stop(data: SliceSet) -> None:
    recipe = replace(TINY, epochs=100, learning_rate=1e-4)
    before, after = Trainer(recipe, data), Trainer(recipe, data)
    for _ in range(6):
        before.finish_epoch(facts(1.0))
    after.restore(before.state())
    after.finish_epoch(facts(1.0))
    assert rate(after) == 5e-5


def test_the_cosine_rises_then_falls_to_a_hundredth(data: SliceSet) -> None:
    recipe = replace(TINY, epochs=100, learning_rate=1e-3, schedule="cosine", warmup_share=0.05)
    trainer = Trainer(recipe, data)
    rates = []
    for trainer.epoch in range(100):
        trainer.set_learning_rate(0.5)
        rates.append(rate(trainer))
    top = int(np.argmax(rates))
    assert 3 <= top <= 6
    assert rates[0] < 0.2e-3
    assert max(rates) == pytest.approx(1e-3, rel=0.02)
    assert all(np.diff(rates[top:]) < 0)
    assert rates[-1] == pytest.approx(1e-5, rel=0.1)


def test_the_best_epoch_has_the_least_loss_or_the_largest_dice(data: SliceSet) -> None:
    by_loss = Trainer(TINY, data)
    assert [by_loss.finish_epoch(facts(v)) for v in (1.0, 0.8, 0.9, 0.7)] == [
        True,
        True,
        False,
        True,
    ]
    by_dice = Trainer(replace(TINY, select="dice"), data)
    dice = [by_dice.finish_epoch(facts(1.0, dice=v)) for v in (0.2, 0.5, 0.4, 0.6)]
    assert dice == [True, True, False, True]


def test_a_new_slice_size_begins_a_new_best(data: SliceSet) -> None:
    """Losses at 128 pixels say nothing about those at 256."""
    trainer = Trainer(TINY, data)
    seen = [(0.5, 32), (0.4, 32), (0.9, 64), (0.8, 64), (0.85, 64)]
    assert [trainer.finish_epoch(facts(*v)) for v in seen] == [True, True, True, True, False]


def test_gradients_are_clipped_to_norm_1(data: SliceSet) -> None:
    trainer = Trainer(TINY, data)
    trainer.net.train()
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    trainer.recipe = replace(TINY, loss=lambda logits, _labels: 1e4 * logits.square().mean())  # type: ignore[arg-type]
    trainer.step(torch.rand(2, 1, 64, 64), labels)
    norms = [p.grad.norm() for p in trainer.net.parameters() if p.grad is not None]
    assert torch.stack(norms).norm().item() == pytest.approx(1.0, rel=1e-3)


def test_minutes_are_the_budget_of_all_sittings(data: SliceSet) -> None:
    trainer = Trainer(replace(TINY, schedule="cosine"), data, minutes=10)
    assert trainer.progress < 0.01
    trainer.clock = Clock(before_s=300)
    assert trainer.progress == pytest.approx(0.5, abs=0.01)
    trainer.set_learning_rate(0.0)
    halfway = TINY.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi / 2)) / 2)
    assert rate(trainer) == pytest.approx(halfway, rel=0.02)
    later = Trainer(TINY, data, minutes=10)
    later.restore({**trainer.state(), "elapsed_s": 601.0})
    assert later.finished


def test_an_epoch_ends_when_the_minutes_are_over(data: SliceSet) -> None:
    trainer = Trainer(TINY, data, minutes=1)

    def clock_runs_out(batches: list[Any]) -> Iterator[Any]:
        yield batches[0]
        trainer.clock = Clock(before_s=61)
        yield from batches[1:]

    assert trainer.run_epoch(clock_runs_out)["steps"] == 1


def test_validation_counts_pixels_over_all_slices(data: SliceSet, validation: SliceSet) -> None:
    trainer = Trainer(replace(TINY, batch=5), data)  # the last batch is smaller
    trainer.run_epoch()
    found = trainer.validate(validation, 64)
    with torch.no_grad():
        logits = trainer.net.eval()(torch.from_numpy(validation.images)[:, None] / 255.0)
    predicted, true = logits.argmax(1).numpy(), validation.labels
    for key, p, t in (
        ("val_liver_dice", predicted >= 1, true >= 1),
        ("val_tumor_dice", predicted == 2, true == 2),
    ):
        assert found[key] == pytest.approx(2 * (p & t).sum() / max(p.sum() + t.sum(), 1), abs=1e-3)
    pixels = torch.nn.functional.cross_entropy(logits, torch.from_numpy(true).long())
    only_ce = replace(TINY.loss, dice=0.0, focal=0.0)
    trainer.recipe = replace(trainer.recipe, loss=only_ce)
    assert trainer.validate(validation, 64)["val_loss"] == pytest.approx(pixels.item(), abs=1e-4)


def test_validation_changes_nothing(data: SliceSet, validation: SliceSet) -> None:
    trainer = Trainer(TINY, data)
    before = {k: v.clone() for k, v in trainer.net.state_dict().items()}
    assert trainer.validate(validation, 64) == trainer.validate(validation, 64)
    assert same_bits(before, dict(trainer.net.state_dict()))


def test_hu_shifts_reach_the_batch_and_the_labels_stay(data: SliceSet) -> None:
    rows = np.arange(8)
    plain = Trainer(TINY, data).batch(rows, np.random.default_rng(0), 64)
    moved = Trainer(replace(TINY, hu_shift=25.0), data).batch(rows, np.random.default_rng(0), 64)
    changed = (plain[0] != moved[0]).flatten(1).any(1)
    assert 2 <= changed.sum() <= 8
    assert torch.equal(plain[1], moved[1])


@pytest.mark.parametrize(
    ("wanted", "device", "used"),
    [
        ("fp32", "cuda", False),
        ("bf16", "cpu", True),
        ("auto", "cuda:0", True),
    ],
)
def test_precision(wanted: str, device: str, used: bool) -> None:
    assert pick_bf16(wanted, device) is used


def test_bf16_trains_too(data: SliceSet) -> None:
    trainer = Trainer(TINY, data, bf16=True)
    losses = [trainer.run_epoch()["train_loss"] for _ in range(3)]
    assert losses[2] < losses[0]
    assert {p.dtype for p in trainer.net.parameters()} == {torch.float32}


def test_the_device_asked_for_is_taken() -> None:
    assert pick_device("cpu") == "cpu"
    assert pick_device("cuda:1") == "cuda:1"
    assert pick_device("auto") in ("cpu", "cuda")
