"""The same batch again: what is done is skipped, what was made otherwise stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import (
    ENGINE,
    Outcome,
    rows_of,
    run,
    save_ct,
    save_model,
    some_hu,
    tree,
)

NOTICE = "For research only, not for diagnosis."
Batch = Callable[..., Outcome]


def test_a_second_batch_skips_what_is_done(
    batch: Batch, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert batch().code == 0
    before, rows = tree(out), rows_of(out)

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(ENGINE, never)
    for options in ([], ["--overwrite"], ["--device", "cpu"]):
        again = batch(*options)
        assert again.code == 0
        after = tree(out)
        assert {**after, "summary.csv": None} == {**before, "summary.csv": None}
        assert rows_of(out) == [{**row, "status": "skipped"} for row in rows]
        assert "2 cases: 0 done, 2 skipped, 0 failed" in again.out


def test_new_and_failed_cases_are_tried_again(batch: Batch, cts: Path, out: Path) -> None:
    whole = (cts / "one.nii.gz").read_bytes()
    (cts / "one.nii.gz").write_bytes(whole[:-500])
    assert batch().code == 1
    assert [row["status"] for row in rows_of(out)] == ["failed", "done"]
    (cts / "one.nii.gz").write_bytes(whole)
    save_ct(cts / "three.nii.gz")
    assert batch().code == 0
    assert [(row["case"], row["status"]) for row in rows_of(out)] == [
        *(("one", "done"), ("three", "done"), ("two", "skipped"))
    ]


OTHERWISE: dict[str, list[object]] = {
    "settings": ["--smallest-lesion-mm", "30"],
    "slices": ["--slices", "2", "7"],
    "every slice": ["--no-scan"],
    "more files": ["--probabilities"],
}


@pytest.mark.parametrize("options", OTHERWISE.values(), ids=OTHERWISE)
def test_results_made_otherwise_stay_unless_overwrite(
    batch: Batch, out: Path, options: list[object]
) -> None:
    batch()
    before = tree(out / "one")
    refused = batch(*options)
    assert refused.code == 1
    assert tree(out / "one") == before
    assert [row["status"] for row in rows_of(out)] == ["failed"] * 2
    assert "add --overwrite" in rows_of(out)[0]["sentence"]
    assert batch(*options, "--overwrite").code == 0
    assert tree(out / "one") != before
    assert [row["status"] for row in rows_of(out)] == ["done"] * 2


def test_another_model_or_another_ct_is_otherwise(
    batch: Batch, cts: Path, out: Path, tmp_path: Path
) -> None:
    batch()
    shutil.copy(save_ct(tmp_path / "x.nii.gz", some_hu() + 1), cts / "one.nii.gz")
    assert batch().code == 1
    assert [row["status"] for row in rows_of(out)] == ["failed", "skipped"]
    other = save_model(tmp_path / "other.safetensors", name="other")
    assert batch("--model", other).code == 1
    assert [row["status"] for row in rows_of(out)] == ["failed", "failed"]


def test_what_segment_made_there_is_not_replaced(
    batch: Batch, cts: Path, out: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It carries no stamp, and a stamp of an earlier batch does not vouch for it."""
    target = ("-o", out / "one", "--model", model)
    run(capsys, "segment", cts / "two.nii.gz", *target)
    before = tree(out / "one")
    assert batch().code == 1
    assert tree(out / "one") == before
    assert batch("--overwrite").code == 0
    options = ("--smallest-lesion-mm", "30", "--overwrite")
    run(capsys, "segment", cts / "one.nii.gz", *target, *options)
    assert batch().code == 1
