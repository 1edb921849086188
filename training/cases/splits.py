"""Splits: which patients train, which choose the model (val), which test it at the end.

    split = split_from_column(cases)                          # the table's own split column
    split = stratified_split(cases, check_cases(cases).tumor_ml)   # seed 42
    save_split(split, Path("split.json"))

Split by patient group, never by volume or slice: scans of one patient, and neighboring slices, are
nearly copies of each other. A context file goes where its scan goes. ``group_by="volume"`` is there
to show what leaking does to a score, and what it gives says so wherever it is stored.

Test cases that others have published have a name (:func:`named_split`). The patients of a named
test set are in no other set: both stages of a cascade, trained and chosen on such a split, have
never seen them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, cast, get_args

from LiverTumorSegLib.files import read_json

from training.cases.case import SET_NAMES, Case, SetName, ircad_patient
from training.cases.stratified import Three, largest_tumor_ml, stratified_folds, stratified_sets
from training.files import write_text

PAPER_COUNTS = (8, 1, 2)  # patients in train, val, test of the hybrid2d paper (11 in all)
SHARES = (0.8, 0.1, 0.1)  # as the paper calls it; of volumes
VAL_SHARE = 0.1  # of the volumes that a named test set leaves for training
FEWEST_FOLDS = 3  # one part tests, one validates, the others train
GroupBy = Literal["patient", "volume"]
SPLIT_KEYS = {*SET_NAMES, "seed", "groups", "group_by"}


@dataclass(frozen=True)
class Split:
    """Case names (context files among them) of three sets that share no patient.

    seed: of the draw; ``None`` when it came from a table or lists.
    groups: patient group of each name; what is not in it is a patient of its own.
    group_by: "volume" marks a split that may put scans of one patient into several sets: leaking,
        for comparison only.
    Raises ``ValueError`` when a name is in two sets, or, unless so marked, a patient group.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    seed: int | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    group_by: GroupBy = "patient"

    def __post_init__(self) -> None:
        names = [name for set_name in SET_NAMES for name in self.names(set_name)]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"{twice[0]} is in this split twice; put it in one set only.")
        if self.group_by == "patient":
            _refuse_shared(self._groups_and_sets())

    def names(self, set_name: str) -> tuple[str, ...]:
        """The names in "train", "val" or "test"."""
        names: tuple[str, ...] = getattr(self, set_name)
        return names

    @property
    def shared_groups(self) -> list[str]:
        """Patient groups with scans in more than one set; empty unless split by volume."""
        sets = Counter(group for group, _ in set(self._groups_and_sets()))
        return sorted(group for group, count in sets.items() if count > 1)

    @property
    def warning(self) -> str:
        """The warning beside every score from a split by volume; empty for one by patient."""
        if self.group_by == "patient":
            return ""
        return (
            f"Split by volume, not by patient: {len(self.shared_groups)} patients have scans in"
            " more than one set, so scores from it are leaking; use them to show that and nothing"
            " else."
        )

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

    def _groups_and_sets(self) -> list[tuple[str, str]]:
        return [
            (self.groups.get(name, name), set_name)
            for set_name in SET_NAMES
            for name in self.names(set_name)
        ]


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


def departure_from_table(split: Split, cases: Iterable[Case]) -> str:
    """A sentence on how a split departs from the table's; "" where the two agree.

    A test patient of the table in the training set is what makes later scores incomparable.
    """
    now = {name: set_name for set_name in SET_NAMES for name in split.names(set_name)}
    known = [case for case in cases if case.kind == "case" and case.split is not None]
    moved = [case for case in known if now.get(case.name) != case.split]
    if not moved:
        return ""
    tested = [case for case in known if case.split == "test"]
    trained = sum(now.get(case.name) == "train" for case in tested)
    return (
        f"The table has sets of its own, and this split overrides them for {len(moved)} of its"
        f" {len(known)} volumes; {trained} of its {len(tested)} test volumes are for training now."
        " Scores on the two are not comparable; --from-table takes the table's."
    )


def split_from_column(cases: Sequence[Case], *, group_by: GroupBy = "patient") -> Split:
    """The split that the cases' table asks for, checked to share no patient."""
    for case in cases:
        if case.split is None:
            raise ValueError(
                f"{case.file} has no split; fill the table's split column, or use stratified_split."
            )
    return _split(cases, {case.name: str(case.split) for case in cases}, None, group_by)


def split_from_lists(
    cases: Sequence[Case], lists: Mapping[str, Collection[str]], *, group_by: GroupBy = "patient"
) -> Split:
    """The split that somebody wrote down; cases in no list are left out.

    lists: names or file names of cases by set. Context files that are in none follow their scans.
    Raises ``ValueError`` for an unknown name, one that is listed twice, and shared patients.
    """
    by_shown = {shown: case.name for case in cases for shown in (case.name, case.file)}
    sets: dict[str, str] = {}
    for set_name in SET_NAMES:
        for shown in lists.get(set_name, ()):
            if shown not in by_shown:
                raise ValueError(
                    f"The lists name {shown}, which is not in the folder; "
                    "use the names that python -m training.check shows."
                )
            if by_shown[shown] in sets:
                raise ValueError(f"The lists name {shown} twice; put it in one set only.")
            sets[by_shown[shown]] = set_name
    return _split(cases, _with_context(cases, sets), None, group_by)


