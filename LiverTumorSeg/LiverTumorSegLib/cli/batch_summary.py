"""The table of a batch, ``summary.csv``: a row a case, written anew as a whole each time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from LiverTumorSegLib.result.files import NO_LIVER, NOTICE
from LiverTumorSegLib.tables import csv_text

SUMMARY = "summary.csv"
DONE, SKIPPED, FAILED, LEFT_OUT = "done", "skipped", "failed", "left out"
COLUMNS = (
    *("case", "status", "sentence"),
    *("liver_volume_ml", "tumor_volume_ml", "burden_percent", "lesions", "largest_diameter_mm"),
    *("warnings", "seconds", "device", "notice"),
)


def failed_row(case: str, sentence: str, status: str = FAILED) -> dict[str, Any]:
    """Of a case without a result."""
    return {**dict.fromkeys(COLUMNS), "case": case, "status": status} | {
        "sentence": sentence,
        "notice": NOTICE,
    }


def result_row(case: str, status: str, record: dict[str, Any]) -> dict[str, Any]:
    """Of a case with a result, whose record (``lesions.json``) holds all that the row says."""
    diameters = [lesion["longest_axial_diameter_mm"] for lesion in record["lesions"]]
    return {
        "case": case,
        "status": status,
        "sentence": None if record["found_liver"] else NO_LIVER,
        "liver_volume_ml": record["liver_volume_ml"],
        "tumor_volume_ml": record["tumor_volume_ml"],
        "burden_percent": record["burden_percent"],
        "lesions": len(diameters),
        "largest_diameter_mm": max(diameters, default=None),
        "warnings": " ".join(record["warnings"]) or None,
        "seconds": record["run"]["seconds"],
        "device": record["run"]["device"],
        "notice": NOTICE,
    }


def line_of(row: dict[str, Any]) -> str:
    """A row for people, without its notice."""
    text = f"{row['case']}: {row['status']}"
    if row["sentence"]:
        return f"{text}. {row['sentence']}"
    tumors = "1 tumor" if row["lesions"] == 1 else f"{row['lesions']} tumors"
    return (
        f"{text}, liver {row['liver_volume_ml']:.0f} mL, {tumors} with"
        f" {row['tumor_volume_ml']:.1f} mL"
    )


def table_text(rows: Iterable[dict[str, Any]]) -> str:
    """The whole file; empty where a case has no such number."""
    return csv_text(COLUMNS, rows)
