"""The same batch again: what is done is skipped, what was made otherwise stays."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import (
    ENGINE,
    PACKAGE_FOLDER,
    Outcome,
    disks,
    rows_of,
    run,
    save_ct,
    save_model,
    some_hu,
    tree,
)
from looped import looped

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
    "every slice": ["--no-coarse-search"],
    "more files": ["--probabilities"],
}


@looped("options", OTHERWISE.values())
def test_results_made_otherwise_stay_unless_overwrite(
    batch: Batch, out: Path, options: list[object]
) -> None:
    batch()
    before = tree(out / "one")
    refused = batch(*options)
    assert refused.code == 1
    assert tree(out / "one") == before
    assert [row["status"] for row in rows_of(out)] == ["failed"] * 2
    assert "add --overwrite" in rows_of(out)[0]["reason"]
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


ODD = ("", "[]", "{}", "null", '{"settings": 1}', '{"lesions": null}', "[" * 100_000, "\udcff")


def test_a_result_that_lost_a_file_or_holds_an_odd_one_is_not_done_and_stops_no_other(
    batch: Batch, out: Path
) -> None:
    """Also a record that is no such record, but whose sum the stamp confirms."""
    assert batch().code == 0
    whole = tree(out / "one")
    for name in ("seg.nii.gz", "overview.png", "lesions.json", "batch.json"):
        (out / "one" / name).unlink()
        assert batch().code == 1
        assert [row["status"] for row in rows_of(out)] == ["failed", "skipped"]
        (out / "one" / name).write_bytes(whole[name] or b"")
    for name in ("batch.json", "lesions.json"):
        for text in ODD:
            data = text.encode(errors="surrogateescape")
            (out / "one" / name).write_bytes(data)
            if name == "lesions.json":
                stamp = json.loads(whole["batch.json"] or b"")
                stamp["record_sha256"] = hashlib.sha256(data).hexdigest()
                (out / "one" / "batch.json").write_text(json.dumps(stamp))
            assert batch().code == 1, (name, text[:20])
            assert [row["status"] for row in rows_of(out)] == ["failed", "skipped"]
            assert "add --overwrite" in rows_of(out)[0]["reason"]
            (out / "one" / name).write_bytes(whole[name] or b"")
    assert batch("--overwrite").code == 0
    assert [row["status"] for row in rows_of(out)] == ["done", "skipped"]


def test_other_files_in_a_case_s_folder_stay(batch: Batch, out: Path) -> None:
    batch()
    (out / "one" / "corrected.nii.gz").write_text("a day's work")
    (out / "one" / "more").mkdir()
    (out / "one" / "more" / "figure.png").write_text("mine")
    assert batch("--no-coarse-search", "--overwrite").code == 0
    assert (out / "one" / "corrected.nii.gz").read_text() == "a day's work"
    assert (out / "one" / "more" / "figure.png").read_text() == "mine"


def test_a_ct_that_was_only_touched_or_copied_is_still_done(
    batch: Batch, cts: Path, out: Path
) -> None:
    batch()
    os.utime(cts / "one.nii.gz", (1, 1))
    assert batch().code == 0
    assert [row["status"] for row in rows_of(out)] == ["skipped"] * 2


def test_a_finished_batch_says_so_without_torch(
    batch: Batch, cts: Path, out: Path, model: Path
) -> None:
    batch()
    arguments = ["batch", str(cts), str(out), "--model", str(model)]
    program = (
        "import sys; from LiverTumorSegLib.cli.main import main;"
        f"code = main({arguments!r}); assert code == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER)},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def test_what_was_made_in_the_meantime_is_not_replaced(
    batch: Batch, cts: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run's results that came into the case's folder while the case was run."""
    calls = []

    def meanwhile(engine: Any, grays: Any) -> Any:
        if not calls:
            (out / "one").mkdir()
            (out / "one" / "seg.nii.gz").write_text("another's")
        calls.append(1)
        return disks(engine, grays)

    monkeypatch.setattr(ENGINE, meanwhile)
    assert batch().code == 1
    assert [row["status"] for row in rows_of(out)] == ["failed", "done"]
    assert tree(out / "one") == {"seg.nii.gz": b"another's"}
