"""No patient is in two sets, nobody is lost, and the numbers asked for are met."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from invented_cases import (
    assert_sound,
    case,
    crowd,
    groups_of,
    lits_cases,
    patients,
    some_ml,
    table_cases,
    volumes_of,
)
from looped import looped

from training.cases.case import SET_NAMES
from training.cases.folder import find_cases
from training.cases.splits import Split, assert_disjoint, split_from_column, stratified_split

SEEDS = range(40)


@looped(seed=SEEDS)
def test_no_patient_is_in_two_sets_and_every_case_is_in_one(seed: int) -> None:
    cases = crowd(seed)
    split = stratified_split(cases, some_ml(cases), seed=seed)
    assert_sound(split, cases)
    assert all(split.names(set_name) for set_name in SET_NAMES)


@looped(seed=SEEDS)
@looped("shares", [(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (0.7, 0.3, 0.0)])
def test_shares_of_volumes_are_as_near_as_whole_patients_allow(
    seed: int, shares: tuple[float, float, float]
) -> None:
    cases = crowd(seed)
    split = stratified_split(cases, some_ml(cases), seed=seed, shares=shares)
    assert_sound(split, cases)
    # A crowd has patients of one scan, so a set ends less than half a patient of four scans off.
    for set_name, share in zip(SET_NAMES[1:], shares[1:], strict=True):
        assert abs(len(split.names(set_name)) - share * len(cases)) <= 2


@looped(seed=SEEDS)
def test_single_scan_patients_meet_shares_within_half_a_volume(seed: int) -> None:
    cases = patients(37)
    split = stratified_split(cases, some_ml(cases), seed=seed)
    for set_name in ("val", "test"):
        assert abs(len(volumes_of(split, set_name)) - 3.7) <= 0.5


@looped("scans", [1, 3])
def test_eleven_patients_are_split_as_in_the_paper(scans: int) -> None:
    cases = patients(11, scans)
    by_default = stratified_split(cases, some_ml(cases))
    assert [len(groups_of(by_default, set_name)) for set_name in SET_NAMES] == [8, 1, 2]
    assert by_default == stratified_split(cases, some_ml(cases), seed=42, counts=(8, 1, 2))
    assert_sound(by_default, cases)


@looped(seed=SEEDS)
def test_tertiles_of_tumor_volume_are_drawn_from_evenly(seed: int) -> None:
    cases = patients(30)
    tumor_ml = {c.name: float(c.number) for c in cases}
    split = stratified_split(cases, tumor_ml, seed=seed, counts=(20, 4, 6))
    for set_name, fewest in (("train", 6), ("val", 1), ("test", 2)):
        drawn = Counter(int(name) // 10 for name in volumes_of(split, set_name))
        assert set(drawn) == {0, 1, 2}
        assert min(drawn.values()) >= fewest
        assert max(drawn.values()) <= fewest + 1


@looped(seed=SEEDS)
def test_three_held_out_patients_come_from_three_tertiles(seed: int) -> None:
    cases = patients(11)
    tumor_ml = {c.name: float(c.number) for c in cases}
    split = stratified_split(cases, tumor_ml, seed=seed)
    held_out = [int(name) for name in (*volumes_of(split, "val"), *volumes_of(split, "test"))]
    assert {0 if n < 4 else 1 if n < 7 else 2 for n in held_out} == {0, 1, 2}


def test_no_tertile_is_always_the_one_that_gives_the_only_validation_patient() -> None:
    cases = patients(11)
    tumor_ml = {c.name: float(c.number) for c in cases}
    val = {
        volumes_of(stratified_split(cases, tumor_ml, seed=seed), "val")[0] for seed in range(100)
    }
    assert len(val) == 11


def test_the_same_seed_gives_the_same_split_in_any_order_and_seeds_differ() -> None:
    cases = patients(20)
    tumor_ml = some_ml(cases)
    first = stratified_split(cases, tumor_ml, seed=7)
    for seed in range(5):
        shuffled = Random(seed).sample(cases, len(cases))
        assert stratified_split(shuffled, tumor_ml, seed=7) == first
    assert len({stratified_split(cases, tumor_ml, seed=seed).test for seed in SEEDS}) > 10


@looped(seed=SEEDS)
def test_a_patient_of_many_scans_stays_together(seed: int) -> None:
    cases = [case(str(n), "many") for n in range(20)] + [case(str(n), str(n)) for n in (50, 51)]
    split = stratified_split(cases, some_ml(cases), seed=seed)
    assert set(split.train) == {str(n) for n in range(20)}
    assert [len(split.val), len(split.test)] == [1, 1]


@looped(seed=SEEDS)
def test_context_follows_its_scan_and_counts_for_nothing(seed: int) -> None:
    cases = [*patients(12), case("99-context", "seen nowhere else")]
    tumor_ml = {c.name: 1.0 for c in cases if c.kind == "case"}
    split = stratified_split(cases, tumor_ml, seed=seed, counts=(8, 2, 2))
    assert_sound(split, cases)
    assert "99-context" in split.train
    for set_name in SET_NAMES:
        names = set(split.names(set_name)) - {"99-context"}
        assert {name.removesuffix("-context") for name in names} <= names


def test_no_set_that_is_asked_for_is_left_without_a_patient() -> None:
    for count in range(3, 8):
        cases = patients(count)
        for shares in ((0.01, 0.495, 0.495), (0.98, 0.01, 0.01)):
            split = stratified_split(cases, some_ml(cases), shares=shares)
            assert all(groups_of(split, set_name) for set_name in SET_NAMES)


WRONG: dict[str, tuple[int, dict[str, Any], str]] = {
    "counts do not add up": (12, {"counts": (8, 1, 2)}, "add up to 11 but there are 12"),
    "shares do not add up": (12, {"shares": (0.8, 0.1, 0.2)}, "add up to 1.1"),
    "both": (12, {"shares": (0.8, 0.1, 0.1), "counts": (10, 1, 1)}, "exclude each other"),
    "nobody trains": (12, {"counts": (0, 6, 6)}, "train above 0"),
    "negative": (12, {"shares": (1.2, -0.1, -0.1)}, "none below 0"),
    "two numbers": (12, {"shares": (0.8, 0.2)}, "three numbers"),
    "too few": (2, {}, "2 patients are too few"),
    "nobody": (0, {}, "0 patients are too few"),
}


@looped("what", WRONG)
def test_numbers_that_cannot_be_met_are_refused(what: str) -> None:
    count, options, expected = WRONG[what]
    cases = patients(count)
    with pytest.raises(ValueError, match=expected):
        stratified_split(cases, some_ml(cases), **options)


@looped("wrong", [{}, {"0": -1.0}, {"0": float("nan")}])
def test_a_case_without_a_tumor_volume_is_named(wrong: dict[str, float]) -> None:
    known = dict.fromkeys(map(str, range(1, 12)), 1.0)
    with pytest.raises(ValueError, match="0 has no tumor volume"):
        stratified_split(patients(12), known | wrong)


def test_the_column_is_taken_as_it_is() -> None:
    split = split_from_column(table_cases())
    assert (split.train, split.val, split.test) == (("1", "3", "3-context"), ("2",), ("10",))
    assert split.seed is None
    assert_disjoint(table_cases())


def test_a_column_that_parts_a_patient_names_the_group() -> None:
    parted = [*table_cases(), case("11", "anna", "test")]
    for check in (assert_disjoint, split_from_column):
        with pytest.raises(ValueError, match=r"group anna is in train and in test; put"):
            check(parted)


def test_a_column_with_a_gap_names_the_case() -> None:
    with pytest.raises(ValueError, match=r"volume-11\.nii has no split; fill"):
        split_from_column([*table_cases(), case("11", "dora")])


def test_a_split_cannot_be_made_with_a_name_or_a_patient_in_two_sets() -> None:
    with pytest.raises(ValueError, match="1 is in this split twice"):
        Split(("1",), ("2",), ("1",))
    with pytest.raises(ValueError, match="Patient group anna is in train and in test"):
        Split(("1",), ("2",), ("3",), groups={"1": "anna", "2": "ben", "3": "anna"})


def test_the_text_tells_both_shares() -> None:
    lines = split_from_column(table_cases()).text(table_cases()).splitlines()
    assert [line.split()[0] for line in lines] == list(SET_NAMES)
    assert "2 volumes (50%), 1 patients (33%)" in lines[0]


@looped(seed=SEEDS)
def test_scans_of_one_lits_patient_stay_together_in_the_papers_counts(seed: int) -> None:
    """Seventeen volumes of eleven patients, three of whom were scanned two or five times."""
    cases = lits_cases([*range(11), 14, 15, 16, 18, 22, 23])
    assert len({c.group for c in cases}) == 11
    split = stratified_split(cases, some_ml(cases), seed=seed, counts=(8, 1, 2))
    assert_sound(split, cases)
    assert [len(groups_of(split, set_name)) for set_name in SET_NAMES] == [8, 1, 2]
    for together in ({"0", "1"}, {"6", "7", "8", "9", "10"}, {"14", "15"}):
        assert sum(bool(together & set(split.names(set_name))) for set_name in SET_NAMES) == 1


def test_the_real_data_have_the_split_their_manifest_tells(shared_data: Path) -> None:
    cases = find_cases(shared_data / "lits-subset")
    split = split_from_column(cases)
    assert_sound(split, cases)
    counts = [(len(groups_of(split, s)), len(volumes_of(split, s))) for s in SET_NAMES]
    assert counts == [(15, 21), (4, 4), (5, 5)]
    assert volumes_of(split, "val") == ["3", "23", "29", "41"]
    assert volumes_of(split, "test") == ["16", "18", "30", "36", "47"]
    for set_name in SET_NAMES:
        names = set(split.names(set_name))
        assert {name.removesuffix("-context") for name in names} <= names
