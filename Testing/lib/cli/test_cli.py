"""The command line from CT to results: what it writes, says, and leaves when it is stopped."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import cv2
import LiverTumorSegLib
import nibabel
import numpy as np
import pytest
from command_line import (
    ENGINE,
    MODEL_SPEC,
    PATIENT,
    RESULTS,
    disks,
    nothing,
    run,
    save_ct,
    some_affine,
    some_hu,
    tree,
)
from LiverTumorSegLib.model.spec import file_sha256
from LiverTumorSegLib.result.files import NOTICE
from LiverTumorSegLib.result.lesions import LESION_COLUMNS
from looped import looped

# What a run leaves


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, model: Path) -> tuple[Path, list[str]]:
    """The result folder of one run with --events, and the lines it said."""
    home = tmp_path_factory.mktemp("finished")
    path = save_ct(home / f"{PATIENT}.nii.gz", np.maximum(some_hu(), -200))
    with pytest.MonkeyPatch.context() as patch, (home / "said").open("w") as said:
        patch.setattr(ENGINE, disks)
        patch.setattr("sys.stdout", said)
        from LiverTumorSegLib.cli.main import main

        target = home / "new" / "parents" / "result"
        code = main(["segment", str(path), "-o", str(target), "--model", str(model), "--events"])
    assert code == 0
    return target, (home / "said").read_text().splitlines()


def test_exactly_the_promised_files(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    assert set(tree(folder)) == RESULTS
    assert set(tree(folder.parents[2])) == {
        *(f"new/parents/result/{name}" for name in RESULTS),
        *("new", "new/parents", "new/parents/result", "said", f"{PATIENT}.nii.gz"),
    }


def test_labels_lie_on_the_ct_s_own_grid(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    image = nibabel.Nifti1Image.from_filename(folder / "seg.nii.gz")
    labels = np.asarray(image.dataobj)
    assert labels.shape == some_hu().shape
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_allclose(image.affine, some_affine(), atol=1e-4)
    assert set(np.unique(labels)) == {0, 1, 2}
    # the network drew a disk of 70 of 256 pixels on the square around 64 x 5 mm, 4 mm apart
    ml_expected = np.pi * (70 / 256 * 64 * 5) ** 2 * 10 * 4 / 1000
    assert np.count_nonzero(labels) * 0.1 == pytest.approx(ml_expected, rel=0.03)


def test_the_table_and_the_record_say_the_same(finished: tuple[Path, list[str]]) -> None:
    folder, _ = finished
    with (folder / "lesions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    record = json.loads((folder / "lesions.json").read_text())
    assert len(rows) == len(record["lesions"]) == 2
    for row, lesion in zip(rows, record["lesions"], strict=True):
        assert row.pop("notice") == NOTICE
        assert list(row) == list(lesion) == list(LESION_COLUMNS)
        assert (row.pop("implausible") or None) == lesion.pop("implausible")
        assert {key: float(value) for key, value in row.items()} == lesion
    assert all(0.5 < lesion["confidence"] < 1 for lesion in record["lesions"])
    assert "calibrated" in record["confidence_meaning"]
    volumes = [lesion["volume_ml"] for lesion in record["lesions"]]
    assert volumes == sorted(volumes, reverse=True)
    assert sum(volumes) == pytest.approx(record["tumor_volume_ml"], abs=1e-3)


def test_the_record_says_how_it_was_made(finished: tuple[Path, list[str]], model: Path) -> None:
    record = json.loads((finished[0] / "lesions.json").read_text())
    assert record["notice"] == "For research only, not for diagnosis."
    assert record["found_liver"] is True
    assert record["connectivity"] == "26-neighborhood"
    assert LiverTumorSegLib.__version__ in record["made_with"]
    assert record["model"] == {
        "model": "tiny",
        "version": "0.3",
        "sha256": file_sha256(model),
        "networks": {"all": {"net": "hybrid2d", "preprocessing": MODEL_SPEC.preprocessing}},
        "decision": MODEL_SPEC.decision,
        "postprocessing": MODEL_SPEC.postprocessing,
    }
    assert record["run"]["device"] in ("cpu", "cuda")
    assert record["run"]["slices_run"] == 10
    assert 0 < record["run"]["seconds"] < 100
    assert "below -200 HU" in record["warnings"][0]
    assert record["scan"]["shape_kji"] == list(some_hu().shape[::-1])
    assert record["scan"]["spacing_kji_mm"] == pytest.approx([4, 5, 5])


def test_the_picture_is_one(finished: tuple[Path, list[str]]) -> None:
    picture = cv2.imread(str(finished[0] / "overview.png"))
    assert picture is not None
    assert min(picture.shape[:2]) >= 600
    assert picture.std() > 5


def test_nothing_tells_who_it_was(finished: tuple[Path, list[str]]) -> None:
    """Not the file's name, not its folder, not its header; the output folder is the user's word."""
    folder, said = finished
    home = str(folder.parents[2])
    texts = {path.name: path.read_bytes() for path in folder.iterdir()}
    nifti = nibabel.Nifti1Image.from_filename(folder / "seg.nii.gz")
    texts["header"] = nifti.header.binaryblock + b"".join(
        bytes(part.get_content()) for part in nifti.header.extensions
    )
    texts["events"] = "\n".join(said).replace(str(folder), "").encode()
    for name, data in texts.items():
        for word in (PATIENT, "DOE", "JANE", home):
            assert word.encode() not in data, f"{word} in {name}"


def test_events_are_one_json_object_a_line(finished: tuple[Path, list[str]]) -> None:
    folder, said = finished
    events = [json.loads(line) for line in said]
    assert events[0] == {"event": "started", "pid": os.getpid()}
    assert events[-1]["event"] == "finished"
    assert {event["event"] for event in events[1:-1]} == {"progress", "warning"}
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    assert len(set(fractions)) >= 10  # at least one a slice
    record = json.loads((folder / "lesions.json").read_text())
    assert events[-1] == {"event": "finished", "summary": events[-1]["summary"], **record}
    assert [e["text"] for e in events if e["event"] == "warning"] == record["warnings"]


def test_events_end_with_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(capsys, "segment", tmp_path / "none.nii", "-o", tmp_path / "r", "--events")
    events = [json.loads(line) for line in outcome.out.splitlines()]
    assert (outcome.code, outcome.err) == (2, "")
    assert (events[0]["event"], events[-1]["event"]) == ("started", "failed")
    assert events[-1]["kind"] == "input"
    assert "none.nii does not exist" in events[-1]["text"]


# A real network, and options


@pytest.mark.usefixtures("no_picture")
def test_a_real_network_and_all_its_probabilities(
    tmp_path: Path, ct: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result"
    options = ("--probabilities", "--no-coarse-search", "--device", "cpu")
    outcome = run(capsys, "segment", ct, "-o", result, "--model", model, *options)
    assert outcome.code == 0
    assert set(tree(result)) == {*RESULTS, "probabilities.nii.gz"}
    image = nibabel.Nifti1Image.from_filename(result / "probabilities.nii.gz")
    np.testing.assert_allclose(image.affine, some_affine(), atol=1e-4)
    probabilities = np.asarray(image.dataobj)
    assert probabilities.shape == (*some_hu().shape, 3)
    np.testing.assert_allclose(probabilities.sum(axis=3), 1, atol=0.01)
    assert NOTICE in outcome.out


@pytest.mark.usefixtures("known", "no_picture")
def test_no_scan_runs_every_slice(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """60 slices whose liver is not everywhere: the scan leaves some out."""
    calls = iter(range(10_000))

    def fading(engine: Any, grays: Any) -> Any:
        return disks(engine, grays) if 3 < next(calls) < 30 else nothing(engine, grays)

    ct = save_ct(tmp_path / "ct.nii.gz", some_hu((32, 32, 60)))
    counts = {}
    for name, options in (("scan", []), ("all", ["--no-coarse-search"])):
        calls = iter(range(10_000))
        monkeypatch.setattr(ENGINE, fading)
        assert (
            run(capsys, "segment", ct, "-o", tmp_path / name, "--model", model, *options).code == 0
        )
        record = json.loads((tmp_path / name / "lesions.json").read_text())
        counts[name] = record["run"]["slices_run"]
    assert counts["scan"] < counts["all"] == 60


def test_no_liver_is_a_plain_result(
    tmp_path: Path,
    ct: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ENGINE, nothing)
    outcome = run(capsys, "segment", ct, "-o", tmp_path / "result", "--model", model)
    assert (outcome.code, outcome.out.splitlines()[0]) == (0, "No liver found.")
    assert set(tree(tmp_path / "result")) == RESULTS
    record = json.loads((tmp_path / "result" / "lesions.json").read_text())
    assert (record["found_liver"], record["lesions"]) == (False, [])
    assert record["burden_percent"] is None
    assert len((tmp_path / "result" / "lesions.csv").read_text().splitlines()) == 1
    image = nibabel.Nifti1Image.from_filename(tmp_path / "result" / "seg.nii.gz")
    assert not np.asarray(image.dataobj).any()


@pytest.mark.usefixtures("known", "no_picture")
def test_the_summary_for_people(
    tmp_path: Path, ct: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(capsys, "segment", ct, "-o", tmp_path / "result", "--model", model)
    lines = outcome.out.splitlines()
    assert lines[0].startswith("Liver ")
    assert "2 tumors" in lines[0]
    assert [line.split()[0] for line in lines[1:3]] == ["1", "2"]
    assert all(re.search(r"  confidence \d+ %$", line) for line in lines[1:3])
    assert str(tmp_path / "result") in lines[-2]
    assert lines[-1] == NOTICE
    assert PATIENT not in outcome.out + outcome.err


def test_what_speaks_against_a_result_is_told_everywhere(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tumor of fluid, and a liver that ends with the scan."""
    monkeypatch.setattr(ENGINE, disks)
    hu = some_hu()
    hu[(hu > 0) & (hu < 200)] //= 8
    ct, folder = save_ct(tmp_path / "ct.nii.gz", hu), tmp_path / "result"
    outcome = run(capsys, "segment", ct, "-o", folder, "--model", model)
    assert "hardly a tumor: " in outcome.out.splitlines()[1]
    record = json.loads((folder / "lesions.json").read_text())
    assert "as a cyst" in record["lesions"][0]["implausible"]
    for wanted in ("Lesions hardly a liver tumor: 1 (", "cut off at the top of the scan"):
        (sentence,) = [text for text in record["warnings"] if wanted in text]
        assert f"Warning: {sentence}" in outcome.err
    with (folder / "lesions.csv").open(newline="") as file:
        assert "as a cyst" in next(csv.DictReader(file))["implausible"]
    picture = cv2.imread(str(folder / "overview.png"))
    assert picture is not None
    assert picture.shape[0] > 1000


