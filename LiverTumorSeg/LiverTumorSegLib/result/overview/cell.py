"""One plane in a cell of a page: the CT, outlines, captions, sides, a scale bar, number tags."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label

from . import panel
from .drawing import HALO, Box, Image, Page, Tags, draw_contours, smooth_contours
from .panel import INK, LIVER, MUTED, TRUTH, TUMOR
from .views import Frame, Plane, mask_box

Array = NDArray[Any]

BAR_MM = 50
TAGS_PER_CELL = 12


def draw_plane(
    page: Page, cell: Box, frame: Frame, plane: Plane, window_hu: tuple[int, int]
) -> None:
    """CT, then the reference, then the result on top of it."""
    fine = page.cell(cell)
    fine[:] = frame.gray(plane, window_hu)[..., None]
    if plane.truth is not None:
        _draw_outlines(fine, frame, plane.truth, plane.spacing_mm, (TRUTH, TRUTH), dashed=True)
    _draw_outlines(fine, frame, plane.labels, plane.spacing_mm, (LIVER, TUMOR), dashed=False)


def _draw_outlines(
    fine: Image,
    frame: Frame,
    labels: Array,
    spacing_mm: tuple[float, float],
    colors: tuple[Any, Any],
    *,
    dashed: bool,
) -> None:
    for least, color in zip((Label.LIVER, Label.TUMOR), colors, strict=True):
        mask = labels >= least
        if mask.any():
            contours = smooth_contours(frame.inside(mask, spacing_mm))
            draw_contours(fine, contours, color, 2 if dashed else 3, dashed=dashed)


def draw_captions(page: Page, cell: Box, captions: list[str]) -> list[Box]:
    """Write captions in the upper left corner; returns the boxes taken, as the next two do."""
    left, top, width = cell[0] + 9, cell[1], 0.0
    for n, caption in enumerate(captions):
        size, color = (14.0, INK) if n == 0 else (12.5, MUTED)
        page.text(caption, (left, top + 20 + 17 * n), size, color, bold=n == 0, halo=True)
        width = max(width, page.text_width(caption, size, bold=n == 0))
    return [(cell[0], top, left + width + 4, top + 8 + 17 * len(captions))]


def draw_sides(
    page: Page, cell: Box, sides: tuple[str, str], *, right_margin: float = 8.0
) -> list[Box]:
    """Which side of the patient is where, halfway up."""
    y = (cell[1] + cell[3]) / 2
    left, right = cell[0] + 8, cell[2] - right_margin
    page.text(sides[0], (left, y), 14, INK, bold=True, halo=True)
    page.text(sides[1], (right, y), 14, INK, bold=True, halo=True, align="right")
    return [(left - 8, y - 14, left + 14, y + 4), (right - 14, y - 14, right + 8, y + 4)]


def draw_bar(page: Page, cell: Box, frame: Frame, length_mm: int = BAR_MM) -> Box:
    """A scale bar in the lower right corner."""
    x, y = cell[2] - 10, cell[3] - 10
    start = x - length_mm * frame.scale
    for width, color in ((4.0, HALO), (1.5, INK)):
        page.line((start, y), (x, y), color, width)
        for end in (start, x):
            page.line((end, y - 4), (end, y), color, width)
    page.text(f"{length_mm} mm", ((start + x) / 2, y - 7), 12, INK, align="middle", halo=True)
    return start - 4, y - 22, cell[2], cell[3]


def draw_tags(page: Page, cell: Box, frame: Frame, plane: Plane, taken: list[Box]) -> None:
    """The numbers of the lesions on a plane, beside them."""
    if plane.lesions is None:
        return
    row_mm, column_mm = plane.spacing_mm
    boxes: dict[int, Box] = {}
    for number in np.unique(plane.lesions[plane.lesions > 0])[:TAGS_PER_CELL]:
        if (found := mask_box(plane.lesions == number)) is not None:
            left, right = found[0] * column_mm, found[2] * column_mm
            extent = (left, found[1] * row_mm, right, found[3] * row_mm)
            boxes[int(number)] = in_page(cell, frame, extent)
    place_tags(page, cell, boxes, taken)


def place_tags(page: Page, cell: Box, boxes: dict[int, Box], taken: list[Box]) -> None:
    """A tag beside each lesion and off the others; the largest lesion has the first choice."""
    tags = Tags(page, cell, taken)
    for number, box in boxes.items():
        others = [other for n, other in boxes.items() if n != number]
        if not tags.add(str(number), box, panel.TAG, others):
            tags.add(str(number), box, panel.TAG, [])


def in_page(cell: Box, frame: Frame, mm: Box) -> Box:
    (x0, y0), (x1, y1) = frame.to_cell(mm[0], mm[1]), frame.to_cell(mm[2], mm[3])
    return cell[0] + x0, cell[1] + y0, cell[0] + x1, cell[1] + y1
