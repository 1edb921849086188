"""Two ways of doing one job, timed in turns: other programs disturb both alike, the ratio stays."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pairs:
    """Seconds of paired runs, ours and the other's."""

    ours_s: tuple[float, ...]
    other_s: tuple[float, ...]

    @property
    def ours_median_s(self) -> float:
        return statistics.median(self.ours_s)

    @property
    def other_median_s(self) -> float:
        return statistics.median(self.other_s)

    @property
    def ratio(self) -> float:
        """Median over pairs of ours / other."""
        return statistics.median(self._ratios())

    @property
    def ratio_range(self) -> str:
        """Least and greatest ratio of a pair, for print."""
        return f"{min(self._ratios()):.2f}-{max(self._ratios()):.2f}"

    def _ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ours_s, self.other_s, strict=True)]


def run_in_turns(
    ours: Callable[[], object], other: Callable[[], object], pairs: int, *, warm_up: bool = True
) -> Pairs:
    """Time both so many times; every second pair begins with the other."""
    if warm_up:
        ours()
        other()
    seconds: dict[int, list[float]] = {0: [], 1: []}
    for n in range(pairs):
        for which in (0, 1) if n % 2 == 0 else (1, 0):
            seconds[which].append(_seconds((ours, other)[which]))
    return Pairs(tuple(seconds[0]), tuple(seconds[1]))


def _seconds(job: Callable[[], object]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their longest word; the first to the left, the others to the right."""
    lines = [list(columns), *([str(value) for value in row] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    for line in lines:
        cells = [word.rjust(width) for word, width in zip(line, widths, strict=True)]
        print("  ".join([line[0].ljust(widths[0]), *cells[1:]]))
