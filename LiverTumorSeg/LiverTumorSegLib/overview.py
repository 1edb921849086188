"""One picture of a result: ``overview.png``, the first thing to look at.

    image = draw_overview(ct, labels_kji, measure(labels_kji, ct), title="...", footer="...")
    write_png(folder / "overview.png", image)

Six axial slices from head to feet, a coronal and a sagittal plane, the liver seen from the front,
the volumes and the lesion list. Shown the radiological way whatever the scan's orientation: the
patient's right on the left, anterior up, head up. Nothing in it names the patient; the caller
keeps names out of ``title`` and ``footer``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from . import overview_panel as panel
from .drawing import Box, Image, Page, Tags, draw_contours, smooth_contours
from .labels import Label
from .lesions import LiverMeasures, label_lesions
from .overview_panel import HEIGHT, INK, LIVER, MUTED, PAGE, PLAN, TRUTH, TUMOR, WIDTH
from .overview_surface import Surface, front_view
from .overview_views import (
    Frame,
    Plane,
    body_extent,
    choose_slices,
    liver_profile,
    mask_box,
    padded,
)
from .spec import whole_file
from .volume import CtVolume, Reorientation

Array = NDArray[Any]

AXIAL = 6
CELL = (368.0, 290.0)  # page pixels
GAP = 8.0
LEFT, TOP = 24.0, 66.0  # of the grid of cells
BAR_MM = 50
AROUND_LIVER_MM = 40.0  # shown above and below the liver on coronal and sagittal planes
TAGS_PER_CELL = 12
NO_LIVER = "No liver found"


def draw_overview(
    ct: CtVolume,
    labels_kji: NDArray[np.uint8],
    measures: LiverMeasures,
    *,
    title: str,
    footer: str,
    truth_kji: NDArray[np.uint8] | None = None,
) -> Image:
    """The picture, uint8 BGR ``(1000, 1600, 3)``.

    labels_kji, truth_kji: 0, 1, 2 on the CT's own grid, ``(k, j, i)``. measures: of these labels.
    truth_kji: a reference to compare with, drawn dashed, with Dice in the panel. Slice numbers are
    those of the CT's own grid, from 0, as in the lesion table. Labels without liver or tumor give
    a picture that says so.
    Raises ``ValueError`` when shapes differ or the measures are of other labels.
    """
    _check(ct, labels_kji, truth_kji)
    case = _Case.of(ct, labels_kji, truth_kji, measures)
    page = Page(WIDTH, HEIGHT, PAGE)
    panel.draw_header(page, title, case.ct)
    panel.draw_footer(page, footer)
    dice = None if truth_kji is None else _dice(labels_kji, truth_kji)
    panel.draw_panel(page, measures, dice)
    _draw_axials(page, case)
    _draw_coronal(page, case)
    _draw_sagittal(page, case)
    _draw_front(page, case)
    return page.finish()


def write_png(path: Path, image: Image) -> None:
    """Write a BGR picture whole or not at all; a failing disk is a ``ValueError``."""
    done, encoded = cv2.imencode(".png", image)
    if not done:
        raise ValueError("The picture could not be encoded as PNG; give a BGR uint8 array.")
    with whole_file(path) as part:
        part.write_bytes(encoded.tobytes())


@dataclass(frozen=True, eq=False)
class _Case:
    """What is drawn, the LPS way: arrays ``(k, j, i)``.

    lesions: numbers of the tumor voxels inside ``box``, 0 elsewhere; both None without tumor.
    center_kji: the voxel that the coronal and the sagittal plane run through.
    """

    ct: CtVolume
    labels: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None
    turn: Reorientation
    lesions: NDArray[np.int32] | None
    box: tuple[slice, slice, slice] | None
    slices: tuple[int, ...]
    liver_k: tuple[int, int]  # first and last slice that the coronal plane must show
    center_kji: tuple[int, int, int]

    @classmethod
    def of(
        cls, ct: CtVolume, labels: Array, truth: Array | None, measures: LiverMeasures
    ) -> _Case:
        lps, turn = ct.to_lps()
        labels = turn.apply(labels)
        profile = liver_profile(labels)
        widest = [
            _turned_slice(lesion.slice_index, turn)
            for lesion in measures.lesions
        ]
        slices = choose_slices(profile[0], widest, lps.spacing_kji_mm[0], AXIAL)
        lesions, box = _numbered_lesions(labels, measures)
        held = np.flatnonzero(profile[0])
        return cls(
            ct=lps,
            labels=labels,
            truth=None if truth is None else turn.apply(truth),
            turn=turn,
            lesions=lesions,
            box=box,
            slices=tuple(slices),
            liver_k=(int(held[0]), int(held[-1])) if len(held) else (0, len(profile[0]) - 1),
            center_kji=_center(lps, profile, measures),
        )

    def plane(self, axis: int, index: int) -> Plane:
        """The plane at an index of k (axis 0), j (1) or i (2), as it is shown."""
        at: list[Any] = [slice(None)] * 3
        at[axis] = index
        step = 1 if axis == 0 else -1  # k runs to the head, rows run down
        spacing = [mm for n, mm in enumerate(self.ct.spacing_kji_mm) if n != axis]
        lesions: Array | None = None
        if axis == 0 and self.lesions is not None and self.box is not None:
            lesions = np.zeros(self.labels.shape[1:], np.int32)
            if self.box[0].start <= index < self.box[0].stop:
                lesions[self.box[1:]] = self.lesions[index - self.box[0].start]
        return Plane(
            hu=self.ct.hu[tuple(at)][::step],
            labels=self.labels[tuple(at)][::step],
            truth=None if self.truth is None else self.truth[tuple(at)][::step],
            lesions=lesions,
            spacing_mm=(round(spacing[0], 6), round(spacing[1], 6)),
        )

    def superior_mm(self, k: int) -> float:
        """Height of a slice's center in RAS mm; rounded, so that no float noise shows."""
        _, rows, columns = self.ct.shape_kji
        at = (self.ct.ijk_to_ras @ ((columns - 1) / 2, (rows - 1) / 2, k, 1.0))[2]
        return round(float(at), 3) + 0.0

    def below_head_mm(self, k: float) -> float:
        """Distance of a slice's center from the top edge of a coronal plane."""
        return (len(self.labels) - k - 0.5) * self.ct.spacing_kji_mm[0]


