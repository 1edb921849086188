"""Tables as CSV text that no spreadsheet takes for formulas. Standard library only.

text = csv_text(("case", "note"), [{"case": "p1", "note": "=1+1"}])     # the cell is '=1+1
csv_value("'=1+1")                                                      # "=1+1" again
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_text(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], line_end: str = "\n"
) -> str:
    """A whole table with its head; None is an empty cell, numbers stay numbers."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator=line_end)
    table.writeheader()
    table.writerows({key: _no_formula(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def csv_value(cell: str) -> str:
    """A cell of :func:`csv_text` as it was before it was written."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in FORMULA_STARTS else cell


def _no_formula(value: object) -> object:
    """Excel and LibreOffice run texts that begin so; an apostrophe in front keeps them texts."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
