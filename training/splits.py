"""Which patients train, which choose the model, which are kept for the end.

    split = split_from_column(cases)                          # the table's own split column
    split = stratified_split(cases, check_cases(cases).tumor_ml)   # seed 42
    save_split(split, Path("split.json"))

Split by patient group, never by volume or slice: scans of one patient, and neighboring slices, are
nearly copies of each other. A context file goes where its scan goes.
"""

from __future__ import annotations

import json
import math
import os
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .lits import SET_NAMES, Case

PAPER_COUNTS = (8, 1, 2)  # patients in train, val, test of the hybrid2d paper (11 in all)
SHARES = (0.8, 0.1, 0.1)  # as the paper calls it; of volumes
TERTILES = 3
Three = tuple[float, float, float]


@dataclass(frozen=True)
class Split:
    """Case names (context files among them) of three sets that share no patient.

    seed: of the draw; ``None`` when it came from a table.
    groups: patient group of each name; what is not in it is a patient of its own.
    Raises ``ValueError`` when a name or a patient group is in two sets.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    seed: int | None = None
    groups: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [name for set_name in SET_NAMES for name in self.names(set_name)]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"{twice[0]} is in this split twice; put it in one set only.")
        _refuse_shared(
            (self.groups.get(name, name), set_name)
            for set_name in SET_NAMES
            for name in self.names(set_name)
        )

    def names(self, set_name: str) -> tuple[str, ...]:
        """The names in "train", "val" or "test"."""
        names: tuple[str, ...] = getattr(self, set_name)
        return names

    def text(self, cases: Iterable[Case]) -> str:
        """One line a set: volumes and patients, each with its share (they differ)."""
        cases = [case for case in cases if case.kind == "case"]
        lines = []
        for set_name in SET_NAMES:
            names = set(self.names(set_name))
            groups = {case.group for case in cases if case.name in names}
            volumes = sum(case.name in names for case in cases)
            volume_share = volumes / max(1, len(cases))
            group_share = len(groups) / max(1, len({case.group for case in cases}))
            lines.append(
                f"{set_name:<6}{volumes:>4} volumes ({volume_share:.0%}), "
                f"{len(groups)} patients ({group_share:.0%})"
            )
        return "\n".join(lines)


def assert_disjoint(cases: Iterable[Case]) -> None:
    """Raise ``ValueError`` naming a patient group whose cases are in two sets."""
    _refuse_shared((case.group, case.split) for case in cases if case.split is not None)


def _refuse_shared(pairs: Iterable[tuple[str, str]]) -> None:
    """pairs: (patient group, set)."""
    seen: dict[str, str] = {}
    for group, set_name in pairs:
        if seen.setdefault(group, set_name) != set_name:
            raise ValueError(
                f"Patient group {group} is in {seen[group]} and in {set_name}; "
                "put all its scans in one set."
            )


def split_from_column(cases: Sequence[Case]) -> Split:
    """The split that the cases' table asks for, checked to share no patient."""
    for case in cases:
        if case.split is None:
            raise ValueError(
                f"{case.ct.name} has no split; fill the table's split column, or use "
                "stratified_split."
            )
    return _split(cases, {case.name: str(case.split) for case in cases}, None)


def stratified_split(
    cases: Sequence[Case],
    tumor_ml: Mapping[str, float],
    *,
    seed: int = 42,
    shares: Three | None = None,
    counts: tuple[int, int, int] | None = None,
) -> Split:
    """Draw whole patients, as evenly from small, medium and large tumors as the numbers allow.

    tumor_ml: by case name; the largest scan speaks for a patient. Context files need none.
    shares: of the volumes for train, val, test; each set comes as near as whole patients let it.
    counts: numbers of patients instead. Default: the paper's 8, 1, 2 for eleven patients, else
    80, 10 and 10 percent of the volumes.
    The same cases in any order give the same split. Raises ``ValueError`` for numbers that do
    not add up and for too few patients.
    """
    groups = sorted({case.group for case in cases if case.kind == "case"})
    weights = Counter(case.group for case in cases if case.kind == "case")
    if shares is not None and counts is not None:
        raise ValueError("Shares and counts exclude each other; give one of them.")
    if shares is None and counts is None and len(groups) == sum(PAPER_COUNTS):
        counts = PAPER_COUNTS
    if counts is not None:
        weights = Counter(groups)
    targets = _targets(len(groups), weights.total(), shares or SHARES, counts)
    sets = _draw_sets(_tertiles(groups, cases, tumor_ml, random.Random(seed)), weights, targets)
    # What was not drawn trains, patients of whom there are only context files among them.
    return _split(cases, {case.name: sets.get(case.group, "train") for case in cases}, seed)


