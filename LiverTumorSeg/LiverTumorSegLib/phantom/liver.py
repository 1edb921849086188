"""The phantom's liver with its vessels and gallbladder, and the tumors in it.

All positions are LPS millimeters around the patient's center (x left, y posterior, z superior).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from . import organs
from .shapes import Grain, Grid, Points, Warp, Wobble, cone, ellipsoid, random_axes, smooth_max
from .trunk import Patient

Array = NDArray[Any]
VISCERAL_NORMAL = np.array([0.56, 0.44, -0.70])  # toward left, back and feet; length 1
PLANNING_MM = 4.0  # the grid on which the liver's size is set and tumors find room
LIVER_BOX_MM = ((-150.0, -130.0, -140.0), (115.0, 110.0, 110.0))
MAX_TUMORS = 40


class Liver:
    """The liver's outline, its gallbladder and its vessels."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.rng = patient.rng("liver")
        self._warp = Warp(patient.rng("liver warp"), 4.5, 100)
        self._surface = Wobble(patient.rng("liver surface"), 0.7, 60)
        self.cava = organs.great_vessels(patient)["cava"]
        self._offset_mm = 0.0
        self._set_size(target_ml=self.rng.uniform(1150, 1850))

    def _set_size(self, target_ml: float) -> None:
        """Move the visceral surface until the volume is right (bisection on a coarse grid)."""
        self.planning = _planning_grid()
        points = self.planning.whole().points
        low, high = -60.0, 90.0
        for _ in range(9):
            self._offset_mm = (low + high) / 2
            self.inside = self.distance(points) < 0
            too_big = self.inside.sum() * PLANNING_MM**3 / 1000 > target_ml
            low, high = (low, self._offset_mm) if too_big else (self._offset_mm, high)

    def on_visceral_surface(self, x: float, y: float) -> Array:
        nx, ny, nz = VISCERAL_NORMAL
        return np.array([x, y, (self._offset_mm - nx * x - ny * y) / nz])

    def gallbladder(self, points: Points) -> Array:
        center = self.on_visceral_surface(-38.0, self.patient.front_y_mm + 46)
        axes = np.array([[0.35, 0.80, 0.49], [0.91, -0.41, 0.0], [0.2, 0.45, -0.87]])
        warped = Warp(self.patient.rng("gallbladder"), 2, 40)(points)
        return ellipsoid(warped, center + np.array([6.0, 2.0, -8.0]), (34, 15, 15), axes)

    def hilum(self) -> Array:
        entry = self.on_visceral_surface(-14.0, self.patient.spine_y_mm - 50)
        return _beside(entry, -6, -3, 6)

    def distance(self, points: Points) -> Array:
        """Signed distance to the outline in mm (vessels inside are liver; the vena cava is not)."""
        patient = self.patient
        x, y, z = self._warp(points)
        nx, ny, nz = (np.float32(n) for n in VISCERAL_NORMAL)
        bent = np.float32(0.0016) * ((y + 30) ** 2 + (z + 10) ** 2) - 6  # concave
        shape = nx * x + ny * y + nz * z - np.float32(self._offset_mm) - np.minimum(bent, 14)
        shape = smooth_max(shape, patient.diaphragm(points) + 3, 12)
        shape = smooth_max(shape, patient.cavity(points, 5) + self._surface(points), 14)
        shape = smooth_max(shape, x - np.float32(0.66 * patient.half_width_mm), 30)
        shape = smooth_max(shape, np.float32(patient.dome_mm - 172) - z, 20)
        shape = smooth_max(shape, -patient.backbone(points, 5), 12)
        kidney = ellipsoid(points, *organs.kidney_axes(patient, -1))
        shape = smooth_max(shape, -(kidney - 4), 14)
        shape = smooth_max(shape, -(self.gallbladder(points) - 2), 6)
        shape = smooth_max(shape, -self._fissure(points), 5)
        for a, b, ra, rb in zip(*_pairs(self.cava), strict=True):
            shape = np.maximum(shape, -(cone(points, a, b, ra, rb) - 0.5))
        result: Array = shape + self._surface(points)
        return result

    def _fissure(self, points: Points) -> Array:
        """Fat around the entering portal vein and in the fissure of the round ligament."""
        hilum = self.hilum()
        end = self.on_visceral_surface(8.0, self.patient.front_y_mm + 26)
        first = cone(points, _beside(hilum, 14, 0, -10), hilum, 12, 6)
        low, high = _beside(end, 4, -14, -16), _beside(end, 0, 8, 12)
        return np.minimum(first, cone(points, low, high, 9, 3))

    def vessels(self) -> list[tuple[Array, Array, float, float]]:
        """Cones of the portal tree and of the three hepatic veins."""
        rng = self.patient.rng("liver vessels")
        hilum = self.hilum()
        cones = [(_beside(hilum, 22, 10, -22), hilum, 7.0, 7.0)]
        for toward, radius in (([-1, 0.1, 0.25], 5.6), ([0.8, -0.75, 0.35], 4.6)):
            cones += _tree(rng, hilum, np.array(toward), 30.0, radius, 5)
        (high, upper), radius = self.cava[0][:2], 5.2
        joint = upper + 0.45 * (high - upper)
        for toward in ([-1, -0.1, -0.35], [-0.3, -1, -0.45], [0.75, -0.85, -0.35]):
            cones += _tree(rng, joint, np.array(toward), 38.0, radius, 4)
        return cones


