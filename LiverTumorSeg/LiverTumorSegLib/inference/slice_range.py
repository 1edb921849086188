"""A run over some axial slices of a CT: the part is cut out, and its labels are put back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import CtVolume


@dataclass(frozen=True)
class SliceRange:
    """Axial slices ``first`` to ``last``, both included, of ``count``, from 0 at the feet."""

    first: int
    last: int
    count: int

    @classmethod
    def of(cls, slices: Sequence[int] | None, count: int) -> SliceRange:
        """The range asked for; None is all. ``ValueError`` when the CT has no such slices."""
        if slices is None:
            return cls(0, count - 1, count)
        first, last = slices
        if not 0 <= first <= last < count:
            raise ValueError(
                f"Slices {first} to {last} are not in this CT, whose axial slices are 0 (feet) to"
                f" {count - 1}; name two of these, the lower one first."
            )
        return cls(int(first), int(last), count)

    @property
    def note(self) -> tuple[str, ...]:
        """What a reader of the result must know; empty when all slices are in."""
        if (self.first, self.last) == (0, self.count - 1):
            return ()
        return (
            f"Only the axial slices {self.first} to {self.last} of 0 to {self.count - 1} were"
            " segmented: every volume is that of this part.",
        )

    def cut(self, lps: CtVolume) -> CtVolume:
        """The part of a CT in LPS order, in its place."""
        if not self.note:
            return lps
        ijk_to_ras = np.array(lps.ijk_to_ras)
        ijk_to_ras[:, 3] += self.first * ijk_to_ras[:, 2]
        return CtVolume(lps.hu[self.first : self.last + 1], ijk_to_ras)

    def paste(self, labels_kji: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels of the part on the whole grid, in LPS order; elsewhere background."""
        if not self.note:
            return labels_kji
        whole = np.zeros((self.count, *labels_kji.shape[1:]), np.uint8)
        whole[self.first : self.last + 1] = labels_kji
        return whole

    def paste_probabilities(self, probabilities: NDArray[np.float16]) -> NDArray[np.float16]:
        """``(classes, k, j, i)`` of the part on the whole grid; elsewhere surely background."""
        if not self.note:
            return probabilities
        classes, _, rows, columns = probabilities.shape
        whole = np.zeros((classes, self.count, rows, columns), np.float16)
        whole[Label.BACKGROUND] = 1
        whole[:, self.first : self.last + 1] = probabilities
        return whole
