"""3D-IRCADb as it comes: the right patient, its slices in the right order, the right labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import INTERCEPT, Change, save_series
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from LiverTumorSegLib.volume import CtVolume
from looped import looped
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from training.cases.case import files_of, ircad_patient, read_labels
from training.cases.folder import check_case, check_cases, find_cases
from training.cases.ircad import find_patients, shown_name
from training.check import main as check_main
from training.prepare import main as prepare_main

Bytes = NDArray[np.uint8]
SLICES = 12


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    shape_kji, spacing_kji_mm = (SLICES, 40, 36), (20.0, 9.0, 10.0)
    return make_phantom(seed=8, shape_kji=shape_kji, spacing_kji_mm=spacing_kji_mm)


def image_name(k: int) -> str:
    """Counted from the head, as there, and without zeros: by name image_10 is before image_2."""
    return f"image_{SLICES - 1 - k}"


def as_mask(dataset: Dataset, k: int) -> None:
    """Not every mask says that it is a CT, and none has Hounsfield units."""
    dataset.Modality = "OT"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    for name in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        del dataset[name]


def save_mask(folder: Path, mask: NDArray[Any], ct: CtVolume, change: Change = as_mask) -> None:
    """Stored as 0 and 255."""
    stored = (255 * (mask > 0) + INTERCEPT).astype(np.int16)
    save_series(folder, replace(ct, hu=stored), change=change, names=image_name)


def save_patient(home: Path, phantom: Phantom, tumors: dict[str, Bytes], nested: bool) -> Path:
    """A patient's folder with one mask too many; tumors by the name of their folder."""
    ct, masks = home / "PATIENT_DICOM", home / "MASKS_DICOM"
    if nested:
        ct, masks = ct / ct.name, masks / masks.name
    save_series(ct, phantom.ct, names=image_name)
    save_mask(masks / "liver", phantom.labels, phantom.ct)
    save_mask(masks / "lefttumor", np.ones_like(phantom.labels), phantom.ct)
    for name, mask in tumors.items():
        save_mask(masks / name, mask, phantom.ct)
    return home


def two_tumors(labels: Bytes) -> dict[str, Bytes]:
    """The phantom's tumors, cut in two: only both masks together are all of them."""
    tumor = labels == 2
    _, _, columns = np.nonzero(tumor)
    left = tumor & (np.arange(labels.shape[2]) < np.median(columns))
    assert left.any()
    return {"livertumor01": left.astype(np.uint8), "livertumor02": (tumor & ~left).astype(np.uint8)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, phantom: Phantom) -> Path:
    """Patient 12 with two tumor masks, nested as unzip leaves it, and tumor-free patient 5."""
    folder = tmp_path_factory.mktemp("download") / "3Dircadb1"
    save_patient(folder / "3Dircadb1.12", phantom, two_tumors(phantom.labels), nested=True)
    save_patient(folder / "3Dircadb1.5", phantom, {}, nested=False)
    (folder / "3Dircadb1.5" / "LABELLED_DICOM").mkdir()
    (folder / "readme.txt").write_text("notes")
    return folder


@pytest.fixture
def writable(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "3Dircadb1"))


def test_patients_are_the_lits_volumes_that_they_are(folder: Path) -> None:
    cases = find_cases(folder)
    assert [(c.name, c.group, c.kind, c.split) for c in cases] == [
        ("32", "32", "case", None),
        ("39", "39", "case", None),
    ]
    assert [ircad_patient(c.number) for c in cases] == [5, 12]
    assert [c.file for c in cases] == ["3Dircadb1.5", "3Dircadb1.12"]
    assert cases[0].label_file == "MASKS_DICOM of 3Dircadb1.5"


