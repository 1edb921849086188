"""Cases to volumes: what inference would see, from any file, once, and without single slices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.ct.nifti import read_ct
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.phantom.phantom import Phantom
from prepared_cases import (
    SHAPE_KJI,
    arrays,
    file_times,
    turned,
    write_case,
)

from training.cases.case import Case
from training.cases.splits import Split, save_split
from training.data.prepared import cases_to_prepare
from training.data.prepared_volumes import prepare_volumes
from training.prepare import main

STEPS = VolumePreprocessing(window_hu=(-40, 160), size_px=64)


def prepare_all(data: Path, folder: Path, steps: VolumePreprocessing = STEPS) -> dict[str, Any]:
    return prepare_volumes(cases_to_prepare(data, None, 0), folder, steps)


def test_arrays_are_what_inference_sees_of_the_file(
    data: Path, tmp_path: Path, patients: tuple[Phantom, ...]
) -> None:
    out = tmp_path / "out"
    prepare_all(data, out)
    for name, patient in zip(("0", "1"), patients, strict=True):
        ct, _ = read_ct(data / f"volume-{name}.nii.gz")
        found = arrays(out, name)
        assert set(found) == {"image", "labels"}
        assert found["image"].dtype == np.float16
        assert np.array_equal(found["image"], STEPS(ct.hu, ct.spacing_kji_mm))
        wanted = STEPS.place_labels(patient.labels, patient.ct.spacing_kji_mm)
        assert np.array_equal(found["labels"], wanted)
        assert found["labels"].any()


def test_single_slices_are_left_out(data: Path, tmp_path: Path) -> None:
    manifest = prepare_all(data, tmp_path / "out")
    assert [case["name"] for case in manifest["cases"]] == ["0", "1"]
    assert not (tmp_path / "out" / "0-context").exists()
    only = [s for s in cases_to_prepare(data, None, 0) if s.kind == "context"]
    with pytest.raises(ValueError, match="needs whole scans"):
        prepare_volumes(only, tmp_path / "none", STEPS)


def test_any_orientation_of_the_file_gives_the_same_volume(
    tmp_path: Path, patients: tuple[Phantom, ...]
) -> None:
    patient, cases = patients[0], []
    ways = [((0, 1, 2), (False,) * 3), ((2, 0, 1), (True, False, True)), ((1, 2, 0), (True,) * 3)]
    for n, (order, flips) in enumerate(ways):
        ct, labels = turned(patient.ct, patient.labels, order, flips)
        write_case(tmp_path / "data", str(n), ct, labels)
        files = [tmp_path / "data" / f"{kind}-{n}.nii.gz" for kind in ("volume", "segmentation")]
        cases.append(Case(str(n), *files, str(n), "train", "case"))
    manifest = prepare_volumes(cases, tmp_path / "out", STEPS)
    straight = arrays(tmp_path / "out", "0")
    for case in manifest["cases"][1:]:
        for kind, array in arrays(tmp_path / "out", case["name"]).items():
            assert np.array_equal(array, straight[kind]), (case["name"], kind)
        for key in ("spacing_kji_mm", "shape_kji", "grid_spacing_kji_mm", "tumor_ml"):
            assert case[key] == manifest["cases"][0][key]


def test_the_manifest_says_what_training_needs(
    data: Path, tmp_path: Path, patients: tuple[Phantom, ...]
) -> None:
    manifest = prepare_all(data, tmp_path / "out")
    assert manifest == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert VolumePreprocessing.from_dict(manifest["preprocessing"]) == STEPS
    assert manifest["group_by"] == "patient"
    first, patient = manifest["cases"][0], patients[0]
    assert (first["group"], first["split"]) == ("patient0", "train")
    assert first["shape_kji"] == list(SHAPE_KJI)
    longer_mm = max(48 * 6.0, 40 * 7.0)
    assert first["grid_spacing_kji_mm"] == pytest.approx([6.0, longer_mm / 64, longer_mm / 64])
    true_ml = int((patient.labels == 2).sum()) * patient.ct.voxel_ml
    assert true_ml > 0
    assert first["tumor_ml"] == pytest.approx(true_ml, rel=0.3)  # counted on the coarser grid


def test_a_second_call_writes_no_case_again_until_a_setting_changes(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    prepare_all(data, out)
    before = file_times(out)
    (out / "manifest.json").unlink()
    prepare_all(data, out)
    assert file_times(out) == before
    other = VolumePreprocessing(window_hu=(-250, 250), size_px=64)
    prepare_all(data, out, other)
    assert all(before[name] != time for name, time in file_times(out).items())


def test_the_command_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    options = ["--window", "-40", "160", "--size-px", "64"]
    assert main([str(data), "-o", str(out), "--volumes", *options]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["train: 1 scans, 4 slices", "val: 1 scans, 4 slices", "test: 0 scans, 0 slices"]
    stored = json.loads((out / "manifest.json").read_text())["preprocessing"]
    assert VolumePreprocessing.from_dict(stored) == STEPS
    assert main([str(data), "-o", str(out), "--volumes", "--size-px", "60"]) == 2
    assert "use a multiple of 32" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere"), "-o", str(out), "--volumes"]) == 2


def test_a_split_by_volume_stays_marked(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaking = Split(("0",), ("1",), (), groups={"0": "p", "1": "p"}, group_by="volume")
    (data / "manifest.csv").unlink()
    save_split(leaking, tmp_path / "split.json")
    out = tmp_path / "out"
    words = [str(data), "-o", str(out), "--size-px", "64"]
    assert main([*words, "--volumes", "--split-file", str(tmp_path / "split.json")]) == 0
    assert json.loads((out / "manifest.json").read_text())["group_by"] == "volume"
    assert "leaking" in capsys.readouterr().err


def test_options_that_would_change_nothing_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, option in (
        (["--volumes", "--windowed"], "--windowed"),
        (["--volumes", "--without", "clahe"], "--without"),
        (["--window", "-40", "160"], "--window"),
        (["--recipe", "tumor-boxes", "--window", "-40", "160"], "--window"),
    ):
        assert main([str(tmp_path), "-o", str(tmp_path / "out"), *words]) == 2
        assert f"{option} does not go" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
