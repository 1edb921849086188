"""Runs that end early, by a person, a program or a fault: nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from command_line import (
    ENGINE,
    PACKAGE_FOLDER,
    RESULTS,
    disks,
    run,
    save_ct,
    some_hu,
    start,
    tree,
)
from LiverTumorSegLib.inference.progress import Cancelled
from looped import looped


@looped("how", ["Ctrl-C", "cancel", "end", "swallowed"])
@looped("events", [[], ["--events"]])
def test_a_run_that_is_stopped_leaves_nothing(
    tmp_path: Path,
    ct: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    events: list[str],
) -> None:
    calls = iter(range(100))

    def stop(engine: Any, grays: Any) -> Any:
        if next(calls) < 3:
            return disks(engine, grays)
        if how == "swallowed":  # by a library that calls back into Python
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            return disks(engine, grays)
        if how == "end":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        raise KeyboardInterrupt if how == "Ctrl-C" else Cancelled

    monkeypatch.setattr(ENGINE, stop)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "seg.nii.gz").write_text("old")
    before, handler = tree(tmp_path), signal.getsignal(signal.SIGTERM)
    for target in ("new/result", "old"):
        calls = iter(range(100))
        command = ("segment", ct, "-o", tmp_path / target, "--model", model, "--overwrite")
        outcome = run(capsys, *command, *events)
        assert outcome.code == 130
        assert tree(tmp_path) == before
        if events:
            last = json.loads(outcome.out.splitlines()[-1])
            assert (last["event"], last["kind"]) == ("failed", "cancelled")
        else:
            assert outcome.out == ""
            assert outcome.err.splitlines()[-1] == "Cancelled; nothing was written."
    assert signal.getsignal(signal.SIGTERM) == handler


def test_ctrl_c_on_a_real_process(tmp_path: Path, model: Path) -> None:
    ct = save_ct(tmp_path / "ct.nii.gz", some_hu((32, 32, 500)))
    before = tree(tmp_path)
    options = ("--model", model, "--no-coarse-search", "--device", "cpu", "--events")
    with start("segment", ct, "-o", tmp_path / "a" / "result", *options) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("fraction", 0) > 0:
                break
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""
    assert json.loads(rest.splitlines()[-1])["kind"] == "cancelled"
    assert tree(tmp_path) == before


def test_a_reader_that_goes_away_ends_the_run(tmp_path: Path, model: Path) -> None:
    """As when the program that reads the events has died: no result, no error, no traceback."""
    ct = save_ct(tmp_path / "ct.nii.gz")
    before = tree(tmp_path)
    with start("segment", ct, "-o", tmp_path / "r", "--model", model, "--events") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (130, "")
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("no_picture")
def test_a_fault_of_the_program_is_said_and_shown(
    tmp_path: Path,
    ct: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fault(*args: object) -> None:
        raise RuntimeError("shapes do not agree")

    monkeypatch.setattr(ENGINE, fault)
    before = tree(tmp_path)
    with pytest.raises(RuntimeError):
        run(capsys, "segment", ct, "-o", tmp_path / "r", "--model", model, "--events")
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["kind"]) == ("failed", "fault")
    assert "report" in last["text"]
    assert tree(tmp_path) == before


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_closed_or_full_standard_streams_lose_no_result_and_end_in_no_traceback(
    tmp_path: Path, ct: Path, model: Path
) -> None:
    """As services, schedulers and full disks have them. Two runs that segment, for each is a start
    of the whole program; the rest only lists models."""
    program = f"{sys.executable} -m LiverTumorSegLib"
    run_it = f"{program} segment {ct} --model {model} --device cpu -o {tmp_path}"
    listed = f"{program} models list"
    for command, code, result in (
        (f"{listed} >&-", 0, None),
        (f"{listed} 2>&-", 0, None),
        (f"{listed} <&- >&- 2>&-", 0, None),
        (f"{listed} >/dev/full", 2, None),
        (f"{program} models verify no-such-model 2>/dev/full", 2, None),
        (f"{run_it}/closed <&- >&- 2>&-", 0, "closed"),
        (f"{run_it}/full >/dev/full", 2, "full"),
    ):
        done = subprocess.run(
            ["sh", "-c", command],
            env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, (command, done.stderr)
        assert "Traceback" not in done.stderr
        if ">/dev/full" in command and "2>" not in command:
            assert done.stderr.splitlines()[-1].startswith("Standard output cannot be written")
        if result:
            assert {p.name for p in (tmp_path / result).iterdir()} == RESULTS


def test_a_stop_while_the_command_line_is_read_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("LiverTumorSegLib.cli.main.build_parser", stop)
    outcome = run(capsys, "models", "list")
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.err == "Cancelled; nothing was written.\n"