def test_ct_and_labels_are_those_of_the_patient(folder: Path, phantom: Phantom) -> None:
    """Slices by position: the names run the other way, and image_10 before image_2."""
    free, ill = find_cases(folder)
    for case in (free, ill):
        ct, warnings = case.read_ct()
        assert np.array_equal(ct.hu, phantom.ct.hu)
        assert np.allclose(ct.ijk_to_ras, phantom.ct.ijk_to_ras, atol=1e-4)
        assert ["20 mm apart" in text for text in warnings] == [True]
    labels, ijk_to_ras = ill.read_labels()
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, phantom.labels)
    assert np.allclose(ijk_to_ras, phantom.ct.ijk_to_ras, atol=1e-4)
    labels, _ = free.read_labels()
    assert np.array_equal(labels, phantom.labels > 0)


@looped("name", ["livertumor", "livertumor1", "livertumors", "LiverTumour02"])
def test_any_spelling_of_a_liver_tumor_counts(name: str, tmp_path: Path, phantom: Phantom) -> None:
    tumors = {name: (phantom.labels == 2).astype(np.uint8)}
    home = save_patient(tmp_path / "3Dircadb1.1", phantom, tumors, nested=False)
    assert np.array_equal(read_labels(home / "MASKS_DICOM")[0], phantom.labels)


def test_a_tumor_outside_the_livers_mask_is_tumor(tmp_path: Path, phantom: Phantom) -> None:
    corner = np.zeros_like(phantom.labels)
    corner[0, :3, :3] = 1
    assert not phantom.labels[corner > 0].any()
    home = save_patient(tmp_path / "3Dircadb1.1", phantom, {"livertumor": corner}, nested=False)
    labels, _ = read_labels(home / "MASKS_DICOM")
    assert np.array_equal(labels == 2, corner > 0)
    assert np.array_equal(labels == 1, phantom.labels > 0)


def test_masks_with_a_ct_header_are_read_as_well(tmp_path: Path, phantom: Phantom) -> None:
    """A mask that kept the CT's rescaling is 0 and 255 all the same, not -1024 and -769 HU."""
    home = save_patient(tmp_path / "3Dircadb1.1", phantom, {}, nested=False)
    liver = home / "MASKS_DICOM" / "liver"
    shutil.rmtree(liver)
    save_mask(liver, phantom.labels, phantom.ct, change=lambda dataset, k: None)
    assert np.array_equal(read_labels(home / "MASKS_DICOM")[0], phantom.labels > 0)


@looped(
    ("name", "number"),
    [
        ("3Dircadb1.7", 7),
        ("3Dircadb1.17", 17),
        ("3Dircadb-12", 12),
        ("3dircadb_3", 3),
        ("3D-IRCADb-01.4", 4),
        ("3D-IRCADb-01-20", 20),
        ("patient05", 5),
        ("Patient 1", 1),
        ("9", 9),
    ],
)
def test_patients_are_known_by_their_folders(name: str, number: int, tmp_path: Path) -> None:
    (tmp_path / name / "PATIENT_DICOM").mkdir(parents=True)
    assert list(find_patients(tmp_path)) == [number]


@looped("name", ["3Dircadb1.21", "3Dircadb1.0", "3Dircadb1", "Jane Doe", "x5"])
def test_a_folder_that_names_no_patient_is_refused_and_not_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name / "PATIENT_DICOM").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"not named by its patient's number; call it") as error:
        find_cases(tmp_path)
    assert name not in str(error.value).replace("3Dircadb1.N", "")


def test_patients_are_found_one_level_deeper_and_as_the_folder_itself(folder: Path) -> None:
    assert sorted(find_patients(folder.parent)) == [5, 12]
    assert list(find_patients(folder / "3Dircadb1.12")) == [12]
    (case,) = find_cases(folder / "3Dircadb1.5")
    assert case.name == "32"


def test_lits_beside_them_is_refused_but_in_one_folder_goes_first(writable: Path) -> None:
    """The same patients would be there twice, or a part of them be left out in silence."""
    batch = writable / "Training Batch 1"
    batch.mkdir()
    (batch / "volume-0.nii").touch()
    with pytest.raises(ValueError, match=r"holds LiTS and 3D-IRCADb.*; give the folder of one"):
        find_cases(writable)
    (batch / "volume-0.nii").rename(writable / "volume-0.nii")
    assert [c.name for c in find_cases(writable)] == ["0"]


