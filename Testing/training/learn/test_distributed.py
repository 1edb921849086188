"""What the processes of a run exchange, and that they fail as one."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from LiverTumorSegLib.nets.hybrid2d import Hybrid2d
from looped import looped
from side_by_side import Task, side_by_side
from torch import Tensor, nn

from training.learn.distributed import ALONE, Processes, lone_norms, run_together
from training.train import main


def exchange(folder: Path, processes: Processes) -> None:
    found = {
        "agreed": processes.broadcast(7.5 + processes.rank),
        "sum": joined_sum(processes),
        "statistics": averaged_statistics(processes),
    }
    torch.save(found, folder / f"found{processes.rank}.pt")


def joined_sum(processes: Processes) -> dict[str, Any]:
    """Each process's part of (sum of w x)^2 and its gradient, averaged as DDP does."""
    own = torch.tensor([1.0, 2.0]) + processes.rank
    own.requires_grad_()
    total = processes.all_reduce(own, weight=0.5 + processes.rank)
    total.square().sum().backward()
    assert own.grad is not None
    return {"total": total.detach(), "gradient": own.grad / processes.count}


def statistics(net: nn.Module) -> list[Tensor]:
    found = [(norm.running_mean, norm.running_var) for norm in lone_norms(net)]
    return [tensor.clone() for pair in found for tensor in pair if tensor is not None]


def averaged_statistics(processes: Processes) -> dict[str, list[Tensor]]:
    """Running statistics that each process has gathered alone, and what it goes on with."""
    net = nn.BatchNorm2d(3)
    net(torch.rand(2, 3, 8, 8) * (1 + processes.rank) + processes.rank)
    own = statistics(net)
    processes.average_statistics(net)
    return {"own": own, "averaged": statistics(net)}


def exchanged(folder: Path) -> int:
    return run_together(partial(exchange, folder), ())


def fails_alone(folder: Path) -> int:
    def work(processes: Processes) -> None:
        if processes.rank == 1:
            raise ValueError("Only the second has met this.")
        processes.broadcast(1.0)

    return run_together(work, (ValueError,))


def has_a_bug(folder: Path) -> int:
    def work(processes: Processes) -> None:
        if processes.rank == 1:
            raise KeyError("a bug")
        processes.all_reduce(torch.ones(1))

    return run_together(work, (ValueError,))


def without_data(folder: Path) -> int:
    return main([str(folder), "-o", str(folder / "new")])


def without_number(folder: Path) -> int:
    return main([str(folder), "-o", str(folder / "new"), "--epochs", "many"])


def helps(_folder: Path) -> int:
    return main(["--help"])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes has exchanged."""
    folder = tmp_path_factory.mktemp("exchanged")
    codes, said = side_by_side(folder, exchanged)
    assert codes == [0, 0], "".join(said)
    return [torch.load(folder / f"found{rank}.pt", weights_only=True) for rank in range(2)]


def test_what_the_first_says_counts(found: list[dict[str, Any]]) -> None:
    assert [one["agreed"] for one in found] == [7.5, 7.5]


def test_the_gradient_of_a_joined_sum(found: list[dict[str, Any]]) -> None:
    """(0.5 x + 1.5 y)^2 at x = (1, 2) in the first and y = (2, 3) in the second process."""
    for one, weight in zip(found, (0.5, 1.5), strict=True):
        assert one["sum"]["total"].tolist() == [3.5, 5.5]
        assert one["sum"]["gradient"].tolist() == [weight * 7, weight * 11]


def test_running_statistics_are_averaged(found: list[dict[str, Any]]) -> None:
    first, second = (one["statistics"] for one in found)
    assert len(first["own"]) == 2  # means and variances
    for tensors in zip(first["own"], second["own"], first["averaged"], strict=True):
        one, two, mean = tensors
        assert not torch.allclose(one, two)
        assert torch.allclose((one + two) / 2, mean, atol=1e-6)
    assert all(map(torch.equal, first["averaged"], second["averaged"]))


@looped(
    ("task", "speaker", "sentence"),
    [
        (without_data, 0, "training.prepare first"),
        (without_number, 0, "invalid int value"),
        (fails_alone, 1, "Only the second has met this."),
    ],
)
def test_an_error_is_said_once_and_ends_all(
    tmp_path: Path, task: Task, speaker: int, sentence: str
) -> None:
    codes, said = side_by_side(tmp_path, task)
    assert codes[speaker] == 2
    assert codes[1 - speaker] in (2, -signal.SIGTERM)
    assert sentence in said[speaker].splitlines()[-1]
    assert said[1 - speaker] == ""
    assert not (tmp_path / "new").exists()


def test_a_bug_is_shown_by_the_process_that_has_it(tmp_path: Path) -> None:
    codes, said = side_by_side(tmp_path, has_a_bug)
    assert codes == [-signal.SIGTERM, 1]
    assert said[0] == ""
    assert said[1].splitlines()[-1] == "KeyError: 'a bug'"


def test_help_is_given_once(tmp_path: Path) -> None:
    codes, said = side_by_side(tmp_path, helps)
    assert codes == [0, 0]
    assert "torchrun" in said[0]
    assert said[1] == ""


def test_one_process_exchanges_nothing() -> None:
    values = torch.ones(3)
    assert ALONE.all_reduce(values) is values
    assert ALONE.broadcast(2.5) == 2.5
    net = nn.Sequential(nn.BatchNorm2d(3))
    assert ALONE.wrap_ddp(net, "cpu") is net
    assert ALONE.sync_batch_norm(net, "cuda") is net


@looped("count", range(1, 6))
@looped("size", range(1, 10))
def test_a_batch_is_shared_out_whole(count: int, size: int) -> None:
    rows = np.arange(100, 100 + size)
    shares = [Processes(rank, count).share(rows) for rank in range(count)]
    sizes = [len(own) for own, _ in shares]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1
    taken = np.zeros(size)
    for own, weight in shares:
        taken[own - 100] += weight
    assert taken == pytest.approx(np.ones(size))


def test_on_gpus_batch_norm_is_synchronized_under_the_same_names() -> None:
    net = Hybrid2d(width=8)
    names, parameters = list(net.state_dict()), list(net.parameters())
    ready = Processes(count=2).sync_batch_norm(net, "cuda:0")
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in ready.modules()) == 14
    assert not list(lone_norms(ready))
    assert list(ready.state_dict()) == names
    assert [id(p) for p in ready.parameters()] == [id(p) for p in parameters]
