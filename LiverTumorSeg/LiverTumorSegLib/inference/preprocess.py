"""Turns CT slices into a network's inputs, and its predictions back into the slice's own pixels.

In the paper's order (hybrid2d, II.B and III.B): scale to 8 bits, CLAHE, gamma, resize to 256. What
the paper leaves open is fixed here once: rounding to nearest, OpenCV's meaning of the clip limit,
and a square 512 grid of square pixels before CLAHE, because CLAHE's tiles depend on the pixel grid
(a 128-pixel slice would come out 45 gray levels brighter in the liver than the same slice at 512).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.settings import Settings

from .grids import SliceGeometry, SquareGrid

Gray = NDArray[np.uint8]
PRESETS = ("window", "paper")
INT16 = (-32768, 32767)


def checked_window(window_hu: object) -> tuple[int, int]:
    """Two rising whole numbers of HU; ``ValueError`` for all else."""
    if not isinstance(window_hu, tuple | list) or len(window_hu) != 2:
        raise ValueError(
            sentence("window_hu is {window}; give two numbers of HU.", window=str(window_hu))
        )
    low, high = (int(hu) for hu in window_hu)
    if low >= high:
        raise ValueError(
            sentence(
                "window_hu {window} is empty; put the lower bound first.", window=str((low, high))
            )
        )
    return low, high


@dataclass(frozen=True, kw_only=True)
class SlicePreprocessing(Settings):
    """One axial slice in LPS order (rows toward posterior) to ``size_px`` x ``size_px`` grays.

    preset "window": HU clipped to ``window_hu``; one HU is the same gray step in every slice.
    preset "paper": per-slice minimum and maximum of the raw HU (II.B; the paper names no window).
    """

    NOUN: ClassVar[str] = "preprocessing"
    KIND: ClassVar[str] = "slice"
    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "window_hu": INT16,
        "clahe_clip": (0.0, 1000.0),
        "clahe_tiles": (1, 64),
        "gamma": (0.01, 100.0),
        "grid_px": (8, 4096),
        "size_px": (8, 2048),
    }

    preset: str = "window"
    window_hu: tuple[int, int] = (-40, 160)  # the widest window all training sources carry
    clahe_clip: float = 2.0  # II.B, OpenCV's meaning: relative to the mean bin height
    clahe_tiles: int = 8  # II.B, 8 x 8 tiles
    gamma: float = 1.2  # II.B, after CLAHE
    grid_px: int = 512  # the CT matrix the paper's slices have
    size_px: int = 256  # III.B
    use_clahe: bool = True  # Table 4 leaves it out
    use_gamma: bool = True  # Table 4

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "window_hu", checked_window(self.window_hu))
        if self.preset not in PRESETS:
            raise ValueError(
                sentence(
                    "preset is {preset!r}; use one of {known}.",
                    preset=self.preset,
                    known=", ".join(PRESETS),
                )
            )
        if self.grid_px % self.clahe_tiles or self.size_px % 8 or self.size_px < 8:
            raise ValueError(
                sentence(
                    "size_px is {size_px} and grid_px {grid_px}; size_px must be a multiple of 8 "
                    "and grid_px one of clahe_tiles, {clahe_tiles}.",
                    size_px=self.size_px,
                    grid_px=self.grid_px,
                    clahe_tiles=self.clahe_tiles,
                )
            )

    def __call__(self, hu: NDArray[np.int16], spacing_ji_mm: tuple[float, float]) -> Gray:
        """A slice (j, i) of HU to grays (size_px, size_px), 0-255."""
        return self.enhance(self.square(hu, spacing_ji_mm))

    def geometry(
        self, shape_ji: tuple[int, int], spacing_ji_mm: tuple[float, float]
    ) -> SliceGeometry:
        """How a slice lies on the grid: square pixels, centered, the longer side in mm filled."""
        sides_mm = (shape_ji[0] * spacing_ji_mm[0], shape_ji[1] * spacing_ji_mm[1])
        px_per_mm = self.grid_px / max(sides_mm)
        rows, columns = (max(1, round(side * px_per_mm)) for side in sides_mm)
        offset = (self.grid_px - rows) // 2, (self.grid_px - columns) // 2
        return SliceGeometry((shape_ji[0], shape_ji[1]), (rows, columns), offset, self.grid_px)

    def square(self, hu: NDArray[np.int16], spacing_ji_mm: tuple[float, float]) -> Gray:
        """The slice scaled to 8 bits on the (grid_px, grid_px) square, padded with the floor."""
        geometry = self.geometry((hu.shape[0], hu.shape[1]), spacing_ji_mm)
        return geometry.to_grid(self.to_gray(hu), cv2.INTER_LINEAR)

    def to_gray(self, hu: NDArray[np.int16]) -> Gray:
        """HU to 0-255 by an integer table; the same bytes as the rounded float formula."""
        low, high = self.window_hu
        if self.preset == "paper":
            low, high = int(hu.min()), int(hu.max())
        table = gray_table(low, high)
        index = np.clip(hu, low, high)
        if high - low < 256:  # the usual case: 8-bit indices take the vectorized table
            return _look_up(np.subtract(index, low, dtype=np.int16).astype(np.uint8), table)
        return table[index.astype(np.int32) - low]

    def enhance(self, square: Gray) -> Gray:
        """CLAHE, gamma, resize: the square grid to (size_px, size_px)."""
        if self.use_clahe:
            square = cast(Gray, _clahe(self.clahe_clip, self.clahe_tiles).apply(square))
        if self.use_gamma:
            square = _look_up(square, gamma_table(self.gamma))
        # beyond halving, linear reads 4 pixels of each block and keeps the noise of those
        steep = self.grid_px > 2 * self.size_px
        kind = cv2.INTER_AREA if steep else cv2.INTER_LINEAR
        return _resize(square, (self.size_px, self.size_px), kind)

    def place_labels(self, labels: Gray, spacing_ji_mm: tuple[float, float]) -> Gray:
        """Labels (j, i) on the net's grid (size_px, size_px).

        The paper resizes masks with the nearest pixel. Halving a grid that way samples each 2 x 2
        block at its corner and moves every outline by half a pixel, so preset "window" takes the
        class with most of the block, and where two are level, each on one half of a checkerboard.
        For the same reason the square grid is filled by the exact nearest pixel, center to center.
        """
        geometry = self.geometry((labels.shape[0], labels.shape[1]), spacing_ji_mm)
        square = geometry.to_grid(labels, cv2.INTER_NEAREST_EXACT)
        side = (self.size_px, self.size_px)
        if self.preset == "paper":
            return _resize(square, side, cv2.INTER_NEAREST)
        return _majority(square, side)

    def grid(self, shape_ji: tuple[int, int], spacing_ji_mm: tuple[float, float]) -> SquareGrid:
        """Where the network's pixels lie in a slice."""
        return SquareGrid(self.geometry(shape_ji, spacing_ji_mm), self.size_px)


