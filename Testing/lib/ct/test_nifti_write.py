"""Other readers find what was written, on the CT's own grid; a file appears whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from LiverTumorSegLib.ct.nifti import read_labels, write_ct, write_labels, write_probabilities
from LiverTumorSegLib.volume import CtVolume
from looped import FOUR_AXES, looped
from numpy.typing import NDArray

OBLIQUE = np.linalg.qr(np.array([[1.0, 0.1, -0.2], [-0.1, 1.0, 0.15], [0.2, -0.15, 1.0]]))[0]
SPACING_IJK_MM = np.array([0.703125, 0.91, 2.5])


def affine_of(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = directions * SPACING_IJK_MM
    affine[:3, 3] = (-181.25, 33.3, -900.5)
    return affine


def some_hu() -> NDArray[np.int16]:
    return np.random.default_rng(42).integers(-1024, 3071, (4, 5, 6), dtype=np.int16)


@looped("name", ["seg.nii", "seg.nii.gz", "SEG.NII.GZ"])
@looped(axes_to_ras=FOUR_AXES)
def test_labels_round_trip_on_the_cts_grid(
    tmp_path: Path, axes_to_ras: NDArray[np.float64], name: str
) -> None:
    ct = CtVolume(some_hu(), affine_of(OBLIQUE @ axes_to_ras))
    labels = (np.arange(ct.hu.size, dtype=np.uint8) % 3).reshape(ct.shape_kji)
    write_labels(tmp_path / name, labels, like=ct)
    back, affine = read_labels(tmp_path / name)
    np.testing.assert_array_equal(back, labels)
    np.testing.assert_allclose(affine, ct.ijk_to_ras, atol=1e-4)


def test_what_other_readers_find_in_our_labels(tmp_path: Path) -> None:
    affine = affine_of(OBLIQUE)
    labels = (np.arange(60, dtype=np.uint8) % 3).reshape(3, 4, 5)
    write_labels(tmp_path / "seg.nii.gz", labels, like=affine)
    image = nibabel.Nifti1Image.from_filename(tmp_path / "seg.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), labels.T)
    assert image.get_data_dtype() == np.uint8
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    np.testing.assert_allclose(image.get_qform(), affine, atol=1e-3)
    np.testing.assert_allclose(image.get_sform(), affine, atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert [p.name for p in tmp_path.iterdir()] == ["seg.nii.gz"]


def test_probabilities_are_zero_to_one_with_classes_last(tmp_path: Path) -> None:
    probabilities = np.random.default_rng(0).random((3, 4, 5, 6), dtype=np.float32)
    write_probabilities(tmp_path / "p.nii.gz", probabilities, like=np.eye(4))
    image = nibabel.Nifti1Image.from_filename(tmp_path / "p.nii.gz")
    assert image.get_data_dtype() == np.uint8
    back = np.asarray(image.dataobj)
    assert back.shape == (6, 5, 4, 3)
    np.testing.assert_allclose(back.transpose(3, 2, 1, 0), probabilities, atol=0.5 / 255 + 1e-6)


def test_arrays_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    ct = CtVolume(some_hu(), np.eye(4))
    path = tmp_path / "seg.nii.gz"
    with pytest.raises(ValueError, match="uint8"):
        write_labels(path, np.zeros(ct.shape_kji), like=ct)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="grid"):
        write_labels(path, np.zeros((6, 5, 4), np.uint8), like=ct)
    with pytest.raises(ValueError, match="class"):
        write_probabilities(path, np.zeros(ct.shape_kji), like=ct)
    with pytest.raises(ValueError, match="end in"):
        write_ct(tmp_path / "ct.mha", ct)
    assert not any(tmp_path.iterdir())


# A file appears whole or not at all


@looped(
    ("code", "says"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "permission"),
        (errno.EROFS, "permission"),
        (errno.EIO, "check the disk"),
    ],
)
@looped("step", ["write", "rename"])
def test_a_failed_write_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int, says: str
) -> None:
    path = tmp_path / "seg.nii.gz"
    write_labels(path, np.ones((2, 3, 4), np.uint8), like=np.eye(4))
    before = path.read_bytes()

    def fail(*args: Any) -> None:
        if step == "write":
            Path(args[1]).write_bytes(b"half a file")
        raise OSError(code, os.strerror(code), str(path))

    if step == "write":
        monkeypatch.setattr(nibabel.Nifti1Image, "to_filename", fail)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ValueError, match=says) as caught:
        write_labels(path, np.zeros((2, 3, 4), np.uint8), like=np.eye(4))
    assert str(caught.value).startswith("seg.nii.gz cannot be written")
    assert str(tmp_path) not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["seg.nii.gz"]
    assert path.read_bytes() == before


def test_cancel_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(image: Any, path: Path) -> None:
        Path(path).write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(nibabel.Nifti1Image, "to_filename", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_ct(tmp_path / "ct.nii", CtVolume(some_hu(), np.eye(4)))
    assert not any(tmp_path.iterdir())


def test_a_missing_folder_and_a_folder_in_the_way(tmp_path: Path) -> None:
    ct = CtVolume(some_hu(), np.eye(4))
    with pytest.raises(ValueError, match="make it first"):
        write_ct(tmp_path / "nowhere" / "ct.nii", ct)
    (tmp_path / "ct.nii").mkdir()
    with pytest.raises(ValueError, match=r"ct\.nii cannot be written"):
        write_ct(tmp_path / "ct.nii", ct)
    assert [p.name for p in tmp_path.iterdir()] == ["ct.nii"]
