"""Bad input: exit code 2, one sentence that says what to do, and nothing written."""

from __future__ import annotations

import errno
import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from command_line import (
    ENGINE,
    PACKAGE_FOLDER,
    PICTURE,
    RESULTS,
    Outcome,
    disks,
    dot,
    patch_header,
    run,
    save_ct,
    some_affine,
    some_hu,
    tree,
)
from LiverTumorSegLib.cli.parser import build_parser
from looped import looped

ADVICE = (
    *("give ", "check ", "export ", "copy ", "replace ", "name ", "free ", "choose "),
    *("use ", "get ", "close ", "0 or more"),
)
PIXDIM, SLOPE, CODES = 76, 112, 252  # byte offsets in a NIfTI-1 header


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds the input and, in a failing test, the result."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run what must be refused; hold it to the rules and return its sentence."""

    def try_it(*arguments: object) -> str:
        before = tree(folder)
        outcome = run(capsys, *arguments)
        assert tree(folder) == before, "something was written"
        return the_sentence(outcome)

    return try_it


def the_sentence(outcome: Outcome) -> str:
    assert outcome.code == 2
    assert outcome.out == ""
    # a log file may hold how far the run had come and what it warned of; the refusal is one line
    said_before = ("[", "Warning: ")
    lines = [line for line in outcome.err.splitlines() if not line.startswith(said_before)]
    assert len(lines) == 1, outcome.err
    sentence = lines[0]
    assert sentence.endswith(".")
    assert "Traceback" not in sentence
    assert any(advice in sentence.lower() for advice in ADVICE), sentence
    return sentence


# What is no CT


def _text(path: Path) -> None:
    path.write_text("Dear colleague,\nplease find the scan attached.\n" * 30)


def _truncated(path: Path) -> None:
    save_ct(path)
    path.write_bytes(path.read_bytes()[:-2000])


