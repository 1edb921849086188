"""A lab's own network from its folder to labels, a batch and scores, as every other model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import foreign_networks as foreign
import numpy as np
import pytest
from command_line import rows_of, run
from evaluated_folder import write_cases
from LiverTumorSegLib.cli.main import main as command
from LiverTumorSegLib.model.catalog import find_model
from LiverTumorSegLib.model.spec import file_sha256

from training.evaluate import main as evaluate

pytestmark = pytest.mark.usefixtures("no_picture")
NAME = "nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return foreign.write_nnunet(
        tmp_path_factory.mktemp("net") / NAME,
        foreign.Thresholds(),
        plans=foreign.plans(),
        dataset=foreign.dataset(),
    )


@pytest.fixture
def models(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder with the network in it, as "ours"."""
    place = tmp_path / "models"
    monkeypatch.setenv("LIVERTUMORSEG_MODELS", str(place))
    assert command(["models", "import", str(folder), "--name", "ours"]) == 0
    return place


def test_an_imported_network_segments_as_every_model_does(
    models: Path, ct: Path, cts: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = out.parent / "result"
    outcome = run(capsys, "segment", ct, "-o", result, "--model", "ours", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    record = json.loads((result / "lesions.json").read_text())
    entry = find_model("ours", models)
    assert record["model"]["sha256"] == file_sha256(entry.file.path)
    assert record["model"]["networks"]["all"]["net"] == "torchscript"
    assert run(capsys, "batch", "--model", "ours", cts, out).code == 0
    assert [row["status"] for row in rows_of(out)] == ["done", "done"]
    assert run(capsys, "batch", "--model", "ours", cts, out).code == 0
    assert [row["status"] for row in rows_of(out)] == ["skipped", "skipped"]
    listed = run(capsys, "models", "list").out
    assert "ours" in listed
    assert "nnU-Net, Dataset003_Liver, 3d_fullres, fold_0" in listed
    described = run(capsys, "info", "ours").out
    assert '"kind": "resampled"' in described


def test_scores_of_an_imported_network_say_that_its_training_is_unknown(
    models: Path, tmp_path: Path
) -> None:
    data = write_cases(tmp_path / "data")
    arguments = ["ours", str(data), "-o", str(tmp_path / "scores"), "--no-figures"]
    assert evaluate(arguments) == 0
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert any("comes from elsewhere" in warning for warning in summary["warnings"])
    assert [row["case"] for row in csv.DictReader((tmp_path / "scores" / "cases.csv").open())]
    assert summary["training_range"] == "Window from -200 to 300 HU."
    assert "comes from elsewhere" in (tmp_path / "scores" / "report.html").read_text()


def test_a_refused_folder_leaves_no_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "models"
    bring = ("models", "import", "--model-folder", place)
    file = foreign.save_torchscript(foreign.Thresholds(), tmp_path / "x.ts")
    for arguments, said in (
        ((folder, "--fold", "4"), "no such fold"),
        ((folder, "--name", "Not a name"), "cannot name an imported model"),
        ((file,), "never read"),
        ((file, "--trust"), "--trust is for a folder"),
    ):
        outcome = run(capsys, *bring, *arguments)
        assert outcome.code == 2
        assert said in outcome.err
        assert "Traceback" not in outcome.err
    assert not place.exists() or not list(place.iterdir())


def test_ours_and_a_network_from_elsewhere_make_no_cascade(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from LiverTumorSegLib.model.file import ModelFile, join_files

    entry = find_model("ours", models)
    one = ModelFile.load(entry.file.path)
    pair = join_files(one, one, name="pair", version="1", cascade={})
    pair.save(tmp_path / "pair.safetensors")
    outcome = run(capsys, "models", "import", tmp_path / "pair.safetensors")
    assert outcome.code == 2
    assert "works alone" in outcome.err
    assert np.all([path.name.startswith("ours") for path in models.iterdir()])
