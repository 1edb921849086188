"""Parts of the training patients that are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from looped import looped
from toy_volumes import tiny, write_toy_masks, write_toy_volumes

from training.data.folds import fold_groups
from training.learn.trainer3d import load_for


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_volumes(tmp_path_factory.mktemp("toy") / "prepared")


def manifest(sizes_ml: dict[str, float]) -> dict[str, Any]:
    cases = [{"group": g, "split": "train", "tumor_ml": ml} for g, ml in sizes_ml.items()]
    return {"cases": [*cases, {"group": "val", "split": "val", "tumor_ml": 1.0}]}


@looped("count", [2, 3, 5])
def test_every_training_patient_is_left_out_once(count: int) -> None:
    sizes_ml = {f"p{n}": float(n * n) for n in range(11)}
    parts = fold_groups(manifest(sizes_ml), count)
    assert len(parts) == count
    assert sorted(group for part in parts for group in part) == sorted(sizes_ml)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert fold_groups(manifest(sizes_ml), count) == parts


def test_large_tumors_are_in_every_part() -> None:
    sizes_ml = {f"p{n}": 10.0 ** (n // 2) for n in range(10)}
    for part in fold_groups(manifest(sizes_ml), 2):
        assert sorted(sizes_ml[g] for g in part) == [1.0, 10.0, 100.0, 1000.0, 10000.0]


def test_a_fold_trains_without_its_patients_and_validates_on_all(prepared: Path) -> None:
    recipe = tiny("liver")
    every, validation = load_for(recipe, prepared)
    known = []
    for fold in ("1/2", "2/2"):
        data, same = load_for(recipe, prepared, None, fold)
        assert same.cases == validation.cases == ("5",)
        known.append(set(data.groups))
    assert known[0] | known[1] == set(every.groups)
    assert not known[0] & known[1]


@looped("fold", ["0/2", "3/2", "1", "a/b", "1/", "-1/2"])
def test_no_fold(prepared: Path, fold: str) -> None:
    with pytest.raises(ValueError, match="as 1/2"):
        load_for(tiny("liver"), prepared, None, fold)


@looped("fold", ["1/1", "1/4"])
def test_parts_that_cannot_be_made(prepared: Path, fold: str) -> None:
    with pytest.raises(ValueError, match="of 3 training patients cannot be made"):
        load_for(tiny("liver"), prepared, None, fold)


def test_masks_for_a_net_that_sees_all_are_refused(prepared: Path) -> None:
    masks = write_toy_masks(prepared, prepared.parent / "masks")
    with pytest.raises(ValueError, match="leave out --masks"):
        load_for(tiny("liver"), prepared, masks)
    assert load_for(tiny("tumor"), prepared, masks)[0].volumes[0].region is not None
