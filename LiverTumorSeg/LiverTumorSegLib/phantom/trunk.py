"""The phantom's patient and the trunk: skin, fat, muscles, bones, lungs and heart.

All positions are LPS millimeters around the patient's center (x left, y posterior, z superior).
Sizes and CT numbers are those of portal-venous abdominal CT in adults, read off real scans by eye.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .shapes import (
    Canvas,
    Grain,
    Points,
    Region,
    Warp,
    Wobble,
    cone,
    ellipse,
    ellipsoid,
    smooth_max,
    smooth_min,
)

Array = NDArray[Any]
Triple = tuple[float, float, float]
Oval = tuple[Triple, Triple, Array]  # center, radii, axes
AIR_HU, LUNG_HU, FAT_HU, MUSCLE_HU = -1000.0, -850.0, -103.0, 58.0
CAVITY_Y_MM = -10.0
WALL_MM = 13.0  # muscles and ribs
VERTEBRA_MM = 34.0  # one vertebral body and its disk


@dataclass(frozen=True)
class Patient:
    """One drawn patient. Lengths in mm; ``half_*`` are of the abdominal cavity."""

    seed: int
    half_width_mm: float
    half_depth_mm: float
    fat_mm: float
    dome_mm: float  # height of the right diaphragm's top
    liver_hu: float
    vein_hu: float
    stretch: float  # of lengths along the body

    @classmethod
    def draw(cls, seed: int) -> Patient:
        rng = np.random.default_rng([seed, 1])
        half_width = rng.uniform(122, 139)
        liver = rng.uniform(95, 122)
        return cls(
            seed=seed,
            half_width_mm=half_width,
            half_depth_mm=half_width * rng.uniform(0.66, 0.78),
            fat_mm=float(np.clip(rng.gamma(3.0, 5.0), 5, 34)),
            dome_mm=rng.uniform(78, 94),
            liver_hu=liver,
            vein_hu=liver + rng.uniform(30, 55),
            stretch=rng.uniform(0.94, 1.06),
        )

    def rng(self, part: str) -> np.random.Generator:
        """Each part draws from its own stream: a change to one leaves the others as they were."""
        return np.random.default_rng([self.seed, 2, *part.encode()])

    @property
    def spine_y_mm(self) -> float:
        """The middle of the vertebral bodies."""
        return CAVITY_Y_MM + self.half_depth_mm - 24.0

    @property
    def front_y_mm(self) -> float:
        """The inside of the belly's wall."""
        return CAVITY_Y_MM - self.half_depth_mm

    def trunk(self, points: Points, lateral: float, front: float, back: float) -> Array:
        """The cavity's outline moved outward by so many mm at the sides, in front and behind."""
        x, y, z = points
        waist = np.where(z > 0, np.float32(0.12), np.float32(0.06)) * (z / np.float32(130)) ** 2
        scale = 1 - waist
        half_depth = self.half_depth_mm + (front + back) / 2
        middle = CAVITY_Y_MM + (back - front) / 2
        u = np.abs(x / (scale * np.float32(self.half_width_mm + lateral)))
        v = np.abs((y - np.float32(middle)) / (scale * np.float32(half_depth)))
        power = np.float32(2.35)
        radius = (u**power + v**power) ** (1 / power)
        result: Array = (radius - 1) * np.float32(np.sqrt(half_depth * self.half_width_mm))
        return result

    def cavity(self, points: Points, inset_mm: float = 0.0) -> Array:
        return self.trunk(points, 0, 0, 0) + np.float32(inset_mm)

    def diaphragm(self, points: Points) -> Array:
        """Negative below the two domes; the left one is 8 to 18 mm lower."""
        rng = self.rng("diaphragm")
        below = []
        domes = ((-0.47, 0.0, 84.0, 0.62), (0.5, rng.uniform(8, 18), 76.0, 0.58))
        for side, drop, height, width in (*domes, (0.06, rng.uniform(16, 24), 66.0, 0.62)):
            x, y, z = points  # the third, flat one bears the heart
            up = np.maximum(z - np.float32(self.dome_mm - drop - height), 0)
            moved = (x - np.float32(side * self.half_width_mm), y + np.float32(9), up)
            radii = (width * self.half_width_mm, 1.02 * self.half_depth_mm, height)
            below.append(ellipsoid(moved, (0, 0, 0), radii))
        return smooth_min(smooth_min(below[0], below[2], 16.0), below[1], 16.0)

    def backbone(self, points: Points, margin_mm: float = 0.0) -> Array:
        """Spine with the great vessels in front of it: no organ goes there."""
        x, y, _ = points
        return ellipse(x, y - np.float32(self.spine_y_mm - 2), 33 + margin_mm, 37 + margin_mm)


