"""Which CTs a folder holds, and what their results are called."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from command_line import PATIENT, save_ct
from dicom_files import changed, save_enhanced, save_series, some_ct
from LiverTumorSegLib.cli.batch_cases import BatchItem, find_cases
from LiverTumorSegLib.cli.batch_choice import Choice, choose_cases
from looped import looped
from pydicom.uid import generate_uid


def names(cases: list[BatchItem]) -> list[str]:
    return [case.name for case in cases]


def touch(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode("utf-8", "surrogateescape"))
    return folder


def found(folder: Path, only: str | None = None) -> list[str]:
    return names(find_cases(folder, folder / "results", only))


def test_files_and_series_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "b.nii", "a/ct.nii.gz", "a/b/deep er.NII.GZ", "notes.txt", "a/x.seg.nrrd")
    save_series(tmp_path / "patient" / "ser1")
    save_series(tmp_path / "two", number=3)
    save_series(tmp_path / "two", number=12, names=str)
    save_enhanced(tmp_path / "whole" / "file", some_ct(), range(10), rescale_shared=True)
    cases = find_cases(tmp_path, tmp_path / "results")
    assert names(cases) == [
        *("a_b_deep_er", "a_ct", "b", "patient_ser1"),
        *("two_series12", "two_series3", "whole"),
    ]
    assert [case.is_dicom for case in cases] == [False] * 3 + [True] * 4
    for case in cases[3:]:
        np.testing.assert_array_equal(case.read()[0].hu, some_ct().hu)


def test_a_series_folder_given_itself(tmp_path: Path) -> None:
    save_series(tmp_path / "P 7")
    assert found(tmp_path / "P 7") == ["P_7"]


def test_series_without_numbers_of_their_own_are_counted(tmp_path: Path) -> None:
    for letter in "ab":
        save_series(tmp_path / "s", number=5, names=lambda k, letter=letter: f"{letter}{k}")
    assert found(tmp_path) == ["s_series1", "s_series2"]


def test_no_name_comes_from_a_header(tmp_path: Path) -> None:
    save_series(tmp_path / "anonymous")
    save_ct(tmp_path / "ct.nii.gz")
    assert found(tmp_path) == ["anonymous", "ct"]
    assert PATIENT not in "".join(found(tmp_path))


def test_what_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "ct.nii.gz", "._ct.nii.gz", ".hidden/ct.nii.gz", "results/x/ct.nii.gz")
    touch(tmp_path, "old/seg.nii.gz", "old/lesions.json", "old/phantom_ct.nii.gz")
    touch(tmp_path, "old/probabilities.nii.gz", "old/phantom_truth.nii.gz", "mine/seg.nii.gz")
    assert found(tmp_path) == ["ct", "mine_seg", "old_phantom_ct"]


def test_a_results_folder_reached_by_a_link_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "in/ct.nii.gz", "out/x/ct.nii.gz")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    assert names(find_cases(tmp_path / "in", tmp_path / "out")) == ["ct"]


@looped(
    ("only", "expected"),
    [
        ("volume-*", ["volume-1", "volume-2"]),
        ("*/volume-2.nii", ["sub_volume-2"]),
        ("sub/*", ["sub_volume-2"]),
        ("*", ["sub_volume-2", "volume-1"]),
    ],
)
def test_only_some(tmp_path: Path, only: str, expected: list[str]) -> None:
    touch(tmp_path, "volume-1.nii", "segmentation-1.nii", "sub/volume-2.nii")
    expected = ["sub_volume-2" if name == "volume-2" else name for name in expected]
    assert found(tmp_path, only) == sorted(expected)


def test_only_matches_the_folder_of_a_series(tmp_path: Path) -> None:
    save_series(tmp_path / "p1" / "portal")
    save_series(tmp_path / "p1" / "arterial")
    assert found(tmp_path, "portal") == ["p1_portal"]


def test_names_that_collide_are_numbered_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "a/b.nii", "a_b.nii", "a_b.nii.gz", "a_b-2.nii", "A_B.NII")
    first = {case.name: case.place for case in find_cases(tmp_path, tmp_path / "results")}
    assert len({name.casefold() for name in first}) == 5
    assert sorted(first, key=str.casefold) == ["A_B", "a_b-2", "a_b-2-2", "a_b-3", "a_b-4"]
    again = {case.name: case.place for case in find_cases(tmp_path, tmp_path / "results")}
    assert again == first


def test_names_that_no_system_refuses(tmp_path: Path) -> None:
    files = ["=1+1.nii", "-x.nii", "Müller, 7.nii", "+.nii", "sum:mary?.nii", "summary.csv.nii"]
    touch(tmp_path, *files, "x" * 240 + ".nii", "ü" * 120 + ".nii", "\udcff.nii")
    cases = names(find_cases(tmp_path, tmp_path / "results"))
    assert len({name.casefold() for name in cases}) == len(files) + 3
    assert "summary.csv-2" in cases
    assert "Müller_7" in cases
    for name in cases:
        assert name == name.strip("._-") != ""
        assert not set(name) & set('<>:"/\\|?*=+,;\x00 \n')
        assert len(name.encode()) <= 160
        assert unicodedata.is_normalized("NFC", name)


def test_long_names_differ_by_their_ends(tmp_path: Path) -> None:
    touch(tmp_path, "x" * 200 + "1.nii", "x" * 200 + "2.nii")
    one, two = found(tmp_path)
    assert one != two
    (tmp_path / ("x" * 200 + "1.nii")).unlink()
    assert found(tmp_path) == [two]  # whatever else there is


def test_the_sum_is_of_the_contents(tmp_path: Path) -> None:
    save_series(tmp_path / "s")
    shutil.copy(save_ct(tmp_path / "a.nii.gz"), tmp_path / "b.nii.gz")
    a, b, s = find_cases(tmp_path, tmp_path / "results")
    assert a.sha256() == b.sha256() != s.sha256()
    renamed = tmp_path / "t"
    renamed.mkdir()
    for n, path in enumerate(reversed(s.files)):
        shutil.copy(path, renamed / str(n))
    assert BatchItem(Path("t"), tuple(renamed.iterdir()), True).sha256() == s.sha256()
    path = s.files[0]
    path.write_bytes(path.read_bytes() + b"\0")
    assert BatchItem(Path("t"), tuple(renamed.iterdir()), True).sha256() != s.sha256()


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none is no folder; name one .* `livertumorseg segment`"):
        found(tmp_path / "none")
    with pytest.raises(ValueError, match="no folder"):
        found(save_ct(tmp_path / "ct.nii.gz"))
    with pytest.raises(ValueError, match=r"like 'x\*'; use another pattern"):
        found(tmp_path, "x*")
    os.remove(tmp_path / "ct.nii.gz")
    with pytest.raises(ValueError, match=r"holds no NIfTI or .* name a folder of CTs"):
        found(tmp_path)


def test_labels_that_lie_beside_cts_in_data_sets_are_no_cases(tmp_path: Path) -> None:
    """nnU-Net and MSD, LiTS as Kaggle gives it, and what Slicer saves beside a CT."""
    for name in (
        "imagesTr/liver_001_0000.nii.gz",
        "imagesTs/liver_002_0000.nii.gz",
        "labelsTr/liver_001.nii.gz",
        "labelsTs/liver_002.nii.gz",
        "volume_pt1/volume-0.nii",
        "segmentations/segmentation-0.nii",
        "p3/CT.nrrd",
        "p3/Segmentation.seg.nrrd",
        "p4/ct.mha",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(400))
    assert [case.place.name for case in find_cases(tmp_path, tmp_path / "out")] == [
        "liver_001_0000.nii.gz",
        "liver_002_0000.nii.gz",
        "CT.nrrd",
        "ct.mha",
        "volume-0.nii",
    ]


def test_no_patient_is_passed_over_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row for a folder of files that are not read, whatever they are; none for other files."""
    save_ct(tmp_path / "ct.nii.gz")
    touch(tmp_path, "sheet.csv", "notes/a.png", "notes/letter.pdf", "result/lesions.json")
    touch(tmp_path, *(f"result/{n}.png" for n in range(4)), *(f"ct/{n}.png" for n in range(4)))
    touch(tmp_path, *(f"pictures/{n}.png" for n in range(4)), "empty/IM1.dcm", "empty/IM2.dcm")
    touch(tmp_path, *(f"packed/IM{n}.dcm.gz" for n in range(4)), "nii/a.nii.bz2", "arrays/ct.npy")
    touch(tmp_path, "pair/ct.hdr", "pair/ct.img", "gz/ct.img.gz", "gz/ct.hdr.gz", "raw/ct.raw")
    save_series(tmp_path / "ct")
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    cases = find_cases(tmp_path, tmp_path / "out")
    left = {case.name: case.problem for case in cases if case.problem}
    assert set(names(cases)) - set(left) == {"ct", "ct-2"}
    assert {name: problem.partition(";")[2] for name, problem in left.items()} == {
        "arrays_ct.npy": " save it as .nii.gz.",
        "closed": " ask for permission to read it.",
        "empty": " copy or export it again.",
        "gz_ct.hdr.gz": " save it as .nii.gz.",
        "nii_a.nii.bz2": " unpack it, and run again.",
        "packed": " unpack it, and run again.",
        "pair_ct.hdr": " save it as .nii.gz.",
        "pictures": " give the CT itself.",
        "raw_ct.raw": " save it as .nii.gz.",
    }


