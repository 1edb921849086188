"""One HTML file that needs nothing beside it and says what it is for."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from LiverTumorSegLib.result.files import NOTICE

from training.reports.page import Chapter, Table, page


def test_page_holds_all_and_escapes_it(tmp_path: Path) -> None:
    picture = tmp_path / "f.png"
    picture.write_bytes(b"\x89PNG not really")
    table = Table(key="t", title="Table", columns=("a",), rows=[("1",)])
    text = page(
        "Title <1>",
        ["fact & more"],
        ["mind <this>"],
        [
            Chapter(
                key="c",
                title="Chapter",
                text=("line",),
                tables=[table],
                figures=[(picture, "caption")],
            )
        ],
    )
    assert "Title &lt;1&gt;" in text
    assert "fact &amp; more" in text
    assert "mind &lt;this&gt;" in text
    assert '<a href="#c">' in text
    assert text.count(NOTICE) == 2
    data = re.search(r'src="data:image/png;base64,([^"]+)"', text)
    assert data is not None
    assert base64.b64decode(data[1]) == picture.read_bytes()


def test_page_fetches_nothing() -> None:
    text = page("T", [], [], [])
    assert "http" not in text
    assert "<script" not in text
    assert 'lang="en"' in text
