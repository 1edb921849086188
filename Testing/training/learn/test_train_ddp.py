"""Training in two processes finds what one finds on the joined batch.

Two processes leave what they found in a folder, for the tests to compare with one. Batch norm is in
eval mode, dropout and augmentation are off where equality with one process is asked for.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_threads
from LiverTumorSegLib.model.file import ModelFile
from looped import looped
from run_folder import history, same_bits
from side_by_side import side_by_side
from torch.nn.modules.batchnorm import _BatchNorm
from toy_slices import write_toy

from training.data.augment import NONE, STRONG
from training.data.slices import Sampling, SliceSet, load_split
from training.learn.distributed import ALONE, Processes, run_together
from training.learn.provenance import new_spec
from training.learn.recipes import SizePhase, SliceRecipe
from training.learn.run import train
from training.learn.trainer import Clock, SliceTrainer
from training.train import main

one_thread = torch_threads.one_thread
# nine slices with liver: batches of 4, 4 and 1, the last of which both processes take
CALM = SliceRecipe(
    net_args={"width": 8, "size_px": 64, "dropout": 0.0, "attention_dropout": 0.0},
    augmentation=NONE,
    stages=(SizePhase(size_px=32, share=1.0),),
    learning_rate=1e-4,
    batch=4,
    epochs=2,
)
RANDOM = replace(
    CALM,
    net_args={"width": 8, "size_px": 64},
    augmentation=STRONG,
    sampling=Sampling(liver_free_share=0.25),
    hu_shift=15.0,
    ema=0.9,
)
BATCHES = ([0, 1, 2, 4], [5, 6, 8], [9])  # shared out as 2 and 2, 2 and 1, the same one for both


def frozen(trainer: SliceTrainer) -> SliceTrainer:
    """The trainer with its batch norms in eval mode for good."""
    for module in trainer.net.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign,misc]
    return trainer


def toy(folder: Path) -> tuple[SliceSet, SliceSet]:
    prepared = folder / "prepared"
    return load_split(prepared, "train", with_windowed=True), load_split(prepared, "val")


def one_step(folder: Path, rows: list[int], processes: Processes) -> dict[str, Any]:
    """The loss and the gradients of one update on a batch."""
    trainer = frozen(SliceTrainer(CALM, toy(folder)[0], processes=processes))
    own, weight = processes.share(np.array(rows))
    images, labels = trainer.batches.batch(own, np.random.default_rng(0), 32)
    trainer.net.train()
    loss = trainer.step(images, labels, weight)
    named = trainer.net.named_parameters()
    return {"loss": loss, "gradients": {n: p.grad for n, p in named if p.grad is not None}}


def whole_run(folder: Path, recipe: SliceRecipe, run: str, processes: Processes) -> SliceTrainer:
    """All epochs, in ``run``; files are written by the first process."""
    data, validation = toy(folder)
    if processes.is_main:
        (folder / run).mkdir(exist_ok=True)
    trainer = SliceTrainer(recipe, data, processes=processes)
    if recipe is CALM:
        frozen(trainer)
    spec = new_spec(recipe, folder / "prepared", validation, data, processes.count)
    train(trainer, validation, folder / run, spec)
    return trainer


def stopped_run(folder: Path, run: str, processes: Processes) -> SliceTrainer:
    """As a whole run, switched off in its second epoch and continued."""

    def stops(trainer: SliceTrainer, show: Any = iter) -> dict[str, float]:
        if trainer.epoch == 1:
            raise KeyboardInterrupt
        return run_epoch(trainer, show)

    run_epoch = SliceTrainer.run_epoch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SliceTrainer, "run_epoch", stops)
        with pytest.raises(KeyboardInterrupt):
            whole_run(folder, RANDOM, run, processes)
    return whole_run(folder, RANDOM, run, processes)


def clocks(folder: Path, processes: Processes) -> list[float]:
    """Steps and progress where the second's clock is far ahead, then where it is behind."""
    trainer = SliceTrainer(CALM, toy(folder)[0], minutes=1, processes=processes)
    ahead_s = 1000.0 * processes.rank
    trainer.clock = Clock(ahead_s, processes, agreed_s=0.0)
    found = [trainer.run_epoch()["steps"], trainer.progress]
    trainer.clock = Clock(61.0 * (1 - processes.rank), processes, agreed_s=0.0)
    return [*found, trainer.run_epoch()["steps"], trainer.progress]


def own_numbers(folder: Path, processes: Processes) -> list[Any]:
    """The order of slices, then numbers for shifts, augmentation and dropout."""
    trainer = SliceTrainer(RANDOM, toy(folder)[0], processes=processes)
    order, shifts, generator = trainer._random_numbers()
    rows = order.permutation(100).tolist()
    return [rows, shifts.random(), torch.rand(2, generator=generator), torch.rand(2)]


def measure(folder: Path, processes: Processes) -> None:
    found = {
        "steps": [one_step(folder, rows, processes) for rows in BATCHES],
        "run": whole_run(folder, CALM, "calm2", processes).state(),
        "whole": whole_run(folder, RANDOM, "whole", processes).state(),
        "parts": stopped_run(folder, "parts", processes).state(),
        "clocks": clocks(folder, processes),
        "numbers": own_numbers(folder, processes),
    }
    torch.save(found, folder / f"found{processes.rank}.pt")


def measured(folder: Path) -> int:
    return run_together(partial(measure, folder), ())


