"""Brings a CT to a patch network's grid, slice by slice on square pixels, and labels back again.

    preprocess = VolumePreprocessing()
    image = preprocess(lps.hu, lps.spacing_kji_mm)  # float16 (k, 256, 256) in [0, 1]
    for_the_net = preprocess.channels(image)  # (1, k, 256, 256)

and where the tumor network is to see the liver alone::

    preprocess = VolumePreprocessing(liver_margin_mm=0)
    region = preprocess.search_region(clean_liver(mask), lps.spacing_kji_mm, lps.shape_kji)
    for_the_net = preprocess.channels(image, region)

In the order of the G-UNETR++ paper's code: resize each slice to 256 x 256 with the slices left as
they are, clip to [-250, 250] HU, scale to 0-1; for the tumor, 0 outside the liver. The scale is
that of the window and not of each volume's own ends, which is the same where a volume reaches both
and steady where it does not. The grid is SlicePreprocessing's: square pixels, the longer side
filled, which for the usual square slices is the plain resize of the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.settings import Settings

from .grids import SliceGeometry, SquareGrid
from .preprocess import INT16, SlicePreprocessing, checked_window

Mask = NDArray[np.bool_]
Image = NDArray[np.float16]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class VolumePreprocessing(Settings):
    """One CT in LPS order to ``size_px`` x ``size_px`` pixels a slice, in [0, 1].

    window_hu: what becomes 0 and 1; [-250, 250] is published, data that were cut to [-40, 160]
        carry no more than that.
    liver_margin_mm: None for a network that sees the whole image. For one that sees the liver
        alone, by how much the liver mask is dilated first: published 0, and a few mm keep a tumor
        at the rim that the liver network has missed.
    mask_as_channel: the network takes the whole image and the mask behind it, and blanks the
        outside itself, so that the mask makes no edge in the derivatives it takes.
    """

    NOUN: ClassVar[str] = "preprocessing"
    KIND: ClassVar[str] = "volume"
    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "window_hu": INT16,
        "size_px": (32, 2048),
        "liver_margin_mm": (0.0, 100.0),
    }

    window_hu: tuple[int, int] = (-250, 250)
    size_px: int = 256
    liver_margin_mm: float | None = None
    mask_as_channel: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "window_hu", checked_window(self.window_hu))
        if self.size_px < 32 or self.size_px % 32:
            raise ValueError(
                sentence(
                    "size_px is {size_px}; use a multiple of 32, as 256.", size_px=self.size_px
                )
            )
        if self.mask_as_channel and self.liver_margin_mm is None:
            raise ValueError("mask_as_channel needs a mask; give liver_margin_mm, say 0.")

    @property
    def needs_liver(self) -> bool:
        """Whether the network is to see the liver alone."""
        return self.liver_margin_mm is not None

    def __call__(self, hu: NDArray[np.int16], spacing_kji_mm: Spacing) -> Image:
        """CT numbers (k, j, i) in LPS order to float16 (k, size_px, size_px) in [0, 1].

        Half floats take half of the memory and keep the published window to an eighth of a HU.
        """
        geometry = self.geometry((hu.shape[1], hu.shape[2]), spacing_kji_mm[1:])
        image = np.empty((len(hu), self.size_px, self.size_px), np.float16)
        for plane, target in zip(hu, image, strict=True):
            target[...] = self._scaled(plane, geometry)
        return image

    def _scaled(self, plane: NDArray[np.int16], geometry: SliceGeometry) -> NDArray[np.float32]:
        low, high = self.window_hu
        place: Any = geometry.to_grid  # of any kind of number; its hints are those of grays
        square: Any = place(plane.astype(np.float32), cv2.INTER_LINEAR, low)
        resized: Any = cv2.resize(square, (self.size_px,) * 2, interpolation=cv2.INTER_LINEAR)
        scaled: NDArray[np.float32] = (resized.clip(low, high) - low) / np.float32(high - low)
        return scaled

    def geometry(
        self, shape_ji: tuple[int, int], spacing_ji_mm: tuple[float, float]
    ) -> SliceGeometry:
        """How a slice lies on the grid."""
        return self._plane.geometry(shape_ji, spacing_ji_mm)

    @property
    def _plane(self) -> SlicePreprocessing:
        """The slices' own rules for grid, labels and the way back: a square of twice the size."""
        return SlicePreprocessing(grid_px=2 * self.size_px, size_px=self.size_px)

    def place_labels(self, labels: NDArray[np.uint8], spacing_kji_mm: Spacing) -> NDArray[np.uint8]:
        """Labels (k, j, i) on the net's grid (k, size_px, size_px), never mixed from others.

        Each slice as SlicePreprocessing does: nearest pixels on the way up, and on the way down
        the class with most of the block, since the nearest pixel would move every outline.
        """
        plane, spacing_ji_mm = self._plane, spacing_kji_mm[1:]
        placed = np.empty((len(labels), self.size_px, self.size_px), np.uint8)
        for source, target in zip(labels, placed, strict=True):
            target[...] = plane.place_labels(source, spacing_ji_mm)
        return placed

    def grid(self, shape_ji: tuple[int, int], spacing_ji_mm: tuple[float, float]) -> SquareGrid:
        """Where the network's pixels lie in a slice."""
        return self._plane.grid(shape_ji, spacing_ji_mm)

    def search_region(
        self, liver: Mask, spacing_kji_mm: Spacing, shape_kji: tuple[int, int, int]
    ) -> Mask:
        """The region that the tumor network looks at: the liver, dilated by the margin.

        liver: (k, size_px, size_px), say from :func:`clean_liver`. spacing_kji_mm, shape_kji: the
        CT's own. ``ValueError`` for a network that looks at everything.
        """
        if self.liver_margin_mm is None:
            raise ValueError("This network sees the whole image; it has no use for a liver mask.")
        grid_mm = self.grid_spacing_kji_mm(spacing_kji_mm, shape_kji)
        return dilate_mm(liver, self.liver_margin_mm, grid_mm)

    def grid_spacing_kji_mm(
        self, spacing_kji_mm: Spacing, shape_kji: tuple[int, int, int]
    ) -> Spacing:
        """Distances of the voxels of (k, size_px, size_px); the arguments are the CT's own."""
        return square_spacing_kji_mm(spacing_kji_mm, shape_kji, self.size_px)

    def channels(self, image: Image, region: Mask | None = None) -> Image:
        """The network's input channels: (1 or 2, k, size_px, size_px).

        image: of this object. region: of :meth:`search_region`, where the network needs one;
        outside of it the image is 0, or the region becomes the second channel (mask_as_channel).
        """
        if not self.needs_liver:
            return image[None]
        if region is None:
            raise ValueError("This network sees the liver alone; run the liver network first.")
        if self.mask_as_channel:
            return np.stack([image, region.astype(np.float16)])
        return np.where(region, image, np.float16(0))[None]