def _check(ct: CtVolume, labels: Array, truth: Array | None) -> None:
    for name, array in (("labels", labels), ("truth", truth)):
        if array is not None and (array.shape != ct.shape_kji or array.dtype != np.uint8):
            raise ValueError(
                f"The {name} are {array.dtype} of shape {array.shape} and the CT has the shape "
                f"{ct.shape_kji} (k, j, i); give uint8 on the CT's own grid."
            )


def _turned_slice(index: int, turn: Reorientation) -> int:
    """A slice number of the input's grid as k of the LPS grid, and the other way round."""
    count = turn.shape_kji[turn.order_kji[0]]
    return count - 1 - index if turn.flipped_kji[0] else index


def _numbered_lesions(
    labels: NDArray[np.uint8], measures: LiverMeasures
) -> tuple[NDArray[np.int32] | None, tuple[slice, slice, slice] | None]:
    """Lesion numbers as in the measures, within the box of all tumor."""
    from scipy import ndimage

    box = next(iter(ndimage.find_objects((labels == Label.TUMOR).view(np.uint8))), None)
    components, count = (None, 0) if box is None else label_lesions(labels[box])
    if count != len(measures.lesions):
        raise ValueError(
            f"The labels hold {count} lesions and the measures list {len(measures.lesions)}; "
            "measure these labels on this CT first."
        )
    if box is None or components is None:
        return None, None
    voxels = np.bincount(components.ravel(), minlength=count + 1)[1:]
    numbers = np.zeros(count + 1, np.int32)
    numbers[1 + np.argsort(-voxels, kind="stable")] = np.arange(1, count + 1)
    return numbers[components], (box[0], box[1], box[2])


