"""One segmentation in a child process, while Slicer stays free.

    job = SegmentationJob(request, ProcessRunner(), onProgress=..., onFinished=...,
                          onFailed=..., onCancelled=...)
    job.start()       # returns at once; one of the last three callbacks ends the run

The CT goes to the child, and the labels come back, as raw arrays in a private temporary folder
(LiverTumorSegLib/cli/exchange.py). They are written and read in threads; everything else happens in
short steps on the main thread, where all callbacks arrive too.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

import numpy as np
from LiverTumorSegLib.cli.exchange import Answer, read_answer, write_request
from LiverTumorSegLib.result.step_labels import StepLabels, TumorSeen
from LiverTumorSegLib.settings import RunSettings
from slicer.i18n import tr as _

from LiverTumorSegSlicer.privacy import withoutPersonalPaths

from .failures import JobFailure, explainExit, memorySentence, notStartedSentence, protocolSentence
from .folder import makeJobFolder, removeJobFolder, removeLeftovers
from .folder import temporaryFolder as slicerTemporaryFolder
from .later import Later, Work, callLater
from .process import Runner
from .protocol import eventOf
from .sentences import translated

__all__ = ["JobFailure", "JobRequest", "JobResult", "SegmentationJob", "removeLeftovers"]

KILL_AFTER_MS = 3000  # a run that was asked to end has this long to do so
LOG_LINES = 1000  # the last ones
SPARE_BYTES = 50_000_000  # on the disk, beyond what the arrays take
JOIN_SECONDS = 2.0
FOLDER_MARK = "<temporary folder>"


@dataclass(frozen=True, eq=False)
class JobRequest:
    """A CT to segment, and how.

    huKji: int16 (k, j, i), Hounsfield units; a copy that nobody changes. ijkToRas: (4, 4), mm.
    """

    huKji: np.ndarray
    ijkToRas: np.ndarray
    settings: RunSettings = field(default_factory=RunSettings)

    @property
    def exchangedBytes(self) -> int:
        """The disk space that a run's files take at most."""
        return self.huKji.nbytes + self.huKji.size * (1 + 6 * self.settings.probabilities)

    def arguments(self, folder: Path) -> list[str]:
        """The command line, for a Python."""
        command = ["-m", "LiverTumorSegLib", "segment", "--raw", str(folder)]
        command += ["--events", "--with-parent", *self.settings.to_arguments()]
        return command


@dataclass(frozen=True, eq=False)
class JobResult:
    """labelsKji: uint8. record: what lesions.json holds. probabilities: float16 (3, k, j, i).

    seen: where tumor was seen at all. steps: labels at other sensitivities; None where not known.
    """

    labelsKji: np.ndarray
    record: dict[str, Any]
    probabilities: np.ndarray | None
    log: str
    seen: TumorSeen | None = None
    steps: StepLabels | None = None


class State(Enum):
    """Where a job stands. WRITING, RUNNING and READING are a run; CANCELLED may still be ending."""

    NEW = auto()
    WRITING = auto()
    RUNNING = auto()
    READING = auto()
    CANCELLED = auto()
    ENDED = auto()


class _Stopped(Exception):
    """The run was cancelled while the CT was written."""


