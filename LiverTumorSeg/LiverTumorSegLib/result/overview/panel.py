"""The written part of the overview: title, volumes, lesion list, legend and footer."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.lesions import Lesion, LiverMeasures
from LiverTumorSegLib.volume import CtVolume

from .drawing import Color, Page

WIDTH, HEIGHT = 1600, 1000  # page pixels


def _bgr(label: Label) -> Color:
    red, green, blue = label.color_rgb
    return blue, green, red


LIVER, TUMOR = _bgr(Label.LIVER), _bgr(Label.TUMOR)
PAGE: Color = (22, 17, 14)
CARD: Color = (34, 28, 24)
RULE: Color = (62, 53, 47)
INK: Color = (238, 235, 232)
MUTED: Color = (170, 160, 152)
TRUTH: Color = (245, 240, 235)
PLAN: Color = (235, 190, 90)
AMBER: Color = (77, 183, 255)
TAG: Color = (40, 40, 175)

LEFT, RIGHT = 1168.0, 1576.0
TOP = 66.0
CLOSE_UPS_END = 858.0  # the legend begins below
WARNING_LINE = 22.0
WARNING_CHARACTERS = 190
RECALL_CHARACTERS = 52  # in a line of the panel
ROWS = 10
ROW_HEIGHT = 27.0
COLUMNS = (  # heading, right edge
    ("#", LEFT + 28),
    ("mL", LEFT + 100),
    ("axial mm", LEFT + 216),
    ("slice", LEFT + 298),
    ("mean HU", RIGHT - 2),
)
COLUMNS_WITH_CONFIDENCE = (
    ("#", LEFT + 24),
    ("mL", LEFT + 86),
    ("axial mm", LEFT + 182),
    ("slice", LEFT + 240),
    ("mean HU", LEFT + 316),
    ("confidence", RIGHT - 2),
)
NO_LIVER = "No liver found"
PURPOSE = "For research only, not for diagnosis"


def draw_header(page: Page, title: str, ct: CtVolume) -> None:
    """The title, and the grid (in the LPS order: left, posterior, superior)."""
    page.text(title, (24, 42), 26, INK, bold=True, width=1090)
    k, j, i = ct.shape_kji
    k_mm, j_mm, i_mm = (round(v, 4) for v in ct.spacing_kji_mm)
    grid = f"{i} x {j} x {k} voxels of {i_mm:.2f} x {j_mm:.2f} x {k_mm:.2f} mm"
    page.text(grid, (RIGHT, 42), 14, MUTED, align="right", width=RIGHT - LEFT + 40)


def draw_footer(page: Page, footer: str) -> None:
    """Write what made the picture, and what it is for."""
    page.text(footer, (24, HEIGHT - 16), 14, MUTED, width=LEFT - 60)
    page.text(PURPOSE, (RIGHT, HEIGHT - 16), 16, AMBER, bold=True, align="right")


def warnings_height(warnings: Sequence[str]) -> int:
    """Page pixels below HEIGHT that :func:`draw_warnings` needs."""
    lines = sum(len(_wrapped(sentence)) for sentence in warnings)
    return round(WARNING_LINE * (lines + 0.5)) + 4 if lines else 0


def draw_warnings(page: Page, warnings: Sequence[str]) -> None:
    """Write what to look at, a sentence a line, below the picture's usual height."""
    y = HEIGHT + 14.0
    for sentence in warnings:
        for n, line in enumerate(_wrapped(sentence)):
            if n == 0:
                page.fill((24, y - 10, 28, y), AMBER)
            page.text(line, (38, y), 14.5, INK, width=RIGHT - 38)
            y += WARNING_LINE


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, WARNING_CHARACTERS, max_lines=3, placeholder=" ...")


def draw_panel(
    page: Page,
    measures: LiverMeasures,
    dice: tuple[float | None, float | None] | None,
    recall: str = "",
) -> float:
    """Volumes, comparison, lesion list; returns where the next part may begin."""
    if measures.liver_volume_ml <= 0:
        page.text(NO_LIVER, (LEFT, TOP + 34), 30, INK, bold=True)
        page.text(
            "No voxel of this scan was marked as liver or tumor.", (LEFT, TOP + 64), 15, MUTED
        )
        y = TOP + 84
    else:
        y = _draw_volumes(page, measures, TOP)
    if dice is not None:
        y = _draw_dice(page, dice, y)
    if not measures.lesions:
        return _draw_nothing_found(page, measures, recall, y)
    return _draw_lesions(page, measures, y + 8)


def _draw_nothing_found(page: Page, measures: LiverMeasures, recall: str, y: float) -> float:
    """That nothing was marked does not mean that nothing is there: how much is known to be found;
    returns where it ends."""
    if measures.liver_volume_ml > 0:
        page.text("No tumor found", (LEFT, y + 30), 18, INK, bold=True)
        y += 38
    for line in textwrap.wrap(recall, RECALL_CHARACTERS):
        page.text(line, (LEFT, y + 20), 14.5, AMBER)
        y += WARNING_LINE
    return y


