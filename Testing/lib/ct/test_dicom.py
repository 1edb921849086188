"""Folders of DICOM files: which series they hold, and the CT that a series is."""

from __future__ import annotations

import gzip
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PATIENT, some_affine
from dicom_files import (
    INTERCEPT,
    Change,
    changed,
    compress,
    save_enhanced,
    save_series,
    slice_of,
    some_ct,
)
from LiverTumorSegLib.ct.dicom import find_series, list_files, read_series
from LiverTumorSegLib.volume import CtVolume
from looped import looped
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

AXIAL_LPS = [1, 0, 0, 0, 1, 0]


# Reading


def test_the_ct_comes_back(tmp_path: Path) -> None:
    paths = save_series(tmp_path)
    assert [path.name for path in paths] != sorted(path.name for path in paths)
    for files in (paths, sorted(paths), paths[::-1]):
        ct, warnings = read_series(files)
        np.testing.assert_array_equal(ct.hu, some_ct().hu)
        np.testing.assert_allclose(ct.ijk_to_ras, some_affine(), atol=1e-5)
        assert warnings == ()


def test_every_slice_has_its_own_rescaling(tmp_path: Path) -> None:
    """Stored as (HU + 1024) / slope, rounded: at most half a slope off."""
    ct = some_ct()

    def change(dataset: Dataset, k: int) -> None:
        slope = 0.5 + 0.25 * k
        dataset.RescaleSlope = slope
        dataset.PixelData = np.rint((ct.hu[k] - INTERCEPT) / slope).astype("<u2").tobytes()

    read, _ = read_series(save_series(tmp_path, change=change))
    off = np.abs(read.hu.astype(int) - ct.hu)
    assert (off.max((1, 2)) <= (0.5 + 0.25 * np.arange(10)) / 2 + 0.5).all()


def test_a_sheared_stack_keeps_every_voxel_in_its_place(tmp_path: Path) -> None:
    affine = some_affine()
    affine[:3, 2] += (0.0, 1.4, 0.0)
    tilted = CtVolume(some_ct().hu, affine)
    ct, warnings = read_series(save_series(tmp_path, tilted))
    np.testing.assert_allclose(ct.ijk_to_ras, affine, atol=1e-5)
    assert len(warnings) == 1
    assert "tilted" in warnings[0]


@looped("rescale_shared", [True, False])
def test_an_enhanced_ct_is_one_file(tmp_path: Path, rescale_shared: bool) -> None:
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]
    save_enhanced(tmp_path / "one" / "file", some_ct(), order, rescale_shared)
    (series,) = find_series(tmp_path)
    assert series.shape_kji == (10, 60, 64)
    ct, warnings = read_series(series.files)
    np.testing.assert_array_equal(ct.hu, some_ct().hu)
    np.testing.assert_allclose(ct.ijk_to_ras, some_affine(), atol=1e-5)
    assert warnings == ()


def test_a_compressed_series(tmp_path: Path) -> None:
    for path in save_series(tmp_path):
        compress(path, "JPEGLosslessProcess14_1")
    ct, _ = read_series(find_series(tmp_path)[0].files)
    np.testing.assert_array_equal(ct.hu, some_ct().hu)


def test_values_outside_int16_are_clipped_with_a_warning(tmp_path: Path) -> None:
    def change(dataset: Dataset, k: int) -> None:
        dataset.RescaleSlope, pixels = 16, dataset.pixel_array // 16
        pixels[:2, :2] = 4000  # a clip of metal
        dataset.PixelData = pixels.tobytes()
        dataset.RescaleIntercept = -1024

    ct, warnings = read_series(save_series(tmp_path, change=change))
    assert ct.hu.max() == 32767
    assert any("clipped" in text for text in warnings)


def test_numbers_without_rescaling_are_taken_with_a_warning(tmp_path: Path) -> None:
    ct = some_ct()

    def change(dataset: Dataset, k: int) -> None:
        changed(RescaleSlope=None, RescaleIntercept=None, RescaleType=None)(dataset, k)
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 1, 16, 15
        dataset.PixelData = ct.hu[k].astype("<i2").tobytes()

    read, warnings = read_series(save_series(tmp_path, change=change))
    np.testing.assert_array_equal(read.hu, ct.hu)
    assert len(warnings) == 1
    assert "taken as they are" in warnings[0]


def test_a_localizer_is_no_slice(tmp_path: Path) -> None:
    series = generate_uid()
    paths = save_series(tmp_path, series=series)
    scout = slice_of(some_ct(), 0, series)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    scout.save_as(tmp_path / "A-scout", enforce_file_format=True)
    ct, warnings = read_series([tmp_path / "A-scout", *paths])
    np.testing.assert_array_equal(ct.hu, some_ct().hu)
    assert len(warnings) == 1
    assert "localizer" in warnings[0]
    (found,) = find_series(tmp_path)
    assert found.shape_kji == (10, 60, 64)
    assert tmp_path / "A-scout" not in found.files


