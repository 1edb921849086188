"""Models of two files on the command line: every command, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from cascade_model import save_cascade
from command_line import PATIENT, rows_of, run, tree
from LiverTumorSegLib.cli.parser import AND, build_parser, with_joined_models
from LiverTumorSegLib.model.spec import file_sha256

pytestmark = pytest.mark.usefixtures("no_picture")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_cascade(tmp_path_factory.mktemp("pair"))


@pytest.mark.parametrize(
    ("words", "models"),
    [
        ("segment ct.nii -o out --model a.safetensors b.safetensors", ["a", "b"]),
        ("segment --model a.safetensors b.safetensors ct.nii -o out", ["a", "b"]),
        ("batch --model a.safetensors b.safetensors in out", ["a", "b"]),
        ("demo --model name b.safetensors -o out", ["name", "b"]),
        ("segment --model a.safetensors ct.nii -o out", ["a"]),
        ("segment --model name ct.nii -o out", ["name"]),
        ("batch --model a.safetensors in out --model b.safetensors", ["b"]),
        ("segment ct.nii -o out", None),
    ],
)
def test_only_a_second_model_file_belongs_to_the_first(
    words: str, models: list[str] | None
) -> None:
    given = build_parser().parse_args(with_joined_models(words.split()))
    several = None if given.model is None else given.model.split(AND)
    plain = several and [model.removesuffix(".safetensors") for model in several]
    assert plain == models
    if "ct.nii" in words:
        assert given.ct == Path("ct.nii")


@pytest.mark.parametrize("first", [True, False], ids=["before the CT", "after it"])
def test_two_files_segment_a_ct(
    pair: tuple[Path, Path],
    ct: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    first: bool,
) -> None:
    words, result = ["--model", *pair], tmp_path / "result"
    command = [*words, ct] if first else [ct, *words]
    outcome = run(capsys, "segment", *command, "-o", result, "--device", "cpu", "--probabilities")
    assert outcome.code == 0, outcome.err
    assert "not for diagnosis" in outcome.out
    assert PATIENT not in outcome.out + outcome.err
    labels, probabilities = (
        nibabel.Nifti1Image.from_filename(result / f"{name}.nii.gz")
        for name in ("seg", "probabilities")
    )
    source = nibabel.Nifti1Image.from_filename(ct)
    assert labels.shape == source.shape
    np.testing.assert_allclose(labels.affine, source.affine, atol=1e-4)
    found = np.asarray(labels.dataobj)
    assert set(np.unique(found)) == {0, 1, 2}, "random weights mark about half of all"
    assert probabilities.shape == (*source.shape, 3)
    record = json.loads((result / "lesions.json").read_text())
    assert record["model"]["model"] == "small"
    assert record["model"]["stages"]["tumor"]["sha256"] == file_sha256(pair[1])
    assert record["run"]["slices_run"] == record["run"]["slices"] == 10


def test_settings_reach_the_cascade(
    pair: tuple[Path, Path], ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result"
    options = ("--smallest-lesion-mm", "500", "--no-coarse-search", "--events")
    outcome = run(capsys, "segment", ct, "-o", result, "--model", *pair, *options)
    assert outcome.code == 0
    events = [json.loads(line) for line in outcome.out.splitlines()]
    phrases = [event["phrase"] for event in events if event["event"] == "progress"]
    assert any(phrase.startswith("Liver: window ") for phrase in phrases)
    assert any(phrase.startswith("Tumor: window ") for phrase in phrases)
    record = json.loads((result / "lesions.json").read_text())
    assert record["model"]["postprocessing"]["smallest_lesion_mm"] == 500
    labels = np.asarray(nibabel.Nifti1Image.from_filename(result / "seg.nii.gz").dataobj)
    assert set(np.unique(labels)) == {0, 1}


def test_batch_runs_a_cascade_and_knows_it_again(
    pair: tuple[Path, Path], cts: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("batch", "--model", *pair, cts, out)
    assert run(capsys, *command).code == 0
    assert [row["status"] for row in rows_of(out)] == ["done", "done"]
    before = tree(out / "one")
    assert run(capsys, *command).code == 0
    assert [row["status"] for row in rows_of(out)] == ["skipped", "skipped"]
    assert tree(out / "one") == before


def test_from_import_to_removal(
    pair: tuple[Path, Path], ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ("--model-folder", tmp_path / "models")
    brought = run(capsys, "models", "import", *pair[::-1], "--name", "mine", *here)
    assert brought.code == 0
    assert "--model mine" in brought.out
    listed = run(capsys, "models", "list", *here).out
    size = sum(path.stat().st_size for path in pair) / 1e6
    assert f"{size:.1f} MB in 2 files  CC0" in listed
    assert "A small cascade" in listed
    assert run(capsys, "models", "verify", "mine", *here).out == "mine: whole\n"
    told = run(capsys, "info", "mine", *here)
    assert told.code == 0
    for words in ("A small cascade", "liver network", "tumor network", file_sha256(pair[1])):
        assert words in told.out
    result = tmp_path / "result"
    assert run(capsys, "segment", ct, "-o", result, "--model", "mine", *here).code == 0
    assert json.loads((result / "lesions.json").read_text())["model"]["model"] == "mine"
    (tmp_path / "models" / next(iter(tree(tmp_path / "models")))).unlink()
    assert run(capsys, "models", "verify", *here).code == 2
    assert run(capsys, "models", "remove", "mine", *here).code == 0
    assert list((tmp_path / "models").iterdir()) == []


def test_info_of_one_of_the_files(
    pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    told = run(capsys, "info", pair[0])
    assert "the liver network of a cascade" in told.out
    assert json.dumps({"background": 0, "liver": 1}) in told.out


def test_one_of_the_files_alone_is_refused(
    pair: tuple[Path, Path],
    model: Path,
    ct: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = tmp_path / "result"
    for files, words in (
        ([pair[0]], "is the liver network of a cascade"),
        ([pair[1]], "is the tumor network of a cascade"),
        ([pair[0], model], "liver network and the other its tumor network"),
        ([model, pair[1]], "liver network and the other its tumor network"),
    ):
        outcome = run(capsys, "segment", ct, "-o", result, "--model", *files)
        assert outcome.code == 2
        assert words in outcome.err
        assert len(outcome.err.splitlines()) == 1
        assert not result.exists()
    outcome = run(capsys, "models", "import", pair[0], "--model-folder", tmp_path / "models")
    assert outcome.code == 2
    assert "together with the file of the tumor network" in outcome.err
