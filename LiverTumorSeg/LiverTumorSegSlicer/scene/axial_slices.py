"""Axial slices of a volume node: their numbers, and which of them a view or a box shows.

Axial slices lie along the grid axis that is nearest to the body's long axis. They are numbered as
in the tumor table: along the volume's own grid, from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import slicer
from LiverTumorSegLib.volume import Reorientation

from .placement import worldIjkToRas

LONG_WAY_ORIENTATIONS = ("Coronal", "Sagittal")  # views that show many axial slices at once


@dataclass(frozen=True, eq=False)
class AxialSlices:
    """The axial slices of one volume.

    axisIjk: 0, 1 or 2, the grid axis across them. isFromHead: whether 0 is the highest slice.
    ijkToRas: ``(4, 4)``, mm in the world.
    """

    count: int
    axisIjk: int
    isFromHead: bool
    ijkToRas: np.ndarray

    @classmethod
    def of(cls, volumeNode) -> AxialSlices | None:
        """None for a volume without voxels, or under a transform that bends space."""
        if volumeNode is None or volumeNode.GetImageData() is None:
            return None
        try:
            ijkToRas = worldIjkToRas(volumeNode)
        except ValueError:
            return None
        shapeIjk = volumeNode.GetImageData().GetDimensions()
        k, j, i = (int(n) for n in reversed(shapeIjk))
        turn = Reorientation.to_lps(ijkToRas, (k, j, i))
        axisKji = turn.order_kji[0]
        return cls((k, j, i)[axisKji], 2 - axisKji, turn.flipped_kji[0], ijkToRas)

    def fromFeet(self, first: int, last: int) -> tuple[int, int]:
        """A range of slices, both ends in it, counted from 0 at the feet; the lower one first.

        Either end may be named first; ends beyond the volume are brought into it.
        """
        top = self.count - 1
        ends = sorted(min(max(number, 0), top) for number in (first, last))
        low, high = (top - ends[1], top - ends[0]) if self.isFromHead else ends
        return int(low), int(high)

    def reachedBy(self, pointsRas: Sequence[Sequence[float]]) -> tuple[int, int] | None:
        """First and last slice between some points, mm in the world; None when all lie outside."""
        points = np.asarray(pointsRas, dtype=float)
        ijk = (points - self.ijkToRas[:3, 3]) @ np.linalg.inv(self.ijkToRas[:3, :3]).T
        low, high = np.rint([ijk[:, self.axisIjk].min(), ijk[:, self.axisIjk].max()]).astype(int)
        if high < 0 or low > self.count - 1:
            return None
        return max(int(low), 0), min(int(high), self.count - 1)


def cornersOfRoi(roiNode) -> list[tuple[float, ...]]:
    """The corners of the box around a region of interest, RAS mm in the world; [] for none."""
    bounds = [0.0] * 6
    roiNode.GetRASBounds(bounds)
    if bounds[0] > bounds[1]:  # VTK's way to say that there is no box
        return []
    return list(product(bounds[0:2], bounds[2:4], bounds[4:6]))


def cornersOfLongView() -> list[tuple[float, ...]]:
    """The corners of what the coronal (else the sagittal) view shows, RAS mm; [] without one."""
    nodes = [_sliceNode(name) for name in slicer.app.layoutManager().sliceViewNames()]
    for orientation in LONG_WAY_ORIENTATIONS:
        for node in nodes:
            if node.GetOrientation() == orientation:
                return _corners(node)
    return []


def _sliceNode(name: str):
    return slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()


def _corners(sliceNode) -> list[tuple[float, ...]]:
    width, height, _depth = sliceNode.GetFieldOfView()
    toRas = sliceNode.GetSliceToRAS()
    signs = product((-0.5, 0.5), repeat=2)
    points = (toRas.MultiplyPoint((x * width, y * height, 0.0, 1.0)) for x, y in signs)
    return [tuple(point[:3]) for point in points]
