"""The paper's inclusion rules: each case is in or out, and a sentence says why it is out."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from invented_cases import case, lits_cases
from LiverTumorSegLib.ct.nifti import write_ct, write_labels
from LiverTumorSegLib.phantom.phantom import make_phantom
from looped import looped

from training.cases.case import Case
from training.cases.criteria import (
    Rules,
    Selected,
    coverage,
    read_selection,
    save_selection,
    select_cases,
    selection_text,
)
from training.cases.folder import CaseCheck, CaseReport, check_cases, find_cases
from training.check import main

WHOLE = CaseCheck(case("0", "0"), slices=30, liver_slices=20, tumor_slices=9, tumor_ml=5.0)


def checks_of(cases: list[Case]) -> CaseReport:
    """Every case meets the rules; tumor slices and volume grow with the number."""
    return CaseReport(
        tuple(
            replace(WHOLE, case=c, tumor_slices=5 + c.number, tumor_ml=float(c.number))
            if c.kind == "case"
            else CaseCheck(c, slices=3)
            for c in cases
        )
    )


def judged(check: CaseCheck, rules: Rules | None = None) -> Selected:
    (one,) = select_cases(CaseReport((check,)), rules or Rules())
    return one


def included(selection: list[Selected]) -> set[str]:
    return {one.check.case.name for one in selection if one.included}


def test_a_case_that_meets_every_rule_is_in_without_a_reason() -> None:
    assert judged(WHOLE) == Selected(WHOLE, True, "")


OUT: dict[str, tuple[Mapping[str, object], Rules, str]] = {
    "no tumor": ({"tumor_slices": 0}, Rules(), "no tumor"),
    "few slices": ({"tumor_slices": 4}, Rules(), "4 tumor slices, fewer than 5"),
    "fewer than asked": (
        {"tumor_slices": 9},
        Rules(min_tumor_slices=10),
        "9 tumor slices, fewer than 10",
    ),
    "cut above": (
        {"end_shares": (0.0, 0.3)},
        Rules(),
        "the liver is cut off: the scan's highest slice shows 30% of the largest liver slice",
    ),
    "cut below": (
        {"end_shares": (0.5, 0.2)},
        Rules(),
        "the liver is cut off: the scan's lowest slice shows 50% of the largest liver slice",
    ),
    "motion": (
        {},
        Rules(motion=frozenset({"0"})),
        "severe motion artifact (by the list of such cases)",
    ),
    "not aligned": (
        {"problems": ("segmentation-0.nii lies elsewhere than its CT; find the right labels.",)},
        Rules(),
        "segmentation-0.nii lies elsewhere than its CT; find the right labels",
    ),
    "not readable": (
        {"problems": ("It is damaged; copy it.",), "liver_slices": 0, "tumor_slices": 0},
        Rules(),
        "It is damaged; copy it",
    ),
    "two rules": (
        {"tumor_slices": 0, "end_shares": (0.0, 0.3)},
        Rules(),
        "no tumor; the liver is cut off: the scan's highest slice shows 30% of the largest "
        "liver slice",
    ),
    "nothing but liver": (
        {"slices": 20, "end_shares": (0.3, 0.3)},
        Rules(strict_coverage=True),
        "coverage cannot be judged: every slice shows liver, as if the file was cut down to it",
    ),
}


@looped("what", OUT)
def test_each_rule_leaves_a_case_out_with_its_reason(what: str) -> None:
    change, rules, reason = OUT[what]
    one = judged(replace(WHOLE, **change), rules)  # type: ignore[arg-type]
    assert (one.included, one.reason) == (False, reason)


@looped("share", [0.0, 0.09])
def test_a_tip_in_the_last_slice_is_no_cut(share: float) -> None:
    """Of whole livers the outermost slice may lie at the scan's end."""
    assert judged(replace(WHOLE, end_shares=(share, 0.0))).included


def test_coverage_that_cannot_be_judged_is_neither_passed_nor_failed_in_silence() -> None:
    one = judged(replace(WHOLE, slices=20, end_shares=(0.03, 0.04)))
    assert one.included
    assert one.reason.startswith("coverage cannot be judged: every slice shows liver")
    assert one.row()["coverage"] == "unknown"
    assert "Whether 1 of them show the whole liver cannot be judged" in selection_text([one])


