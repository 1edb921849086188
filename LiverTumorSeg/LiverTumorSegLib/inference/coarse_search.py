"""Which slices of a CT need the network: a coarse search finds the liver, then its range is run.

The search names slices; the caller runs the network on them and records what each showed.
"""

from __future__ import annotations

from collections.abc import Iterator

from LiverTumorSegLib.sentences import sentence

STEP_MM = 20.0  # the liver is at least seven times as tall
LEAST_STEP = 4  # a finer search would save nothing
SHORT_CT = 40  # below this many slices, every slice is run
EMPTY_RUN = 2  # neighboring slices without liver that end the range


class CoarseSearch:
    """Groups of slices to run, each group depending on what the ones before it showed.

        for group in search.groups():
            for k in group: search.record(k, hit=..., empty=...)

    hit: liver or tumor is likely on the slice (a low bar). empty: no voxel got a label.
    """

    def __init__(self, count: int, spacing_mm: float, *, coarse: bool = True) -> None:
        self.count = count
        self.coarse = coarse and count >= SHORT_CT
        self.step = max(LEAST_STEP, round(STEP_MM / spacing_mm))
        self._hit: dict[int, bool] = {}
        self._empty: dict[int, bool] = {}
        self._ended: set[int] = set()  # directions in which the liver's end is known
        self._fraction = 0.0

    @property
    def expected(self) -> int:
        """Slices that will have been run at the end, and hardly ever fewer than that.

        All of them while the liver is looked for. Afterwards the most that it can take to find both
        ends of a liver in one piece: a number that goes down and not up, so that whoever waits is
        never put off.
        """
        hits = [k for k, hit in self._hit.items() if hit]
        if not self.coarse or self._is_searching or not hits:
            return self.count
        first, last = self._latest_end(min(hits), -1), self._latest_end(max(hits), 1)
        return len(self._hit.keys() | set(range(first, last + 1)))

    @property
    def fraction(self) -> float:
        """The share of the slices to be run that has been run; it never falls."""
        self._fraction = max(self._fraction, len(self._hit) / self.expected)
        return self._fraction

    @property
    def phrase(self) -> str:
        """The progress as a phrase: which slice of how many."""
        done = len(self._hit)
        if self._is_searching or (self.coarse and done == self._coarse_count):
            return sentence(
                "Looking for the liver, slice {done} of {count}",
                done=done,
                count=self._coarse_count,
            )
        return sentence("Slice {done} of about {expected}", done=done, expected=self.expected)

    @property
    def _coarse_count(self) -> int:
        return len(range(0, self.count, self.step))

    @property
    def _is_searching(self) -> bool:
        return self.coarse and len(self._hit) < self._coarse_count

    def _latest_end(self, end: int, direction: int) -> int:
        """Where :meth:`_extend` stops at the latest: beyond the next coarse slice without."""
        if direction in self._ended:
            return end
        k = (end // self.step + 1 if direction > 0 else (end - 1) // self.step) * self.step
        while 0 <= k < self.count and not self._empty[k]:
            k += direction * self.step
        return min(max(k + direction, 0), self.count - 1)

    def record(self, k: int, *, hit: bool, empty: bool) -> None:
        self._hit[k], self._empty[k] = hit, empty

    def groups(self) -> Iterator[list[int]]:
        """Lists of slices not run before; each is complete before the next is asked for."""
        if not self.coarse:
            yield list(range(self.count))
            return
        yield list(range(0, self.count, self.step))
        hits = [k for k, hit in self._hit.items() if hit]
        if not hits:
            yield self._missing(range(self.count))
            return
        yield self._missing(range(min(hits), max(hits) + 1))
        for end, direction in ((max(hits), 1), (min(hits), -1)):
            yield from self._extend(end, direction)
            self._ended.add(direction)

    def _extend(self, end: int, direction: int) -> Iterator[list[int]]:
        """From an end of the range outward until EMPTY_RUN neighboring slices show nothing."""
        empty_run, k = 0, end + direction
        while 0 <= k < self.count and empty_run < EMPTY_RUN:
            if k not in self._empty:
                yield [k]
            empty_run = empty_run + 1 if self._empty[k] else 0
            k += direction

    def _missing(self, numbers: range) -> list[int]:
        return [k for k in numbers if k not in self._empty]
