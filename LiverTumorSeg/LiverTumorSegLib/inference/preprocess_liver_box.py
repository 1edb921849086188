"""Cuts what a tumor network of slices sees out of a CT with its liver: a box around the liver.

    preprocess = LiverBoxPreprocessing()
    box = preprocess(lps, region)                 # region: of a cascade's first network
    box.inputs([k])                               # float32 (1, 3, h, w), HU relative to the liver
    box.grid                                      # where the box's pixels lie in the CT's slices

Each slice lies between two neighbors about as far away as slices of many CTs are, whatever this
CT's own distance, on pixels of one size, in HU relative to this patient's own liver. Two other ways
to show gray values are there to be compared with that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.settings import Settings
from LiverTumorSegLib.volume import CtVolume

from .grids import BoxGrid
from .preprocess import INT16, SlicePreprocessing, checked_window
from .region import LiverRegion

Gray = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
SAME_SLICE_MM = 0.1  # slices nearer than this are one and the same
HALF = 0.5
GRAYS = ("liver", "window", "enhanced")
FULL = 255  # gray values of a window
TILE_MM = 40.0  # of CLAHE: about the paper's eighth of a slice


@dataclass(frozen=True, kw_only=True)
class LiverBoxPreprocessing(Settings):
    """Axial slices around the liver, with a neighbor below and above, for a network of slices.

    pixel_mm: of rows and columns. around_mm: of what lies around the liver, in the plane.
    neighbor_mm, near_mm: neighbors are the slices nearest to neighbor_mm below and above; the slice
        itself stands in where none lies within near_mm.
    window_hu: CT numbers are clipped to it and rounded; at most 255 HU wide.
    gray: what is seen. "liver": (HU - the median of the liver) / hu_scale; "window": (HU - the
        window's middle) / hu_scale; "enhanced": the same after CLAHE and gamma over the window,
        the steps of the hybrid2d paper (II.B).
    hu_scale: as in gray.
    multiple_px: the sides of the box are padded to a multiple of this.
    """

    NOUN: ClassVar[str] = "preprocessing"
    KIND: ClassVar[str] = "liver_box"
    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "window_hu": INT16,
        "pixel_mm": (0.2, 10.0),
        "around_mm": (0.0, 500.0),
        "neighbor_mm": (0.0, 100.0),
        "near_mm": (0.0, 100.0),
        "hu_scale": (0.1, 10000.0),
        "multiple_px": (1, 128),
    }

    pixel_mm: float = 1.25
    around_mm: float = 40.0
    neighbor_mm: float = 4.0
    near_mm: float = 6.0
    window_hu: tuple[int, int] = (-40, 160)
    gray: str = "liver"
    hu_scale: float = 40.0
    multiple_px: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = checked_window(self.window_hu)
        object.__setattr__(self, "window_hu", (low, high))
        if self.gray not in GRAYS:
            raise ValueError(
                sentence(
                    "gray is {gray!r}; use one of {known}.", gray=self.gray, known=", ".join(GRAYS)
                )
            )
        if high - low > 255:
            raise ValueError(
                sentence(
                    "window_hu is {window}; use up to 255 HU, lower bound first.",
                    window=str(self.window_hu),
                )
            )

    def __call__(self, lps: CtVolume, region: LiverRegion) -> LiverBox:
        """The box of a CT in LPS order; ``ValueError`` when the region holds no liver."""
        shape_ji, spacing_ji_mm = lps.shape_kji[1:], lps.spacing_kji_mm[1:]
        histogram = np.zeros(256, np.int64)
        resampled = np.zeros(self.resampled_ji(shape_ji, spacing_ji_mm), np.bool_)
        for k in np.flatnonzero(region.liver.any(axis=(1, 2))):
            liver = region.liver_native(int(k))
            histogram += np.bincount(self.to_gray(lps.hu[k][liver]), minlength=256)
            resampled |= self.resample_mask(liver, spacing_ji_mm)
        if not resampled.any():
            raise ValueError("There is no liver to look for tumors in.")
        z_mm = np.arange(lps.shape_kji[0], dtype=np.float64) * lps.spacing_kji_mm[0]
        return LiverBox(
            self,
            lps,
            self.box_grid(resampled, shape_ji),
            self.neighbors(z_mm),
            liver_hu=_median(histogram) + self.window_hu[0],
        )

    def to_gray(self, hu: NDArray[np.int16]) -> Gray:
        """HU of any shape, clipped, as 0 (the window's lower end) to 255."""
        low, high = self.window_hu
        return np.subtract(np.clip(hu, low, high), low, dtype=np.int16).astype(np.uint8)

    def seen(self, hu: Floats, liver_hu: float) -> Floats:
        """What the network sees of planes (n, h, w) in HU within the window; float32.

        liver_hu: the median of the liver.
        """
        middle = np.float32(liver_hu if self.gray == "liver" else sum(self.window_hu) / 2)
        if self.gray == "enhanced":
            hu = np.stack([self._enhanced(plane) for plane in hu])
        return cast(Floats, (hu - middle) / np.float32(self.hu_scale))

    def _enhanced(self, plane: Floats) -> Floats:
        """CLAHE and gamma over the window, by tiles of one size whatever the box's."""
        low, high = self.window_hu
        gray = np.rint((plane - low) * np.float32(FULL / (high - low))).clip(0, FULL)
        rows, columns = (max(1, round(side * self.pixel_mm / TILE_MM)) for side in plane.shape)
        clahe = cv2.createCLAHE(
            clipLimit=SlicePreprocessing.clahe_clip, tileGridSize=(columns, rows)
        )
        lifted = clahe.apply(gray.astype(np.uint8)).astype(np.float32) / np.float32(FULL)
        lifted = lifted ** np.float32(SlicePreprocessing.gamma)
        return cast(Floats, lifted * np.float32(high - low) + np.float32(low))

    def resampled_ji(
        self, shape_ji: tuple[int, int], spacing_ji_mm: tuple[float, float]
    ) -> tuple[int, int]:
        """A slice's size on pixels of ``pixel_mm``."""
        rows, columns = (
            max(1, round(n * step / self.pixel_mm))
            for n, step in zip(shape_ji, spacing_ji_mm, strict=True)
        )
        return rows, columns

    def interpolation(self, shape_ji: tuple[int, int], spacing_ji_mm: tuple[float, float]) -> int:
        """Means of what each pixel covers where slices shrink, linear where they grow."""
        shrinks = self.resampled_ji(shape_ji, spacing_ji_mm)[1] <= shape_ji[1]
        return cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR

    def resample_mask(self, mask: Mask, spacing_ji_mm: tuple[float, float]) -> Mask:
        """A slice's mask (j, i) on pixels of ``pixel_mm``: those of which it holds most."""
        shape_ji = (mask.shape[0], mask.shape[1])
        rows, columns = self.resampled_ji(shape_ji, spacing_ji_mm)
        how = self.interpolation(shape_ji, spacing_ji_mm)
        share = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=how)
        return np.asarray(share > HALF)

    def box_grid(self, liver: Mask, slice_ji: tuple[int, int]) -> BoxGrid:
        """The box around a liver (J, I) that is seen from above, on pixels of ``pixel_mm``."""
        margin, first, content, shape = round(self.around_mm / self.pixel_mm), [], [], []
        for axis in (0, 1):
            at = np.flatnonzero(liver.any(axis=1 - axis))
            start = max(0, int(at[0]) - margin)
            stop = min(liver.shape[axis], int(at[-1]) + margin + 1)
            first.append(start)
            content.append(stop - start)
            shape.append(-(-(stop - start) // self.multiple_px) * self.multiple_px)
        resampled_ji = (liver.shape[0], liver.shape[1])
        return BoxGrid(
            slice_ji,
            resampled_ji,
            (first[0], first[1]),
            (content[0], content[1]),
            (shape[0], shape[1]),
        )

    def neighbors(self, z_mm: NDArray[np.float64]) -> NDArray[np.int64]:
        """Each slice's neighbors below and above, (n, 2); z_mm: the slices' heights (n,)."""
        result = np.repeat(np.arange(len(z_mm))[:, None], 2, axis=1)
        for k, z in enumerate(z_mm):
            for column, sign in ((0, -1.0), (1, 1.0)):
                off_mm = (z_mm - z) * sign
                near = np.flatnonzero((off_mm > SAME_SLICE_MM) & (off_mm <= self.near_mm))
                if near.size:
                    result[k, column] = near[np.argmin(np.abs(off_mm[near] - self.neighbor_mm))]
        return result


@dataclass(frozen=True, eq=False)
class LiverBox:
    """A CT's slices as the network sees them.

    grid: where the box's pixels lie. neighbors: (k, 2), slices below and above. liver_hu: the
    median of the liver.
    """

    preprocessing: LiverBoxPreprocessing
    lps: CtVolume
    grid: BoxGrid
    neighbors: NDArray[np.int64]
    liver_hu: float

    def inputs(self, slices: list[int]) -> Floats:
        """float32 (slices, 3, h, w): the slice below, itself and above, relative to the liver."""
        return np.stack([self._input(k) for k in slices])

    def mask(self, native: Mask) -> Mask:
        """A slice's mask (j, i) on the box's pixels, nothing in the padding."""
        steps, spacing_ji_mm = self.preprocessing, self.lps.spacing_kji_mm[1:]
        (top, left), (height, width) = self.grid.first_ji, self.grid.content_ji
        placed = np.zeros(self.grid.shape_ji, np.bool_)
        whole = steps.resample_mask(native, spacing_ji_mm)
        placed[:height, :width] = whole[top : top + height, left : left + width]
        return placed

    def _input(self, k: int) -> Floats:
        below, above = (int(n) for n in self.neighbors[k])
        planes = {n: self._gray(n) for n in {below, k, above}}
        low = self.preprocessing.window_hu[0]
        hu = np.stack([planes[n] for n in (below, k, above)]).astype(np.float32) + low
        return self.preprocessing.seen(hu, self.liver_hu)

    def _gray(self, k: int) -> Gray:
        """The box of a slice, its padding as dark as the window begins."""
        steps = self.preprocessing
        how = steps.interpolation(self.lps.shape_kji[1:], self.lps.spacing_kji_mm[1:])
        content = self.grid.from_native(steps.to_gray(self.lps.hu[k]), how)
        padded = np.zeros(self.grid.shape_ji, np.uint8)
        padded[: content.shape[0], : content.shape[1]] = content
        return padded


def _median(histogram: NDArray[np.int64]) -> float:
    """Of the numbers 0, 1, 2, ... that occur so often, as numpy.median has it."""
    total, up_to = int(histogram.sum()), np.cumsum(histogram)
    middle = np.searchsorted(up_to, [(total - 1) // 2, total // 2], side="right")
    return float(middle.mean())
