"""``segment --raw`` as a real process: the same labels as from a file, and no orphan is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PACKAGE_FOLDER, run, save_ct, some_affine, some_hu
from LiverTumorSegLib.cli import child
from LiverTumorSegLib.cli.exchange import Answer, read_answer, write_request
from LiverTumorSegLib.ct.nifti import read_ct, read_labels
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.settings import RunSettings
from looped import looped
from numpy.typing import NDArray
from random_model import save_random_model

SHAPE_IJK = (72, 66, 6)  # as wide as a body: in a narrower one nothing is taken for a liver
KEEP = ("--smallest-lesion-mm", "0", "--device", "cpu", "--no-coarse-search")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "exchange"
    folder.mkdir()
    write_request(folder, hu_kji(), some_affine())
    return folder


@pytest.fixture
def long_folder(tmp_path: Path) -> Path:
    """A CT that takes a minute."""
    folder = tmp_path / "long"
    folder.mkdir()
    write_request(folder, hu_kji((32, 32, 600)), some_affine())
    return folder


def hu_kji(shape_ijk: tuple[int, ...] = SHAPE_IJK) -> NDArray[np.int16]:
    return np.ascontiguousarray(some_hu(shape_ijk).transpose(2, 1, 0))


def start(*arguments: object) -> subprocess.Popen[str]:
    """As Slicer starts it: all three streams are pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "LiverTumorSegLib", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def wait_for_a_slice(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("fraction", 0) > 0:
            return
    raise AssertionError("the run ended before its first slice")


def test_arrays_and_files_give_the_same_labels(
    tmp_path: Path, folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_file, _ = read_ct(save_ct(tmp_path / "ct.nii.gz", some_hu(SHAPE_IJK)))
    write_request(folder, by_file.hu, by_file.ijk_to_ras)  # NIfTI rounds an affine
    options = ("--model", model, "--probabilities", *KEEP)
    with start("segment", "--raw", folder, "--events", "--with-parent", *options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()  # its input stays open
    assert (process.returncode, err) == (0, "")
    told = events(out)
    assert [told[0]["event"], told[-1]["event"]] == ["started", "finished"]
    assert told[0]["pid"] == process.pid
    fractions = [event["fraction"] for event in told if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert {path.suffix for path in folder.iterdir()} == {".npy", ".json", ".npz"}

    ct = tmp_path / "ct.nii.gz"
    assert run(capsys, "segment", ct, "-o", tmp_path / "r", *options).code == 0
    answer = read_answer(folder, hu_kji().shape)
    labels, _ = read_labels(tmp_path / "r" / "seg.nii.gz")
    np.testing.assert_array_equal(answer.labels_kji, labels)
    assert answer.labels_kji.any()
    assert answer.probabilities is not None
    np.testing.assert_allclose(answer.probabilities.astype(np.float32).sum(0), 1, atol=5e-3)
    record = json.loads((tmp_path / "r" / "lesions.json").read_text())
    for one in (record, answer.record):
        one["run"].pop("seconds")
    keys = [one["key"] for one in answer.record.pop("said")]
    assert len(keys) == len(record["warnings"]), "for translations, beside each warning"
    assert answer.record == record


def test_at_every_step_of_sensitivity_the_labels_are_those_of_a_run_that_decides_so(
    tmp_path: Path, folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, thresholds = ModelFile.load(model), (0.8, 0.5, 0.2)
    points = [
        {
            "tumor_threshold": threshold,
            "lesions_from_10_mm": [10 + n, 20],
            "lesions_under_10_mm": [n, 20],
            "false_lesions_per_volume": 1.0 + n,
        }
        for n, threshold in enumerate(thresholds)
    ]

    def answer_at(threshold: float) -> Answer:
        decision = Decision(tumor_threshold=threshold).to_dict()
        spec = replace(file.spec, decision=decision, tuning={"points": points})
        ModelFile(spec, file.state).save(tmp_path / "curve.safetensors")
        options = ("--model", tmp_path / "curve.safetensors", *KEEP)
        assert run(capsys, "segment", "--raw", folder, "--events", *options).code == 0
        return read_answer(folder, hu_kji().shape)

    answers = [answer_at(threshold) for threshold in thresholds]
    tested = answers[1]
    assert tested.steps is not None
    assert tested.seen is not None
    assert (tested.steps.fewest, tested.steps.most) == (-1, 1)
    for step, other in zip((-1, 0, 1), answers, strict=True):
        labels = tested.steps.labels_kji(tested.labels_kji, step)
        np.testing.assert_array_equal(labels, other.labels_kji)
        told = tested.steps.at(step)[1]
        assert told["lesions"] == other.record["lesions"]
        assert told["sensitivity"]["tumor_threshold"] == thresholds[1 + step]
    assert (answers[0].labels_kji != answers[2].labels_kji).any()
    seen = tested.seen.whole_kji(hu_kji().shape)
    assert seen[tested.labels_kji == 2].min() > seen[tested.labels_kji == 1].mean()


def test_a_program_s_run_and_its_proof_need_no_nibabel(
    tmp_path: Path, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not installed in Slicer, where nothing reads or writes a NIfTI file by it."""
    absent = tmp_path / "absent"
    absent.mkdir()
    (absent / "nibabel.py").write_text("raise ImportError('it is not there')")
    others = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(absent), str(PACKAGE_FOLDER), others]))
    run = ["-m", "LiverTumorSegLib", "segment", "--raw", folder, "--model", model]
    for arguments in (run, ["-m", "LiverTumorSegLib.cli.selfcheck"]):
        done = subprocess.run(
            [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "nibabel" not in done.stdout + done.stderr


def test_what_is_no_ct_is_refused_in_words(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> str:
        outcome = run(capsys, "segment", "--raw", folder, "--events", "--model", model)
        assert outcome.code == 2
        last = events(outcome.out)[-1]
        assert (last["event"], last["kind"]) == ("failed", "input")
        return str(last["text"])

    write_request(folder, np.zeros((4, 5, 6), np.int16), some_affine())
    assert "same value" in refused()
    write_request(folder, hu_kji()[:1], some_affine())
    assert "one slice" in refused()
    write_request(folder, hu_kji(), np.zeros((4, 4)))
    assert "spacing" in refused()
    (folder / "ct.json").unlink()
    assert "no ct.json" in refused()
    assert not (folder / "labels.npy").exists()


def test_a_warning_about_the_ct_is_in_the_record(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_request(folder, np.clip(hu_kji(), -100, 100), some_affine())
    outcome = run(capsys, "segment", "--raw", folder, "--events", "--model", model, *KEEP)
    warnings = [e["text"] for e in events(outcome.out) if e["event"] == "warning"]
    assert sum("display window" in warning for warning in warnings) == 1
    assert read_answer(folder, hu_kji().shape).record["warnings"] == warnings


def test_the_settings_reach_the_run_and_the_record(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = RunSettings(
        model=str(model), device="cpu", coarse_search=False, smallest_lesion_mm=1e3
    )
    options = settings.to_arguments()
    assert run(capsys, "segment", "--raw", folder, "--events", *options).code == 0
    answer = read_answer(folder, hu_kji().shape)
    assert answer.labels_kji.max() == 1  # no lesion is a meter wide
    assert answer.record["model"]["postprocessing"]["smallest_lesion_mm"] == 1e3
    assert answer.record["settings"] == settings.what_counts()
    assert str(model.parent) not in json.dumps(answer.record)


@looped("arguments", [["-o", "x"], ["ct.nii", "--raw", "x"]])
def test_both_ways_in_or_none_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(capsys, "segment", *arguments)
    assert outcome.code == 2
    assert "--raw FOLDER alone" in outcome.err


def test_a_full_disk_is_told(
    folder: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("LiverTumorSegLib.cli.exchange.write_answer", full)
    outcome = run(capsys, "segment", "--raw", folder, "--events", "--model", model, *KEEP)
    assert outcome.code == 2
    assert "Free some space" in events(outcome.out)[-1]["text"]


def test_the_child_ends_when_its_parent_closes_the_line(long_folder: Path, model: Path) -> None:
    options = ("--events", "--with-parent", "--model", model, *KEEP)
    with start("segment", "--raw", long_folder, *options) as process:
        wait_for_a_slice(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)  # meant to take under 5 s; a busy machine may need more
    assert process.returncode == 130
    assert not (long_folder / "record.json").exists()


def test_without_the_option_a_closed_input_is_nothing(folder: Path, model: Path) -> None:
    with start("segment", "--raw", folder, "--events", "--model", model, *KEEP) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.stdout is not None
        assert events(process.stdout.read())[-1]["event"] == "finished"
    assert process.returncode == 0


@pytest.fixture
def parent(long_folder: Path, model: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that starts the command line and passes on what it says."""
    command = [sys.executable, "-m", "LiverTumorSegLib", "segment", "--raw", str(long_folder)]
    command += ["--events", "--with-parent", "--model", str(model), *KEEP]
    program = f"import subprocess; subprocess.Popen({command!r}, stdin=subprocess.PIPE).wait()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="asks for a process by signal 0")
def test_the_child_ends_when_its_parent_is_killed(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    pid = json.loads(parent.stdout.readline())["pid"]
    wait_for_a_slice(parent)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30  # meant to take under 5 s; a busy machine may need more
    while is_alive(pid):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Also a zombie counts as gone: whoever adopts it has not looked yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_child_that_cannot_be_interrupted_ends_too(tmp_path: Path) -> None:
    """As in a library's own code, which no signal handler of Python's interrupts."""
    program = (
        "import signal, time; from LiverTumorSegLib.cli import child;"
        "signal.signal(signal.SIGINT, signal.SIG_IGN); child.end_with_parent();"
        "print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()
        process.wait(timeout=30)  # meant to take under 5 s; a busy machine may need more
    assert process.returncode == child.EXIT_ORPHANED


def test_a_process_without_input_is_left_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    child.end_with_parent()