def stratified_split(
    cases: Sequence[Case],
    tumor_ml: Mapping[str, float],
    *,
    seed: int = 42,
    shares: Three | None = None,
    counts: tuple[int, int, int] | None = None,
    group_by: GroupBy = "patient",
) -> Split:
    """Draw whole patients, as evenly from small, medium and large tumors as the numbers allow.

    tumor_ml: by case name; the largest scan speaks for a patient. Context files need none.
    shares: of the volumes for train, val, test; each set comes as near as whole patients let it.
    counts: numbers of patients instead. Default: the paper's 8, 1, 2 for eleven patients, else
    80, 10 and 10 percent of the volumes.
    The same cases in any order give the same split. Raises ``ValueError`` for numbers that do
    not add up and for too few patients.
    """
    drawn = _by_group(cases, group_by)
    weights = Counter(case.group for case in drawn if case.kind == "case")
    if shares is not None and counts is not None:
        raise ValueError("Shares and counts exclude each other; give one of them.")
    if shares is None and counts is None and len(weights) == sum(PAPER_COUNTS):
        counts = PAPER_COUNTS
    if counts is not None:
        weights = Counter(weights.keys())
    targets = _targets(len(weights), weights.total(), shares or SHARES, counts)
    sets = stratified_sets(largest_tumor_ml(drawn, tumor_ml), weights, targets, seed)
    # What was not drawn trains, patients of whom there are only context files among them.
    by_name = {case.name: sets.get(case.group, "train") for case in drawn}
    return _split(cases, by_name, seed, group_by)


def kfold_splits(
    cases: Sequence[Case],
    tumor_ml: Mapping[str, float],
    folds: int,
    *,
    seed: int = 42,
    group_by: GroupBy = "patient",
) -> list[Split]:
    """One split for each fold: every patient tests once, validates once and trains otherwise.

    The patients are dealt into ``folds`` parts, each with as many small, medium and large tumors as
    the others. Fold n tests on part n, validates on the part after it (the first after the last)
    and trains on the rest: 60, 20 and 20 percent of the patients for 5 folds, 80, 10 and 10 for 10.
    Raises ``ValueError`` for fewer than 3 folds or more than there are patients.
    """
    drawn = _by_group(cases, group_by)
    sizes_ml = largest_tumor_ml(drawn, tumor_ml)
    if not FEWEST_FOLDS <= folds <= len(sizes_ml):
        raise ValueError(
            f"{folds} folds of {len(sizes_ml)} patients cannot be made; give a number from "
            f"{FEWEST_FOLDS} up to that of the patients."
        )
    parts = stratified_folds(sizes_ml, folds, seed)
    splits = []
    for n in range(folds):
        sets = dict.fromkeys(parts[n], "test") | dict.fromkeys(parts[(n + 1) % folds], "val")
        by_name = {case.name: sets.get(case.group, "train") for case in drawn}
        splits.append(_split(cases, by_name, seed, group_by))
    return splits


def apply_split(split: Split, cases: Sequence[Case]) -> list[Case]:
    """The cases of a split, each with its set in ``Case.split``; others are left out.

    A context file that the split does not name follows its scan. Raises ``ValueError`` for a name
    that no case has, and when the cases' own groups share a patient between sets, unless the split
    is marked to be by volume.
    """
    sets: dict[str, str] = {
        name: set_name for set_name in SET_NAMES for name in split.names(set_name)
    }
    if missing := sorted(sets.keys() - {case.name for case in cases}):
        raise ValueError(
            f"The split names {missing[0]}, which is not in the folder; "
            "give the folder that the split was made of."
        )
    sets = _with_context(cases, sets)
    applied = [
        replace(case, split=cast(SetName, sets[case.name])) for case in cases if case.name in sets
    ]
    if split.group_by == "patient":
        assert_disjoint(applied)
    return applied


def _by_group(cases: Sequence[Case], group_by: GroupBy) -> list[Case]:
    """The cases with the group that the draw keeps together."""
    if group_by == "patient":
        return list(cases)
    return [replace(case, group=str(case.number)) for case in cases]


def _with_context(cases: Iterable[Case], sets: Mapping[str, str]) -> dict[str, str]:
    """Sets by name, and for context files that have none that of their scan."""
    followers = {
        case.name: sets[str(case.number)]
        for case in cases
        if case.kind == "context" and str(case.number) in sets
    }
    return {**followers, **sets}


