"""Contrast phases, and the phase of a CT by the texts and times of its header.

    phase_of_words("Abd Portalvenoes 1.0 B30f")     # "portal-venous"
    phase_of_delay(70.0)                            # "portal-venous"

Scanners store no phase. An operator types it into the series' description, in any language and
spelling; what names two phases, or none, says nothing.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Phase = Literal["unenhanced", "arterial", "portal-venous", "late", "unknown"]

WORDS: dict[Phase, str] = {
    "unenhanced": r"non ?contrast|no contrast|without|un ?enhanced|nativ|\bplain\b|\bw o\b|\bwo\b"
    r"|\bncc?t\b|\bnect\b|pre ?contrast|\bohne\b|\bsans\b|\bsin\b",
    "arterial": r"arter|\bart\b|\bhap\b|\bcta\b|angio",
    "portal-venous": r"porta?l|\bporto|\bpvp?\b|venous|\bven\b|venos|venoes|veneus|veineux",
    "late": r"delay|equilib|excret|\bspaet|\bspat(e|phase)|tardi|\b(3|5|10|15) ?min\b",
}
LATE = r"\blate\b"  # alone it is a phase; "late arterial" and "late portal" are those
DELAY_S: dict[Phase, tuple[float, float]] = {  # after the injection began
    "arterial": (15.0, 50.0),
    "portal-venous": (55.0, 110.0),
    "late": (150.0, 1200.0),
}


def phase_of_words(text: str) -> Phase:
    """The one phase that a text names; "unknown" for none and for several."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = re.sub(r"[^a-z0-9]+", " ", plain)
    named = [phase for phase, pattern in WORDS.items() if re.search(pattern, plain)]
    if not named and re.search(LATE, plain):
        return "late"
    return named[0] if len(named) == 1 else "unknown"


def phase_of_delay(seconds: float) -> Phase:
    """The phase by the seconds from injection to CT; "unknown" for a delay that cannot be right."""
    found: list[Phase] = [phase for phase, (low, high) in DELAY_S.items() if low <= seconds <= high]
    return found[0] if found else "unknown"
