"""What a run says while it works: a line for people, or JSON lines for a program (``--events``)."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from typing import Any, Protocol

BAR_WIDTH = 28
LOG_STEPS = 4  # a log file wants a few lines, not two hundred


class CaseReporter(Protocol):
    """Receives what happens while a CT is segmented, in order.

    place: of many CTs, ``number`` from 1 and how many ``cases`` there are.
    """

    def progress(self, fraction: float, phrase: str, **place: int) -> None: ...
    def warning(self, text: str, **place: int) -> None: ...


class Reporter(CaseReporter, Protocol):
    """Receives what happens in a whole run, in order."""

    def started(self) -> None: ...
    def case_ended(self, summary: str, record: dict[str, Any]) -> None: ...
    def finished(self, summary: str, record: dict[str, Any]) -> None: ...
    def failed(self, kind: str, text: str) -> None: ...


class TimeLeft:
    """Seconds left, from the share that is done since the last report of nothing done."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, fraction: float) -> float | None:
        if fraction == 0:  # still loading: how long that takes says nothing of the rest
            self._start = time.monotonic()
        elapsed = time.monotonic() - self._start
        if fraction < 0.02 or elapsed < 1.0:
            return None
        return elapsed * (1 - fraction) / fraction


class Console:
    """A progress bar on standard error, results on standard output.

    The bar is wiped before anything else is said. A log file gets a line a quarter of the way.
    """

    def __init__(self) -> None:
        self._left = TimeLeft()
        self._live = sys.stderr.isatty()
        self._shown = 0
        self._logged = 0

    def started(self) -> None:
        self._left = TimeLeft()
        self._logged = 0

    def progress(self, fraction: float, phrase: str, **place: int) -> None:
        filled = round(BAR_WIDTH * fraction)
        left = self._left(fraction)
        text = f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {100 * fraction:3.0f} %  {phrase}"
        if left is not None and fraction < 1:
            text += f", {_duration(left)} left"
        if self._live:
            text = text[: shutil.get_terminal_size().columns - 1]  # a wrapped line cannot be wiped
            print(f"\r{text:<{self._shown}}", end="", file=sys.stderr, flush=True)
            self._shown = len(text)
        elif int(LOG_STEPS * fraction) > self._logged:
            self._logged = int(LOG_STEPS * fraction)
            print(text, file=sys.stderr, flush=True)

    def warning(self, text: str, **place: int) -> None:
        self._wipe()
        print(f"Warning: {text}", file=sys.stderr)

    def case_ended(self, summary: str, record: dict[str, Any]) -> None:
        self._wipe()
        print(summary, flush=True)

    def finished(self, summary: str, record: dict[str, Any]) -> None:
        self._wipe()
        print(summary)

    def failed(self, kind: str, text: str) -> None:
        self._wipe()
        print(*text.splitlines(), file=sys.stderr)  # one line, also where a library wrote more

    def _wipe(self) -> None:
        if self._shown:
            print(f"\r{'':<{self._shown}}\r", end="", file=sys.stderr, flush=True)
            self._shown = 0


class JsonLines:
    """One JSON object a line on standard output."""

    def __init__(self) -> None:
        self._left = TimeLeft()

    def started(self) -> None:
        self._left = TimeLeft()
        self._say("started", pid=os.getpid())

    def progress(self, fraction: float, phrase: str, **place: int) -> None:
        left = self._left(fraction)
        seconds = None if left is None else round(left, 1)
        done = round(fraction, 4)
        self._say("progress", fraction=done, phrase=phrase, seconds_left=seconds, **place)

    def warning(self, text: str, **place: int) -> None:
        self._say("warning", text=text, **place)

    def case_ended(self, summary: str, record: dict[str, Any]) -> None:
        self._say("case", **record)

    def finished(self, summary: str, record: dict[str, Any]) -> None:
        self._say("finished", summary=summary, **record)

    def failed(self, kind: str, text: str) -> None:
        self._say("failed", kind=kind, text=text)

    def _say(self, event: str, **values: Any) -> None:
        print(json.dumps({"event": event, **values}), flush=True)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"