def test_a_patient_without_masks_is_found_and_reported(writable: Path) -> None:
    shutil.rmtree(writable / "3Dircadb1.5" / "MASKS_DICOM")
    report = check_cases(find_cases(writable))
    assert report.problems == ["32: 3Dircadb1.5 has no label file; add it or remove the CT."]


def zip_folder(name: str) -> Callable[[Path], Any]:
    def pack(folder: Path) -> None:
        target = folder / "3Dircadb1.5" / name
        shutil.make_archive(str(target), "zip", target)
        shutil.rmtree(target)

    return pack


def only_zips(folder: Path) -> None:
    for path in list(folder.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "3Dircadb1.7.zip").write_bytes(b"PK")


BREAK_LAYOUT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "CT zipped": (zip_folder("PATIENT_DICOM"), "PATIENT_DICOM.zip of 3D-IRCADb patient 5 is not"),
    "masks zipped": (zip_folder("MASKS_DICOM"), "MASKS_DICOM.zip of 3D-IRCADb patient 5 is not"),
    "all zipped": (only_zips, "3Dircadb1.7.zip is not unpacked; unpack it"),
    "twice": (
        lambda f: shutil.copytree(f / "3Dircadb1.5", f / "3Dircadb-5"),
        "Two folders are patient 5",
    ),
}


@looped("what", BREAK_LAYOUT)
def test_what_is_not_unpacked_or_there_twice_is_one_sentence(writable: Path, what: str) -> None:
    break_it, expected = BREAK_LAYOUT[what]
    break_it(writable)
    with pytest.raises(ValueError, match=expected) as error:
        find_cases(writable)
    assert str(error.value).endswith(".")
    assert "; " in str(error.value)


def masks_of_12(folder: Path) -> Path:
    return folder / "3Dircadb1.12" / "MASKS_DICOM" / "MASKS_DICOM"


def other_masks(change: Change) -> Callable[[Path, Phantom], Any]:
    def rewrite(folder: Path, phantom: Phantom) -> None:
        for path in (masks_of_12(folder) / "livertumor02").iterdir():
            path.unlink()
        save_mask(masks_of_12(folder) / "livertumor02", phantom.labels == 2, phantom.ct, change)

    return rewrite


def moved(dataset: Dataset, k: int) -> None:
    as_mask(dataset, k)
    dataset.ImagePositionPatient = [x + 5 for x in dataset.ImagePositionPatient]


def placeless(dataset: Dataset, k: int) -> None:
    as_mask(dataset, k)
    del dataset.ImagePositionPatient


BREAK_CASE: dict[str, tuple[Callable[[Path, Phantom], Any], str]] = {
    "no liver": (
        lambda f, p: shutil.rmtree(masks_of_12(f) / "liver"),
        "MASKS_DICOM of 3Dircadb1.12 has no folder liver; unpack",
    ),
    "no CT slice": (
        lambda f, p: [x.unlink() for x in (f / "3Dircadb1.12").glob("PATIENT_DICOM/*/*")],
        "3Dircadb1.12 holds 0 CT series in PATIENT_DICOM instead of one; unpack",
    ),
    "a CT slice missing": (
        lambda f, p: next((f / "3Dircadb1.12").glob("PATIENT_DICOM/*/image_4")).unlink(),
        "Slices are missing from this series",
    ),
    "a mask slice missing": (
        lambda f, p: (masks_of_12(f) / "liver" / "image_4").unlink(),
        "The mask liver of 3Dircadb1.12: Slices are missing",
    ),
    "an end of all masks missing": (
        lambda f, p: [x.unlink() for x in masks_of_12(f).glob("*/image_0")],
        "MASKS_DICOM of 3Dircadb1.12 has (11, 40, 36) voxels (k, j, i) but its CT has",
    ),
    "an end of one mask missing": (
        lambda f, p: (masks_of_12(f) / "livertumor02" / "image_0").unlink(),
        "The masks liver and livertumor02 of 3Dircadb1.12 lie on different grids; unpack",
    ),
    "a mask elsewhere": (
        other_masks(moved),
        "The masks liver and livertumor02 of 3Dircadb1.12 lie on different grids; unpack",
    ),
    "a mask without a place": (
        other_masks(placeless),
        "The mask livertumor02 of 3Dircadb1.12 has a slice that is damaged or does not say",
    ),
    "a damaged mask": (
        lambda f, p: (masks_of_12(f) / "liver" / "image_4").write_bytes(bytes(128) + b"DICM"),
        "The mask liver of 3Dircadb1.12 has a slice that is damaged",
    ),
    "an empty mask folder": (
        lambda f, p: [x.unlink() for x in (masks_of_12(f) / "livertumor01").iterdir()],
        "The mask livertumor01 of 3Dircadb1.12 holds 0 DICOM slices; unpack",
    ),
}


