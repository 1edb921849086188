"""What the overview shows of a volume: which slices, which part of them, at which scale.

All arrays here lie the LPS way: i to the patient's left, j to posterior, k to the head. A plane
lies as it is shown: rows from top to bottom, columns from left to right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .drawing import FINE, Image

Array = NDArray[Any]
Extent = tuple[float, float, float, float]  # left, top, right, bottom of a plane in mm

WINDOW_HU = (-110, 200)  # fat a dark gray, and still contrast within the liver
AIR_HU = -200  # below: outside the body
CLIPPED_HU = -150  # a scan that holds nothing below this has lost its air
MARGIN_MM = 12.0
ROUNDING = 0.5  # voxels: how far an outline is smoothed


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane through the volume, all arrays ``(rows, columns)``.

    lesions: lesion numbers, 0 elsewhere; None where no tags are wanted. spacing_mm: of rows and
    of columns.
    """

    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None
    lesions: Array | None
    spacing_mm: tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """Where a plane lies in a cell of ``width x height`` page pixels.

    left_mm, top_mm: what is at the cell's upper left corner; scale: page pixels per mm.
    """

    left_mm: float
    top_mm: float
    scale: float
    width: float
    height: float

    @classmethod
    def around(cls, extent: Extent, width: float, height: float) -> Frame:
        """The extent in the middle of the cell, as large as it fits."""
        left, top, right, bottom = (round(v, 6) for v in extent)
        scale = min(width / (right - left), height / (bottom - top))
        x, y = (left + right) / 2, (top + bottom) / 2
        return cls(x - width / scale / 2, y - height / scale / 2, scale, width, height)

    def to_cell(self, x_mm: float, y_mm: float) -> tuple[float, float]:
        """Page pixels from the cell's corner."""
        return (x_mm - self.left_mm) * self.scale, (y_mm - self.top_mm) * self.scale

    def resample(self, plane: Array, spacing_mm: tuple[float, float], *, floor: float) -> Array:
        """A float32 plane on the cell's fine pixels; ``floor`` beyond the plane's edge."""
        fine = self.scale * FINE
        row_mm, column_mm = spacing_mm
        # voxel and pixel centers lie half a step inside their edges
        matrix = np.array(
            [
                [column_mm * fine, 0, (column_mm / 2 - self.left_mm) * fine - 0.5],
                [0, row_mm * fine, (row_mm / 2 - self.top_mm) * fine - 0.5],
            ]
        )
        size = (round(self.width * FINE), round(self.height * FINE))
        result: Array = cv2.warpAffine(
            np.ascontiguousarray(plane, dtype=np.float32),
            matrix,
            size,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=floor,
        )
        return result

    def gray(self, plane: Plane, window_hu: tuple[int, int]) -> Image:
        """The windowed CT, uint8 ``(rows, columns)`` of fine pixels."""
        low, high = window_hu
        shown = self.resample(np.clip(plane.hu, low, high), plane.spacing_mm, floor=low)
        return np.rint((shown - low) * (255.0 / (high - low))).astype(np.uint8)

    def inside(self, mask: Array, spacing_mm: tuple[float, float]) -> Array:
        """A mask in fine pixels, its outline smooth between voxels.

        The distance to the outline is interpolated, not the mask: so a slanting outline does not
        step from slice to slice. Rounding the corners of the voxels moves the outline by a
        quarter of a voxel at most: a lesion of one voxel keeps its outline.
        """
        from scipy import ndimage

        found = mask_box(mask)
        if found is None:
            return np.zeros((round(self.height * FINE), round(self.width * FINE)), bool)
        left, top, right, bottom = found
        part = np.pad(mask[top:bottom, left:right], 2)
        distance_mm = ndimage.distance_transform_edt(part, sampling=spacing_mm)
        distance_mm -= ndimage.distance_transform_edt(~part, sampling=spacing_mm)
        rounded_mm = cv2.GaussianBlur(distance_mm, (3, 3), ROUNDING)
        kept_mm = np.maximum(rounded_mm, distance_mm - min(spacing_mm) / 2)
        row_mm, column_mm = spacing_mm
        local = replace(
            self,
            left_mm=self.left_mm - (left - 2) * column_mm,
            top_mm=self.top_mm - (top - 2) * row_mm,
        )
        return np.asarray(local.resample(kept_mm, spacing_mm, floor=-max(spacing_mm)) > 0)


def choose_window(planes: Sequence[Plane]) -> tuple[int, int]:
    """Lower and upper HU to show: narrower where the scan itself was clipped.

    Otherwise the air of a scan clipped to [-40, 160] would be gray.
    """
    low, high = WINDOW_HU
    least = min(int(plane.hu.min()) for plane in planes)
    most = max(int(plane.hu.max()) for plane in planes)
    if least <= CLIPPED_HU:
        return low, high
    low = max(low, least)
    return low, max(min(high, most), low + 1)


