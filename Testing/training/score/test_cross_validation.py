"""A cross-validation is chosen and scored as one: every case once, by a model that is new to it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cascade_model import save_cascade
from choice_material import DEFAULT, answered, random_spots, seen, write_cases, write_model
from command_line import ENGINE
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.model.spec import read_spec

from training import evaluate, export, tune
from training.score.folds import network_kinds, with_all_settings
from training.tuning.search import CroppedPrediction, PredictedCase

TESTED = {"fold1": ["3", "47"], "fold2": ["23", "41", "0"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("folds") / "data")


def write_folds(folder: Path) -> Path:
    """Each trained on the other's test cases."""
    folder.mkdir()
    names = [name for tested in TESTED.values() for name in tested]
    for fold, tested in TESTED.items():
        others = [name for name in names if name not in tested]
        write_model(folder / f"{fold}.safetensors", others)
        sets = {"train": others, "val": [], "test": tested}
        (folder / f"{fold}.json").write_text(json.dumps(sets))
    return folder


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folds(tmp_path_factory.mktemp("cv") / "folds")


@pytest.fixture(scope="module")
def chosen(data: Path, folds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("chosen") / "choice"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ENGINE, seen)
        kept = str(out.parent / "kept")
        assert tune.main([str(folds), str(data), "-o", str(out), "--predictions", kept]) == 0
    return out


def test_every_case_is_chosen_on_once_by_the_model_that_is_new_to_it(chosen: Path) -> None:
    record = json.loads((chosen / "choice.json").read_text())
    how = record["how"]
    assert sorted(how["cases"]) == ["0", "23", "3", "41", "47"]
    assert {name: fold["cases"] for name, fold in how["folds"].items()} == {
        name: sorted(tested) for name, tested in TESTED.items()
    }
    assert how["split"] == "out of fold"
    left = {part["fold"]: part for part in how["leave_one_fold_out"]["parts"]}
    assert set(left) == set(TESTED)
    thresholds = [point["tumor_threshold"] for point in record["curve"]["points"]]
    assert thresholds == sorted(thresholds)
    assert record["curve"]["patients"] == 5


def test_a_fold_is_scored_by_what_the_others_chose_and_no_network_runs_again(
    chosen: Path, folds: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(engine: object, grays: object) -> None:
        raise AssertionError("the prediction was kept")

    monkeypatch.setattr(ENGINE, forbidden)
    out, kept = tmp_path / "scores", chosen.parent / "kept"
    arguments = [str(folds), str(data), "-o", str(out), "--predictions", str(kept), "--no-check"]
    arguments += ["--choice", str(chosen / "choice.json"), "--no-figures"]
    assert evaluate.main([*arguments, "--log", str(tmp_path / "log.csv")]) == 0
    summary = json.loads((out / "summary.json").read_text())
    how = json.loads((chosen / "choice.json").read_text())["how"]
    for part in how["leave_one_fold_out"]["parts"]:
        assert summary["decisions"][part["fold"]] == part["decision"]
    assert summary["split"] == "out of fold"
    rows = list(csv.DictReader((out / "cases.csv").open()))
    assert sorted(row["case"] for row in rows) == ["0", "23", "3", "41", "47"]
    assert "Chosen for each fold on the others" in (out / "report.html").read_text()
    assert not (tmp_path / "log.csv").exists(), "no look at a test split"


def test_what_folds_chose_goes_into_the_model_that_all_patients_trained(
    chosen: Path, tmp_path: Path
) -> None:
    everybody = write_model(tmp_path / "all.safetensors", ["0", "3", "23", "41", "47"])
    out = tmp_path / "final.safetensors"
    arguments = [str(everybody), "-o", str(out), "--name", "final", "--storage", "fp32"]
    assert export.main([*arguments, "--choice", str(chosen / "choice.json")]) == 0
    record = json.loads((chosen / "choice.json").read_text())
    spec = read_spec(out)
    assert spec.tuning == record["curve"]
    assert spec.decision == record["decision"]


def test_what_would_mislead_is_refused(
    data: Path, folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def leak(folder: Path) -> None:
        write_model(folder / "fold1.safetensors", ["3"])

    def twice(folder: Path) -> None:
        (folder / "fold2.json").write_text((folder / "fold1.json").read_text())

    def lost(folder: Path) -> None:
        (folder / "fold2.json").unlink()

    def alone(folder: Path) -> None:
        (folder / "fold2.safetensors").unlink()

    spoiled: dict[str, Callable[[Path], None]] = {
        "shares a patient": leak,
        "both test patient": twice,
        "put fold2.json there": lost,
        "holds no cross-validation": alone,
    }
    for number, (words, spoil) in enumerate(spoiled.items()):
        folder, out = write_folds(tmp_path / str(number)), tmp_path / "out"
        spoil(folder)
        for command in (tune.main, evaluate.main):
            assert command([str(folder), str(data), "-o", str(out)]) == 2, words
            assert words in capsys.readouterr().err
            assert not out.exists()


def test_a_cropped_prediction_decides_as_the_whole_one() -> None:
    """Also where truth lies outside all that was found."""
    for seed in range(4):
        whole = answered("3", "anna", random_spots(seed))
        cropped = PredictedCase("3", "anna", *CroppedPrediction.of(whole.prediction, whole.true))
        steps = [Postprocessing(), Postprocessing(smallest_lesion_mm=0.0)]
        for threshold in (0.3, 0.5, 0.7, 0.9):
            seed_threshold = 0.8 if threshold < 0.6 else 0.0
            decision = Decision(tumor_threshold=threshold, seed_threshold=seed_threshold)
            assert cropped.counts(decision, steps) == whole.counts(decision, steps)
        own, other = (case.evidence(DEFAULT) for case in (whole, cropped))
        np.testing.assert_array_equal(own.shares, other.shares)
        np.testing.assert_array_equal(own.tumor, other.tumor)


def test_a_choice_of_before_a_setting_existed_is_for_the_same_networks(tmp_path: Path) -> None:
    """What an earlier version did not write down was as it is by default."""
    kinds = network_kinds(read_spec(save_cascade(tmp_path / "pair.safetensors")))
    earlier = json.loads(json.dumps(kinds))
    del earlier["networks"]["tumor"]["preprocessing"]["liver_margin_mm"]
    default = VolumePreprocessing().liver_margin_mm
    assert with_all_settings(kinds) == kinds
    expected = json.loads(json.dumps(kinds))
    expected["networks"]["tumor"]["preprocessing"]["liver_margin_mm"] = default
    assert with_all_settings(earlier) == expected
