"""Synthetic liver lesions, drawn into real CT slices: a network sees more tumors than there are.

    hu, tumor = add_lesions(hu, free=liver_without_tumor, z_mm=z_mm, pixel_mm=1.25, rng=rng)

What is known of the method: Hu et al., "Label-Free Liver Tumor Segmentation", CVPR 2023. Drawn here
in HU before any window, in three dimensions on whatever slices there are: ellipsoids of 3 to 40 mm
radius warped by a smooth field, faint to strong contrast below the liver and sometimes above,
texture, necrotic core, rim, satellites, mass effect; the CT's own noise goes on inside, and its
vessels fade.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

RADIUS_MM = (3.0, 40.0)  # log-uniform
CONTRAST_HU = (-70.0, -10.0)  # most of what is missed is 8 to 25 HU below the liver
BRIGHT_SHARE, BRIGHT_HU = 0.08, (15.0, 45.0)
NOISE_MM = 2.0  # what is finer than this is taken for the CT's own noise
VESSEL_HU = 25.0  # a center lies where the smoothed liver is no further than this from its median
WAVES = 7  # cosine waves that warp an outline


@dataclass(frozen=True)
class Lesion:
    """One lesion to be drawn; all lengths in mm, all gray values in HU.

    center_mm: (z, y, x) in the coordinates of ``z_mm`` and of pixel index times ``pixel_mm``.
    axes_mm: the three half axes, turned by ``turn`` (3 x 3, rows are the axes' directions).
    edge_mm: how far the edge takes to go from a quarter to three quarters, about.
    contrast_hu: lesion minus liver. core_hu, rim_hu: added in the inner half and along the edge.
    texture_hu, texture_mm: standard deviation and grain of what varies inside.
    vessels: share of the vessels' brightness that stays visible inside, 0 to 1.
    push_mm: how far tissue at the edge is pushed outward.
    """

    center_mm: tuple[float, float, float]
    axes_mm: tuple[float, float, float]
    turn: NDArray[np.float64]
    edge_mm: float
    contrast_hu: float
    core_hu: float = 0.0
    rim_hu: float = 0.0
    texture_hu: float = 5.0
    texture_mm: float = 2.5
    vessels: float = 0.1
    push_mm: float = 0.0
    warp: float = 0.2

    @property
    def radius_mm(self) -> float:
        """Radius of the ball of the same volume."""
        return float(np.prod(self.axes_mm) ** (1 / 3))


def draw_lesion(
    center_mm: tuple[float, float, float],
    rng: np.random.Generator,
    radius_mm: tuple[float, float] = RADIUS_MM,
) -> Lesion:
    """A random lesion at this place, of the sizes, shapes and gray values that livers show."""
    radius = float(np.exp(rng.uniform(*np.log(radius_mm))))
    axes = radius * rng.uniform(0.7, 1.3, 3)
    bright = rng.random() < BRIGHT_SHARE
    large = radius > 10
    return Lesion(
        center_mm=center_mm,
        axes_mm=(float(axes[0]), float(axes[1]), float(axes[2])),
        turn=np.linalg.qr(rng.normal(size=(3, 3)))[0],
        edge_mm=float(rng.uniform(0.3, 1.2) if rng.random() < 0.6 else rng.uniform(1.2, 3.0)),
        contrast_hu=float(rng.uniform(*(BRIGHT_HU if bright else CONTRAST_HU))),
        core_hu=float(-rng.uniform(8, 30)) if large and rng.random() < 0.4 else 0.0,
        rim_hu=float(rng.uniform(8, 30)) if radius > 6 and rng.random() < 0.25 else 0.0,
        texture_hu=float(rng.uniform(2, 10)),
        texture_mm=float(rng.uniform(1.0, 5.0)),
        vessels=float(rng.uniform(0, 0.3)),
        push_mm=float(rng.uniform(0.5, 3.0)) if radius > 7 and rng.random() < 0.35 else 0.0,
        warp=float(rng.uniform(0.05, 0.3)),
    )


def add_lesions(
    hu: Floats,
    *,
    free: Mask,
    z_mm: NDArray[np.float64],
    pixel_mm: float,
    rng: np.random.Generator,
    count: int | None = None,
    radius_mm: tuple[float, float] = RADIUS_MM,
) -> tuple[Floats, Mask, Floats]:
    """Draw lesions into CT slices where the liver is known to be free of tumor.

    hu: float32 (n, h, w), neighboring axial slices; not changed.
    free: (n, h, w), liver that holds no real tumor; nothing is drawn outside of it.
    z_mm: (n,) position of each slice; equal positions stand for the same plane.
    count: how many; default one to four. Fewer are drawn where there is no room.
    Returns new HU, where tumor is now (n, h, w), and the radius in mm of the smallest lesion at
    each such pixel (float32, 0 elsewhere).
    """
    result = hu.copy()
    tumor, sizes_mm = np.zeros(free.shape, bool), np.zeros(free.shape, np.float32)
    if not free.any():
        return result, tumor, sizes_mm
    liver_hu = float(np.median(hu[free]))
    places = _places(hu, free, liver_hu, pixel_mm)
    number = int(rng.choice([1, 2, 3, 4], p=[0.55, 0.2, 0.15, 0.1])) if count is None else count
    for lesion in _lesions(places, z_mm, pixel_mm, number, radius_mm, rng):
        result, alpha = paint(result, lesion, free, z_mm, pixel_mm, liver_hu, rng)
        inside = (alpha > 0.5) & free
        tumor |= inside
        smaller = inside & ((sizes_mm == 0) | (sizes_mm > lesion.radius_mm))
        sizes_mm[smaller] = lesion.radius_mm
    return result, tumor, sizes_mm


def _places(
    hu: Floats, free: Mask, liver_hu: float, pixel_mm: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Where a center may lie: free liver away from large vessels."""
    calm = np.stack([np.abs(cv2.GaussianBlur(s, (0, 0), 2 / pixel_mm) - liver_hu) for s in hu])
    k, j, i = np.nonzero(free & (calm < VESSEL_HU))
    return k, j, i


def _lesions(
    places: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]],
    z_mm: NDArray[np.float64],
    pixel_mm: float,
    number: int,
    radius_mm: tuple[float, float],
    rng: np.random.Generator,
) -> list[Lesion]:
    k, j, i = places
    lesions: list[Lesion] = []
    for _ in range(number if k.size else 0):
        n = int(rng.integers(k.size))
        # a center may lie between slices, or beyond the last one: then its edge is what is seen
        z = float(z_mm[k[n]] + rng.normal(0, 2.0))
        lesion = draw_lesion((z, float(j[n] * pixel_mm), float(i[n] * pixel_mm)), rng, radius_mm)
        lesions.append(lesion)
        if rng.random() < 0.1:  # satellites
            for _ in range(int(rng.integers(1, 4))):
                away = rng.normal(size=3)
                away *= lesion.radius_mm * rng.uniform(1.2, 2.0) / np.linalg.norm(away)
                place = np.array(lesion.center_mm) + away
                small = lesion.radius_mm * rng.uniform(0.15, 0.4)
                axes = np.maximum(small * rng.uniform(0.8, 1.2, 3), 2.0)
                lesions.append(
                    replace(
                        lesion,
                        center_mm=(float(place[0]), float(place[1]), float(place[2])),
                        axes_mm=(float(axes[0]), float(axes[1]), float(axes[2])),
                        push_mm=0.0,
                        core_hu=0.0,
                    )
                )
    return lesions


