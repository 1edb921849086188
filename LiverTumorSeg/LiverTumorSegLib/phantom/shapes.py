"""Solid shapes as signed distances in millimeters, and the canvas that draws them on any grid.

A point is a triple ``(x, y, z)`` of float32 arrays in LPS millimeters around the patient's center
(x left, y posterior, z superior). The three arrays broadcast against each other: on a grid whose
axes are the patient's they stay one-dimensional, which is most of the speed. A signed distance is
negative inside; it is exact at the surface and approximate away from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Points = tuple[Array, Array, Array]
Vector = Sequence[float] | Array


class Grid:
    """Where the voxels of a volume lie: LPS millimeters around the patient's center."""

    def __init__(self, shape_kji: tuple[int, int, int], ijk_to_lps: NDArray[np.float64]) -> None:
        self.shape_kji = shape_kji
        self._matrix = ijk_to_lps[:3, :3]
        self._offset = ijk_to_lps[:3, 3]

    def box(self, low_mm: Vector, high_mm: Vector) -> Region:
        """The smallest block of voxels that covers a box of the patient (empty when outside)."""
        corners = np.stack(np.meshgrid(*zip(low_mm, high_mm, strict=True)), -1).reshape(-1, 3)
        ijk = np.linalg.solve(self._matrix, (corners - self._offset).T)
        size = np.array(self.shape_kji)[::-1]
        start = np.clip(np.floor(ijk.min(axis=1)), 0, size).astype(int)
        stop = np.clip(np.ceil(ijk.max(axis=1)) + 1, start, size).astype(int)
        return self._region(start, stop)

    def around(self, ends_mm: Sequence[Vector], margin_mm: float) -> Region:
        """The block of voxels within a margin of some points."""
        ends = np.asarray(ends_mm, dtype=float)
        return self.box(ends.min(axis=0) - margin_mm, ends.max(axis=0) + margin_mm)

    def whole(self) -> Region:
        return self._region(np.zeros(3, int), np.array(self.shape_kji)[::-1])

    def _region(self, start: Array, stop: Array) -> Region:
        where = tuple(slice(int(a), int(b)) for a, b in zip(start[::-1], stop[::-1], strict=True))
        axes = [np.arange(a, b, dtype=float) for a, b in zip(start, stop, strict=True)]
        i, j, k = axes[0][None, None, :], axes[1][None, :, None], axes[2][:, None, None]
        points = []
        for row, offset in zip(self._matrix, self._offset, strict=True):
            value: Array = np.full((1, 1, 1), offset)
            for step, index in zip(row, (i, j, k), strict=True):
                if abs(step) > 1e-9:  # an axis that does not move this coordinate stays length one
                    value = value + step * index
            points.append(value.astype(np.float32))
        shape = tuple(int(n) for n in (stop - start)[::-1])
        return Region((where[0], where[1], where[2]), shape, (points[0], points[1], points[2]))


@dataclass(frozen=True, eq=False)
class Region:
    """A block of a grid: its index ranges (k, j, i), its shape, and its points."""

    where: tuple[slice, slice, slice]
    shape: tuple[int, ...]
    points: Points


class Canvas:
    """CT numbers of a grid (float32, HU), painted over from back to front."""

    def __init__(self, grid: Grid, edge_mm: float, hu: float) -> None:
        self.grid = grid
        self.edge_mm = edge_mm
        self.hu: NDArray[np.float32] = np.full(grid.shape_kji, hu, np.float32)

    def paint(
        self, region: Region, distance_mm: Array, hu: float | Array, edge_mm: float | None = None
    ) -> None:
        """Cover what lies inside with ``hu``; an edge voxel holds both, as in a real CT."""
        share = np.clip(0.5 - distance_mm / np.float32(edge_mm or self.edge_mm), 0.0, 1.0)
        view = self.hu[region.where]
        view += share.astype(np.float32) * (np.asarray(hu, np.float32) - view)

    def paint_tube(self, ends_mm: Sequence[Vector], radii_mm: Sequence[float], hu: float) -> None:
        """Paint a chain of cones with round joints."""
        for a, b, ra, rb in zip(ends_mm, ends_mm[1:], radii_mm, radii_mm[1:], strict=False):
            region = self.grid.around((a, b), max(ra, rb) + self.edge_mm)
            self.paint(region, cone(region.points, a, b, ra, rb), hu)


class Wobble:
    """A smooth random field: a few products of sines of position, seeded."""

    def __init__(
        self, rng: np.random.Generator, size: float, wavelength_mm: float, waves: int = 4
    ) -> None:
        self._size = size * 2.8 / np.sqrt(waves)  # a product of three sines has an RMS of 1 / 2.8
        lengths_mm = wavelength_mm * rng.uniform(0.7, 1.5, (waves, 3))
        self._k = 2 * np.pi / lengths_mm
        self._phase = rng.uniform(0, 2 * np.pi, (waves, 3))

    def __call__(self, points: Points) -> Array:
        total: Array = np.zeros((1, 1, 1), np.float32)
        for k, phase in zip(self._k, self._phase, strict=True):
            x, y, z = (
                np.sin(p * np.float32(kk) + np.float32(f))
                for p, kk, f in zip(points, k, phase, strict=True)
            )
            total = total + np.float32(self._size) * x * y * z
        return total


