"""What the picture itself says of a CT's geometry: how wide the body is, and which way it lies.

    warnings = check_body(ct)

Headers lie more often than bones: the spine runs behind the middle of the body, and lungs above
the belly. Only warnings come of it, and only where air around the body shows its outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.volume import CtVolume

BODY_HU, BONE_HU, LUNG_HU = -300, 250, (-950, -600)
BODY_WIDTH_MM = (150.0, 750.0)  # of an adult's or a child's trunk, arms included
MOST_SAMPLES = 128  # along an axis: enough for an outline and for bones, in any unit
SMALLEST_SHARE, LARGEST_SHARE = 0.05, 0.9  # of a slice: a body with air around it
CUT_SHARE = 0.1  # of the slice's rim: less body there is a body seen whole
FEWEST_SLICES = 5
SPINE_BAND = 0.15  # of the body's width to either side of its middle
SPINE_FEWEST = 50  # bone samples
SPINE_IN_FRONT = -0.2  # of the body's half depth; a real spine's bones have their median near 0.4
LUNG_SHARE, LUNG_TIMES = 0.12, 6.0  # of the body, at the wrong end; more than at the right one


@dataclass(frozen=True)
class _Outline:
    """A coarse CT in LPS with its body: arrays ``(k, j, i)``, spacing in mm."""

    hu: NDArray[np.int16]
    body: NDArray[np.bool_]
    spacing_kji_mm: tuple[float, float, float]


def check_body(ct: CtVolume) -> tuple[str, ...]:
    """Warnings, one sentence each; none where no body with air around it is seen."""
    outline = _outline(ct)
    if outline is None:
        return ()
    return (*_width_warning(outline), *_spine_warning(outline), *_lung_warning(outline))


def _outline(ct: CtVolume) -> _Outline | None:
    """The body in those slices that show it whole; None when there are too few of them."""
    from scipy import ndimage

    coarse = _coarse_lps(ct)
    slices, bodies = [], []
    for k, plane in enumerate(coarse.hu):
        parts, count = ndimage.label(ndimage.binary_opening(plane > BODY_HU))
        if not count:
            continue
        largest = 1 + int(np.bincount(parts.ravel())[1:].argmax())
        body = ndimage.binary_fill_holes(parts == largest)
        rim = np.concatenate([body[0], body[-1], body[:, 0], body[:, -1]])
        if SMALLEST_SHARE < body.mean() < LARGEST_SHARE and rim.mean() < CUT_SHARE:
            slices.append(k)
            bodies.append(body)
    if len(slices) < FEWEST_SLICES:
        return None
    return _Outline(coarse.hu[slices], np.array(bodies), coarse.spacing_kji_mm)


def _coarse_lps(ct: CtVolume) -> CtVolume:
    """Every so many voxels of a CT, in LPS."""
    steps = [-(-count // MOST_SAMPLES) for count in ct.shape_kji]
    k, j, i = steps
    return CtVolume(ct.hu[::k, ::j, ::i], ct.ijk_to_ras @ np.diag([i, j, k, 1.0])).to_lps()[0]


def _width_warning(outline: _Outline) -> tuple[str, ...]:
    """The body of the widest slices, from the patient's right to left."""
    columns = outline.body.max(axis=1)  # (k, i)
    first = columns.argmax(axis=1)
    last = columns.shape[1] - columns[:, ::-1].argmax(axis=1)
    width_mm = float(np.percentile(last - first, 90)) * outline.spacing_kji_mm[2]
    low, high = BODY_WIDTH_MM
    if low <= width_mm <= high:
        return ()
    return (
        sentence(
            "The body in this CT would be {width_mm:.0f} mm wide; its voxel spacing"
            " is probably wrong, and every volume and diameter with it: export the "
            "scan again with its spacing.",
            width_mm=width_mm,
        ),
    )


def _spine_warning(outline: _Outline) -> tuple[str, ...]:
    """Bones near the body's middle line are the spine's, which is at the back."""
    heights = []  # of each bone sample, -1 at the front of the body and 1 at its back
    for plane, body in zip(outline.hu, outline.body, strict=True):
        j, i = np.nonzero(body)
        width, depth = np.ptp(i) + 1, np.ptp(j) + 1
        apart = np.abs(np.arange(plane.shape[1]) - (i.min() + i.max()) / 2)
        rows, _ = np.nonzero((plane > BONE_HU) & body & (apart < SPINE_BAND * width))
        heights.append((rows - (j.min() + j.max()) / 2) / (depth / 2))
    height = np.concatenate(heights)
    if len(height) < SPINE_FEWEST or np.median(height) > SPINE_IN_FRONT:
        return ()
    return (
        "The spine in this CT lies in front, so its header has front and back exchanged (or the"
        " CT is turned over); left and right, and the result, may be wrong: export it again with"
        " its orientation.",
    )


def _lung_warning(outline: _Outline) -> tuple[str, ...]:
    """Much lung at the lower end and next to none at the upper one."""
    low, high = LUNG_HU
    is_lung = (outline.hu > low) & (outline.hu < high) & outline.body
    shares = is_lung.sum(axis=(1, 2)) / outline.body.sum(axis=(1, 2))
    third = max(1, len(shares) // 3)
    bottom, top = float(shares[:third].mean()), float(shares[-third:].mean())
    if bottom < LUNG_SHARE or bottom < LUNG_TIMES * top:
        return ()
    return (
        "The lungs in this CT lie at its lower end, so its header has head and feet exchanged;"
        " the result may be wrong: export it again with its orientation.",
    )
