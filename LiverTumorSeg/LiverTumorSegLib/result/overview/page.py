"""One picture of a result: ``overview.png``, the first thing to look at.

    image = draw_overview(ct, labels_kji, measure(labels_kji, ct), title="...", footer="...")
    (folder / "overview.png").write_bytes(png_bytes(image))

Six axial slices from head to feet, a coronal and a sagittal plane, the liver seen from the front,
the volumes and the lesion list. Shown the radiological way whatever the scan's orientation: the
patient's right on the left, anterior up, head up. Nothing in it names the patient; the caller
keeps names out of ``title`` and ``footer``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.lesions import LiverMeasures
from LiverTumorSegLib.volume import CtVolume, Reorientation

from . import panel
from .cell import (
    BAR_MM,
    TAGS_PER_CELL,
    draw_bar,
    draw_captions,
    draw_plane,
    draw_sides,
    draw_tags,
    in_page,
    place_tags,
)
from .drawing import Box, Image, Page
from .panel import HEIGHT, INK, LIVER, PAGE, PLAN, TUMOR, WIDTH
from .scene import OverviewScene, turned_slice
from .surface import Surface, front_view
from .views import Frame, Plane, body_extent, mask_box, padded

Array = NDArray[Any]

CELL = (368.0, 290.0)  # page pixels
GAP = 8.0
LEFT, TOP = 24.0, 66.0  # of the grid of cells
AROUND_LIVER_MM = 40.0  # shown above and below the liver on coronal and sagittal planes
CLOSE_UP_HEIGHT = 250.0
CLOSE_UP_MM = 50.0  # across a close-up at least
CLOSE_UP_ROOM = 0.3  # around the lesion, of its size


def draw_overview(
    ct: CtVolume,
    labels_kji: NDArray[np.uint8],
    measures: LiverMeasures,
    *,
    title: str,
    footer: str,
    truth_kji: NDArray[np.uint8] | None = None,
    warnings: Sequence[str] = (),
    recall: str = "",
) -> Image:
    """The picture, uint8 BGR ``(1000, 1600, 3)``, and higher where there are warnings.

    labels_kji, truth_kji: 0, 1, 2 on the CT's own grid, ``(k, j, i)``. measures: of these labels.
    truth_kji: a reference to compare with, drawn dashed, with Dice in the panel. Slice numbers are
    those of the CT's own grid, from 0, as in the lesion table. Labels without liver or tumor give
    a picture that says so. warnings: sentences to be written below everything else.
    recall: how much the model is known to find, for a CT without marks.
    Raises ``ValueError`` when shapes differ or the measures are of other labels.
    """
    _check(ct, labels_kji, truth_kji)
    case = OverviewScene.of(ct, labels_kji, truth_kji, measures)
    page = Page(WIDTH, HEIGHT + panel.warnings_height(warnings), PAGE)
    panel.draw_header(page, title, case.ct)
    panel.draw_footer(page, footer)
    panel.draw_warnings(page, warnings)
    dice = None if truth_kji is None else _dice(labels_kji, truth_kji)
    end = panel.draw_panel(page, measures, dice, recall)
    panel.draw_legend(page, case.window_hu, with_truth=dice is not None)
    _draw_close_ups(page, case, end)
    _draw_axials(page, case)
    _draw_whole(page, case, 2)
    return page.finish()


def draw_whole_liver(case: OverviewScene) -> Image:
    """Coronal and sagittal plane and the liver from the front, side by side, uint8 BGR.

    Lines show where each lesion is widest, or, without lesions, the overview's slices.
    """
    slices = tuple(sorted(set(case.widest), reverse=True)) or case.slices
    left, top, *_ = _cell(0, 0)
    _, _, right, bottom = _cell(0, 2)
    page = Page(round(right + left), round(bottom + top), PAGE)
    _draw_whole(page, replace(case, slices=slices), 0)
    return page.finish()[round(top) : round(bottom), round(left) : round(right)]


def png_bytes(image: Image) -> bytes:
    """A BGR picture as the bytes of a PNG file."""
    done, encoded = cv2.imencode(".png", image)
    if not done:
        raise ValueError("The picture could not be encoded as PNG; give a BGR uint8 array.")
    data: bytes = encoded.tobytes()
    return data


def _check(ct: CtVolume, labels: Array, truth: Array | None) -> None:
    for name, array in (("labels", labels), ("truth", truth)):
        if array is not None and (array.shape != ct.shape_kji or array.dtype != np.uint8):
            raise ValueError(
                f"The {name} are {array.dtype} of shape {array.shape} and the CT has the shape "
                f"{ct.shape_kji} (k, j, i); give uint8 on the CT's own grid."
            )


def _dice(labels: Array, truth: Array) -> tuple[float | None, float | None]:
    """Dice of liver (label 1 or 2) and of tumor; None where neither has a voxel."""
    both, sizes = np.zeros(2), np.zeros(2)
    for ours, theirs in zip(labels, truth, strict=True):
        for n, least in enumerate((Label.LIVER, Label.TUMOR)):
            a, b = ours >= least, theirs >= least
            both[n] += np.count_nonzero(a & b)
            sizes[n] += np.count_nonzero(a) + np.count_nonzero(b)
    liver, tumor = (float(2 * b / s) if s else None for b, s in zip(both, sizes, strict=True))
    return liver, tumor


def _cell(row: int, column: int) -> Box:
    left, top = LEFT + column * (CELL[0] + GAP), TOP + row * (CELL[1] + GAP)
    return left, top, left + CELL[0], top + CELL[1]


def _draw_axials(page: Page, case: OverviewScene) -> None:
    planes = [case.plane(0, k) for k in case.slices]
    frame = Frame.around(body_extent(planes), *CELL)
    for n, (k, plane) in enumerate(zip(case.slices, planes, strict=True)):
        cell = _cell(*divmod(n, 3))
        draw_plane(page, cell, frame, plane, case.window_hu)
        captions = [_height(case, k), f"slice {_slice_number(k, case.turn)}"]
        taken = draw_captions(page, cell, captions)
        taken += [*draw_sides(page, cell, ("R", "L")), draw_bar(page, cell, frame)]
        draw_tags(page, cell, frame, plane, taken)


def _height(case: OverviewScene, k: int) -> str:
    return f"S {round(case.superior_mm(k)):+d} mm"


def _slice_number(k: int, turn: Reorientation) -> str:
    """As in the lesion table: in the grid of the CT that came in."""
    return str(turned_slice(k, turn))


def _draw_whole(page: Page, case: OverviewScene, row: int) -> None:
    """The liver as a whole: in two planes and from the front."""
    coronal, sagittal, front = (_cell(row, column) for column in range(3))
    _draw_upright(page, case, coronal, axis=1, caption="Coronal", sides=("R", "L"))
    _draw_upright(page, case, sagittal, axis=2, caption="Sagittal", sides=("A", "P"))
    _draw_front(page, case, front)


def _draw_upright(
    page: Page, case: OverviewScene, cell: Box, *, axis: int, caption: str, sides: tuple[str, str]
) -> None:
    """A coronal or sagittal plane around the liver's height, with the axial slices as lines."""
    plane = case.plane(axis, case.center_kji[axis])
    left, _, right, _ = body_extent([plane])
    half = case.ct.spacing_kji_mm[0] / 2
    top = case.below_head_mm(case.liver_k[1]) - half - AROUND_LIVER_MM
    bottom = case.below_head_mm(case.liver_k[0]) + half + AROUND_LIVER_MM
    whole = 2 * half * len(case.labels)
    frame = Frame.around((left, max(top, 0.0), right, min(bottom, whole)), *CELL)
    draw_plane(page, cell, frame, plane, case.window_hu)
    _draw_slice_lines(page, case, cell, frame)
    draw_captions(page, cell, [caption])
    draw_sides(page, cell, sides, right_margin=38.0)
    draw_bar(page, cell, frame)


