"""Numbers and counts as sentences and tables show them."""

from __future__ import annotations

import math

NOT_DEFINED = "n/a"


def number(value: float | None, digits: int = 3) -> str:
    """A value, or n/a where it is not defined."""
    if value is None or not math.isfinite(value):
        return NOT_DEFINED
    return f"{value:.{digits}f}"


def plural(count: int, thing: str) -> str:
    """1 volume, 2 volumes, 1,200 voxels."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
