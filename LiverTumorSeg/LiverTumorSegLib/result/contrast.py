"""Whether a CT was taken without contrast or in the arterial phase: by the aorta and the spleen.

    contrast_of(trunk).phase

Portal-venous CT, which the models learned from, has the aorta at 120 to 180 HU and the spleen at
90 to 140. Both are looked for where they lie in everybody, on the slices that hold liver:

- the aorta: the brightest disk of 12 mm within 40 mm in front of the spine, from the middle to
  30 mm left of it; of the slices the lower quartile, as bowel with contrast may lie there too. The
  front of the spine is where, just right of the middle, bone begins in the rear half of the body.
- the spleen: solid tissue more than 45 mm left of the middle, disks of 12 mm without fat, gas, bone
  or anything brighter than 250 HU; what the brightest tenth of them reaches, as muscles, bowel and
  stomach are darker. Without a spleen this is the left kidney, which contrast brightens too.

Unenhanced: both are below 75 HU, the spleen in any case. Arterial: the aorta has 200 HU or more and
100 more than the liver; a CT that was cut to a window below that does not show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .trunk import BONE_HU, Trunk

Phase = Literal["unenhanced", "arterial", "other"]

DISK_MM = 6.0  # radius
UNENHANCED_HU = 75.0  # without contrast muscles have 50 to 65, the spleen 40 to 60, blood 30 to 50
ARTERIAL_AORTA_HU = 200.0
ARTERIAL_OVER_LIVER_HU = 100.0
SOLID_HU = (20.0, 250.0)
SPLEEN_FROM_MIDDLE_MM = 45.0
BESIDE_LIVER_MM = 9.0  # not counted as spleen: the left lobe's own edge
AORTA_MM = (40.0, 5.0)  # in front of the spine, from and to
AORTA_FROM_MIDDLE_MM = (-3.0, 30.0)  # to the left
RIGHT_OF_MIDDLE_MM = (21.0, 3.0)
SPINE_SHARE = 0.35  # of a row of voxels that is bone, where the spine begins
LEAST_DISKS = 50  # of spleen, to say anything


@dataclass(frozen=True)
class Contrast:
    """The phase, and the CT numbers that tell it; None where no such organ was found."""

    phase: Phase
    aorta_hu: float | None
    spleen_hu: float | None
    liver_hu: float

    @property
    def numbers(self) -> str:
        """For a sentence: aorta, spleen, liver, as far as they are known."""
        organs = (("aorta", self.aorta_hu), ("spleen", self.spleen_hu), ("liver", self.liver_hu))
        return ", ".join(f"{name} {hu:.0f}" for name, hu in organs if hu is not None) + " HU"


def contrast_of(trunk: Trunk) -> Contrast:
    """The phase of a CT by the rule above; "other" is portal-venous, late, or cannot be told."""
    disk = _disk(trunk)
    darkest = ndimage.minimum_filter(trunk.hu, footprint=disk)
    aorta, spleen = _aorta_hu(trunk, darkest), _spleen_hu(trunk, darkest, disk)
    liver = trunk.liver_hu
    phase: Phase = "other"
    dark_aorta = aorta is None or aorta < UNENHANCED_HU
    if dark_aorta and spleen is not None and spleen < UNENHANCED_HU:
        phase = "unenhanced"
    elif (
        aorta is not None
        and not trunk.windowed
        and aorta >= max(ARTERIAL_AORTA_HU, liver + ARTERIAL_OVER_LIVER_HU)
    ):
        phase = "arterial"
    return Contrast(phase, aorta, spleen, liver)


def _disk(trunk: Trunk) -> NDArray[np.bool_]:
    """Voxels within the disk's radius on a slice, ``(1, j, i)``."""
    _, row_mm, column_mm = trunk.spacing_kji_mm
    rows, columns = (int(DISK_MM // mm) for mm in (row_mm, column_mm))
    y, x = np.mgrid[-rows : rows + 1, -columns : columns + 1]
    return np.asarray(np.hypot(y * row_mm, x * column_mm) <= DISK_MM)[None]


def _spleen_hu(trunk: Trunk, darkest: NDArray[np.float32], disk: NDArray[np.bool_]) -> float | None:
    _, row_mm, column_mm = trunk.spacing_kji_mm
    first = max(0, round(trunk.middle + SPLEEN_FROM_MIDDLE_MM / column_mm))
    brightest = ndimage.maximum_filter(trunk.hu, footprint=disk)
    solid = trunk.outline & (darkest > SOLID_HU[0]) & (brightest < SOLID_HU[1])
    solid &= ~ndimage.binary_dilation(trunk.liver, iterations=round(BESIDE_LIVER_MM / row_mm))
    found = darkest[:, :, first:][solid[:, :, first:]]
    return float(np.percentile(found, 90)) if len(found) >= LEAST_DISKS else None


def _aorta_hu(trunk: Trunk, darkest: NDArray[np.float32]) -> float | None:
    _, row_mm, column_mm = trunk.spacing_kji_mm
    front = _spine_front(trunk)
    if front is None:
        return None
    top, bottom = (max(0, round(front - mm / row_mm)) for mm in AORTA_MM)
    left, right = (max(0, round(trunk.middle + mm / column_mm)) for mm in AORTA_FROM_MIDDLE_MM)
    before_spine = darkest[:, top : bottom + 1, left : right + 1]
    return float(np.percentile(before_spine.max(axis=(1, 2)), 25))


def _spine_front(trunk: Trunk) -> int | None:
    """The first row of bone behind the middle of the body; None where there is none."""
    column_mm = trunk.spacing_kji_mm[2]
    first, last = (max(0, round(trunk.middle - mm / column_mm)) for mm in RIGHT_OF_MIDDLE_MM)
    bone = (trunk.hu[:, :, first : last + 1] >= BONE_HU).mean(axis=(0, 2))
    rows = np.flatnonzero(trunk.outline.any(axis=(0, 2)))
    behind = int(rows[0] + rows[-1]) // 2
    found = np.flatnonzero(bone[behind:] > SPINE_SHARE)
    return behind + int(found[0]) if len(found) else None