def test_loss_is_told(tmp_path: Path) -> None:
    _, warnings = read_series(save_series(tmp_path, change=changed(LossyImageCompression="01")))
    assert len(warnings) == 1
    assert "with loss" in warnings[0]


def one_slice(k: int, **values: object) -> Change:
    return lambda dataset, n: changed(**values)(dataset, n) if n == k else None


def _smaller(dataset: Dataset, k: int) -> None:
    if k == 2:
        dataset.Rows = 30
        dataset.PixelData = dataset.PixelData[: 30 * 64 * 2]


REFUSED: dict[str, tuple[Change, str]] = {
    "no positions": (one_slice(3, ImagePositionPatient=None), "where its images lie"),
    "no orientation": (changed(ImageOrientationPatient=None), "where its images lie"),
    "no spacing": (changed(PixelSpacing=None), "no pixel spacing"),
    "zero spacing": (changed(PixelSpacing=[0, 1]), "no pixel spacing"),
    "another plane": (one_slice(4, ImageOrientationPatient=AXIAL_LPS), "different planes"),
    "another size": (_smaller, "different sizes"),
    "an atomic number": (changed(RescaleType="Z_EFF"), "than Hounsfield units"),
    "slope 0": (changed(RescaleSlope=0), "rescale slope of 0"),
    "half rescaled": (one_slice(1, RescaleSlope=None), "1 of the 10 images"),
    "no offset": (changed(RescaleIntercept=0), "offset; give it with -1024 added"),
    "color": (changed(SamplesPerPixel=3), "color pictures"),
    "two phases": (one_slice(4, ImagePositionPatient=[-150, -170, -40]), "at the same place"),
    "MR": (changed(Modality="MR"), "no CT image"),
}


@looped(("change", "says"), REFUSED.values())
def test_what_is_no_single_whole_ct(tmp_path: Path, change: Change, says: str) -> None:
    paths = save_series(tmp_path, change=change)
    with pytest.raises(ValueError, match=says) as refused:
        read_series(paths)
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert any(advice in sentence for advice in ("export ", "give ", "copy "))
    assert PATIENT not in sentence


def test_missing_and_single_slices_are_refused(tmp_path: Path) -> None:
    paths = save_series(tmp_path)
    with pytest.raises(ValueError, match="gap of 8 mm"):
        read_series(paths[:4] + paths[5:])
    with pytest.raises(ValueError, match="one slice"):
        read_series(paths[:1])
    with pytest.raises(ValueError, match="no CT image"):
        read_series([])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="IM1 "):
        read_series([tmp_path / "IM1"])


# Finding


def test_each_series_of_a_study(tmp_path: Path) -> None:
    thin = save_series(tmp_path / "study" / "disk" / "a", number=7)
    thick = save_series(
        tmp_path / "study" / "disk" / "a", only=range(0, 10, 2), number=3, names=str
    )
    other = save_series(tmp_path / "study" / "B", number=9)
    (tmp_path / "study" / "readme.txt").write_text("a viewer for these images " * 20)
    (tmp_path / "study" / "._IM1").write_bytes(bytes(128) + b"DICM")
    found = find_series(tmp_path)
    assert [series.files for series in found] == [
        tuple(sorted(files)) for files in (other, thick, thin)
    ]
    assert [series.number for series in found] == [9, 3, 7]
    assert [series.folder.name for series in found] == ["B", "a", "a"]
    assert found[1].describe() == "series number 3, 5 slices of 64 x 60, 9.5 mm thick"
    assert find_series(tmp_path, leave_out=[tmp_path / "study" / "disk"]) == found[:1]
    for series in found:
        assert PATIENT not in series.describe()


def test_a_scout_of_two_pictures_is_no_series(tmp_path: Path) -> None:
    save_series(tmp_path, only=[0, 1])
    assert find_series(tmp_path) == []


def test_no_dicom_needs_no_pydicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "ct.nii").write_bytes(bytes(400))
    assert find_series(tmp_path) == []
    save_raw = tmp_path / "IM1"
    save_raw.write_bytes(bytes(128) + b"DICM")
    with pytest.raises(ValueError, match=r"livertumorseg\[dicom\]"):
        find_series(tmp_path)


