"""Folders of runs whose Slicer has died are removed, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import slicer
from LiverTumorSegSlicer.run.folder import makeJobFolder, removeJobFolder, temporaryFolder
from LiverTumorSegSlicer.run.job import removeLeftovers


@pytest.fixture
def deadPid() -> int:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


def filled(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ct.npy").write_bytes(b"x")
    return folder


def test_only_folders_of_the_dead_are_removed(tmp_path: Path, deadPid: int) -> None:
    dead = [filled(tmp_path / f"LiverTumorSeg-{deadPid}-abc{n}") for n in range(2)]
    kept = [
        filled(makeJobFolder(tmp_path)),
        filled(tmp_path / f"LiverTumorSeg-{os.getppid()}-other"),
        filled(tmp_path / "LiverTumorSeg-result"),
        filled(tmp_path / f"LiverTumorSeg-{deadPid}"),
        filled(tmp_path / f"my-LiverTumorSeg-{deadPid}-abc"),
    ]
    (tmp_path / f"LiverTumorSeg-{deadPid}-file").write_text("a file")
    assert removeLeftovers(tmp_path) == 2
    assert not any(folder.exists() for folder in dead)
    assert all((folder / "ct.npy").exists() for folder in kept)
    assert (tmp_path / f"LiverTumorSeg-{deadPid}-file").exists()
    assert removeLeftovers(tmp_path) == 0


def test_no_folder_no_leftovers(tmp_path: Path) -> None:
    assert removeLeftovers(tmp_path / "none") == 0


def test_the_folder_is_made_in_slicers_own(scene: object) -> None:
    folder = makeJobFolder(temporaryFolder())
    assert folder.parent == Path(slicer.app.temporaryPath)
    assert folder.name.startswith(f"LiverTumorSeg-{os.getpid()}-")
    removeJobFolder(filled(folder))
    assert not folder.exists()


def test_two_runs_have_two_folders(tmp_path: Path) -> None:
    assert makeJobFolder(tmp_path / "new") != makeJobFolder(tmp_path / "new")
