"""What a run says: a bar that leaves no garbage, a quiet log, one JSON object a line."""

from __future__ import annotations

import io
import json
import os
import shutil
from types import SimpleNamespace

import pytest
from LiverTumorSegLib.cli import progress as events
from LiverTumorSegLib.cli.progress import Console, JsonLines, TimeLeft
from looped import looped

SENTENCE = "ct.nii.gz is cut off or damaged; copy or export it again."


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(events, "time", clock)
    return clock


class Screen(io.StringIO):
    """A terminal: what is seen after carriage returns have written over what was there."""

    def isatty(self) -> bool:
        return True

    def clear(self) -> None:
        self.seek(0)
        self.truncate()

    def lines(self) -> list[str]:
        return [self._seen(line) for line in self.getvalue().split("\n")]

    @staticmethod
    def _seen(line: str) -> str:
        seen = ""
        for part in line.split("\r"):
            seen = part + seen[len(part) :]
        return seen.rstrip()


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    # pytest changes sys.stderr itself between here and the test
    monkeypatch.setattr(events, "sys", SimpleNamespace(stderr=screen))
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    return screen


# A terminal


def test_a_bar_stays_on_its_line(screen: Screen, clock: Clock) -> None:
    console = Console()
    console.started()
    for step in range(11):
        clock.now += 10
        phrase = "a long phrase about the liver" if step % 2 else "short"
        console.progress(step / 10, phrase)
        (seen,) = screen.lines()
        assert phrase in seen
        assert f"{10 * step} %" in seen
        assert seen.count("#") == round(2.8 * step)
        assert ("left" in seen) == (0 < step < 10)
        assert (step % 2 == 1) == ("long" in seen)  # nothing of the line before


def test_a_narrow_terminal_is_never_wrapped(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((40, 24)))
    console = Console()
    console.progress(0.5, "Slice 123 of about 456")
    assert len(screen.lines()[0]) < 40


@looped("ending", ["finished", "failed", "warning"])
def test_the_bar_is_wiped_before_anything_else_is_said(
    screen: Screen, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    screen.clear()
    console = Console()
    console.progress(0.5, "Slice 1 of about 2")
    if ending == "finished":
        console.finished("Liver 1500 mL", {})
        assert screen.lines() == [""]
        assert capsys.readouterr().out == "Liver 1500 mL\n"
        return
    if ending == "failed":
        console.failed("input", SENTENCE)
    else:
        console.warning(SENTENCE)
    seen, rest = screen.lines()
    assert seen == ("" if ending == "failed" else "Warning: ") + SENTENCE
    assert rest == ""


def test_the_bar_goes_on_after_a_warning(screen: Screen) -> None:
    console = Console()
    console.progress(0.1, "one")
    console.warning("Look twice.")
    console.progress(0.2, "two")
    assert screen.lines()[0] == "Warning: Look twice."
    assert screen.lines()[1].endswith("20 %  two")


def test_a_failure_is_one_line_whatever_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    Console().failed("model", "The net cannot be built:\n\tsize mismatch\nUse another.")
    assert capsys.readouterr().err == "The net cannot be built: \tsize mismatch Use another.\n"


# A log file


def test_a_log_gets_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.started()
    console.progress(0.0, "Reading the CT")
    console.progress(0.0, "Loading the model")
    assert capsys.readouterr() == ("", "")  # so that a refusal is one sentence
    for step in range(1, 201):
        console.progress(step / 200, f"Slice {step} of about 200")
    console.finished("done", {})
    out, err = capsys.readouterr()
    assert out == "done\n"
    assert [line.split("]")[1].split("%")[0].strip() for line in err.splitlines()] == [
        "25",
        "50",
        "75",
        "100",
    ]
    assert "\r" not in err


def test_a_second_run_is_logged_too(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    for _ in range(2):
        console.started()
        console.progress(1.0, "Done")
        assert "100 %" in capsys.readouterr().err


# JSON lines


def test_each_event_is_one_line_of_json(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    lines = JsonLines()
    lines.started()
    lines.progress(0.0, "Reading")
    clock.now += 60
    lines.progress(0.25, "Slice 1")
    lines.warning("Two\nlines \udcff")
    lines.finished("Liver", {"found_liver": True})
    lines.failed("input", SENTENCE)
    out, err = capsys.readouterr()
    assert err == ""
    assert out.isascii()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"event": "started", "pid": os.getpid()},
        {"event": "progress", "fraction": 0.0, "phrase": "Reading", "seconds_left": None},
        {"event": "progress", "fraction": 0.25, "phrase": "Slice 1", "seconds_left": 180.0},
        {"event": "warning", "text": "Two\nlines \udcff"},
        {"event": "finished", "summary": "Liver", "found_liver": True},
        {"event": "failed", "kind": "input", "text": SENTENCE},
    ]


def test_of_many_cases_json_lines_name_the_number(capsys: pytest.CaptureFixture[str]) -> None:
    lines = JsonLines()
    lines.progress(0.5, "Case 2 of 4: Slice 1", number=2, cases=4)
    lines.warning("p1: Look twice.", number=2)
    lines.case_ended("2/4 p1: done", {"number": 2, "cases": 4, "case": "p1", "lesions": None})
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {
            **{"event": "progress", "fraction": 0.5, "phrase": "Case 2 of 4: Slice 1"},
            **{"seconds_left": None, "number": 2, "cases": 4},
        },
        {"event": "warning", "text": "p1: Look twice.", "number": 2},
        {"event": "case", "number": 2, "cases": 4, "case": "p1", "lesions": None},
    ]


def test_a_case_that_ends_is_a_line_above_the_bar(
    screen: Screen, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console()
    console.progress(0.5, "Case 2 of 4: Slice 1", number=2, cases=4)
    console.case_ended("2/4 p1: done", {})
    assert screen.lines() == [""]
    assert capsys.readouterr().out == "2/4 p1: done\n"


# Time left


def test_time_left_counts_down_without_loading_and_is_not_said_too_early(clock: Clock) -> None:
    # time left of a steady run counts down
    left = TimeLeft()
    for percent in range(5, 101, 5):
        clock.now = 1000 + 2.0 * percent
        assert left(percent / 100) == pytest.approx(200 - 2.0 * percent)

    # loading does not count
    left = TimeLeft()
    clock.now += 500
    assert left(0.0) is None
    clock.now += 10
    assert left(0.5) == pytest.approx(10)

    # too early to say
    left = TimeLeft()
    clock.now += 0.5
    assert left(0.5) is None  # after half a second
    clock.now += 60
    assert left(0.001) is None  # from a thousandth


@looped(
    ("seconds", "said"),
    [(0.2, "1 s"), (59.6, "60 s"), (89, "89 s"), (95, "2 min"), (600, "10 min")],
)
def test_time_in_words(screen: Screen, clock: Clock, seconds: float, said: str) -> None:
    screen.clear()
    console = Console()
    clock.now += 100  # half of it is done
    console.progress(100 / (100 + seconds), "on")
    assert screen.lines()[0].endswith(f", {said} left")