def paint_trunk(canvas: Canvas, patient: Patient) -> None:
    region = canvas.grid.whole()
    x, y, z = points = region.points
    fat = patient.fat_mm
    _paint_table(canvas, patient)
    wobble = Wobble(patient.rng("skin"), 1.6, 130)(points)
    groove = 5 * np.exp(-((x / np.float32(16)) ** 2)) * (y > 0)
    skin = patient.trunk(points, WALL_MM + fat, 10 + fat, 27 + 0.55 * fat) + wobble + groove
    canvas.paint(region, skin, 20.0)
    canvas.paint(region, skin + np.float32(2.0), FAT_HU)
    outer = patient.trunk(points, WALL_MM, 10, 25) + wobble * np.float32(0.6) + groove
    canvas.paint(region, outer, MUSCLE_HU)
    _paint_wall_layers(canvas, patient.rng("wall"), region, outer)
    cavity = patient.cavity(points)
    canvas.paint(region, cavity, FAT_HU)
    rectus = ellipse(np.abs(x) - 33, y - np.float32(patient.front_y_mm - 1), 31, 7)
    canvas.paint(region, np.maximum(rectus, -np.float32(0.1) * z - 20), MUSCLE_HU)
    _paint_lungs(canvas, patient, region, cavity)
    _paint_ribs(canvas, patient, region)


def _paint_table(canvas: Canvas, patient: Patient) -> None:
    region = canvas.grid.whole()
    x, y, _ = region.points
    back = CAVITY_Y_MM + patient.half_depth_mm + 27 + 0.55 * patient.fat_mm
    radius = 420.0
    sag = np.sqrt(x**2 + (y - np.float32(back + 9 - radius)) ** 2) - np.float32(radius)
    half = np.abs(x) - np.float32(205)
    canvas.paint(region, np.maximum(np.abs(sag - 9) - 9, half), -920.0)
    canvas.paint(region, np.maximum(np.abs(sag) - np.float32(0.7), half), -250.0)
    canvas.paint(region, np.maximum(np.abs(sag - 18) - np.float32(1.0), half), 120.0)


def _paint_wall_layers(
    canvas: Canvas, rng: np.random.Generator, region: Region, outer: Array
) -> None:
    """Thin fat between the flat muscles, and the white line in front."""
    x, y, _ = region.points
    side = np.minimum(y - np.float32(55), np.abs(y) * 0 + 40)
    gap = 0.8 * Wobble(rng, 1.0, 70)(region.points)
    for depth, half in ((4.4, 0.5), (8.6, 0.3)):
        layer = np.abs(outer + np.float32(depth)) - (np.float32(half) + gap)
        canvas.paint(region, np.maximum(layer, side), -60.0)
    front = np.maximum(np.abs(x) - np.float32(2.0), y + np.float32(40))
    canvas.paint(region, np.maximum(front, outer + np.float32(1.5)), -20.0)


