"""The liver of one CT laid onto that of another: the rigid movement between two dates.

    found = register(baseline_ct, baseline_labels, followup_ct, followup_labels)
    found.to_followup @ [r, a, s, 1]        # RAS mm of the baseline -> RAS mm of the follow-up
    found.error_mm

Both liver surfaces are laid onto each other by their distance maps, from several starting turns;
then the gray values inside (vessels above all) join in. A liver is soft, so something always
remains: the error says how much.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import CtVolume, bounding_box

Array = NDArray[Any]
Points = NDArray[np.float64]  # (n, 3) RAS mm
Matrix = NDArray[np.floating[Any]]  # (4, 4)

GRID_MM = 3.0  # of the distance and gray maps
AROUND_MM = 45.0  # how far beyond the liver they reach
SURFACE_POINTS, INSIDE_POINTS = 1500, 4000
FEW_POINTS = 300  # while a start is sought
START_DEGREES = (-30.0, 0.0, 30.0)  # about each axis
FAR_MM = 6.0  # surface distances beyond it count less: livers change their shape, and are cut off
GRAY_HU = (-20.0, 220.0)
GRAY_WEIGHT_MM = 1.0  # of a difference of one standard deviation, in mm of surface
SMOOTH_MM = 2.5
ERROR_PERCENTILE = 95.0
LEAST_LIVER_VOXELS = 50


@dataclass(frozen=True, eq=False)
class Registration:
    """A rigid movement and how well it fits.

    to_followup: 4 x 4, RAS mm of the baseline to RAS mm of the follow-up.
    error_mm: 95 % of both liver surfaces lie nearer than that to the other one.
    mean_mm: the mean of these distances.
    """

    to_followup: NDArray[np.float64]
    error_mm: float
    mean_mm: float

    def apply(self, points_ras_mm: Points) -> Points:
        return moved(self.to_followup, points_ras_mm)

    @property
    def to_baseline(self) -> Matrix:
        return np.linalg.inv(self.to_followup)

    @property
    def degrees(self) -> float:
        """The angle of the turn."""
        cosine = (np.trace(self.to_followup[:3, :3]) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def register(
    baseline: CtVolume,
    baseline_labels: NDArray[np.uint8],
    followup: CtVolume,
    followup_labels: NDArray[np.uint8],
) -> Registration:
    """Find the movement; labels ``(k, j, i)`` on each CT's own grid, tumor is part of the liver.

    Repeatable: nothing is drawn at random. Raises ``ValueError`` when either liver is missing.
    """
    from scipy.optimize import least_squares

    one, other = _Liver.of(baseline, baseline_labels), _Liver.of(followup, followup_labels)
    few = _Fit(one.thinned(FEW_POINTS), other.thinned(FEW_POINTS), gray=False)
    starts = sorted(_starts(), key=few.cost)[:3]
    options: dict[str, Any] = {"loss": "soft_l1", "f_scale": FAR_MM, "x_scale": "jac"}
    best = min(
        (least_squares(few, start, max_nfev=25, **options) for start in starts),
        key=lambda found: found.cost,
    ).x
    best = least_squares(_Fit(one, other, gray=False), best, max_nfev=25, **options).x
    best = least_squares(_Fit(one, other, gray=True), best, max_nfev=25, **options).x
    fit = _Fit(one, other, gray=False)
    distances_mm = np.abs(fit(best))
    return Registration(
        fit.matrix(best),
        float(np.percentile(distances_mm, ERROR_PERCENTILE)),
        float(distances_mm.mean()),
    )


def moved(matrix: Matrix, points_mm: Points) -> Points:
    """Points (n, 3) moved by a 4 x 4 matrix."""
    result: Points = points_mm @ matrix[:3, :3].T + matrix[:3, 3]
    return result


@dataclass(frozen=True, eq=False)
class _Map:
    """A scalar (x, y, z) on an upright grid of GRID_MM whose first voxel lies at ``origin_mm``."""

    values: NDArray[np.float32]
    origin_mm: NDArray[np.float64]

    def at(self, points_mm: Points) -> NDArray[np.float32]:
        """Linear in between; the value at the edge beyond it."""
        from scipy import ndimage

        where = ((points_mm - self.origin_mm) / GRID_MM).T
        found: NDArray[np.float32] = ndimage.map_coordinates(
            self.values, where, order=1, mode="nearest"
        )
        return found


@dataclass(frozen=True, eq=False)
class _Liver:
    """A liver as registration compares it: a distance map, gray values, points.

    distance: mm to its surface, negative inside. gray: smooth HU in standard deviations around the
    liver's own median. surface, inside: points of it; those inside lie in no tumor.
    """

    distance: _Map
    gray: _Map
    surface: Points
    inside: Points

    @classmethod
    def of(cls, ct: CtVolume, labels: NDArray[np.uint8]) -> _Liver:
        from scipy import ndimage

        if np.count_nonzero(labels) < LEAST_LIVER_VOXELS:
            raise ValueError("One of the two has no liver in its labels; nothing can be compared.")
        box_labels, origin_mm = _upright(labels, ct.ijk_to_ras, labels)
        box_hu, _ = _upright(ct.hu, ct.ijk_to_ras, labels)
        liver = box_labels >= Label.LIVER
        edge = liver & ~ndimage.binary_erosion(liver)
        away = ndimage.distance_transform_edt(~edge) * np.where(liver, -GRID_MM, GRID_MM)
        distance = away.astype(np.float32)
        smooth = ndimage.gaussian_filter(
            np.clip(box_hu.astype(np.float32), *GRAY_HU), SMOOTH_MM / GRID_MM
        )
        healthy = box_labels == Label.LIVER
        within = healthy & (distance < -GRID_MM)
        core = smooth[within if within.any() else liver]
        spread = max(float(core.std()), 1.0)
        gray = np.clip((smooth - np.median(core)) / spread, -4, 4).astype(np.float32)
        return cls(
            distance=_Map(distance, origin_mm),
            gray=_Map(gray, origin_mm),
            surface=_spread(np.argwhere(edge), SURFACE_POINTS) * GRID_MM + origin_mm,
            inside=_spread(np.argwhere(within), INSIDE_POINTS) * GRID_MM + origin_mm,
        )

    def thinned(self, count: int) -> _Liver:
        """The same liver with fewer points."""
        return _Liver(self.distance, self.gray, _spread(self.surface, count), self.inside[:0])

    @property
    def center_mm(self) -> NDArray[np.float64]:
        center: NDArray[np.float64] = self.surface.mean(axis=0)
        return center


def _upright(
    array: Array, ijk_to_ras: Array, labels: NDArray[np.uint8]
) -> tuple[Array, NDArray[np.float64]]:
    """An array (k, j, i) at the nearest voxels of an upright grid (x, y, z) around the liver.

    Beyond the array the value at its edge goes on, but for labels, which end there.
    """
    from scipy import ndimage

    held = bounding_box(labels)
    assert held is not None  # whoever registers has looked whether there is a liver
    ends_ijk = np.array(list(product(*[(s.start, s.stop - 1) for s in held[::-1]])))
    corners_mm = moved(ijk_to_ras, ends_ijk.astype(np.float64))
    origin_mm = corners_mm.min(axis=0) - AROUND_MM
    shape = np.ceil((corners_mm.max(axis=0) + AROUND_MM - origin_mm) / GRID_MM).astype(int) + 1
    to_ijk = np.linalg.inv(ijk_to_ras)
    matrix = (to_ijk[:3, :3] * GRID_MM)[::-1]  # rows k, j, i; columns x, y, z
    offset = moved(to_ijk, origin_mm[None])[0][::-1]
    sampled = np.empty(shape, array.dtype)
    ndimage.affine_transform(
        array,
        matrix,
        offset,
        output_shape=sampled.shape,
        output=sampled,
        order=0,
        mode="grid-constant" if array is labels else "nearest",
    )
    return sampled, origin_mm


def _spread(points: Array, count: int) -> Array:
    """At most so many of them, evenly taken."""
    if len(points) <= count:
        return points
    some: Array = points[np.linspace(0, len(points) - 1, count).astype(int)]
    return some


class _Fit:
    """How far two livers lie apart after a movement of six numbers: a rotation vector (radians)
    about the baseline liver's center, then a shift (mm) from center to center."""

    def __init__(self, one: _Liver, other: _Liver, *, gray: bool) -> None:
        self.one, self.other, self.gray = one, other, gray
        self.expected = one.gray.at(one.inside) if gray else None

    def matrix(self, movement: Array) -> NDArray[np.float64]:
        from scipy.spatial.transform import Rotation

        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_rotvec(movement[:3]).as_matrix()
        center = self.one.center_mm
        matrix[:3, 3] = self.other.center_mm + movement[3:] - matrix[:3, :3] @ center
        return matrix

    def __call__(self, movement: Array) -> Array:
        """Distances in mm of both surfaces, then gray values that differ, weighted as mm."""
        there = self.matrix(movement)
        back = np.linalg.inv(there)
        parts = [
            self.other.distance.at(moved(there, self.one.surface)),
            self.one.distance.at(moved(back, self.other.surface)),
        ]
        if self.expected is not None and len(self.expected):
            differs = self.other.gray.at(moved(there, self.one.inside)) - self.expected
            share = np.sqrt(sum(map(len, parts)) / len(differs))
            parts.append(GRAY_WEIGHT_MM * share * differs)
        return np.concatenate(parts).astype(np.float64)

    def cost(self, movement: Array) -> float:
        return float(np.abs(self(movement)).mean())


def _starts() -> Iterator[NDArray[np.float64]]:
    """No shift, and turns about each axis and several at a time."""
    for degrees in product(START_DEGREES, repeat=3):
        yield np.array([*np.radians(degrees), 0.0, 0.0, 0.0])
