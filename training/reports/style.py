"""How every figure looks: one page with title and notes, one style, and files written whole.

    with our_style(plain=False):
        figure = page("Loss during training", "One point an epoch.", "n = 9 epochs", 5.5, number=6)
        axes = figure.subplots(1, 2)
        save(figure, Path("figures/fig06-loss.png"))    # or .pdf, or .svg

A page is 1600 pixels wide. A plain one bears neither the paper's number nor our notice: for print,
where the text around a figure says both. Colors are the paper's where it names them (liver green,
tumor red, false positives yellow, false negatives blue); whatever they distinguish differs in
marker, dash, place or lightness too, for readers who do not see red against green. Only
Matplotlib's object interface is used: no state is left behind, and no window is ever opened.

Boxes and arrows of a diagram have their places in inches from the lower left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import matplotlib
from LiverTumorSegLib.files import whole_file
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.files import NOTICE
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import FuncFormatter

Color = tuple[float, float, float]
Point = tuple[float, float]

WIDTH_IN, DPI = 10.0, 160
SMALL, NORMAL, LARGE = 9.0, 10.0, 15.0  # points
LINE_IN = 0.19  # between the baselines of two lines of normal text
EDGE_IN = 0.2
TEXT_IN = WIDTH_IN - 2 * EDGE_IN
LEGEND_ROW_IN = 0.27

INK, SOFT, FAINT, PAPER = "#1b2430", "#56606e", "#d5dae1", "#ffffff"


def color_of(label: Label) -> Color:
    """A label's color, 0 to 1 a channel, as everywhere in the project."""
    red, green, blue = label.color_rgb
    return red / 255, green / 255, blue / 255


LIVER, TUMOR = color_of(Label.LIVER), color_of(Label.TUMOR)
LIVER_ON_WHITE, TUMOR_ON_WHITE = "#1d8a45", "#c9241f"  # the same hues, dark enough for thin lines
FALSE_POSITIVE, FALSE_NEGATIVE = (0.98, 0.88, 0.18), (0.20, 0.50, 1.00)
TRAINING, VALIDATION = "#0072b2", "#d55e00"  # Okabe and Ito's blue and vermilion

STYLE: Any = {  # its keys are a long literal type in some versions of Matplotlib only
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so every machine draws the same
    "font.size": NORMAL,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a case's name is a dollar sign
    "axes.titlesize": NORMAL + 1,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": NORMAL,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": False,  # as in the texts
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.fontsize": SMALL,
    "legend.frameon": True,
    "legend.framealpha": 1.0,
    "legend.edgecolor": FAINT,
    "lines.linewidth": 1.8,
    "pdf.fonttype": 42,  # letters stay letters, as publishers ask
    "svg.hashsalt": "LiverTumorSeg",  # the same figure gives the same file
}
FORMATS = ("png", "pdf", "svg")
UNDATED: dict[str, dict[str, Any]] = {  # no version and no date: the same numbers, the same bytes
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Creator": None, "Date": None},
}
_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def our_style(*, plain: bool = False) -> Iterator[None]:
    """Our settings alone, whatever the user's own are; theirs are back afterwards.

    plain: pages bear no number and no notice.
    """
    token = _plain.set(plain)
    try:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            yield
    finally:
        _plain.reset(token)


def page(
    title: str,
    subtitle: str,
    note: str,
    height_in: float,
    *,
    number: int | None = None,
    legend_rows: int = 0,
) -> Figure:
    """An empty figure with its title above and the note and our notice below.

    note: what the figure stands on (n of N). height_in: of what lies between title and note, at
    10 inches' width. number: of the same figure in the hybrid2d paper.
    legend_rows: room that :func:`foot_legend` will need, beyond that.
    """
    plain = _plain.get()
    if number is not None and not plain:
        title = f"Figure {number}. {title}"
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    above = wrapped(subtitle, NORMAL)
    below = [*([] if plain else [NOTICE]), *wrapped(note, SMALL)]
    top_in = 0.62 + LINE_IN * len(above)
    bottom_in = 0.22 + LINE_IN * len(below)
    body_in = height_in + LEGEND_ROW_IN * legend_rows
    height_in = top_in + body_in + bottom_in
    figure.set_size_inches(WIDTH_IN, height_in)
    left = EDGE_IN / WIDTH_IN
    _text(figure, left, 1 - 0.2 / height_in, title, size=LARGE, weight="bold")
    _text(figure, left, 1 - 0.53 / height_in, "\n".join(above), color=SOFT)
    for n, line in enumerate(below):
        y = (0.13 + LINE_IN * (len(below) - n)) / height_in
        _text(figure, left, y, line, size=SMALL, color=INK if line == NOTICE else SOFT)
    rest_in = bottom_in + LEGEND_ROW_IN * legend_rows
    engine: Any = figure.get_layout_engine()
    room = (0.012, rest_in / height_in, 0.976, 1 - (top_in + rest_in) / height_in)
    engine.set(rect=room, w_pad=0.05, h_pad=0.05)
    return figure