def three_step(folder: Path) -> int:
    """Three processes take a batch of two: one slice is taken twice, at half its weight."""

    def work(processes: Processes) -> None:
        found = one_step(folder, BATCHES[0][:2], processes)
        torch.save(found, folder / f"three{processes.rank}.pt")

    return run_together(work, ())


def cannot_write(folder: Path) -> int:
    """The checkpoint cannot be put in a folder's place."""
    (folder / "full" / "last.pt" / "taken").mkdir(parents=True, exist_ok=True)
    return main([str(folder / "prepared"), "-o", str(folder / "full"), "--recipe", "tour"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joined")
    write_toy(folder / "prepared")
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[dict[str, Any]]:
    """What each of two processes has measured."""
    codes, said = side_by_side(folder, measured)
    assert codes == [0, 0], "".join(said)
    return [torch.load(folder / f"found{rank}.pt", weights_only=True) for rank in range(2)]


def assert_same_step(together: dict[str, Any], alone: dict[str, Any]) -> None:
    assert together["loss"].item() == pytest.approx(alone["loss"].item(), abs=1e-5)
    assert together["gradients"].keys() == alone["gradients"].keys()
    for name, gradient in alone["gradients"].items():
        assert torch.allclose(together["gradients"][name], gradient, rtol=1e-3, atol=1e-6), name


@looped("batch", range(3))
def test_loss_and_gradients_are_those_of_one_process(
    found: list[dict[str, Any]], folder: Path, batch: int
) -> None:
    first, second = (one["steps"][batch] for one in found)
    assert same_bits(first, second)
    assert_same_step(first, one_step(folder, BATCHES[batch], ALONE))


def test_slices_that_several_processes_take_count_once(folder: Path) -> None:
    codes, said = side_by_side(folder, three_step, 3)
    assert codes == [0, 0, 0], "".join(said)
    alone = one_step(folder, BATCHES[0][:2], ALONE)
    for rank in range(3):
        assert_same_step(torch.load(folder / f"three{rank}.pt", weights_only=True), alone)


def test_a_run_has_the_losses_and_scores_of_one_process(
    found: list[dict[str, Any]], folder: Path
) -> None:
    whole_run(folder, CALM, "calm1", ALONE)
    alone, together = history(folder / "calm1"), history(folder / "calm2")
    assert len(alone) == len(together) == CALM.epochs
    for one, two in zip(alone, together, strict=True):
        assert (one.pop("processes"), two.pop("processes")) == (1, 2)
        assert one["steps"] == 3
        for line in (one, two):
            assert line.pop("seconds") > 0
        assert two == pytest.approx(one, abs=2e-5)  # 1e-5 and the rounding to six digits
    assert same_bits(found[0]["run"]["net"], found[1]["run"]["net"])


def test_a_stopped_run_goes_on_to_the_same_bits_in_both(
    found: list[dict[str, Any]], folder: Path
) -> None:
    """With random augmentation, dropout, HU shifts and batch norm of each process's own.

    And with one average: of weights that are the same in both after each step.
    """
    states = [one[kind] for one in found for kind in ("whole", "parts")]
    for state in states:
        assert state.pop("elapsed_s") > 0
        assert same_bits(state, states[0])
        assert state["average"]["steps"] == 6
    assert len(history(folder / "parts")) == RANDOM.epochs


def test_the_model_is_a_plain_nets_and_one_process_goes_on(
    found: list[dict[str, Any]], folder: Path
) -> None:
    names = {path.name for path in (folder / "whole").iterdir()}
    assert names == {"last.pt", "best.safetensors", "history.jsonl"}
    bundle = ModelFile.load(folder / "whole" / "best.safetensors")
    plain = SliceTrainer(RANDOM, toy(folder)[0])
    assert bundle.state.keys() == plain.net.state_dict().keys()
    assert not same_bits(bundle.state, dict(found[0]["whole"]["net"]))  # it is the average
    assert bundle.spec.provenance["processes"] == 2
    plain.restore(torch.load(folder / "whole" / "last.pt", weights_only=True))
    assert same_bits(plain.state()["optimizer"], found[1]["whole"]["optimizer"])
    assert plain.finished


def test_the_first_processes_clock_counts(found: list[dict[str, Any]]) -> None:
    for one in found:
        steps, progress, steps_late, progress_late = one["clocks"]
        assert (steps, steps_late) == (3, 0)
        assert 0 < progress < 0.9
        assert progress_late == 1
    assert found[0]["clocks"] == found[1]["clocks"]


def test_the_order_is_shared_and_other_random_numbers_are_each_ones_own(
    found: list[dict[str, Any]], folder: Path
) -> None:
    first, second = (one["numbers"] for one in found)
    assert first[0] == second[0]
    assert not any(same_bits(one, two) for one, two in zip(first[1:], second[1:], strict=True))
    assert same_bits(first, own_numbers(folder, ALONE))
    assert same_bits(second, own_numbers(folder, Processes(rank=1, count=2)))


def test_a_full_disk_ends_both_with_one_sentence(folder: Path) -> None:
    codes, said = side_by_side(folder, cannot_write)
    assert codes == [2, -signal.SIGTERM]
    assert said[0].splitlines()[-1].startswith("last.pt cannot be written: ")
    assert said[0].count("batch norm is not synchronized") == 1
    assert said[1] == ""
