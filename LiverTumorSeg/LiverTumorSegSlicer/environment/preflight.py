"""What would stand in the way of an installation, found before it is agreed to: a verdict a line.

    Preflight().look(isTorchNeeded, onVerdicts)   # in some seconds; onVerdicts on the main thread

Whether the network lets pip through is asked of pip itself: only it knows the proxy, the
certificates and the mirror that this computer is set up for.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from LiverTumorSegSlicer.run.process import ProcessRunner, Runner

from .installer import (
    GIGABYTE,
    PACKAGES_BYTES,
    TORCH_BYTES,
    causeOf,
    packagesFolder,
    sentenceOf,
)
from .pip import runPip

RUN_BYTES = 2 * GIGABYTE  # of memory, for a CT of usual size
LONGEST_PATH = 260  # characters that Windows takes without a switch
LONGEST_INSIDE = 175  # the longest path in a wheel that we need: 171 characters, torch 2.13
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
ASKED_PACKAGE = "safetensors"  # small, pure enough to be everywhere, and needed anyway
SOON = ["--retries", "1", "--timeout", "8"]  # without a second try pip does not say what failed
NO_SUCH_COMMAND = "unknown command"


@dataclass(frozen=True)
class Verdict:
    """One thing that was looked at. sentence: how it is, and what to do where it is not good."""

    isGood: bool
    sentence: str

    def line(self) -> str:
        """The verdict as a line of a list."""
        mark = "\u2713" if self.isGood else "\u2717"  # a check mark, and a cross
        return f"{mark} {self.sentence}"


OnVerdicts = Callable[[tuple[Verdict, ...]], None]


class Preflight:
    """makeRunner: of the child processes that pip runs in."""

    def __init__(self, makeRunner: Callable[[], Runner] = ProcessRunner) -> None:
        self._makeRunner = makeRunner
        self._runner: Runner | None = None  # held while it runs

    def look(self, isTorchNeeded: bool, onVerdicts: OnVerdicts) -> None:
        """Look at this computer at once, at the network in a child; onVerdicts is called once."""
        verdicts = [*_diskVerdict(isTorchNeeded), *_memoryVerdict(), *_pathVerdict(isTorchNeeded)]
        places = [(_("Python packages"), [ASKED_PACKAGE])]
        if isTorchNeeded:
            places.append((_("PyTorch"), ["torch", "--index-url", TORCH_INDEX]))
        self._ask(places, verdicts, onVerdicts)

    def cleanUp(self) -> None:
        """End a child that is still asking."""
        if self._runner is not None:
            self._runner.closeInput()
            self._runner.kill()

    def _ask(
        self,
        places: list[tuple[str, list[str]]],
        verdicts: list[Verdict],
        onVerdicts: OnVerdicts,
    ) -> None:
        """The first place, then the others."""
        if not places:
            onVerdicts(tuple(verdicts))
            return
        (name, arguments), *others = places

        def end(isWell: bool, said: str) -> None:
            self._runner = None
            verdicts.extend(_networkVerdict(name, isWell, said))
            self._ask(others, verdicts, onVerdicts)

        self._runner = self._makeRunner()
        runPip(self._runner, ["index", "versions", *SOON, *arguments], end)


def _networkVerdict(name: str, isWell: bool, said: str) -> list[Verdict]:
    if isWell:
        return [Verdict(True, _("{name} can be downloaded.").format(name=name))]
    if NO_SUCH_COMMAND in said:  # a pip before 21.2 cannot be asked
        return []
    sentence = _("{name} cannot be downloaded: {reason}")
    return [Verdict(False, sentence.format(name=name, reason=sentenceOf(causeOf(said))))]


def _diskVerdict(isTorchNeeded: bool) -> list[Verdict]:
    free = shutil.disk_usage(packagesFolder()).free
    needed = PACKAGES_BYTES + isTorchNeeded * TORCH_BYTES
    sentence = _("The disk of Slicer has {free} GB free, {needed} GB are needed.")
    return [Verdict(free >= needed, _gigabytes(sentence, free, needed))]


def _memoryVerdict() -> list[Verdict]:
    """None where the system does not say."""
    free = freeMemory()
    if free is None:
        return []
    if free >= RUN_BYTES:
        sentence = _("The memory has {free} GB free, a run takes about {needed} GB.")
    else:
        sentence = _(
            "The memory has {free} GB free and a run takes about {needed} GB; close other programs"
            " before you segment."
        )
    return [Verdict(free >= RUN_BYTES, _gigabytes(sentence, free, RUN_BYTES))]


def _gigabytes(sentence: str, free: int, needed: int) -> str:
    return sentence.format(free=f"{free / GIGABYTE:.1f}", needed=f"{needed / GIGABYTE:.1f}")


def _pathVerdict(isTorchNeeded: bool) -> list[Verdict]:
    """Of Windows only; elsewhere a path may be as long as it likes."""
    if sys.platform != "win32" or not isTorchNeeded:
        return []
    return [pathVerdict(packagesFolder(), _hasLongPaths())]


def pathVerdict(folder: Path, hasLongPaths: bool) -> Verdict:
    """Whether PyTorch's longest path fits below a folder on Windows."""
    length = len(str(folder)) + 1 + LONGEST_INSIDE
    if hasLongPaths or length <= LONGEST_PATH:
        return Verdict(True, _("Paths are short enough for Windows."))
    sentence = _(
        "Paths of {length} characters will be needed and Windows takes {most}; switch long paths on"
        " in Windows, or install Slicer in a folder with a shorter name."
    )
    return Verdict(False, sentence.format(length=length, most=LONGEST_PATH))


def freeMemory() -> int | None:
    """Bytes of memory that programs can still have; None where the system does not say."""
    if sys.platform == "win32":
        return _freeMemoryOfWindows()
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if "MemAvailable" in line)
    except (OSError, ValueError, StopIteration):
        pass
    try:  # macOS gives what is used for files back, and does not say how much that is
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


if sys.platform == "win32":
    import winreg

    class _MemoryStatus(ctypes.Structure):
        """MEMORYSTATUSEX of Windows."""

        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "pages", "freePages")),
            *((name, ctypes.c_ulonglong) for name in ("virtual", "freeVirtual", "extended")),
        )

    def _freeMemoryOfWindows() -> int | None:
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        isKnown = ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.free) if isKnown else None

    def _hasLongPaths() -> bool:
        place = r"SYSTEM\CurrentControlSet\Control\FileSystem"
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:
                return bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])
        except OSError:
            return False

else:

    def _freeMemoryOfWindows() -> int | None:
        return None

    def _hasLongPaths() -> bool:
        return True
