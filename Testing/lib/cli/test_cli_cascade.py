"""A cascade on the command line: one file as any other model's, and what its halves are told."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from cascade_model import save_cascade, save_halves
from command_line import PATIENT, rows_of, run, tree
from LiverTumorSegLib.model.spec import file_sha256

pytestmark = pytest.mark.usefixtures("no_picture")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_cascade(tmp_path_factory.mktemp("pair") / "small.safetensors")


def test_one_file_segments_a_ct(
    pair: Path, ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result"
    options = ("--device", "cpu", "--probabilities", "--events", "--no-coarse-search")
    outcome = run(capsys, "segment", ct, "-o", result, "--model", pair, *options)
    assert outcome.code == 0, outcome.err
    assert PATIENT not in outcome.out + outcome.err
    events = [json.loads(line) for line in outcome.out.splitlines()]
    phrases = [event["phrase"] for event in events if event["event"] == "progress"]
    for stage in ("Liver", "Tumor"):
        assert any(phrase.startswith(f"{stage}: Window ") for phrase in phrases)
    probabilities = nibabel.Nifti1Image.from_filename(result / "probabilities.nii.gz")
    source = nibabel.Nifti1Image.from_filename(ct)
    assert probabilities.shape == (*source.shape, 3)
    tumor = np.asarray(probabilities.dataobj)[..., 2]
    assert (tumor > 0.5).any(), "random weights mark about half of all"
    record = json.loads((result / "lesions.json").read_text())
    assert record["model"]["model"] == "small"
    assert record["model"]["sha256"] == file_sha256(pair)
    assert list(record["model"]["networks"]) == ["liver", "tumor"]
    assert record["run"]["slices_run"] == record["run"]["slices"] == 10


def test_batch_runs_a_cascade_and_knows_it_again(
    pair: Path, cts: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("batch", "--model", pair, cts, out)
    assert run(capsys, *command).code == 0
    assert [row["status"] for row in rows_of(out)] == ["done", "done"]
    before = tree(out / "one")
    assert run(capsys, *command).code == 0
    assert [row["status"] for row in rows_of(out)] == ["skipped", "skipped"]
    assert tree(out / "one") == before


def test_from_import_to_removal(
    pair: Path, ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ("--model-folder", tmp_path / "models")
    brought = run(capsys, "models", "import", pair, "--name", "mine", *here)
    assert brought.code == 0
    assert "--model mine" in brought.out
    listed = run(capsys, "models", "list", *here).out
    assert f"{pair.stat().st_size / 1e6:.1f} MB  CC0" in listed
    assert "A small cascade" in listed
    assert run(capsys, "models", "verify", "mine", *here).out == "mine: whole\n"
    told = run(capsys, "info", "mine", *here)
    assert told.code == 0
    for words in ("A small cascade", "liver: gunetrpp", "tumor: gunetrpp", file_sha256(pair)):
        assert words in told.out
    result = tmp_path / "result"
    assert run(capsys, "segment", ct, "-o", result, "--model", "mine", *here).code == 0
    assert json.loads((result / "lesions.json").read_text())["model"]["model"] == "small"
    next((tmp_path / "models").glob("*.safetensors")).unlink()
    assert run(capsys, "models", "verify", *here).code == 2
    assert run(capsys, "models", "remove", "mine", *here).code == 0
    assert list((tmp_path / "models").iterdir()) == []


def test_one_of_two_files_is_refused_with_the_command_that_joins_them(
    ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, models = tmp_path / "result", tmp_path / "models"
    for place, half in zip(("liver", "tumor"), save_halves(tmp_path / "halves"), strict=True):
        for command in (
            ("segment", ct, "-o", result, "--model", half),
            ("models", "import", half, "--model-folder", models),
        ):
            outcome = run(capsys, *command)
            assert outcome.code == 2
            assert f"is the {place} network of a cascade" in outcome.err
            assert "python -m training.export LIVER.safetensors TUMOR.safetensors" in outcome.err
            assert len(outcome.err.splitlines()) == 1
        assert f"the {place} network of a cascade" in run(capsys, "info", half).out
    assert not result.exists()
    assert not models.exists()