@looped("what", BREAK_CASE)
def test_each_fault_of_a_patient_is_reported_once(
    writable: Path, phantom: Phantom, what: str
) -> None:
    break_it, expected = BREAK_CASE[what]
    break_it(writable, phantom)
    (problem,) = check_case(find_cases(writable)[1])
    assert problem.startswith(expected)
    assert problem.endswith(".")


def test_the_check_command_reads_them_through_the_same_door(
    folder: Path, phantom: Phantom, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_main([str(folder)]) == 0
    assert "2 cases and 0 context files of 2 patient groups; 0 problems." in capsys.readouterr().out
    free, ill = check_cases(find_cases(folder)).checks
    assert free.liver_slices == ill.liver_slices == int((phantom.labels > 0).any((1, 2)).sum())
    assert (free.tumor_slices, free.tumor_ml) == (0, 0.0)
    assert ill.tumor_ml == pytest.approx((phantom.labels == 2).sum() * 9.0 * 10.0 * 20.0 / 1000)


def test_a_table_names_them_by_their_folders(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = "3Dircadb1.5,anna,train\n3Dircadb1.12,ben,val\n"
    table.write_text("file,patient_group,split\n" + rows)
    assert [(c.name, c.group, c.split) for c in find_cases(folder, table=table)] == [
        ("32", "anna", "train"),
        ("39", "ben", "val"),
    ]


def test_only_the_slices_that_matter_are_fingerprinted(folder: Path) -> None:
    ill = find_cases(folder)[1]
    assert ill.labels is not None
    masks = {path.parent.name for path in files_of(ill.labels)}
    assert masks == {"liver", "livertumor01", "livertumor02"}
    assert len(files_of(ill.labels)) == 3 * SLICES
    assert len(files_of(ill.ct)) == SLICES


def test_they_are_prepared_as_the_same_scans_from_nifti_are(
    folder: Path, tmp_path: Path, phantom: Phantom
) -> None:
    from LiverTumorSegLib.ct.nifti import write_ct, write_labels

    table = tmp_path / "table.csv"
    table.write_text("name,patient_group,split\n32,a,train\n39,b,val\n")
    data = tmp_path / "lits"
    data.mkdir()
    for name, labels in (("32", (phantom.labels > 0).astype(np.uint8)), ("39", phantom.labels)):
        write_ct(data / f"volume-{name}.nii", phantom.ct)
        write_labels(data / f"segmentation-{name}.nii", labels, phantom.ct)
    for source, out in ((folder, "dicom"), (data, "nifti")):
        assert prepare_main([str(source), "-o", str(tmp_path / out), "--table", str(table)]) == 0
    for name in ("32", "39"):
        for kind in ("images", "labels"):
            one, other = (
                np.load(tmp_path / out / name / f"{kind}.npy") for out in ("dicom", "nifti")
            )
            assert np.array_equal(one, other)
    record = json.loads((tmp_path / "dicom" / "39" / "case.json").read_text())
    assert not any("/" in str(value) for value in record.values())
    assert shown_name(folder / "3Dircadb1.5" / "PATIENT_DICOM") == "3Dircadb1.5"
