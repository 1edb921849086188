"""Parts of the liver that somebody else outlined: how large each is, and which lesion lies in it.

    measured = measure_parts(labels_kji, lesions_kji, [("II", mask), ("III", mask)], voxel_ml)
    measured.parts[0].without_tumor_ml
    measured.part_of_lesion[1]

Couinaud's segments, lobes, or the remnant of a resection plan: what counts is only what lies in
this liver, so that all parts of one kind add up to it. Parts may overlap, a lobe and its segments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import bounding_box

Mask = NDArray[np.bool_]
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
    liver, tumor = labels_kji[box] > 0, labels_kji[box] == Label.TUMOR
    lesions = lesions_kji[box]
    healthy = int(np.count_nonzero(liver) - np.count_nonzero(tumor))
    most = np.zeros(int(lesions.max()) + 1, np.int64)  # of each lesion, in the part that has most
    holder: dict[int, str] = {}
    held, found = np.zeros_like(liver), []
    for name, mask in parts:
        inside = mask[box] & liver
        voxels, everywhere = np.count_nonzero(inside), np.count_nonzero(mask)
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