@lru_cache(maxsize=64)
def gray_table(low_hu: int, high_hu: int) -> Gray:
    """Gray 0-255 for each HU from ``low_hu`` on, rounded to nearest; at least 256 entries."""
    hu = np.arange(max(high_hu - low_hu + 1, 256), dtype=np.float64)
    table: Gray = np.rint(np.clip(hu / max(high_hu - low_hu, 1), 0, 1) * 255).astype(np.uint8)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=8)
def gamma_table(gamma: float) -> Gray:
    """255 (v / 255) ** gamma for v = 0..255, rounded to nearest."""
    table: Gray = np.rint(255.0 * (np.arange(256) / 255.0) ** gamma).astype(np.uint8)
    table.setflags(write=False)
    return table


def _look_up(grays: Gray, table: Gray) -> Gray:
    return cast(Gray, cv2.LUT(grays, table))


def _resize(image: Gray, side_px: tuple[int, int], interpolation: int) -> Gray:
    """``side_px``: width, height, OpenCV's order."""
    return cast(Gray, cv2.resize(image, side_px, interpolation=interpolation))


def _clahe(clip: float, tiles: int) -> cv2.CLAHE:
    """OpenCV's CLAHE keeps scratch memory in the object, so each thread makes its own."""
    return cv2.createCLAHE(clipLimit=clip, tileGridSize=(tiles, tiles))


def _majority(square: Gray, side: tuple[int, int]) -> Gray:
    rows, columns = np.indices(side[::-1])
    favor_high = (rows + columns) % 2 == 0
    best = np.zeros(side[::-1], np.uint8)
    best_share = np.full(side[::-1], -1.0, np.float32)
    for label in range(int(square.max()) + 1):
        member = (square == label).astype(np.float32)
        share = cv2.resize(member, side, interpolation=cv2.INTER_AREA)
        wins = (share > best_share) | ((share == best_share) & favor_high)
        best[wins], best_share[wins] = label, share[wins]
    return best
