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
from LiverTumorSegLib.result.recist import Response, propose_targets
from LiverTumorSegLib.result.stored import StoredResult
from LiverTumorSegLib.sentences import sentence

from .change import DatedLesion, Row, change_of
from .corrections import Corrections
from .matching import PlacedLesions, match
from .registration import Registration, register

WORST_ERROR_MM = 12.0  # in LiTS, livers of one person end at 4 to 6 mm, of two at 15 to 18
MOST_VOLUME_RATIO = 2.0
NO_CORRECTIONS = Corrections()
LEAST_NEW_MM = 5.0  # smaller new ones are listed, but no evidence of progress


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two dates, how the livers lie on each other, and a row for each lesion.

    lesions: those of the baseline and those of the follow-up. corrections: what a reader said of
    the matches that were proposed; rows and response are those after it.
    """

    baseline: StoredResult
    followup: StoredResult
    registration: Registration
    lesions: tuple[tuple[DatedLesion, ...], tuple[DatedLesion, ...]]
    corrections: Corrections
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
            "corrections_by_the_reader": self.corrections.to_dict(),
            "lesions_of_dates": {
                name: [lesion.to_dict() for lesion in lesions]
                for name, lesions in zip(("baseline", "followup"), self.lesions, strict=True)
            },
            "recist_1_1_as_an_aid": self.response.to_dict(),
            "warnings": {
                "baseline": list(self.baseline.warnings),
                "followup": list(self.followup.warnings),
            },
        }


def compare_dates(
    baseline: StoredResult, followup: StoredResult, corrections: Corrections = NO_CORRECTIONS
) -> Comparison:
    """Lay the livers onto each other, match the lesions and measure the change.

    Raises ``ValueError`` with one sentence where the two can hardly be one patient's whole liver,
    and for corrections that do not fit the matches.
    """
    _refuse_unlike_volumes(baseline, followup)
    registration = register(baseline.ct, baseline.labels_kji, followup.ct, followup.labels_kji)
    if registration.error_mm > WORST_ERROR_MM:
        raise ValueError(
            sentence(
                "The two livers do not fit onto each other ({apart:.0f} mm apart after alignment,"
                " at most {most:.0f}): give two CTs of one patient, with the liver whole and well"
                " segmented on both.",
                apart=registration.error_mm,
                most=WORST_ERROR_MM,
            )
        )
    cases = [OverviewScene.of(d.ct, d.labels_kji, None, d.measures) for d in (baseline, followup)]
    placed = [PlacedLesions.of(case) for case in cases]
    links = corrections.applied_to(match(placed[0], placed[1], registration))
    fit = propose_targets(_not_rejected(baseline), cases[0].ct.spacing_kji_mm[0])
    lesions = _dated(baseline, targets=fit), _dated(followup)
    change = change_of(links, *lesions)
    return Comparison(
        baseline, followup, registration, lesions, corrections, change.rows, change.response
    )


def _refuse_unlike_volumes(baseline: StoredResult, followup: StoredResult) -> None:
    small, large = sorted(d.measures.liver_volume_ml for d in (baseline, followup))
    if small == 0:
        raise ValueError("One of the two has no liver in its labels; nothing can be compared.")
    if large > MOST_VOLUME_RATIO * small:
        raise ValueError(
            sentence(
                "The two livers have {small:.0f} and {large:.0f} mL: give two CTs of one patient"
                " that both show the whole liver.",
                small=small,
                large=large,
            )
        )


def _not_rejected(result: StoredResult) -> list[Lesion]:
    return [
        lesion
        for lesion, review in zip(result.measures.lesions, result.review, strict=True)
        if review != "rejected"
    ]


def _dated(result: StoredResult, targets: Sequence[Lesion] = ()) -> tuple[DatedLesion, ...]:
    """A date's lesions; of those without verdict or doubt a new one may be progression."""
    fit = {lesion.number for lesion in _not_rejected(result) if not lesion.implausible}
    return tuple(
        DatedLesion(
            number=lesion.number,
            volume_ml=lesion.volume_ml,
            longest_mm=lesion.longest_axial_diameter_mm,
            center_ras_mm=lesion.centroid_ras_mm,
            target=lesion in targets,
            may_progress=lesion.number in fit and lesion.longest_axial_diameter_mm >= LEAST_NEW_MM,
        )
        for lesion in result.measures.lesions
    )
