"""From a model and a folder to a report: all files or none, refused where scores would mislead."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from evaluated_folder import history_lines, save_model, write_cases
from LiverTumorSegLib.ct.nifti import read_labels
from LiverTumorSegLib.result.files import NOTICE
from looped import looped

from training import evaluate
from training.evaluate import main
from training.reports.figures import FIGURES
from training.score.files import TABLES

FILES = {"report.html", "summary.json", *TABLES}
SLICES = "slices.npz"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("evaluate") / "data")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    decision = {"tumor_threshold": 0.5, "smoothing_mm": 5.0, "calibration": [1.5, -0.5]}
    return save_model(tmp_path_factory.mktemp("evaluate") / "m.safetensors", ["0"], decision)


@pytest.fixture(scope="module")
def scores(folder: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One evaluation of the val split, with its figures, that several tests look at."""
    out = tmp_path_factory.mktemp("evaluate") / "scores"
    run = tmp_path_factory.mktemp("run")
    (run / "history.jsonl").write_text(history_lines(3))
    assert main([str(model), str(folder), "-o", str(out), "--run", str(run), "--no-check"]) == 0
    return out


def test_what_users_do_not_see_is_not_scored(folder: Path, model: Path, tmp_path: Path) -> None:
    """The tiny model marks half of a cube that is no body: users read that no liver was found."""
    out = tmp_path / "scores"
    assert main([str(model), str(folder), "-o", str(out), "--no-figures"]) == 0
    (row,) = csv.DictReader((out / "cases.csv").open())
    assert float(row["liver_predicted_ml"]) == 0
    doubts = list(csv.DictReader((out / "doubts.csv").open()))
    assert {doubt["case"] for doubt in doubts} == {row["case"]}
    assert any("no spine" in doubt["sentence"] for doubt in doubts)


def test_every_file_is_there_and_they_agree(scores: Path, folder: Path) -> None:
    assert {path.name for path in scores.iterdir()} == FILES | {
        SLICES,
        "figures",
        "labels",
        "tables",
    }
    rows = list(csv.DictReader((scores / "cases.csv").open()))
    assert [row["case"] for row in rows] == ["3"]
    assert int(rows[0]["liver_true_voxels"]) == 200
    summary = json.loads((scores / "summary.json").read_text())
    dice = summary["volumes"]["liver"]["dice"]["agree"]["mean"]
    assert dice == pytest.approx(float(rows[0]["liver_dice"]), abs=1e-4)
    slices = list(csv.DictReader((scores / "slices.csv").open()))
    assert len(slices) == 4
    labels, _ = read_labels(scores / "labels" / "3.nii.gz")
    predicted = sum(int(row[f"true_{t}_predicted_tumor"]) for row in slices for t in TRUE)
    assert int((labels == 2).sum()) == predicted


TRUE = ("background", "liver", "tumor")


def test_every_place_says_what_it_is_for(scores: Path) -> None:
    assert NOTICE in (scores / "report.html").read_text()
    assert json.loads((scores / "summary.json").read_text())["notice"] == NOTICE
    for name in TABLES:
        assert all(row["notice"] == NOTICE for row in csv.DictReader((scores / name).open()))


def test_report_shows_all_tables_and_figures(scores: Path) -> None:
    text = (scores / "report.html").read_text()
    for key in ("table-3", "table-5", "detection", "volumes", "statistics"):
        assert f'<section id="{key}">' in text
        assert (scores / "tables" / f"{key}.csv").is_file()
    assert text.count("data:image/png;base64,") == len(list((scores / "figures").iterdir()))
    assert "table-8" not in text  # papers are not quoted unless somebody asks
    assert "Only 1 patient" in text
    assert "mean nothing" not in text
    assert "validation split" in text


def test_every_figure_is_drawn(scores: Path) -> None:
    assert {path.stem for path in (scores / "figures").iterdir()} == {k.name for k in FIGURES}


def test_the_model_s_decision_and_its_confidence_are_reported(scores: Path) -> None:
    summary = json.loads((scores / "summary.json").read_text())
    decision = {"tumor_threshold": 0.5, "smoothing_mm": 5.0, "calibration": [1.5, -0.5]}
    assert summary["decision"] == {**decision, "seed_threshold": 0.0, "least_liver_share": 0.0}
    assert summary["tta"] is False
    rows = [r for r in csv.DictReader((scores / "lesions.csv").open()) if r["side"] == "predicted"]
    assert rows, "the tiny model marks something"
    assert all(0 < float(row["confidence"]) <= 1 for row in rows)
    assert all(row["true_share"] == row["overlap_fraction"] for row in rows)
    bins = summary["lesion_confidence"]["bins"]
    assert sum(part["lesions"] for part in bins) == len(rows)


