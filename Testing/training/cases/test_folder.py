"""LiTS and MSD folders are found as they come; what cannot be right is refused in one sentence."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from looped import looped
from numpy.typing import NDArray

from training.cases.case import Case, default_group, ircad_patient
from training.cases.folder import check_case, check_cases, find_cases
from training.check import main

SHAPE_IJK = (6, 5, 4)
AFFINE = np.array([[-0.8, 0, 0, 9.0], [0, -0.7, 0, 8.0], [0, 0, 2.5, -7.0], [0, 0, 0, 1]])
HEADER = "file,patient_group,split"


def some_labels() -> NDArray[np.uint8]:
    """Liver in slices 1 and 2, tumor (8 voxels) in 2 and 3, where nothing else is left of liver."""
    labels = np.zeros(SHAPE_IJK, dtype=np.uint8)
    labels[:, :, 1:3] = 1
    labels[2:4, 2:4, 2:] = 2
    return labels


def save(path: Path, array: NDArray[Any], affine: NDArray[np.float64] = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, affine).to_filename(path)
    return path


def add_pair(folder: Path, name: str, ct: str = "volume-", labels: str = "segmentation-") -> Path:
    """A CT whose liver is at 100 HU in air, with labels; of "context" without liver."""
    truth = some_labels() * ("context" not in name)
    hu = np.where(some_labels() > 0, 100, -1000).astype(np.int16)
    save(folder / f"{labels}{name}", truth)
    return save(folder / f"{ct}{name}", hu)


@pytest.fixture
def lits_folder(tmp_path: Path) -> Path:
    """Two scans of one patient, one with context, and two other patients."""
    for name in ("10.nii.gz", "2.nii", "7-context.nii.gz", "7.nii.gz", "30.nii"):
        add_pair(tmp_path, name)
    (tmp_path / "._volume-2.nii").write_bytes(b"macOS")
    (tmp_path / "volume-2.txt").write_text("notes")
    save(tmp_path / "atlas.nii", some_labels())
    return tmp_path


def write_table(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def by_name(cases: list[Case]) -> dict[str, Case]:
    return {case.name: case for case in cases}


def test_lits_cases_are_found_in_numeric_order_each_scan_before_its_context(
    lits_folder: Path,
) -> None:
    cases = find_cases(lits_folder)
    assert [case.name for case in cases] == ["2", "7", "7-context", "10", "30"]
    assert [case.kind for case in cases] == ["case", "case", "context", "case", "case"]
    for case in cases:
        assert case.labels is not None
        assert case.labels.name == case.ct.name.replace("volume", "segmentation")
        assert case.split is None
    assert [case.group for case in cases] == ["2", "6-10", "6-10", "6-10", "30"]


def test_batches_one_folder_below_are_one_data_set(tmp_path: Path) -> None:
    add_pair(tmp_path / "Training Batch 1", "0.nii")
    add_pair(tmp_path / "Training Batch 2", "28.nii")
    add_pair(tmp_path / ".trash", "5.nii")
    assert [case.name for case in find_cases(tmp_path)] == ["0", "28"]


def test_msd_cases_have_the_same_names_and_groups_as_lits(tmp_path: Path) -> None:
    for number in (131, 9, 14, 15):
        add_pair(tmp_path, f"liver_{number}.nii.gz", "imagesTr/", "labelsTr/")
        (tmp_path / "imagesTr" / f"._liver_{number}.nii.gz").write_bytes(b"macOS")
    cases = find_cases(tmp_path)
    assert [(case.name, case.group) for case in cases] == [
        ("9", "6-10"),
        ("14", "14-15"),
        ("15", "14-15"),
        ("131", "131"),
    ]
    assert check_cases(cases).problems == []


def test_copies_of_lits_from_kaggle_and_nnunet_are_found(tmp_path: Path) -> None:
    """Volumes in parts, each perhaps in a folder of its file's name; images with a channel."""
    kaggle, nnunet = tmp_path / "kaggle" / "archive", tmp_path / "nnunet"
    add_pair(kaggle, "0.nii", "volume_pt1/volume-", "segmentations/segmentation-")
    add_pair(kaggle, "51.nii", "volume_pt2/volume-", "segmentations/segmentation-")
    unpacked = tmp_path / "unpacked"
    add_pair(unpacked, "7.nii", "volume-7.nii/volume-", "segmentation-7.nii/segmentation-")
    add_pair(nnunet, "12.nii.gz", "imagesTr/liver_", "labelsTr/liver_")
    (nnunet / "imagesTr" / "liver_12.nii.gz").rename(nnunet / "imagesTr" / "liver_12_0000.nii.gz")
    for folder, names in (
        (kaggle, ["0", "51"]),
        (kaggle.parent, ["0", "51"]),
        (unpacked, ["7"]),
        (nnunet, ["12"]),
    ):
        cases = find_cases(folder)
        assert [case.name for case in cases] == names
        assert check_cases(cases).problems == []


