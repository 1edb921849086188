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
PNG_MARK = b"\x89PNG\r\n\x1a\n"
MOST_BARS = 14
DRAWING, WIDEST_BAR = (320, 70), 30.0  # width and height of bars, in the drawing's own units
LEAST_EDGE = 0.1  # of rising bars
BURDEN, LESION_ML = "Tumor burden, %", "Volume of a lesion, mL"
SPREAD = (BURDEN, LESION_ML)
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
    """x, width, height: of the drawing. label: at its left edge, "" where there is none."""

    x: float
    width: float
    height: float
    count: int
    label: str


@dataclass(frozen=True)
class Histogram:
    """A histogram of one number over the cases."""

    title: str
    count: int
    middle: str
    bars: list[Bar]
    end: str


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
            drawing=DRAWING,
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
    data = picture.read_bytes() if picture.is_file() else b""
    if not data.startswith(PNG_MARK):  # OpenCV would try its decoders of all other formats
        return ""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return ""
    height = max(1, round(image.shape[0] * THUMBNAIL_WIDTH / image.shape[1]))
    small = cv2.resize(image, (THUMBNAIL_WIDTH, height), interpolation=cv2.INTER_AREA)
    return jpeg_uri(small.astype(np.uint8))


def _histograms(records: Sequence[Mapping[str, Any]]) -> list[Histogram]:
    lesions = [lesion for record in records for lesion in record["lesions"]]
    numbers: dict[str, list[float]] = {
        "Liver volume, mL": [r["liver_volume_ml"] for r in records if r["found_liver"]],
        BURDEN: [r["burden_percent"] for r in records if r["burden_percent"]],
        "Lesions a CT": [len(r["lesions"]) for r in records if r["found_liver"]],
        "Longest axial diameter of a lesion, mm": [
            lesion["longest_axial_diameter_mm"] for lesion in lesions
        ],
        LESION_ML: [lesion["volume_ml"] for lesion in lesions],
        "Mean of a lesion, HU": [n["mean_hu"] for n in lesions if n.get("mean_hu") is not None],
    }
    return [
        _histogram(title, values, rising=title in SPREAD)
        for title, values in numbers.items()
        if values
    ]


def _histogram(title: str, values: Sequence[float], *, rising: bool = False) -> Histogram:
    """Bars between round numbers; rising: from 1 to 2, 2 to 5, 5 to 10, for values that spread."""
    edges = _rising_edges(values) if rising else _even_edges(values)
    # by the inner edges alone: rounding of the outer ones loses no value
    bins = np.searchsorted(edges[1:-1], values, side="right")
    counts = np.bincount(bins, minlength=len(edges) - 1)
    slot = min(WIDEST_BAR, DRAWING[0] / len(counts))
    every = 1 + len(counts) // 8
    bars = [
        Bar(
            x=n * slot,
            width=0.88 * slot,
            height=DRAWING[1] * int(count) / int(counts.max()),
            count=int(count),
            label=f"{edges[n]:g}" if n % every == 0 else "",
        )
        for n, count in enumerate(counts)
    ]
    middle = f"{float(f'{median(values):.3g}'):g}"  # 1590, not 1.59e+03
    return Histogram(title, len(values), middle, bars, f"{edges[-1]:g}")


def _even_edges(values: Sequence[float]) -> list[float]:
    """Multiples of a round number, the first not above the least value, the last above all."""
    low, high = min(values), max(values)
    least = (high - low) / MOST_BARS
    if all(float(value).is_integer() for value in values):
        least = max(least, 1.0)
    step = _next_round(max(least, 1e-3))
    return [n * step for n in range(floor(low / step), floor(high / step) + 2)]


def _rising_edges(values: Sequence[float]) -> list[float]:
    """0, then 0.1, 0.2, 0.5, 1 and so on to above all values."""
    edges = [0.0, LEAST_EDGE]
    while edges[-1] <= max(values):
        edges.append(_next_round(edges[-1] * 1.5))
    return edges


def _next_round(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below the least."""
    power = 10.0 ** floor(log10(least))
    return float(f"{next(n * power for n in (1, 2, 5, 10) if n * power >= least * (1 - 1e-9)):g}")
