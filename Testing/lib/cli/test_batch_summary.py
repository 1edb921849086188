"""The table of a batch: what a row says of a result, and of a failure."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from LiverTumorSegLib.cli.batch_summary import (
    COLUMNS,
    LESION_MEANINGS,
    SUMMARY_MEANINGS,
    TABLES,
    failed_row,
    is_summary,
    lesion_rows,
    line_of,
    result_row,
    table_text,
    write_tables,
)
from LiverTumorSegLib.result.lesions import LESION_COLUMNS
from looped import looped

NOTICE = "For research only, not for diagnosis."
RECORD: dict[str, Any] = {
    "found_liver": True,
    "liver_volume_ml": 1500.25,
    "tumor_volume_ml": 12.5,
    "burden_percent": 0.8332,
    "lesions": [{"longest_axial_diameter_mm": 8.5}, {"longest_axial_diameter_mm": 21.25}],
    "warnings": ["Cut to a window.", 'It says "so", twice.'],
    "run": {"seconds": 3.25, "device": "cuda"},
    "model": {"model": "tiny", "version": "0.3"},
}


def parsed(*rows: dict[str, Any]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table_text(rows))))


def test_a_row_of_a_result() -> None:
    (row,) = parsed(result_row("p1", "done", RECORD))
    assert row == {
        "case": "p1",
        "status": "done",
        "reason": "",
        "liver_volume_ml": "1500.25",
        "tumor_volume_ml": "12.5",
        "burden_percent": "0.8332",
        "lesions": "2",
        "largest_diameter_mm": "21.25",
        "warnings": 'Cut to a window. It says "so", twice.',
        "seconds": "3.25",
        "device": "cuda",
        "model": "tiny",
        "model_version": "0.3",
        "notice": NOTICE,
    }
    assert tuple(row) == COLUMNS


def test_a_row_without_liver_of_a_failure_and_a_table_of_none() -> None:
    # a row without liver
    nothing = {"found_liver": False, "liver_volume_ml": 0.0, "tumor_volume_ml": 0.0}
    record = {**RECORD, **nothing, "burden_percent": None, "lesions": [], "warnings": []}
    (row,) = parsed(result_row("p1", "skipped", record))
    assert (row["status"], row["reason"]) == ("skipped", "No liver found.")
    assert (row["lesions"], row["largest_diameter_mm"], row["burden_percent"]) == ("0", "", "")

    # a row of a failure
    (row,) = parsed(failed_row("p,1", "ct.nii is damaged;\ncopy it again."))
    assert row.pop("case") == "p,1"
    assert row.pop("status") == "failed"
    assert row.pop("reason") == "ct.nii is damaged;\ncopy it again."
    assert row.pop("notice") == NOTICE
    assert set(row.values()) == {""}

    # an empty table is its head
    assert table_text([]) == ",".join(COLUMNS) + "\n"


@looped(
    ("row", "line"),
    [
        (result_row("p1", "done", RECORD), "p1: done, liver 1500 mL, 2 tumors with 12.5 mL"),
        (
            result_row("p1", "done", {**RECORD, "lesions": RECORD["lesions"][:1]}),
            "p1: done, liver 1500 mL, 1 tumor with 12.5 mL",
        ),
        (
            result_row("p1", "skipped", {**RECORD, "found_liver": False}),
            "p1: skipped. No liver found.",
        ),
        (failed_row("p1", "It is damaged."), "p1: failed. It is damaged."),
    ],
)
def test_lines_for_people(row: dict[str, Any], line: str) -> None:
    assert line_of(row) == line


def test_every_column_of_both_tables_is_explained() -> None:
    lesion = {**dict.fromkeys(LESION_COLUMNS), **RECORD["lesions"][0]}
    (row,) = lesion_rows("p1", {**RECORD, "lesions": [lesion]})
    assert tuple(row) == tuple(LESION_MEANINGS)
    assert tuple(result_row("p1", "done", RECORD)) == tuple(SUMMARY_MEANINGS)
    assert (row["case"], row["liver_volume_ml"], row["model"]) == ("p1", 1500.25, "tiny")


def test_the_lesions_of_all_cases_are_one_table(tmp_path: Path) -> None:
    lesions = [{**dict.fromkeys(LESION_COLUMNS, 1.0), "number": n} for n in (1, 2)]
    rows = []
    for case in ("b", "a", "gone"):
        record = {**RECORD, "lesions": lesions}
        rows.append(result_row(case, "done", record))
        if case != "gone":
            (tmp_path / case).mkdir()
            (tmp_path / case / "lesions.json").write_text(json.dumps(record))
    write_tables(tmp_path, [*rows, failed_row("f", "It is <damaged>.")])
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", *TABLES}
    with (tmp_path / "lesions.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["case"], row["number"]) for row in table] == [
        *(("b", "1"), ("b", "2"), ("a", "1"), ("a", "2"))
    ]
    with (tmp_path / "columns.csv").open(newline="") as file:
        meanings = list(csv.DictReader(file))
    assert [row["column"] for row in meanings] == [*SUMMARY_MEANINGS, *LESION_MEANINGS]
    page = tmp_path / "cohort.html"
    assert "It is &lt;damaged&gt;." in page.read_text()
    page.touch()
    before = page.stat().st_mtime_ns
    write_tables(tmp_path, [*rows, failed_row("f", "It is <damaged>.")])
    assert page.stat().st_mtime_ns == before  # it showed the same already
    write_tables(tmp_path, rows)
    assert "damaged" not in page.read_text()


def test_a_table_of_an_earlier_version_is_known() -> None:
    assert is_summary(table_text([]))
    assert is_summary("case,status,sentence,liver_volume_ml,notice\n")
    assert not is_summary("case,status\n")