def test_where_there_is_no_liver_none_is_found_whatever_was_marked(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A leg: its bone is no spine, and it is narrow."""
    monkeypatch.setattr(ENGINE, disks)
    ct = save_ct(tmp_path / "leg.nii.gz", some_hu((48, 48, 40)))
    outcome = run(capsys, "segment", ct, "-o", tmp_path / "r", "--model", model, "--probabilities")
    assert outcome.out.splitlines()[0] == "No liver found."
    assert "marked as liver and dropped" in outcome.err
    record = json.loads((tmp_path / "r" / "lesions.json").read_text())
    assert (record["found_liver"], record["liver_volume_ml"]) == (False, 0)
    labels = nibabel.Nifti1Image.from_filename(tmp_path / "r" / "seg.nii.gz")
    assert not np.asarray(labels.dataobj).any()


# Where results go


@pytest.mark.usefixtures("known", "no_picture")
def test_overwrite_replaces_ours_and_keeps_what_is_not(
    tmp_path: Path, ct: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result"
    result.mkdir()
    stale = ["seg.nii.gz", "probabilities.nii.gz", "phantom_ct.nii.gz", "phantom_truth.nii.gz"]
    for name in [*stale, "notes.txt"]:
        (result / name).write_text("old")
    (result / "deeper").mkdir()
    command = ("segment", ct, "-o", result, "--model", model)
    assert run(capsys, *command).code == 2
    assert run(capsys, *command, "--overwrite").code == 0
    assert set(tree(result)) == {*RESULTS, "notes.txt", "deeper"}
    assert (result / "notes.txt").read_text() == "old"
    assert (result / "seg.nii.gz").read_bytes() != b"old"


@pytest.mark.usefixtures("known", "no_picture")
@looped("target", ["result", "a/b", ".", "./x/../result", "link"])
def test_a_folder_named_from_the_working_directory(
    tmp_path: Path,
    ct: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    target: str,
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "elsewhere").mkdir()
    (work / "link").symlink_to("elsewhere")
    (work / "x").mkdir()
    monkeypatch.chdir(work)
    before = set(tree(tmp_path))
    assert run(capsys, "segment", ct, "-o", target, "--model", model).code == 0
    assert {path.name for path in Path(target).iterdir()} >= RESULTS
    assert not any(".part" in name for name in set(tree(tmp_path)) - before)
    again = run(capsys, "segment", ct, "-o", target, "--model", model)
    assert again.code == 2
    assert not again.err.startswith(" ")  # every folder has a name to be called by
