"""All cases of a batch as one page, ``cohort.html``: distributions, and what to look at first.

    html = render_cohort(cases, {"liver_volume_ml": "volume of liver and tumor together, mL"})

The page needs no other file and no network, has no script, and all text is escaped. Thumbnails are
in it, of the cases that stand first; each leads to the case's own picture beside the page.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import floor, log10
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np

from LiverTumorSegLib import __version__

from .files import NO_LIVER, NOTICE, PICTURE
from .overview.key_image import jpeg_uri
from .report import environment

THUMBNAILS = 200
THUMBNAIL_WIDTH = 300
MOST_BARS = 14
BAR_WIDTH, BAR_GAP, BARS_HEIGHT = 20, 3, 70  # of the drawings, in their own units
MARK = "shows-"  # in the page: what it was made of, so that it need not be made again


@dataclass(frozen=True)
class CohortCase:
    """A case of a batch. problem: why it has no result. record: what its ``lesions.json`` says.
    folder: of its result."""

    name: str
    problem: str | None
    failed: bool
    record: Mapping[str, Any] | None
    folder: Path

    @property
    def warnings(self) -> list[str]:
        if self.record is None:
            return [self.problem or ""]
        nothing = [] if self.record["found_liver"] else [NO_LIVER]
        return [*nothing, *map(str, self.record["warnings"])]


@dataclass(frozen=True)
class CaseEntry:
    """A case as the page shows it, numbers as text."""

    name: str
    link: str
    thumbnail: str
    liver_ml: str
    tumor_ml: str
    burden: str
    lesions: str
    longest_mm: str
    warnings: list[str]


@dataclass(frozen=True)
class Bar:
    """x, y, height: of the drawing. label: at its left edge, "" where there is none."""

    x: float
    y: float
    height: float
    count: int
    label: str


@dataclass(frozen=True)
class Histogram:
    """How a number is distributed."""

    title: str
    count: int
    middle: str
    bars: list[Bar]
    end: str

    @property
    def width(self) -> int:
        return len(self.bars) * (BAR_WIDTH + BAR_GAP)


def render_cohort(
    cases: Sequence[CohortCase], meanings: Mapping[str, str], today: date | None = None
) -> str:
    """The page as text of one HTML file. meanings: of the columns of the summary."""
    with_result = [case for case in cases if case.record is not None]
    failed = [case for case in cases if case.record is None and case.failed]
    left_out = [case for case in cases if case.record is None and not case.failed]
    # the sort keeps the cases' own order where they have as many warnings
    ordered = sorted(with_result, key=lambda case: -len(case.warnings))
    records = [case.record for case in with_result if case.record is not None]
    models = {_model_name(record) for record in records}
    return (
        environment()
        .get_template("cohort.html.jinja")
        .render(
            date=(today or date.today()).isoformat(),
            made_with=f"LiverTumorSeg {__version__}",
            made_of=MARK + _digest(cases),
            notice=NOTICE,
            models=sorted(models),
            failed=failed,
            left_out=left_out,
            cases=[_entry(case, n < THUMBNAILS) for n, case in enumerate(ordered)],
            warned=sum(bool(case.warnings) for case in with_result),
            with_tumor=sum(bool(record["lesions"]) for record in records),
            lesions=sum(len(record["lesions"]) for record in records),
            histograms=_histograms(records),
            bars_height=BARS_HEIGHT,
            bar_width=BAR_WIDTH,
            thumbnails=THUMBNAILS,
            meanings=meanings,
        )
    )


def shows(page: Path, cases: Sequence[CohortCase]) -> bool:
    """Whether a page is there that was made of just these."""
    try:
        with page.open(encoding="utf-8") as file:
            return MARK + _digest(cases) in file.read(2048)
    except (OSError, ValueError):
        return False


def _digest(cases: Sequence[CohortCase]) -> str:
    facts = [[case.name, case.problem, case.failed, case.record] for case in cases]
    text = json.dumps([__version__, facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _model_name(record: Mapping[str, Any]) -> str:
    model = record.get("model") or {}
    return f"{model.get('model')} {model.get('version')}" if model else "an unknown model"


def _entry(case: CohortCase, with_thumbnail: bool) -> CaseEntry:
    record = case.record or {}
    lesions = record["lesions"]
    burden = record["burden_percent"]
    diameters = [lesion["longest_axial_diameter_mm"] for lesion in lesions]
    return CaseEntry(
        name=case.name,
        link=quote(f"{case.name}/{PICTURE}"),
        thumbnail=_thumbnail(case.folder / PICTURE) if with_thumbnail else "",
        liver_ml=f"{record['liver_volume_ml']:.0f}",
        tumor_ml=f"{record['tumor_volume_ml']:.1f}",
        burden="-" if burden is None else f"{burden:.1f}",
        lesions=str(len(lesions)),
        longest_mm=f"{max(diameters):.0f}" if diameters else "-",
        warnings=case.warnings,
    )


def _thumbnail(picture: Path) -> str:
    """A small copy as an address that holds it; "" where there is no picture."""
    image = cv2.imread(str(picture))
    if image is None:
        return ""
    height = max(1, round(image.shape[0] * THUMBNAIL_WIDTH / image.shape[1]))
    small = cv2.resize(image, (THUMBNAIL_WIDTH, height), interpolation=cv2.INTER_AREA)
    return jpeg_uri(small.astype(np.uint8))


def _histograms(records: Sequence[Mapping[str, Any]]) -> list[Histogram]:
    lesions = [lesion for record in records for lesion in record["lesions"]]
    numbers: dict[str, list[float]] = {
        "Liver volume, mL": [r["liver_volume_ml"] for r in records if r["found_liver"]],
        "Tumor burden, %": [r["burden_percent"] for r in records if r["burden_percent"]],
        "Lesions a CT": [len(r["lesions"]) for r in records if r["found_liver"]],
        "Longest axial diameter of a lesion, mm": [
            lesion["longest_axial_diameter_mm"] for lesion in lesions
        ],
        "Volume of a lesion, mL": [lesion["volume_ml"] for lesion in lesions],
        "Mean of a lesion, HU": [n["mean_hu"] for n in lesions if n.get("mean_hu") is not None],
    }
    return [_histogram(title, values) for title, values in numbers.items() if values]


def _histogram(title: str, values: Sequence[float]) -> Histogram:
    """Bars of one width that begin at round numbers."""
    low, high = min(values), max(values)
    step = _round_step((high - low) / MOST_BARS, whole=all(float(v).is_integer() for v in values))
    first = floor(low / step)
    counts = [0] * (floor(high / step) - first + 1)
    for value in values:
        counts[floor(value / step) - first] += 1
    tall = max(counts)
    every = 1 + len(counts) // 7
    bars = [
        Bar(
            x=n * (BAR_WIDTH + BAR_GAP),
            y=BARS_HEIGHT * (1 - count / tall),
            height=BARS_HEIGHT * count / tall,
            count=count,
            label=f"{(first + n) * step:g}" if n % every == 0 else "",
        )
        for n, count in enumerate(counts)
    ]
    end = f"{(first + len(counts)) * step:g}"
    return Histogram(title, len(values), f"{median(values):.4g}", bars, end)


def _round_step(least: float, *, whole: bool) -> float:
    """1, 2 or 5 times a power of ten, not below the least."""
    least = max(least, 1.0 if whole else 1e-3)
    power = 10.0 ** floor(log10(least))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= least * (1 - 1e-9))