def test_a_series_over_several_folders_is_one(tmp_path: Path) -> None:
    series = generate_uid()
    for part, only in (("DIR1", range(6)), ("DIR2", range(6, 10))):
        save_series(tmp_path / part, series=series, only=only)
    (found,) = find_series(tmp_path)
    assert found.folder == tmp_path
    np.testing.assert_array_equal(read_series(found.files)[0].hu, some_ct().hu)


def test_a_copied_file_counts_once_and_a_copied_folder_is_another_series(tmp_path: Path) -> None:
    paths = save_series(tmp_path / "a")
    shutil.copy(paths[3], tmp_path / "a" / "copy of it")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    found = find_series(tmp_path)
    assert [series.folder.name for series in found] == ["a", "b"]
    for series in found:
        np.testing.assert_array_equal(read_series(series.files)[0].hu, some_ct().hu)


@looped("instance", ["", "1.2.3"])
def test_an_anonymizer_that_blanked_the_uids(tmp_path: Path, instance: str) -> None:
    """Patients without UIDs are told apart by their folders, and no slice is taken for a copy."""
    blank = changed(SeriesInstanceUID="", StudyInstanceUID="", SOPInstanceUID=instance)
    for name in ("p1", "p2"):
        save_series(tmp_path / name, change=blank)
    found = find_series(tmp_path)
    assert [(series.folder.name, series.shape_kji[0]) for series in found] == [
        ("p1", 10),
        ("p2", 10),
    ]


def test_a_damaged_file_spoils_its_own_series_only(tmp_path: Path) -> None:
    good, bad = save_series(tmp_path / "good"), save_series(tmp_path / "bad")
    bad[4].write_bytes(bad[4].read_bytes()[:500])
    found = find_series(tmp_path)
    assert [series.folder.name for series in found] == ["bad", "good"]
    with pytest.raises(ValueError, match=f"{bad[4].name} is a damaged"):
        read_series(found[0].files)
    assert read_series(found[1].files)[0].shape_kji == (10, 60, 64)
    for path in [*good, *bad]:
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="damaged"):
        find_series(tmp_path)


def test_links_are_followed_once(tmp_path: Path) -> None:
    paths = save_series(tmp_path / "kept" / "a")
    (tmp_path / "in").mkdir()
    for name in ("one", "two"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "kept")
    (tmp_path / "kept" / "round").symlink_to(tmp_path / "in")
    assert len(list(list_files(tmp_path / "in"))) == len(paths)
    assert len(find_series(tmp_path / "in")) == 1


# A real series


def test_the_real_series_lies_where_its_labels_do(shared_data: Path) -> None:
    """The labels were drawn by other people's software; their header is in LPS millimeters."""
    home = shared_data / "fixtures" / "dcmqi"
    (series,) = find_series(home)
    ct, warnings = read_series(series.files)
    assert warnings == ()
    header, _, packed = (home / "liver_seg.nrrd").read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line)
    axes = [_vector(part) for part in fields["space directions"].split()]
    lps = np.eye(4)
    lps[:3] = np.stack([*axes, _vector(fields["space origin"])], axis=1)
    np.testing.assert_allclose(ct.ijk_to_ras, np.diag([-1, -1, 1, 1]) @ lps, atol=1e-5)
    labels = np.frombuffer(gzip.decompress(packed), "<i2").reshape(ct.shape_kji)
    liver = ct.hu[labels > 0]
    assert 30 < np.median(liver) < 200  # a liver's, with or without contrast
    for axis in range(3):  # turned over, they would also show lung, fat and spleen
        assert ct.hu[np.flip(labels, axis) > 0].std() > 1.2 * liver.std()


def _vector(text: str) -> np.ndarray[Any, Any]:
    return np.array([float(x) for x in text.strip("()").split(",")])


def test_nibabel_s_reader_agrees_on_the_real_series(shared_data: Path) -> None:
    wrappers: Any = pytest.importorskip("nibabel.nicom.dicomwrappers")
    (series,) = find_series(shared_data / "fixtures" / "dcmqi")
    ct, _ = read_series(series.files)
    ras_to_ijk = np.linalg.inv(ct.ijk_to_ras)
    seen = set()
    for image in map(wrappers.wrapper_from_file, series.files):
        for row, column in ((0, 0), (100, 300)):
            ras = (image.affine @ (row, column, 0, 1))[:3] * (-1, -1, 1)
            i, j, k = (ras_to_ijk @ (*ras, 1))[:3]
            np.testing.assert_allclose((i, j, k), (column, row, round(k)), atol=1e-4)
        without_padding = np.maximum(image.get_data(), -1024)  # -3024 is not of the body
        np.testing.assert_array_equal(ct.hu[round(k)], without_padding)  # (rows, columns)
        seen.add(round(k))
    assert seen == {0, 1, 2}
