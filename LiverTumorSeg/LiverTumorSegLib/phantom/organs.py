"""The phantom's soft organs except the liver, and the great vessels.

All positions are LPS millimeters around the patient's center (x left, y posterior, z superior).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .shapes import Canvas, Grain, Points, Warp, Wobble, chain, ellipsoid, random_axes, smooth_max
from .trunk import Patient

Array = NDArray[Any]


def great_vessels(patient: Patient) -> dict[str, tuple[list[Array], list[float]]]:
    """Center lines and radii of the aorta, the vena cava and the vessels of the bowel."""
    rng = patient.rng("vessels")
    front = patient.spine_y_mm - 30
    top = patient.dome_mm
    sway = rng.uniform(-4, 4, 3)
    aorta = [(20, front + 12, 160), (17, front + 10, top - 10), (9 + sway[0], front, 10)]
    aorta += [(8 + sway[1], front - 1, -60), (5, front, -170)]
    cava = [(-24, front - 14, top + 14), (-24, front - 8, top - 30), (-22, front, -10)]
    cava += [(-17, front + 2, -80), (-15, front + 2, -170)]
    mesenteric = [(-2, front - 32, -2), (2, front - 44, -50), (6, front - 52, -120)]
    return {
        "aorta": ([np.array(p, float) for p in aorta], [11.5, 11.5, 10.5, 9.5, 8.5]),
        "cava": ([np.array(p, float) for p in cava], [12.0, 11.5, 11.5, 11.0, 10.5]),
        "mesenteric": ([np.array(p, float) for p in mesenteric], [6.0, 5.5, 4.0]),
    }


def paint_great_vessels(canvas: Canvas, patient: Patient) -> None:
    vessels = great_vessels(patient)
    ends, radii = vessels["aorta"]
    for side in (-1, 1):  # crura of the diaphragm
        start = ends[1] + np.array([side * 15 - 8, 6, -40])
        canvas.paint_tube([start, ends[2] + np.array([side * 13, 8, -30])], [6.0, 4.0], 62.0)
    gullet = [ends[0] + np.array([-8, -24, 0]), ends[1] + np.array([4, -22, -6])]
    canvas.paint_tube(gullet, [9.0, 9.0], 70.0)
    canvas.paint_tube(ends, radii, patient.vein_hu + 2)
    artery = [ends[2] + np.array([0, -8, -6]), ends[2] + np.array([0, -27, -40])]
    canvas.paint_tube([*artery, artery[1] + np.array([6, -8, -80])], [4.0, 3.5, 3.0], 165.0)
    for side, y in ((-1, 2), (1, -4)):  # renal veins
        renal = [(side * 12 - 4, ends[2][1] + y, -52), (side * 45, ends[2][1] + 20, -62)]
        canvas.paint_tube([np.array(p) for p in renal], [5.0, 4.5], patient.vein_hu)
    canvas.paint_tube(*vessels["mesenteric"], patient.vein_hu)


def kidney_axes(patient: Patient, side: int) -> tuple[Array, Array, Array]:
    """Center, radii and axes of a kidney; side -1 is the right one, which lies lower."""
    rng = patient.rng(f"kidney {side}")
    center = np.array([side * rng.uniform(60, 68), patient.spine_y_mm - rng.uniform(4, 10), 0.0])
    center[2] = patient.dome_mm - rng.uniform(128, 142) + (14 if side > 0 else 0)
    radii = np.array([27.0, 25.0, 54.0]) * rng.uniform(0.92, 1.08)
    tilt = np.array([[0.92, side * -0.35, side * 0.18], [side * 0.35, 0.93, 0.0], [0, 0, 0]])
    tilt[2] = np.cross(tilt[0], tilt[1])
    q, r = np.linalg.qr(tilt.T)
    return center, radii, (q * np.sign(np.diag(r))).T


def paint_kidneys(canvas: Canvas, patient: Patient) -> None:
    for side in (-1, 1):
        center, radii, axes = kidney_axes(patient, side)
        region = canvas.grid.around((center,), 66)
        points = Warp(patient.rng(f"kidney shape {side}"), 1.5, 80)(region.points)
        outline = ellipsoid(points, center, radii, axes)
        hilum = center + np.array([-side * 24.0, -9, 0])
        hilum_cut = ellipsoid(points, hilum, (15, 9, 18))
        body = smooth_max(outline, -hilum_cut, 6)
        cortex = patient.liver_hu + 85
        canvas.paint(region, body, cortex)
        lobes = Wobble(patient.rng(f"pyramids {side}"), 1.0, 20)(points)
        medulla = np.maximum(body + np.float32(7.0), np.float32(2.0) * lobes + 0.5)
        canvas.paint(region, medulla, cortex - 35, 3.0)
        sinus = ellipsoid(points, center + np.array([-side * 8.0, -3, 0]), (12, 9, 27))
        canvas.paint(region, np.maximum(sinus, body + 5), -60.0, 3.0)
        pelvis = ellipsoid(points, center + np.array([-side * 14.0, -5, -2]), (13, 5, 9))
        canvas.paint(region, np.maximum(pelvis, outline + 1), 12.0, 2.0)


def stomach_course(patient: Patient) -> tuple[list[Array], list[float]]:
    """Center line and radii from the fundus to the antrum."""
    rng = patient.rng("stomach")
    size = rng.uniform(0.7, 1.1)
    front = patient.front_y_mm
    top = patient.dome_mm
    course = [(62, 12, top - 58), (70, -12, top - 80), (64, front + 46, top - 108)]
    course += [(34, front + 40, top - 128), (2, front + 48, top - 122)]
    shift = rng.uniform(-6, 6, (5, 3))
    radii = [33 * size, 31 * size, 26 * size, 19 * size, 14 * size]
    return [np.array(p) + s for p, s in zip(course, shift, strict=True)], radii


def stomach(points: Points, patient: Patient) -> Array:
    ends, radii = stomach_course(patient)
    shape = chain(Warp(patient.rng("stomach shape"), 3, 95)(points), ends, radii, 26.0)
    shape = smooth_max(shape, patient.diaphragm(points) + 4, 8)
    return smooth_max(shape, patient.cavity(points, 6), 8)


def paint_stomach(canvas: Canvas, patient: Patient) -> None:
    rng = patient.rng("stomach content")
    ends, radii = stomach_course(patient)
    region = canvas.grid.around(ends, max(radii) + 10)
    outside = stomach(region.points, patient)
    canvas.paint(region, outside, 82.0)
    inside = outside + np.float32(4.5) + 1.2 * Grain(rng, 1.0, 24)(region.points)
    food = rng.uniform(8, 35) + 12 * Grain(rng, 1.0, 17)(region.points)
    canvas.paint(region, inside, food)
    air_level = ends[2][1] - rng.uniform(-12, 22)  # air rises to the front of a lying patient
    canvas.paint(region, np.maximum(inside, region.points[1] - np.float32(air_level)), -950.0)


def paint_spleen(canvas: Canvas, patient: Patient) -> None:
    rng = patient.rng("spleen")
    center = (0.68 * patient.half_width_mm, 32 + rng.uniform(-6, 6), patient.dome_mm - 78)
    radii = (33.0 * rng.uniform(0.9, 1.2), 47.0, 50.0 * rng.uniform(0.9, 1.15))
    region = canvas.grid.around((center,), 75)
    points = Warp(patient.rng("spleen shape"), 4, 70)(region.points)
    shape = ellipsoid(points, center, radii, random_axes(rng, 0.3))
    shape = smooth_max(shape, patient.cavity(region.points, 4), 6)
    shape = smooth_max(shape, patient.diaphragm(region.points) + 4, 6)
    shape = smooth_max(shape, -(stomach(region.points, patient) - 3), 8)
    kidney = ellipsoid(region.points, *kidney_axes(patient, 1))
    shape = smooth_max(shape, -(kidney - 5), 8)
    canvas.paint(region, shape, patient.liver_hu + rng.uniform(2, 16))


def paint_pancreas(canvas: Canvas, patient: Patient) -> None:
    rng = patient.rng("pancreas")
    y = patient.spine_y_mm - 58
    z = patient.dome_mm - 112
    course = [(-32, y + 16, z - 30), (-24, y + 8, z - 8), (4, y - 2, z + 2), (40, y + 14, z + 12)]
    course += [(72, y + 40, z + 24)]
    ends = [np.array(p) + rng.uniform(-4, 4, 3) for p in course]
    region = canvas.grid.around(ends, 26)
    lobules = Grain(rng, 1.6, 13)(region.points)
    shape = chain(region.points, ends, [15, 13, 10, 10, 8]) + lobules
    canvas.paint(region, shape, rng.uniform(88, 108) + 6 * lobules, 2.5)
    behind = [e + np.array([0, 10, 0]) for e in ends[2:]]
    canvas.paint_tube(behind, [4.5, 4.0, 3.5], patient.vein_hu)  # splenic vein


def paint_bowel(canvas: Canvas, patient: Patient) -> None:
    rng = patient.rng("bowel")
    front, half = patient.front_y_mm, patient.half_width_mm
    for n in range(84):  # small bowel, then fat vessels of the mesentery between
        start = rng.uniform((-64, front + 20, -150), (88, 14, -24))
        ends = [start + rng.normal(0, 20, 3) * t for t in (0, 1, 2)]
        if n % 2:
            region = canvas.grid.around(ends, 5)
            vessel = chain(region.points, ends, [2.2, 1.8, 1.4], 2.0)
            canvas.paint(region, np.maximum(vessel, patient.cavity(region.points, 4)), 120.0)
        else:
            _paint_loop(canvas, patient, rng, ends, rng.uniform(9, 14), gas=rng.random() < 0.12)
    colon: list[list[tuple[float, float, float]]] = [
        [(0.8 * -half, 18, -70), (0.78 * -half, 14, -110), (0.78 * -half, 12, -170)],
        [(0.82 * half, 22, -28), (0.84 * half, 26, -80), (0.8 * half, 24, -170)],
        [(-66, front + 36, -92), (0, front + 28, -96), (66, front + 30, -70)],
        [(66, front + 30, -70), (0.78 * half, -6, -36), (0.82 * half, 22, -28)],
    ]
    for course in colon:
        bent = [np.array(p) + rng.uniform(-5, 5, 3) for p in course]
        _paint_loop(canvas, patient, rng, bent, rng.uniform(17, 22), gas=rng.random() < 0.7)


def _paint_loop(
    canvas: Canvas,
    patient: Patient,
    rng: np.random.Generator,
    ends: list[Array],
    radius_mm: float,
    gas: bool,
) -> None:
    region = canvas.grid.around(ends, radius_mm + 8)
    folds = Grain(rng, 1.3, 24)(region.points)
    shape = chain(region.points, ends, [radius_mm] * len(ends)) + folds
    shape = smooth_max(shape, patient.cavity(region.points, 4), 8)
    shape = np.maximum(shape, -patient.backbone(region.points, 4))
    canvas.paint(region, shape, rng.uniform(75, 110))
    content = rng.uniform(15, 60) + 18 * Grain(rng, 1.0, 12)(region.points)
    inside = shape + np.float32(rng.uniform(2.2, 4.0))
    canvas.paint(region, inside, content)
    if gas:
        level = np.mean([e[1] for e in ends]) + rng.uniform(-8, 8)
        canvas.paint(region, np.maximum(inside, region.points[1] - np.float32(level)), -900.0)
