"""The private temporary folder of one run: it holds a patient's CT, and goes with the run."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from pathlib import Path

import slicer
from LiverTumorSegLib.files import is_alive

PREFIX = "LiverTumorSeg-"  # then Slicer's process number: a folder tells whether its run may live
NAME_PATTERN = re.compile(rf"{PREFIX}(\d+)-\w+")
REMOVAL_SECONDS = 5.0  # Windows keeps files that a process has open, for a moment after its end
RETRY_SECONDS = 0.2


def temporaryFolder() -> Path:
    """Slicer's temporary folder. On the main thread only."""
    return Path(slicer.app.temporaryPath)


def makeJobFolder(place: Path) -> Path:
    """A new folder that only this user may look into. ``OSError`` when it cannot be made."""
    place.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))


def removeJobFolder(folder: Path) -> None:
    """Delete it. In a thread, since hundreds of megabytes take a while."""
    end = time.monotonic() + REMOVAL_SECONDS
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or time.monotonic() > end:
            return  # what stays nevertheless is a leftover for the next start
        time.sleep(RETRY_SECONDS)


def removeLeftovers(place: Path | None = None) -> int:
    """Delete the folders of runs whose Slicer is no more; how many there were."""
    place = place or temporaryFolder()
    if not place.is_dir():
        return 0
    leftovers = [path for path in place.glob(f"{PREFIX}*") if _isLeftover(path)]
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)
    return len(leftovers)


def _isLeftover(path: Path) -> bool:
    match = NAME_PATTERN.fullmatch(path.name)
    return match is not None and path.is_dir() and not is_alive(int(match[1]))