def _center(
    ct: CtVolume, profile: tuple[Array, Array, Array], measures: LiverMeasures
) -> tuple[int, int, int]:
    """The largest lesion's center, else where most liver lies, else the middle."""
    if measures.lesions:
        ras = (*measures.lesions[0].centroid_ras_mm, 1.0)
        ijk = np.linalg.inv(ct.ijk_to_ras) @ np.array(ras)
        nearest = np.rint(np.round(ijk[2::-1], 6)).astype(int)
        k, j, i = (int(v) for v in np.clip(nearest, 0, np.array(ct.shape_kji) - 1))
        return k, j, i
    if profile[0].any():
        return int(profile[0].argmax()), int(profile[1].argmax()), int(profile[2].argmax())
    return ct.shape_kji[0] // 2, ct.shape_kji[1] // 2, ct.shape_kji[2] // 2


def _dice(labels: Array, truth: Array) -> tuple[float | None, float | None]:
    """Dice of liver (label 1 or 2) and of tumor; None where neither has a voxel."""
    both, sizes = np.zeros(2), np.zeros(2)
    for ours, theirs in zip(labels, truth, strict=True):
        for n, least in enumerate((Label.LIVER, Label.TUMOR)):
            a, b = ours >= least, theirs >= least
            both[n] += np.count_nonzero(a & b)
            sizes[n] += np.count_nonzero(a) + np.count_nonzero(b)
    liver, tumor = (
        float(2 * b / s) if s else None for b, s in zip(both, sizes, strict=True)
    )
    return liver, tumor


def _cell(row: int, column: int) -> Box:
    left, top = LEFT + column * (CELL[0] + GAP), TOP + row * (CELL[1] + GAP)
    return left, top, left + CELL[0], top + CELL[1]


def _draw_axials(page: Page, case: _Case) -> None:
    planes = [case.plane(0, k) for k in case.slices]
    frame = Frame.around(body_extent(planes), *CELL)
    for n, (k, plane) in enumerate(zip(case.slices, planes, strict=True)):
        cell = _cell(*divmod(n, 3))
        _draw_plane(page, cell, frame, plane)
        captions = [f"S {case.superior_mm(k):+.0f} mm", f"slice {_slice_number(k, case.turn)}"]
        taken = _draw_marks(page, cell, frame, captions, ("R", "L"))
        _draw_tags(page, cell, frame, plane, taken)


def _slice_number(k: int, turn: Reorientation) -> str:
    """As in the lesion table: in the grid of the CT that came in."""
    return str(_turned_slice(k, turn))


def _draw_coronal(page: Page, case: _Case) -> None:
    _draw_upright(page, case, _cell(2, 0), axis=1, caption="Coronal", sides=("R", "L"))


def _draw_sagittal(page: Page, case: _Case) -> None:
    _draw_upright(page, case, _cell(2, 1), axis=2, caption="Sagittal", sides=("A", "P"))


def _draw_upright(
    page: Page, case: _Case, cell: Box, *, axis: int, caption: str, sides: tuple[str, str]
) -> None:
    """A coronal or sagittal plane around the liver's height, with the axial slices as lines."""
    plane = case.plane(axis, case.center_kji[axis])
    left, _, right, _ = body_extent([plane])
    half = case.ct.spacing_kji_mm[0] / 2
    top = case.below_head_mm(case.liver_k[1]) - half - AROUND_LIVER_MM
    bottom = case.below_head_mm(case.liver_k[0]) + half + AROUND_LIVER_MM
    whole = 2 * half * len(case.labels)
    frame = Frame.around((left, max(top, 0.0), right, min(bottom, whole)), *CELL)
    _draw_plane(page, cell, frame, plane)
    _draw_slice_lines(page, case, cell, frame)
    _draw_marks(page, cell, frame, [caption], sides)


def _draw_plane(page: Page, cell: Box, frame: Frame, plane: Plane) -> None:
    """CT, then the reference, then the result on top of it."""
    fine = page.cell(cell)
    fine[:] = frame.gray(plane)[..., None]
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