def test_context_files_follow_their_scans() -> None:
    cases = [case("0", "a"), case("0-context", "a"), case("1", "b"), case("1-context", "b")]
    cases.append(case("2-context", "c"))
    report = checks_of(cases)
    selection = select_cases(report, Rules(motion=frozenset({"1"})))
    assert included(selection) == {"0", "0-context"}
    reasons = {one.check.case.name: one.reason for one in selection}
    assert reasons["1-context"] == "its scan is left out"
    assert reasons["2-context"] == "its scan is not in the folder"
    spoiled = replace(report.checks[1], problems=("It shows liver; remove those slices.",))
    checks = (report.checks[0], spoiled)
    assert included(select_cases(CaseReport(checks), Rules())) == {"0"}


@looped("seed", range(20))
def test_a_count_draws_patients_evenly_by_size_and_one_scan_of_each(seed: int) -> None:
    cases = lits_cases([*range(11), 14, 15, *range(20, 40)])
    selection = select_cases(checks_of(cases), Rules(count=11, seed=seed))
    drawn = [one.check.case for one in selection if one.included]
    assert len(drawn) == len({c.group for c in drawn}) == 11
    # The patients in order of tumor volume: 2 ... 5, then 10 for 6 to 10, 15 for 14 and 15, 20 ...
    line = ["0-1", "2", "3", "4", "5", "6-10", "14-15", *map(str, range(20, 40))]
    tertiles = [line.index(c.group) // 9 for c in drawn]
    assert sorted(tertiles.count(n) for n in range(3)) == [3, 4, 4]
    assert {c.name for c in drawn} & {"0", "6", "7", "8", "9", "14"} == set()
    left = [one for one in selection if not one.included]
    assert all("was not drawn" in one.reason or "was drawn" in one.reason for one in left)


def test_other_scans_of_a_drawn_patient_name_the_one_that_was_drawn() -> None:
    selection = select_cases(checks_of(lits_cases(range(11))), Rules(count=6))
    reasons = {one.check.case.name: one.reason for one in selection if not one.included}
    assert set(reasons) == {"0", "6", "7", "8", "9"}  # all six patients are in
    assert reasons["0"] == "another scan of the same patient, 1, was drawn"
    assert reasons["6"] == "another scan of the same patient, 10, was drawn"


def test_the_draw_is_the_same_for_the_same_seed_only() -> None:
    report = checks_of(lits_cases(range(20, 50)))
    draws = [
        frozenset(included(select_cases(report, Rules(count=11, seed=seed)))) for seed in range(20)
    ]
    shuffled = CaseReport(report.checks[::-1])
    assert included(select_cases(shuffled, Rules(count=11, seed=3))) == draws[3]
    assert len(set(draws)) > 10


@looped("count", [0, 4])
def test_more_patients_than_there_are_cannot_be_drawn(count: int) -> None:
    with pytest.raises(ValueError, match=f"3 patients meet the rules and {count} were asked for"):
        select_cases(checks_of(lits_cases([2, 3, 4])), Rules(count=count))


def test_a_motion_list_that_names_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="motion list names 77, which is not in the folder"):
        select_cases(checks_of(lits_cases([2, 3])), Rules(motion=frozenset({"77"})))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom whole (0), without its upper half (1), and upside down in its file (2)."""
    folder = tmp_path_factory.mktemp("lits")
    phantom = make_phantom(seed=5, shape_kji=(24, 40, 40), spacing_kji_mm=(11.0, 9.0, 9.0))
    ct, labels = phantom.ct, phantom.labels
    middle = int(np.argmax((labels > 0).sum(axis=(1, 2)))) + 1
    write_ct(folder / "volume-0.nii", ct)
    write_labels(folder / "segmentation-0.nii", labels, ct)
    half = replace(ct, hu=ct.hu[:middle].copy())
    write_ct(folder / "volume-1.nii", half)
    write_labels(folder / "segmentation-1.nii", labels[:middle], half)
    flipped = half.ijk_to_ras @ np.array(
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, middle - 1], [0, 0, 0, 1]]
    )
    for kind, array in (("volume", half.hu), ("segmentation", labels[:middle])):
        image = nibabel.Nifti1Image(np.ascontiguousarray(array[::-1].T), flipped)
        image.to_filename(folder / f"{kind}-2.nii")
    return folder


def test_coverage_is_seen_in_the_files_whichever_way_they_lie(folder: Path) -> None:
    checks = check_cases(find_cases(folder)).checks
    assert [check.problems for check in checks] == [(), (), ()]
    assert [coverage(check) for check in checks] == ["full", "cut", "cut"]
    assert checks[0].end_shares == (0.0, 0.0)
    for check in checks[1:]:
        assert check.end_shares == (0.0, 1.0)  # lowest, highest
    assert checks[1].tumor_slices == checks[2].tumor_slices


def test_the_command_writes_a_table_that_the_other_commands_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "selection.csv"
    assert main([str(folder), "-o", str(output), "--min-tumor-slices", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 of 3 cases are included, of 1 patients." in said
    assert "highest slice shows 100% of the largest liver slice" in said
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["included"] for row in rows] == ["yes", "no", "no"]
    cases = find_cases(folder, table=output)
    assert [c.group for c in cases] == ["0-1", "0-1", "2"]
    chosen, tumor_ml = read_selection(output, cases)
    assert [c.name for c in chosen] == ["0"]
    measured = check_cases(cases).tumor_ml
    assert tumor_ml == pytest.approx(measured, abs=1e-3)


def test_the_command_refuses_in_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "selection.csv"
    output.write_text("mine")
    assert main([str(folder), "-o", str(output)]) == 2
    assert "selection.csv exists" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main([str(folder), "-o", str(output), "--overwrite", "--count", "9"]) == 2
    assert "9 were asked for" in capsys.readouterr().err
    assert output.read_text() == "mine"


def test_a_hand_edited_selection_is_taken_at_its_word(tmp_path: Path) -> None:
    cases = [case("0", "a"), case("0-context", "a"), case("1", "b"), case("1-context", "b")]
    path = tmp_path / "mine.csv"
    path.write_text("file,included\nvolume-0.nii,no\nvolume-1.nii,yes\n")
    chosen, tumor_ml = read_selection(path, cases)
    assert [c.name for c in chosen] == ["1", "1-context"]
    assert tumor_ml is None


WRONG = {
    "a case missing": ("name,included\n0,yes\n", "does not say yes or no for 1"),
    "odd word": ("name,included\n0,yes\n1,maybe\n", "does not say yes or no for 1"),
    "no column": ("name,in\n0,yes\n1,no\n", r"needs file \(or name\) and included"),
    "odd volume": ("name,included,tumor_ml\n0,yes,much\n1,no,0\n", 'tumor_ml "much" for 0'),
}


@looped("what", WRONG)
def test_a_selection_that_cannot_be_right_is_refused(tmp_path: Path, what: str) -> None:
    text, expected = WRONG[what]
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(ValueError, match=expected):
        read_selection(tmp_path / "s.csv", [case("0", "a"), case("1", "b")])


def test_a_saved_selection_has_every_case_and_reads_back(tmp_path: Path) -> None:
    cases = lits_cases(range(2, 9))
    selection = select_cases(checks_of(cases), Rules(motion=frozenset({"4"})))
    save_selection(selection, tmp_path / "s.csv")
    chosen, _ = read_selection(tmp_path / "s.csv", cases)
    assert {c.name for c in chosen} == included(selection) == {"2", "3", "5", "6", "7", "8"}


def test_two_real_scans_are_judged_as_they_are(shared_data: Path) -> None:
    """LiTS 12 lacks its dome here, and LiTS 0 holds nothing but liver slices."""
    wanted = {"0": "unknown", "12": "cut", "22": "full"}
    cases = [c for c in find_cases(shared_data / "lits-subset") if c.name in wanted]
    found = {check.case.name: coverage(check) for check in check_cases(cases).checks}
    assert found == wanted
