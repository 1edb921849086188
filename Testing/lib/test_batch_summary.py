"""The table of a batch: what a row says of a result, and of a failure."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from LiverTumorSegLib.cli.batch_summary import COLUMNS, failed_row, line_of, result_row, table_text

NOTICE = "For research only, not for diagnosis."
RECORD: dict[str, Any] = {
    "found_liver": True,
    "liver_volume_ml": 1500.25,
    "tumor_volume_ml": 12.5,
    "burden_percent": 0.8332,
    "lesions": [{"longest_axial_diameter_mm": 8.5}, {"longest_axial_diameter_mm": 21.25}],
    "warnings": ["Cut to a window.", 'It says "so", twice.'],
    "run": {"seconds": 3.25, "device": "cuda"},
}


def parsed(*rows: dict[str, Any]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table_text(rows))))


def test_a_row_of_a_result() -> None:
    (row,) = parsed(result_row("p1", "done", RECORD))
    assert row == {
        "case": "p1",
        "status": "done",
        "sentence": "",
        "liver_volume_ml": "1500.25",
        "tumor_volume_ml": "12.5",
        "burden_percent": "0.8332",
        "lesions": "2",
        "largest_diameter_mm": "21.25",
        "warnings": 'Cut to a window. It says "so", twice.',
        "seconds": "3.25",
        "device": "cuda",
        "notice": NOTICE,
    }
    assert tuple(row) == COLUMNS


def test_a_row_without_liver() -> None:
    nothing = {"found_liver": False, "liver_volume_ml": 0.0, "tumor_volume_ml": 0.0}
    record = {**RECORD, **nothing, "burden_percent": None, "lesions": [], "warnings": []}
    (row,) = parsed(result_row("p1", "skipped", record))
    assert (row["status"], row["sentence"]) == ("skipped", "No liver found.")
    assert (row["lesions"], row["largest_diameter_mm"], row["burden_percent"]) == ("0", "", "")


def test_a_row_of_a_failure() -> None:
    (row,) = parsed(failed_row("p,1", "ct.nii is damaged;\ncopy it again."))
    assert row.pop("case") == "p,1"
    assert row.pop("status") == "failed"
    assert row.pop("sentence") == "ct.nii is damaged;\ncopy it again."
    assert row.pop("notice") == NOTICE
    assert set(row.values()) == {""}


def test_an_empty_table_is_its_head() -> None:
    assert table_text([]) == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
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