def _draw_marks(
    page: Page, cell: Box, frame: Frame, captions: list[str], sides: tuple[str, str]
) -> list[Box]:
    """Captions, sides of the patient and the scale bar; returns the boxes they take."""
    left, top, right, bottom = cell
    for n, caption in enumerate(captions):
        page.text(
            caption, (left + 9, top + 20 + 17 * n), 14 if n == 0 else 12.5,
            INK if n == 0 else MUTED, bold=n == 0, halo=True,
        )
    middle = (top + bottom) / 2
    page.text(sides[0], (left + 8, middle), 14, INK, bold=True, halo=True)
    page.text(sides[1], (right - 8, middle), 14, INK, bold=True, halo=True, align="right")
    bar = _draw_bar(page, cell, frame)
    edges = [(left, middle - 14, left + 22, middle + 4), (right - 22, middle - 14, right, middle + 4)]
    return [(left, top, left + 90, top + 42), *edges, bar]


def _draw_bar(page: Page, cell: Box, frame: Frame) -> Box:
    x, y = cell[2] - 10, cell[3] - 10
    start = x - BAR_MM * frame.scale
    for width, color in ((4.0, (0, 0, 0)), (1.5, INK)):
        page.line((start, y), (x, y), color, width)
        for end in (start, x):
            page.line((end, y - 4), (end, y), color, width)
    page.text(f"{BAR_MM} mm", ((start + x) / 2, y - 7), 12, INK, align="middle", halo=True)
    return start - 4, y - 22, cell[2], cell[3]


def _draw_tags(page: Page, cell: Box, frame: Frame, plane: Plane, taken: list[Box]) -> None:
    if plane.lesions is None:
        return
    row_mm, column_mm = plane.spacing_mm
    tags = Tags(page, cell, taken)
    present = [int(n) for n in np.unique(plane.lesions) if n]
    for number in present[:TAGS_PER_CELL]:
        box = mask_box(plane.lesions == number)
        if box is not None:
            mm = (box[0] * column_mm, box[1] * row_mm, box[2] * column_mm, box[3] * row_mm)
            tags.add(str(number), _in_page(cell, frame, mm), panel.TAG)


def _in_page(cell: Box, frame: Frame, mm: Box) -> Box:
    (x0, y0), (x1, y1) = frame.to_cell(mm[0], mm[1]), frame.to_cell(mm[2], mm[3])
    return cell[0] + x0, cell[1] + y0, cell[0] + x1, cell[1] + y1


def _draw_slice_lines(page: Page, case: _Case, cell: Box, frame: Frame) -> None:
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
            _slice_number(k, case.turn), (cell[2] - 6, label_y), 11.5, PLAN,
            bold=True, halo=True, align="right",
        )
        lowest = label_y + 13


def _draw_front(page: Page, case: _Case) -> None:
    """The liver from the front, see-through, with its lesions."""
    cell = _cell(2, 2)
    page.fill(cell, panel.CARD)
    surface = front_view(case.labels, case.ct.spacing_kji_mm, CELL)
    middle = ((cell[0] + cell[2]) / 2, (cell[1] + cell[3]) / 2)
    if surface is None:
        page.text(NO_LIVER, (middle[0], middle[1] + 6), 22, INK, bold=True, align="middle")
        return
    surface.paint(page.cell(cell), LIVER, TUMOR)
    taken = _draw_marks(page, cell, surface.frame, ["From the front"], ("R", "L"))
    _tag_surface(page, case, cell, surface, taken)


def _tag_surface(page: Page, case: _Case, cell: Box, surface: Surface, taken: list[Box]) -> None:
    if case.lesions is None or case.box is None:
        return
    from scipy import ndimage

    k_mm, _, i_mm = case.ct.spacing_kji_mm
    tags = Tags(page, cell, taken)
    for number, found in enumerate(ndimage.find_objects(case.lesions), start=1):
        if found is None or number > TAGS_PER_CELL:
            continue
        k0, i0 = case.box[0].start, case.box[2].start
        mm = (
            (found[2].start + i0) * i_mm,
            (len(case.labels) - found[0].stop - k0) * k_mm,
            (found[2].stop + i0) * i_mm,
            (len(case.labels) - found[0].start - k0) * k_mm,
        )
        tags.add(str(number), _in_page(cell, surface.frame, mm), panel.TAG)