def _rgb(path: Path) -> None:
    colors = np.zeros((8, 8, 8), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nibabel.Nifti1Image(colors, np.eye(4)).to_filename(path)


def _with(value: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        values = some_hu().astype(np.float32)
        values[30, 30, 5] = value
        save_ct(path, values)

    return write


def _header(offset: int, data: bytes) -> Callable[[Path], None]:
    """A file whose spacing alone places it, with some bytes of the header changed."""

    def write(path: Path) -> None:
        plain = save_ct(path.with_name("plain.nii"))
        patch_header(patch_header(plain, CODES, bytes(4)), offset, data)
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()

    return write


def _singular(path: Path) -> None:
    affine = some_affine()
    affine[:3, 1] = affine[:3, 0]
    plain = save_ct(path.with_name("plain.nii"))
    patch_header(plain, 280, affine[:3].astype("<f4").tobytes())  # srow_x, srow_y, srow_z
    path.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()


def _array(make: Callable[[], Any]) -> Callable[[Path], None]:
    return lambda path: (save_ct(path, make()), None)[1]


NO_CT: dict[str, tuple[Callable[[Path], None], str]] = {
    "no such file": (lambda path: None, "does not exist"),
    "empty file": (lambda path: path.write_bytes(b"") and None, "not a NIfTI"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "not NIfTI": (lambda path: path.write_bytes(b"DICM" * 500) and None, "not a NIfTI"),
    "text": (_text, "not a NIfTI"),
    "gzip of text": (
        lambda path: path.write_bytes(gzip.compress(b"text " * 200)) and None,
        "not a NIfTI",
    ),
    "truncated gzip": (_truncated, "cut off"),
    "2D": (_array(lambda: some_hu()[..., 5]), "2D"),
    "4D": (_array(lambda: np.stack([some_hu()] * 3, axis=3)), "more than three axes"),
    "RGB": (_rgb, "color"),
    "NaN": (_with(np.nan), "NaN"),
    "infinite": (_with(-np.inf), "infinite"),
    "constant": (_array(lambda: np.full((8, 8, 8), -1000, np.int16)), "same"),
    "nothing below 0": (_array(lambda: np.abs(some_hu())), "below 0"),
    "nothing below 0 but padding": (_array(lambda: np.maximum(some_hu(), -1)), "but padding"),
    "fractions": (
        _array(lambda: np.random.default_rng(0).random((8, 8, 8)).astype(np.float32)),
        "between 0 and 1",
    ),
    "one slice": (_array(lambda: some_hu()[..., 5:6]), "one slice"),
    "spacing zero": (_header(PIXDIM + 12, np.float32(0).tobytes()), "spacing"),
    "spacing absent": (_header(PIXDIM, bytes(32)), "spacing"),
    "singular affine": (_singular, "singular"),
}


@looped(("make", "says"), NO_CT.values())
def test_what_is_no_ct(
    tmp_path: Path,
    folder: Path,
    refused: Callable[..., str],
    make: Callable[[Path], None],
    says: str,
) -> None:
    path = tmp_path / "ct.nii.gz"
    make(path)
    sentence = refused("segment", path, "-o", folder / "result")
    assert sentence.startswith("ct.nii.gz ")
    assert says in sentence


def test_info_refuses_in_the_same_words(folder: Path, refused: Callable[..., str]) -> None:
    _text(folder / "ct.nii.gz")
    assert refused("info", folder / "ct.nii.gz") == refused(
        "segment", folder / "ct.nii.gz", "-o", folder / "result"
    )


@looped("least", [-400, -40, -20])
def test_a_windowed_ct_is_accepted_with_one_warning(
    folder: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    least: int,
) -> None:
    monkeypatch.setattr(ENGINE, disks)
    path = save_ct(folder / "ct.nii.gz", np.clip(some_hu(), least, 110))
    outcome = run(capsys, "segment", path, "-o", folder / "result", "--model", model)
    assert outcome.code == 0
    warnings = [line for line in outcome.err.splitlines() if line.startswith("Warning: ")]
    assert sum(f"below {least} HU" in warning for warning in warnings) == 1


# Where results cannot go


@pytest.fixture
def ct(folder: Path) -> Path:
    return save_ct(folder / "ct.nii.gz")


@looped("name", ["seg.nii.gz", "lesions.csv", "overview.png", "phantom_ct.nii.gz"])
def test_results_that_exist_stay(
    folder: Path, ct: Path, refused: Callable[..., str], name: str
) -> None:
    (folder / "result").mkdir()
    (folder / "result" / name).write_text("a day's work")
    sentence = refused("segment", ct, "-o", folder / "result")
    assert name in sentence
    assert "--overwrite" in sentence


def test_the_output_is_a_file(folder: Path, ct: Path, refused: Callable[..., str]) -> None:
    (folder / "result").write_text("notes")
    for option in ([], ["--overwrite"]):
        assert "is a file" in refused("segment", ct, "-o", folder / "result", *option)
    refused("segment", ct, "-o", folder / "result" / "deeper")
    refused("segment", ct, "-o", folder / ("long" * 100))


@looped("target", ["result", "a/b/result", "."])
@looped("denied", ["mkdir", "exists"])
def test_no_permission_to_write(
    folder: Path,
    ct: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    denied: str,
) -> None:
    def deny(path: Path, *args: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.chdir(folder)
    monkeypatch.setattr(Path, denied, deny)
    sentence = refused("segment", ct, "-o", target)
    assert "permission" in sentence


def _fail_at(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A disk that is full when a step writes; half a file is there already."""

    def full(*args: Any, **options: Any) -> None:
        path = next(arg for arg in args if isinstance(arg, Path))
        if step != "rename":
            with path.open("wb") as half:
                half.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    places = {
        "labels": (nibabel.Nifti1Image, "to_filename"),
        "files": (Path, "write_bytes"),
        "rename": (os, "replace"),
    }
    monkeypatch.setattr(*places[step], full)


@looped("step", ["labels", "files", "rename"])
@looped("target", ["a/b/result", "there"])
def test_a_disk_that_fills_up_on_the_way(
    folder: Path,
    ct: Path,
    model: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    target: str,
) -> None:
    (folder / "there").mkdir()
    (folder / "there" / "notes.txt").write_text("mine")
    (folder / "there" / "seg.nii.gz").write_text("of an earlier run")
    monkeypatch.setattr(ENGINE, disks)
    monkeypatch.setattr(PICTURE, dot)  # the real picture takes its time
    _fail_at(monkeypatch, step)
    sentence = refused("segment", ct, "-o", folder / target, "--model", model, "--overwrite")
    assert "full" in sentence or "No space left" in sentence
    assert "free some space" in sentence.lower()


def test_a_file_size_limit_met_for_real(
    folder: Path, model: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    ct = save_ct(folder / "ct.nii.gz")
    monkeypatch.setattr(ENGINE, disks)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        refused("segment", ct, "-o", folder / "a" / "result", "--model", model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_demo_ct_is_not_deleted_by_the_run_that_reads_it(
    folder: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ct = save_ct(folder / "phantom_ct.nii.gz")
    monkeypatch.chdir(folder)
    for target in (folder, ".", folder / "nowhere" / ".."):
        assert "another folder" in refused("segment", ct, "-o", target, "--overwrite")


# Models and devices


def test_an_unknown_model(folder: Path, ct: Path, refused: Callable[..., str]) -> None:
    sentence = refused("segment", ct, "-o", folder / "result", "--model", "no-such-model")
    assert "no-such-model" in sentence
    assert "known" in sentence


@looped("damage", ["cut off", "text", "empty", "folder"])
def test_a_broken_model_file(
    folder: Path, ct: Path, model: Path, refused: Callable[..., str], damage: str
) -> None:
    broken = folder / "broken.safetensors"
    contents = {"cut off": model.read_bytes()[:-100], "text": b"no model" * 99, "empty": b""}
    if damage == "folder":
        broken.mkdir()
    else:
        broken.write_bytes(contents[damage])
    assert "broken.safetensors" in refused(
        "segment", ct, "-o", folder / "result", "--model", broken
    )


@looped("device", ["tpu", "cuda:99", ""])
def test_an_unknown_device(
    folder: Path, ct: Path, model: Path, refused: Callable[..., str], device: str
) -> None:
    result = folder / "result"
    assert "cpu" in refused("segment", ct, "-o", result, "--model", model, "--device", device)


def test_too_little_memory(
    folder: Path,
    ct: Path,
    model: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_much(*args: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("LiverTumorSegLib.inference.segmenter.Segmenter.segment", too_much)
    assert "memory" in refused("segment", ct, "-o", folder / "result", "--model", model)


def test_demo_refuses_a_negative_seed(folder: Path, refused: Callable[..., str]) -> None:
    assert "seed" in refused("demo", "-o", folder / "result", "--seed", "-1")


@looped("arguments", [[], ["segment"], ["segment", "ct.nii"], ["models"], ["x"]])
def test_an_incomplete_command_shows_how_it_is_written(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(arguments)
    assert ended.value.code == 2
    assert "usage: livertumorseg" in capsys.readouterr().err


def test_a_bad_ct_is_refused_before_torch_is_loaded(folder: Path) -> None:
    _text(folder / "ct.nii.gz")
    program = (
        "import sys; from LiverTumorSegLib.cli.main import main;"
        f"code = main(['segment', {str(folder / 'ct.nii.gz')!r}, '-o', 'result']);"
        "assert code == 2; assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_FOLDER)},
        cwd=folder,
        check=True,
        stderr=subprocess.DEVNULL,
    )
    assert not RESULTS & set(tree(folder))
