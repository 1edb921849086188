"""``livertumorseg batch``: every CT of a folder, resumed, with failures in between."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from command_line import (
    ENGINE,
    PATIENT,
    PICTURE,
    RESULTS,
    Outcome,
    disks,
    dot,
    nothing,
    rows_of,
    run,
    save_ct,
    some_affine,
    some_hu,
    tree,
)
from dicom_files import save_series
from LiverTumorSegLib.cli.batch_summary import COLUMNS, TABLES
from LiverTumorSegLib.inference import segmenter as segment
from looped import looped

NOTICE = "For research only, not for diagnosis."
Batch = Callable[..., Outcome]


def save_mixed(folder: Path) -> Path:
    """A NIfTI file, a damaged one, a label map, a DICOM series, two files called alike."""
    (folder / "site").mkdir(parents=True)
    save_ct(folder / "a.nii.gz", np.maximum(some_hu(), -200))
    save_ct(folder / "b.nii.gz")
    (folder / "b.nii.gz").write_bytes((folder / "b.nii.gz").read_bytes()[:-2000])
    save_ct(folder / "c.nii.gz", np.where(some_hu() > 0, 1, 0).astype(np.uint8))
    save_series(folder / "d" / "ser")
    save_ct(folder / "site" / "e.nii")
    save_ct(folder / "site_e.nii.gz")
    return folder


# What a batch leaves


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, model: Path) -> tuple[Path, list[Any]]:
    """The output of one batch with --events over a mixed folder, and what it said."""
    home = tmp_path_factory.mktemp("mixed")
    source, out = save_mixed(home / "cts"), home / "new" / "out"
    with pytest.MonkeyPatch.context() as patch, (home / "said").open("w") as said:
        patch.setattr(ENGINE, disks)
        patch.setattr(PICTURE, dot)
        patch.setattr("sys.stdout", said)
        from LiverTumorSegLib.cli.main import main

        assert main(["batch", str(source), str(out), "--model", str(model), "--events"]) == 1
    return out, [json.loads(line) for line in (home / "said").read_text().splitlines()]


def test_one_folder_a_case_and_a_summary(mixed: tuple[Path, list[Any]]) -> None:
    out, _ = mixed
    whole = {"a", "d_ser", "site_e", "site_e-2"}
    assert {path.name for path in out.iterdir()} == {*whole, *TABLES}
    for name in whole:
        assert {path.name for path in (out / name).iterdir()} == {*RESULTS, "batch.json"}


def test_the_summary_says_what_the_records_do(mixed: tuple[Path, list[Any]]) -> None:
    out, _ = mixed
    rows = {row["case"]: row for row in rows_of(out)}
    assert list(rows) == ["a", "b", "c", "d_ser", "site_e", "site_e-2"]
    assert {row["notice"] for row in rows.values()} == {NOTICE}
    for name in ("a", "d_ser", "site_e", "site_e-2"):
        record = json.loads((out / name / "lesions.json").read_text())
        row = rows[name]
        assert tuple(row) == COLUMNS
        assert (row["status"], row["reason"], row["lesions"]) == ("done", "", "2")
        for key in ("liver_volume_ml", "tumor_volume_ml", "burden_percent"):
            assert float(row[key]) == record[key] > 0
        longest = [lesion["longest_axial_diameter_mm"] for lesion in record["lesions"]]
        assert float(row["largest_diameter_mm"]) == max(longest)
        assert float(row["seconds"]) == record["run"]["seconds"]
        assert row["device"] == record["run"]["device"]
        assert row["warnings"] == " ".join(record["warnings"])
    assert "below -200 HU" in rows["a"]["warnings"]


def test_a_failed_case_is_a_sentence_and_stops_none(mixed: tuple[Path, list[Any]]) -> None:
    rows = {row["case"]: row for row in rows_of(mixed[0])}
    assert rows["b"]["status"] == rows["c"]["status"] == "failed"
    assert rows["b"]["reason"].startswith("b.nii.gz is cut off")
    assert "mask" in rows["c"]["reason"]
    assert rows["b"]["liver_volume_ml"] == rows["c"]["device"] == ""


def test_labels_lie_on_each_ct_s_own_grid(mixed: tuple[Path, list[Any]]) -> None:
    """The series holds the same CT as the file: the same labels come of both."""
    out, _ = mixed
    images = [
        nibabel.Nifti1Image.from_filename(out / name / "seg.nii.gz") for name in ("d_ser", "site_e")
    ]
    for image in images:
        assert image.shape == some_hu().shape
        np.testing.assert_allclose(image.affine, some_affine(), atol=1e-4)
    np.testing.assert_array_equal(*(np.asarray(image.dataobj) for image in images))


def test_events(mixed: tuple[Path, list[Any]]) -> None:
    out, events = mixed
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("started", "finished")
    assert set(kinds[1:-1]) == {"progress", "warning", "case"}
    ended = [event for event in events if event["event"] == "case"]
    assert [event["number"] for event in ended] == [1, 2, 3, 4, 5, 6]
    assert {event["cases"] for event in ended} == {6}
    for event, row in zip(ended, rows_of(out), strict=True):
        told = {key: event[key] for key in COLUMNS}
        assert {key: "" if v is None else str(v) for key, v in told.items()} == row
    counts = {key: events[-1][key] for key in ("cases", "done", "skipped", "failed")}
    assert counts == {"cases": 6, "done": 4, "skipped": 0, "failed": 2}
    assert events[-1]["table"] == "summary.csv"
    assert events[-1]["notice"] == NOTICE
    said = [(one["number"], one["text"]) for one in events if one["event"] == "warning"]
    for number, row in enumerate(rows_of(out), start=1):
        own = [text for n, text in said if n == number]
        assert all(text.startswith(f"{row['case']}: ") for text in own)
        assert " ".join(text.split(": ", 1)[1] for text in own) == row["warnings"]


def test_progress_goes_over_all_cases(mixed: tuple[Path, list[Any]]) -> None:
    _, events = mixed
    progress = [event for event in events if event["event"] == "progress"]
    fractions = [event["fraction"] for event in progress]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    running = [event for event in progress if "Slice" in event["phrase"]]
    for event in running:
        assert event["phrase"].startswith(f"Case {event['number']} of 6: ")
        share = event["fraction"] * 6 - (event["number"] - 1)
        assert -0.01 <= share <= 1
    assert {event["number"] for event in running} == {1, 4, 5, 6}


def test_nothing_tells_who_it_was(mixed: tuple[Path, list[Any]]) -> None:
    """Neither the names in the headers nor the folders above."""
    out, events = mixed
    said = json.dumps(events).replace(str(out), "")
    texts = [content for content in tree(out).values() if content]
    for text in [*texts, said.encode()]:
        assert PATIENT.encode() not in text
        assert str(out.parents[1]).encode() not in text


# How the model is used


def test_the_model_is_loaded_once(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    load, loads = segment.load_segmenter, []
    monkeypatch.setattr(segment, "load_segmenter", lambda *a, **o: loads.append(1) or load(*a, **o))
    assert batch().code == 0
    assert len(loads) == 1


def test_a_case_too_large_for_the_gpu_does_not_slow_the_next(
    batch: Batch, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine that has fallen back to the CPU is not the one that the next case gets."""
    engines: list[int] = []

    def falls(engine: Any, grays: Any) -> Any:
        if not engines:
            engine.device = "cpu"
        if id(engine) not in engines:
            engines.append(id(engine))
        return disks(engine, grays)

    make = segment._network
    kept: list[Any] = []

    def on_gpu(*args: Any, **options: Any) -> Any:
        kept.append(make(*args, **options))
        kept[-1].runner.device = "pretended GPU"
        return kept[-1]

    monkeypatch.setattr(segment, "_network", on_gpu)
    monkeypatch.setattr(
        "LiverTumorSegLib.inference.network.choose_device", lambda wanted: "pretended GPU"
    )
    monkeypatch.setattr(
        "LiverTumorSegLib.inference.network.SliceRunner._place", lambda engine: None
    )
    monkeypatch.setattr(ENGINE, falls)
    assert batch().code == 0
    assert [row["device"] for row in rows_of(out)] == ["cpu", "pretended GPU"]
    assert len(engines) == 2


