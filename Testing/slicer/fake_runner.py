"""In place of a child process and of Qt's timer: a test says what happens, and when."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from LiverTumorSegLib.cli.exchange import Answer, write_answer
from LiverTumorSegLib.settings import RunSettings
from LiverTumorSegSlicer.run.job import JobFailure, JobRequest, JobResult, SegmentationJob

CHILD_PID = 4_000_000_000  # no system gives that number to a process
LAUNCHER_PID = 4_000_000_001
SHAPE = (6, 8, 10)


class FakeRunner:
    """A ``Runner`` whose child does what the test tells it."""

    def __init__(self, startError: OSError | None = None) -> None:
        self.pid: int | None = None
        self.childPid: int | None = None
        self.arguments: list[str] = []
        self.calls: list[str] = []
        self._startError = startError
        self._onExit: Callable[[int, bool], None] | None = None

    def start(
        self,
        arguments: list[str],
        onLine: Callable[[str], None],
        onErrorText: Callable[[str], None],
        onExit: Callable[[int, bool], None],
    ) -> None:
        self.arguments = arguments
        if self._startError:
            raise self._startError
        self.pid = LAUNCHER_PID
        self.print, self.complain, self._onExit = onLine, onErrorText, onExit

    def terminate(self) -> None:
        self.calls.append("terminate")

    def kill(self) -> None:
        self.calls.append("kill")

    def closeInput(self) -> None:
        self.calls.append("closeInput")

    # --- what the child does ---------------------------------------------------------------------

    @property
    def isThere(self) -> bool:
        return self.pid is not None

    @property
    def folder(self) -> Path:
        return Path(self.arguments[self.arguments.index("--raw") + 1])

    def say(self, event: str, **values: Any) -> None:
        self.print(json.dumps({"event": event, **values}))

    def begin(self) -> None:
        self.say("started", pid=CHILD_PID)

    def answer(self, labelsKji: np.ndarray | None = None, **values: Any) -> None:
        """Write the labels and say so."""
        labels = someLabels() if labelsKji is None else labelsKji
        record = {"notice": "for research", **values}
        write_answer(self.folder, Answer(labels, record, None))
        self.say("finished", summary="", **values)

    def exit(self, code: int = 0, *, crashed: bool = False) -> None:
        self.pid = None
        assert self._onExit is not None
        self._onExit(code, crashed)


class Clock:
    """Calls back when the test lets time pass."""

    def __init__(self) -> None:
        self.now = 0
        self._waiting: list[tuple[int, int, Callable[[], None]]] = []

    def later(self, milliseconds: int, function: Callable[[], None]) -> None:
        self._waiting.append((self.now + milliseconds, len(self._waiting), function))

    def advance(self, milliseconds: int) -> None:
        end = self.now + milliseconds
        while due := sorted(entry for entry in self._waiting if entry[0] <= end):
            self._waiting.remove(due[0])
            self.now = due[0][0]
            due[0][2]()
        self.now = end

    def advanceUntil(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Let time pass, and threads work, until something is so."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not come to pass"
            self.advance(20)
            time.sleep(0.001)


class Desk:
    """A job with everything that it told, and on which thread."""

    def __init__(self, folder: Path, runner: FakeRunner | None = None, **request: Any) -> None:
        self.clock, self.runner = Clock(), runner or FakeRunner()
        self.progress: list[tuple[float, str, float | None]] = []
        self.ends: list[Any] = []
        self.threads: set[threading.Thread] = set()
        self.temporaryFolder = folder
        self.job = SegmentationJob(
            someRequest(**request),
            self.runner,
            onProgress=lambda *told: self._note(self.progress, told),
            onFinished=lambda result: self._note(self.ends, result),
            onFailed=lambda failure: self._note(self.ends, failure),
            onCancelled=lambda: self._note(self.ends, "cancelled"),
            later=self.clock.later,
            temporaryFolder=folder,
        )

    def _note(self, where: list[Any], what: Any) -> None:
        self.threads.add(threading.current_thread())
        where.append(what)

    def start(self) -> FakeRunner:
        """Until the child is there."""
        self.job.start()
        self.clock.advanceUntil(lambda: self.runner.isThere or bool(self.ends))
        return self.runner

    def end(self) -> Any:
        """The one way in which it ended; its folder is gone."""
        self.clock.advanceUntil(lambda: bool(self.ends))
        self.assertNothingLeft()
        (end,) = self.ends
        assert self.threads == {threading.main_thread()}
        assert not self.job.isRunning
        return end

    def result(self) -> JobResult:
        end = self.end()
        assert isinstance(end, JobResult), end
        return end

    def failure(self) -> JobFailure:
        end = self.end()
        assert isinstance(end, JobFailure), end
        return end

    def assertNothingLeft(self) -> None:
        self.clock.advanceUntil(lambda: not list(self.temporaryFolder.iterdir()))


def someRequest(**values: Any) -> JobRequest:
    huKji = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    return JobRequest(huKji, affine, RunSettings(**values))


def someLabels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.uint8)
