"""Which lesion of the follow-up is which of the baseline, and which are new, gone, split or merged.

    links = match(baseline_lesions, followup_lesions, registration)

One to one by assignment (Hungarian method) on how far two lesions cover each other and how near
their centers lie; what remains and lies inside a matched lesion is a part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.result.overview.scene import OverviewScene

from .change import Link
from .registration import Matrix, Points, Registration, moved

Array = NDArray[Any]

MOST_POINTS = 1500  # of a lesion that are looked at
LEAST_REACH_MM, MOST_REACH_MM = 5.0, 10.0  # how far apart the same lesion may lie on two dates
NEAR_MM = 10.0  # at which distance of the centers nearness has fallen to a third
PART = 0.5  # share of a lesion inside another from which on it is a part of it


@dataclass(frozen=True, eq=False)
class PlacedLesions:
    """The lesions of one date in the patient.

    points_ras_mm: some voxel centers of each, in the order of their numbers from 1.
    """

    points_ras_mm: tuple[Points, ...]
    numbers_kji: NDArray[np.int32]
    box_start_ijk: Array
    ras_to_ijk: Matrix

    @classmethod
    def of(cls, case: OverviewScene) -> PlacedLesions:
        """The lesions of a case, numbered as in its measures."""
        place = case.ct.ijk_to_ras
        if case.lesions is None or case.box is None:
            empty = np.zeros((0, 0, 0), np.int32)
            return cls((), empty, np.zeros(3, int), np.linalg.inv(place))
        from scipy import ndimage

        start_ijk = np.array([side.start for side in case.box[::-1]])
        points = []
        for number, box in enumerate(ndimage.find_objects(case.lesions), start=1):
            found = np.argwhere(case.lesions[box] == number) + [side.start for side in box]
            some = found[:: len(found) // MOST_POINTS + 1]
            points.append(moved(place, (some[:, ::-1] + start_ijk).astype(np.float64)))
        return cls(tuple(points), case.lesions, start_ijk, np.linalg.inv(place))

    def __len__(self) -> int:
        return len(self.points_ras_mm)

    def numbers_at(self, points_ras_mm: Points) -> NDArray[np.int32]:
        """The lesion at each point, 0 where there is none."""
        ijk = np.rint(moved(self.ras_to_ijk, points_ras_mm)).astype(int) - self.box_start_ijk
        within = ((ijk >= 0) & (ijk < self.numbers_kji.shape[::-1])).all(axis=1)
        numbers = np.zeros(len(ijk), np.int32)
        i, j, k = ijk[within].T
        numbers[within] = self.numbers_kji[k, j, i]
        return numbers


def match(
    baseline: PlacedLesions, followup: PlacedLesions, registration: Registration
) -> tuple[Link, ...]:
    """Every lesion of both dates in exactly one link; by baseline number, the new ones last."""
    inside_followup = _shares(baseline, followup, registration.to_followup)
    inside_baseline = _shares(followup, baseline, registration.to_baseline).T
    pairs = _pairs(baseline, followup, registration, np.maximum(inside_followup, inside_baseline))
    links = {b: ([b], [f]) for b, f in pairs}
    partner = {f: b for b, f in pairs}
    new = list[Link]()
    for f in sorted(set(range(len(followup))) - partner.keys()):
        whole = max(partner.values(), key=lambda b: inside_baseline[b, f], default=None)
        if whole is not None and inside_baseline[whole, f] >= PART:
            links[whole][1].append(f)
        else:
            new.append(_link([], [f]))
    for b in sorted(set(range(len(baseline))) - set(partner.values())):
        whole = max(partner, key=lambda f: inside_followup[b, f], default=None)
        if whole is not None and inside_followup[b, whole] >= PART:
            links[partner[whole]][0].append(b)
        else:
            links[b] = ([b], [])
    return (*(_link(*links[b]) for b in sorted(links)), *new)


def _link(baseline: Sequence[int], followup: Sequence[int]) -> Link:
    return Link(tuple(sorted(b + 1 for b in baseline)), tuple(sorted(f + 1 for f in followup)))


def _shares(lesions: PlacedLesions, others: PlacedLesions, movement: Matrix) -> NDArray[np.float64]:
    """(lesions, others): which share of each lesion lies in each of the others, once moved."""
    shares = np.zeros((len(lesions), len(others)))
    for n, points in enumerate(lesions.points_ras_mm):
        found = np.bincount(others.numbers_at(moved(movement, points)), minlength=len(others) + 1)
        shares[n] = found[1:] / len(points)
    return shares


def _pairs(
    baseline: PlacedLesions, followup: PlacedLesions, registration: Registration, overlap: Array
) -> list[tuple[int, int]]:
    """One to one: the pairing that covers most and lies nearest, of pairs within reach."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial import cKDTree

    reach_mm = float(np.clip(2 * registration.mean_mm, LEAST_REACH_MM, MOST_REACH_MM))
    likeness = np.zeros_like(overlap)
    there = [registration.apply(points) for points in baseline.points_ras_mm]
    trees = [cKDTree(points) for points in followup.points_ras_mm]
    for b, f in np.ndindex(*overlap.shape):
        centers_mm = there[b].mean(axis=0), followup.points_ras_mm[f].mean(axis=0)
        apart_mm = float(np.linalg.norm(centers_mm[0] - centers_mm[1]))
        gap_mm = float(np.min(trees[f].query(there[b])[0])) if overlap[b, f] == 0 else 0.0
        if gap_mm <= reach_mm:
            likeness[b, f] = overlap[b, f] + np.exp(-apart_mm / NEAR_MM)
    rows, columns = linear_sum_assignment(likeness, maximize=True)
    return [(int(b), int(f)) for b, f in zip(rows, columns, strict=True) if likeness[b, f] > 0]