def _draw_slice_lines(page: Page, case: OverviewScene, cell: Box, frame: Frame) -> None:
    """Where the axial slices lie, each with its number at the right edge."""
    lowest = cell[1] + 30.0
    for k in case.slices:
        y = cell[1] + frame.to_cell(0.0, case.below_head_mm(k))[1]
        if not cell[1] + 2 < y < cell[3] - 2:
            continue
        for x in np.arange(cell[0] + 4, cell[2] - 34, 8.0):
            page.fill((x, y - 0.5, x + 4, y + 0.5), PLAN, 0.75)
        label_y = max(y + 4, lowest)
        page.text(
            _slice_number(k, case.turn),
            (cell[2] - 6, label_y),
            11.5,
            PLAN,
            bold=True,
            halo=True,
            align="right",
        )
        lowest = label_y + 13


def _draw_front(page: Page, case: OverviewScene, cell: Box) -> None:
    """The liver from the front, see-through, with its lesions."""
    page.fill(cell, panel.CARD)
    surface = front_view(case.labels, case.ct.spacing_kji_mm, CELL)
    middle = ((cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2)
    if surface is None:
        page.text(panel.NO_LIVER, (middle[0], middle[1] + 6), 22, INK, bold=True, align="middle")
        return
    surface.paint(page.cell(cell), LIVER, TUMOR)
    taken = draw_captions(page, cell, ["Liver from the front"])
    taken += [*draw_sides(page, cell, ("R", "L")), draw_bar(page, cell, surface.frame)]
    _tag_surface(page, case, cell, surface, taken)


def _tag_surface(
    page: Page, case: OverviewScene, cell: Box, surface: Surface, taken: list[Box]
) -> None:
    if case.lesions is None or case.box is None:
        return
    from scipy import ndimage

    k_mm, _, i_mm = case.ct.spacing_kji_mm
    boxes: dict[int, Box] = {}
    found = ndimage.find_objects(case.lesions, max_label=TAGS_PER_CELL)
    for number, part in enumerate(found, start=1):
        if part is not None:
            below_k = len(case.labels) - case.box[0].start
            left, right = (n + case.box[2].start for n in (part[2].start, part[2].stop))
            top, bottom = below_k - part[0].stop, below_k - part[0].start
            extent = (left * i_mm, top * k_mm, right * i_mm, bottom * k_mm)
            boxes[number] = in_page(cell, surface.frame, extent)
    place_tags(page, cell, boxes, taken)


def _draw_close_ups(page: Page, case: OverviewScene, top: float) -> None:
    """The two largest lesions where they are widest, between the lesion list and the legend."""
    if not case.widest:
        return
    height = min(panel.CLOSE_UPS_END - top - 44, CLOSE_UP_HEIGHT)
    top, left = panel.CLOSE_UPS_END - height, panel.LEFT
    several = len(case.widest) > 1
    page.text("Close-up", (left, top - 12), 17, INK, bold=True)
    width = (panel.RIGHT - left - GAP) / 2 if several else panel.RIGHT - left
    for number, k in enumerate(case.widest[:2], start=1):
        cell = (left, top, left + width, top + height)
        _draw_close_up(page, case, cell, case.plane(0, k), number)
        draw_captions(page, cell, [_height(case, k)])
        left += width + GAP


def _draw_close_up(page: Page, case: OverviewScene, cell: Box, plane: Plane, number: int) -> None:
    if plane.lesions is None or (found := mask_box(plane.lesions == number)) is None:
        return
    row_mm, column_mm = plane.spacing_mm
    extent = (found[0] * column_mm, found[1] * row_mm, found[2] * column_mm, found[3] * row_mm)
    size_mm = max(extent[2] - extent[0], extent[3] - extent[1])
    room_mm = max(CLOSE_UP_ROOM * size_mm, (CLOSE_UP_MM - size_mm) / 2)
    frame = Frame.around(padded(extent, room_mm), cell[2] - cell[0], cell[3] - cell[1])
    draw_plane(page, cell, frame, plane, case.window_hu)
    bar_mm = max((mm for mm in (10, 20, BAR_MM) if mm * frame.scale < 80), default=10)
    taken = [(cell[0], cell[1], cell[0] + 90, cell[1] + 26), draw_bar(page, cell, frame, bar_mm)]
    place_tags(page, cell, {number: in_page(cell, frame, extent)}, taken)
