"""The contrast phase of a CT, by the gray values of aorta, vessels in the liver, spleen and liver.

    contrast_of(trunk).phase

They are looked for where they lie in everybody, on the slices that hold liver:

- the front of the spine is where, just right of the middle, bone begins in the rear half of the
  body; the aorta lies left of the middle, before the spine or beside it.
- blood: the brightest disk of 12 mm within 40 mm before the spine and 30 mm left of the middle; of
  the slices the lower quartile, as bowel with contrast may lie there too.
- vessels: on each slice the brightest disk of 9 mm inside the liver, which is a branch of the
  portal or a liver vein where these are bright; of the slices the upper quartile.
- the spleen: solid tissue more than 45 mm left of the middle, disks of 12 mm without fat, gas, bone
  or anything brighter than 250 HU; what the brightest tenth of them reaches, as muscles, bowel and
  stomach are darker. Without a spleen this is the left kidney, which contrast brightens too.

The rule, its first line that holds:

- unknown: less than 30 mm of liver, where the one bright thing before the spine may be a gullet
  with contrast.
- arterial: on most slices there is an even disk of 9 mm before or beside the spine, left of the
  middle, with at least 200 HU and 100 more than the liver, and none on the right, as dense bone
  would have. A CT that was cut to a window below that does not show it.
- unenhanced: spleen and blood are below 75 HU; the spleen must be there.
- unknown: the liver is at the top of a window; or blood or vessels are more than 80 HU brighter
  than it; or the spleen is by more than 55 HU, and blood and vessels are not by 20.
- portal-venous: blood or vessels are at least 10 HU brighter than the liver.
- late: neither is, where the spleen was found. Else unknown.

Measured by ``Testing/lib/result/test_contrast.py`` with the reference livers of 30 CTs of 24
patients of LiTS, all enhanced and windowed: 28 portal-venous, 2 unknown, none anything else. LiTS
states no phase and the bounds were set on these CTs, so that is consistency, not accuracy. One
unenhanced CT, and phantoms of all four phases, are classified correctly; three more slices of
another are unknown, as they should be. No real arterial or late CT was at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from LiverTumorSegLib.ct.phase import Phase

from .trunk import BONE_HU, Trunk

DISK_MM = 6.0  # radius
UNENHANCED_HU = 75.0  # without contrast muscles have 50 to 65, the spleen 40 to 60, blood 30 to 50
ARTERIAL_HU = 200.0
ARTERIAL_OVER_LIVER_HU = 100.0
EVEN_DISK_MM, EVEN_HU = 4.5, 60.0  # radius, and between the brightest and the darkest voxel
MOST_SLICES, FEW_SLICES = 0.6, 0.3
SOLID_HU = (20.0, 250.0)
SPLEEN_FROM_MIDDLE_MM = 45.0
BESIDE_LIVER_MM = (
    9.0  # not counted as spleen: the left lobe's own edge; nor as vessels in the liver
)
BEFORE_SPINE_MM = (40.0, 5.0)  # from and to
BESIDE_SPINE_MM = 25.0  # behind its front
FROM_MIDDLE_MM = (-3.0, 30.0)  # to the left
RIGHT_OF_MIDDLE_MM = (21.0, 3.0)
SPINE_SHARE = 0.35  # of a row of voxels that is bone, where the spine begins
LEAST_LIVER_MM = 30.0  # from its lowest to its highest slice
LEAST_DISKS = 50  # of spleen, to say anything
SATURATED_HU = 140.0  # a liver in a CT that was cut to a window, below whose top nothing is visible
ARTERY_HU = 80.0  # over the liver: no vein is that bright
EARLY_SPLEEN_HU, EARLY_VESSELS_HU = 55.0, 20.0  # over the liver
VESSELS_OVER_LIVER_HU = 10.0


@dataclass(frozen=True)
class Contrast:
    """The phase, and the CT numbers that show it; None where no such organ was found."""

    phase: Phase
    blood_hu: float | None
    vessels_hu: float | None
    spleen_hu: float | None
    liver_hu: float


def contrast_of(trunk: Trunk) -> Contrast:
    """The phase of a CT by the rule above."""
    front = _spine_front(trunk)
    disk = _disk(trunk, DISK_MM)
    darkest = ndimage.minimum_filter(trunk.hu, footprint=disk)
    spleen = _spleen_hu(trunk, darkest, disk)
    blood = None if front is None else _blood_hu(trunk, darkest, front)
    found = Contrast("unknown", blood, _vessels_hu(trunk), spleen, trunk.liver_hu)
    if len(trunk.hu) * trunk.spacing_kji_mm[0] < LEAST_LIVER_MM:
        return found
    if front is not None and not trunk.windowed and _is_arterial(trunk, front):
        return replace(found, phase="arterial")
    return replace(found, phase=_phase_of(found, windowed=trunk.windowed))


def _phase_of(found: Contrast, *, windowed: bool) -> Phase:
    """All of the rule but the arterial phase."""
    if found.spleen_hu is not None and max(found.spleen_hu, found.blood_hu or 0.0) < UNENHANCED_HU:
        return "unenhanced"
    bright = [hu for hu in (found.blood_hu, found.vessels_hu) if hu is not None]
    if not bright or (windowed and found.liver_hu >= SATURATED_HU):
        return "unknown"
    vessels = max(bright) - found.liver_hu
    spleen = 0.0 if found.spleen_hu is None else found.spleen_hu - found.liver_hu
    if vessels > ARTERY_HU or (spleen > EARLY_SPLEEN_HU and vessels < EARLY_VESSELS_HU):
        return "unknown"
    if vessels >= VESSELS_OVER_LIVER_HU:
        return "portal-venous"
    return "unknown" if found.spleen_hu is None else "late"


def _vessels_hu(trunk: Trunk) -> float | None:
    """Inside the liver, away from its edge, where other organs shine in."""
    inner = ndimage.binary_erosion(
        trunk.liver,
        structure=np.ones((1, 3, 3), bool),
        iterations=round(BESIDE_LIVER_MM / trunk.spacing_kji_mm[1]),
    )
    darkest = ndimage.minimum_filter(trunk.hu, footprint=_disk(trunk, EVEN_DISK_MM))
    held = inner.any(axis=(1, 2))
    if not held.any():
        return None
    brightest = np.where(inner, darkest, -np.inf)[held].max(axis=(1, 2))
    return float(np.percentile(brightest, 75))


def _disk(trunk: Trunk, radius_mm: float) -> NDArray[np.bool_]:
    """Voxels within a radius on a slice, ``(1, j, i)``."""
    _, row_mm, column_mm = trunk.spacing_kji_mm
    rows, columns = (int(radius_mm // mm) for mm in (row_mm, column_mm))
    y, x = np.mgrid[-rows : rows + 1, -columns : columns + 1]
    return np.asarray(np.hypot(y * row_mm, x * column_mm) <= radius_mm)[None]


def _spleen_hu(trunk: Trunk, darkest: NDArray[np.float32], disk: NDArray[np.bool_]) -> float | None:
    _, row_mm, column_mm = trunk.spacing_kji_mm
    first = max(0, round(trunk.middle + SPLEEN_FROM_MIDDLE_MM / column_mm))
    brightest = ndimage.maximum_filter(trunk.hu, footprint=disk)
    solid = trunk.outline & (darkest > SOLID_HU[0]) & (brightest < SOLID_HU[1])
    solid &= ~ndimage.binary_dilation(trunk.liver, iterations=round(BESIDE_LIVER_MM / row_mm))
    found = darkest[:, :, first:][solid[:, :, first:]]
    return float(np.percentile(found, 90)) if len(found) >= LEAST_DISKS else None


def _blood_hu(trunk: Trunk, darkest: NDArray[np.float32], front: int) -> float | None:
    _, row_mm, column_mm = trunk.spacing_kji_mm
    top, bottom = (max(0, round(front - mm / row_mm)) for mm in BEFORE_SPINE_MM)
    left, right = (max(0, round(trunk.middle + mm / column_mm)) for mm in FROM_MIDDLE_MM)
    before_spine = darkest[:, top : bottom + 1, left : right + 1]
    return float(np.percentile(before_spine.max(axis=(1, 2)), 25)) if before_spine.size else None


def _is_arterial(trunk: Trunk, front: int) -> bool:
    """Whether an aorta full of contrast lies left of the middle."""
    _, row_mm, column_mm = trunk.spacing_kji_mm
    disk = _disk(trunk, EVEN_DISK_MM)
    darkest = ndimage.minimum_filter(trunk.hu, footprint=disk)
    even = ndimage.maximum_filter(trunk.hu, footprint=disk) - darkest <= EVEN_HU
    bright = even & (darkest >= max(ARTERIAL_HU, trunk.liver_hu + ARTERIAL_OVER_LIVER_HU))
    middle, reach = round(trunk.middle), round(FROM_MIDDLE_MM[1] / column_mm)
    top = max(0, round(front - BEFORE_SPINE_MM[0] / row_mm))
    bottom = round(front + BESIDE_SPINE_MM / row_mm)
    on_left = bright[:, top:bottom, middle : middle + reach].any(axis=(1, 2))
    on_right = bright[:, front:bottom, max(0, middle - reach) : middle].any(axis=(1, 2))
    return bool(on_left.mean() >= MOST_SLICES and on_right.mean() <= FEW_SLICES)


def _spine_front(trunk: Trunk) -> int | None:
    """The first row of bone behind the middle of the body; None where there is none."""
    column_mm = trunk.spacing_kji_mm[2]
    first, last = (max(0, round(trunk.middle - mm / column_mm)) for mm in RIGHT_OF_MIDDLE_MM)
    bone = (trunk.hu[:, :, first : last + 1] >= BONE_HU).mean(axis=(0, 2))
    rows = np.flatnonzero(trunk.outline.any(axis=(0, 2)))
    behind = int(rows[0] + rows[-1]) // 2
    found = np.flatnonzero(bone[behind:] > SPINE_SHARE)
    return behind + int(found[0]) if len(found) else None
