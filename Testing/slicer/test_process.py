"""The real QProcess: whole lines, the end of the process, and no launcher's child left behind."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import slicer
from LiverTumorSegSlicer.run import process
from LiverTumorSegSlicer.run.process import (
    EXIT_NOT_STARTED,
    LineBuffer,
    ProcessRunner,
    findPythonSlicer,
)
from looped import looped
from panel_desk import waitUntil


class Heard:
    """All that a process said, and how it ended."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.ends: list[tuple[int, bool]] = []

    def start(self, runner: ProcessRunner, *arguments: str) -> Heard:
        runner.start(
            list(arguments),
            self.lines.append,
            self.errors.append,
            lambda code, crashed: self.ends.append((code, crashed)),
        )
        return self

    def waitForEnd(self) -> tuple[int, bool]:
        waitUntil(lambda: bool(self.ends))
        (end,) = self.ends
        return end


def isAlive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture
def runner(scene: Any) -> Any:
    runner = ProcessRunner()
    yield runner
    runner.kill()


@pytest.fixture
def launcher(tmp_path: Path) -> str:
    """As Slicer's: it starts Python as its child, waits for it and passes no signal on."""
    script = tmp_path / "launcher"
    script.write_text(f'#!/bin/sh\n"{sys.executable}" "$@" <&0 &\nwait $!\n')
    script.chmod(0o755)
    return str(script)


# --- lines ---------------------------------------------------------------------------------------


@looped("size", [1, 2, 3, 7, 1000])
def test_lines_are_whole_however_they_were_cut(size: int) -> None:
    text = 'eins\r\n\n{"phrase": "Grüße, 肝臓 🫀"}\nend'
    data = text.encode()
    buffer, lines = LineBuffer(), []
    for start in range(0, len(data), size):
        lines += buffer.add(data[start : start + size])
    lines += buffer.end()
    assert lines == ["eins", "", '{"phrase": "Grüße, 肝臓 🫀"}', "end"]


def test_bytes_that_are_no_text_do_no_harm() -> None:
    buffer = LineBuffer()
    assert buffer.add(b"a\xff\xfeb\n\xe4") == ["a\ufffd\ufffdb"]
    assert buffer.end() == ["\ufffd"]
    assert buffer.end() == []


def test_partial_lines_of_a_real_process(runner: ProcessRunner) -> None:
    program = (
        "import sys, time\n"
        "for part in ('{\"ev', 'ent\": 1}\\n{\"event', '\": 2}\\nlast'):\n"
        "    sys.stdout.write(part); sys.stdout.flush(); time.sleep(0.1)\n"
        "sys.stderr.write('complaint')"
    )
    heard = Heard().start(runner, "-c", program)
    assert heard.waitForEnd() == (0, False)
    assert heard.lines == ['{"event": 1}', '{"event": 2}', "last"]
    assert heard.errors == ["complaint"]


def test_much_output_is_heard_to_the_end(runner: ProcessRunner) -> None:
    program = "import sys\nfor n in range(20000): print(n)\nprint('x' * 300000)"
    heard = Heard().start(runner, "-c", program)
    assert heard.waitForEnd() == (0, False)
    assert heard.lines[:20000] == [str(n) for n in range(20000)]
    assert len(heard.lines[-1]) == 300_000


# --- surroundings --------------------------------------------------------------------------------


def test_the_child_finds_our_library_first_and_nothing_lies_in_its_way(
    runner: ProcessRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    program = "import os, sys, LiverTumorSegLib; print(*sys.path, os.getcwd(), sep='\\n')"
    heard = Heard().start(runner, "-c", program)
    assert heard.waitForEnd() == (0, False), heard.errors
    *paths, folder = heard.lines
    assert paths[:2] == [str(process.MODULE_FOLDER), "/somewhere/else"]
    assert os.path.samefile(folder, slicer.app.slicerHome)


def test_the_child_speaks_at_once(runner: ProcessRunner) -> None:
    heard = Heard().start(runner, "-c", "print('now'); import time; time.sleep(60)")
    waitUntil(lambda: heard.lines == ["now"])
    assert heard.ends == []


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 2, 130])
def test_the_exit_code_is_told(runner: ProcessRunner, code: int) -> None:
    heard = Heard().start(runner, "-c", f"raise SystemExit({code})")
    assert heard.waitForEnd() == (code, False)
    assert (runner.pid, runner.childPid) == (None, None)


def test_a_crash_is_told(runner: ProcessRunner) -> None:
    """Slicer's launcher stands between: it ends normally, and says so in words."""
    heard = Heard().start(runner, "-c", "import os; os.abort()")
    assert heard.waitForEnd() == (1, True)
    assert "exit abnormally" in heard.errors[-1]
    straight = ProcessRunner(sys.executable)
    assert Heard().start(straight, "-c", "import os; os.abort()").waitForEnd()[1] is True


def test_closing_the_input_reaches_the_child(runner: ProcessRunner) -> None:
    program = "import sys; print('ready', flush=True); sys.stdin.read(); print('closed')"
    heard = Heard().start(runner, "-c", program)
    waitUntil(lambda: heard.lines)
    runner.closeInput()
    assert heard.waitForEnd() == (0, False)
    assert heard.lines == ["ready", "closed"]


def test_no_python_slicer(scene: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert findPythonSlicer() is not None, "in Slicer's own folder"
    monkeypatch.setattr(process, "PYTHON_SLICER", "PythonNobody")
    assert findPythonSlicer() is None
    with pytest.raises(OSError, match="not found"):
        Heard().start(ProcessRunner(), "-c", "pass")


def test_a_program_that_cannot_be_started(scene: Any, tmp_path: Path) -> None:
    (tmp_path / "program").write_text("no program")
    heard = Heard().start(ProcessRunner(str(tmp_path / "program")), "-c", "pass")
    assert heard.waitForEnd() == (EXIT_NOT_STARTED, False)
    assert heard.errors


def test_ending_what_never_ran_is_nothing(scene: Any) -> None:
    runner = ProcessRunner()
    runner.closeInput()
    runner.terminate()
    runner.kill()
    assert runner.pid is None


SLEEPER = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"


def test_terminate_ends_the_launchers_child_and_the_launcher(scene: Any, launcher: str) -> None:
    runner = ProcessRunner(launcher)
    heard = Heard().start(runner, "-c", SLEEPER)
    waitUntil(lambda: heard.lines)
    child, parent = int(heard.lines[0]), runner.pid
    assert parent is not None
    assert child != parent
    runner.childPid = child
    runner.terminate()
    heard.waitForEnd()
    assert not isAlive(child)
    assert not isAlive(parent)


def test_kill_ends_a_child_that_does_not_listen(scene: Any, launcher: str) -> None:
    runner = ProcessRunner(launcher)
    heard = Heard().start(runner, "-c", DEAF)
    waitUntil(lambda: heard.lines)
    runner.childPid = child = int(heard.lines[0])
    runner.terminate()
    time.sleep(0.2)
    assert isAlive(child)
    runner.kill()
    heard.waitForEnd()
    waitUntil(lambda: not isAlive(child), 5)


def test_terminate_without_the_childs_number_ends_the_launcher(scene: Any, launcher: str) -> None:
    runner = ProcessRunner(launcher)
    heard = Heard().start(runner, "-c", "import sys; print('ready', flush=True); sys.stdin.read()")
    waitUntil(lambda: heard.lines)
    runner.terminate()
    heard.waitForEnd()