def _targets(
    groups: int, volumes: int, shares: Three, counts: tuple[int, int, int] | None
) -> Three:
    """How many patients (counts given) or volumes (shares) each set should have."""
    asked = shares if counts is None else counts
    if len(asked) != 3 or min(asked) < 0 or asked[0] == 0:
        raise ValueError("Give three numbers (train, val, test), none below 0 and train above 0.")
    if groups < sum(number > 0 for number in asked):
        raise ValueError(
            f"{groups} patients are too few for these sets; add patients or leave a set out with 0."
        )
    if counts is not None:
        if sum(counts) != groups:
            raise ValueError(
                f"The counts add up to {sum(counts)} but there are {groups} patient groups; "
                "make them equal."
            )
        return counts
    if not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ValueError(f"The shares add up to {sum(shares):g}; make them add up to 1.")
    train, val, test = (share * volumes for share in shares)
    return train, val, test


def _tertiles(
    groups: Sequence[str],
    cases: Iterable[Case],
    tumor_ml: Mapping[str, float],
    rng: random.Random,
) -> list[list[str]]:
    """Patients of the smallest, middle and largest tumors; shuffled, and in shuffled order."""
    largest_ml = dict.fromkeys(groups, 0.0)
    for case in cases:
        if case.kind != "case":
            continue
        volume_ml = tumor_ml.get(case.name, math.nan)
        if not (math.isfinite(volume_ml) and volume_ml >= 0):
            raise ValueError(
                f"{case.name} has no tumor volume; give its milliliters, 0 if it has no tumor."
            )
        largest_ml[case.group] = max(largest_ml[case.group], volume_ml)
    by_size = sorted(groups, key=lambda group: (largest_ml[group], group))
    cuts = [round(len(by_size) * n / TERTILES) for n in range(TERTILES + 1)]
    tertiles = [by_size[cuts[n] : cuts[n + 1]] for n in range(TERTILES)]
    for tertile in tertiles:
        rng.shuffle(tertile)
    rng.shuffle(tertiles)
    return tertiles


def _draw_sets(
    tertiles: list[list[str]], weights: Mapping[str, int], targets: Three
) -> dict[str, str]:
    """The set of each patient group that was drawn for val or test."""
    _, val, test = targets
    # Each draw goes on at the tertile where the one before stopped: val 1 and test 2 use all three.
    drawn = {"val": _draw(tertiles, weights, val, leave=1 + (test > 0))}
    drawn["test"] = _draw(tertiles, weights, test, leave=1)
    return {group: set_name for set_name, groups in drawn.items() for group in groups}


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
        tertile = min(filter(None, tertiles), key=lambda t: min(weights[g] for g in t))
        taken.append(min(tertile, key=lambda group: weights[group]))
        tertile.remove(taken[0])
    return taken


def _split(cases: Sequence[Case], sets: Mapping[str, str], seed: int | None) -> Split:
    """sets: by case name."""
    train, val, test = (
        tuple(case.name for case in sorted(cases, key=_order) if sets[case.name] == set_name)
        for set_name in SET_NAMES
    )
    groups = {case.name: case.group for case in sorted(cases, key=_order)}
    return Split(train, val, test, seed, groups)


def _order(case: Case) -> tuple[int, str]:
    return case.number, case.name


def save_split(split: Split, path: Path) -> None:
    """Write a split as JSON; the file appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(asdict(split), indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_split(path: Path) -> Split:
    """Read what :func:`save_split` wrote; ``ValueError`` if it is no split or shares a patient."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError(f"{path.name} cannot be read; check its name and folder.") from None
    except ValueError:
        raise ValueError(f"{path.name} is no JSON text; save the split again.") from None
    if not _is_split(content):
        raise ValueError(
            f"{path.name} is no split; it needs lists of names train, val and test, and may have "
            "seed and groups."
        )
    train, val, test = (tuple(content[set_name]) for set_name in SET_NAMES)
    return Split(train, val, test, content.get("seed"), content.get("groups", {}))


def _is_split(content: object) -> bool:
    if not isinstance(content, dict) or content.keys() - {*SET_NAMES, "seed", "groups"}:
        return False
    lists = [content.get(set_name) for set_name in SET_NAMES]
    groups = content.get("groups", {})
    return (
        all(isinstance(names, list) and all(isinstance(n, str) for n in names) for names in lists)
        and isinstance(content.get("seed"), int | None)
        and isinstance(groups, dict)
        and all(isinstance(group, str) for group in groups.values())
    )
