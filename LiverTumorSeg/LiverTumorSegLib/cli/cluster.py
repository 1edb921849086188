"""``batch --ray``: one Ray task a CT, on this machine or on others that all see the files.

    run_on_ray(runner, waiting, where, end)

A task does what the batch does with a case: it looks whether the result is there, makes it in a
hidden folder and publishes that whole. So a case may be started twice, or on a machine that dies:
what is published is whole, and once. The model's file goes through Ray's object store, once to a
machine; a worker process loads it once. At most a few tasks a processor wait in line. Everything
else (which machine, when, again after a loss) is Ray's.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.settings import RAY_HERE, Where

from .batch_run import CaseRunner
from .progress import QuietReporter

if TYPE_CHECKING:
    from .batch_cases import BatchItem

RETRIES = 3  # of a case whose worker or machine was lost
IN_LINE = (
    2  # tasks for each that can run: none waits for the driver, and none is sent far too early
)
OBJECT_STORE_BYTES = 2**28  # of a cluster of this machine's own: it holds a model and small rows
GET_RAY = "pip install 'livertumorseg[cluster]'"

_ready: dict[str, CaseRunner] = {}  # of this worker process: the runner whose model is loaded


def require_ray() -> Any:
    """The package; ``ValueError`` with what to install where it is missing."""
    try:
        import ray
    except ImportError:
        raise ValueError(f"--ray needs Ray, which is missing; get it with: {GET_RAY}.") from None
    return ray


def run_on_ray(
    runner: CaseRunner,
    waiting: Sequence[tuple[int, BatchItem]],
    where: Where,
    end: Callable[[int, dict[str, Any]], None],
) -> None:
    """Run every case; ``end`` gets each one's number and row as it ends, in any order.

    Raises ``ValueError`` where no cluster answers or none of its machines can run a case.
    """
    from LiverTumorSegLib.model.catalog import find_model

    ray = require_ray()
    model = find_model(runner.settings.model, runner.model_folder).file.path
    with _connected(ray, where):
        gpus = _gpus(ray, runner.settings.device, where)
        slots = _slots(ray, where.cpus_per_case, gpus)
        weights = ray.put(np.frombuffer(model.read_bytes(), np.uint8))
        sent = ray.put(runner)
        task = ray.remote(run_case).options(
            num_cpus=where.cpus_per_case, num_gpus=gpus, max_retries=RETRIES
        )
        line = iter(waiting)
        running: dict[Any, tuple[int, BatchItem]] = {}
        while True:
            while len(running) < IN_LINE * slots and (following := next(line, None)):
                running[task.remote(sent, weights, following[1])] = following
            if not running:
                return
            for reference in ray.wait(list(running), timeout=1.0)[0]:
                number, case = running.pop(reference)
                end(number, _row(ray, reference, case))


def run_case(runner: CaseRunner, weights: NDArray[np.uint8], case: BatchItem) -> dict[str, Any]:
    """Segment one case in a worker process, and publish its result; its row."""
    return _loaded(runner, weights).row_of(case, QuietReporter())


def _loaded(runner: CaseRunner, weights: NDArray[np.uint8]) -> CaseRunner:
    """This process's own runner, its model loaded from the bytes of its file."""
    key = json.dumps([str(runner.out), runner.overwrite, runner.settings.device, runner.made_by])
    if key in _ready and _ready[key].is_loaded:
        return _ready[key]
    _ready.clear()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        file.write_bytes(weights.tobytes())
        own = replace(runner, settings=replace(runner.settings, model=str(file)))
        own.load()
    _ready[key] = own
    return own


def _row(ray: Any, reference: Any, case: BatchItem) -> dict[str, Any]:
    """The row of a Ray task that has ended, successful or not."""
    from .batch_summary import failed_row

    try:
        row: dict[str, Any] = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # before the case itself: its model, say
        cause = error.cause if isinstance(error.cause, ValueError | RuntimeError) else None
        sentence = " ".join(str(cause).split()) if cause else "LiverTumorSeg failed on its machine."
        return failed_row(case.name, sentence)
    except ray.exceptions.RayError:
        return failed_row(
            case.name,
            f"The worker or machine that ran this CT was lost {RETRIES + 1} times, for want of"
            " memory perhaps; the same command tries it again.",
        )
    return row


@contextmanager
def _connected(ray: Any, where: Where) -> Iterator[None]:
    """A driver's connection; Ray's own messages and its handlers of signals stay away."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machines
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if where.ray != RAY_HERE:
        options["address"] = where.ray
    elif not os.environ.get("RAY_ADDRESS"):
        options.update(
            address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES
        )
    before = signal.getsignal(signal.SIGTERM)
    with redirect_stdout(_WithoutRay(sys.stdout)), redirect_stderr(_WithoutRay(sys.stderr)):
        _start(ray, options, before)
        try:
            yield
        finally:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                ray.shutdown()  # prints what its threads have held back


def _start(ray: Any, options: dict[str, Any], handler: Any) -> None:
    """Connect, and give SIGTERM its handler back."""
    try:
        ray.init(**options)
    except Exception as error:  # of a machine that is too busy Ray raises the bare class
        if options.get("address") == "local":
            raise ValueError(
                "Ray could not start on this machine in its time; close other programs, or leave"
                f" out --ray ({type(error).__name__})."
            ) from None
        raise ValueError(
            "No Ray cluster answers there; start one (`ray start --head`), give the address of one"
            f" that runs, or leave the address out for this machine alone ({type(error).__name__})."
        ) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _gpus(ray: Any, device: str, where: Where) -> float:
    """GPUs that each case asks of the cluster."""
    if ":" in device:
        raise ValueError(
            f"--device {device} names one GPU, and Ray gives each case its own; use --device cuda."
        )
    is_there = ray.cluster_resources().get("GPU", 0) > 0
    return where.gpus_per_case if device == "cuda" or (device == "auto" and is_there) else 0.0


def _slots(ray: Any, cpus: float, gpus: float) -> int:
    """How many cases can run at once; ``ValueError`` where no machine can run one."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fits: list[float] = [
        min(
            machine.get("CPU", 0) // cpus,
            machine.get("GPU", 0) // gpus if gpus else float("inf"),
        )
        for machine in machines
    ]
    if not any(count >= 1 for count in fits):
        raise ValueError(
            f"No machine of this Ray cluster has {cpus:g} processors and {gpus:g} GPUs for a case;"
            " ask for less with --cpus-per-case, --gpus-per-case or --device cpu."
        )
    return int(sum(fits))


class _WithoutRay(io.TextIOBase):
    """A stream without what Ray's own threads print: lost cases are in the rows."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        is_rays = threading.current_thread().name.startswith("ray_")
        return len(text) if is_rays else int(self._stream.write(text))

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return bool(self._stream.isatty())