def wrapped(text: str, size: float, width_in: float = TEXT_IN, indent: str = "") -> list[str]:
    """The text in lines of at most so many inches, measured in our typeface.

    indent: what all lines but the first begin with.
    """
    indent_in = len(indent) * _advance_in("", size, DPI)
    lines, at_in = [""], 0.0
    for word in text.split():
        word_in = _advance_in(word, size, DPI)
        if lines[-1] and at_in + word_in > width_in:
            lines.append(indent + word)
            at_in = indent_in + word_in
        else:
            lines[-1] += f" {word}" if lines[-1] else word
            at_in += word_in
    return lines


@lru_cache(maxsize=4096)
def _advance_in(word: str, size: float, dpi: int) -> float:
    """Inches from the beginning of a word to that of the next, the space with it."""
    renderer = cast(Any, RendererAgg)(1, 1, dpi)  # it draws nothing, it knows how wide letters are
    font = FontProperties(family=STYLE["font.family"], size=size)
    width, end = (
        renderer.get_text_width_height_descent(text, font, ismath=False)[0]
        for text in (f"{word} x", "x")
    )
    return float(width - end) / dpi


def _text(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    style = {"size": NORMAL, "va": "top", "ha": "left", "linespacing": 1.25, **style}
    figure.text(x, y, text, in_layout=False, **style)


def foot_legend(figure: Figure, handles: Sequence[Artist], columns: int) -> None:
    """A legend between the plots and the note, in the rows that the page keeps for it."""
    engine: Any = figure.get_layout_engine()
    left, bottom, _, _ = engine.get()["rect"]
    legend = figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left + 0.002, bottom),
        ncols=columns,
        frameon=False,
        borderpad=0.2,
    )
    legend.set_in_layout(False)


def canvas(figure: Figure) -> Axes:
    """Axes without axes over all the room between title and note, in inches, y upward."""
    engine: Any = figure.get_layout_engine()
    left, bottom, width, height = engine.get()["rect"]
    figure.set_layout_engine("none")
    axes = figure.add_axes((left, bottom, width, height))
    axes.set_axis_off()
    size = figure.get_size_inches()
    axes.set_xlim(0, width * float(size[0]))
    axes.set_ylim(0, height * float(size[1]))
    return axes


def save(figure: Figure, path: Path) -> Path:
    """Write a figure whole or not at all, in the format that its name ends with."""
    kind = path.suffix[1:]
    with whole_file(path) as part, our_style():
        figure.savefig(part, format=kind, dpi=DPI, metadata=UNDATED[kind])
    return path


def counted(value: float) -> str:
    """1234567 as 1,234,567."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """1200000 as 1.2 M; for axes that span many powers of ten."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def short_ticks() -> FuncFormatter:
    return FuncFormatter(lambda value, _: short(value))


@dataclass(frozen=True)
class Box:
    """A rectangle around a center, with the places where arrows begin and end."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> Point:
        return self.x, self.y + self.height / 2

    @property
    def bottom(self) -> Point:
        return self.x, self.y - self.height / 2

    @property
    def left(self) -> Point:
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> Point:
        return self.x + self.width / 2, self.y


def draw_box(axes: Axes, box: Box, color: str, lines: Sequence[str] = ()) -> None:
    """A box of one color; its first line is bold, the others are small."""
    corner = box.x - box.width / 2, box.y - box.height / 2
    axes.add_patch(
        FancyBboxPatch(
            corner,
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.07",
            facecolor=color,
            edgecolor=SOFT,
            linewidth=1.0,
        )
    )
    step = 0.18
    y = box.y + step * (len(lines) - 1) / 2
    for n, line in enumerate(lines):
        write(axes, (box.x, y - n * step), line, bold=n == 0, size=NORMAL if n == 0 else SMALL)


def draw_arrow(axes: Axes, start: Point, end: Point, **style: Any) -> None:
    """Draw an arrow from edge to edge; dashed for what skips a part."""
    style = {"color": INK, "linewidth": 1.3, "mutation_scale": 13, "arrowstyle": "-|>", **style}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=1, shrinkB=1, **style))


def write(axes: Axes, at: Point, text: str, *, bold: bool = False, **style: Any) -> None:
    """Text around a point, or beside it (``ha``)."""
    style = {"ha": "center", "va": "center", "size": SMALL, "color": INK, **style}
    axes.text(*at, text, weight="bold" if bold else "normal", **style)


def write_on_white(axes: Axes, at: Point, text: str, **style: Any) -> None:
    """Text that interrupts the line it lies on."""
    patch = {"facecolor": PAPER, "edgecolor": "none", "pad": 2.0}
    write(axes, at, text, bbox=patch, **style)
