"""What has changed between two dates, of lesions that are already matched: numbers alone.

    change = change_of(links, baseline_lesions, followup_lesions)
    change.rows, change.response

A panel that corrects a match by hand computes the change anew from here, without any image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from LiverTumorSegLib.result.recist import LEAST_TARGET_MM, Response, response_of

GROWN, LEAST_GROWTH_MM, SHRUNK = 1.2, 5.0, 0.7  # RECIST 1.1, section 4.3.1, of one lesion
GROWN_VOLUME, SHRUNK_VOLUME = GROWN**3, SHRUNK**3  # a sphere's then, asked from 10 mm on
DIGITS = 6  # of what is computed with again: sums of targets must not depend on the way they went
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
class Link:
    """Lesions that are the same: numbers at baseline and at follow-up, largest first.

    None at baseline: new. None at follow-up: gone. Several: merged, or split.
    """

    baseline: tuple[int, ...]
    followup: tuple[int, ...]

    @property
    def is_pair(self) -> bool:
        """Whether it has lesions of both dates."""
        return bool(self.baseline and self.followup)


@dataclass(frozen=True)
class DatedLesion:
    """One lesion on one date, with all that a change is computed from.

    target: chosen as one at baseline. may_progress: seen at follow-up alone, it is progression if
    the reader confirms it.
    """

    number: int
    volume_ml: float
    longest_mm: float
    center_ras_mm: tuple[float, float, float]
    target: bool = False
    may_progress: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "number": self.number,
            "volume_ml": round(self.volume_ml, DIGITS),
            "longest_mm": round(self.longest_mm, DIGITS),
            "center_ras_mm": [round(mm, 2) for mm in self.center_ras_mm],
            "target": self.target,
            "may_progress": self.may_progress,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DatedLesion:
        """The lesion of ``to_dict``."""
        r, a, s = values["center_ras_mm"]
        return cls(**{**values, "center_ras_mm": (r, a, s)})


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
        if len(self.followup) > 1 and self.baseline:
            return f"{self.kind}, split in {len(self.followup)}"
        if len(self.baseline) > 1 and self.followup:
            return f"{self.kind}, merged of {len(self.baseline)}"
        return self.kind

    @property
    def kind(self) -> str:
        """new, gone, grown, shrunk or unchanged: by the longest diameter, else by the volume."""
        if not self.baseline:
            return "new"
        if not self.followup:
            return "gone"
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
        """Change of the longest diameter; None without a baseline."""
        return 100 * (self.followup_mm / self.baseline_mm - 1) if self.baseline_mm else None

    def to_dict(self) -> dict[str, Any]:
        """The row as a dictionary with the keys COLUMNS; numbers of lesions as text, "1+3" where
        there are several.
        """
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


def read_links(rows: Iterable[Mapping[str, Any]]) -> tuple[Link, ...]:
    """The matches of rows as ``Row.to_dict`` writes them."""
    return tuple(Link(_numbers(row["baseline"]), _numbers(row["followup"])) for row in rows)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("+") if number)


@dataclass(frozen=True)
class Change:
    """A row for each match, and the RECIST response of the targets."""

    rows: tuple[Row, ...]
    response: Response


def change_of(
    links: Iterable[Link], baseline: Sequence[DatedLesion], followup: Sequence[DatedLesion]
) -> Change:
    """Measure what has changed; the lesions of each date in the order of their numbers from 1."""
    rows = tuple(_row(link, baseline, followup) for link in links)
    new = [row.followup[0] for row in rows if not row.baseline]
    targets = [row for row in rows if row.target]
    response = response_of(
        [round(row.baseline_mm) for row in targets],
        [round(row.followup_mm) for row in targets],
        new_lesions=[number for number in new if followup[number - 1].may_progress],
    )
    return Change(rows, response)


def _row(link: Link, baseline: Sequence[DatedLesion], followup: Sequence[DatedLesion]) -> Row:
    before = [baseline[number - 1] for number in link.baseline]
    after = [followup[number - 1] for number in link.followup]
    return Row(
        link.baseline,
        link.followup,
        sum(lesion.volume_ml for lesion in before),
        sum(lesion.volume_ml for lesion in after),
        sum(lesion.longest_mm for lesion in before),
        sum(lesion.longest_mm for lesion in after),
        any(lesion.target for lesion in before),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