def _paint_lungs(canvas: Canvas, patient: Patient, region: Region, cavity: Array) -> None:
    x, y, z = points = region.points
    rng = patient.rng("lungs")
    heart = _heart(patient)
    middle = smooth_min(ellipsoid(points, *heart) - 4, patient.backbone(points, -4), 20.0)
    middle = np.minimum(middle, ellipse(x - 6, y - np.float32(patient.front_y_mm), 26, 50))
    floor = np.float32(patient.dome_mm - 70) - z - np.float32(0.45) * np.maximum(y - 20, 0)
    lung = np.maximum(np.maximum(cavity + 1, floor), -(patient.diaphragm(points) - 2))
    canvas.paint(region, np.maximum(lung, -middle), LUNG_HU)
    for _ in range(44):
        side = rng.choice((-1, 1))
        a = np.array([side * rng.uniform(35, 95), rng.uniform(-50, 55), rng.uniform(20, 135)])
        b = a + rng.normal(0, 14, 3)
        box = canvas.grid.around((a, b), 4)
        tube = cone(box.points, a, b, rng.uniform(0.8, 2.4), 0.7)
        # a vessel of the lung shows in the lung only
        tube = np.maximum(tube, 5 - patient.diaphragm(box.points))
        tube = np.maximum(tube, patient.cavity(box.points, 6))
        canvas.paint(box, tube, 20.0)
    _paint_heart(canvas, patient, heart)


def _heart(patient: Patient) -> Oval:
    rng = patient.rng("heart")
    center = (24 + rng.uniform(-6, 6), patient.front_y_mm + 54, patient.dome_mm + 8)
    turn = np.array([[0.8, -0.55, -0.25], [0.55, 0.83, 0.0], [0.2, -0.13, 0.97]])
    return center, (62 + rng.uniform(-5, 5), 43.0, 42.0), turn


def _paint_heart(
    canvas: Canvas,
    patient: Patient,
    heart: Oval,
) -> None:
    center, radii, axes = heart
    region = canvas.grid.around((center,), 75)
    points = Warp(patient.rng("heart shape"), 2.5, 100)(region.points)
    above = -(patient.diaphragm(region.points) - 1)
    shape = ellipsoid(points, center, radii, axes)
    body = smooth_max(shape, above, 5)
    canvas.paint(region, smooth_max(shape - 5, above, 5), FAT_HU)
    canvas.paint(region, body, 105.0)
    blood = patient.vein_hu + 5
    for dx, dy, dz, size in ((-26, 2, 8, 0.46), (20, 8, 4, 0.55), (6, -20, 4, 0.42)):
        chamber = (center[0] + dx, center[1] + dy, center[2] + dz)
        size_mm = tuple(size * r * f for r, f in zip(radii, (1.0, 1.05, 1.3), strict=True))
        inside = ellipsoid(points, chamber, size_mm, axes)
        canvas.paint(region, np.maximum(inside, body + 4), blood, 4.0)


def _paint_ribs(canvas: Canvas, patient: Patient, region: Region) -> None:
    """All ribs at once: an oval swept along the wall, sinking toward the front, every 29 mm."""
    rng = patient.rng("ribs")
    x, y, z = points = region.points
    pitch = np.float32(29.0 * patient.stretch)
    mid_wall = patient.trunk(points, 6.5, 5.5, 8)
    sink = np.float32(0.95) * (y - np.float32(70)) + np.float32(2.0) * np.sign(x)
    level = z - sink + np.float32(rng.uniform(0, 29))
    along = np.mod(level, pitch) - pitch / 2
    rib = ellipse(mid_wall, along * np.float32(0.75), 3.7, 5.6)
    costal_arch = np.float32(-16) - np.float32(0.62) * (z - np.float32(patient.dome_mm - 60)) - y
    lowest = np.float32(patient.dome_mm - 175) - level
    gap = np.float32(24) - np.abs(x)
    bone = np.maximum(np.maximum(rib, costal_arch), np.maximum(lowest, gap))
    cartilage = np.maximum(np.maximum(rib - 1, costal_arch - 45), np.maximum(lowest, gap))
    canvas.paint(region, cartilage, 100.0)
    canvas.paint(region, bone, 480.0)
    canvas.paint(region, bone + np.float32(1.7), 190.0)
    sternum = ellipse(x, y - np.float32(patient.front_y_mm - 5), 17, 5.5)
    sternum = np.maximum(sternum, np.float32(patient.dome_mm - 5) - z)
    canvas.paint(region, sternum, 260.0)


