"""``prepare --split-file``: its sets are what is prepared, and a leaking one stays marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from looped import looped
from prepared_cases import arrays, file_times, write_case
from test_prepare import SMALL

from training.cases.splits import Split, load_split, save_split
from training.data.prepared import cases_to_prepare, prepare
from training.prepare import main

NAMES = ("0", "0-context", "1", "2", "3")  # 0 and 1 are one patient, as in LiTS


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(seed=1, shape_kji=(4, 48, 40), spacing_kji_mm=(6.0, 6.0, 7.0))


@pytest.fixture
def data(tmp_path: Path, phantom: Phantom) -> Path:
    folder = tmp_path / "data"
    for name in NAMES:
        labels = phantom.labels * np.uint8("context" not in name)
        write_case(folder, name, phantom.ct, labels)
    return folder


def save(tmp_path: Path, split: Split) -> str:
    save_split(split, tmp_path / "split.json")
    return str(tmp_path / "split.json")


def sets_of(manifest: dict[str, Any]) -> dict[str, str]:
    return {case["name"]: case["split"] for case in manifest["cases"]}


BY_PATIENT = Split(("0", "1"), ("3",), ())
LEAKING = Split(("0",), ("1",), ("2",), groups={"0": "0-1", "1": "0-1"}, group_by="volume")


def test_the_files_sets_replace_the_tables(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"volume-{name}.nii.gz,p{name[0]},test" for name in NAMES]
    (data / "manifest.csv").write_text("\n".join(["file,patient_group,split", *rows]))
    command = [str(data), "-o", str(tmp_path / "out"), "--split-file", save(tmp_path, BY_PATIENT)]
    assert main(command) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert sets_of(manifest) == {"0": "train", "0-context": "train", "1": "train", "3": "val"}
    assert manifest["group_by"] == "patient"
    said = capsys.readouterr()
    assert said.out.splitlines()[:3] == [
        "train: 3 cases, 12 slices",
        "val: 1 cases, 4 slices",
        "test: 0 cases, 0 slices",
    ]
    assert "leaking" not in said.err


def test_sets_of_a_table_are_by_patient(data: Path, tmp_path: Path) -> None:
    (data / "manifest.csv").write_text(
        "\n".join(["file,patient_group,split", *(f"volume-{n}.nii.gz,{n[0]},train" for n in NAMES)])
    )
    assert (
        prepare(cases_to_prepare(data, None, 0), tmp_path / "out", SMALL)["group_by"] == "patient"
    )


def test_a_leaking_file_keeps_its_mark_in_the_manifest_and_is_warned_of(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(data), "-o", str(tmp_path / "out"), "--split-file", save(tmp_path, LEAKING)]
    assert main(command) == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["group_by"] == "volume"
    assert sets_of(manifest) == {"0": "train", "0-context": "train", "1": "val", "2": "test"}
    assert "1 patients have scans in more than one set" in capsys.readouterr().err


WRONG = {
    "shares a patient unmarked": (
        '{"train": ["0"], "val": ["1"], "test": []}',
        "group 0-1 is in train and in val",
    ),
    "names a strange case": (
        '{"train": ["0", "1"], "val": ["9"], "test": []}',
        "names 9, which is not in the folder; give",
    ),
    "no split": ('{"train": ["0"]}', "split.json is no split"),
}


@looped("what", WRONG)
def test_a_file_that_does_not_fit_ends_with_2_before_anything_is_written(
    data: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, expected = WRONG[what]
    (tmp_path / "split.json").write_text(text)
    options = ["--split-file", str(tmp_path / "split.json")]
    assert main([str(data), "-o", str(tmp_path / "out"), *options]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_case_without_labels_is_no_case_of_a_split(data: Path, tmp_path: Path) -> None:
    (data / "segmentation-3.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"volume-3\.nii\.gz is in the split but has no labels"):
        cases_to_prepare(data, None, 0, BY_PATIENT)
    with pytest.raises(ValueError, match="A split file needs its cases; give"):
        cases_to_prepare(None, None, 2, BY_PATIENT)


def test_another_fold_prepares_no_slice_again(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(cases_to_prepare(data, None, 0, BY_PATIENT), out, SMALL)
    before, images = file_times(out), arrays(out, "3")["images"]
    other = Split(("2", "3"), ("0", "1"), ())
    manifest = prepare(cases_to_prepare(data, None, 0, other), out, SMALL)
    assert sets_of(manifest) == {
        "0": "val",
        "0-context": "val",
        "1": "val",
        "2": "train",
        "3": "train",
    }
    after = file_times(out)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {f"{name}/case.json" for name in ("0", "0-context", "1", "3")}
    assert json.loads((out / "3" / "case.json").read_text())["split"] == "train"
    assert np.array_equal(arrays(out, "3")["images"], images)


def test_the_sets_can_be_loaded(data: Path, tmp_path: Path) -> None:
    from training.data.slices import load_split as load_slices

    path = save(tmp_path, BY_PATIENT)
    prepare(cases_to_prepare(data, None, 0, load_split(Path(path))), tmp_path / "out", SMALL)
    assert load_slices(tmp_path / "out", "train").cases == ("0", "0-context", "1")
    assert load_slices(tmp_path / "out", "val").cases == ("3",)
