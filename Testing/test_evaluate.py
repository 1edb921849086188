"""Scores of whole cases: by hand, refused where they would mislead, logged where they are rare."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from LiverTumorSegLib.bundle import ModelBundle
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.nets import NETS
from LiverTumorSegLib.nifti import write_ct, write_labels
from LiverTumorSegLib.postprocess import Postprocessing
from LiverTumorSegLib.preprocess import SlicePreprocessing
from LiverTumorSegLib.spec import ModelSpec
from LiverTumorSegLib.volume import CtVolume

from training.evaluate import CaseScore, main, summarize


def score(name: str, liver: tuple[int, int, int], tumor: tuple[int, int, int]) -> CaseScore:
    return CaseScore(
        name=name,
        overlap={"liver": liver, "tumor": tumor},
        lesions_true=2 if tumor[2] else 0,
        lesions_found=1 if tumor[0] else 0,
        false_lesions=int(tumor[1] > tumor[0]),
        false_tumor_ml=0.001 * (tumor[1] - tumor[0]),
        slices=50,
        slices_run=30,
        seconds=2.0,
    )


def test_summary_by_hand() -> None:
    scores = [
        score("a", (80, 100, 100), (5, 10, 10)),
        score("b", (300, 300, 300), (0, 0, 0)),
        score("c", (50, 100, 100), (0, 10, 0)),
    ]
    summary = summarize(scores)
    assert summary["liver_dice_per_volume"] == {"n": 3, "mean": 0.7667, "sd": 0.2517}
    assert summary["liver_dice_pooled"] == round(2 * 430 / 1000, 4)
    # volumes without tumor do not enter the mean: a clean one would count as a perfect 1
    assert summary["tumor_dice_per_tumor_volume"] == {"n": 1, "mean": 0.5, "sd": None}
    assert summary["tumor_dice_pooled"] == round(2 * 5 / 30, 4)
    assert summary["lesions_found"] == "1 of 2"
    assert summary["false_lesions"] == "2 in 3 volumes"
    assert summary["tumor_free_volumes_without_false_tumor"] == "1 of 2"
    assert summary["slices_run"] == "90 of 150"


def test_empty_masks_count_as_agreement_and_half_empty_ones_as_none() -> None:
    assert score("a", (1, 1, 1), (0, 0, 0)).dice("tumor") == 1.0
    assert score("a", (1, 1, 1), (0, 5, 0)).dice("tumor") == 0.0
    assert score("a", (1, 1, 1), (0, 0, 5)).dice("tumor") == 0.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tiny scans in LiTS layout, LiTS 47 in test and LiTS 3 in val."""
    data = tmp_path / "data"
    data.mkdir()
    random = np.random.default_rng(0)
    for number in (3, 47):
        hu = random.integers(-900, 200, (4, 24, 24)).astype(np.int16)
        ct = CtVolume(hu, np.diag([8.0, 8.0, 5.0, 1.0]))
        labels = np.zeros(hu.shape, np.uint8)
        labels[1:3, 5:15, 5:15] = Label.LIVER
        write_ct(data / f"volume-{number}.nii.gz", ct)
        write_labels(data / f"segmentation-{number}.nii.gz", labels, ct)
    (data / "manifest.csv").write_text(
        "file,patient_group,split,kind\n"
        "volume-3.nii.gz,lits3,val,case\nvolume-47.nii.gz,ircad20,test,case\n"
    )
    return data


def save_model(path: Path, trained_on: list[str]) -> Path:
    net_args = {"width": 8, "size_px": 64}
    spec = ModelSpec(
        name="tiny",
        version="1",
        net="hybrid2d",
        net_args=net_args,
        preprocessing=SlicePreprocessing(grid_px=64, size_px=64).to_dict(),
        labels={label.name.lower(): int(label) for label in Label},
        training_hu_range=(-40, 160),
        postprocessing=Postprocessing().to_dict(),
        provenance={"train": trained_on},
        storage="fp32",
    )
    ModelBundle(spec, dict(NETS["hybrid2d"](**net_args).state_dict())).save(path)
    return path


def test_writes_cases_and_summary(folder: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "m.safetensors", ["0"])
    out = tmp_path / "scores"
    assert main([str(model), str(folder), "--split", "val", "-o", str(out)]) == 0
    rows = list(csv.DictReader((out / "cases.csv").open()))
    assert [row["case"] for row in rows] == ["3"]
    assert int(rows[0]["liver_true_voxels"]) == 200
    summary = json.loads((out / "summary.json").read_text())
    assert summary["liver_dice_per_volume"]["mean"] == float(rows[0]["liver_dice"])
    assert "not for diagnosis" in summary["notice"]


def test_a_look_at_the_test_split_is_logged(folder: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "m.safetensors", ["0"])
    log = tmp_path / "log.csv"
    for _ in range(2):
        arguments = [str(model), str(folder), "--split", "test", "-o", str(tmp_path / "s")]
        assert main([*arguments, "--log", str(log)]) == 0
    rows = list(csv.DictReader(log.open()))
    assert len(rows) == 2
    assert len(rows[0]["sha256"]) == 64
    assert rows[0]["model"] == "tiny 1"


@pytest.mark.parametrize("trained_on", [["3"], ["1", "3"]])
def test_refuses_cases_that_were_trained_on(
    folder: Path, tmp_path: Path, trained_on: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_model(tmp_path / "m.safetensors", trained_on)
    out = tmp_path / "scores"
    assert main([str(model), str(folder), "--split", "val", "-o", str(out)]) == 2
    assert "shares a patient" in capsys.readouterr().err
    assert not out.exists()


def test_refuses_another_scan_of_a_training_patient(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """LiTS 6 to 10 are one patient."""
    for kind in ("volume", "segmentation"):
        (folder / f"{kind}-3.nii.gz").rename(folder / f"{kind}-8.nii.gz")
    table = folder / "manifest.csv"
    table.write_text(table.read_text().replace("volume-3.nii.gz,lits3", "volume-8.nii.gz,p8"))
    model = save_model(tmp_path / "m.safetensors", ["6"])
    assert main([str(model), str(folder), "-o", str(tmp_path / "s")]) == 2
    assert "shares a patient" in capsys.readouterr().err


def test_no_case_of_the_split(folder: Path, tmp_path: Path) -> None:
    table = folder / "manifest.csv"
    table.write_text(table.read_text().replace(",val,", ",train,"))
    model = save_model(tmp_path / "m.safetensors", [])
    assert main([str(model), str(folder), "-o", str(tmp_path / "s")]) == 2
