"""Which slices the figures show, by rule and not by taste: from per-slice counts alone.

    tumor = {case: Overlap.of(slice_matrices(predicted, true), "tumor") for ...}
    choose_views(tumor, 6)      # six cases spread evenly from best to worst
    choose_ranked(tumor)        # best, quartiles and worst of all slices with tumor

So an evaluation keeps counts, and loads only the few slices that will be drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.score.voxels import Overlap

RANKS = ("best", "upper quartile", "median", "lower quartile", "worst")


@dataclass(frozen=True)
class SliceChoice:
    """A slice to load: ``slice_index`` along k of the case's per-slice counts."""

    case: str
    slice_index: int


def choose_views(tumor: Mapping[str, Overlap], count: int) -> list[SliceChoice]:
    """Each case's slice with the most true tumor, ``count`` of them, best tumor Dice first.

    tumor: case -> counts of the mask "tumor", a value a slice. The cases lie evenly in the order
    of that slice's Dice, the best and the worst among them. Cases without tumor do not take part;
    all that remain come when there are fewer than ``count``.
    """
    largest = [
        (case, int(np.argmax(overlap.true_voxels)))
        for case, overlap in tumor.items()
        if np.any(overlap.true_voxels > 0)
    ]
    largest.sort(key=lambda pair: (-tumor[pair[0]].dice[pair[1]], pair[0]))
    if len(largest) > count:
        largest = [largest[n] for n in np.linspace(0, len(largest) - 1, count).round().astype(int)]
    return [SliceChoice(case, k) for case, k in largest]


def choose_ranked(tumor: Mapping[str, Overlap]) -> dict[str, SliceChoice]:
    """Rank -> slice, best first, over all slices with true tumor, by tumor Dice.

    Among slices of equal Dice the one with more tumor counts as the worse, so that the worst of
    many that were missed is the largest miss; the best of equals is the one with more tumor too.
    Fewer than five slices give the ranks that differ. No tumor gives an empty dict.
    """
    rows = ranked_slices(tumor)
    if not rows:
        return {}
    places = np.linspace(0, len(rows) - 1, len(RANKS)).round().astype(int)
    chosen = {rank: rows[n] for rank, n in zip(RANKS, places, strict=True)}
    chosen["best"] = min(rows, key=lambda row: (-row[0], -row[1]))
    shown: dict[str, SliceChoice] = {}
    for rank, (_, _, case, k) in chosen.items():
        choice = SliceChoice(case, k)
        if choice not in shown.values():
            shown[rank] = choice
    return shown


def ranked_slices(tumor: Mapping[str, Overlap]) -> list[tuple[float, int, str, int]]:
    """(Dice, true voxels, case, slice) of all slices with true tumor, best first."""
    rows = [
        (float(overlap.dice[k]), int(overlap.true_voxels[k]), case, int(k))
        for case, overlap in tumor.items()
        for k in np.flatnonzero(overlap.true_voxels > 0)
    ]
    return sorted(rows, key=lambda row: (-row[0], row[1], row[2], row[3]))