def test_labels_without_geometry_take_that_of_their_ct_and_it_is_told(tmp_path: Path) -> None:
    """Programs leave the identity, its corner anywhere, or turned to LPS."""
    bare, centered, lps = np.eye(4), np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])
    bare[:3, 3], centered[:3, 3] = 1, -2.5
    add_pair(tmp_path, "53.nii")
    for nothing in (centered, lps, np.eye(4), bare):
        save(tmp_path / "segmentation-53.nii", some_labels(), nothing)
        (case,) = find_cases(tmp_path)
        report = check_cases([case])
        assert report.problems == []
        assert "no geometry of its own" in report.text()
        np.testing.assert_allclose(case.read_labels()[1], AFFINE, atol=1e-6)
    # not when they mark no liver there, nor when the CT has none either
    save(tmp_path / "segmentation-53.nii", (some_labels() == 0).astype(np.uint8), bare)
    assert "which is no liver" in " ".join(check_case(case))
    save(tmp_path / "volume-53.nii", nibabel.load(case.ct).get_fdata().astype("i2"), np.eye(4))
    assert "lies elsewhere" in " ".join(check_case(case))


def test_volumes_of_lits_that_lost_their_geometry_are_told_where_it_is(tmp_path: Path) -> None:
    for name in ("28.nii", "5.nii"):
        add_pair(tmp_path, name)
        for path in tmp_path.glob(f"*-{name}"):
            save(path, nibabel.load(path).get_fdata().astype(np.int16), np.eye(4))
    five, lost = check_cases(find_cases(tmp_path)).checks
    assert ["identity" in text for text in five.warnings] == [True]
    assert "3D-IRCADb" in lost.warnings[1]


def test_a_ct_without_labels_is_found_and_reported(lits_folder: Path) -> None:
    (lits_folder / "segmentation-2.nii").unlink()
    case = by_name(find_cases(lits_folder))["2"]
    assert case.labels is None
    (problem,) = check_case(case)
    assert "volume-2.nii has no label file" in problem


def test_ircad_patients_are_lits_28_to_47_one_to_one() -> None:
    patients = {number: ircad_patient(number) for number in range(-1, 131)}
    assert [n for n, p in patients.items() if p is not None] == list(range(28, 48))
    assert [p for p in patients.values() if p is not None] == list(range(1, 21))


def test_default_groups_are_those_known_of_lits() -> None:
    sizes = Counter(default_group(number) for number in range(131))
    assert {group: n for group, n in sizes.items() if n > 1} == {"0-1": 2, "6-10": 5, "14-15": 2}


BREAK_LAYOUT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no such folder": (shutil.rmtree, "is not a folder"),
    "empty": (lambda f: [p.unlink() for p in f.iterdir()], "holds no cases"),
    "labels alone": (lambda f: (f / "volume-2.nii").unlink(), "segmentation-2.nii has no CT"),
    "twice": (lambda f: add_pair(f, "2.nii.gz"), "are both number 2"),
    "leading zero": (lambda f: add_pair(f, "002.nii"), "are both number 2"),
    "no number": (lambda f: add_pair(f, "two.nii"), "volume-two.nii has no plain number"),
    "no labelsTr": (lambda f: (f / "imagesTr").mkdir(), "imagesTr but no labelsTr"),
    "empty imagesTr": (
        lambda f: [(f / sub).mkdir() for sub in ("imagesTr", "labelsTr")],
        "imagesTr holds no",
    ),
    "another channel": (
        lambda f: add_pair(f, "liver_1_0001.nii", "imagesTr/", "labelsTr/"),
        "liver_1_0001.nii has no plain number",
    ),
}


