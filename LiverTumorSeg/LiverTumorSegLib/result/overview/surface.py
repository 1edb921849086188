"""The liver seen from the front, drawn from the labels alone: shaded, see-through, tumors inside.

A depth map is enough: for each ray from anterior to posterior, where it first meets the liver and
how much of it is tumor. The slope of that depth gives the shade.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import bounding_box

from .drawing import FINE, Color, Image
from .views import Frame, padded

Array = NDArray[Any]

SMOOTH_MM = 2.5  # takes the steps between voxels out of the surface, as does
SMOOTH_VOXELS = 0.9  # of the longest voxel edge
LIGHT = np.array([-0.35, -0.55, 0.76])  # right to left, head to feet, toward the viewer
AMBIENT = 0.22
BACK = 0.5  # brightness of the liver's far side
GLASS, RIM = 0.26, 0.65  # how much the near side covers: looked at squarely, and at a slant
ROOM_MM = 14.0


@dataclass(frozen=True, eq=False)
class Shading:
    """shade: light on it. facing: 1 square to the viewer, 0 edge-on. cover: of each fine pixel."""

    shade: Array
    facing: Array
    cover: Array


@dataclass(frozen=True, eq=False)
class Surface:
    """Liver and tumor from one side, arrays ``(rows, columns)`` of fine pixels."""

    frame: Frame
    liver: Shading
    tumor: Shading

    def paint(self, fine: Image, liver: Color, tumor: Color) -> None:
        """Lay it over what is there."""
        picture = fine.astype(np.float32)
        glass = GLASS + RIM * (1 - self.liver.facing) ** 1.3
        near = _lit(liver, self.liver.shade)
        layers = (
            (near * np.float32(BACK), self.liver.cover),
            (_lit(tumor, self.tumor.shade), self.tumor.cover),
            (near, self.liver.cover * glass),
        )
        for lit, cover in layers:
            picture += (lit - picture) * cover[..., None]
        fine[:] = np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def front_view(
    labels: NDArray[np.uint8], spacing_kji_mm: tuple[float, float, float], size: tuple[float, float]
) -> Surface | None:
    """The view of LPS labels ``(k, j, i)`` in a cell of ``size`` page pixels; None when empty."""
    box = bounding_box(labels)
    if box is None:
        return None
    k_mm, j_mm, i_mm = (round(v, 6) for v in spacing_kji_mm)
    cropped = labels[box][::-1]  # rows run down from the head
    left, top = box[2].start * i_mm, (len(labels) - box[0].stop) * k_mm
    right, bottom = box[2].stop * i_mm, (len(labels) - box[0].start) * k_mm
    frame = Frame.around(padded((left, top, right, bottom), ROOM_MM), *size)
    local = Frame(frame.left_mm - left, frame.top_mm - top, frame.scale, *size)
    liver = _shaded(cropped >= Label.LIVER, (k_mm, j_mm, i_mm), local)
    tumor = _shaded(cropped == Label.TUMOR, (k_mm, j_mm, i_mm), local)
    return Surface(frame, liver, tumor)


def _shaded(mask: Array, spacing_kji_mm: tuple[float, float, float], frame: Frame) -> Shading:
    """A mask ``(rows, j, i)`` seen along j, on the frame's fine pixels."""
    k_mm, j_mm, i_mm = spacing_kji_mm
    hit = np.asarray(mask.any(axis=1))
    depth_mm = mask.argmax(axis=1) * j_mm
    blur = max(SMOOTH_MM, SMOOTH_VOXELS * max(spacing_kji_mm)) * frame.scale * FINE
    weight = _blurred(frame.resample(hit, (k_mm, i_mm), floor=0.0), blur)
    depth = _blurred(frame.resample(depth_mm * hit, (k_mm, i_mm), floor=0.0), blur)
    depth = depth / np.maximum(weight, 1e-3)
    down, right = np.gradient(depth, 1.0 / (frame.scale * FINE))
    # the surface rises toward the viewer where the depth falls
    steep = np.sqrt(1 + down**2 + right**2)
    shade = np.clip((right * LIGHT[0] + down * LIGHT[1] + LIGHT[2]) / steep, 0, 1)
    cover = np.clip((weight - 0.5) * blur * 1.2 + 0.5, 0, 1)
    return Shading(shade, 1 / steep, cover)


def _blurred(image: Array, sigma: float) -> Array:
    result: Array = cv2.GaussianBlur(image, (0, 0), max(sigma, 0.01))
    return result


def _lit(color: Color, shade: Array) -> Array:
    """The color from its shadow to its highlight, float32 ``(rows, columns, 3)``."""
    bright = (AMBIENT + (1 - AMBIENT) * shade)[..., None] * np.array(color, np.float32)
    gloss = (shade**24)[..., None] * np.float32(40.0)
    return np.asarray(bright + gloss, dtype=np.float32)
