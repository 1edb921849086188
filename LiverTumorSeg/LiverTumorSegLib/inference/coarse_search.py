"""Which slices of a CT need the network: a coarse scan finds the liver, then its range is filled.

The order of the numbers is the caller's to run; what a slice showed is told back to the plan.
"""

from __future__ import annotations

from collections.abc import Iterator

SCAN_MM = 20.0  # the liver is at least seven times as tall
SCAN_SLICES = 4  # a finer scan would save nothing
SHORT_SCAN = 40  # below this many slices, every slice is run
EMPTY_RUN = 2  # neighboring slices without liver that end the range


class SlicePlan:
    """Groups of slices to run, each group depending on what the ones before it showed.

        for group in plan.groups():
            for k in group: plan.tell(k, hit=..., empty=...)

    hit: liver or tumor is likely on the slice (a low bar). empty: no voxel got a label.
    """

    def __init__(self, count: int, spacing_mm: float, *, scan: bool = True) -> None:
        self.count = count
        self.scan = scan and count >= SHORT_SCAN
        self.step = max(SCAN_SLICES, round(SCAN_MM / spacing_mm))
        self._hit: dict[int, bool] = {}
        self._empty: dict[int, bool] = {}

    @property
    def expected(self) -> int:
        """Slices that will have been run at the end, as far as is known by now."""
        if not self.scan:
            return self.count
        hits = [k for k, hit in self._hit.items() if hit]
        coarse = len(range(0, self.count, self.step))
        if not hits:
            return self.count if len(self._hit) >= coarse else coarse + self.count // 2
        filled = set(range(min(hits), max(hits) + 1)) | set(self._hit)
        return min(self.count, len(filled) + 2 * EMPTY_RUN)

    def tell(self, k: int, *, hit: bool, empty: bool) -> None:
        self._hit[k], self._empty[k] = hit, empty

    def groups(self) -> Iterator[list[int]]:
        """Lists of slices not run before; each is complete before the next is asked for."""
        if not self.scan:
            yield list(range(self.count))
            return
        yield list(range(0, self.count, self.step))
        hits = [k for k, hit in self._hit.items() if hit]
        if not hits:
            yield self._missing(range(self.count))
            return
        yield self._missing(range(min(hits), max(hits) + 1))
        yield from self._extend(max(hits), 1)
        yield from self._extend(min(hits), -1)

    def _extend(self, end: int, direction: int) -> Iterator[list[int]]:
        """From an end of the range outward until EMPTY_RUN neighboring slices show nothing."""
        empty_run, k = 0, end + direction
        while 0 <= k < self.count and empty_run < EMPTY_RUN:
            if k not in self._empty:
                yield [k]
            empty_run = empty_run + 1 if self._empty[k] else 0
            k += direction

    def _missing(self, wanted: range) -> list[int]:
        return [k for k in wanted if k not in self._empty]
