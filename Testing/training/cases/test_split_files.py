"""A split that is written down, marked, taken from lists or applied is the same split."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from invented_cases import case, lits_cases, patients, some_ml, table_cases, volumes_of
from looped import looped

from training.cases.case import SET_NAMES
from training.cases.splits import (
    Split,
    apply_split,
    kfold_splits,
    load_split,
    save_split,
    split_from_column,
    split_from_lists,
    stratified_split,
)


def test_a_saved_split_comes_back(tmp_path: Path) -> None:
    cases = patients(20)
    split = stratified_split(cases, some_ml(cases), seed=3)
    save_split(split, tmp_path / "split.json")
    assert load_split(tmp_path / "split.json") == split
    content = json.loads((tmp_path / "split.json").read_text(encoding="utf-8"))
    assert content.keys() == {"train", "val", "test", "seed", "groups", "group_by"}
    assert content["group_by"] == "patient"
    assert [path.name for path in tmp_path.iterdir()] == ["split.json"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    old = split_from_column(table_cases())
    save_split(old, tmp_path / "split.json")
    monkeypatch.setattr("os.replace", disk_full)
    with pytest.raises(ValueError, match=r"split\.json cannot be written"):
        save_split(replace(old, seed=1), tmp_path / "split.json")
    assert load_split(tmp_path / "split.json") == old
    assert len(list(tmp_path.iterdir())) == 1


BROKEN_FILES = {
    "not JSON": ("{train", "no JSON object"),
    "a list": ("[]", "no JSON object"),
    "a set missing": ('{"train": ["1"], "val": []}', "is no split"),
    "numbers": ('{"train": [1], "val": [], "test": []}', "is no split"),
    "unknown key": ('{"train": [], "val": [], "test": [], "dev": []}', "is no split"),
    "odd seed": ('{"train": [], "val": [], "test": [], "seed": "x"}', "is no split"),
    "odd mark": ('{"train": [], "val": [], "test": [], "group_by": "slice"}', "is no split"),
    "odd groups": ('{"train": [], "val": [], "test": [], "groups": {"1": 1}}', "is no split"),
    "a patient in two sets": (
        '{"train": ["1"], "val": ["2"], "test": [], "groups": {"1": "anna", "2": "anna"}}',
        "group anna is in train and in val",
    ),
}


@looped("what", BROKEN_FILES)
def test_a_file_that_is_no_split_is_one_sentence(tmp_path: Path, what: str) -> None:
    text, expected = BROKEN_FILES[what]
    (tmp_path / "split.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=expected):
        load_split(tmp_path / "split.json")
    with pytest.raises(ValueError, match=r"none\.json cannot be read"):
        load_split(tmp_path / "none.json")


def test_by_volume_parts_patients_and_says_so(tmp_path: Path) -> None:
    cases = patients(4, scans=5)
    split = stratified_split(cases, some_ml(cases), group_by="volume")
    assert sorted(split.train + split.val + split.test) == sorted(c.name for c in cases)
    assert [len(volumes_of(split, set_name)) for set_name in SET_NAMES] == [16, 2, 2]
    assert split.shared_groups
    assert f"{len(split.shared_groups)} patients have scans in more than one set" in split.warning
    for set_name in SET_NAMES:  # context still goes with its scan
        names = set(split.names(set_name))
        assert {name.removesuffix("-context") for name in names} <= names
    save_split(split, tmp_path / "split.json")
    assert load_split(tmp_path / "split.json") == split
    folds = kfold_splits(cases, some_ml(cases), 5, group_by="volume")
    assert Counter(n for f in folds for n in volumes_of(f, "test")) == Counter(
        c.name for c in cases if c.kind == "case"
    )


def test_a_leaking_file_is_taken_only_with_its_mark(tmp_path: Path) -> None:
    cases = patients(4, scans=5)
    path = tmp_path / "split.json"
    save_split(stratified_split(cases, some_ml(cases), group_by="volume"), path)
    content = json.loads(path.read_text())
    assert content["group_by"] == "volume"
    for mark in ({}, {"group_by": "patient"}):
        del content["group_by"]
        content.update(mark)
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match="put all its scans in one set"):
            load_split(path)
        content["group_by"] = "volume"


def test_a_split_by_patient_has_no_warning() -> None:
    cases = patients(12)
    split = stratified_split(cases, some_ml(cases))
    assert (split.warning, split.shared_groups) == ("", [])


def test_lists_are_taken_by_name_or_file_and_leave_the_others_out() -> None:
    cases = [*patients(5), case("7", "patient 7")]
    lists = {"train": ["0", "volume-1.nii"], "val": ["7"], "test": ["3"]}
    split = split_from_lists(cases, lists)
    assert split.train == ("0", "0-context", "1")
    assert (split.val, split.test) == (("7",), ("3", "3-context"))


WRONG_LISTS: dict[str, tuple[dict[str, list[str]], str]] = {
    "unknown": ({"train": ["0"], "val": ["77"]}, "name 77, which is not in the folder"),
    "twice": ({"train": ["0"], "val": ["volume-0.nii"]}, "name volume-0.nii twice"),
    "a patient in two sets": ({"train": ["0"], "test": ["1"]}, "group 0-1 is in train and in test"),
}


@looped("what", WRONG_LISTS)
def test_lists_that_cannot_be_right_are_refused(what: str) -> None:
    lists, expected = WRONG_LISTS[what]
    with pytest.raises(ValueError, match=expected):
        split_from_lists(lits_cases(range(6)), lists)


def test_lists_may_share_a_patient_only_by_volume() -> None:
    lists = {"train": ["0"], "test": ["1"]}
    split = split_from_lists(lits_cases(range(6)), lists, group_by="volume")
    assert split.shared_groups == ["0-1"]


def test_an_applied_split_sets_its_cases_and_leaves_the_others_out() -> None:
    cases = [*patients(4), case("9", "patient 9", "test")]
    split = Split(("0", "1"), ("3",), ("2",))  # names no context file
    applied = {c.name: c.split for c in apply_split(split, cases)}
    wanted = {"0": "train", "0-context": "train", "1": "train", "2": "test", "3": "val"}
    assert applied == {**wanted, "3-context": "val"}
    with pytest.raises(ValueError, match="names 3, which is not in the folder; give"):
        apply_split(split, cases[:-3])


def test_a_split_is_checked_against_the_folders_own_groups() -> None:
    """A split file without groups cannot know that two volumes are one patient."""
    parted = Split(("0", "2"), ("1",), ())
    with pytest.raises(ValueError, match="group 0-1 is in train and in val"):
        apply_split(parted, lits_cases(range(3)))
    leaking = replace(parted, group_by="volume")
    assert len(apply_split(leaking, lits_cases(range(3)))) == 3
