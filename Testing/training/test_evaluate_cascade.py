"""A model of two files is scored as any other, and neither file's training cases are."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from cascade_model import save_cascade
from evaluated_folder import save_model, write_cases
from LiverTumorSegLib.model.catalog import import_model

from training.evaluate import main
from training.reports.evaluation_figures import OF_SLICE_MODELS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("evaluate") / "data")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Trained on LiTS 1 (the liver's) and LiTS 0 (the tumor's)."""
    liver, tumor = save_cascade(tmp_path_factory.mktemp("pair"), train=["0"])
    return str(liver), str(tumor)


@pytest.fixture(scope="module")
def scores(folder: Path, pair: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluate") / "scores"
    assert main([pair[0], str(folder), "--second", pair[1], "-o", str(out)]) == 0
    return out


def test_scores_and_report_of_a_cascade(scores: Path) -> None:
    summary = json.loads((scores / "summary.json").read_text())
    assert summary["model"] == "small 1"
    assert len(summary["sha256"]) == 64
    assert summary["training_range"].startswith("Window from -40 to 160 HU; the model was trained")
    assert "--second tumor.safetensors" in summary["command"]
    rows = list(csv.DictReader((scores / "cases.csv").open()))
    assert [row["case"] for row in rows] == ["3"]
    assert float(rows[0]["liver_predicted_ml"]) > 0
    report = (scores / "report.html").read_text()
    assert "small 1" in report
    assert "where the tumor network says more than 0.5." in report
    assert "p(tumor) / (p(liver)" not in report
    assert summary["lesion_confidence"] is None
    assert summary["decision"]["tumor_threshold"] == 0.5


def test_figures_of_slice_preprocessing_say_why_they_are_missing(scores: Path) -> None:
    undrawn = json.loads((scores / "summary.json").read_text())["figures_not_drawn"]
    assert set(OF_SLICE_MODELS) <= set(undrawn)
    assert "takes whole volumes" in undrawn[OF_SLICE_MODELS[0]]
    assert "No confidence of lesions" in undrawn["lesion-confidence"]
    drawn = {path.stem for path in (scores / "figures").iterdir()}
    assert {"fig08-confusion", "fig10-overlays", "calibration", "patients"} <= drawn
    assert not set(undrawn) & drawn


def test_the_published_measures_are_in_the_report(scores: Path) -> None:
    record = json.loads((scores / "summary.json").read_text())["published_grid"]
    assert [case["case"] for case in record["cases"]] == ["3"]
    text = (scores / "report.html").read_text()
    for key in ("liver", "tumor", "cases"):
        assert f'<section id="published-grid-{key}">' in text
    assert "0.845" in text, "LiTS 3 is one of those that the authors show"


@pytest.mark.parametrize("which", [0, 1])
def test_cases_of_either_training_are_refused(
    folder: Path, tmp_path: Path, which: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """LiTS 3 is in the val split and in the tumor's training, in whatever order the files come."""
    liver, tumor = save_cascade(tmp_path / "pair", train=["3"])
    files = [str(tumor), "--second", str(liver)] if which else [str(liver), "--second", str(tumor)]
    out = tmp_path / "scores"
    assert main([files[0], str(folder), *files[1:], "-o", str(out)]) == 2
    assert "shares a patient" in capsys.readouterr().err
    assert not out.exists()


def test_cases_of_the_liver_s_training_are_refused_too(
    pair: tuple[str, str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The liver's file names LiTS 1, whose patient is that of LiTS 0 and 1."""
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["3"], "val": ["0"], "test": ["47"]}))
    liver, tumor = save_cascade(tmp_path / "pair", train=["29"])
    arguments = [str(liver), str(folder), "--second", str(tumor), "--split-file", str(split)]
    assert main([*arguments, "-o", str(tmp_path / "scores")]) == 2
    assert "shares a patient" in capsys.readouterr().err


def test_the_steps_can_be_the_published_ones(
    folder: Path, pair: tuple[str, str], tmp_path: Path, scores: Path
) -> None:
    out = tmp_path / "published"
    arguments = [pair[0], str(folder), "--second", pair[1], "--no-figures", "-o", str(out)]
    assert main([*arguments, "--postprocessing", "published"]) == 0
    ours, published = (
        json.loads((folder_ / "summary.json").read_text())["pooled"]["matrix"]
        for folder_ in (scores, out)
    )
    assert ours != published


def test_a_cascade_s_steps_are_no_slice_model_s(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(save_model(tmp_path / "m.safetensors", ["0"]))
    out = tmp_path / "scores"
    assert main([model, str(folder), "-o", str(out), "--postprocessing", "ours"]) == 2
    assert "is no cascade" in capsys.readouterr().err
    assert not out.exists()


def test_an_imported_cascade_is_scored_by_its_name(
    folder: Path, pair: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVERTUMORSEG_MODELS", str(tmp_path / "models"))
    import_model(pair, name="mine")
    out = tmp_path / "scores"
    assert main(["mine", str(folder), "--no-figures", "-o", str(out)]) == 0
    assert json.loads((out / "summary.json").read_text())["model"] == "mine 1"