class SegmentationJob:
    """One run; make a new one for the next.

    later(milliseconds, function): calls back on the main thread; Qt's timer by default.
    temporaryFolder: where the private folder is made; Slicer's own by default.
    """

    def __init__(
        self,
        request: JobRequest,
        runner: Runner,
        *,
        onProgress: Callable[[float, str, float | None], None],
        onFinished: Callable[[JobResult], None],
        onFailed: Callable[[JobFailure], None],
        onCancelled: Callable[[], None],
        later: Later = callLater,
        temporaryFolder: Path | None = None,
    ) -> None:
        self._request: JobRequest | None = request  # until the child has the CT
        self._shapeKji = request.huKji.shape
        self._runner = runner
        self._onProgress, self._onFinished = onProgress, onFinished
        self._onFailed, self._onCancelled = onFailed, onCancelled
        self._later = later
        self._temporaryFolder = temporaryFolder or slicerTemporaryFolder()
        self._state = State.NEW
        self._folder: Path | None = None
        self._isProcessThere = False
        self._isFinished = False
        self._failed: dict[str, Any] | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._steps: set[str] = set()  # kinds of those that the log has
        self._began = 0.0
        self._work: Work | None = None
        self._removal: Work | None = None

    @property
    def isRunning(self) -> bool:
        """True from start() until one of onFinished, onFailed and onCancelled is called."""
        return self._state in (State.WRITING, State.RUNNING, State.READING)

    @property
    def log(self) -> str:
        """The last lines of the child's output, without folders that name a person."""
        text = "\n".join(self._log)
        if self._folder is not None:
            text = text.replace(str(self._folder), FOLDER_MARK)
        return withoutPersonalPaths(text)

    def start(self) -> None:
        """Begin; returns at once. A job runs once."""
        if self._state is not State.NEW:
            raise RuntimeError("A job runs once; make a new one for the next run.")
        self._state, self._began = State.WRITING, time.monotonic()
        self._tellStep(0.0, _("Handing over the CT"))
        self._work = Work(self._write, self._afterWriting, self._later)

    def cancel(self) -> None:
        """Stop: onCancelled is called before this returns, and the process is gone in 5 s.

        Does nothing when the job does not run.
        """
        if not self.isRunning:
            return
        self._state = State.CANCELLED
        self._endProcess()
        self._onCancelled()

    def cleanUp(self) -> None:
        """End everything now, and call nobody: Slicer quits, or the module is reloaded."""
        self._state = State.ENDED
        if self._isProcessThere:
            self._runner.closeInput()
            self._runner.kill()
        if self._work is not None:
            self._work.wait(JOIN_SECONDS)
        self._request = None
        self._removeFolder()
        if self._removal is not None:
            self._removal.wait(JOIN_SECONDS)

    # --- the CT to the child ---------------------------------------------------------------------

    def _write(self) -> None:
        """Write the CT for the child process, in a thread."""
        request = self._request
        assert request is not None
        self._folder = makeJobFolder(self._temporaryFolder)
        free = shutil.disk_usage(self._folder).free
        if free < request.exchangedBytes + SPARE_BYTES:
            raise OSError(_("the disk has {free} MB left").format(free=free // 10**6))
        write_request(self._folder, request.huKji, request.ijkToRas, self._stopIfUnwanted)

    def _stopIfUnwanted(self) -> None:
        if self._state is not State.WRITING:
            raise _Stopped

    def _afterWriting(self, _nothing: None, error: Exception | None) -> None:
        request, self._request = self._request, None
        if self._state is not State.WRITING or request is None:
            self._removeFolder()
        elif error is not None:
            self._failWriting(error)
        else:
            self._startProcess(request)

    def _failWriting(self, error: Exception) -> None:
        self._note(repr(error))
        if isinstance(error, MemoryError):
            self._fail("memory", memorySentence())
            return
        reason = getattr(error, "strerror", None) or str(error)
        sentence = _(
            "The CT cannot be written to Slicer's temporary folder ({reason}); free some space, or"
            " choose another folder in Edit / Application Settings / Modules."
        )
        self._fail("environment", sentence.format(reason=reason))

    # --- the child -------------------------------------------------------------------------------

    def _startProcess(self, request: JobRequest) -> None:
        assert self._folder is not None
        self._state, self._isProcessThere = State.RUNNING, True
        self._tellStep(0.0, _("Starting"))
        arguments = request.arguments(self._folder)
        self._note(" ".join(arguments))
        try:
            self._runner.start(arguments, self._onLine, self._note, self._onExit)
        except OSError as error:
            self._isProcessThere = False
            self._note(repr(error))
            self._fail("environment", notStartedSentence())

    def _onLine(self, line: str) -> None:
        event = eventOf(line)
        if event is None:
            self._note(line)
            return
        kind = event.pop("event")
        if kind == "started":
            self._onStarted(event.get("pid"))
        elif self._state is not State.RUNNING:
            return
        elif kind == "progress":
            self._tellProgress(event)
        elif kind == "finished":
            self._isFinished = True  # what it still has to do is to go
            self._later(KILL_AFTER_MS, self._killIfThere)
        elif kind == "failed":
            event["text"] = translated(event.get("said"), event.get("text"))
            self._failed = event
            self._note(str(event.get("text")))
        else:
            self._note(str(event.get("text", line)))

    def _onStarted(self, pid: Any) -> None:
        """Note the child's process id: known late, as a launcher stands between."""
        if type(pid) is int and pid > 1:
            self._runner.childPid = pid
        if self._state is State.CANCELLED:
            self._runner.terminate()

    def _tellProgress(self, event: dict[str, Any]) -> None:
        fraction, left = event.get("fraction"), event.get("seconds_left")
        if isinstance(fraction, (int, float)) and 0 <= fraction <= 1:
            seconds = float(left) if isinstance(left, (int, float)) else None
            said = event.get("said")
            phrase = translated(said, event.get("phrase"))
            kind = said.get("key") if isinstance(said, dict) else phrase
            self._tellStep(float(fraction), phrase, seconds, kind=str(kind))

    def _tellStep(
        self, fraction: float, phrase: str, secondsLeft: float | None = None, *, kind: str = ""
    ) -> None:
        """Hand it on; the first of its kind goes into the log too, with the time since start."""
        if (kind := kind or phrase) not in self._steps:
            self._steps.add(kind)
            self._note(f"{time.monotonic() - self._began:.1f} s: {phrase}")
        self._onProgress(fraction, phrase, secondsLeft)

    def _onExit(self, code: int, crashed: bool) -> None:
        self._isProcessThere = False
        if self._state is not State.RUNNING:
            self._removeFolder()
        elif self._isFinished:  # a fall after that, in a library's own clean-up, costs nothing
            self._state = State.READING
            self._tellStep(1.0, _("Fetching the labels"))
            self._work = Work(self._read, self._afterReading, self._later)
        else:
            failure = explainExit(code, crashed, self._failed, self.log)
            self._fail(failure.kind, failure.sentence)

    def _endProcess(self) -> None:
        if self._isProcessThere:
            self._runner.closeInput()
            self._runner.terminate()
            self._later(KILL_AFTER_MS, self._killIfThere)

    def _killIfThere(self) -> None:
        if self._isProcessThere:
            self._runner.kill()

    # --- the labels back -------------------------------------------------------------------------

    def _read(self) -> Answer:
        """Write the CT for the child process, in a thread."""
        assert self._folder is not None
        return read_answer(self._folder, self._shapeKji)

    def _afterReading(self, answer: Answer | None, error: Exception | None) -> None:
        if self._state is not State.READING:
            self._removeFolder()
        elif answer is None:
            self._note(repr(error))
            isMemory = isinstance(error, MemoryError)
            kind = "memory" if isMemory else "protocol"
            self._fail(kind, memorySentence() if isMemory else protocolSentence())
        else:
            self._state = State.ENDED
            self._removeFolder()
            self._note(_madeBy(answer.record))
            values = answer.labels_kji, answer.record, answer.probabilities
            self._onFinished(JobResult(*values, self.log, answer.seen, answer.steps))

    # --- all -------------------------------------------------------------------------------------

    def _fail(self, kind: str, sentence: str) -> None:
        self._state = State.ENDED
        self._removeFolder()
        self._onFailed(JobFailure(kind, sentence, self.log))

    def _note(self, text: str) -> None:
        """Keep for the log."""
        self._log.extend(text.splitlines())

    def _removeFolder(self) -> None:
        folder = self._folder
        if folder is not None and self._removal is None:
            self._removal = Work(lambda: removeJobFolder(folder), _whatever, self._later)


def _madeBy(record: dict[str, Any]) -> str:
    """Which model made a result, and on what."""
    model, device = record.get("model", {}), record.get("run", {}).get("device", "?")
    return f"{model.get('model', '?')} {model.get('version', '?')}, {device}"


def _whatever(_result: None, _error: Exception | None) -> None:
    """What becomes of a folder concerns nobody: leftovers are removed at the next start."""
