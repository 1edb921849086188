"""Several processes on this machine, started and ended as torchrun does it.

    codes, said = side_by_side(tmp_path, task)

``task(folder)`` is a function of a test file's top level; what it returns is the exit code. When
one process fails, the others are ended by SIGTERM.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

Task = Callable[[Path], int]


def side_by_side(folder: Path, task: Task, count: int = 2) -> tuple[list[int | None], list[str]]:
    """Exit codes of the processes, and what each said."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.train", "torch._dynamo"])  # once, not in each
    outputs = [folder / f"said{rank}.txt" for rank in range(count)]
    started = [
        context.Process(target=_process, args=(folder, task, output, rank, count, store.port))
        for rank, output in enumerate(outputs)
    ]
    for one in started:
        one.start()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and any(one.is_alive() for one in started):
        if any(one.exitcode for one in started):
            break
        time.sleep(0.05)
    for one in started:
        one.terminate()
        one.join()
    return [one.exitcode for one in started], [output.read_text() for output in outputs]


def _process(folder: Path, task: Task, output: Path, rank: int, count: int, port: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"  # as torchrun, the parent holds the store
    with open(output, "w") as said:
        for stream in (1, 2):
            os.dup2(said.fileno(), stream)
    torch.set_num_threads(1)
    sys.exit(task(folder))
