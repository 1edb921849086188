"""The trainer: schedules, the choice of the best epoch, minutes, validation, precision, device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch_threads
import toy_slices
from looped import looped
from toy_slices import TINY

from training.data.slices import SliceSet
from training.learn.distributed import Processes, pick_bf16, pick_device
from training.learn.trainer import Clock, SliceBatches, SliceTrainer

one_thread, prepared = torch_threads.one_thread, toy_slices.prepared
data, validation = toy_slices.data, toy_slices.validation


def facts(loss: float, size_px: int = 64, dice: float = 0.0) -> dict[str, float]:
    return {
        "val_loss": loss,
        "size_px": size_px,
        "val_liver_dice": dice,
        "val_tumor_dice": dice,
    }


def rate(trainer: SliceTrainer) -> float:
    return float(trainer.optimizer.param_groups[0]["lr"])


def test_the_rate_halves_after_the_sixth_flat_epoch_also_over_a_stop(data: SliceSet) -> None:
    # the rate halves after the sixth flat epoch: Patience 5 in the framework's meaning: five flat
    # epochs are borne, the sixth lowers it.
    trainer = SliceTrainer(replace(TINY, epochs=100, learning_rate=1e-4), data)
    rates = []
    for _ in range(14):
        trainer.finish_epoch(facts(1.0))
        rates.append(rate(trainer))
    assert rates[:6] == [1e-4] * 6  # the first is the best so far, then five flat ones
    assert rates[6:12] == [5e-5] * 6
    assert rates[12:] == [2.5e-5] * 2

    # the rate stays while the loss falls and a better epoch starts the count again
    trainer = SliceTrainer(replace(TINY, epochs=100, learning_rate=1e-4), data)
    losses = [1.0] * 6 + [0.9] * 6 + [0.8, 0.7, 0.6]
    for loss in losses:
        trainer.finish_epoch(facts(loss))
        assert rate(trainer) == 1e-4

    # the count of flat epochs outlives a stop
    recipe = replace(TINY, epochs=100, learning_rate=1e-4)
    before, after = SliceTrainer(recipe, data), SliceTrainer(recipe, data)
    for _ in range(6):
        before.finish_epoch(facts(1.0))
    after.restore(before.state())
    after.finish_epoch(facts(1.0))
    assert rate(after) == 5e-5


def test_the_cosine_rises_then_falls_to_a_hundredth(data: SliceSet) -> None:
    recipe = replace(TINY, epochs=100, learning_rate=1e-3, schedule="cosine", warmup_share=0.05)
    trainer = SliceTrainer(recipe, data)
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
    by_loss = SliceTrainer(TINY, data)
    assert [by_loss.finish_epoch(facts(v)) for v in (1.0, 0.8, 0.9, 0.7)] == [
        True,
        True,
        False,
        True,
    ]
    by_dice = SliceTrainer(replace(TINY, select="dice"), data)
    dice = [by_dice.finish_epoch(facts(1.0, dice=v)) for v in (0.2, 0.5, 0.4, 0.6)]
    assert dice == [True, True, False, True]


def test_a_new_slice_size_begins_a_new_best(data: SliceSet) -> None:
    """Losses at 128 pixels say nothing about those at 256."""
    trainer = SliceTrainer(TINY, data)
    seen = [(0.5, 32), (0.4, 32), (0.9, 64), (0.8, 64), (0.85, 64)]
    assert [trainer.finish_epoch(facts(*v)) for v in seen] == [True, True, True, True, False]


def test_gradients_are_clipped_to_norm_1(data: SliceSet) -> None:
    trainer = SliceTrainer(TINY, data)
    trainer.net.train()
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    steep: Any = lambda logits, labels, joined: 1e4 * logits.square().mean()  # noqa: E731
    trainer.recipe = replace(TINY, loss=steep)
    trainer.step(torch.rand(2, 1, 64, 64), labels)
    norms = [p.grad.norm() for p in trainer.net.parameters() if p.grad is not None]
    assert torch.stack(norms).norm().item() == pytest.approx(1.0, rel=1e-3)


def test_minutes_are_the_budget_of_all_sittings_and_end_an_epoch(data: SliceSet) -> None:
    # minutes are the budget of all sittings
    trainer = SliceTrainer(replace(TINY, schedule="cosine"), data, minutes=10)
    assert trainer.progress < 0.01
    trainer.clock = Clock(before_s=300)
    assert trainer.progress == pytest.approx(0.5, abs=0.01)
    trainer.set_learning_rate(0.0)
    halfway = TINY.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi / 2)) / 2)
    assert rate(trainer) == pytest.approx(halfway, rel=0.02)
    later = SliceTrainer(TINY, data, minutes=10)
    later.restore({**trainer.state(), "elapsed_s": 601.0})
    assert later.finished

    # an epoch ends when the minutes are over
    trainer = SliceTrainer(TINY, data, minutes=1)

    def clock_runs_out(batches: list[Any]) -> Iterator[Any]:
        yield batches[0]
        trainer.clock = Clock(before_s=61)
        yield from batches[1:]

    assert trainer.run_epoch(clock_runs_out)["steps"] == 1


def test_validation_counts_pixels_over_all_slices(data: SliceSet, validation: SliceSet) -> None:
    trainer = SliceTrainer(replace(TINY, batch=5), data)  # the last batch is smaller
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
    trainer = SliceTrainer(TINY, data)
    before = {k: v.clone() for k, v in trainer.net.state_dict().items()}
    assert trainer.validate(validation, 64) == trainer.validate(validation, 64)
    for name, tensor in trainer.net.state_dict().items():
        assert torch.equal(before[name], tensor), name


def test_validation_asks_the_average_from_the_first_step_on(
    data: SliceSet, validation: SliceSet
) -> None:
    trainer, plain = SliceTrainer(replace(TINY, ema=0.9), data), SliceTrainer(TINY, data)
    assert trainer.eval_model is trainer.net  # weights to begin with may yet be loaded
    for each in (trainer, plain):
        each.run_epoch()
    assert plain.eval_model is plain.net
    assert trainer.average is not None
    found, without = (each.validate(validation, 64) for each in (trainer, plain))
    assert found != without
    for name, tensor in plain.net.state_dict().items():  # the average steers nothing
        assert torch.equal(trainer.net.state_dict()[name], tensor), name
    plain.net.load_state_dict(trainer.average.net.state_dict())
    assert plain.validate(validation, 64) == found
    buffers = dict(trainer.net.named_buffers())
    assert buffers
    for name, buffer in trainer.eval_model.named_buffers():
        assert torch.equal(buffer, buffers[name]), name


def test_hu_shifts_reach_the_batch_and_the_labels_stay(data: SliceSet) -> None:
    rows = np.arange(8)
    plain = SliceBatches(data, "cpu").batch(rows, np.random.default_rng(0), 64)
    moved = SliceBatches(data, "cpu", 25.0).batch(rows, np.random.default_rng(0), 64)
    changed = (plain[0] != moved[0]).flatten(1).any(1)
    assert 2 <= changed.sum() <= 8
    assert torch.equal(plain[1], moved[1])


@looped(
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
    trainer = SliceTrainer(TINY, data, bf16=True)
    losses = [trainer.run_epoch()["train_loss"] for _ in range(3)]
    assert losses[2] < losses[0]
    assert {p.dtype for p in trainer.net.parameters()} == {torch.float32}


def test_the_device_asked_for_is_taken() -> None:
    assert pick_device("cpu") == "cpu"
    assert pick_device("cuda:1") == "cuda:1"
    assert pick_device("auto") in ("cpu", "cuda")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine as torch would describe it; the list gets the GPUs that were made current."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_each_process_takes_the_gpu_of_its_number_on_its_machine(
    two_gpus: list[int], wanted: str
) -> None:
    """Processes 2 and 3 of four are the first and second on the second machine."""
    assert pick_device(wanted, Processes(rank=3, count=4, local_rank=1)) == "cuda:1"
    assert two_gpus == [1]
    assert pick_device("cpu", Processes(rank=3, count=4, local_rank=1)) == "cpu"


def test_processes_without_a_gpu_of_their_own_are_refused(two_gpus: list[int]) -> None:
    with pytest.raises(ValueError, match="has 2 GPUs, fewer than processes"):
        pick_device("auto", Processes(rank=2, count=3, local_rank=2))
    with pytest.raises(ValueError, match="give --device cuda"):
        pick_device("cuda:0", Processes(rank=1, count=2, local_rank=1))
    assert two_gpus == []
    assert pick_device("cuda:0") == "cuda:0"


def test_a_batch_has_a_slice_for_each_process_and_one_process_knows_whole_ones(
    data: SliceSet,
) -> None:
    # a batch must have a slice for each process
    with pytest.raises(ValueError, match="4 slices cannot be shared out over 5 processes"):
        SliceTrainer(TINY, data, processes=Processes(count=5))

    # one process knows whole batches
    assert not SliceTrainer(TINY, data).normalizes_alone
    assert SliceTrainer(TINY, data, processes=Processes(count=2)).normalizes_alone
