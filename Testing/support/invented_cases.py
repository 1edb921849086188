"""Invented cases for the tests of splits, and what must hold of every split of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from random import Random

from training.cases.case import SET_NAMES, Case, Kind, SetName, default_group
from training.cases.splits import Split


def case(name: str, group: str, split: SetName | None = None) -> Case:
    kind: Kind = "context" if name.endswith("-context") else "case"
    return Case(name, Path(f"volume-{name}.nii"), None, group, split, kind)


def patients(count: int, scans: int = 1) -> list[Case]:
    """Every third patient has a context file beside the first scan."""
    cases = []
    for patient in range(count):
        names = [str(patient * scans + scan) for scan in range(scans)]
        names += [f"{names[0]}-context"] * (patient % 3 == 0)
        cases += [case(name, f"patient {patient}") for name in names]
    return cases


def crowd(seed: int) -> list[Case]:
    """Thirty patients of one to four scans."""
    rng = Random(seed)
    scans = [patient for patient in range(30) for _ in range(rng.choice((1, 1, 1, 2, 4)))]
    return [case(str(number), f"patient {patient}") for number, patient in enumerate(scans)]


def some_ml(cases: list[Case], seed: int = 0) -> dict[str, float]:
    rng = Random(seed)
    return {c.name: rng.choice((0.0, rng.expovariate(0.05))) for c in cases}


def groups_of(split: Split, set_name: str) -> set[str]:
    return {split.groups[name] for name in split.names(set_name)}


def volumes_of(split: Split, set_name: str) -> list[str]:
    return [name for name in split.names(set_name) if "context" not in name]


def assert_sound(split: Split, cases: list[Case]) -> None:
    """Every case in exactly one set, and no patient in two."""
    names = [name for set_name in SET_NAMES for name in split.names(set_name)]
    assert sorted(names) == sorted(c.name for c in cases)
    groups = [groups_of(split, set_name) for set_name in SET_NAMES]
    assert sum(map(len, groups)) == len(set().union(*groups))


def lits_cases(numbers: Iterable[int]) -> list[Case]:
    """With the groups that are known of LiTS."""
    return [case(str(n), default_group(n)) for n in numbers]


def table_cases() -> list[Case]:
    return [
        case("1", "anna", "train"),
        case("2", "ben", "val"),
        case("3", "anna", "train"),
        case("3-context", "anna", "train"),
        case("10", "cleo", "test"),
    ]
