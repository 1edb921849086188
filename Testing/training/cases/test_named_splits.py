"""Published test sets: their numbers, and that their patients are nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from looped import looped

from training.cases.case import Case, default_group, ircad_patient
from training.cases.splits import NAMED, load_split, named_split
from training.split import main

PUBLIC = (3, 17, 18, 28, 33, 37, 43, 64, 70, 77, 80, 90, 100, 104, 110, 123)


def lits(numbers: range) -> list[Case]:
    return [
        Case(str(n), Path(f"volume-{n}.nii"), None, default_group(n), None, "case") for n in numbers
    ]


def tumor_ml(cases: list[Case]) -> dict[str, float]:
    return {case.name: float(case.number % 7) for case in cases}


def test_the_public_test_set_is_the_published_one() -> None:
    cases = lits(range(131))
    split, skipped = named_split("gunetrpp-public", cases, tumor_ml(cases))
    assert sorted(map(int, split.test)) == sorted(PUBLIC)
    assert skipped == ""
    assert len(split.train) + len(split.val) == 131 - 16
    assert 9 <= len(split.val) <= 14


def test_the_external_test_trains_on_no_patient_of_3d_ircadb() -> None:
    cases = lits(range(131))
    split, skipped = named_split("ircad-external", cases, tumor_ml(cases))
    assert sorted(map(int, split.test)) == [29, 30, 32, 35, 36, 39, 41, 42, 47]
    assert all(ircad_patient(int(n)) is None for n in (*split.train, *split.val))
    assert len(split.train) + len(split.val) == 131 - 20
    assert skipped == ""


def test_ids_that_are_not_in_the_folder_are_told() -> None:
    cases = lits(range(20))
    split, skipped = named_split("gunetrpp-public", cases, tumor_ml(cases))
    assert split.test == ("3", "17", "18")
    assert skipped.startswith("13 of the 16 test cases")
    assert "28, 33" in skipped


def test_other_scans_of_a_test_patient_are_in_no_set() -> None:
    cases = [*lits(range(12)), Case("29", Path("volume-29.nii"), None, "2", None, "case")]
    split, _ = named_split("ircad-external", cases, tumor_ml(cases))
    assert split.test == ("29",)
    assert "2" not in (*split.train, *split.val)


def test_context_files_follow_their_scans() -> None:
    cases = lits(range(12))
    cases += [
        Case(f"{n}-context", Path(f"c{n}"), None, default_group(n), None, "context") for n in (2, 3)
    ]
    split, _ = named_split("gunetrpp-public", cases, tumor_ml(cases))
    assert split.test == ("3", "3-context")
    assert "2-context" in (*split.train, *split.val)


def test_a_folder_without_any_of_them_is_refused() -> None:
    cases = lits(range(3))
    with pytest.raises(ValueError, match="None of the test cases of ircad-external"):
        named_split("ircad-external", cases, tumor_ml(cases))


@looped("name", NAMED)
def test_the_command_writes_it(
    name: str, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (12, 29, 3, 5, 50):  # of other clinics 12, 5 and 50
        for part in ("volume", "segmentation"):
            file = f"{part}-{number}.nii.gz"
            (tmp_path / file).symlink_to(shared_data / "lits-subset" / file)
    out = tmp_path / "split.json"
    assert main([str(tmp_path), "-o", str(out), "--named", name]) == 0
    split = load_split(out)
    assert split.test == (("29",) if name == "ircad-external" else ("3",))
    assert "are left out" in capsys.readouterr().err
