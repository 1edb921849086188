"""A run that is stopped: at once for the user, soon for the process, and without a trace."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from fake_runner import CHILD_PID, Desk
from LiverTumorSegSlicer.run import job as job_module


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_cancel_is_acknowledged_at_once(desk: Desk) -> None:
    child = desk.start()
    child.begin()
    assert desk.job.isRunning
    desk.job.cancel()
    assert desk.ends == ["cancelled"]
    assert not desk.job.isRunning
    assert child.calls == ["closeInput", "terminate"]
    assert child.childPid == CHILD_PID
    child.exit(130)
    assert desk.end() == "cancelled"
    desk.clock.advance(10_000)
    assert child.calls == ["closeInput", "terminate"]


def test_a_child_that_does_not_listen_is_killed(desk: Desk) -> None:
    child = desk.start()
    child.begin()
    desk.job.cancel()
    desk.clock.advance(2900)
    assert "kill" not in child.calls
    desk.clock.advance(200)
    assert child.calls[-1] == "kill"
    child.exit(9, crashed=True)
    assert desk.end() == "cancelled"


def test_cancel_before_the_child_has_told_its_number(desk: Desk) -> None:
    child = desk.start()
    desk.job.cancel()
    child.begin()  # it was on its way
    assert child.childPid == CHILD_PID
    assert child.calls == ["closeInput", "terminate", "terminate"]
    child.exit(130)
    assert desk.end() == "cancelled"


def test_cancel_while_the_ct_is_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, goOn = threading.Event(), threading.Event()

    def slowly(folder: Path, hu: Any, affine: Any, between: Any) -> None:
        (folder / "ct.npy").write_bytes(b"half")
        writing.set()
        goOn.wait(10)
        between()
        raise AssertionError("nobody wants the rest")

    monkeypatch.setattr(job_module, "write_request", slowly)
    desk.job.start()
    writing.wait(10)
    desk.job.cancel()
    assert desk.ends == ["cancelled"]
    goOn.set()
    assert desk.end() == "cancelled"
    assert not desk.runner.arguments, "no process was started"


def test_cancel_while_the_labels_are_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, goOn = threading.Event(), threading.Event()
    read = job_module.read_answer

    def slowly(*arguments: Any) -> Any:
        reading.set()
        goOn.wait(10)
        return read(*arguments)

    monkeypatch.setattr(job_module, "read_answer", slowly)
    child = desk.start()
    child.answer()
    child.exit()
    reading.wait(10)
    desk.job.cancel()
    goOn.set()
    assert desk.end() == "cancelled"


def test_cancel_after_the_end_is_nothing(desk: Desk) -> None:
    child = desk.start()
    child.answer()
    child.exit()
    desk.result()
    desk.job.cancel()
    assert len(desk.ends) == 1
    assert child.calls == []


def test_cancel_before_the_start_is_nothing(desk: Desk) -> None:
    desk.job.cancel()
    assert desk.ends == []


def test_a_result_that_comes_after_cancel_is_dropped(desk: Desk) -> None:
    child = desk.start()
    desk.job.cancel()
    child.say("progress", fraction=0.9, phrase="late", seconds_left=1)
    child.answer()
    child.exit()
    assert desk.end() == "cancelled"
    assert all(phrase != "late" for _, phrase, _ in desk.progress)


def test_cancel_and_run_again_at_once(tmp_path: Path) -> None:
    first, second = Desk(tmp_path), Desk(tmp_path)
    dying = first.start()
    first.job.cancel()
    living = second.start()
    assert dying.folder != living.folder
    dying.exit(130)
    first.clock.advanceUntil(lambda: not dying.folder.exists())
    assert living.folder.exists()
    living.answer()
    living.exit()
    second.result()