class Grain:
    """An irregular texture: plane waves in random directions (dearer than :class:`Wobble`)."""

    def __init__(self, rng: np.random.Generator, size: float, wavelength_mm: float) -> None:
        waves = 7
        direction = rng.normal(0, 1, (waves, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        self._k = direction * (2 * np.pi / (wavelength_mm * rng.uniform(0.6, 1.6, (waves, 1))))
        self._phase = rng.uniform(0, 2 * np.pi, waves)
        self._size = size * np.sqrt(2 / waves)

    def __call__(self, points: Points) -> Array:
        total: Array = np.zeros((1, 1, 1), np.float32)
        for k, phase in zip(self._k, self._phase, strict=True):
            x, y, z = (p * np.float32(kk) for p, kk in zip(points, k, strict=True))
            total = total + np.float32(self._size) * np.sin(x + y + (z + np.float32(phase)))
        return total


class Warp:
    """Moves points by up to a few millimeters, so that no organ stays a plain ellipsoid."""

    def __init__(self, rng: np.random.Generator, size_mm: float, wavelength_mm: float) -> None:
        self._fields = [Wobble(rng, size_mm, wavelength_mm, waves=2) for _ in range(3)]

    def __call__(self, points: Points) -> Points:
        x, y, z = (p + field(points) for p, field in zip(points, self._fields, strict=True))
        return x, y, z


def smooth_max(a: Array, b: Array, round_mm: float) -> Array:
    """Intersection with a rounded edge; the fillet starts ``round_mm`` from where they meet."""
    h = np.maximum(np.float32(round_mm) - np.abs(a - b), 0)
    result: Array = np.maximum(a, b) + h * h * np.float32(0.25 / round_mm)
    return result


def smooth_min(a: Array, b: Array, round_mm: float) -> Array:
    """Union with a filled groove."""
    return -smooth_max(-a, -b, round_mm)


def ellipsoid(points: Points, center: Vector, radii: Vector, axes: Array | None = None) -> Array:
    """axes: rows are the directions of the three radii; the patient's axes by default."""
    moved = [p - np.float32(c) for p, c in zip(points, center, strict=True)]
    if axes is not None:
        zero: Array = np.zeros((1, 1, 1), np.float32)
        moved = [
            sum((np.float32(e) * m for e, m in zip(row, moved, strict=True)), zero) for row in axes
        ]
    scaled = [(m / np.float32(r)) ** 2 for m, r in zip(moved, radii, strict=True)]
    steep = [s / np.float32(r) ** 2 for s, r in zip(scaled, radii, strict=True)]
    k0 = np.sqrt(scaled[0] + scaled[1] + scaled[2])
    k1 = np.sqrt(steep[0] + steep[1] + steep[2]) + np.float32(1e-6)
    result: Array = k0 * (k0 - 1) / k1
    return np.where(k0 < 0.05, np.float32(-min(float(r) for r in radii)), result)


def ellipse(u: Array, v: Array, radius_u: float, radius_v: float) -> Array:
    """An elliptic section in any two coordinates, centered on zero."""
    k0 = np.sqrt((u / np.float32(radius_u)) ** 2 + (v / np.float32(radius_v)) ** 2)
    k1 = np.sqrt((u / np.float32(radius_u**2)) ** 2 + (v / np.float32(radius_v**2)) ** 2)
    flat = k0 * (k0 - 1) / (k1 + np.float32(1e-6))
    result: Array = np.where(k0 < 0.05, np.float32(-min(radius_u, radius_v)), flat)
    return result


def cone(points: Points, a: Vector, b: Vector, radius_a: float, radius_b: float) -> Array:
    """A straight tube with round ends whose radius runs from ``radius_a`` to ``radius_b``."""
    start, axis = np.asarray(a, float), np.asarray(b, float) - np.asarray(a, float)
    moved = [p - np.float32(c) for p, c in zip(points, start, strict=True)]
    along = sum((np.float32(e) * m for e, m in zip(axis, moved, strict=True)), np.float32(0))
    t = np.clip(along / np.float32(axis @ axis + 1e-6), 0, 1)
    square = sum(((m - t * np.float32(e)) ** 2 for e, m in zip(axis, moved, strict=True)), t * 0)
    result: Array = np.sqrt(square) - (np.float32(radius_a) + t * np.float32(radius_b - radius_a))
    return result


def chain(
    points: Points, ends: Sequence[Vector], radii: Sequence[float], round_mm: float = 8.0
) -> Array:
    """A bent tube: cones joined smoothly."""
    parts = [
        cone(points, a, b, ra, rb)
        for a, b, ra, rb in zip(ends, ends[1:], radii, radii[1:], strict=False)
    ]
    result = parts[0]
    for part in parts[1:]:
        result = smooth_min(result, part, round_mm)
    return result


def random_axes(rng: np.random.Generator, tilt: float) -> Array:
    """Three orthogonal directions (rows), turned from the patient's by about ``tilt`` radians."""
    q, r = np.linalg.qr(np.eye(3) + np.tan(tilt) * rng.uniform(-1, 1, (3, 3)))
    result: Array = (q * np.sign(np.diag(r))).T
    return result