def _targets(
    groups: int, volumes: int, shares: Three, counts: tuple[int, int, int] | None
) -> Three:
    """How many patients (with counts) or volumes (with shares) each set should have."""
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


def _split(
    cases: Sequence[Case], sets: Mapping[str, str], seed: int | None, group_by: GroupBy
) -> Split:
    """sets: by case name; cases without are left out."""
    chosen = sorted((case for case in cases if case.name in sets), key=_order)
    train, val, test = (
        tuple(case.name for case in chosen if sets[case.name] == set_name) for set_name in SET_NAMES
    )
    return Split(train, val, test, seed, {case.name: case.group for case in chosen}, group_by)


def _order(case: Case) -> tuple[int, str]:
    return case.number, case.name


def save_split(split: Split, path: Path) -> None:
    """Write a split as JSON; the file appears whole or not at all."""
    write_text(path, json.dumps(asdict(split), indent=2) + "\n")


def load_split(path: Path) -> Split:
    """Read what :func:`save_split` wrote; ``ValueError`` if it is no split or shares a patient."""
    try:
        content = read_json(path)
    except OSError:
        raise ValueError(f"{path.name} cannot be read; check its name and folder.") from None
    except ValueError as error:
        raise ValueError(f"{error} Save the split again.") from None
    if not _is_split(content):
        raise ValueError(
            f"{path.name} is no split; it needs lists of names train, val and test, and may have "
            "seed, groups and group_by (patient or volume)."
        )
    train, val, test = (tuple(content[set_name]) for set_name in SET_NAMES)
    return Split(
        train,
        val,
        test,
        content.get("seed"),
        content.get("groups", {}),
        content.get("group_by", "patient"),
    )


def _is_split(content: object) -> bool:
    if not isinstance(content, dict) or content.keys() - SPLIT_KEYS:
        return False
    lists = [content.get(set_name) for set_name in SET_NAMES]
    groups = content.get("groups", {})
    return (
        all(isinstance(names, list) and all(isinstance(n, str) for n in names) for names in lists)
        and isinstance(content.get("seed"), int | None)
        and content.get("group_by", "patient") in get_args(GroupBy)
        and isinstance(groups, dict)
        and all(isinstance(group, str) for group in groups.values())
    )


@dataclass(frozen=True)
class NamedTest:
    """A published test set.

    test: LiTS numbers. left_out: of the others, which must not train either, by their number.
    about: one sentence for the help.
    """

    test: tuple[int, ...]
    about: str
    left_out: Callable[[int], bool] = lambda number: False


NAMED: dict[str, NamedTest] = {
    # 3D-IRCADb patients 2, 3, 5, 8, 9, 12, 14, 15 and 20 under their LiTS numbers
    "ircad-external": NamedTest(
        test=(29, 30, 32, 35, 36, 39, 41, 42, 47),
        about="train on other clinics' patients only, test on nine of 3D-IRCADb",
        left_out=lambda number: ircad_patient(number) is not None,
    ),
    # the tumor paper's; six of them are not in the liver paper's list, whose network may know them
    "gunetrpp-public": NamedTest(
        test=(3, 17, 18, 28, 33, 37, 43, 64, 70, 77, 80, 90, 100, 104, 110, 123),
        about="test on the 16 volumes of the published G-UNETR++ result",
    ),
}


def named_split(
    name: str,
    cases: Sequence[Case],
    tumor_ml: Mapping[str, float],
    *,
    seed: int = 42,
    group_by: GroupBy = "patient",
) -> tuple[Split, str]:
    """The split, and a sentence on what of the list is not in the folder (empty: nothing).

    tumor_ml: by case name, for the draw of the validation patients from what is left. Other scans
    of a test patient are in no set. Raises ``ValueError`` when none of the list is there, or too
    little is left to train and validate.
    """
    named = NAMED[name]
    scans = [case for case in cases if case.kind == "case"]
    test = [case for case in scans if case.number in named.test]
    if not test:
        raise ValueError(f"None of the test cases of {name} is in the folder; give a LiTS folder.")
    closed = {case.group for case in test}
    closed |= {case.group for case in cases if named.left_out(case.number)}
    rest = [case for case in cases if case.group not in closed]
    drawn = stratified_split(
        rest, tumor_ml, seed=seed, shares=(1 - VAL_SHARE, VAL_SHARE, 0.0), group_by=group_by
    )
    lists = {
        "train": drawn.train,
        "val": drawn.val,
        "test": [case.name for case in test],
    }
    split = replace(split_from_lists(cases, lists, group_by=group_by), seed=seed)
    return split, _skipped(name, test)


def _skipped(name: str, test: Sequence[Case]) -> str:
    there = {case.number for case in test}
    missing = [str(number) for number in NAMED[name].test if number not in there]
    if not missing:
        return ""
    return (
        f"{len(missing)} of the {len(NAMED[name].test)} test cases of {name} are not in the folder"
        f" and are left out: {', '.join(missing)}."
    )