def test_a_model_without_confidence_says_so(folder: Path, tmp_path: Path) -> None:
    plain = save_model(tmp_path / "m.safetensors", ["0"], recipe={"epochs": 2})
    out = tmp_path / "scores"
    assert main([str(plain), str(folder), "-o", str(out), "--no-figures"]) == 0
    assert json.loads((out / "summary.json").read_text())["lesion_confidence"] is None
    page = (out / "report.html").read_text()
    assert "this model gives none" in page
    assert page.count("its scores mean nothing") == 1  # of the recipe tour's few seconds
    assert {row["confidence"] for row in csv.DictReader((out / "lesions.csv").open())} <= {""}


def test_mirrored_slices_are_averaged_and_named(
    folder: Path, model: Path, scores: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores"
    arguments = [str(model), str(folder), "-o", str(out), "--no-figures"]
    assert main([*arguments, "--tta"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["tta"] is True
    assert "mirrored copies" in (out / "report.html").read_text()
    plain = json.loads((scores / "summary.json").read_text())
    assert summary["calibration"] != plain["calibration"], "other probabilities"


def test_an_error_in_the_choice_of_slices_costs_no_score(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "collect", lambda *_, **__: [][0])
    out = tmp_path / "scores"
    assert main([str(model), str(folder), "-o", str(out), "--no-figures"]) == 0
    assert {path.name for path in out.iterdir()} == FILES | {SLICES, "labels", "tables"}
    text = (out / "report.html").read_text()
    assert "No slice could be chosen for the figures." in text
    assert "IndexError, list index out of range" in text


def test_stopping_while_figures_are_drawn_leaves_nothing(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "draw", stop)
    assert main([str(model), str(folder), "-o", str(tmp_path / "scores")]) == 130
    assert list(tmp_path.iterdir()) == []


def test_no_path_of_this_machine_is_written(scores: Path, folder: Path) -> None:
    for name in FILES:
        assert str(folder.parent) not in (scores / name).read_text()
    assert "evaluate m.safetensors data" in (scores / "report.html").read_text()


def test_scores_are_not_replaced_unasked(
    scores: Path, folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (scores / "summary.json").read_bytes()
    assert main([str(model), str(folder), "-o", str(scores), "--no-figures"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (scores / "summary.json").read_bytes() == before


def test_a_case_that_fails_leaves_nothing(
    folder: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_cases(tmp_path / "data")
    (data / "segmentation-3.nii.gz").write_bytes(b"no")
    assert main([str(model), str(data), "-o", str(tmp_path / "scores")]) == 2
    assert "segmentation-3.nii.gz" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_look_at_the_test_split_is_logged(folder: Path, model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    for n in range(2):
        out = ["-o", str(tmp_path / f"scores{n}"), "--no-figures", "--log", str(log)]
        assert main([str(model), str(folder), "--split", "test", *out]) == 0
    rows = list(csv.DictReader(log.open()))
    assert len(rows) == 2
    assert len(rows[0]["sha256"]) == 64
    assert rows[0]["model"] == "tiny 1"
    assert rows[0]["tumor_dice"] == ""  # LiTS 47 has no tumor


def test_another_model_of_the_same_cases_is_compared(
    scores: Path, folder: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    arguments = [str(model), str(folder), "-o", str(out), "--no-figures"]
    assert main([*arguments, "--baseline", str(scores), "--ablation", f"both={scores}"]) == 0
    text = (out / "report.html").read_text()
    assert "Against tiny 1" in text
    assert '<section id="table-4">' in text


@looped("trained_on", [["3"], ["1", "3"]])
def test_refuses_cases_that_were_trained_on(
    folder: Path, tmp_path: Path, trained_on: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    seen = save_model(tmp_path / "m.safetensors", trained_on)
    out = tmp_path / "scores"
    assert main([str(seen), str(folder), "--split", "val", "-o", str(out)]) == 2
    assert "shares a patient" in capsys.readouterr().err
    assert not out.exists()


def test_a_leaking_comparison_says_so_in_its_report(folder: Path, tmp_path: Path) -> None:
    """A model whose split was by volume may be scored, to show what leaking does."""
    leaking = save_model(tmp_path / "m.safetensors", ["3"], split_group_by="volume")
    out = tmp_path / "scores"
    assert main([str(leaking), str(folder), "-o", str(out), "--no-figures"]) == 0
    assert "LEAKING" in (out / "report.html").read_text()


def test_a_split_file_takes_the_place_of_the_table(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["0"], "val": ["47"], "test": ["3"]}))
    out = tmp_path / "scores"
    arguments = [str(model), str(folder), "--split-file", str(split), "-o", str(out)]
    assert main([*arguments, "--no-figures"]) == 0
    assert [row["case"] for row in csv.DictReader((out / "cases.csv").open())] == ["47"]


def test_no_case_of_the_split(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_cases(tmp_path / "data")
    table = data / "manifest.csv"
    table.write_text(table.read_text().replace(",val,", ",train,"))
    assert main([str(model), str(data), "-o", str(tmp_path / "s")]) == 2
    assert "No case of split" in capsys.readouterr().err
