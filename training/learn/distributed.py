"""Several processes train one net together; one process alone is the plain case of it.

    torchrun --nproc_per_node=4 -m training.train prepared -o runs/mine --recipe paper

torchrun starts the processes and gives each its rank. What they share goes through here: sums
over the whole batch, what the first process decides, and which device each takes.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from training.files import error_sentence

Errors = tuple[type[Exception], ...]
OTHERS_FIRST_S = 2.0  # how long a process that fails leaves another one to say why, and end all


class _Sum(torch.autograd.Function):
    """Sum over all processes; the gradient of a sum that all of them use is summed likewise."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _sum(gradient)


def _sum(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them: alone by default.

    rank: this one's number, 0 for the first. local_rank: its number on its machine.
    ``all_reduce``, ``broadcast``, ``wrap_ddp`` and ``average_statistics`` are exchanges: all must
    call them, in the same order. Alone they are free and change nothing.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this one writes and prints."""
        return self.rank == 0

    def share(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
        """The part of a batch that this process takes, and how much each of its slices counts.

        Parts differ by one slice at most. Fewer slices than processes are taken by several each,
        every time as that fraction of a slice: an exchange waits for all processes, and an empty
        batch goes through neither fused attention nor batch norm.
        """
        if len(rows) >= self.count:
            return np.array_split(rows, self.count)[self.rank], 1.0
        place = self.rank % len(rows)
        takers = len(range(place, self.count, len(rows)))
        return rows[place : place + 1], 1 / takers

    def all_reduce(self, values: Tensor, weight: float = 1.0) -> Tensor:
        """Sum of ``weight * values`` over the processes, with gradient; the same bits in each.

        A loss that every process forms from such sums has, after DDP has averaged the gradients of
        its parameters, the gradient that one process would find on the whole batch: the backward
        sum multiplies by the number of processes what the average divides by it.
        """
        if self.count == 1:
            return values
        return _sum(values * weight)

    def broadcast(self, value: float) -> float:
        """The first process's value."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(shared, 0)
        return shared.item()

    def sync_batch_norm(self, net: nn.Module, device: str) -> nn.Module:
        """The net with batch norms that see the whole batch, where the device has such."""
        if self.count == 1 or not device.startswith("cuda"):
            return net
        convert = nn.SyncBatchNorm.convert_sync_batchnorm  # the names in a state dict stay
        synchronized: nn.Module = convert(net)  # type: ignore[no-untyped-call]
        return synchronized

    def wrap_ddp(self, net: nn.Module, device: str) -> nn.Module:
        """The net in DistributedDataParallel, which averages the gradients of all processes."""
        if self.count == 1:
            return net
        index = torch.device(device).index
        return DistributedDataParallel(
            net, device_ids=None if index is None else [index], **_keep_statistics()
        )

    @torch.no_grad()
    def average_statistics(self, net: nn.Module) -> None:
        """Give every process the mean of the running statistics that each has gathered alone."""
        if self.count == 1:
            return
        for norm in lone_norms(net):
            for statistic in (norm.running_mean, norm.running_var):
                if statistic is not None:
                    statistic.copy_(self.all_reduce(statistic, 1 / self.count))


ALONE = Processes()


def lone_norms(net: nn.Module) -> Iterator[_BatchNorm]:
    """Batch norms that see one process's part of the batch only."""
    for module in net.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
            yield module


def _keep_statistics() -> dict[str, Any]:
    """Tells DDP, which has renamed the option, not to replace running statistics at each step."""
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers"
    return {name if name in known else "broadcast_buffers": False}


def run_together(work: Callable[[Processes], None], expected: Errors) -> int:
    """Do ``work`` in each process that torchrun has started, or in this one; the exit code.

    0 when all are done, 2 after an ``expected`` error, which is said in one sentence. torchrun ends
    all processes when one has failed. So the first one says at once what all have met, and a
    process that fails alone, or because another is gone, waits to be ended before it speaks.
    """
    processes = ALONE
    try:
        processes = _meet()
        work(processes)
        processes.broadcast(0.0)  # none is gone while another may still fail
    except expected as error:
        # No goodbye to the group: it could wait for an exchange that will never come.
        if not processes.is_main:
            time.sleep(OTHERS_FIRST_S)
        print(error_sentence(error), file=sys.stderr, flush=True)
        return 2
    except (Exception, SystemExit):
        if processes.count > 1:
            time.sleep(OTHERS_FIRST_S)
        raise
    if processes.count > 1:
        dist.destroy_process_group()
    return 0


def _meet() -> Processes:
    """Join the processes that torchrun's environment variables speak of, if there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    rank = dist.get_rank()
    return Processes(rank, dist.get_world_size(), int(os.environ.get("LOCAL_RANK", rank)))


def pick_device(name: str, processes: Processes = ALONE) -> str:
    """CUDA where there is a device for "auto", else the CPU; of several processes each its own.

    Raises ``ValueError`` when this process has no GPU of its own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if processes.count == 1 or name == "cpu":
        return name
    if name != "cuda":
        raise ValueError(
            f"Several processes cannot share {name}; give --device cuda, and each takes a GPU."
        )
    here = torch.cuda.device_count()
    if processes.local_rank >= here:
        raise ValueError(
            f"This machine has {here} GPUs, fewer than processes; start torchrun with"
            " --nproc_per_node at most that, or give --device cpu."
        )
    torch.cuda.set_device(processes.local_rank)
    return f"cuda:{processes.local_rank}"


def pick_bf16(precision: str, device: str, *, vectors: bool = False) -> bool:
    """Whether to compute in bf16: on CUDA and on processors with matrix tiles for it; else slower.

    vectors: also where the processor multiplies it in vectors only (AVX512-BF16), with which a step
    of Hybrid2d took 0.53 of its time.
    """
    if precision != "auto":
        return precision == "bf16"
    if device.startswith("cuda"):
        return True
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.10 on
    tiles = bool(capabilities.get("amx_bf16", False))
    return tiles or (vectors and bool(capabilities.get("avx512_bf16", False)))
