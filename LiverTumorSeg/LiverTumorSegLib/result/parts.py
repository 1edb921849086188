"""Parts of the liver that somebody else outlined: how large each is, and which lesion lies in it.

    measured = measure_parts(labels_kji, lesions_kji, [("II", mask), ("III", mask)], voxel_ml)
    measured.parts[0].without_tumor_ml
    measured.part_of_lesion[1]

Couinaud's segments, lobes, or the remnant of a resection plan: what counts is only what lies in
this liver, so that all parts of one kind add up to it. Parts may overlap, a lobe and its segments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import bounding_box

from .lesions import labels_sha256

Mask = NDArray[np.bool_]
PART_NAME = re.compile(  # I to VIII, liver_segment_4 (TotalSegmentator), left lobe, remnant
    r"(?:(?:liver|hepatic|couinaud)[\s_-]*)*(?:(?:segment|seg\.?|s)[\s_-]*)?"
    r"(?:[1-8]|4[ab]|I{1,3}|IV[ab]?|VI{0,3})"
    r"|.*(?:liver|hepatic).*segment(?!a).*|.*segment(?!a).*(?:liver|hepatic).*"
    r"|.*(?:lobe|caudate|hemiliver|remnant|flr|resect|territory|sector).*",
    re.IGNORECASE,
)
LEAST_INSIDE = 0.5  # of a part's own voxels: what lies mostly elsewhere is no part of this liver


@dataclass(frozen=True)
class LiverPart:
    """One part, within the liver.

    volume_ml: with the tumors in it.
    share_percent: its volume without tumor, of the liver's without tumor, as a remnant is given;
        None when the liver is nothing but tumor.
    outside_ml: what was outlined of it beside the liver, which does not count.
    """

    name: str
    volume_ml: float
    without_tumor_ml: float
    share_percent: float | None
    outside_ml: float


class Outline(NamedTuple):
    """A part in the box of a liver. voxels: how many it has, those beside the box too."""

    name: str
    mask: Mask
    voxels: int


@dataclass(frozen=True)
class PartMeasures:
    """All parts in the order they came.

    in_no_part_ml: liver, with its tumors, that no part holds.
    part_of_lesion: of each lesion's number the part that holds most of it; lesions that no part
        touches are not there.
    """

    parts: tuple[LiverPart, ...]
    in_no_part_ml: float
    part_of_lesion: dict[int, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; which lesion lies where stands with the lesions."""
        parts = [
            {name: round(v, 4) if isinstance(v, float) else v for name, v in asdict(part).items()}
            for part in self.parts
        ]
        return {"parts": parts, "in_no_part_ml": round(self.in_no_part_ml, 4)}

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], part_of_lesion: dict[int, str]
    ) -> PartMeasures | None:
        """The parts of ``to_dict``; None for what somebody else has written."""
        try:
            parts = tuple(_part_from(one) for one in values["parts"])
            return cls(parts, float(values["in_no_part_ml"]), part_of_lesion)
        except (KeyError, TypeError, ValueError):
            return None


def with_parts(
    record: dict[str, Any], parts: PartMeasures | None, labels_kji: NDArray[np.uint8]
) -> dict[str, Any]:
    """A record (lesions.json) with the part of each lesion and the table of parts of its labels;
    None leaves it as it is."""
    if parts is None:
        return record
    table = {**parts.to_dict(), "labels_sha256": labels_sha256(labels_kji)}
    rows = [{**row, "part": parts.part_of_lesion.get(row["number"])} for row in record["lesions"]]
    return {**record, "lesions": rows, "liver_parts": table}


def _part_from(values: Mapping[str, Any]) -> LiverPart:
    share = values["share_percent"]
    return LiverPart(
        name=str(values["name"]),
        volume_ml=float(values["volume_ml"]),
        without_tumor_ml=float(values["without_tumor_ml"]),
        share_percent=None if share is None else float(share),
        outside_ml=float(values["outside_ml"]),
    )


def measure_parts(
    labels_kji: NDArray[np.uint8],
    lesions_kji: NDArray[np.integer],
    parts: Iterable[tuple[str, Mask]],
    voxel_ml: float,
) -> PartMeasures:
    """Measure parts on the grid of a label map (0, 1, 2); all ``(k, j, i)``.

    lesions_kji: the number of each voxel's lesion, 0 for none. A part of which less than half lies
    in the liver is left out. Of equal shares of a lesion the first part has it.
    """
    box = bounding_box(labels_kji)
    if box is None:
        return PartMeasures((), 0.0, {})
    outlines = (Outline(name, mask[box], int(np.count_nonzero(mask))) for name, mask in parts)
    return measure_outlines(labels_kji[box], lesions_kji[box], outlines, voxel_ml)


def measure_outlines(
    labels: NDArray[np.uint8],
    lesions: NDArray[np.integer],
    parts: Iterable[Outline],
    voxel_ml: float,
) -> PartMeasures:
    """As :func:`measure_parts`, all arrays cut to one box that holds the liver."""
    liver, tumor = labels > 0, labels == Label.TUMOR
    healthy = int(np.count_nonzero(liver) - np.count_nonzero(tumor))
    most = np.zeros(int(lesions.max()) + 1, np.int64)  # of each lesion, in the part that has most
    holder: dict[int, str] = {}
    held, found = np.zeros_like(liver), []
    for name, mask, everywhere in parts:
        inside = mask & liver
        voxels = np.count_nonzero(inside)
        if not everywhere or voxels < LEAST_INSIDE * everywhere:
            continue
        held |= inside
        spared = int(voxels - np.count_nonzero(inside & tumor))
        found.append(
            LiverPart(
                name=name,
                volume_ml=voxels * voxel_ml,
                without_tumor_ml=spared * voxel_ml,
                share_percent=100.0 * spared / healthy if healthy else None,
                outside_ml=(everywhere - voxels) * voxel_ml,
            )
        )
        shares = np.bincount(lesions[inside], minlength=len(most))
        larger = np.flatnonzero(shares[1:] > most[1:]) + 1
        most[larger] = shares[larger]
        holder.update({int(number): name for number in larger})
    rest = int(np.count_nonzero(liver & ~held))
    return PartMeasures(tuple(found), rest * voxel_ml, dict(sorted(holder.items())))
