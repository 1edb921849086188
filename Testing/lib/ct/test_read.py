"""A CT by its path: a file, or a folder that holds a DICOM series."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import PATIENT, run, save_ct, tree
from dicom_files import save_series, some_ct
from LiverTumorSegLib.ct.nifti import read_labels
from LiverTumorSegLib.ct.read import read_input
from LiverTumorSegLib.ct.study import WantedSeries


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two series, the second with every other slice."""
    save_series(tmp_path / "study" / "a")
    save_series(tmp_path / "study" / "b", only=range(0, 10, 2), number=5)
    return tmp_path / "study"


def test_a_file_and_a_folder_give_the_same_ct(tmp_path: Path, study: Path) -> None:
    for path in (save_ct(tmp_path / "ct.nii.gz"), study / "a"):
        ct, warnings = read_input(path)
        np.testing.assert_array_equal(ct.hu, some_ct().hu)
        np.testing.assert_allclose(ct.ijk_to_ras, some_ct().ijk_to_ras, atol=1e-4)
        assert warnings == ()


def test_one_of_several_series(study: Path) -> None:
    with pytest.raises(ValueError, match=r"2 CT series; choose one with --series, 1 to 2"):
        read_input(study)
    assert read_input(study, WantedSeries("1"))[0].shape_kji == (10, 60, 64)
    ct, _ = read_input(study, WantedSeries("2"))
    np.testing.assert_array_equal(ct.hu, some_ct().hu[::2])
    for wrong in ("0", "3", "-1"):
        with pytest.raises(ValueError, match=rf"no series {wrong} .* from 1 to 2"):
            read_input(study, WantedSeries(wrong))


def test_what_is_no_ct_input(tmp_path: Path, study: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty is a folder without a CT series in DICOM; give"):
        read_input(tmp_path / "empty")
    single = next((study / "a").iterdir())
    with pytest.raises(ValueError, match=f"{single.name} is not a NIfTI .* give the folder"):
        read_input(single)
    with pytest.raises(ValueError, match=r"ct\.nii is no folder of DICOM"):
        read_input(save_ct(tmp_path / "ct.nii"), WantedSeries("1"))
    with pytest.raises(ValueError, match="none does not exist"):
        read_input(tmp_path / "none")


@pytest.mark.usefixtures("known", "no_picture")
def test_segment_takes_a_series(
    tmp_path: Path, study: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save_ct(tmp_path / "ct.nii.gz")
    command = ("--model", model, "--device", "cpu")
    assert run(capsys, "segment", file, "-o", tmp_path / "1", *command).code == 0
    outcome = run(capsys, "segment", study, "--series", 1, "-o", tmp_path / "2", *command)
    assert outcome.code == 0
    assert PATIENT not in outcome.out + outcome.err
    of_file, of_series = tree(tmp_path / "1"), tree(tmp_path / "2")
    assert of_file.keys() == of_series.keys()
    assert of_file["lesions.csv"] == of_series["lesions.csv"]
    labels = [read_labels(tmp_path / name / "seg.nii.gz")[0] for name in "12"]
    np.testing.assert_array_equal(*labels)


def test_info_tells_of_one_series(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = run(capsys, "info", study, "--series", 2)
    assert "64 x 60 x 5 voxels (i, j, k), 5.000 x 5.000 x 8.000 mm" in chosen.out
    alone = run(capsys, "info", study / "a")
    assert "64 x 60 x 10 voxels" in alone.out


def test_dicom_without_pydicom(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    outcome = run(capsys, "info", study)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "Reading DICOM needs pydicom, which is missing;"
        " get it with: pip install 'livertumorseg[dicom]'.\n"
    )