@looped("case", BREAK_LAYOUT)
def test_a_malformed_layout_is_one_sentence(lits_folder: Path, case: str) -> None:
    break_it, expected = BREAK_LAYOUT[case]
    break_it(lits_folder)
    with pytest.raises(ValueError, match=expected) as error:
        find_cases(lits_folder)
    assert_one_sentence(error.value)


def assert_one_sentence(error: object) -> None:
    """What is wrong, then what to do."""
    text = str(error)
    assert text.endswith(".")
    assert "; " in text
    assert "\n" not in text


ROWS = {
    "volume-2.nii": "anna,val",
    "volume-7.nii.gz": "ben,train",
    "volume-7-context.nii.gz": "ben,train",
    "volume-10.nii.gz": "ben,train",
    "volume-30.nii": "cleo,test",
}


def table_text(rows: Mapping[str, str] = ROWS, header: str = HEADER) -> str:
    return "\n".join([header, *(f"{name},{rest}" for name, rest in rows.items())]) + "\n"


def test_a_manifest_in_the_folder_is_used_and_another_table_goes_before_it(
    lits_folder: Path, tmp_path: Path
) -> None:
    write_table(lits_folder, table_text())
    cases = by_name(find_cases(lits_folder))
    assert {name: (case.group, case.split) for name, case in cases.items()} == {
        "2": ("anna", "val"),
        "7": ("ben", "train"),
        "7-context": ("ben", "train"),
        "10": ("ben", "train"),
        "30": ("cleo", "test"),
    }
    mine = "name,patient_group\n2,x\n7,y\n10,y\n30,z\n"
    cases = by_name(find_cases(lits_folder, table=write_table(tmp_path, mine, "mine.csv")))
    assert {case.split for case in cases.values()} == {None}
    assert cases["7-context"].group == "y"  # follows its scan when it has no row
    assert cases["7-context"].kind == "context"


def test_a_table_may_come_from_a_spreadsheet_with_more_columns(lits_folder: Path) -> None:
    rows = {name: f"note, {rest.replace(',', ' , ')},case" for name, rest in ROWS.items()}
    text = "\ufeff" + table_text(rows, "file,remark, patient_group ,split,kind")
    cases = by_name(find_cases(lits_folder, table=write_table(lits_folder, text + "\r\n")))
    assert cases["30"].group == "cleo"
    assert cases["7-context"].kind == "case"  # the table decides


BREAK_TABLE = {
    "a row missing": (table_text({k: v for k, v in ROWS.items() if "30" not in k}), "has no row"),
    "a row twice": (table_text() + "volume-2.nii,anna,val\n", "two rows for volume-2.nii"),
    "unknown file": (table_text() + "volume-99.nii,dora,val\n", '"volume-99.nii", which is not'),
    "no group": (table_text({**ROWS, "volume-2.nii": ",val"}), "no patient_group for volume-2"),
    "short row": (table_text({**ROWS, "volume-2.nii": ""}), "no patient_group for volume-2"),
    "odd split": (table_text({**ROWS, "volume-2.nii": "anna,dev"}), 'split "dev"'),
    "odd kind": (table_text(header="file,patient_group,kind"), 'kind "val"'),
    "no column": (table_text(header="file,group,split"), "lacks a column"),
    "semicolons": (table_text().replace(",", ";"), "lacks a column"),
    "empty": ("", "lacks a column"),
    "context apart": (
        table_text({**ROWS, "volume-7-context.nii.gz": "dora,val"}),
        "different patient groups",
    ),
    "not text": ("\udcff", "no CSV text"),
}


