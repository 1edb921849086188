"""RECIST 1.1 as far as it concerns the liver alone; an aid, for the reader decides.

Eisenhauer et al., European Journal of Cancer 45 (2009) 228-247. Target lesions: section 4.3.1, at
most two an organ, the largest. Measurable: section 3.1, at least 10 mm along the longest diameter,
and at least two slices. Response: section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable

from .lesions import Lesion

MOST_TARGETS = 2
LEAST_TARGET_MM = 10.0
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
