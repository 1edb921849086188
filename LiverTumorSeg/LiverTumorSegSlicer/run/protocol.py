"""The child's JSON lines (LiverTumorSegLib/cli/progress.py) among what else it prints."""

from __future__ import annotations

import json
from typing import Any

EVENT_START = '{"event":'


def eventOf(line: str) -> dict[str, Any] | None:
    """The event in a line of the child's output; None for output of other libraries.

    A library may have begun the line, or end it.
    """
    start = line.find(EVENT_START)
    if start < 0:
        return None
    try:
        values, _end = json.JSONDecoder().raw_decode(line[start:])
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