def test_the_same_as_segment(
    batch: Batch, cts: Path, out: Path, tmp_path: Path, model: Path, capsys: Any
) -> None:
    options = ("--probabilities",)
    assert batch(*options).code == 0
    run(capsys, "segment", cts / "one.nii.gz", "-o", tmp_path / "r", "--model", model, *options)
    for name in ("seg.nii.gz", "probabilities.nii.gz", "lesions.csv"):
        assert (out / "one" / name).read_bytes() == (tmp_path / "r" / name).read_bytes()


# What goes wrong in a case


@looped(
    ("error", "says"),
    [
        (MemoryError(), "The memory does not hold this CT"),
        (RuntimeError(f"at {PATIENT}"), "LiverTumorSeg failed (RuntimeError); try"),
        (ValueError("Two\nlines."), "Two lines."),
    ],
)
def test_faults_stay_in_their_case(
    batch: Batch, out: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    calls = iter(range(1000))

    def fault(engine: Any, grays: Any) -> Any:
        if next(calls) == 3:
            raise error
        return disks(engine, grays)

    monkeypatch.setattr(ENGINE, fault)
    outcome = batch()
    assert outcome.code == 1
    failed, done = rows_of(out)
    assert (failed["status"], done["status"]) == ("failed", "done")
    assert failed["reason"].startswith(says)
    assert PATIENT not in outcome.out + outcome.err
    assert {path.name for path in out.iterdir()} == {"two", *TABLES}


def test_no_liver_is_a_result(batch: Batch, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENGINE, nothing)
    outcome = batch()
    assert outcome.code == 0
    assert "1/2 one: done. No liver found." in outcome.out
    assert [row["reason"] for row in rows_of(out)] == ["No liver found."] * 2


def test_a_summary_that_is_held_open_waits(
    batch: Batch, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Excel does on Windows: the cases go on, and the end says what to do."""
    import os

    replace = os.replace

    def held(source: Any, target: Any) -> None:
        if str(target).endswith("summary.csv"):
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", held)
    outcome = batch()
    assert outcome.code == 2
    last = outcome.err.splitlines()[-1]
    assert last.startswith("summary.csv cannot be written")
    assert "close programs" in last
    assert {path.name for path in out.iterdir()} == {"one", "two"}
    monkeypatch.setattr(os, "replace", replace)
    assert batch().code == 0
    assert len(rows_of(out)) == 2


# What is refused


def test_results_inside_the_input_folder(batch: Batch, cts: Path) -> None:
    for _ in range(2):
        assert batch(target=cts / "results").code == 0
        assert {p.name for p in (cts / "results").iterdir()} == {"one", "two", *TABLES}
    assert [row["status"] for row in rows_of(cts / "results")] == ["skipped"] * 2


def test_refusals_write_nothing(batch: Batch, cts: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    before = tree(tmp_path)
    for says, options, places in [
        ("holds no NIfTI", [], {"source": tmp_path / "empty"}),
        ("is no folder", [], {"source": tmp_path / "none"}),
        ("which holds the CTs", [], {"target": cts}),
        ("which holds the CTs", ["--overwrite"], {"target": cts.parent}),
        ("no-such-model", ["--model", "no-such-model"], {}),
        ("tpu", ["--device", "tpu"], {}),
        ("another pattern", ["--only", "x*"], {}),
        ("is a file", [], {"target": cts / "one.nii.gz"}),
    ]:
        outcome = batch(*options, **places)
        assert outcome.code == 2
        assert outcome.out == ""
        (sentence,) = outcome.err.splitlines()
        assert says in sentence
        assert sentence.endswith(".")
        assert tree(tmp_path) == before


def test_dicom_without_pydicom_is_refused_before_the_model_is_loaded(
    batch: Batch, cts: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    save_series(cts / "ser")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    monkeypatch.setattr(segment, "load_segmenter", None)
    outcome = batch()
    assert outcome.code == 2
    assert "pip install 'livertumorseg[dicom]'" in outcome.err
    assert not out.exists()


def test_what_a_person_sees(batch: Batch, cts: Path, out: Path) -> None:
    (cts / "three.nii").write_text("no CT " * 100)
    outcome = batch()
    lines = outcome.out.splitlines()
    assert lines[0].startswith("1/3 one: done, liver ")
    assert lines[0].endswith(" mL")
    assert ", 2 tumors with " in lines[0]
    assert lines[1].startswith("2/3 three: failed. three.nii is not a NIfTI file")
    assert (
        lines[3]
        == f"3 cases: 2 done, 0 skipped, 1 failed; summary.csv, cohort.html and the results"
        f" are in {out}"
    )
    assert lines[4] == NOTICE


def test_every_patient_has_a_row_also_one_whose_images_are_left_out(
    batch: Batch, cts: Path, out: Path
) -> None:
    """A folder of DICOM without a CT, a damaged one, an archive, an image of another kind."""

    def magnetic(header: Any, k: int) -> None:
        header.Modality = "MR"
        header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"

    save_series(cts / "mr", change=magnetic)
    save_series(cts / "cut")
    for path in (cts / "cut").iterdir():
        path.write_bytes(path.read_bytes()[:400])
    for name in ("three.zip", "four.mgz", "notes.txt"):
        (cts / name).write_text("something else")
    (cts / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    outcome = batch()
    assert outcome.code == 0
    rows = {row["case"]: row for row in rows_of(out)}
    left_out = {name: row["reason"] for name, row in rows.items() if row["status"] == "left out"}
    assert set(rows) - set(left_out) == {"one", "two"}
    assert set(left_out) == {"mr", "cut", "three.zip", "four.mgz"}
    assert all(sentence.endswith(".") for sentence in left_out.values())
    assert "unpack it" in left_out["three.zip"]
    assert "6 cases: 2 done, 0 skipped, 0 failed, 4 left out" in outcome.out
    assert {path.name for path in out.iterdir()} == {"one", "two", *TABLES}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes as POSIX has them")
def test_no_pipe_is_waited_for(batch: Batch, cts: Path, out: Path) -> None:
    """As a CT, beside one, and where a batch keeps its own files."""
    for name in ("three.nii.gz", "pipe"):
        os.mkfifo(cts / name)
    assert batch().code == 0
    rows = {row["case"]: row for row in rows_of(out)}
    assert {name: row["status"] for name, row in rows.items()} == {
        **dict.fromkeys(("one", "two"), "done"),
        "three": "left out",
    }
    assert "is a pipe" in rows["three"]["reason"]
    for name in ("one/batch.json", "one/lesions.json"):
        (out / name).rename(out / "kept")
        os.mkfifo(out / name)
        assert batch().code == 1
        assert rows_of(out)[0]["status"] == "failed"
        (out / "kept").replace(out / name)
    (out / "summary.csv").unlink()
    os.mkfifo(out / "summary.csv")
    assert "that no batch made" in batch().err


def test_no_cell_of_the_summary_is_a_formula(batch: Batch, cts: Path, out: Path) -> None:
    for name in ("=cmd|' -C calc'!A0.nii.gz", "+1+1.nii.gz", "-2+3.nii.gz", "@x.nii.gz"):
        (cts / name).write_bytes((cts / "one.nii.gz").read_bytes()[:-500])
    assert batch().code == 1
    cells = [cell for row in rows_of(out) for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert sum(cell.startswith(("'=", "'+", "'-", "'@")) for cell in cells) == 4


def test_nothing_that_no_batch_made_is_deleted(
    batch: Batch, cts: Path, out: Path, tmp_path: Path
) -> None:
    """Links and hidden folders in the results' folder, whatever they are called."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    out.mkdir()
    (out / ".batch").symlink_to(tmp_path / "mine")
    (out / ".livertumorseg-00000000-1-00000000.part").symlink_to(tmp_path / "mine")
    (out / ".old").mkdir()
    (out / ".old" / "notes.txt").write_text("mine")
    before = tree(out), tree(tmp_path / "mine")
    assert batch().code == 0
    after = tree(out)
    assert {name: after[name] for name in before[0]} == before[0]
    assert tree(tmp_path / "mine") == before[1]
