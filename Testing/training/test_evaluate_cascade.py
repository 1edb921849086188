"""A cascade is scored as any other model, and neither network's training cases are."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from cascade_model import save_cascade
from evaluated_folder import write_cases
from LiverTumorSegLib.model.catalog import import_model
from looped import looped

from training.evaluate import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("evaluate") / "data")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Trained on LiTS 1 (the liver's) and LiTS 0 (the tumor's)."""
    return str(save_cascade(tmp_path_factory.mktemp("pair") / "small.safetensors", train=["0"]))


@pytest.fixture(scope="module")
def scores(folder: Path, pair: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluate") / "scores"
    assert main([pair, str(folder), "-o", str(out), "--published-grid", "--no-check"]) == 0
    return out


def test_scores_and_report_of_a_cascade(scores: Path) -> None:
    summary = json.loads((scores / "summary.json").read_text())
    assert summary["model"] == "small 1"
    assert len(summary["sha256"]) == 64
    assert summary["training_range"].startswith("Window from -40 to 160 HU; the model was trained")
    assert "small.safetensors" in summary["command"]
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
    text = (scores / "report.html").read_text()
    drawn = {path.stem for path in (scores / "figures").iterdir()}
    for name in ("fig03-preprocessing", "fig04-enhancement"):
        assert f"<p>{name}: " in text
        assert name not in drawn
    assert "does not see whole slices one by one" in text
    assert "No confidence of lesions" in text
    shown = {"fig01-workflow", "fig08-confusion", "fig10-overlays", "calibration", "patients"}
    assert shown <= drawn


def test_the_published_measures_are_in_the_report(scores: Path) -> None:
    record = json.loads((scores / "summary.json").read_text())["published_grid"]
    assert [case["case"] for case in record["cases"]] == ["3"]
    text = (scores / "report.html").read_text()
    for key in ("liver", "tumor", "cases"):
        assert f'<section id="published-grid-{key}">' in text
    assert "0.845" in text, "LiTS 3 is one of those that the authors show"


@looped(
    ("split", "trained"), [(None, ["3"]), ({"train": ["3"], "val": ["0"], "test": ["47"]}, ["29"])]
)
def test_cases_of_either_training_are_refused(
    folder: Path,
    tmp_path: Path,
    split: dict[str, list[str]] | None,
    trained: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The tumor's knows LiTS 3; the liver's LiTS 1, whose patient is that of LiTS 0 and 1."""
    pair, out = save_cascade(tmp_path / "pair.safetensors", train=trained), tmp_path / "scores"
    options = []
    if split is not None:
        (tmp_path / "split.json").write_text(json.dumps(split))
        options = ["--split-file", str(tmp_path / "split.json")]
    assert main([str(pair), str(folder), *options, "-o", str(out)]) == 2
    assert "shares a patient" in capsys.readouterr().err
    assert not out.exists()


def test_labels_can_be_made_by_the_published_steps(
    folder: Path, pair: str, tmp_path: Path, scores: Path
) -> None:
    out = tmp_path / "published"
    arguments = [pair, str(folder), "--no-figures", "-o", str(out)]
    assert main([*arguments, "--published-postprocessing"]) == 0
    ours, published = (
        json.loads((folder_ / "summary.json").read_text()) for folder_ in (scores, out)
    )
    assert ours["pooled"]["matrix"] != published["pooled"]["matrix"]
    assert any("published steps" in warning for warning in published["warnings"])


def test_an_imported_cascade_is_scored_by_its_name(
    folder: Path, pair: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVERTUMORSEG_MODELS", str(tmp_path / "models"))
    import_model(pair, name="mine")
    out = tmp_path / "scores"
    assert main(["mine", str(folder), "--no-figures", "-o", str(out)]) == 0
    assert json.loads((out / "summary.json").read_text())["model"] == "small 1"
