"""Test cases that others have published, by name.

    python -m training.split LITS_FOLDER -o split.json --named ircad-external
    python -m training.split LITS_FOLDER -o split.json --named gunetrpp-public

    split, skipped = named_split("gunetrpp-public", cases, tumor_ml)

The patients of a named test set are in no other set: both stages of a cascade, trained and chosen
on such a split, have never seen them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from training.cases.case import Case, ircad_patient
from training.cases.splits import GroupBy, Split, split_from_lists, stratified_split

VAL_SHARE = 0.1  # of the volumes that are left for training


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