def paint_spine(canvas: Canvas, patient: Patient) -> None:
    rng = patient.rng("spine")
    center_y = patient.spine_y_mm
    region = canvas.grid.box((-80, center_y - 50, -400), (80, center_y + 75, 400))
    x, y, z = region.points
    y = y - np.float32(center_y)
    _paint_back_muscles(canvas, patient, region)
    pitch = np.float32(VERTEBRA_MM * patient.stretch)
    level = np.mod(z + np.float32(rng.uniform(0, 34)), pitch) - pitch / 2
    waist = np.float32(2.5) * np.cos(level * np.float32(2 * np.pi) / pitch)
    outline = ellipse(x, y, 23, 17) + waist
    plate = np.abs(level) - pitch / 2 + np.float32(4.0)
    canvas.paint(region, outline, 85.0)  # disks
    bone = smooth_max(outline, plate, 3)
    canvas.paint(region, bone, 420.0)
    canvas.paint(region, bone + np.float32(2.0), rng.uniform(170, 240))
    skin = patient.trunk(region.points, WALL_MM, 10, 27 + 0.55 * patient.fat_mm)
    _paint_arch(canvas, region, (x, y, level), skin)


def _paint_arch(canvas: Canvas, region: Region, local: Points, skin: Array) -> None:
    """Pedicles, laminae, transverse and spinous processes around the canal; then the cord."""
    x, y, level = local
    ring = ellipse(x, y - np.float32(26), 16, 14)
    arch = np.maximum(ring, np.abs(level - 1) - np.float32(9))
    transverse = ellipse(y - np.float32(24) - np.abs(x) * np.float32(0.15), level - 4, 4.0, 6.5)
    transverse = np.maximum(transverse, np.abs(x) - np.float32(38))
    spinous = ellipse(x, level + np.float32(0.3) * (y - 40), 3.4, 10.0)
    spinous = np.maximum(spinous, np.maximum(y - np.float32(54), 30 - y))
    bone = np.maximum(smooth_min(smooth_min(arch, transverse, 4), spinous, 4), skin + 9)
    canvas.paint(region, bone, 430.0)
    canvas.paint(region, bone + np.float32(2.2), 230.0)
    canal = ellipse(x, y - np.float32(25), 10.5, 8.0)
    canvas.paint(region, canal, 0.0)
    canvas.paint(region, ellipse(x, y - np.float32(25), 6.5, 5.0), 38.0)


def _paint_back_muscles(canvas: Canvas, patient: Patient, region: Region) -> None:
    x, y, z = points = region.points
    skin = patient.trunk(points, WALL_MM, 10, 23)
    side = np.abs(x)
    erector = ellipse(side - 31, y - np.float32(patient.spine_y_mm + 40), 29, 22)
    canvas.paint(region, np.maximum(erector - 2, skin), -50.0)
    streaks = 11 * Grain(patient.rng("streaks"), 1, 13)(points)
    canvas.paint(region, np.maximum(erector, skin + 2), MUSCLE_HU - 4 + streaks)
    low = np.clip((np.float32(-15) - z) / 90, 0, 1)
    psoas = ellipse(side - 27 - 10 * low, y - np.float32(patient.spine_y_mm + 3), 17, 19)
    psoas = psoas + (1 - low) * np.float32(14)
    canvas.paint(region, psoas, MUSCLE_HU + 3)
    quadratus = ellipse(side - 62, y - np.float32(patient.spine_y_mm + 18), 21, 9)
    canvas.paint(region, np.maximum(quadratus, z + np.float32(30)), MUSCLE_HU)
