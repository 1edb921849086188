"""The page of a cohort: what stands first, what the bars count, and that it is safe to open."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from LiverTumorSegLib.result.cohort import CohortCase, _histogram, render_cohort

EVIL = '<script>alert(1)</script>"&'


def record(
    *warnings: str, volumes_ml: tuple[float, ...] = (3.0,), liver_ml: float = 1500.0
) -> dict:
    lesions: list[dict[str, Any]] = [
        {"longest_axial_diameter_mm": 10 * v, "volume_ml": v, "mean_hu": 60.0} for v in volumes_ml
    ]
    return {
        "found_liver": liver_ml > 0,
        "liver_volume_ml": liver_ml,
        "tumor_volume_ml": sum(volumes_ml),
        "burden_percent": 100 * sum(volumes_ml) / liver_ml if liver_ml else None,
        "lesions": lesions,
        "warnings": list(warnings),
        "model": {"model": "tiny", "version": "1"},
    }


def case(name: str, of: dict | None, folder: Path, problem: str = "", failed: bool = False) -> Any:
    return CohortCase(name, problem or None, failed, of, folder)


class Seen(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for n, v in attrs if n in ("src", "href")]


def test_failures_and_warnings_stand_first(tmp_path: Path) -> None:
    cases = [
        case("quiet", record(), tmp_path),
        case("one_warning", record("Look."), tmp_path),
        case("no_liver", record("It is cut.", volumes_ml=(), liver_ml=0.0), tmp_path),
        case("broken", None, tmp_path, "It is damaged.", failed=True),
        case("mr", None, tmp_path, "It is no CT."),
    ]
    page = render_cohort(cases, {})
    body = page[page.index("</header>") :]
    at = [body.index(f">{name}<") for name in ("broken", "no_liver", "one_warning", "quiet", "mr")]
    assert at == sorted(at)
    assert "No liver found." in page
    assert "1 failed, 1 left out" in page


def test_the_page_needs_nothing_and_runs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "p 1"
    folder.mkdir()
    cv2.imwrite(str(folder / "overview.png"), np.full((400, 600, 3), 90, np.uint8))
    page = render_cohort([case(f"p 1{EVIL}", record(EVIL), folder)], {EVIL: EVIL})
    assert "<script" not in page.casefold()
    seen = Seen(page)
    assert "script" not in seen.tags
    pictures = [address for address in seen.addresses if address.startswith("data:image/jpeg")]
    assert len(pictures) == 1
    (link,) = set(seen.addresses) - set(pictures)
    assert re.fullmatch(r"p%201[%\w./]*overview\.png", link)
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_no_file_of_another_kind_is_decoded_as_our_picture(tmp_path: Path) -> None:
    """Whoever else writes to the folder: OpenCV reads dozens of formats, some with holes."""
    picture = np.full((40, 60, 3), 90, np.uint8)
    for ending, shown in (("png", 1), ("jpg", 0), ("bmp", 0)):
        _, data = cv2.imencode(f".{ending}", picture)
        for content, count in ((data.tobytes(), shown), (data.tobytes()[:20], 0), (b"", 0)):
            (tmp_path / "overview.png").write_bytes(content)
            seen = Seen(render_cohort([case("a", record(), tmp_path)], {}))
            assert sum(one.startswith("data:image") for one in seen.addresses) == count


def test_an_empty_cohort_is_a_page_too(tmp_path: Path) -> None:
    assert "Cohort of 0 CTs" in render_cohort([], {})
    assert "Cohort of 0 CTs" in render_cohort([case("a", None, tmp_path, "Why.")], {})


def test_bars_count_every_value_and_begin_at_round_numbers() -> None:
    rng = np.random.default_rng(0)
    for values in (
        rng.normal(1500, 400, 300).tolist(),
        rng.integers(0, 40, 50).tolist(),
        rng.lognormal(0, 2, 80).tolist(),
        [3],
        [0, 0],
        [0.25],
        [-80.0, 120.0],
        *([value] for value in rng.uniform(0.1, 100, 40)),
    ):
        for rising in (False, True):
            if rising and min(values) < 0:
                continue
            h = _histogram("Any", values, rising=rising)
            assert sum(bar.count for bar in h.bars) == len(values) == h.count
            assert 1 <= len(h.bars) <= 16
            assert float(h.bars[0].label) <= min(values) + 1e-3  # as far as labels are rounded
            assert float(h.end) >= max(values) - 1e-3
            assert max(bar.height for bar in h.bars) == 70
            assert h.bars[-1].x + h.bars[-1].width <= 320