def liver_profile(labels: NDArray[np.uint8]) -> tuple[Array, Array, Array]:
    """Voxels of liver and tumor in each k, each j and each i. Slice by slice: no large copies."""
    along_k = np.zeros(labels.shape[0], np.int64)
    along_j, along_i = (np.zeros(n, np.int64) for n in labels.shape[1:])
    for k, plane in enumerate(labels):
        if plane.any():
            mask = plane > 0
            rows = np.count_nonzero(mask, axis=1)
            along_k[k] = rows.sum()
            along_j += rows
            along_i += np.count_nonzero(mask, axis=0)
    return along_k, along_j, along_i


def choose_slices(
    liver_voxels: Array, lesion_slices: Sequence[int], slice_mm: float, count: int
) -> list[int]:
    """Up to ``count`` slices, head first.

    liver_voxels: of each slice. lesion_slices: where each lesion is widest, largest lesion first.
    Lesions come first, unless a chosen slice lies close by; then whatever slice lies farthest from
    those chosen and from both ends of the liver. Without a liver: spread over the scan.
    """
    last = len(liver_voxels) - 1
    full = np.flatnonzero(liver_voxels > 0.08 * liver_voxels.max())
    first, end = (int(full[0]), int(full[-1])) if len(full) else (last // 12, last - last // 12)
    missing = max(0, count - (end - first + 1))
    first = max(0, min(first - missing // 2, last + 1 - count)) if missing else first
    end = min(last, max(end, first + count - 1))
    gap = max(1.0, (end - first) / (2.0 * count), 3.0 / slice_mm)
    chosen: list[int] = []
    for k in lesion_slices:
        if len(chosen) < count and all(abs(k - other) >= gap for other in chosen):
            chosen.append(k)
    first, end = min(first, *chosen, end), max(end, *chosen, first)
    chosen = list({*chosen, *_between(chosen, first, end, count - len(chosen))})
    spare = (k for k in range(first, end + 1) if k not in chosen)
    chosen += list(islice(spare, count - len(chosen)))
    return sorted(chosen, reverse=True)


def _between(chosen: Sequence[int], first: int, end: int, count: int) -> list[int]:
    """``count`` more slices, each put where the gap is widest; even within a gap.

    At the ends of the liver nothing is shown: a gap there counts double.
    """
    stops = [first - 0.5, *sorted(chosen), end + 0.5]
    lengths = np.diff(stops)
    points = np.zeros(len(lengths), np.int64)
    fixed = np.ones(len(lengths))  # what a gap is divided by, beyond its points
    fixed[0] -= 0.5
    fixed[-1] -= 0.5
    for _ in range(count):
        points[np.argmax(lengths / np.maximum(points + fixed, 1e-9))] += 1
    found: list[int] = []
    for n, (start, length) in enumerate(zip(stops, lengths, strict=False)):
        step = length / max(points[n] + fixed[n], 1e-9)
        offset = 0.5 if n == 0 else 1.0
        found += [
            int(np.clip(round(start + (p + offset) * step), first, end)) for p in range(points[n])
        ]
    return found


def body_extent(planes: Sequence[Plane]) -> Extent:
    """The body on all these planes of one size, and all labels, with a margin; mm."""
    clipped = min(int(plane.hu.min()) for plane in planes) > CLIPPED_HU
    boxes = [_body_box(plane, clipped) for plane in planes]
    boxes += [box for plane in planes if (box := mask_box(plane.labels > 0)) is not None]
    row_mm, column_mm = planes[0].spacing_mm
    left, top = (min(box[n] for box in boxes) for n in (0, 1))
    right, bottom = (max(box[n] for box in boxes) for n in (2, 3))
    return padded((left * column_mm, top * row_mm, right * column_mm, bottom * row_mm), MARGIN_MM)


def padded(extent: Extent, margin_mm: float) -> Extent:
    """The extent with a margin on every side."""
    left, top, right, bottom = extent
    return left - margin_mm, top - margin_mm, right + margin_mm, bottom + margin_mm


def mask_box(mask: Array) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom (both last ones exclusive) of a 2D mask; None when it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _body_box(plane: Plane, clipped: bool) -> tuple[int, int, int, int]:
    """The largest piece of tissue: the table is another one. The whole plane when there is none.

    In a clipped scan fat looks like air: the body is the tissue with the gaps between it closed.
    """
    floor = int(plane.hu.min()) + 15 if clipped else AIR_HU
    size = [max(1, round((12.0 if clipped else 7.0) / mm)) for mm in plane.spacing_mm[::-1]]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size)
    action = cv2.MORPH_CLOSE if clipped else cv2.MORPH_OPEN
    tissue = cv2.morphologyEx((plane.hu > floor).astype(np.uint8), action, kernel)
    count, _, stats, _ = cv2.connectedComponentsWithStats(tissue, connectivity=4)
    if count < 2:
        return 0, 0, plane.hu.shape[1], plane.hu.shape[0]
    left, top, width, height, _ = stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))]
    return int(left), int(top), int(left + width), int(top + height)
