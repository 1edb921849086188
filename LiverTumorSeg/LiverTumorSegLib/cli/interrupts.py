"""A request to end (Ctrl-C, SIGTERM, a closed terminal) that is never lost.

with interruptible():
    ...
    raise_if_interrupted()     # between two steps of the work

A signal raises ``KeyboardInterrupt`` wherever the program stands. A library that calls back into
Python may swallow that; then the next step raises it again.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # those that the system has
_asked = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Signals that ask for an end do so inside the block, in the main thread."""
    _asked.clear()
    if threading.current_thread() is not threading.main_thread():
        yield  # where signals cannot be handled
        return
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {
        number: signal.signal(number, _interrupt)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup wants it
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_if_interrupted() -> None:
    if _asked.is_set():
        raise KeyboardInterrupt


def _interrupt(number: int, frame: object) -> None:
    _asked.set()
    raise KeyboardInterrupt
