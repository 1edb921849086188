"""RECIST 1.1 as far as it concerns the liver alone; an aid, for the reader decides.

Eisenhauer et al., European Journal of Cancer 45 (2009) 228-247. Target lesions: section 4.3.1, at
most two an organ, the largest. Measurable: section 3.1, at least 10 mm along the longest diameter,
and at least two slices. Response: section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .lesions import Lesion

MOST_TARGETS = 2
LEAST_TARGET_MM = 10.0
PROGRESS, LEAST_PROGRESS_MM, PARTIAL = 1.2, 5, 0.7
SLICES_OF_TARGET = 2  # where slices are thicker than 5 mm, a target is twice as long as they are


def least_target_mm(slice_mm: float) -> float:
    """The shortest longest diameter of a lesion that may be a target."""
    return max(LEAST_TARGET_MM, SLICES_OF_TARGET * slice_mm)


def propose_targets(lesions: Iterable[Lesion], slice_mm: float) -> tuple[Lesion, ...]:
    """The longest measurable lesions, at most two, longest first; never a hardly plausible one."""
    least_mm = least_target_mm(slice_mm)
    fit = [
        lesion
        for lesion in lesions
        if lesion.longest_axial_diameter_mm >= least_mm and lesion.implausible is None
    ]
    fit.sort(key=lambda lesion: -lesion.longest_axial_diameter_mm)
    return tuple(fit[:MOST_TARGETS])


@dataclass(frozen=True)
class Response:
    """The change of the targets' sum, and the category that it would be if the reader agrees.

    baseline_mm, followup_mm: sums of the longest diameters in whole mm. category: "" without a
    target at baseline. new_lesions: their numbers at follow-up, of which one that the reader
    confirms is progressive disease.
    """

    baseline_mm: int
    followup_mm: int
    category: str
    new_lesions: tuple[int, ...]

    @property
    def percent(self) -> float | None:
        """Change of the sum; None without a target."""
        return 100 * (self.followup_mm / self.baseline_mm - 1) if self.baseline_mm else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        percent = self.percent
        return {
            "baseline_sum_mm": self.baseline_mm,
            "followup_sum_mm": self.followup_mm,
            "change_percent": None if percent is None else round(percent, 1),
            "category_of_targets": self.category or None,
            "new_lesions_to_be_confirmed": list(self.new_lesions),
        }


def response_of(
    baseline_mm: Sequence[int], followup_mm: Sequence[int], new_lesions: Sequence[int] = ()
) -> Response:
    """The response of targets, each one's longest diameter on both dates (0: gone), section 4.3.1.

    The baseline stands for the smallest sum so far: of more dates nothing is known here.
    """
    before, after = sum(baseline_mm), sum(followup_mm)
    if not baseline_mm:
        category = ""
    elif after == 0:
        category = "complete response"
    elif after >= PROGRESS * before and after - before >= LEAST_PROGRESS_MM:
        category = "progressive disease"
    elif after <= PARTIAL * before:
        category = "partial response"
    else:
        category = "stable disease"
    return Response(before, after, category, tuple(new_lesions))
