"""The part of the body that a liver was found in, on a coarse grid: what anatomy is judged on.

    trunk = Trunk.around_liver(ct_lps, labels_lps)
    trunk.right_share, trunk.width_mm, trunk.spine_mm2

Voxels of about 3 mm are means over the CT's own, so noise hardly counts, and a CT of any size takes
a fraction of a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from LiverTumorSegLib.volume import CtVolume

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

VOXEL_MM = 3.0
WINDOWED_HU = -400  # a CT whose least value is not below this was cut to a window
TISSUE_HU = -300.0  # skin and fat are above, air and lung below
WINDOWED_TISSUE_HU = 4.0  # above the floor of a windowed CT, where fat and air look alike
TABLE_MM = 6.0  # thinner things that touch the body are the table, a tube or a blanket
BONE_HU = 150.0
EDGE = 2  # voxels of a liver that border on something else
MIDLINE_MM = 30.0  # half the width of a vertebra, about


@dataclass(frozen=True, eq=False)
class Trunk:
    """The axial slices that hold liver; arrays (k, j, i) in LPS order.

    hu: float32, means. liver: liver and tumor. outline: the one outline of the body on each slice
        that the liver lies in, lungs and bowel gas filled.
    windowed: whether the CT was cut to a window, so that its fat and gas look alike.
    """

    hu: Floats
    liver: Mask
    outline: Mask
    spacing_kji_mm: tuple[float, float, float]
    windowed: bool

    @classmethod
    def around_liver(cls, ct_lps: CtVolume, labels_lps: NDArray[np.uint8]) -> Trunk:
        """The trunk at the height of the liver that these labels hold."""
        spacing = ct_lps.spacing_kji_mm
        height, width = (
            max(1, round(n * mm / VOXEL_MM))
            for n, mm in zip(ct_lps.shape_kji[1:], spacing[1:], strict=True)
        )
        held = np.flatnonzero(labels_lps.any(axis=(1, 2)))
        step = max(1, round(VOXEL_MM / spacing[0]))
        slices = range(int(held[0]), int(held[-1]) + 1, step)
        size = (width, height)
        hu = np.stack(
            [
                cv2.resize(np.ascontiguousarray(ct_lps.hu[k]), size, interpolation=cv2.INTER_AREA)
                for k in slices
            ]
        ).astype(np.float32)
        share = (
            cv2.resize((labels_lps[k] > 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
            for k in slices
        )
        liver = np.stack([part >= 0.5 for part in share])
        rows, columns = ct_lps.shape_kji[1:]
        least = int(ct_lps.hu.min())
        windowed = least >= WINDOWED_HU
        tissue = hu > (least + WINDOWED_TISSUE_HU if windowed else TISSUE_HU)
        return cls(
            hu=hu,
            liver=liver,
            outline=np.stack([_outline(*pair) for pair in zip(tissue, liver, strict=True)]),
            spacing_kji_mm=(
                spacing[0] * step,
                spacing[1] * rows / height,
                spacing[2] * columns / width,
            ),
            windowed=windowed,
        )

    @property
    def broad(self) -> NDArray[np.intp]:
        """The slices with at least half as much liver as the slice with most."""
        areas = np.count_nonzero(self.liver & self.outline, axis=(1, 2))
        return np.flatnonzero((areas > 0) & (areas >= areas.max() / 2))

    @property
    def found(self) -> bool:
        """Whether there is an outline of a body around the liver at all."""
        return len(self.broad) > 0

    @property
    def seen_whole(self) -> bool:
        """Whether the body's sides are in the image; where they are not, its middle is unknown."""
        if not self.found:
            return False
        at_sides = self.outline[self.broad][:, :, [0, -1]].any(axis=(1, 2))
        return float(at_sides.mean()) < 0.5

    @property
    def liver_hu(self) -> float:
        """The median, away from its edge where it is thick enough."""
        inner = ndimage.binary_erosion(self.liver, iterations=EDGE)
        return float(np.median(self.hu[inner if inner.any() else self.liver]))

    @property
    def middle(self) -> float:
        """The column halfway between the body's sides."""
        left, right = self._sides()
        return float(np.median(left + right) / 2)

    @property
    def width_mm(self) -> float:
        """Width of the body from side to side, at the liver."""
        left, right = self._sides()
        return float(np.median(right - left + 1)) * self.spacing_kji_mm[2]

    @property
    def right_share(self) -> float:
        """Share of the liver that lies on the patient's right of the middle."""
        shares = [
            self.liver[k, :, : round(self.middle)].sum() / self.liver[k].sum() for k in self.broad
        ]
        return float(np.median(shares))

    @property
    def spine_mm2(self) -> float:
        """Bone near the middle of the body, on the median slice."""
        reach = MIDLINE_MM / self.spacing_kji_mm[2]
        columns = slice(max(0, round(self.middle - reach)), round(self.middle + reach) + 1)
        near = self.outline[:, :, columns] & (self.hu[:, :, columns] >= BONE_HU)
        pixel_mm2 = self.spacing_kji_mm[1] * self.spacing_kji_mm[2]
        return float(np.median(near[self.broad].sum(axis=(1, 2)))) * pixel_mm2

    @property
    def within_bone(self) -> float:
        """Share of the liver inside closed rings of bone; ribs leave gaps on every slice."""
        bone = self.hu >= BONE_HU
        inside = np.stack([ndimage.binary_fill_holes(plane) for plane in bone]) & ~bone
        return np.count_nonzero(inside & self.liver) / np.count_nonzero(self.liver)

    def _sides(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """First and last column of the body on each broad slice."""
        columns = [np.flatnonzero(self.outline[k].any(axis=0)) for k in self.broad]
        return (
            np.array([found[0] for found in columns], np.float64),
            np.array([found[-1] for found in columns], np.float64),
        )


def _outline(tissue: Mask, liver: Mask) -> Mask:
    """Of the bodies on a slice (two legs are two), the one that holds most of the liver."""
    thick = ndimage.binary_opening(
        ndimage.binary_fill_holes(tissue), iterations=round(TABLE_MM / VOXEL_MM)
    )
    bodies, count = ndimage.label(thick)
    held = np.bincount(bodies[liver], minlength=count + 1)
    held[0] = 0
    return np.asarray((bodies == held.argmax()) & (held.max() > 0))
