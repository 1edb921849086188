"""Reads the table of cases: whose scan each is, and which set it belongs to.

    cases = with_table(cases, Path("manifest.csv"))

A CSV with the columns ``file`` (the CT's, or 3D-IRCADb's patient folder) or ``name``,
``patient_group``, and optionally ``split`` (train, val, test) and ``kind`` (case, context); other
columns are left alone. Every case needs a row, only a context file may go without and then follows
its scan.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

from LiverTumorSegLib.tables import csv_value

from training.cases.case import SET_NAMES, Case, FileKind, SetName


def with_table(cases: Sequence[Case], table: Path) -> list[Case]:
    """The cases with group, split and kind of the table; ``ValueError`` when it cannot be right."""
    rows, merged = _read_table(cases, table), []
    for case in cases:
        row = rows.get(case.name)
        if row is None and case.kind == "context":  # the same patient as its scan
            row = {**rows.get(str(case.number), {}), "kind": "context"}
        if not row or "patient_group" not in row:
            raise ValueError(
                f"{case.file} has no row in {table.name}; add its row with its patient_group."
            )
        split = cast("SetName | None", row.get("split") or None)
        kind = cast(FileKind, row.get("kind") or case.kind)
        merged.append(replace(case, group=row["patient_group"], split=split, kind=kind))
    _refuse_parted_scans(merged, table)
    return merged


def read_csv(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The first line, and the others by it, without blanks around the values.

    Raises ``ValueError`` when the file cannot be read or is no CSV text.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            lines = [{c: csv_value(str(line[c]).strip()) for c in columns} for line in reader]
    except OSError:
        raise ValueError(f"{table.name} cannot be read; check its name and folder.") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{table.name} is no CSV text; save it as CSV, UTF-8.") from None
    return columns, lines


def key_column(columns: Sequence[str], needed: str, table: Path) -> str:
    """The column that names the case a row is about, "file" or "name".

    Raises ``ValueError`` when there is neither, or the column ``needed`` is missing.
    """
    key = next((column for column in ("file", "name") if column in columns), None)
    if key is None or needed not in columns:
        raise ValueError(
            f"{table.name} lacks a column; it needs file (or name) and {needed} in its first "
            "line, separated by commas."
        )
    return key


def _read_table(cases: Sequence[Case], table: Path) -> dict[str, dict[str, str]]:
    """Rows by the case's name; every row is about a case that was found, and about one only."""
    columns, lines = read_csv(table)
    key = key_column(columns, "patient_group", table)
    names = {case.file if key == "file" else case.name: case.name for case in cases}
    rows: dict[str, dict[str, str]] = {}
    for line in lines:
        name = names.get(line[key])
        if name is None:
            raise ValueError(
                f'{table.name} has a row for "{line[key]}", which is not in the folder; '
                "add that CT or remove the row."
            )
        if name in rows:
            raise ValueError(f"{table.name} has two rows for {line[key]}; remove one of them.")
        _refuse_row(line, line[key], table)
        rows[name] = line
    return rows


def _refuse_row(line: Mapping[str, str], shown: str, table: Path) -> None:
    if not line["patient_group"]:
        raise ValueError(
            f"{table.name} has no patient_group for {shown}; give every scan of one patient "
            "the same group."
        )
    for column, allowed in (("split", SET_NAMES), ("kind", get_args(FileKind))):
        if line.get(column) and line[column] not in allowed:
            raise ValueError(
                f'{table.name} has {column} "{line[column]}" for {shown}; '
                f"use one of {', '.join(allowed)}."
            )


def _refuse_parted_scans(cases: Sequence[Case], table: Path) -> None:
    """A context file shows the patient of its scan: another group would leak into another set."""
    groups: dict[int, str] = {}
    for case in cases:
        if groups.setdefault(case.number, case.group) != case.group:
            raise ValueError(
                f"{table.name} puts {case.file} and its scan in different patient groups; "
                "give both the same patient_group."
            )
