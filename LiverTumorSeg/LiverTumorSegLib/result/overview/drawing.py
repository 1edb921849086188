"""Tools to draw the overview with: a page in fine pixels, text, contours, number tags.

Everything is placed in page pixels (floats, origin at the upper left corner, y down) and drawn
``FINE`` times larger; ``Page.finish`` shrinks it, which smooths text and lines alike. Colors are
BGR, as OpenCV keeps them.

OpenCV 5 brings a real typeface (``cv2.FontFace``); before that there are only the stroked Hershey
letters, which know nothing but ASCII. Layouts therefore measure text instead of counting letters.
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom; page pixels
Image = NDArray[np.uint8]

FINE = 2  # drawn pixels for one page pixel, along each axis
SHIFT = 4  # fractional bits that OpenCV's line drawing takes
DASH_ON, DASH_OFF = 11, 9  # fine pixels of a dashed contour
BEYOND = 8  # fine pixels
HALO: Color = (0, 0, 0)
SHORTENED = "..."


class Typeface(Protocol):
    """Sizes are in fine pixels: about the height of a capital letter times 1.4."""

    def width(self, text: str, size: float, *, bold: bool) -> float: ...

    def draw(
        self, image: Image, text: str, at: tuple[int, int], size: float, color: Color, *, bold: bool
    ) -> None: ...


class _TrueType:
    """The sans-serif typeface inside OpenCV 5, of any weight."""

    def __init__(self) -> None:
        self._face = cv2.FontFace("sans")

    def width(self, text: str, size: float, *, bold: bool) -> float:
        x, _, width, _ = cv2.getTextSize(
            (1 << 14, 1 << 14), text, (0, 0), self._face, round(size), _weight(bold)
        )
        return float(x + width)

    def draw(
        self, image: Image, text: str, at: tuple[int, int], size: float, color: Color, *, bold: bool
    ) -> None:
        cv2.putText(image, text, at, color, self._face, round(size), _weight(bold))


class _Hershey:
    """Stroked letters: the only text of OpenCV 4."""

    per_size = 1.0 / 31.0  # so that capitals are as high as the typeface's

    def width(self, text: str, size: float, *, bold: bool) -> float:
        face, scale, stroke = cv2.FONT_HERSHEY_SIMPLEX, size * self.per_size, _stroke(size, bold)
        return float(cv2.getTextSize(_ascii(text), face, scale, stroke)[0][0])

    def draw(
        self, image: Image, text: str, at: tuple[int, int], size: float, color: Color, *, bold: bool
    ) -> None:
        face, scale, stroke = cv2.FONT_HERSHEY_SIMPLEX, size * self.per_size, _stroke(size, bold)
        cv2.putText(image, _ascii(text), at, face, scale, color, stroke, cv2.LINE_AA)


def _weight(bold: bool) -> int:
    return 600 if bold else 400


def _stroke(size: float, bold: bool) -> int:
    return max(1, round(size / (11.0 if bold else 18.0)))


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")


def default_typeface() -> Typeface:
    """The best letters this OpenCV has."""
    return _TrueType() if hasattr(cv2, "FontFace") else _Hershey()


class Page:
    """A picture under way, ``(height, width)`` in page pixels."""

    def __init__(self, width: int, height: int, color: Color) -> None:
        self.fine: Image = np.empty((height * FINE, width * FINE, 3), np.uint8)
        self.fine[:] = color
        self.type = default_typeface()

    def finish(self) -> Image:
        """The picture: uint8 BGR ``(height, width, 3)``."""
        height, width = self.fine.shape[:2]
        size = (width // FINE, height // FINE)
        return np.asarray(cv2.resize(self.fine, size, interpolation=cv2.INTER_AREA), np.uint8)

    def fill(self, box: Box, color: Color, alpha: float = 1.0) -> None:
        """A rectangle of one color laid over what is there."""
        part = self.cell(box)
        if alpha >= 1.0:
            part[:] = color
        else:
            mixed = part * np.float32(1 - alpha) + np.float32(alpha) * np.array(color, np.float32)
            part[:] = np.rint(mixed).astype(np.uint8)

    def cell(self, box: Box) -> Image:
        """The fine pixels of a box, to write into."""
        height, width = self.fine.shape[:2]
        left, right = (int(np.clip(round(x * FINE), 0, width)) for x in (box[0], box[2]))
        top, bottom = (int(np.clip(round(y * FINE), 0, height)) for y in (box[1], box[3]))
        return self.fine[top:bottom, left:right]

    def line(
        self, a: tuple[float, float], b: tuple[float, float], color: Color, width: float
    ) -> None:
        """A straight anti-aliased line; width in page pixels."""
        ends = [(round(x * FINE * 2**SHIFT), round(y * FINE * 2**SHIFT)) for x, y in (a, b)]
        thickness = max(1, round(width * FINE))
        cv2.line(self.fine, ends[0], ends[1], color, thickness, cv2.LINE_AA, SHIFT)

    def rounded(self, box: Box, radius: float, color: Color) -> None:
        """A filled rectangle with round corners."""
        left, top, right, bottom = (round(v * FINE) for v in box)
        r = min(round(radius * FINE), (right - left) // 2, (bottom - top) // 2)
        cv2.rectangle(self.fine, (left + r, top), (right - r, bottom), color, -1)
        cv2.rectangle(self.fine, (left, top + r), (right, bottom - r), color, -1)
        for x in (left + r, right - r):
            for y in (top + r, bottom - r):
                cv2.circle(self.fine, (x, y), r, color, -1, cv2.LINE_AA)

    def text_width(self, text: str, size: float, *, bold: bool = False) -> float:
        """Page pixels."""
        return self.type.width(text, size * FINE, bold=bold) / FINE

    def text(
        self,
        text: str,
        at: tuple[float, float],
        size: float,
        color: Color,
        *,
        bold: bool = False,
        align: str = "left",
        halo: bool = False,
        width: float | None = None,
    ) -> None:
        """One line of text; ``at`` is on its baseline, at its left end, middle or right end.

        halo: a dark edge, for text on top of CT. width: text longer than this is cut with dots.
        """
        shown = self._fitted(_one_line(text), size, bold, width)
        shift = {"left": 0.0, "middle": 0.5, "right": 1.0}[align]
        x = round((at[0] - shift * self.text_width(shown, size, bold=bold)) * FINE)
        y = round(at[1] * FINE)
        if halo:
            for dx, dy in ((-2, 0), (2, 0), (0, -2), (0, 2), (-2, -2), (2, 2), (-2, 2), (2, -2)):
                self.type.draw(self.fine, shown, (x + dx, y + dy), size * FINE, HALO, bold=bold)
        self.type.draw(self.fine, shown, (x, y), size * FINE, color, bold=bold)

    def _fitted(self, text: str, size: float, bold: bool, width: float | None) -> str:
        if width is None or self.text_width(text, size, bold=bold) <= width:
            return text
        while text and self.text_width(text + SHORTENED, size, bold=bold) > width:
            text = text[:-1]
        return text.rstrip() + SHORTENED


def _one_line(text: str) -> str:
    """Control characters would be drawn as boxes."""
    return "".join(c if c.isprintable() else " " for c in text)


def smooth_contours(inside: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Closed contours of a fine mask: arrays ``(N, 2)`` of x, y in fine pixels, about one apart.

    Where the mask leaves the picture its contour runs outside, or it would frame the picture.
    """
    wide = np.pad(inside.astype(np.uint8), BEYOND, mode="edge")
    found = cv2.findContours(wide, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    return [_smoothed(contour.reshape(-1, 2).astype(np.float64) - BEYOND) for contour in found]


def _smoothed(points: NDArray[np.float64], reach: int = 3) -> NDArray[np.float64]:
    """A moving average along a closed contour takes away the steps of its pixels."""
    if len(points) < 8 * reach:
        return points
    return np.asarray(sum(np.roll(points, n, axis=0) for n in range(-reach, reach + 1))) / (
        2 * reach + 1
    )


def draw_contours(
    image: Image, contours: list[NDArray[np.float64]], color: Color, thickness: int, *, dashed: bool
) -> None:
    """Contours into fine pixels, anti-aliased."""
    for contour in contours:
        points = np.rint(contour * 2**SHIFT).astype(np.int32)
        if not dashed:
            cv2.polylines(image, [points], True, color, thickness, cv2.LINE_AA, SHIFT)
            continue
        dashes = [points[n : n + DASH_ON] for n in range(0, len(points), DASH_ON + DASH_OFF)]
        cv2.polylines(image, dashes, False, color, thickness, cv2.LINE_AA, SHIFT)


class Tags:
    """Number tags of one cell that stay inside it and off each other."""

    size = 11.5
    height = 15.0
    corners = ((1, -1), (-1, -1), (1, 1), (-1, 1), (1, 0), (-1, 0), (0, -1), (0, 1))

    def __init__(self, page: Page, cell: Box, taken: list[Box]) -> None:
        self._page, self._cell, self._taken = page, cell, list(taken)

    def add(self, text: str, around: Box, color: Color, avoid: list[Box]) -> bool:
        """A tag beside a box, off what is to ``avoid``; False when there is no room."""
        width = max(self._page.text_width(text, self.size, bold=True) + 8, self.height)
        x, y = (around[0] + around[2]) / 2, (around[1] + around[3]) / 2
        for gap in (3.0, 12.0, 24.0, 40.0):
            half_w = (around[2] - around[0]) / 2 * 0.8 + gap + width / 2
            half_h = (around[3] - around[1]) / 2 * 0.8 + gap + self.height / 2
            for dx, dy in self.corners:
                box = _centered(x + dx * half_w, y + dy * half_h, width, self.height)
                if self._free(box, avoid):
                    self._draw(text, box, (x, y) if gap > 10 else None, color)
                    return True
        return False

    def _free(self, box: Box, avoid: list[Box]) -> bool:
        cell = self._cell
        inside = (
            box[0] >= cell[0] + 2
            and box[1] >= cell[1] + 2
            and box[2] <= cell[2] - 2
            and box[3] <= cell[3] - 2
        )
        return inside and not any(_overlap(box, other) for other in (*self._taken, *avoid))

    def _draw(
        self, text: str, box: Box, leader_to: tuple[float, float] | None, color: Color
    ) -> None:
        page, middle = self._page, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        if leader_to is not None:
            page.line(middle, leader_to, color, 1.0)
        page.rounded((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), 4.5, (0, 0, 0))
        page.rounded(box, 4, color)
        page.text(
            text, (middle[0], box[3] - 3.5), self.size, (255, 255, 255), bold=True, align="middle"
        )
        self._taken.append(box)


def _centered(x: float, y: float, width: float, height: float) -> Box:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] + 2 and b[0] < a[2] + 2 and a[1] < b[3] + 2 and b[1] < a[3] + 2