def square_spacing_kji_mm(
    spacing_kji_mm: Spacing, shape_kji: tuple[int, int, int], size_px: int
) -> Spacing:
    """Distances of voxels (k, size_px, size_px) whose square shows a slice's longer side in mm."""
    pixel_mm = max(shape_kji[n] * spacing_kji_mm[n] for n in (1, 2)) / size_px
    return spacing_kji_mm[0], pixel_mm, pixel_mm


def dilate_mm(mask: Mask, margin_mm: float, spacing_kji_mm: Spacing) -> Mask:
    """The voxels within ``margin_mm`` of the mask, center to center; (k, j, i) in and out.

    A ball is a stack of disks: each slice is dilated by a disk for each slice in reach.
    """
    if margin_mm == 0:
        return mask.copy()
    apart_mm = spacing_kji_mm[0]
    wide = np.zeros(mask.shape, np.uint8)
    reach = int(margin_mm / apart_mm + 1e-9)
    for step in range(min(reach, len(mask) - 1) + 1):
        disk = _disk(margin_mm, step * apart_mm, spacing_kji_mm[1:])
        for k in np.flatnonzero(mask.any(axis=(1, 2))):
            dilated = cv2.dilate(mask[k].astype(np.uint8), disk)
            for there in {k - step, k + step}:
                if 0 <= there < len(mask):
                    wide[there] |= dilated
    return wide.view(np.bool_)


def resample_mask(mask: Mask, size_px: int) -> Mask:
    """A mask (k, n, n) of another network's grid on one of (k, size_px, size_px), outlines linear.

    Both grids cover the same square of a slice; where its sides differ, by the rounding of the
    padding, an outline may lie a voxel off.
    """
    if mask.shape[1:] == (size_px, size_px):
        return mask.copy()
    placed = np.zeros((len(mask), size_px, size_px), np.bool_)
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        plane = mask[k].astype(np.float32)
        placed[k] = cv2.resize(plane, (size_px, size_px), interpolation=cv2.INTER_LINEAR) > 0.5
    return placed


def _disk(
    radius_mm: float, height_mm: float, spacing_ji_mm: tuple[float, float]
) -> NDArray[np.uint8]:
    """The cut through a ball at a height over its center, as ones in an odd rectangle."""
    reach_mm2 = (radius_mm**2 - height_mm**2) * (1 + 1e-9)  # a voxel at the rim counts
    sides = (int(max(reach_mm2, 0) ** 0.5 / step) for step in spacing_ji_mm)
    j, i = (
        np.arange(-side, side + 1) * step for side, step in zip(sides, spacing_ji_mm, strict=True)
    )
    disk: NDArray[np.uint8] = (j[:, None] ** 2 + i**2 <= max(reach_mm2, 0)).astype(np.uint8)
    return disk
