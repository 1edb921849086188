"""How a run ended, in one sentence that says what to do, from what the child said and its exit."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from .process import EXIT_NOT_STARTED

KINDS = ("input", "model", "memory", "environment", "crash", "protocol")

# what PyTorch, CUDA, numpy and the operating systems say, in lower case
MEMORY_WORDS = (
    "out of memory",
    "outofmemoryerror",
    "defaultcpuallocator",
    "alloc_failed",
    "memoryerror",
    "cannot allocate memory",
    "bad_alloc",
    "paging file is too small",
)
GPU_WORDS = ("cuda", "cublas", "cudnn", "hip out of memory")
MISSING_PATTERN = re.compile(r"No module named '?(\w+)")
OURSELVES = "LiverTumorSegLib"
BROKEN_WORDS = (
    "importerror",
    "dll load failed",
    "error loading",  # a DLL of torch's
    "undefined symbol",
    "cannot open shared object file",
    "partially initialized module",
    "module 'cv2' has no attribute",
    "module 'torch' has no attribute",
)
KILLED_CODES = (9, 137, -9)  # by the system, on Linux and macOS, most often for want of memory
LAUNCHER_CODE = 1  # whatever the Python behind Slicer's launcher fell by
NO_MEMORY_CODES = (0xC0000017, 0xC000012D)  # of Windows
MISSING_DLL_CODES = (0xC0000135, 0xC0000142)


@dataclass(frozen=True)
class JobFailure:
    """Why there is no result.

    kind: one of KINDS. sentence: for the user. log: what the child said, for a report of the fault.
    """

    kind: str
    sentence: str
    log: str


def explainExit(code: int, crashed: bool, event: dict[str, Any] | None, log: str) -> JobFailure:
    """A run that ended without a result.

    event: its ``failed`` event, if it sent one. log: the last lines of its output.
    """
    if event is not None:
        kind, sentence = _explainEvent(str(event.get("kind")), str(event.get("text")), log)
    else:
        kind, sentence = _explainSilent(code, crashed, log)
    return JobFailure(kind, sentence, log)


def memorySentence(log: str = "") -> str:
    """What to do when memory ran out; by ``log``, of the GPU or the computer."""
    text = log.lower()
    if any(word in text for word in GPU_WORDS):
        return _(
            "The memory of the GPU ran out; choose the CPU as device, or close other programs."
        )
    return _("The memory ran out; close other programs and try again.")


def packagesSentence(log: str) -> str:
    """What to do when the child process could not import a package, which ``log`` names."""
    missing = MISSING_PATTERN.search(log)
    if missing is None:
        return _(
            "A Python package is installed in part or does not fit; open Environment and click"
            " Install, then restart Slicer."
        )
    if missing[1] == OURSELVES:
        return _("Files of LiverTumorSeg are missing; install the extension again.")
    return _("The Python package {name} is missing; open Environment and click Install.").format(
        name=missing[1]
    )


def _explainEvent(kind: str, text: str, log: str) -> tuple[str, str]:
    """The sentence is the child's own where it names what the user can change."""
    if kind in ("input", "model"):
        return kind, text
    if kind == "memory":
        return kind, text
    if kind == "cancelled":
        return "crash", _("The run was ended from outside Slicer; click Segment to start it again.")
    return _explainLog(f"{text}\n{log}") or ("crash", text)


def _explainSilent(code: int, crashed: bool, log: str) -> tuple[str, str]:
    if code == EXIT_NOT_STARTED:
        return "environment", notStartedSentence()
    if explained := _explainLog(log):
        return explained
    number = code % 2**32
    isKilled = code in KILLED_CODES or (crashed and code == LAUNCHER_CODE and os.name == "posix")
    if number in NO_MEMORY_CODES or isKilled:
        return "memory", _(
            "The system ended the run, most often because memory ran out; close other programs and"
            " try again."
        )
    if number in MISSING_DLL_CODES:
        return "environment", packagesSentence("dll load failed")
    if crashed or code != 0:
        return "crash", _(
            "The run stopped unexpectedly (code {code}), perhaps for want of memory; close other"
            " programs and try again, or send the log to the developers."
        ).format(code=code)
    return "protocol", protocolSentence()


def protocolSentence() -> str:
    """The child ended well and left no result that can be read."""
    return _(
        "The run ended without a result that can be read; try again, and send the log to the"
        " developers if that happens twice."
    )


def notStartedSentence() -> str:
    """There is no Python to start."""
    return _("Slicer's own Python (PythonSlicer) could not be started; install Slicer again.")


def _explainLog(log: str) -> tuple[str, str] | None:
    """From the error messages of libraries; None when none of them is known."""
    text = log.lower()
    if any(word in text for word in MEMORY_WORDS):
        return "memory", memorySentence(log)
    if MISSING_PATTERN.search(log) or any(word in text for word in BROKEN_WORDS):
        return "environment", packagesSentence(log)
    return None
