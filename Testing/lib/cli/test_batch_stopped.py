"""Batches that are stopped, killed or started twice: whole results stay, and the next goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import ENGINE, RESULTS, disks, rows_of, run, save_ct, some_hu, start, tree
from LiverTumorSegLib.cli.batch_summary import TABLES
from LiverTumorSegLib.inference.progress import Cancelled
from looped import looped

LIKE_A_RUN = ("--device", "cpu", "--no-coarse-search")
GOES_ON = "Cancelled; finished cases stay, and the same command goes on from here."


@looped("how", [KeyboardInterrupt, Cancelled])
@looped("events", [[], ["--events"]])
def test_a_stopped_batch_keeps_what_is_done(
    batch: Callable[..., Any],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: type[BaseException],
    events: list[str],
) -> None:
    """The table too, though it was to be written later only: the disk was slow, say."""
    calls = iter(range(1000))

    def stop(engine: Any, grays: Any) -> Any:
        if next(calls) >= 13:  # ten slices a case
            raise how
        return disks(engine, grays)

    monkeypatch.setattr(ENGINE, stop)
    monkeypatch.setattr("LiverTumorSegLib.cli.batch.SUMMARY_PAUSE", 1e9)
    outcome = batch(*events)
    assert outcome.code == 130
    assert {path.name for path in out.iterdir()} == {"one", "summary.csv"}
    assert [(row["case"], row["status"]) for row in rows_of(out)] == [("one", "done")]
    if events:
        last = json.loads(outcome.out.splitlines()[-1])
        assert last == {"event": "failed", "kind": "cancelled", "text": GOES_ON}
    else:
        assert outcome.err.splitlines()[-1] == GOES_ON
    before = tree(out / "one")
    monkeypatch.setattr(ENGINE, disks)
    assert batch().code == 0
    assert tree(out / "one") == before
    assert [row["status"] for row in rows_of(out)] == ["skipped", "done"]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three CTs, the middle one taking long."""
    folder = tmp_path / "cts"
    folder.mkdir()
    for name, slices in (("a", 6), ("b", 400), ("c", 6)):
        save_ct(folder / f"{name}.nii.gz", some_hu((32, 32, slices)))
    return folder


def events_of(process: subprocess.Popen[str]) -> Iterator[Any]:
    assert process.stdout is not None
    yield from map(json.loads, process.stdout)


def wait_for_a_slice(process: subprocess.Popen[str], number: int) -> None:
    for event in events_of(process):
        if event.get("number") == number and "Slice" in event.get("phrase", ""):
            return
    pytest.fail("the batch ended too early")


def whole_cases(out: Path) -> set[str]:
    cases = {path for path in out.iterdir() if path.is_dir() and not path.name.startswith(".")}
    for case in cases:
        assert {path.name for path in case.iterdir()} == {*RESULTS, "batch.json"}
    return {case.name for case in cases}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.usefixtures("no_picture")
def test_a_process_that_is_killed_in_the_midst(
    three: Path, out: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("batch", three, out, "--model", model, *LIKE_A_RUN, "--events")
    with start(*command) as process:
        wait_for_a_slice(process, 2)
        process.kill()
    assert whole_cases(out) == {"a"}
    assert [(row["case"], row["status"]) for row in rows_of(out)] == [("a", "done")]
    before = tree(out / "a")
    save_ct(three / "b.nii.gz", some_hu((32, 32, 6)))  # short now, so that the rest is quick
    assert run(capsys, *command).code == 0
    assert {path.name for path in out.iterdir()} == {"a", "b", "c", *TABLES}
    assert whole_cases(out) == {"a", "b", "c"}
    assert tree(out / "a") == before
    assert [(row["case"], row["status"]) for row in rows_of(out)] == [
        *(("a", "skipped"), ("b", "done"), ("c", "done"))
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_two_processes_at_once(
    three: Path, out: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second is refused in one sentence, and the first does not notice, until it is ended."""
    command = ("batch", three, out, "--model", model, *LIKE_A_RUN, "--only", "b*")
    with start(*command, "--events") as first:
        wait_for_a_slice(first, 1)
        second = run(capsys, *command)
        assert (second.code, second.out) == (2, "")
        assert "Another batch is writing to out" in second.err
        assert len(second.err.splitlines()) == 1
        wait_for_a_slice(first, 1)  # it goes on
        first.terminate()
        rest, errors = first.communicate(timeout=60)
    assert (first.returncode, errors) == (130, "")
    assert json.loads(rest.splitlines()[-1])["text"] == GOES_ON
    assert {path.name for path in out.iterdir()} == {"summary.csv"}


def test_a_reader_that_goes_away_ends_the_batch(three: Path, out: Path, model: Path) -> None:
    """No case fails for it, and nothing unfinished is left."""
    command = ("batch", three, out, "--model", model, *LIKE_A_RUN, "--events", "--only", "b*")
    with start(*command) as process:
        wait_for_a_slice(process, 1)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (130, "")
    assert {path.name for path in out.iterdir()} == {"summary.csv"}
    assert rows_of(out) == []
