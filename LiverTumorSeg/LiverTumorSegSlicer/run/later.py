"""Calls back on the main thread: after a while, or when a thread has done its work.

    callLater(100, function)
    Work(function, then)

While Slicer waits for events no other Python thread runs: PythonQt keeps the interpreter's lock. So
a thread runs in the main thread's own time, a little at each look, until it is done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import qt
import slicer

LOOK_EVERY_MS = 10
GIVEN_SECONDS = 0.01  # to a thread, at each look

Later = Callable[[int, Callable[[], None]], None]


def callLater(milliseconds: int, function: Callable[[], None]) -> None:
    """Call once. Slicer's ``qt.QTimer.singleShot`` keeps what it called until Slicer ends."""
    _Call(milliseconds, function)


class _Call:
    """Lives by the connection to its timer, and lets all go before it calls."""

    def __init__(self, milliseconds: int, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function
        self._timer: Any = qt.QTimer(slicer.app)
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._fire)
        self._timer.start(milliseconds)

    def _fire(self) -> None:
        timer, function = self._timer, self._function
        self._timer, self._function = None, None
        timer.disconnect("timeout()", self._fire)
        timer.deleteLater()
        if function is not None:
            function()


class Work:
    """A function in a thread. ``then(result, None)`` or ``then(None, exception)`` is called after.

    later: calls back on the main thread; another clock for tests.
    """

    def __init__(
        self,
        function: Callable[[], Any],
        then: Callable[[Any, Exception | None], None],
        later: Later = callLater,
    ) -> None:
        self._then: Callable[[Any, Exception | None], None] | None = then
        self._later = later
        self._result: Any = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()
        later(LOOK_EVERY_MS, self._look)

    def wait(self, seconds: float) -> None:
        """Wait until the function is done, at most so long; ``then`` is not called any more."""
        self._then = None
        self._thread.join(seconds)
        self._result = None

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self._result = function()
        except Exception as error:
            self._error = error

    def _look(self) -> None:
        self._thread.join(GIVEN_SECONDS)
        if self._thread.is_alive():
            self._later(LOOK_EVERY_MS, self._look)
            return
        result, error, then = self._result, self._error, self._then
        self._result, self._error, self._then = None, None, None
        if then is not None:
            then(result, error)