def _draw_volumes(page: Page, measures: LiverMeasures, y: float) -> float:
    """Four figures in two rows; returns where the next part begins."""
    burden = measures.burden_percent
    figures = (
        ("Liver with tumor", milliliters(measures.liver_volume_ml), "mL", LIVER),
        ("Tumor", milliliters(measures.tumor_volume_ml), "mL", TUMOR),
        ("Tumor burden", "-" if burden is None else _percent(burden), "%", TUMOR),
        ("Lesions", str(len(measures.lesions)), "", TUMOR),
    )
    width, height, gap = (RIGHT - LEFT - 8) / 2, 88.0, 8.0
    for n, (name, value, unit, color) in enumerate(figures):
        left = LEFT + (n % 2) * (width + gap)
        top = y + (n // 2) * (height + gap)
        page.fill((left, top, left + width, top + height), CARD)
        page.fill((left, top, left + 4, top + height), color)
        page.text(name, (left + 18, top + 28), 14.5, MUTED)
        page.text(value, (left + 18, top + 68), 34, INK, bold=True)
        end = left + 18 + page.text_width(value, 34, bold=True)
        page.text(unit, (end + 8, top + 68), 17, MUTED)
    return y + 2 * height + gap + 8


def _draw_dice(page: Page, dice: tuple[float | None, float | None], y: float) -> float:
    page.fill((LEFT, y, RIGHT, y + 44), CARD)
    page.text("Dice with reference", (LEFT + 18, y + 28), 14.5, MUTED)
    liver, tumor = ("-" if value is None else f"{value:.3f}" for value in dice)
    x = RIGHT - 14
    for name, value, color in (("tumor", tumor, TUMOR), ("liver", liver, LIVER)):
        page.text(value, (x, y + 29), 18, INK, bold=True, align="right")
        x -= page.text_width(value, 18, bold=True) + 7
        page.text(name, (x, y + 28), 14, color, align="right")
        x -= page.text_width(name, 14) + 18
    return y + 52


def _draw_lesions(page: Page, measures: LiverMeasures, y: float) -> float:
    """The largest lesions, then how many more there are; returns where it ends.

    Confidence has a column only if a lesion has one. What is hardly a tumor is written in amber.
    """
    page.text("Lesions, largest first", (LEFT, y + 20), 17, INK, bold=True)
    y += 34
    columns = COLUMNS_WITH_CONFIDENCE if measures.has_confidence else COLUMNS
    for heading, right in columns:
        page.text(heading, (right, y + 18), 13.5, MUTED, align="right")
    page.fill((LEFT, y + 27, RIGHT, y + 28), RULE)
    y += 28
    for n, lesion in enumerate(measures.lesions[:ROWS]):
        if n % 2:
            page.fill((LEFT, y, RIGHT, y + ROW_HEIGHT), CARD)
        for (_, right), value in zip(columns, _values(lesion), strict=False):
            color = INK if lesion.implausible is None else AMBER
            page.text(value, (right, y + 19), 15.5, color, align="right")
        y += ROW_HEIGHT
    if len(measures.lesions) > ROWS:
        more = len(measures.lesions) - ROWS
        page.text(f"and {more} more in the lesion table", (LEFT, y + 20), 14.5, MUTED)
        y += 26
    return y


def _values(lesion: Lesion) -> tuple[str, ...]:
    """In the order of the columns."""
    longest, across = lesion.longest_axial_diameter_mm, lesion.perpendicular_diameter_mm
    hu = "-" if lesion.mean_hu is None else f"{round(lesion.mean_hu, 6):.0f}"
    axial = f"{round(longest, 6):.0f} x {round(across, 6):.0f}"
    sure = "-" if lesion.confidence is None else f"{100 * lesion.confidence:.0f} %"
    number, volume = str(lesion.number), milliliters(lesion.volume_ml)
    return number, volume, axial, str(lesion.slice_index), hu, sure


def milliliters(volume_ml: float) -> str:
    """Three figures, as far as the volume carries them."""
    shown = round(volume_ml, 6)
    if shown >= 99.95:
        return f"{shown:.0f}"
    if shown == 0:
        return "0"
    if shown < 0.01:
        return "<0.01"
    return f"{shown:.1f}" if shown >= 9.995 else f"{shown:.2f}"


def _percent(value: float) -> str:
    shown = round(value, 6)
    return f"{shown:.0f}" if shown >= 9.95 or shown == 0 else f"{shown:.1f}"


def draw_legend(page: Page, window_hu: tuple[int, int], *, with_truth: bool) -> None:
    """Explain what the lines mean, down to the end of the grid of pictures."""
    entries = [("Liver", LIVER, 0.0), ("Tumor, numbered as listed", TUMOR, 0.0)]
    if with_truth:
        entries.append(("Reference", TRUTH, 6.0))
    entries.append(("Axial slices shown", PLAN, 4.0))
    y = 952.0 - 8
    low, high = window_hu
    window = f"CT window {low} to {high} HU. R, L: the patient's right, left."
    page.text(window, (LEFT, y), 13, MUTED)
    y -= 48
    for n, (name, color, dash) in enumerate(entries):
        x, line_y = LEFT + (n % 2) * 130.0, y + 22 * (n // 2)
        _draw_sample(page, x, line_y - 5, color, dash)
        page.text(name, (x + 34, line_y), 14, INK)
    page.fill((LEFT, y - 28, RIGHT, y - 27), RULE)


def _draw_sample(page: Page, x: float, y: float, color: Color, dash: float) -> None:
    """A piece of line as it is drawn on the pictures."""
    step = 2 * dash or 26.0
    at = x
    while at < x + 26:
        page.fill((at, y - 1, min(at + (dash or 26.0), x + 26), y + 1), color)
        at += step