def paint(
    hu: Floats,
    lesion: Lesion,
    free: Mask,
    z_mm: NDArray[np.float64],
    pixel_mm: float,
    liver_hu: float,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Draw one lesion; new HU and how much of each pixel it is, 0 to 1, both (n, h, w)."""
    alpha_all, result = np.zeros_like(hu), hu.copy()
    window = _window(lesion, hu.shape, pixel_mm)
    if window is None:
        return result, alpha_all
    waves = _Waves(lesion, rng)
    grain = rng.normal(size=(2, *hu[:1, window[0], window[1]].shape[1:])).astype(np.float32)
    for k in range(len(hu)):
        depth = _depth(lesion, waves, float(z_mm[k]), window, pixel_mm, _thickness(z_mm))
        if depth.min() > 1.3:
            continue
        part = hu[k, window[0], window[1]]
        if lesion.push_mm:
            part = _pushed(part, depth, lesion, window, pixel_mm)
        short = min(lesion.axes_mm)
        outline = (depth - 1) * short / max(lesion.edge_mm * 0.9, 1e-3)
        alpha = 1 / (1 + np.exp(np.clip(outline, -30, 30)))
        inside = cv2.GaussianBlur(
            free[k, window[0], window[1]].astype(np.float32), (0, 0), 0.6 / pixel_mm
        )
        alpha = (alpha * inside).astype(np.float32)
        tissue = _tissue(part, depth, lesion, liver_hu, grain, float(z_mm[k]), pixel_mm)
        result[k, window[0], window[1]] = part * (1 - alpha) + alpha * tissue
        alpha_all[k, window[0], window[1]] = alpha
    return result, alpha_all


def _tissue(
    part: Floats,
    depth: Floats,
    lesion: Lesion,
    liver_hu: float,
    grain: Floats,
    z_mm: float,
    pixel_mm: float,
) -> Floats:
    """What the lesion consists of, in HU: gray value, grain, core and rim, on the CT's noise."""
    smooth = cv2.GaussianBlur(part, (0, 0), NOISE_MM / pixel_mm)
    noise = part - smooth
    vessels = np.clip(smooth - liver_hu - 10, 0, None) * lesion.vessels
    # two layers of grain, mixed by height: neighboring slices resemble each other
    angle = (z_mm - lesion.center_mm[0]) / max(lesion.texture_mm, 1.0)
    mixed = grain[0] * np.cos(angle) + grain[1] * np.sin(angle)
    texture = cv2.GaussianBlur(mixed.astype(np.float32), (0, 0), lesion.texture_mm / pixel_mm)
    texture *= lesion.texture_hu / max(float(texture.std()), 1e-6)
    core = lesion.core_hu / (1 + np.exp(np.clip((depth - 0.55) * 12, -30, 30)))
    rim = lesion.rim_hu * np.exp(-(((depth - 0.95) / 0.12) ** 2))
    tissue = liver_hu + lesion.contrast_hu + texture + core + rim + noise + vessels
    return np.asarray(tissue, np.float32)


class _Waves:
    """A smooth random field in three dimensions: a few plane cosine waves."""

    def __init__(self, lesion: Lesion, rng: np.random.Generator) -> None:
        direction = rng.normal(size=(WAVES, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = lesion.radius_mm * rng.uniform(0.8, 2.5, (WAVES, 1))
        self.number = direction * 2 * np.pi / length
        self.phase = rng.uniform(0, 2 * np.pi, WAVES)

    def at(self, dz: float, dy: NDArray[np.float64], dx: NDArray[np.float64]) -> Floats:
        field = np.zeros(np.broadcast_shapes(dy.shape, dx.shape))
        for (kz, ky, kx), phase in zip(self.number, self.phase, strict=True):
            field += np.cos(kz * dz + ky * dy + kx * dx + phase)
        return np.asarray(field * np.sqrt(2 / WAVES), np.float32)


def _depth(
    lesion: Lesion,
    waves: _Waves,
    z_mm: float,
    window: tuple[slice, slice],
    pixel_mm: float,
    thickness_mm: float,
) -> Floats:
    """Distance from the center in radii, warped; below 1 is inside. Averaged over a thick slice."""
    rows = np.arange(window[0].start, window[0].stop)[:, None] * pixel_mm - lesion.center_mm[1]
    columns = np.arange(window[1].start, window[1].stop)[None] * pixel_mm - lesion.center_mm[2]
    heights = [z_mm]
    if thickness_mm > 2:
        heights = [z_mm - thickness_mm / 3, z_mm, z_mm + thickness_mm / 3]
    depths = []
    for height in heights:
        dz = height - lesion.center_mm[0]
        squares = np.zeros(np.broadcast_shapes(rows.shape, columns.shape))
        for axis, direction in zip(lesion.axes_mm, lesion.turn, strict=True):
            along = direction[0] * dz + direction[1] * rows + direction[2] * columns
            squares += (along / axis) ** 2
        bulge = 1 + lesion.warp * np.clip(waves.at(dz, rows, columns), -2, 2)
        depths.append(np.sqrt(squares) / np.maximum(bulge, 0.4))
    return np.asarray(np.mean(depths, axis=0), np.float32)


def _window(lesion: Lesion, shape: tuple[int, ...], pixel_mm: float) -> tuple[slice, slice] | None:
    """The part of a slice that the lesion can reach; ``None`` where that is none."""
    reach = max(lesion.axes_mm) * (1 + 2 * lesion.warp) + 3 * lesion.edge_mm + 3 * lesion.push_mm
    ranges = []
    for center, size in zip(lesion.center_mm[1:], shape[1:], strict=True):
        low = max(0, int((center - reach) / pixel_mm))
        high = min(size, int((center + reach) / pixel_mm) + 2)
        if high - low < 2:
            return None
        ranges.append(slice(low, high))
    return ranges[0], ranges[1]


def _pushed(
    part: Floats,
    depth: Floats,
    lesion: Lesion,
    window: tuple[slice, slice],
    pixel_mm: float,
) -> Floats:
    """Tissue around the edge, pushed away from the center: the nearest moves the most."""
    rows = np.arange(window[0].start, window[0].stop)[:, None] * pixel_mm - lesion.center_mm[1]
    columns = np.arange(window[1].start, window[1].stop)[None] * pixel_mm - lesion.center_mm[2]
    away = np.sqrt(rows**2 + columns**2) + 1e-3
    distance = np.abs(depth - 1) * lesion.radius_mm
    shift = lesion.push_mm / pixel_mm * np.exp(-((distance / 8) ** 2))
    height, width = part.shape
    source_y = np.arange(height)[:, None] - shift * rows / away
    source_x = np.arange(width)[None] - shift * columns / away
    moved = cv2.remap(
        part,
        source_x.astype(np.float32),
        source_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(moved, np.float32)


def _thickness(z_mm: NDArray[np.float64]) -> float:
    """Usual distance of neighboring slices; 1 mm for a single one."""
    steps = np.abs(np.diff(z_mm))
    steps = steps[steps > 1e-3]
    return float(np.median(steps)) if steps.size else 1.0
