"""A table of a report: what it says, in which words, and under which conditions it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

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
    """key: a short name to link to. context: the conditions (grid, policy, code) in one line."""

    key: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
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
        notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in self.notes)
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
