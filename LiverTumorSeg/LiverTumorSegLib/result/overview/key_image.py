"""One lesion on the axial slice where it is widest, with its diameters drawn.

case = Case.of(ct, labels_kji, None, measures)
image = draw_key_image(case, measures.lesions[0])     # BGR, for encode_jpeg
"""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np

from LiverTumorSegLib.result.lesions import Lesion, Point

from .cell import BAR_MM, draw_bar, draw_plane, draw_sides, draw_tags
from .drawing import HALO, Box, Color, Image, Page
from .panel import CARD, INK
from .scene import OverviewScene, turned_slice
from .views import Frame, Plane, body_extent, mask_box, padded

WIDTH, HEIGHT = 420, 320  # page pixels
ACROSS_MM = 120.0  # least width of tissue shown
ROOM = 1.9  # width shown, in lesion sizes
CALIPER: Color = (80, 235, 255)
TICK_MM = 2.0  # half length of a caliper's end
PLACE_MARK_MM = (6.0, 12.0)  # from the middle: where each stroke of the mark begins and ends
LOCATOR = 0.27  # width of the small whole slice, in picture widths
JPEG_QUALITY = 88


def draw_key_image(case: OverviewScene, lesion: Lesion) -> Image:
    """The lesion on its slice, uint8 BGR; the whole slice small in the upper right corner."""
    plane = case.plane(0, turned_slice(lesion.slice_index, case.turn))
    page = Page(WIDTH, HEIGHT, CARD)
    cell: Box = (0.0, 0.0, float(WIDTH), float(HEIGHT))
    frame = _frame_around(plane, lesion.number)
    draw_plane(page, cell, frame, plane, case.window_hu)
    for line in lesion.diameter_lines_ras_mm:
        _draw_caliper(page, frame, _in_plane_mm(case, line[0]), _in_plane_mm(case, line[1]))
    taken = [_draw_locator(page, plane, frame, case.window_hu)]
    bar_mm = BAR_MM if frame.width / frame.scale > 3 * BAR_MM else 20
    taken += [*draw_sides(page, cell, ("R", "L")), draw_bar(page, cell, frame, bar_mm)]
    draw_tags(page, cell, frame, plane, taken)
    return page.finish()


def draw_place(case: OverviewScene, point_ras_mm: Point) -> Image:
    """Draw the place of a lesion that is not there, uint8 BGR; the middle is marked."""
    _, _, k = _indices(case, point_ras_mm)
    last = len(case.labels) - 1
    plane = case.plane(0, min(max(round(k), 0), last))
    page = Page(WIDTH, HEIGHT, CARD)
    cell: Box = (0.0, 0.0, float(WIDTH), float(HEIGHT))
    middle = _in_plane_mm(case, point_ras_mm)
    frame = Frame.around(padded((*middle, *middle), ACROSS_MM / 2), WIDTH, HEIGHT)
    draw_plane(page, cell, frame, plane, case.window_hu)
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        ends = [(middle[0] + dx * mm, middle[1] + dy * mm) for mm in PLACE_MARK_MM]
        for color, width in ((HALO, 3.2), (CALIPER, 1.4)):
            page.line(frame.to_cell(*ends[0]), frame.to_cell(*ends[1]), color, width)
    taken = [_draw_locator(page, plane, frame, case.window_hu)]
    taken += [*draw_sides(page, cell, ("R", "L")), draw_bar(page, cell, frame, 20)]
    draw_tags(page, cell, frame, plane, taken)
    return page.finish()


def jpeg_uri(image: Image) -> str:
    """A BGR picture as an address that holds it, for a page that needs no other file."""
    return "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(image)).decode("ascii")


def encode_jpeg(image: Image) -> bytes:
    """A BGR picture as JPEG."""
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError("The picture could not be encoded as JPEG; give a BGR uint8 array.")
    return encoded.tobytes()


def _frame_around(plane: Plane, number: int) -> Frame:
    """The lesion in the middle, with enough around it to see where it lies."""
    assert plane.lesions is not None
    found = mask_box(plane.lesions == number)
    assert found is not None  # its slice is where it is widest
    row_mm, column_mm = plane.spacing_mm
    left, top, right, bottom = np.multiply(found, (column_mm, row_mm, column_mm, row_mm))
    size_mm = max(right - left, bottom - top)
    across_mm = max(ACROSS_MM, ROOM * size_mm)
    middle = ((left + right) / 2, (top + bottom) / 2)
    return Frame.around(padded((*middle, *middle), across_mm / 2), WIDTH, HEIGHT)


def _in_plane_mm(case: OverviewScene, point_ras_mm: Point) -> tuple[float, float]:
    """From the upper left corner of an axial plane, as it is shown."""
    i, j, _ = _indices(case, point_ras_mm)
    _, row_mm, column_mm = case.ct.spacing_kji_mm
    return (i + 0.5) * column_mm, (j + 0.5) * row_mm


def _indices(case: OverviewScene, point_ras_mm: Point) -> tuple[float, float, float]:
    """Of the LPS grid."""
    i, j, k, _ = np.linalg.inv(case.ct.ijk_to_ras) @ np.array([*point_ras_mm, 1.0])
    return float(i), float(j), float(k)


def _draw_caliper(page: Page, frame: Frame, a: tuple[float, float], b: tuple[float, float]) -> None:
    """A line with a short bar at each end, on a dark edge."""
    ends = np.array([frame.to_cell(*a), frame.to_cell(*b)])
    along = ends[1] - ends[0]
    across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6)
    tick = across * TICK_MM * frame.scale
    strokes = [ends, *(np.stack([end - tick, end + tick]) for end in ends)]
    for color, width in ((HALO, 3.2), (CALIPER, 1.4)):
        for stroke in strokes:
            page.line(_xy(stroke[0]), _xy(stroke[1]), color, width)


def _xy(point: Any) -> tuple[float, float]:
    return float(point[0]), float(point[1])


def _draw_locator(page: Page, plane: Plane, shown: Frame, window_hu: tuple[int, int]) -> Box:
    """The whole body slice with a box around what is shown large; the space that it takes."""
    extent = body_extent([plane])
    width = LOCATOR * WIDTH
    height = width * (extent[3] - extent[1]) / (extent[2] - extent[0])
    cell: Box = (WIDTH - width, 0.0, float(WIDTH), height)
    frame = Frame.around(extent, width, height)
    page.fill((cell[0] - 1.5, 0.0, cell[2], height + 1.5), INK)
    draw_plane(page, cell, frame, plane, window_hu)
    corners = [
        frame.to_cell(shown.left_mm + x / shown.scale, shown.top_mm + y / shown.scale)
        for x, y in ((0.0, 0.0), (shown.width, shown.height))
    ]
    (left, top), (right, bottom) = np.clip(corners, 1.0, (width - 1.0, height - 1.0)) + _xy(cell)
    for a, b in (
        ((left, top), (right, top)),
        ((right, top), (right, bottom)),
        ((right, bottom), (left, bottom)),
        ((left, bottom), (left, top)),
    ):
        page.line(a, b, CALIPER, 1.0)
    return cell