# Which of them are run


def test_one_series_a_study_and_a_reason_for_every_other(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        study = generate_uid()
        for name in ("nativ", "portal", "bone"):
            save_series(
                tmp_path / patient / name,
                change=changed(StudyInstanceUID=study, SeriesDescription=f"{name} {PATIENT}"),
            )
    save_ct(tmp_path / "file.nii.gz")
    cases = find_cases(tmp_path, tmp_path / "results")
    chosen = choose_cases(cases, Choice(one_per_study=True))
    assert names(chosen) == names(cases)
    run = [case.name for case in chosen if not case.problem]
    assert run == ["file", "p1_portal", "p2_portal"]
    left = {case.name: case.problem for case in chosen if case.problem}
    assert left["p1_nativ"] == (
        "Another series of this study was taken, p1_portal (portal-venous by its description;"
        " axial, 10 slices 4.0 mm apart, 40 mm of the body); this one: unenhanced by its"
        " description; axial, 10 slices 4.0 mm apart, 40 mm of the body."
    )
    assert PATIENT not in "".join(left.values())


def test_only_some_descriptions_and_enough_slices(tmp_path: Path) -> None:
    for name, only in (("Portal thin", range(10)), ("portal thick", [0, 2, 4, 6]), ("art", None)):
        change = changed(SeriesDescription=name)
        save_series(tmp_path / name.replace(" ", "_"), change=change, only=only)
    save_ct(tmp_path / "z.nii.gz")
    (tmp_path / "damaged.nii.gz").write_bytes(b"no image")
    cases = find_cases(tmp_path, tmp_path / "results")

    def chosen(choice: Choice) -> list[str]:
        return [case.name for case in choose_cases(cases, choice) if not case.problem]

    assert chosen(Choice()) == names(cases)
    assert chosen(Choice(description="portal*")) == ["Portal_thin", "portal_thick"]
    # a damaged file is run, so that its row says what is wrong with it
    assert chosen(Choice(min_slices=10)) == ["Portal_thin", "art", "damaged", "z"]
    both = choose_cases(cases, Choice(description="portal*", min_slices=10))
    reasons = {case.name: case.problem for case in both}
    assert reasons["portal_thick"] == "It has 4 slices, fewer than the 10 of --min-slices."
    assert reasons["art"] == "Its series description is not like --description asks for."
    assert "no DICOM series" in reasons["z"]
    with pytest.raises(ValueError, match="No CT is left to be segmented"):
        choose_cases(cases[:1], Choice(description="delayed"))