@looped("case", BREAK_TABLE)
def test_a_malformed_table_is_one_sentence(lits_folder: Path, case: str) -> None:
    text, expected = BREAK_TABLE[case]
    (lits_folder / "manifest.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=expected) as error:
        find_cases(lits_folder)
    assert_one_sentence(error.value)


def test_a_table_that_is_not_there_is_one_sentence(lits_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.csv cannot be read") as error:
        find_cases(lits_folder, table=lits_folder / "none.csv")
    assert_one_sentence(error.value)


def test_good_cases_are_counted_and_have_no_problem(lits_folder: Path) -> None:
    report = check_cases(find_cases(lits_folder))
    assert report.problems == []
    voxel_ml = 0.8 * 0.7 * 2.5 / 1000
    for check in report.checks:
        is_case = check.case.kind == "case"
        assert check.slices == 4
        assert (check.liver_slices, check.tumor_slices) == ((3, 2) if is_case else (0, 0))
        assert check.tumor_ml == pytest.approx(8 * voxel_ml if is_case else 0, rel=1e-5)
        assert check.spacing_kji_mm == pytest.approx((2.5, 0.7, 0.8))
    assert report.tumor_ml["2"] == report.checks[0].tumor_ml


def shifted(mm: float) -> NDArray[np.float64]:
    affine = AFFINE.copy()
    affine[0, 3] += mm
    return affine


HU = np.where(some_labels() > 0, 100, -1000).astype(np.int16)
BREAK_CASE: dict[str, tuple[str, NDArray[Any], NDArray[np.float64], str]] = {
    "shape": ("segmentation-2.nii", some_labels()[:, :, 1:], AFFINE, "find the labels"),
    "place": ("segmentation-2.nii", some_labels(), shifted(1), "lies elsewhere"),
    "flipped": (
        "segmentation-2.nii",
        some_labels(),
        AFFINE * [1, -1, 1, 1],
        "lies elsewhere",
    ),
    "label 3": ("segmentation-2.nii", some_labels() + np.uint8(1), AFFINE, "label 3"),
    "fractions": ("segmentation-2.nii", some_labels() * np.float32(0.5), AFFINE, "no labels"),
    "negative": ("segmentation-2.nii", -some_labels().astype(np.int16), AFFINE, "no labels"),
    "no liver": ("segmentation-2.nii", some_labels() * 0, AFFINE, "is empty"),
    "liver in context": ("segmentation-7-context.nii.gz", some_labels(), AFFINE, "shows liver"),
    "label of air": (
        "segmentation-2.nii",
        (HU < 0).astype(np.uint8),
        AFFINE,
        "-1000 HU on average",
    ),
    "not HU": ("volume-2.nii", HU + np.int16(1024), AFFINE, "nothing below 0"),
    "a mask": ("volume-2.nii", some_labels(), AFFINE, "give the CT itself"),
    "one slice": ("volume-2.nii", HU[:, :, :1], AFFINE, "slice"),
}


@looped("case", BREAK_CASE)
def test_each_fault_of_a_pair_is_reported_once(lits_folder: Path, case: str) -> None:
    file, array, affine, expected = BREAK_CASE[case]
    save(lits_folder / file, array, affine)
    (problem,) = check_cases(find_cases(lits_folder)).problems
    assert expected in problem
    assert_one_sentence(problem)


def test_rounding_of_the_affine_is_no_fault(lits_folder: Path) -> None:
    save(lits_folder / "segmentation-2.nii", some_labels(), shifted(0.01))
    assert check_cases(find_cases(lits_folder)).problems == []


@looped("file", ["volume-2.nii", "segmentation-2.nii"])
def test_damage_and_zero_spacing_are_problems_not_crashes(lits_folder: Path, file: str) -> None:
    path = lits_folder / file
    whole = path.read_bytes()
    spacing = {"pixdim": 80, "srow": 280}
    flat = bytearray(whole)
    flat[spacing["pixdim"] : spacing["pixdim"] + 4] = bytes(4)
    flat[spacing["srow"] : spacing["srow"] + 48] = bytes(48)
    case = by_name(find_cases(lits_folder))["2"]
    for content in (whole[:400], b"text", b"", bytes(flat)):
        path.write_bytes(content)
        assert len(check_case(case)) == 1


def test_the_table_has_a_line_a_case_and_each_kind_of_warning_once(lits_folder: Path) -> None:
    windowed = np.clip(HU, -40, 160)
    for name in ("2.nii", "30.nii"):
        save(lits_folder / f"volume-{name}", windowed)
    (lits_folder / "segmentation-10.nii.gz").unlink()
    text = check_cases(find_cases(lits_folder)).text()
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["2", "7", "7-context", "10", "30"]
    assert lines[6] == "4 cases and 1 context files of 3 patient groups; 1 problems."
    assert text.count("Warning (2 x)") == text.count("Warning") == 1
    assert lines[-1].startswith("10: volume-10.nii.gz has no label file")


def test_the_command_prints_the_report_and_exits_2_when_something_is_wrong(
    lits_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(lits_folder)]) == 0
    assert "4 cases and 1 context" in capsys.readouterr().out
    (lits_folder / "segmentation-2.nii").unlink()
    assert main([str(lits_folder)]) == 2
    assert "has no label file" in capsys.readouterr().out
    assert main([str(lits_folder), "--table", "none.csv"]) == 2
    assert "none.csv cannot be read" in capsys.readouterr().err


def test_axial_slices_are_counted_whichever_axis_of_the_file_they_are(lits_folder: Path) -> None:
    """Sagittal files, as some exports have them: i and k change places."""
    wanted = check_cases(find_cases(lits_folder)).checks[0]
    swap = np.eye(4)[[2, 1, 0, 3]]
    save(lits_folder / "volume-2.nii", HU.T, AFFINE @ swap)
    save(lits_folder / "segmentation-2.nii", some_labels().T, AFFINE @ swap)
    check = check_cases(find_cases(lits_folder)).checks[0]
    assert replace(check, spacing_kji_mm=wanted.spacing_kji_mm) == wanted
    assert check.spacing_kji_mm == pytest.approx((0.8, 0.7, 2.5))


def test_a_case_is_read_by_its_own_methods(lits_folder: Path) -> None:
    case = by_name(find_cases(lits_folder))["2"]
    ct, warnings = case.read_ct()
    labels, ijk_to_ras = case.read_labels()
    assert np.array_equal(ct.hu.T, HU)
    assert np.array_equal(labels.T, some_labels())
    assert np.allclose(ijk_to_ras, AFFINE)
    assert warnings == ()
    assert (case.file, case.label_file) == ("volume-2.nii", "segmentation-2.nii")
    bare = replace(case, labels=None)
    assert bare.label_file == ""
    with pytest.raises(ValueError, match=r"volume-2\.nii has no label file; add it"):
        bare.read_labels()


def test_default_groups_of_the_real_volumes_are_those_of_their_manifest(shared_data: Path) -> None:
    """Without the table the same volumes are held together (names of the groups apart)."""
    cases = find_cases(shared_data / "lits-subset")
    pairs = {(case.group, default_group(case.number)) for case in cases}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == 24


def test_real_cases_are_what_their_manifest_says(shared_data: Path) -> None:
    folder = shared_data / "lits-subset"
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    cases = find_cases(folder)
    assert Counter(case.kind for case in cases) == {"case": 30, "context": 18}
    some = [case for case in cases if case.number in (0, 22, 35)]  # all of them take 20 s
    for check in check_cases(some).checks:
        row = rows[check.case.ct.name]
        assert check.problems == ()
        assert check.slices == int(row["slices"])
        assert check.liver_slices == int(row["liver_slices"])
        assert check.tumor_slices == int(row["tumour_slices"])
        assert check.tumor_ml == pytest.approx(float(row["tumour_ml"]), abs=0.01)
        assert (str(ircad_patient(check.case.number) or "")) == row["ircad_patient"]
