"""How a long piece of work says how far it is, and how it is stopped.

def progress(fraction: float, phrase: str) -> None: ...   # may raise Cancelled

network.predict(lps, subrange(progress, 0.0, 0.9))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from LiverTumorSegLib.sentences import sentence

Progress = Callable[[float, str], None]


class Cancelled(Exception):
    """Raised by a progress callback to stop; nothing is left behind."""


def no_progress(fraction: float, phrase: str) -> None:
    """The progress of a caller that does not ask for it."""


def subrange(progress: Progress, start: float, end: float) -> Progress:
    """The progress of one piece of the work, as that part of the whole."""

    def partial(fraction: float, phrase: str) -> None:
        progress(start + (end - start) * fraction, phrase)

    return partial


def stage_progress(progress: Progress, start: float, end: float, stage: str) -> Progress:
    """Like :func:`subrange`, with the stage's name before each phrase."""
    partial = subrange(progress, start, end)
    return lambda fraction, phrase: partial(
        fraction, sentence("{stage}: {phrase}", stage=stage, phrase=phrase)
    )


def native_slices(count: int, progress: Progress) -> Iterator[int]:
    """Each slice of a CT, as it is brought back from a network's pixels to the CT's own."""
    for k in range(count):
        progress(
            k / count,
            sentence("Back to the CT's own pixels, slice {k} of {count}", k=k + 1, count=count),
        )
        yield k
