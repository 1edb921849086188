"""Where a cascade's second network looks: the liver that the first one found, and what is near it.

region = find_region(liver_mask, grid, spacing_kji_mm, CascadeSettings(margin_mm=10.0))
region.search_native(k)            # bool (j, i): where tumor may be on slice k
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.settings import Settings
from LiverTumorSegLib.volume import bounding_box

from .grids import SquareGrid, mask_to_native
from .postprocess import clean_liver

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class CascadeSettings(Settings):
    """How a cascade searches for tumors: the region around the first network's liver.

    clean_liver: of the first liver keep the largest piece, smoothed (G-UNETR++).
    smallest_liver_ml: in less liver than this nothing is looked for.
    closing_mm, fill_holes, margin_mm: the search region is the first liver closed over so many mm,
        with its holes filled slice by slice, dilated by the margin. A network that was trained with
        a margin of its own looks within that one.
    join_liver: on slices that the second network sees, both networks decide together what is liver
        or tumor, by the mean of their probabilities, if the second one tells liver from background.
    """

    NOUN: ClassVar[str] = "cascade"
    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "smallest_liver_ml": (0.0, 1e5),
        "closing_mm": (0.0, 100.0),
        "margin_mm": (0.0, 100.0),
    }

    clean_liver: bool = True
    smallest_liver_ml: float = 20.0
    closing_mm: float = 0.0
    fill_holes: bool = False
    margin_mm: float = 10.0
    join_liver: bool = False


@dataclass(frozen=True, eq=False)
class LiverRegion:
    """The first network's liver and the region to search, masks (k, n, n) on its square grid."""

    liver: Mask
    search: Mask
    grid: SquareGrid
    spacing_kji_mm: Spacing

    @property
    def liver_ml(self) -> float:
        return int(np.count_nonzero(self.liver)) * prod(self.spacing_kji_mm) / 1000

    @property
    def slices(self) -> list[int]:
        """Slices that the search region reaches, from the feet up."""
        return [int(k) for k in np.flatnonzero(self.search.any(axis=(1, 2)))]

    def search_native(self, k: int) -> Mask:
        """The search region of a slice on the CT's own pixels (j, i)."""
        return mask_to_native(self.grid, self.search[k])

    def liver_native(self, k: int) -> Mask:
        """The first liver of a slice on the CT's own pixels (j, i)."""
        return mask_to_native(self.grid, self.liver[k])


def find_region(
    liver: Mask, grid: SquareGrid, spacing_kji_mm: Spacing, settings: CascadeSettings
) -> LiverRegion:
    """liver: (k, n, n) on the grid, whose voxels lie ``spacing_kji_mm`` apart."""
    found = clean_liver(liver) if settings.clean_liver else liver
    search = close_and_dilate(
        found,
        spacing_kji_mm,
        closing_mm=settings.closing_mm,
        margin_mm=settings.margin_mm,
        fill_holes=settings.fill_holes,
    )
    return LiverRegion(found, search, grid, spacing_kji_mm)


def close_and_dilate(
    mask: Mask,
    spacing_kji_mm: Spacing,
    *,
    closing_mm: float,
    margin_mm: float,
    fill_holes: bool,
) -> Mask:
    """The mask (k, j, i) closed by a ball, filled slice by slice, dilated by a ball.

    Beyond the array's ends there is nothing, so that closing does not stick to them.
    """
    from scipy import ndimage

    result = np.zeros_like(mask)
    around = bounding_box(mask)
    if around is None:
        return result
    reach = [ceil(max(closing_mm, margin_mm) / step) + 1 for step in spacing_kji_mm]
    inner = np.pad(mask[around], [(n, n) for n in reach])
    if closing_mm > 0:
        inner = _within(inner, closing_mm, spacing_kji_mm)
        inner = ~_within(~inner, closing_mm, spacing_kji_mm)
    if fill_holes:
        inner = np.stack([ndimage.binary_fill_holes(plane) for plane in inner])
    if margin_mm > 0:
        inner = _within(inner, margin_mm, spacing_kji_mm)
    outer, source = [], []
    for side, n, length in zip(around, reach, mask.shape, strict=True):
        first, last = max(side.start - n, 0), min(side.stop + n, length)
        outer.append(slice(first, last))
        source.append(slice(first - side.start + n, last - side.start + n))
    result[tuple(outer)] = inner[tuple(source)]
    return result


def _within(mask: Mask, distance_mm: float, spacing_kji_mm: Spacing) -> Mask:
    """Voxels whose center lies within the distance of the mask's; all of nothing is nothing."""
    from scipy import ndimage

    if not mask.any():
        return mask.copy()
    distances: NDArray[np.float64] = ndimage.distance_transform_edt(~mask, spacing_kji_mm)
    return distances <= distance_mm * (1 + 1e-9)
