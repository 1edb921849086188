"""Patients are dealt evenly by tumor size: folds that test and validate each of them once."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from invented_cases import assert_sound, case, crowd, groups_of, patients, some_ml, volumes_of
from looped import looped

from training.cases.splits import kfold_splits

SEEDS = range(40)


@looped("folds", [3, 5, 10])
@looped(seed=range(10))
def test_folds_test_and_validate_each_patient_once(folds: int, seed: int) -> None:
    cases = [*crowd(seed), case("99-context", "seen nowhere else")]
    made = kfold_splits(cases, some_ml(cases), folds, seed=seed)
    assert len(made) == folds
    for split in made:
        assert_sound(split, cases)
    everybody = {c.group for c in cases if c.kind == "case"}
    for set_name in ("val", "test"):
        held_out = [group for split in made for group in groups_of(split, set_name)]
        assert Counter(held_out) == Counter(everybody)
        sizes = [len(groups_of(split, set_name)) for split in made]
        assert max(sizes) - min(sizes) <= 1
    assert all("99-context" in split.train for split in made)


def test_each_fold_has_small_and_large_tumors_alike() -> None:
    cases = patients(30)
    tumor_ml = {c.name: float(c.number) for c in cases}
    for seed in range(10):
        for split in kfold_splits(cases, tumor_ml, 5, seed=seed):
            drawn = sorted(int(name) // 5 for name in volumes_of(split, "test"))
            assert drawn == [0, 1, 2, 3, 4, 5]  # one of each five neighbors in size


def test_folds_are_the_same_for_cases_in_any_order_and_differ_by_seed() -> None:
    cases = patients(20)
    tumor_ml = some_ml(cases)
    first = kfold_splits(cases, tumor_ml, 5, seed=7)
    for seed in range(5):
        shuffled = Random(seed).sample(cases, len(cases))
        assert kfold_splits(shuffled, tumor_ml, 5, seed=7) == first
    assert len({kfold_splits(cases, tumor_ml, 5, seed=seed)[0].test for seed in SEEDS}) > 10


@looped("folds", [0, 1, 2, 13])
def test_folds_that_cannot_be_made_are_refused(folds: int) -> None:
    cases = patients(12)
    with pytest.raises(ValueError, match=f"^{folds} folds of 12 patients cannot be made; give"):
        kfold_splits(cases, some_ml(cases), folds)
