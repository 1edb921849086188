"""The page of a report that shows two dates side by side.

render_report(comparison.followup, comparison=comparison_page(comparison))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from LiverTumorSegLib.result.lesions import Lesion
from LiverTumorSegLib.result.overview.key_image import draw_key_image, draw_place, jpeg_uri
from LiverTumorSegLib.result.overview.panel import milliliters
from LiverTumorSegLib.result.overview.scene import OverviewScene
from LiverTumorSegLib.result.recist import Response

from .change import Row
from .comparison import Comparison
from .corrections import Corrections
from .registration import Matrix, moved

NONE = "-"


@dataclass(frozen=True)
class RowEntry:
    """A lesion on two dates as the page shows it, numbers as text.

    kind: new, gone, grown, shrunk or unchanged. change: the same, and whether it split or merged.
    """

    baseline: str
    followup: str
    kind: str
    change: str
    volumes_ml: tuple[str, str]
    volume_change: str
    longest_mm: tuple[str, str]
    longest_change: str
    target: bool
    images: tuple[str, str]


@dataclass(frozen=True)
class Total:
    """A figure of the whole case on both dates."""

    name: str
    baseline: str
    followup: str
    change: str


@dataclass(frozen=True)
class ComparisonPage:
    """All that the template shows of two dates."""

    totals: list[Total]
    rows: list[RowEntry]
    response: Response
    response_change: str
    error_mm: str
    baseline_warnings: list[str]
    corrections: str


def comparison_page(comparison: Comparison) -> ComparisonPage:
    """Draw every lesion on both dates, and format the numbers."""
    cases = [
        OverviewScene.of(date.ct, date.labels_kji, None, date.measures)
        for date in (comparison.baseline, comparison.followup)
    ]
    return ComparisonPage(
        totals=_totals(comparison),
        rows=[_row_entry(comparison, row, cases) for row in comparison.rows],
        response=comparison.response,
        response_change=_percent(comparison.response.percent),
        error_mm=f"{comparison.registration.error_mm:.0f}",
        baseline_warnings=list(comparison.baseline.warnings),
        corrections=_corrections_text(comparison.corrections),
    )


def _corrections_text(corrections: Corrections) -> str:
    """What the reader changed, in one line; empty when nothing."""
    said = [f"lesion {number} of the baseline not matched" for number in corrections.no_match]
    said += [f"{one} of the baseline is {other}" for one, other in corrections.match]
    return "; ".join(said)


def _totals(comparison: Comparison) -> list[Total]:
    before, after = comparison.baseline.measures, comparison.followup.measures
    volumes = (
        ("Liver with tumor, mL", before.liver_volume_ml, after.liver_volume_ml),
        ("Tumor, mL", before.tumor_volume_ml, after.tumor_volume_ml),
    )
    totals = [
        Total(name, milliliters(one), milliliters(other), _percent(_change(one, other)))
        for name, one, other in volumes
    ]
    counts = len(before.lesions), len(after.lesions)
    totals.append(Total("Lesions", str(counts[0]), str(counts[1]), f"{counts[1] - counts[0]:+d}"))
    if comparison.response.category:
        sums = comparison.response.baseline_mm, comparison.response.followup_mm
        change = _percent(comparison.response.percent)
        totals.append(Total("Sum of targets, mm", str(sums[0]), str(sums[1]), change))
    return totals


def _row_entry(comparison: Comparison, row: Row, cases: list[OverviewScene]) -> RowEntry:
    return RowEntry(
        baseline=" + ".join(map(str, row.baseline)) or NONE,
        followup=" + ".join(map(str, row.followup)) or NONE,
        kind=row.kind,
        change=row.change,
        volumes_ml=(_volume(row.baseline_ml), _volume(row.followup_ml)),
        volume_change=_percent(row.volume_percent),
        longest_mm=(_length(row.baseline_mm), _length(row.followup_mm)),
        longest_change=_percent(row.longest_percent),
        target=row.target,
        images=_images(comparison, row, cases),
    )


def _images(comparison: Comparison, row: Row, cases: list[OverviewScene]) -> tuple[str, str]:
    """The largest lesion of each date; where there is none, the place where it would be."""
    before = [comparison.baseline.measures.lesions[n - 1] for n in row.baseline[:1]]
    after = [comparison.followup.measures.lesions[n - 1] for n in row.followup[:1]]
    movement = comparison.registration
    return (
        _image(cases[0], before, after, movement.to_baseline),
        _image(cases[1], after, before, movement.to_followup),
    )


def _image(case: OverviewScene, here: list[Lesion], there: list[Lesion], movement: Matrix) -> str:
    if here:
        return jpeg_uri(draw_key_image(case, here[0]))
    r, a, s = moved(movement, np.array([there[0].centroid_ras_mm]))[0].tolist()
    return jpeg_uri(draw_place(case, (r, a, s)))


def _change(before: float, after: float) -> float | None:
    return 100 * (after / before - 1) if before else None


def _percent(change: float | None) -> str:
    return NONE if change is None else f"{round(change):+d} %"


def _volume(volume_ml: float) -> str:
    return milliliters(volume_ml) if volume_ml else NONE


def _length(length_mm: float) -> str:
    return f"{length_mm:.0f}" if length_mm else NONE
