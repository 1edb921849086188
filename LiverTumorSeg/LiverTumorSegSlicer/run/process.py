"""A child process on Slicer's own Python, whose output arrives as whole lines.

    runner = ProcessRunner()
    runner.start(["-m", "LiverTumorSegLib", "info", path], onLine, onErrorText, onExit)

``Runner`` is what a job needs of it; tests hand in their own.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import qt
import slicer
from slicer.i18n import tr as _

MODULE_FOLDER = Path(__file__).resolve().parents[2]
PYTHON_SLICER = "PythonSlicer"
LAUNCHER_SAYS_CRASH = "exit abnormally"  # Slicer's launcher itself ends normally, with code 1
EXIT_NOT_STARTED = 127  # a shell's code for a program that cannot be started

LineCallback = Callable[[str], None]
ExitCallback = Callable[[int, bool], None]


class Runner(Protocol):
    """Runs one command of Slicer's Python, once. Callbacks arrive on the main thread.

    pid: of the process that was started, None before and after. In Slicer it is a launcher: the
        Python that works is its child, and tells its own number, which goes to childPid.
    """

    childPid: int | None

    @property
    def pid(self) -> int | None: ...

    def start(
        self,
        arguments: list[str],
        onLine: LineCallback,
        onErrorText: LineCallback,
        onExit: ExitCallback,
    ) -> None:
        """Start Python with these arguments. ``OSError`` when that is seen to fail at once.

        onLine: a line of standard output. onErrorText: lines of standard error.
        onExit(code, crashed): once, after all lines; code EXIT_NOT_STARTED when it never ran.
        """

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""

    def closeInput(self) -> None:
        """Close its standard input, at which our command line ends by itself."""


class LineBuffer:
    """Puts bytes together to lines, however they were cut on their way."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def add(self, data: bytes) -> list[str]:
        """The lines that are whole now, without their ends."""
        *lines, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        return [line.rstrip("\r") for line in lines]

    def end(self) -> list[str]:
        """The rest of the output, when no more will come."""
        rest, self._rest = self._rest + self._decoder.decode(b"", True), ""
        return [rest.rstrip("\r")] if rest else []


class ProcessRunner:
    """A ``Runner`` on qt.QProcess and PythonSlicer."""

    def __init__(self, program: str | None = None) -> None:
        """program: another Python than Slicer's."""
        self.childPid: int | None = None
        self._program = program
        self._process: Any = None
        self._lines = LineBuffer()
        self._errorLines = LineBuffer()
        self._hasFallen = False

    @property
    def pid(self) -> int | None:
        return (int(self._process.processId()) or None) if self._process else None

    def start(
        self,
        arguments: list[str],
        onLine: LineCallback,
        onErrorText: LineCallback,
        onExit: ExitCallback,
    ) -> None:
        program = self._program or findPythonSlicer()
        if program is None:
            raise FileNotFoundError(_("PythonSlicer was not found."))
        self._onLine, self._onErrorText, self._onExit = onLine, onErrorText, onExit
        process = self._process = qt.QProcess(slicer.app)  # without a parent it dies with _release
        process.setProcessEnvironment(_environment())
        process.setWorkingDirectory(slicer.app.slicerHome)
        process.connect("readyReadStandardOutput()", self._readLines)
        process.connect("readyReadStandardError()", self._readErrorLines)
        process.connect("finished(int,QProcess::ExitStatus)", self._end)
        process.connect("errorOccurred(QProcess::ProcessError)", self._onError)
        process.start(program, arguments)

    def terminate(self) -> None:
        """The child first: its launcher ends with it, and ended before it would leave it alone."""
        if self._process is None:
            return
        if self.childPid is None:
            self._process.terminate()
        else:
            _signalProcess(self.childPid, signal.SIGTERM)

    def kill(self) -> None:
        if self._process is None:
            return
        if self.childPid is not None:
            _signalProcess(self.childPid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self._process.kill()

    def closeInput(self) -> None:
        if self._process is not None:
            self._process.closeWriteChannel()

    def _readLines(self) -> None:
        if self._process is not None:
            for line in self._lines.add(bytes(self._process.readAllStandardOutput().data())):
                self._onLine(line)

    def _readErrorLines(self) -> None:
        if self._process is not None:
            for line in self._errorLines.add(bytes(self._process.readAllStandardError().data())):
                self._hearError(line)

    def _hearError(self, line: str) -> None:
        self._hasFallen = self._hasFallen or LAUNCHER_SAYS_CRASH in line
        self._onErrorText(line)

    def _onError(self, error: Any) -> None:
        """Of all errors only this one comes without ``finished``."""
        if error == qt.QProcess.FailedToStart and self._process is not None:
            self._onErrorText(str(self._process.errorString()))
            self._release()
            self._onExit(EXIT_NOT_STARTED, False)

    def _end(self, code: int, status: Any) -> None:
        if self._process is None:
            return
        self._readLines()
        self._readErrorLines()
        for line in self._lines.end():
            self._onLine(line)
        for line in self._errorLines.end():
            self._hearError(line)
        crashed = self._hasFallen or status == qt.QProcess.CrashExit
        self._release()
        self._onExit(int(code), bool(crashed))

    def _release(self) -> None:
        """Numbers of ended processes belong to nobody, or soon to somebody else."""
        process, self._process, self.childPid = self._process, None, None
        process.deleteLater()


def findPythonSlicer() -> str | None:
    """Slicer's Python for use outside the application; None when it is not where it belongs."""
    binaries = os.path.join(slicer.app.slicerHome, "bin")
    return shutil.which(PYTHON_SLICER) or shutil.which(PYTHON_SLICER, path=binaries)


def _environment() -> Any:
    """Slicer's own, with our modules first and nothing of the working directory."""
    environment = qt.QProcessEnvironment.systemEnvironment()
    others = environment.value("PYTHONPATH", "")
    paths = [str(MODULE_FOLDER), *([others] if others else [])]
    environment.insert("PYTHONPATH", os.pathsep.join(paths))
    environment.insert("PYTHONUNBUFFERED", "1")
    environment.insert("PYTHONSAFEPATH", "1")
    environment.insert("PYTHONIOENCODING", "utf-8")
    return environment


def _signalProcess(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        os.kill(pid, number)
