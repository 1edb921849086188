"""What the command line makes of results that are in the scene, in a child process.

    job = PageJob({"followup": case}, ["report"], ProcessRunner(), onProgress=..., onEnd=...)
    job.start()                                  # a page, of a result or of two dates
    job = DicomJob(case, files, ProcessRunner(), onProgress=..., onEnd=...)
    job.start()                                  # DICOM SEG and report

Cases go to the child as those of a segmentation do, through a private temporary folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from LiverTumorSegLib.cli.exchange import Answer, write_answer, write_request
from slicer.i18n import tr as _

from .failures import explainExit, notStartedSentence
from .folder import makeJobFolder, removeJobFolder, temporaryFolder
from .later import Work
from .process import Runner
from .protocol import eventOf
from .sentences import translated

REPORT, COMPARISON = "report.html", "comparison.json"
SEG, SR = "seg.dcm", "sr.dcm"
RESULT, SOURCE, DICOM = "result", "source", "dicom"  # folders below the job's own
JOIN_SECONDS = 2.0


@dataclass(frozen=True, eq=False)
class Case:
    """A CT and its labels, copies that nobody changes; record: as lesions.json."""

    huKji: np.ndarray
    ijkToRas: np.ndarray
    labelsKji: np.ndarray
    record: dict[str, Any]


class CaseJob:
    """``onEnd(what came of it, "")`` or ``onEnd(None, why)``; ``onProgress(fraction, phrase)``.

    cases: by name, in the order in which the command takes their folders.
    """

    def __init__(
        self,
        cases: Mapping[str, Case],
        runner: Runner,
        *,
        onProgress: Callable[[float, str], None],
        onEnd: Callable[[Any, str], None],
    ) -> None:
        self._cases: Mapping[str, Case] = cases
        self._runner = runner
        self._onProgress, self._onEnd = onProgress, onEnd
        self._place = temporaryFolder()
        self._folder: Path | None = None
        self._failed: dict[str, Any] | None = None
        self._log: list[str] = []
        self._isOver, self._isProcessThere = False, False
        self._work: Work | None = None

    def _arguments(self, folder: Path) -> list[str]:
        """The command and its options, by the job's folder, in which each case has its own."""
        raise NotImplementedError

    def _collected(self, folder: Path) -> Any:
        """What came of it; None where it is not whole."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin; returns at once."""
        self._onProgress(0.0, _("Handing over the CT"))
        self._work = Work(self._write, self._afterWriting)

    def cleanUp(self) -> None:
        """End without calling back."""
        self._isOver = True
        if self._isProcessThere:
            self._runner.closeInput()
            self._runner.kill()
        if self._work is not None:
            self._work.wait(JOIN_SECONDS)
        self._removeFolder()

    def _write(self) -> None:
        """Write CTs and labels for the child process, in a thread."""
        folder = self._folder = makeJobFolder(self._place)
        for name, case in self._cases.items():
            (folder / name).mkdir()
            write_request(folder / name, case.huKji, case.ijkToRas)
            write_answer(folder / name, Answer(case.labelsKji, case.record, None))

    def _afterWriting(self, _nothing: None, error: Exception | None) -> None:
        if self._isOver or self._folder is None:
            self._removeFolder()
            return
        if error is not None:
            reason = getattr(error, "strerror", None) or str(error)
            text = _("The CT cannot be written to Slicer's temporary folder ({reason}).")
            self._end(None, text.format(reason=reason))
            return
        command = ["-m", "LiverTumorSegLib", *self._arguments(self._folder)]
        arguments = [*command, "--events", "--with-parent"]
        self._cases = {}  # the child has them
        self._isProcessThere = True
        try:
            self._runner.start(arguments, self._onLine, self._log.append, self._onExit)
        except OSError:
            self._isProcessThere = False
            self._end(None, notStartedSentence())

    def _onLine(self, line: str) -> None:
        event = eventOf(line)
        if event is None:
            self._log.append(line)
        elif event["event"] == "started" and type(event.get("pid")) is int:
            self._runner.childPid = event["pid"]
        elif event["event"] == "progress" and not self._isOver:
            self._onProgress(
                float(event["fraction"]), translated(event.get("said"), event.get("phrase"))
            )
        elif event["event"] == "failed":
            text = translated(event.get("said"), event.get("text"))
            self._failed = {**event, "text": text}

    def _onExit(self, code: int, crashed: bool) -> None:
        self._isProcessThere = False
        if self._isOver or self._folder is None:
            self._removeFolder()
            return
        made = self._collected(self._folder) if code == 0 else None
        if made is not None:
            self._end(made, "")
        else:
            log = "\n".join(self._log)
            self._end(None, explainExit(code or 1, crashed, self._failed, log).sentence)

    def _end(self, made: Any, why: str) -> None:
        self._isOver = True
        self._removeFolder()
        self._onEnd(made, why)

    def _removeFolder(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            self._work = Work(lambda: removeJobFolder(folder), lambda _result, _error: None)


@dataclass(frozen=True)
class Page:
    """What the child has made; record: of two dates comparison.json, and else empty."""

    html: bytes
    record: dict[str, Any]


class PageJob(CaseJob):
    """A page of a result, or of two dates. command: "report" or "compare", with options."""

    def __init__(
        self, cases: Mapping[str, Case], command: Sequence[str], runner: Runner, **callbacks: Any
    ) -> None:
        super().__init__(cases, runner, **callbacks)
        self._command, self._names = command, tuple(cases)

    def _arguments(self, folder: Path) -> list[str]:
        places = [str(folder / name) for name in self._names]
        name, *options = self._command
        output = folder / REPORT if name == "report" else folder / "page"
        return [name, *places, "-o", str(output), *options]

    def _collected(self, folder: Path) -> Page | None:
        pages, records = sorted(folder.rglob(REPORT)), sorted(folder.rglob(COMPARISON))
        if not pages:
            return None
        record = json.loads(records[0].read_text("utf-8")) if records else {}
        return Page(pages[0].read_bytes(), record)


class DicomJob(CaseJob):
    """A DICOM SEG and the report that refers to it, as bytes by their names in a result folder.

    files: the CT's own DICOM files.
    """

    def __init__(
        self, case: Case, files: Sequence[str | Path], runner: Runner, **callbacks: Any
    ) -> None:
        super().__init__({RESULT: case}, runner, **callbacks)
        self._files = tuple(files)

    def _write(self) -> None:
        """The CT's files may lie among others: the child gets a folder that holds them alone."""
        super()._write()
        assert self._folder is not None
        source = self._folder / SOURCE
        source.mkdir()
        for number, file in enumerate(self._files):
            place = source / f"{number:05}.dcm"
            try:
                place.symlink_to(Path(file).resolve())
            except OSError:  # Windows has links for administrators only
                shutil.copyfile(file, place)

    def _arguments(self, folder: Path) -> list[str]:
        places = str(folder / RESULT), "--ct", str(folder / SOURCE), "-o", str(folder / DICOM)
        return ["export", *places, "--dicom"]

    def _collected(self, folder: Path) -> dict[str, bytes] | None:
        files = {name: folder / DICOM / name for name in (SEG, SR)}
        if not all(path.is_file() for path in files.values()):
            return None
        return {name: path.read_bytes() for name, path in files.items()}
