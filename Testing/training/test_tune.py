"""From weights and a folder to a choice: all files or none, and never on the wrong cases."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cascade_model import save_cascade, save_halves
from choice_material import Spot, answered, search, seen, write_cases, write_model
from command_line import ENGINE
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.model.spec import file_sha256
from LiverTumorSegLib.result.files import NOTICE
from looped import looped

from training.tune import best_choice, main
from training.tuning.record import read_choice

FILES = {"choice.json", "choice.csv", "choice.md"}
TRUE, UNSURE = Spot(2, 7, 10), Spot(4, 5, 40, share=0.65, true=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("choose") / "data")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "best.safetensors")


@pytest.fixture(scope="module")
def chosen(data: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One choice that several tests look at."""
    out = tmp_path_factory.mktemp("chosen") / "choice"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ENGINE, seen)
        assert main([str(weights), str(data), "-o", str(out)]) == 0
    return out


@pytest.fixture
def refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Runs the command, which must refuse and leave nothing; its sentence."""
    monkeypatch.setattr(ENGINE, seen)

    def run(model: Path, *options: str, folder: Path = data) -> str:
        before = sorted(path.name for path in tmp_path.iterdir())
        assert main([str(model), str(folder), "-o", str(tmp_path / "out"), *options]) == 2
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        said = capsys.readouterr().err
        return said.splitlines()[-1]

    return run


def test_the_files_tell_what_was_chosen_on_whom(chosen: Path, weights: Path) -> None:
    assert {path.name for path in chosen.iterdir()} == FILES
    record = json.loads((chosen / "choice.json").read_text())
    assert record["decision"]["tumor_threshold"] == 0.7
    assert record["decision"]["smoothing_mm"] == 0.0
    assert len(record["decision"]["calibration"]) == 2
    how = record["how"]
    assert how["sha256"] == file_sha256(weights)
    assert how["cases"] == ["3", "23", "41"]
    assert (how["split"], how["patients"], how["tta"]) == ("val", 3, False)
    assert how["scores"]["score"] == 1
    assert how["before"]["scores"]["false_lesions"] == 3
    assert how["before"]["decision"] == Decision().to_dict()
    assert "Only 3 patients" in " ".join(how["warnings"])
    left = {one["cases"][0]: one for one in how["leave_one_patient_out"]["parts"]}
    assert set(left) == {"3", "23", "41"}
    assert how["confidence"]["patients"] == 2
    assert sum(row["lesions"] for row in how["confidence"]["left_out"]) == 2


def test_the_table_has_a_row_a_setting_and_one_that_is_chosen(chosen: Path) -> None:
    rows = list(csv.DictReader((chosen / "choice.csv").open()))
    assert len(rows) == json.loads((chosen / "choice.json").read_text())["how"]["settings_tried"]
    (best,) = (row for row in rows if row["chosen"] == "yes")
    assert float(best["score"]) == max(float(row["score"]) for row in rows)
    assert (best["tumor_threshold"], best["lesions_found"], best["false_lesions"]) == (
        "0.7",
        "2",
        "0",
    )
    assert all(row["notice"] == NOTICE for row in rows)


def test_the_text_says_how_little_it_stands_on(
    chosen: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (chosen / "choice.md").read_text()
    assert NOTICE in text
    assert "Chosen on 3 patients: 3 volumes, 2 with tumor, 2 true lesions." in text
    assert "| lesions found | 2 of 2 | 2 of 2 | 2 of 2 |" in text
    assert "| false lesions | 3 | 0 |" in text
    for path in chosen.iterdir():
        assert str(data.parent) not in path.read_text()


@looped("split", ["test", "train"])
def test_only_the_validation_split_is_chosen_on(
    refused: Callable[..., str], weights: Path, split: str
) -> None:
    assert "on the validation split alone" in refused(weights, "--split", split)


@looped("trained_on", ["3", "23"])
def test_refuses_cases_that_were_trained_on(
    refused: Callable[..., str], tmp_path: Path, trained_on: str
) -> None:
    assert "shares a patient" in refused(write_model(tmp_path / "m.safetensors", [trained_on]))


def test_one_network_of_a_cascade_is_no_model(refused: Callable[..., str], tmp_path: Path) -> None:
    liver, _ = save_halves(tmp_path)
    assert "cascade" in refused(liver)


def test_a_cascade_is_chosen_for_as_any_model(data: Path, tmp_path: Path) -> None:
    """Its networks mark half of all at random, and what is chosen is chosen for the very two."""
    pair = save_cascade(tmp_path / "pair.safetensors", train=["0"], train_groups=["p0"])
    out, wide = tmp_path / "choice", ("--region-mm", "17")
    assert main([str(pair), str(data), "-o", str(out), *wide]) == 0
    how = json.loads((out / "choice.json").read_text())["how"]
    assert how["sha256"] == file_sha256(pair)
    assert how["liver_margin_mm"] == 17
    assert "smoothing_mm" not in how["tried"]
    assert read_choice(out / "choice.json").postprocessing.clean_liver
    text = (out / "choice.md").read_text()
    assert "smoothing" not in text
    assert "the liver dilated by 17 mm" in text


def test_a_least_recall_is_a_share_and_stands_in_the_record(
    refused: Callable[..., str], data: Path, weights: Path, tmp_path: Path
) -> None:
    assert "from 0 to 1" in refused(weights, "--least-recall", "80")
    assert main([str(weights), str(data), "-o", str(tmp_path / "c"), "--least-recall", "0.8"]) == 0
    assert json.loads((tmp_path / "c" / "choice.json").read_text())["how"]["least_recall"] == 0.8
    assert "at least 80% of the lesions from 10 mm" in (tmp_path / "c" / "choice.md").read_text()


def test_a_slice_model_sees_the_whole_slice(refused: Callable[..., str], weights: Path) -> None:
    assert "is for a cascade" in refused(weights, "--region-mm", "17")


def test_a_case_that_fails_leaves_nothing(
    refused: Callable[..., str], weights: Path, tmp_path: Path
) -> None:
    folder = write_cases(tmp_path / "data")
    (folder / "segmentation-23.nii.gz").write_bytes(b"no")
    assert "segmentation-23.nii.gz" in refused(weights, folder=folder)


def test_no_tumor_to_choose_by(refused: Callable[..., str], weights: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["0"], "val": ["41"], "test": ["3"]}))
    assert "No validation case has tumor" in refused(weights, "--split-file", str(split))


def test_a_choice_is_not_replaced_unasked(
    chosen: Path,
    data: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ENGINE, seen)
    before = (chosen / "choice.json").read_bytes()
    assert main([str(weights), str(data), "-o", str(chosen)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (chosen / "choice.json").read_bytes() == before


def test_one_patient_with_tumor_gives_a_decision_without_confidence() -> None:
    choice = best_choice(search(answered("3", "anna", [TRUE, UNSURE]), answered("47", "dora", [])))
    assert choice.chosen.decision == Decision(tumor_threshold=0.7)
    assert choice.lesions == []
    assert "No confidence is stored: 1 patient" in choice.calibration_text
    alone = best_choice(search(answered("3", "anna", [TRUE])))
    assert alone.left_out == []


def test_a_confidence_that_is_the_same_for_every_lesion_is_not_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.tune.fit_confidence", lambda _: (0.0, -0.1))
    choice = best_choice(search(*(answered(n, n, [TRUE, UNSURE]) for n in ("3", "23"))))
    assert choice.chosen.decision.calibration is None
    assert "would get the same one" in choice.calibration_text


def test_the_confidence_is_fitted_on_what_the_choice_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Voxels of the spot that the chosen decision leaves out do not count."""
    asked: list[Any] = []
    monkeypatch.setattr("training.tune.fit_confidence", lambda e: asked.extend(e) or (1.0, 0.0))
    volumes = [answered(name, name, [TRUE, UNSURE]) for name in ("3", "23")]
    assert best_choice(search(*volumes)).chosen.decision.calibration == (1.0, 0.0)
    assert [len(one.shares) for one in asked] == [5 * 36, 5 * 36]
    assert all(one.tumor.all() for one in asked)
