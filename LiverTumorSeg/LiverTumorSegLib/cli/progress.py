"""What a run says while it works: a line for people, or JSON lines for a program (``--events``)."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from LiverTumorSegLib.sentences import as_event

BAR_WIDTH = 28
MOST_RISE = 1.25  # of the time left, from one report to the next
TICK_SECONDS = 0.15
BLOCK = 5  # of a bar that moves while nothing is known to be done
LOG_STEPS = 4  # a log file wants a few lines, not two hundred


class CaseReporter(Protocol):
    """Receives what happens while a CT is segmented, in order.

    place: of many CTs, ``number`` from 1 and how many ``cases`` there are.
    """

    @property
    def seconds(self) -> float:
        """Seconds since the run, or this case of it, began."""
        ...

    def progress(self, fraction: float, phrase: str, **place: int) -> None: ...
    def warning(self, text: str, **place: int) -> None: ...


class Reporter(CaseReporter, Protocol):
    """Receives what happens in a whole run, in order."""

    def started(self) -> None: ...
    def case_ended(self, summary: str, record: dict[str, Any]) -> None: ...
    def finished(self, summary: str, record: dict[str, Any]) -> None: ...
    def failed(self, kind: str, text: str) -> None: ...


class TimeLeft:
    """Seconds left, from the share that is done since the last report of nothing done.

    From one report to the next it rises by a quarter at most, so one slow slice alarms nobody.
    """

    def __init__(self) -> None:
        self._began = self._start = time.monotonic()
        self._said: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning, loading included."""
        return time.monotonic() - self._began

    def __call__(self, fraction: float) -> float | None:
        if fraction == 0:  # still loading: how long that takes says nothing of the rest
            self._start, self._said = time.monotonic(), None
        elapsed = time.monotonic() - self._start
        if fraction < 0.02 or elapsed < 1.0:
            return None
        left = elapsed * (1 - fraction) / fraction
        if self._said is not None:
            left = min(left, MOST_RISE * max(self._said, 1.0))
        self._said = left
        return left


class Ticker:
    """Calls a function with 1, 2, 3, ... several times a second until it is stopped."""

    def __init__(self, tick: Callable[[int], None]) -> None:
        self._tick, self._stopped = tick, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; once this returns, the function is not called any more."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        n = 0
        while not self._stopped.wait(TICK_SECONDS):
            n += 1
            self._tick(n)


class Console:
    """A progress bar on standard error, results on standard output.

    While nothing is done yet, as when a file is read, a block moves along the bar. The bar is wiped
    before anything else is said. A log file gets a line a quarter of the way.
    """

    def __init__(self) -> None:
        self._left = TimeLeft()
        self._live = sys.stderr.isatty()
        self._shown = 0
        self._logged = 0
        self._ticker: Ticker | None = None

    @property
    def seconds(self) -> float:
        return self._left.elapsed

    def started(self) -> None:
        self._left = TimeLeft()
        self._logged = 0

    def progress(self, fraction: float, phrase: str, **place: int) -> None:
        self._stop_moving()
        filled = round(BAR_WIDTH * fraction)
        left = self._left(fraction)
        text = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {100 * fraction:3.0f} %  {phrase}"
        if left is not None and fraction < 1:
            text += f", {_duration(left)} left"
        if self._live:
            self._show(text)
            if fraction == 0:
                self._ticker = Ticker(lambda n: self._show(f"[{_moved(n)}]   0 %  {phrase}"))
        elif int(LOG_STEPS * fraction) > self._logged:
            self._logged = int(LOG_STEPS * fraction)
            _note(text)

    def warning(self, text: str, **place: int) -> None:
        self._wipe()
        _note(f"Warning: {text}")

    def case_ended(self, summary: str, record: dict[str, Any]) -> None:
        self._wipe()
        say(summary)

    def finished(self, summary: str, record: dict[str, Any]) -> None:
        self._wipe()
        say(summary)

    def failed(self, kind: str, text: str) -> None:
        self._wipe()
        _note(" ".join(text.splitlines()))  # one line, also where a library wrote more

    def _show(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]  # a wrapped line cannot be wiped
        _note(f"\r{text:<{self._shown}}", end="")
        self._shown = len(text)

    def _stop_moving(self) -> None:
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None

    def _wipe(self) -> None:
        self._stop_moving()
        if self._shown:
            _note(f"\r{'':<{self._shown}}\r", end="")
            self._shown = 0


class JsonLines:
    """One JSON object a line on standard output."""

    def __init__(self) -> None:
        self._left = TimeLeft()

    @property
    def seconds(self) -> float:
        return self._left.elapsed

    def started(self) -> None:
        self._left = TimeLeft()
        self._say("started", pid=os.getpid())

    def progress(self, fraction: float, phrase: str, **place: int) -> None:
        left = self._left(fraction)
        seconds = None if left is None else round(left, 1)
        done = round(fraction, 4)
        values = {"fraction": done, "phrase": phrase, "seconds_left": seconds}
        self._say("progress", **values, **place, **as_event(phrase))

    def warning(self, text: str, **place: int) -> None:
        self._say("warning", text=text, **place, **as_event(text))

    def case_ended(self, summary: str, record: dict[str, Any]) -> None:
        self._say("case", **record)

    def finished(self, summary: str, record: dict[str, Any]) -> None:
        self._say("finished", summary=summary, **record)

    def failed(self, kind: str, text: str) -> None:
        self._say("failed", kind=kind, text=text, **as_event(text))

    def _say(self, event: str, **values: Any) -> None:
        say(json.dumps({"event": event, **values}))


class OneOfMany:
    """Reports what happens in one case as a part of the whole.

    done, waiting: how many of the cases to be run have ended, and how many there are.
    """

    def __init__(
        self, to: Reporter, name: str, number: int, cases: int, done: int = 0, waiting: int = 1
    ) -> None:
        self._to, self._name, self._done, self._waiting = to, name, done, waiting
        self._place = {"number": number, "cases": cases}
        self._left = TimeLeft()

    @property
    def seconds(self) -> float:
        return self._left.elapsed

    def progress(self, fraction: float, phrase: str, **place: int) -> None:
        text = "Case {number} of {cases}: ".format(**self._place) + phrase
        self._to.progress((self._done + fraction) / self._waiting, text, **self._place)

    def warning(self, text: str, **place: int) -> None:
        self._to.warning(f"{self._name}: {text}", **self._place)


class QuietReporter:
    """A worker's reporter: what it would say is in the record."""

    def __init__(self) -> None:
        self._clock = TimeLeft()

    @property
    def seconds(self) -> float:
        return self._clock.elapsed

    def progress(self, fraction: float, phrase: str, **place: int) -> None: ...

    def warning(self, text: str, **place: int) -> None: ...


def stand_in_for_closed_streams() -> None:
    """Discard output where a service, or ``>&-``, has closed the standard streams.

    A file opened later would get their numbers, and what a library complains of would go into it.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # takes the closed ones' numbers
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def say(text: str) -> None:
    """Print on standard output. One that takes nothing more is a ``BrokenPipeError``, whatever it
    lacks: no fault of the case that is being worked on. From then on what is said goes nowhere.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise BrokenPipeError(error.errno, error.strerror) from error


def _note(text: str, end: str = "\n") -> None:
    """On standard error. A full disk or a reader gone there stops no run."""
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _moved(n: int) -> str:
    """A bar whose block has moved n places, and comes in again where it began."""
    block = {(n + place) % BAR_WIDTH for place in range(BLOCK)}
    return "".join("-" if place in block else "." for place in range(BAR_WIDTH))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"
