"""demo, models, info and help on the command line, and every real CT through it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import LiverTumorSegLib
import nibabel
import numpy as np
import pytest
from command_line import (
    ENGINE,
    PATIENT,
    RESULTS,
    nothing,
    run,
    start,
    tree,
)
from LiverTumorSegLib.cli.parser import DEMO_SEED, build_parser
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.model.spec import file_sha256
from LiverTumorSegLib.phantom import phantom
from looped import looped

COMMANDS = [
    *([], ["segment"], ["batch"], ["demo"], ["measure"], ["models"], ["info"]),
    *(["models", action] for action in ("list", "verify", "import", "remove", "where")),
]


# demo


@pytest.mark.usefixtures("known")
@looped("seed", [None, 3])
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


def test_what_cannot_be_loaded_is_not_imported(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A header that is whole, with words that its tensors or this version do not bear out."""
    spec = ModelFile.load(model).spec.to_json()
    data, (at, end) = model.read_bytes(), (8, 8 + int.from_bytes(model.read_bytes()[:8], "little"))
    folder, broken = tmp_path / "models", tmp_path / PATIENT / "m.safetensors"
    broken.parent.mkdir()
    for good, bad in (('"width":8', '"width":16'), ('"net":"hybrid2d"', '"net":"unknown"')):
        assert good in spec
        header = json.loads(data[at:end])
        header["__metadata__"] = {"spec": spec.replace(good, bad)}
        text = json.dumps(header).encode()
        broken.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])
        outcome = run(capsys, "models", "import", broken, "--model-folder", folder)
        assert (outcome.code, outcome.out, len(outcome.err.splitlines())) == (2, "", 1)
        assert PATIENT not in outcome.err
        assert not folder.exists()


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
    from LiverTumorSegLib.cli.main import main

    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert main(["models", "where", "--model-folder", "/Müller/\udcff"]) == 0
    assert (tmp_path / "out").read_text() == "/M\\xfcller/\\udcff\n"


# Help


@looped("command", COMMANDS)
def test_help_can_be_followed(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([*command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    usage, what, _ = text.split("\n\n", 2)
    assert usage.startswith("usage: livertumorseg")
    assert len(what.split()) >= 4
    assert max(len(line) for line in text.splitlines()) <= 100
    if command in ([], ["segment"], ["batch"], ["demo"]):
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


@pytest.mark.usefixtures("no_picture")
def test_both_fixtures_pass(
    shared_data: Path,
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ENGINE, nothing)
    paths = sorted((shared_data / "fixtures").glob("*_ct.nii.gz"))
    assert len(paths) == 2
    for path in paths:
        result = tmp_path / path.name
        assert run(capsys, "segment", path, "-o", result, "--model", model).code == 0
        labels = nibabel.Nifti1Image.from_filename(result / "seg.nii.gz")
        source = nibabel.Nifti1Image.from_filename(path)
        assert labels.shape == source.shape
        np.testing.assert_allclose(labels.affine, source.affine, atol=1e-3)


@pytest.mark.slow
def test_every_real_ct_is_accepted(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All are cut to a window, and slices of context lie far apart: warnings, and no refusal."""
    paths = sorted((shared_data / "lits-subset").glob("volume-*"))
    assert paths
    for path in paths:
        outcome = run(capsys, "info", path)
        assert (outcome.code, outcome.err) == (0, "")
        assert "cut to a display window" in outcome.out, path.name
        assert outcome.out.count("Warning: ") == (2 if "context" in path.name else 1), path.name