def _beside(place: Array, x: float, y: float, z: float) -> Array:
    result: Array = place + np.array([x, y, z])
    return result


def _pairs(tube: tuple[list[Array], list[float]]) -> tuple[list[Any], ...]:
    ends, radii = tube
    return ends[:-1], ends[1:], radii[:-1], radii[1:]


def _planning_grid() -> Grid:
    low, high = (np.array(corner) for corner in LIVER_BOX_MM)
    affine = np.diag([PLANNING_MM, PLANNING_MM, PLANNING_MM, 1.0])
    affine[:3, 3] = low
    i, j, k = ((high - low) / PLANNING_MM + 1).astype(int)
    return Grid((int(k), int(j), int(i)), affine)


def _tree(
    rng: np.random.Generator,
    start: Array,
    toward: Array,
    length_mm: float,
    radius_mm: float,
    generations: int,
) -> list[tuple[Array, Array, float, float]]:
    """A vessel and its branches: each ends in two that are shorter, thinner and turned away."""
    toward = toward / np.linalg.norm(toward)
    bend = start + 0.55 * length_mm * (toward + rng.normal(0, 0.12, 3))
    end = start + length_mm * (toward + rng.normal(0, 0.15, 3))
    cones = [
        (start, bend, radius_mm, radius_mm * 0.9),
        (bend, end, radius_mm * 0.9, radius_mm * 0.8),
    ]
    if generations > 1:
        aside = np.cross(toward, rng.normal(0, 1, 3))
        aside /= np.linalg.norm(aside)
        for turn, scale in ((0.55, 0.85), (-0.75, 0.72)):
            cones += _tree(
                rng, end, toward + turn * aside, length_mm * 0.8, radius_mm * scale, generations - 1
            )
    return cones


@dataclass(frozen=True, eq=False)
class Tumor:
    """A tumor's shape: LPS mm around the patient's center."""

    center_mm: Array
    radii_mm: Array
    axes: Array
    border: Wobble
    mottle: Grain
    hu: float
    rim_hu: float | None
    rim_mm: float
    edge_mm: float

    @property
    def radius_mm(self) -> float:
        return float(np.prod(self.radii_mm) ** (1 / 3))

    def distance(self, points: Points) -> Array:
        result: Array = ellipsoid(points, self.center_mm, self.radii_mm, self.axes)
        return result + self.border(points)


def place_tumors(liver: Liver, n_tumors: int | None) -> list[Tumor]:
    """Largest first, each where the liver is deep enough and no other tumor is near."""
    rng = liver.patient.rng("tumors")
    drawn = int(rng.integers(1, 7))
    count = drawn if n_tumors is None else n_tumors
    if not 0 <= count <= MAX_TUMORS:
        raise ValueError(f"A phantom has 0 to {MAX_TUMORS} tumors, not {count}.")
    depth_mm = ndimage.distance_transform_edt(liver.inside, sampling=PLANNING_MM)
    region = liver.planning.whole()
    x, y, z = (np.broadcast_to(p, region.shape)[liver.inside] for p in region.points)
    centers, room_mm = np.stack([x, y, z], 1).astype(float), depth_mm[liver.inside] - PLANNING_MM
    tumors: list[Tumor] = []
    for radius_mm in sorted(rng.triangular(4, 6, 25.5, count), reverse=True):
        tumor = _make_tumor(liver, rng, float(radius_mm), centers, room_mm)
        gap_mm = np.linalg.norm(centers - tumor.center_mm, axis=1) - tumor.radius_mm * 1.25
        room_mm = np.minimum(room_mm, gap_mm - 3.0)
        tumors.append(tumor)
    return tumors


def _make_tumor(
    liver: Liver, rng: np.random.Generator, radius_mm: float, centers: Array, room_mm: Array
) -> Tumor:
    """One tumor at a random place with room, smaller when there is none."""
    while not (fits := np.flatnonzero(room_mm > radius_mm * 1.25 + 1)).size:
        radius_mm *= 0.85
        if radius_mm < 2.5:
            raise ValueError("This phantom's liver has no room for so many tumors; ask for fewer.")
    ratios = rng.uniform(0.87, 1.15, 3)
    radii = radius_mm * ratios / np.prod(ratios) ** (1 / 3)
    rim = bool(radius_mm > 6 and rng.random() < 0.35)
    hu = float(rng.uniform(40, min(75, liver.patient.liver_hu - 28)))
    return Tumor(
        center_mm=centers[rng.choice(fits)] + rng.uniform(-1, 1, 3),
        radii_mm=radii,
        axes=random_axes(rng, 0.7),
        border=Wobble(rng, 0.045 * radius_mm, 1.4 * radius_mm + 6),
        mottle=Grain(rng, 4.0, 12),
        hu=hu,
        rim_hu=liver.patient.liver_hu + float(rng.uniform(14, 34)) if rim else None,
        rim_mm=float(np.clip(0.2 * radius_mm, 1.5, 3.5)),
        edge_mm=float(rng.uniform(1.0, 3.0)),
    )
