"""A command of training that cannot go on ends with 2 and one sentence, whichever it is."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from LiverTumorSegLib.model.spec import BundleError
from looped import looped

from training import command

CALLS = {
    "check": ["{}/none"],
    "split": ["{}/none", "-o", "{}/new.json"],
    "prepare": ["{}/none", "-o", "{}/new"],
    "train": ["{}/none", "-o", "{}/new"],
    "liver_masks": ["{}/none", "-o", "{}/new", "--final", "{}/none.safetensors", "--folds", "2"],
    "tune": ["{}/none.safetensors", "{}/none", "-o", "{}/new"],
    "export": ["{}/none", "-o", "{}/new", "--name", "mine"],
    "evaluate": ["{}/none.safetensors", "{}/none", "-o", "{}/new"],
    "report": ["{}/none"],
}


@looped("name", CALLS)
def test_input_that_is_not_there_is_said_on_one_line_and_leaves_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(f"training.{name}").main
    assert main([word.format(tmp_path) for word in CALLS[name]]) == 2
    said = capsys.readouterr().err.strip()
    assert said.endswith(".")
    assert "\n" not in said
    assert not list(tmp_path.iterdir())


@looped("name", CALLS)
def test_a_command_that_is_stopped_says_so_on_one_line_and_ends_with_130(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    assert importlib.import_module(f"training.{name}").main([]) == 130
    assert capsys.readouterr().err == "Cancelled; no file is left half-written.\n"


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_ctrl_c_while_several_processes_prepare_cases_shows_no_traceback(tmp_path: Path) -> None:
    """A terminal sends it to all of them. A shell in whose background tests run ignores it."""
    out = tmp_path / "prepared"
    options = ["--phantoms", "50", "--workers", "2", "--size-px", "64"]
    started = subprocess.Popen(
        [sys.executable, "-m", "training.prepare", "-o", out, *options],
        env={**os.environ, "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"},
        cwd=Path(command.__file__).parents[1],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    with started as process:
        while process.poll() is None and not list(out.glob("*/case.json")):
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == "Cancelled; no file is left half-written.\n"
    assert process.returncode == 130
    assert 1 <= len(list(out.glob("*/case.json"))) < 50
    assert not (out / "manifest.json").exists()


def test_every_command_has_its_call_here() -> None:
    folder = Path(command.__file__).parent
    with_a_door = {p.stem for p in folder.glob("*.py") if "\ndef main(" in p.read_text()}
    assert with_a_door == set(CALLS)
    assert len(CALLS) == 9


def test_what_work_returns_is_the_exit_code_and_only_expected_errors_are_caught(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = command.parser("check", None)

    def failing(error: Exception) -> int:
        def work(_: object) -> None:
            raise error

        return command.run(plain, work, [])

    assert command.run(plain, lambda _: None, []) == 0
    assert command.run(plain, lambda _: 2, []) == 2
    for error in (ValueError("It is so."), BundleError("It is so."), OSError("It is so.")):
        assert failing(error) == 2
        assert capsys.readouterr().err == "It is so.\n"
    assert failing(FileNotFoundError(2, "No such file", "/home/somebody/scan.nii")) == 2
    assert capsys.readouterr().err == "scan.nii: No such file.\n"
    with pytest.raises(KeyError):
        failing(KeyError("a fault of the program"))
