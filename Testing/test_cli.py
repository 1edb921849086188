"""The command line from CT to results: what it writes, says, and leaves when it is stopped."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import cv2
import LiverTumorSegLib
import nibabel
import numpy as np
import pytest
from command_line import (
    MODEL_SPEC,
    PATIENT,
    RESULTS,
    disks,
    nothing,
    run,
    save_ct,
    save_model,
    some_affine,
    some_hu,
    start,
    tree,
)
from LiverTumorSegLib import phantom
from LiverTumorSegLib.cli import DEMO_SEED, build_parser
from LiverTumorSegLib.lesions import LESION_COLUMNS
from LiverTumorSegLib.results import NOTICE
from LiverTumorSegLib.segment import Cancelled
from LiverTumorSegLib.spec import file_sha256

ENGINE = "LiverTumorSegLib.engine.SliceEngine.__call__"
COMMANDS = [
    *([], ["segment"], ["demo"], ["models"], ["info"]),
    *(["models", action] for action in ("list", "verify", "import", "remove", "where")),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    return save_ct(tmp_path / f"{PATIENT}.nii.gz")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network sees a liver with two tumors, whatever the CT."""
    monkeypatch.setattr(ENGINE, disks)


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of other files: a dot is drawn faster."""
    dot = np.zeros((4, 4, 3), np.uint8)
    monkeypatch.setattr("LiverTumorSegLib.results.draw_overview", lambda *a, **o: dot)


# What a run leaves


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, model: Path) -> tuple[Path, list[str]]:
    """The result folder of one run with --events, and the lines it said."""
    home = tmp_path_factory.mktemp("finished")
    path = save_ct(home / f"{PATIENT}.nii.gz", np.maximum(some_hu(), -200))
    with pytest.MonkeyPatch.context() as patch, (home / "said").open("w") as said:
        patch.setattr(ENGINE, disks)
        patch.setattr("sys.stdout", said)
        from LiverTumorSegLib.cli import main

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
        assert {key: float(value) for key, value in row.items()} == lesion
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
        "preprocessing": MODEL_SPEC.preprocessing,
        "postprocessing": MODEL_SPEC.postprocessing,
    }
    assert record["run"]["device"] in ("cpu", "cuda")
    assert record["run"]["slices_run"] == 10
    assert 0 < record["run"]["seconds"] < 100
    assert len(record["warnings"]) == 1
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


@pytest.mark.usefixtures("no_picture")
def test_a_fault_of_the_program_is_said_and_shown(
    tmp_path: Path,
    ct: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fault(*args: object) -> None:
        raise RuntimeError("shapes do not agree")

    monkeypatch.setattr(ENGINE, fault)
    before = tree(tmp_path)
    with pytest.raises(RuntimeError):
        run(capsys, "segment", ct, "-o", tmp_path / "r", "--model", model, "--events")
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["event"], last["kind"]) == ("failed", "fault")
    assert "report" in last["text"]
    assert tree(tmp_path) == before


# A real network, and options


@pytest.mark.usefixtures("no_picture")
def test_a_real_network_and_all_its_probabilities(
    tmp_path: Path, ct: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result"
    options = ("--probabilities", "--no-scan", "--device", "cpu")
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
    for name, options in (("scan", []), ("all", ["--no-scan"])):
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
    assert str(tmp_path / "result") in lines[-2]
    assert lines[-1] == NOTICE
    assert PATIENT not in outcome.out + outcome.err


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
@pytest.mark.parametrize("target", ["result", "a/b", ".", "./x/../result", "link"])
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


# Runs that are stopped


@pytest.mark.parametrize("how", ["Ctrl-C", "cancel", "end"])
@pytest.mark.parametrize("events", [[], ["--events"]], ids=["console", "events"])
def test_a_run_that_is_stopped_leaves_nothing(
    tmp_path: Path,
    ct: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    events: list[str],
) -> None:
    calls = iter(range(100))

    def stop(engine: Any, grays: Any) -> Any:
        if next(calls) < 3:
            return disks(engine, grays)
        if how == "end":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        raise KeyboardInterrupt if how == "Ctrl-C" else Cancelled

    monkeypatch.setattr(ENGINE, stop)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "seg.nii.gz").write_text("old")
    before, handler = tree(tmp_path), signal.getsignal(signal.SIGTERM)
    for target in ("new/result", "old"):
        calls = iter(range(100))
        command = ("segment", ct, "-o", tmp_path / target, "--model", model, "--overwrite")
        outcome = run(capsys, *command, *events)
        assert outcome.code == 130
        assert tree(tmp_path) == before
        if events:
            last = json.loads(outcome.out.splitlines()[-1])
            assert (last["event"], last["kind"]) == ("failed", "cancelled")
        else:
            assert outcome.out == ""
            assert outcome.err.splitlines()[-1] == "Cancelled; nothing was written."
    assert signal.getsignal(signal.SIGTERM) == handler


def test_ctrl_c_on_a_real_process(tmp_path: Path, model: Path) -> None:
    ct = save_ct(tmp_path / "ct.nii.gz", some_hu((32, 32, 500)))
    before = tree(tmp_path)
    options = ("--model", model, "--no-scan", "--device", "cpu", "--events")
    with start("segment", ct, "-o", tmp_path / "a" / "result", *options) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("fraction", 0) > 0:
                break
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""
    assert json.loads(rest.splitlines()[-1])["kind"] == "cancelled"
    assert tree(tmp_path) == before


def test_a_reader_that_goes_away_ends_the_run(tmp_path: Path, model: Path) -> None:
    """As when the program that reads the events has died: no result, no error, no traceback."""
    ct = save_ct(tmp_path / "ct.nii.gz")
    before = tree(tmp_path)
    with start("segment", ct, "-o", tmp_path / "r", "--model", model, "--events") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (130, "")
    assert tree(tmp_path) == before


# demo


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("seed", [None, 3])
def test_demo_compares_with_its_truth(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    seed: int | None,
) -> None:
    make, seeds = phantom.make_phantom, []

    def small(*, seed: int, **grid: Any) -> phantom.Phantom:
        seeds.append(seed)
        return make(seed=seed, shape_kji=(24, 40, 40), spacing_kji_mm=(12.0, 9.0, 9.0))

    monkeypatch.setattr(phantom, "make_phantom", small)
    result = tmp_path / "result"
    option = [] if seed is None else ["--seed", seed]
    outcome = run(capsys, "demo", "-o", result, "--model", model, *option)
    assert outcome.code == 0
    assert seeds == [DEMO_SEED if seed is None else seed]
    assert set(tree(result)) == {*RESULTS, "phantom_ct.nii.gz", "phantom_truth.nii.gz"}
    made, truth, labels = (
        nibabel.Nifti1Image.from_filename(result / f"{name}.nii.gz")
        for name in ("phantom_ct", "phantom_truth", "seg")
    )
    assert made.shape == truth.shape == labels.shape == (40, 40, 24)
    np.testing.assert_array_equal(made.affine, labels.affine)
    expected = make(seed=seeds[0], shape_kji=(24, 40, 40), spacing_kji_mm=(12.0, 9.0, 9.0))
    np.testing.assert_array_equal(np.asarray(made.dataobj).T, expected.ct.hu)
    np.testing.assert_array_equal(np.asarray(truth.dataobj).T, expected.labels)
    agreement = json.loads((result / "lesions.json").read_text())["agreement_with_truth"]
    ours, theirs = np.asarray(labels.dataobj) > 0, np.asarray(truth.dataobj) > 0
    dice = 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum())
    assert agreement["liver_dice"] == pytest.approx(dice)
    assert f"liver Dice {dice:.3f}" in outcome.out


# models and info


def test_models_from_import_to_removal(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models"
    here = ("--model-folder", folder)
    assert run(capsys, "models", "where", *here).out == f"{folder}\n"
    assert "mine" not in run(capsys, "models", "list", *here).out
    assert not folder.exists()
    brought = run(capsys, "models", "import", model, "--name", "mine", *here)
    assert (brought.code, "--model mine" in brought.out) == (0, True)
    again = run(capsys, "models", "import", model, "--name", "mine", *here)
    assert (again.code, again.out) == (2, "")
    assert run(capsys, "models", "import", model, "--name", "mine", "--overwrite", *here).code == 0
    listed = run(capsys, "models", "list", *here).out
    assert "mine" in listed
    assert "CC0" in listed
    assert "not for diagnosis" in listed
    assert run(capsys, "models", "verify", "mine", *here).out == "mine: whole\n"
    assert "mine: whole" in run(capsys, "models", "verify", *here).out
    file = next(folder.glob("mine-*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    damaged = run(capsys, "models", "verify", "mine", *here)
    assert (damaged.code, damaged.out, len(damaged.err.splitlines())) == (2, "", 1)
    assert "mport" in damaged.err
    assert run(capsys, "models", "remove", "mine", *here).code == 0
    assert list(folder.iterdir()) == []
    gone = run(capsys, "models", "remove", "mine", *here)
    assert (gone.code, len(gone.err.splitlines())) == (2, 1)


@pytest.mark.usefixtures("known", "no_picture")
def test_an_imported_model_is_used_by_its_name(
    tmp_path: Path,
    ct: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIVERTUMORSEG_MODELS", str(tmp_path / "models"))
    assert run(capsys, "models", "import", model).code == 0
    assert run(capsys, "segment", ct, "-o", tmp_path / "result", "--model", "tiny").code == 0
    record = json.loads((tmp_path / "result" / "lesions.json").read_text())
    assert record["model"]["sha256"] == file_sha256(model)


def test_info_tells_of_a_ct_and_of_a_model(
    ct: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_ct = run(capsys, "info", ct)
    assert (of_ct.code, of_ct.err) == (0, "")
    assert "64 x 60 x 10 voxels" in of_ct.out
    assert PATIENT not in of_ct.out
    of_model = run(capsys, "info", model)
    assert "tiny 0.3" in of_model.out
    assert file_sha256(model) in of_model.out


def test_letters_that_a_terminal_lacks_stop_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from LiverTumorSegLib.cli import main

    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert main(["models", "where", "--model-folder", "/Müller/\udcff"]) == 0
    assert (tmp_path / "out").read_text() == "/M\\xfcller/\\udcff\n"


# Help


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_can_be_followed(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([*command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    usage, what, _ = text.split("\n\n", 2)
    assert usage.startswith("usage: livertumorseg")
    assert len(what.split()) >= 4
    assert max(len(line) for line in text.splitlines()) <= 100
    if command in ([], ["segment"], ["demo"]):
        assert "not for diagnosis" in text


def test_every_option_has_help() -> None:
    import argparse

    def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
        nested = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        below = [
            p for action in nested for child in action.choices.values() for p in parsers(child)
        ]
        return [parser, *below]

    for parser in parsers(build_parser()):
        assert parser.description
        for action in parser._actions:
            if not isinstance(action, argparse._SubParsersAction):
                assert action.help, f"{parser.prog} {action.dest}"


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"livertumorseg {LiverTumorSegLib.__version__}\n"


def test_python_m_is_the_command() -> None:
    with start("--version") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.split() == ["livertumorseg", LiverTumorSegLib.__version__]


# Real CTs


@pytest.mark.slow
@pytest.mark.usefixtures("no_picture")
def test_every_real_ct_passes(
    shared_data: Path,
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ENGINE, nothing)
    volumes = sorted((shared_data / "lits-subset").glob("volume-*"))
    volumes += sorted((shared_data / "fixtures").glob("*_ct.nii.gz"))
    assert len(volumes) >= 2
    command = ("-o", tmp_path, "--model", model, "--device", "cpu", "--overwrite")
    for path in volumes:
        outcome = run(capsys, "segment", path, *command)
        assert outcome.code == 0, outcome.err
        labels = nibabel.Nifti1Image.from_filename(tmp_path / "seg.nii.gz")
        source = nibabel.Nifti1Image.from_filename(path)
        assert labels.shape == source.shape
        np.testing.assert_allclose(labels.affine, source.affine, atol=1e-3)
