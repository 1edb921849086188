"""Tables: cells as text, whole rows, HTML that shows what it was given."""

from __future__ import annotations

import html.parser

import pytest
from looped import looped

from training.reports.page import Table, interval, mean_sd, p_value, rate
from training.score.words import number, plural


class Cells(html.parser.HTMLParser):
    """The texts of a page's cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self._open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("td", "th"):
            self._open = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1] += data


def test_html_gives_back_cells_context_and_notes_and_rows_have_one_length() -> None:
    # html gives back every cell
    table = Table(key="t", title="<T>", columns=("a", "b & c"), rows=[("x < y", "1"), ("“z”", "2")])
    assert Cells(table.html()).cells == ["a", "b & c", "x < y", "1", "“z”", "2"]
    assert "<T>" not in table.html()

    # context and notes are shown
    page = Table(key="t", title="T", columns=("a",), rows=[], notes=("n&n",), context="c").html()
    assert "n&amp;n" in page
    assert ">c<" in page

    # a row of another length is refused
    with pytest.raises(ValueError, match="cells"):
        Table(key="t", title="T", columns=("a", "b"), rows=[("1",)])


@looped("value", [None, float("nan"), float("inf")])
def test_what_is_not_defined_is_said(value: float | None) -> None:
    assert number(value) == "n/a"


def test_cells_and_plurals() -> None:
    # cells
    assert number(0.12345, 2) == "0.12"
    assert mean_sd({"mean": 0.5, "sd": 0.25, "n": 4}) == "0.500 ± 0.250 (n = 4)"
    assert mean_sd({"mean": 0.5, "sd": None, "n": 1}) == "0.500 (n = 1)"
    assert mean_sd({"mean": None, "sd": None, "n": 0}) == "n/a (n = 0)"
    assert interval([0.1, 0.9]) == "[0.100, 0.900]"
    assert interval(None) == "n/a"
    assert rate(3, 4) == "0.750 (3 of 4)"
    assert rate(0, 0) == "n/a (0 of 0)"
    assert p_value(0.0001) == "p < 0.001"
    assert p_value(0.25) == "p = 0.250"
    assert p_value(None) == "p n/a"

    # plural
    assert plural(1, "volume") == "1 volume"
    assert plural(0, "volume") == "0 volumes"
    assert plural(1869, "slice") == "1,869 slices"
