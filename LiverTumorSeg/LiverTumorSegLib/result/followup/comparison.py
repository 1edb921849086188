"""Two dates of one patient in numbers: what has changed, lesion by lesion and of the targets.

comparison = compare_dates(baseline, followup)        # two StoredResults
comparison.rows, comparison.response, comparison.to_dict()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from LiverTumorSegLib import __version__
from LiverTumorSegLib.result.files import NOTICE
from LiverTumorSegLib.result.lesions import Lesion
from LiverTumorSegLib.result.overview.scene import OverviewScene
from LiverTumorSegLib.result.recist import (
    LEAST_TARGET_MM,
    Response,
    propose_targets,
    response_of,
)
from LiverTumorSegLib.result.stored import StoredResult

from .matching import Link, PlacedLesions, match
from .registration import Registration, register

WORST_ERROR_MM = 12.0  # in LiTS, livers of one person end at 4 to 6 mm, of two at 15 to 18
MOST_VOLUME_RATIO = 2.0
GROWN, LEAST_GROWTH_MM, SHRUNK = 1.2, 5.0, 0.7  # RECIST 1.1, section 4.3.1, of one lesion
GROWN_VOLUME, SHRUNK_VOLUME = GROWN**3, SHRUNK**3  # a sphere's then, asked from 10 mm on
LEAST_NEW_MM = 5.0  # smaller new ones are listed, but no evidence of progress
COLUMNS = (
    "baseline",
    "followup",
    "change",
    "baseline_volume_ml",
    "followup_volume_ml",
    "volume_change_percent",
    "baseline_longest_mm",
    "followup_longest_mm",
    "longest_change_percent",
    "target",
)


@dataclass(frozen=True)
class Row:
    """One lesion, or group of lesions, on both dates.

    baseline, followup: its numbers in each date's own table, several where it split or merged.
    Volumes are sums of all of them, and so are longest diameters (RECIST 1.1 adds up the parts of a
    lesion that fell apart). target: it is one, by the choice at baseline.
    """

    baseline: tuple[int, ...]
    followup: tuple[int, ...]
    baseline_ml: float
    followup_ml: float
    baseline_mm: float
    followup_mm: float
    target: bool

    @property
    def change(self) -> str:
        """new, gone, grown, shrunk or unchanged, and whether it split or merged."""
        if not self.baseline:
            return "new"
        if not self.followup:
            return "gone"
        size = self._size
        if len(self.followup) > 1:
            return f"{size}, split in {len(self.followup)}"
        return f"{size}, merged of {len(self.baseline)}" if len(self.baseline) > 1 else size

    @property
    def _size(self) -> str:
        """grown, shrunk or unchanged: by the longest diameter, else by the volume."""
        longest = self.followup_mm / self.baseline_mm
        if longest >= GROWN and self.followup_mm - self.baseline_mm >= LEAST_GROWTH_MM:
            return "grown"
        if longest <= SHRUNK:
            return "shrunk"
        if min(self.baseline_mm, self.followup_mm) >= LEAST_TARGET_MM:
            volume = self.followup_ml / self.baseline_ml
            if volume >= GROWN_VOLUME:
                return "grown"
            if volume <= SHRUNK_VOLUME:
                return "shrunk"
        return "unchanged"

    @property
    def volume_percent(self) -> float | None:
        """Change of the volume; None without a baseline."""
        return 100 * (self.followup_ml / self.baseline_ml - 1) if self.baseline_ml else None

    @property
    def longest_percent(self) -> float | None:
        return 100 * (self.followup_mm / self.baseline_mm - 1) if self.baseline_mm else None

    def to_dict(self) -> dict[str, Any]:
        """With the keys COLUMNS; numbers of lesions as text, "1+3" where there are several."""
        values = (
            "+".join(map(str, self.baseline)),
            "+".join(map(str, self.followup)),
            self.change,
            round(self.baseline_ml, 4),
            round(self.followup_ml, 4),
            _rounded(self.volume_percent),
            round(self.baseline_mm, 2),
            round(self.followup_mm, 2),
            _rounded(self.longest_percent),
            self.target,
        )
        return dict(zip(COLUMNS, values, strict=True))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two dates, how the livers lie on each other, and a row for each lesion."""

    baseline: StoredResult
    followup: StoredResult
    registration: Registration
    rows: tuple[Row, ...]
    response: Response

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; names no file and no patient."""
        liver_ml = [d.measures.liver_volume_ml for d in (self.baseline, self.followup)]
        tumor_ml = [d.measures.tumor_volume_ml for d in (self.baseline, self.followup)]
        return {
            "notice": NOTICE,
            "made_with": f"LiverTumorSeg {__version__}",
            "registration": {
                "error_mm": round(self.registration.error_mm, 2),
                "mean_surface_distance_mm": round(self.registration.mean_mm, 2),
                "baseline_ras_to_followup_ras": self.registration.to_followup.round(6).tolist(),
            },
            "liver_volume_ml": [round(ml, 2) for ml in liver_ml],
            "tumor_volume_ml": [round(ml, 4) for ml in tumor_ml],
            "lesions": [row.to_dict() for row in self.rows],
            "recist_1_1_as_an_aid": self.response.to_dict(),
            "warnings": {
                "baseline": list(self.baseline.warnings),
                "followup": list(self.followup.warnings),
            },
        }


def compare_dates(baseline: StoredResult, followup: StoredResult) -> Comparison:
    """Lay the livers onto each other, match the lesions and measure the change.

    Raises ``ValueError`` with one sentence where the two can hardly be one patient's whole liver.
    """
    _refuse_unlike_volumes(baseline, followup)
    registration = register(baseline.ct, baseline.labels_kji, followup.ct, followup.labels_kji)
    if registration.error_mm > WORST_ERROR_MM:
        raise ValueError(
            f"The two livers do not fit onto each other ({registration.error_mm:.0f} mm apart after"
            f" alignment, at most {WORST_ERROR_MM:.0f}): give two CTs of one patient, with the"
            " liver whole and well segmented on both."
        )
    cases = [OverviewScene.of(d.ct, d.labels_kji, None, d.measures) for d in (baseline, followup)]
    placed = [PlacedLesions.of(case) for case in cases]
    links = match(placed[0], placed[1], registration)
    fit = _not_rejected(baseline)
    targets = {lesion.number for lesion in propose_targets(fit, cases[0].ct.spacing_kji_mm[0])}
    rows = tuple(_row(link, baseline, followup, targets) for link in links)
    return Comparison(baseline, followup, registration, rows, _response(rows, followup))


def _refuse_unlike_volumes(baseline: StoredResult, followup: StoredResult) -> None:
    small, large = sorted(d.measures.liver_volume_ml for d in (baseline, followup))
    if small == 0:
        raise ValueError("One of the two has no liver in its labels; nothing can be compared.")
    if large > MOST_VOLUME_RATIO * small:
        raise ValueError(
            f"The two livers have {small:.0f} and {large:.0f} mL: give two CTs of one patient that"
            " both show the whole liver."
        )


def _not_rejected(result: StoredResult) -> list[Lesion]:
    return [
        lesion
        for lesion, review in zip(result.measures.lesions, result.review, strict=True)
        if review != "rejected"
    ]


def _row(link: Link, baseline: StoredResult, followup: StoredResult, targets: set[int]) -> Row:
    before = [baseline.measures.lesions[n - 1] for n in link.baseline]
    after = [followup.measures.lesions[n - 1] for n in link.followup]
    return Row(
        link.baseline,
        link.followup,
        sum(lesion.volume_ml for lesion in before),
        sum(lesion.volume_ml for lesion in after),
        sum(lesion.longest_axial_diameter_mm for lesion in before),
        sum(lesion.longest_axial_diameter_mm for lesion in after),
        bool(targets.intersection(link.baseline)),
    )


def _response(rows: Sequence[Row], followup: StoredResult) -> Response:
    """The RECIST response of the targets, with new lesions that may be targets."""
    plausible = {
        lesion.number
        for lesion in _not_rejected(followup)
        if not lesion.implausible and lesion.longest_axial_diameter_mm >= LEAST_NEW_MM
    }
    targets = [row for row in rows if row.target]
    new = [row.followup[0] for row in rows if not row.baseline and row.followup[0] in plausible]
    return response_of(
        [round(row.baseline_mm) for row in targets],
        [round(row.followup_mm) for row in targets],
        new_lesions=new,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
