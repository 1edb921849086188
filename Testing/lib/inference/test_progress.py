"""Progress that one can believe, of a fast network that is no network and by a clock that a test
sets: tall, short and no livers on 60 to 1,500 slices."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from LiverTumorSegLib.cli import progress as cli_progress
from LiverTumorSegLib.cli.progress import Console, JsonLines
from LiverTumorSegLib.inference.coarse_search import CoarseSearch
from LiverTumorSegLib.inference.progress import subrange
from looped import looped

GRIDS = [(60, 5.0), (100, 2.5), (240, 1.25), (300, 3.0), (700, 1.0), (1500, 0.6), (1500, 1.0)]
SECONDS_A_SLICE = 0.4
NETWORK = 0.9  # of a run's progress, about


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(cli_progress, "time", clock)
    return clock


def livers(count: int, spacing_mm: float) -> Iterator[tuple[int, int]]:
    """First slice and the one after the last: none, short and tall ones, also cut by the ends."""
    yield 0, 0
    for height_mm in (30, 90, 170, 260):
        height = round(height_mm / spacing_mm)
        for first in (0, count // 7, count // 3, count - height):
            yield max(0, first), min(count, first + height)
    yield 0, count


def run(plan: CoarseSearch, liver: range, thin: int) -> Iterator[tuple[float, str, int]]:
    """Progress, phrase and the expected total after every slice; the liver's ends are thin."""
    wide = range(liver.start - thin, liver.stop + thin) if liver else liver
    for group in plan.groups():
        for k in group:
            plan.record(k, hit=k in liver, empty=k not in wide)
            yield plan.fraction, plan.phrase, plan.expected


@looped(("count", "spacing_mm"), GRIDS)
@looped("coarse_search", [True, False])
def test_the_bar_moves_with_every_slice_and_the_time_left_hardly_rises(
    count: int,
    spacing_mm: float,
    coarse_search: bool,
    clock: Clock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for first, stop in livers(count, spacing_mm):
        plan = CoarseSearch(count, spacing_mm, coarse=coarse_search)
        coarse = len(range(0, count, plan.step))
        lines = JsonLines()
        lines.started()
        tell = subrange(lines.progress, 0.0, NETWORK)
        tell(0.0, "Looking for the liver")
        expected = []
        for n, (fraction, phrase, total) in enumerate(run(plan, range(first, stop), 2), start=1):
            clock.now += SECONDS_A_SLICE
            tell(fraction, phrase)
            searching = coarse_search and n <= coarse
            assert phrase == (
                f"Looking for the liver, slice {n} of {coarse}"
                if searching
                else f"Slice {n} of about {total}"
            )
            if not searching:
                expected.append(total)
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()[2:]]
        fractions = [event["fraction"] for event in told]
        assert all(
            later > earlier for earlier, later in zip(fractions, fractions[3:], strict=False)
        )
        assert fractions == sorted(fractions)
        assert all(total <= 1.1 * expected[0] for total in expected)
        assert not expected or expected[-1] <= 1.35 * len(told)
        left = [event["seconds_left"] for event in told if event["seconds_left"] is not None]
        assert all(later <= 1.25 * earlier for earlier, later in pairwise(left))


def test_a_slice_that_takes_long_raises_the_time_left_little_by_little(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = JsonLines()
    lines.started()
    lines.progress(0.0, "Loading")
    for n in range(1, 101):
        clock.now += 60.0 if n == 30 else 0.5
        lines.progress(n / 100, "on")
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()[2:]]
    left = [event["seconds_left"] for event in told if event["seconds_left"] is not None]
    before, after = left[27], left[40]
    assert after > 2 * before  # but it does become true
    rises = [b / a for a, b in pairwise(left) if a > 1]
    assert max(rises) <= 1.26


def test_the_clock_counts_from_the_start_with_loading(clock: Clock) -> None:
    for reporter in (Console(), JsonLines()):
        reporter.started()
        clock.now += 20
        reporter.progress(0.0, "Loading the model")
        clock.now += 7
        assert reporter.seconds == 27


def test_a_block_moves_along_the_bar_while_something_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []
    screen = SimpleNamespace(isatty=lambda: True, write=written.append, flush=lambda: None)
    monkeypatch.setattr(cli_progress, "sys", SimpleNamespace(stderr=screen))
    monkeypatch.setattr(cli_progress, "TICK_SECONDS", 0.001)
    console = Console()
    console.progress(0.0, "Reading the CT")
    deadline = time.monotonic() + 20
    while len({text for text in written if "-" in text}) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    console.progress(0.5, "Slice 1 of about 2")
    bars = [match[0] for text in written if (match := re.search(r"\[[-.]+\]", text))]
    assert len(set(bars)) >= 4
    assert {bar.count("-") for bar in bars[1:]} == {5}
    assert all("Reading the CT" in text for text in written if "-" in text)
    ended = len(written)
    time.sleep(0.05)
    assert len(written) == ended  # it stands as soon as something is done


def test_the_seconds_told_at_the_end_are_the_clock_s(
    tmp_path: Path,
    ct: Path,
    model: Path,
    known: None,
    no_picture: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading is slow here and the network fast."""
    from command_line import run as run_command
    from LiverTumorSegLib.ct import read

    clock = Clock()
    monkeypatch.setattr(cli_progress, "time", clock)
    plain = read.read_input

    def slowly(*arguments: object) -> object:
        clock.now += 40
        return plain(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(read, "read_input", slowly)
    outcome = run_command(capsys, "segment", ct, "-o", tmp_path / "r", "--model", model)
    assert outcome.out.splitlines()[-2].startswith("40 s on ")
    record = json.loads((tmp_path / "r" / "lesions.json").read_text())
    assert record["run"]["seconds"] == 40
