"""A page of tables and figures in one HTML file that needs nothing beside it.

A table carries the conditions under which its numbers hold.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from LiverTumorSegLib.result.files import NOTICE

from training.score.words import NOT_DEFINED, number

METRIC_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "f1": "F1",
    "voe": "VOE",
    "rvd": "RVD",
}


@dataclass(frozen=True, kw_only=True)
class Table:
    """key: a short name to link to. context: the conditions (grid, policy, code) in one line.

    paper_notes: what a paper prints in its place.
    """

    key: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    paper_notes: Sequence[str] = ()
    context: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"A row of {self.key} has {len(row)} cells: {row}.")

    def html(self) -> str:
        """The table as a section of a page; its first column heads the rows."""
        head = "".join(f'<th scope="col">{escape(column)}</th>' for column in self.columns)
        body = "\n".join(_row(row) for row in self.rows)
        context = f'<p class="context">{escape(self.context)}</p>\n' if self.context else ""
        said = (*self.notes, *self.paper_notes)
        notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in said)
        return (
            f'<section id="{escape(self.key)}">\n<h3>{escape(self.title)}</h3>\n{context}'
            f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody></table></div>\n{notes}</section>\n"
        )


def _row(cells: Sequence[str]) -> str:
    first, *others = (escape(cell) for cell in cells)
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{c}</td>" for c in others)}</tr>'


def mean_sd(statistics: Mapping[str, Any], digits: int = 3) -> str:
    """Mean ± SD (n) of what :func:`training.score.summary.describe` gives."""
    mean, sd = statistics["mean"], statistics["sd"]
    if mean is None:
        return f"{NOT_DEFINED} (n = {statistics['n']})"
    spread = "" if sd is None else f" ± {number(sd, digits)}"
    return f"{number(mean, digits)}{spread} (n = {statistics['n']})"


def interval(bounds: Sequence[float] | None, digits: int = 3) -> str:
    """A confidence interval."""
    if not bounds:
        return NOT_DEFINED
    return f"[{number(bounds[0], digits)}, {number(bounds[1], digits)}]"


def rate(found: int, total: int) -> str:
    """A share with its counts; a share of nothing is not defined."""
    if total == 0:
        return f"{NOT_DEFINED} (0 of 0)"
    return f"{found / total:.3f} ({found} of {total})"


def p_value(value: float | None) -> str:
    """A probability of a test, with its word."""
    if value is None:
        return f"p {NOT_DEFINED}"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


STYLE = """
:root { color-scheme: light; --ink: #1b2430; --soft: #5b6675; --line: #d9dee5; --warn: #8a4b00; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); margin: 0 auto; padding: 2rem;
  max-width: 70rem; }
h1 { font-size: 1.8rem; margin: 0 0 .3rem; } h2 { margin: 2.6rem 0 .6rem; font-size: 1.35rem; }
h3 { margin: 1.8rem 0 .3rem; font-size: 1.05rem; }
.notice { font-weight: 600; color: var(--warn); } .warning { border-left: 4px solid var(--warn);
  padding: .3rem .8rem; background: #fff6e9; margin: .5rem 0; }
.context, .note { color: var(--soft); font-size: .85rem; margin: .2rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums;
  margin: .4rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child { text-align: left; } thead th { border-bottom: 2px solid var(--ink);
  vertical-align: bottom; } tbody th { font-weight: 500; }
figure { margin: 1.2rem 0; } figure img { max-width: 100%; border: 1px solid var(--line); }
figcaption { color: var(--soft); font-size: .85rem; }
nav a { margin-right: 1rem; } a { color: #16528f; }
@media print { body { max-width: none; } section, figure { break-inside: avoid; } }
"""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A heading and what stands under it. figures: (PNG file, caption)."""

    key: str
    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[tuple[Path, str]] = ()

    def html(self) -> str:
        parts = [f'<h2 id="{escape(self.key)}">{escape(self.title)}</h2>']
        parts += [f"<p>{escape(line)}</p>" for line in self.text]
        parts += [table.html() for table in self.tables]
        parts += [_figure(path, caption) for path, caption in self.figures]
        return "\n".join(parts)


def page(
    title: str, facts: Sequence[str], warnings: Sequence[str], chapters: Sequence[Chapter]
) -> str:
    """The whole file. facts: one line each, under the title; the notice is always there."""
    links = " ".join(f'<a href="#{escape(c.key)}">{escape(c.title)}</a>' for c in chapters)
    lines = "\n".join(f'<p class="context">{escape(fact)}</p>' for fact in facts)
    boxes = "\n".join(f'<p class="warning">{escape(warning)}</p>' for warning in warnings)
    body = "\n".join(chapter.html() for chapter in chapters)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="notice">{NOTICE}</p>\n{lines}\n{boxes}\n'
        f"<nav>{links}</nav>\n{body}\n"
        f'<p class="notice">{NOTICE}</p>\n</body>\n</html>\n'
    )


def _figure(path: Path, caption: str) -> str:
    """The picture inside the page, so that the page can be sent alone."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
