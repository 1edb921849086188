"""Tables as CSV text that no spreadsheet takes for formulas. Standard library only.

text = csv_text(("case", "note"), [{"case": "p1", "note": "=1+1"}])     # the cell is '=1+1
csv_value("'=1+1")                                                      # "=1+1" again
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NEGATIVE_NUMBER = re.compile(r"-\d+(\.\d+)?")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_text(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], line_end: str = "\n"
) -> str:
    """A whole table with its head; None is an empty cell, numbers stay numbers."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator=line_end)
    table.writeheader()
    table.writerows({key: _safe(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def csv_value(cell: str) -> str:
    """A cell of :func:`csv_text` as it was before it was written."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in FORMULA_STARTS else cell


def safe_cell(text: str) -> str:
    """Excel and LibreOffice run texts that begin so; an apostrophe in front keeps them texts.

    A negative number written as text stays one.
    """
    is_formula = text.startswith(FORMULA_STARTS) and not NEGATIVE_NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


def _safe(value: object) -> object:
    return safe_cell(value) if isinstance(value, str) else value
