"""Stratified splits and folds: patients drawn evenly from small, medium and large tumors.

    sets = stratified_sets({"anna": 12.5, "ben": 0.0, ...}, weights, (8, 1, 2), seed=42)
    parts = stratified_folds({"anna": 12.5, "ben": 0.0, ...}, 5, seed=42)

Only names and numbers here: what a patient's scans are and where they go is
:mod:`training.split`. The same patients in any order give the same draw.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from training.cases.case import Case

TERTILES = 3
Three = tuple[float, float, float]


def largest_tumor_ml(cases: Iterable[Case], tumor_ml: Mapping[str, float]) -> dict[str, float]:
    """Tumor volume in ml of each patient group: its scan with most tumor speaks for it.

    tumor_ml: by case name; context files need none. Raises ``ValueError`` naming a case without.
    """
    largest: dict[str, float] = {}
    for case in cases:
        if case.kind != "case":
            continue
        volume_ml = tumor_ml.get(case.name, -1.0)
        if not 0 <= volume_ml < float("inf"):
            raise ValueError(
                f"{case.name} has no tumor volume; give its milliliters, 0 if it has no tumor."
            )
        largest[case.group] = max(largest.get(case.group, 0.0), volume_ml)
    return largest


def stratified_sets(
    sizes_ml: Mapping[str, float], weights: Mapping[str, int], targets: Three, seed: int
) -> dict[str, str]:
    """The set of each patient that was drawn for val or test; the others train.

    sizes_ml: tumor volume by patient. weights: what a patient counts (volumes, or 1).
    targets: how much weight train, val and test should have.
    """
    tertiles = _tertiles(sizes_ml, random.Random(seed))
    _, val, test = targets
    # Each draw goes on at the tertile where the one before stopped: val 1 and test 2 use all three.
    drawn = {"val": _draw(tertiles, weights, val, leave=1 + (test > 0))}
    drawn["test"] = _draw(tertiles, weights, test, leave=1)
    return {group: set_name for set_name, groups in drawn.items() for group in groups}


def stratified_folds(sizes_ml: Mapping[str, float], count: int, seed: int) -> list[list[str]]:
    """All patients in ``count`` parts of (nearly) equal numbers.

    Patients are lined up by tumor volume; of each ``count`` neighbors in that line every part gets
    one. So the parts hold alike many small, medium and large tumors.
    """
    rng = random.Random(seed)
    parts: list[list[str]] = [[] for _ in range(count)]
    by_size = _by_size(sizes_ml)
    for start in range(0, len(by_size), count):
        neighbors = by_size[start : start + count]
        for part, group in zip(rng.sample(parts, len(neighbors)), neighbors, strict=True):
            part.append(group)
    return parts


def _by_size(sizes_ml: Mapping[str, float]) -> list[str]:
    return sorted(sizes_ml, key=lambda group: (sizes_ml[group], group))


def _tertiles(sizes_ml: Mapping[str, float], rng: random.Random) -> list[list[str]]:
    """Patients of the smallest, middle and largest tumors; shuffled, and in shuffled order."""
    by_size = _by_size(sizes_ml)
    cuts = [round(len(by_size) * n / TERTILES) for n in range(TERTILES + 1)]
    tertiles = [by_size[cuts[n] : cuts[n + 1]] for n in range(TERTILES)]
    for tertile in tertiles:
        rng.shuffle(tertile)
    rng.shuffle(tertiles)
    return tertiles


def _draw(
    tertiles: list[list[str]], weights: Mapping[str, int], target: float, *, leave: int
) -> list[str]:
    """Take groups out of the tertiles in turn until their weights are as near target as can be.

    At least one when the target is above 0; leaves that many groups for the other sets.
    """
    taken: list[str] = []
    missing, refused = target, 0
    while refused < len(tertiles) and sum(map(len, tertiles)) > leave:
        tertile = tertiles[0]
        # A group of twice what is missing would leave the set as far off as it is.
        fitting = next((group for group in tertile if weights[group] < 2 * missing), None)
        tertiles.append(tertiles.pop(0))
        if fitting is None:
            refused += 1
            continue
        refused = 0
        tertile.remove(fitting)
        taken.append(fitting)
        missing -= weights[fitting]
    if target > 0 and not taken:
        taken.append(_take_lightest(tertiles, weights))
    return taken


def _take_lightest(tertiles: Sequence[list[str]], weights: Mapping[str, int]) -> str:
    tertile = min(filter(None, tertiles), key=lambda t: min(weights[g] for g in t))
    lightest = min(tertile, key=lambda group: weights[group])
    tertile.remove(lightest)
    return lightest
