"""The tables of a batch: ``summary.csv``, a row a case; ``lesions.csv``, a row a lesion of all of
them; ``columns.csv``, what each column of both is; and ``cohort.html``, the page of it all.

Each is written anew as a whole. All but the first are made of the results' own records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from LiverTumorSegLib.files import read_json, whole_file
from LiverTumorSegLib.result.files import NO_LIVER, NOTICE, RECORD
from LiverTumorSegLib.result.lesions import LESION_COLUMNS
from LiverTumorSegLib.tables import csv_text

SUMMARY, LESIONS, COLUMN_MEANINGS, COHORT = (
    "summary.csv",
    "lesions.csv",
    "columns.csv",
    "cohort.html",
)
TABLES = (SUMMARY, LESIONS, COLUMN_MEANINGS, COHORT)
DONE, SKIPPED, FAILED, LEFT_OUT = "done", "skipped", "failed", "left out"
MODEL_MEANINGS = {
    "model": "name of the model that made the labels",
    "model_version": "its version",
    "notice": "what the numbers are for",
}
LIVER_MEANINGS = {
    "liver_volume_ml": "volume of liver and tumor together, mL",
    "tumor_volume_ml": "volume of all tumor, mL",
    "burden_percent": "tumor volume as a share of the liver volume, %",
}
SUMMARY_MEANINGS = {
    "case": "name of the CT's result folder: its path below IN, with _ between the parts",
    "status": "done: segmented now; skipped: was done before, by the same model and settings;"
    " failed, left out: see reason",
    "reason": "why there is no result, or that no liver was found",
    **LIVER_MEANINGS,
    "lesions": "how many tumors are marked (connected in 3D, also by corners)",
    "largest_diameter_mm": "longest axial diameter of the lesion that is longest, mm",
    "warnings": "what is to be looked at, in sentences",
    "seconds": "that the case took, reading included",
    "device": "cpu, cuda or mps: what it ended on",
    **MODEL_MEANINGS,
}
LESION_MEANINGS = {
    "case": "as in summary.csv",
    "number": "of the lesion in its case, largest volume first",
    "volume_ml": "its volume, mL",
    "longest_axial_diameter_mm": "longest distance in it on one axial slice, mm",
    "perpendicular_diameter_mm": "longest at a right angle to that, on the same slice, mm",
    "slice_index": "that slice, counted from 0 along the slice axis of the CT's own grid",
    "centroid_r_mm": "its center, mm to the patient's right in the scanner's coordinates",
    "centroid_a_mm": "mm to the front",
    "centroid_s_mm": "mm to the head",
    "mean_hu": "mean CT number in it, HU",
    "confidence": "share of its voxels expected to be tumor, 0 to 1; empty where unknown",
    "implausible": "what speaks against its being a liver tumor",
    "liver_volume_ml": "of the case: " + LIVER_MEANINGS["liver_volume_ml"],
    "burden_percent": "of the case: " + LIVER_MEANINGS["burden_percent"],
    **MODEL_MEANINGS,
}
COLUMNS = tuple(SUMMARY_MEANINGS)


def failed_row(case: str, reason: str, status: str = FAILED) -> dict[str, Any]:
    """The row of a case without a result."""
    return {**dict.fromkeys(COLUMNS), "case": case, "status": status} | {
        "reason": reason,
        "notice": NOTICE,
    }


def result_row(case: str, status: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a case with a result, from its record (``lesions.json``)."""
    diameters = [lesion["longest_axial_diameter_mm"] for lesion in record["lesions"]]
    return {
        "case": case,
        "status": status,
        "reason": None if record["found_liver"] else NO_LIVER,
        "liver_volume_ml": record["liver_volume_ml"],
        "tumor_volume_ml": record["tumor_volume_ml"],
        "burden_percent": record["burden_percent"],
        "lesions": len(diameters),
        "largest_diameter_mm": max(diameters, default=None),
        "warnings": " ".join(record["warnings"]) or None,
        "seconds": record["run"]["seconds"],
        "device": record["run"]["device"],
        **_model_of(record),
    }


def lesion_rows(case: str, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row a lesion of one case."""
    of_case = {name: record[name] for name in ("liver_volume_ml", "burden_percent")}
    for lesion in record["lesions"]:
        own = {name: lesion.get(name) for name in LESION_COLUMNS}
        yield {"case": case, **own, **of_case, **_model_of(record)}


def _model_of(record: Mapping[str, Any]) -> dict[str, Any]:
    model = record.get("model") or {}
    return {"model": model.get("model"), "model_version": model.get("version"), "notice": NOTICE}


def line_of(row: Mapping[str, Any]) -> str:
    """A row for people, without its notice."""
    text = f"{row['case']}: {row['status']}"
    if row["reason"]:
        return f"{text}. {row['reason']}"
    tumors = "1 tumor" if row["lesions"] == 1 else f"{row['lesions']} tumors"
    return (
        f"{text}, liver {row['liver_volume_ml']:.0f} mL, {tumors} with"
        f" {row['tumor_volume_ml']:.1f} mL"
    )


def table_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """All of ``summary.csv``; empty where a case has no such number."""
    return csv_text(COLUMNS, rows)


def is_summary(head: str) -> bool:
    """Whether a first line is that of a batch's table, of this version or an earlier one."""
    return head.startswith("case,status,") and head.rstrip("\n").endswith(",notice")


def write_summary(out: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace ``summary.csv``; ``ValueError`` when the disk refuses."""
    _write(out / SUMMARY, table_text(rows))


def write_tables(out: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Replace all tables and the page, of the rows in their order and the records in ``out``.

    The page is left as it is where it shows the same already. What comes back is a sentence where
    it could not be made. ``ValueError`` when the disk refuses.
    """
    from LiverTumorSegLib.result.cohort import CohortCase, render_cohort, shows

    write_summary(out, rows)
    records = {str(row["case"]): _record_of(out, row) for row in rows}
    lesions = [
        lesion
        for case, record in records.items()
        if record is not None
        for lesion in lesion_rows(case, record)
    ]
    _write(out / LESIONS, csv_text(tuple(LESION_MEANINGS), lesions))
    meanings = [
        {"table": table, "column": column, "meaning": meaning}
        for table, columns in ((SUMMARY, SUMMARY_MEANINGS), (LESIONS, LESION_MEANINGS))
        for column, meaning in columns.items()
    ]
    _write(out / COLUMN_MEANINGS, csv_text(("table", "column", "meaning"), meanings))
    cases = [
        CohortCase(
            name=str(row["case"]),
            problem=row["reason"] if record is None else None,
            failed=row["status"] == FAILED,
            record=record,
            folder=out / str(row["case"]),
        )
        for row, record in zip(rows, records.values(), strict=True)
    ]
    if shows(out / COHORT, cases):
        return ""
    try:
        page = render_cohort(cases, SUMMARY_MEANINGS)
    except Exception as error:  # whatever it is, a night's cases are not lost for it
        return f"{COHORT} could not be made ({type(error).__name__}); please report it."
    _write(out / COHORT, page)
    return ""


def _record_of(out: Path, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record (``lesions.json``) of a case with a result."""
    if row["status"] not in (DONE, SKIPPED):
        return None
    with suppress(OSError, ValueError):  # another program took it away meanwhile
        return read_json(out / str(row["case"]) / RECORD)
    return None


def _write(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8", newline="")
