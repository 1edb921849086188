"""Every way in which a run can fail, and the sentence for each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runner import Desk, FakeRunner
from LiverTumorSegSlicer.run import job as job_module
from LiverTumorSegSlicer.run.process import EXIT_NOT_STARTED
from looped import looped

TORCH_MISSING = "ModuleNotFoundError: No module named 'torch'"
CUDA_FULL = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@looped(
    ("kind", "text", "expected", "words"),
    [
        ("input", "The volume holds one slice only; give the whole 3D scan.", "input", "one slice"),
        ("model", "The file is damaged. Get it again.", "model", "damaged"),
        ("memory", "The memory does not hold this CT; close other programs.", "memory", "close"),
        (
            "fault",
            f"LiverTumorSeg failed ({TORCH_MISSING!r}); please report it.",
            "environment",
            "missing",
        ),
        ("fault", f"LiverTumorSeg failed ({CUDA_FULL!r}); please report it.", "memory", "GPU"),
        ("fault", "LiverTumorSeg failed (KeyError('x')); please report it.", "crash", "report"),
        ("cancelled", "Cancelled; nothing was written.", "crash", "outside"),
    ],
)
def test_what_the_child_refuses_is_told(
    tmp_path: Path, kind: str, text: str, expected: str, words: str
) -> None:
    desk = Desk(tmp_path)
    child = desk.start()
    child.begin()
    child.say("failed", kind=kind, text=text)
    child.exit(2)
    failure = desk.failure()
    assert failure.kind == expected
    assert words in failure.sentence
    assert text in failure.log


@looped(
    ("lastWords", "kind", "words"),
    [
        (CUDA_FULL, "memory", "GPU"),
        (
            "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate",
            "memory",
            "memory ran",
        ),
        ("numpy.core._exceptions._ArrayMemoryError: Unable to allocate", "memory", "memory ran"),
        (TORCH_MISSING, "environment", "torch is missing"),
        ("python-real: No module named LiverTumorSegLib", "environment", "install the extension"),
        ("ImportError: DLL load failed while importing _C", "environment", "in part"),
        ("OSError: [WinError 126] Error loading c10.dll", "environment", "in part"),
        ("ImportError: libcudart.so.12: cannot open shared object file", "environment", "in part"),
        ("AttributeError: module 'cv2' has no attribute 'createCLAHE'", "environment", "in part"),
        ("Segmentation fault (core dumped)", "crash", "code 1"),
        ("", "crash", "code 1"),
    ],
)
def test_a_child_that_falls_is_explained_by_its_last_words(
    tmp_path: Path, lastWords: str, kind: str, words: str
) -> None:
    desk = Desk(tmp_path)
    child = desk.start()
    child.begin()
    child.complain(lastWords)
    child.exit(1)
    failure = desk.failure()
    assert failure.kind == kind
    assert words in failure.sentence
    assert lastWords in failure.log


@looped(
    ("code", "crashed", "kind"),
    [
        (9, True, "memory"),  # Linux's way to make room
        (137, False, "memory"),
        (1, True, "memory"),  # behind Slicer's launcher, whatever it was
        (1, False, "crash"),
        (11, True, "crash"),
        (0xC0000005, True, "crash"),
        (-1073741801, True, "memory"),  # 0xC0000017 as Qt hands it on
        (-1073741515, False, "environment"),  # 0xC0000135
        (EXIT_NOT_STARTED, False, "environment"),
        (0, False, "protocol"),
    ],
)
def test_a_child_that_falls_in_silence_is_explained_by_its_code(
    tmp_path: Path, code: int, crashed: bool, kind: str
) -> None:
    desk = Desk(tmp_path)
    child = desk.start()
    child.begin()
    child.exit(code, crashed=crashed)
    assert desk.failure().kind == kind


def test_a_child_that_speaks_another_language_is_a_fault(desk: Desk) -> None:
    child = desk.start()
    child.print('{"event": "finished", "summary"')
    child.exit(0)
    failure = desk.failure()
    assert failure.kind == "protocol"
    assert "summary" in failure.log


@looped("fault", ["no labels", "other shape", "cut", "bad record", "no record"])
def test_a_result_that_cannot_be_read_is_a_fault(tmp_path: Path, fault: str) -> None:
    desk = Desk(tmp_path)
    child = desk.start()
    child.answer(np.zeros((2, 2, 2), np.uint8) if fault == "other shape" else None)
    labels, record = child.folder / "labels.npy", child.folder / "record.json"
    if fault == "no labels":
        labels.unlink()
    elif fault == "cut":
        labels.write_bytes(labels.read_bytes()[:200])
    elif fault == "bad record":
        record.write_text("{")
    elif fault == "no record":
        record.unlink()
    child.exit()
    failure = desk.failure()
    assert failure.kind == "protocol"
    assert "ValueError" in failure.log


def test_labels_that_memory_does_not_hold(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(job_module, "read_answer", full)
    child = desk.start()
    child.answer()
    child.exit()
    assert desk.failure().kind == "memory"


def test_no_python_to_start(tmp_path: Path) -> None:
    desk = Desk(tmp_path, FakeRunner(FileNotFoundError("PythonSlicer was not found.")))
    desk.job.start()
    failure = desk.failure()
    assert failure.kind == "environment"
    assert "PythonSlicer" in failure.sentence
    desk.job.cancel()
    assert desk.runner.calls == []


def test_a_temporary_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    desk = Desk(tmp_path / "file")
    desk.job.start()
    desk.clock.advanceUntil(lambda: bool(desk.ends))
    (failure,) = desk.ends
    assert failure.kind == "environment"
    assert "another folder" in failure.sentence
    assert not desk.runner.arguments


def test_a_full_disk_is_seen_before_anything_is_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(desk.temporaryFolder)._replace(free=3_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    desk.job.start()
    failure = desk.failure()
    assert failure.kind == "environment"
    assert "3 MB" in failure.sentence


def test_a_disk_that_fills_up_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job_module, "write_request", full)
    desk.job.start()
    assert "No space left" in desk.failure().sentence
