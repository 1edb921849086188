"""Find labeled cases in a LiTS or MSD Task03 folder, and check them before anything is trained.

    python -m training.lits FOLDER [--table groups.csv]   # a table; exit 2 when something is wrong

    cases = find_cases(Path("LiTS"))
    report = check_cases(cases)
    print(report.text())

Layouts: ``volume-N.nii[.gz]`` with ``segmentation-N.nii[.gz]`` in one folder or in folders right
below it (LiTS), or ``imagesTr/liver_N.nii[.gz]`` with the same name in ``labelsTr`` (MSD Task03,
which kept the numbers of LiTS). ``volume-N-context`` holds slices of scan N without liver. They are
far apart and not evenly spaced: 2D material, left out (``kind``) wherever volumes are evaluated.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.nifti import read_ct, read_labels
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

Kind = Literal["case", "context"]
SetName = Literal["train", "val", "test"]
SET_NAMES: tuple[SetName, ...] = get_args(SetName)

MANIFEST = "manifest.csv"
# LiTS numbers of one patient scanned several times, found by eye: others may be unnoticed.
SAME_PATIENT = {"0-1": (0, 1), "6-10": (6, 7, 8, 9, 10), "14-15": (14, 15)}
FIRST_IRCAD, IRCAD_PATIENTS = 28, 20
LIVER_HU = (-50.0, 300.0)  # mean; fatty livers without contrast reach -20, bright late phases 200
GRIDS_DIFFER = 0.05  # of the smallest spacing, at the far corner; rounding stays far below


@dataclass(frozen=True)
class Case:
    """One CT and its labels.

    name: the number in the file's name, "7", or "7-context" for liver-free slices of that scan.
    labels: ``None`` when there is no label file (:func:`check_case` reports it).
    group: patients are told apart by this; never split within a group.
    split: from the table's column, ``None`` without one.
    """

    name: str
    ct: Path
    labels: Path | None
    group: str
    split: SetName | None
    kind: Kind

    @property
    def number(self) -> int:
        """N of ``volume-N``; a context file has the number of its scan."""
        return int(self.name.split("-")[0])


def ircad_patient(lits_id: int) -> int | None:
    """The 3D-IRCADb-01 patient (1 to 20) a LiTS volume (28 to 47) is; ``None`` for others.

    A network trained on LiTS has seen them: 3D-IRCADb is no external test for it.
    """
    patient = lits_id - FIRST_IRCAD + 1
    return patient if 1 <= patient <= IRCAD_PATIENTS else None


def default_group(lits_id: int) -> str:
    """The patient group of a LiTS volume without a table: its number, or a known group's name."""
    return next((name for name, ids in SAME_PATIENT.items() if lits_id in ids), str(lits_id))


def find_cases(folder: Path, *, table: Path | None = None) -> list[Case]:
    """The cases of a folder (layouts: see the module), by number, each scan before its context.

    table: CSV with the columns ``file`` (the CT's) or ``name``, ``patient_group``, and when wanted
    ``split`` (train, val, test) and ``kind`` (case, context); every case needs a row, only a
    context file may go without and then follows its scan. Default: ``manifest.csv`` in the folder
    if it is there, else every number is a patient, apart from the known groups of LiTS.
    Raises ``ValueError``, one sentence, for a layout or table that cannot be right.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder.name} is not a folder; give the one that holds the CT files.")
    cts, labels = _find_msd(folder) if (folder / "imagesTr").is_dir() else _find_lits(folder)
    if lonely := sorted(labels.keys() - cts.keys(), key=_order):
        raise ValueError(
            f"{labels[lonely[0]].name} has no CT beside it; add the CT or remove the label file."
        )
    cases = [_case(name, cts[name], labels.get(name)) for name in sorted(cts, key=_order)]
    if table is None and (folder / MANIFEST).is_file():
        table = folder / MANIFEST
    return cases if table is None else _with_table(cases, table)


def _case(name: str, ct: Path, labels: Path | None) -> Case:
    kind: Kind = "context" if name.endswith("-context") else "case"
    return Case(name, ct, labels, default_group(int(name.split("-")[0])), None, kind)


def _order(name: str) -> tuple[int, str]:
    number, _, rest = name.partition("-")
    return int(number), rest


def _find_msd(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    if not (folder / "labelsTr").is_dir():
        raise ValueError(
            "The folder has imagesTr but no labelsTr; unpack all of the MSD Task03 archive."
        )
    cts, labels = (_numbered([folder / sub], "liver_") for sub in ("imagesTr", "labelsTr"))
    if not cts:
        raise ValueError(
            "The folder imagesTr holds no liver_N.nii.gz; give MSD Task03 or use its file names."
        )
    return cts, labels


def _find_lits(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    below = [f for f in sorted(folder.iterdir()) if f.is_dir() and not f.name.startswith(".")]
    for folders in ([folder], below):  # LiTS comes as two folders, "Training Batch 1" and "2"
        cts, labels = (_numbered(folders, prefix) for prefix in ("volume-", "segmentation-"))
        if cts or labels:
            return cts, labels
    raise ValueError(
        "The folder holds no cases; give a folder with volume-N.nii.gz and "
        "segmentation-N.nii.gz (LiTS), or with imagesTr and labelsTr (MSD Task03)."
    )


def _numbered(folders: Sequence[Path], prefix: str) -> dict[str, Path]:
    """NIfTI files that start with prefix, by name ("7", "7-context")."""
    found: dict[str, Path] = {}
    for path in (file for folder in folders for file in sorted(folder.iterdir())):
        # A hidden "._volume-0.nii" (macOS) does not start with the prefix either.
        if not (path.name.startswith(prefix) and path.name.endswith((".nii", ".nii.gz"))):
            continue
        match = re.fullmatch(r"([0-9]+)(-context)?\.nii(\.gz)?", path.name[len(prefix) :])
        if match is None:
            raise ValueError(
                f"{path.name} has no plain number; call it {prefix}N.nii.gz, N its number."
            )
        name = f"{int(match[1])}{match[2] or ''}"
        if name in found:
            raise ValueError(
                f"{found[name].name} and {path.name} ({path.parent.name}) are both number {name}; "
                "keep one of the two."
            )
        found[name] = path
    return found


def _with_table(cases: Sequence[Case], table: Path) -> list[Case]:
    """The cases with what the table says of them."""
    rows, merged = _read_table(cases, table), []
    for case in cases:
        row = rows.get(case.name)
        if row is None and case.kind == "context":  # the same patient as its scan
            row = {**rows.get(str(case.number), {}), "kind": "context"}
        if not row or "patient_group" not in row:
            raise ValueError(
                f"{case.ct.name} has no row in {table.name}; add its row with its patient_group."
            )
        split = cast("SetName | None", row.get("split") or None)
        kind = cast(Kind, row.get("kind") or case.kind)
        merged.append(replace(case, group=row["patient_group"], split=split, kind=kind))
    _refuse_parted_scans(merged, table)
    return merged


def _read_table(cases: Sequence[Case], table: Path) -> dict[str, dict[str, str]]:
    """Rows by the case's name; every row is about a case that was found, and about one only."""
    columns, lines = _read_csv(table)
    key = next((column for column in ("file", "name") if column in columns), None)
    if key is None or "patient_group" not in columns:
        raise ValueError(
            f"{table.name} lacks a column; it needs file (or name) and patient_group in its first "
            "line, separated by commas."
        )
    names = {case.ct.name if key == "file" else case.name: case.name for case in cases}
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


def _read_csv(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The first line, and the others by it, without blanks around the values."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            lines = [{c: str(line[c]).strip() for c in columns} for line in reader]
    except OSError:
        raise ValueError(f"{table.name} cannot be read; check its name and folder.") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{table.name} is no CSV text; save it as CSV, UTF-8.") from None
    return columns, lines


def _refuse_row(line: Mapping[str, str], shown: str, table: Path) -> None:
    if not line["patient_group"]:
        raise ValueError(
            f"{table.name} has no patient_group for {shown}; give every scan of one patient "
            "the same group."
        )
    for column, allowed in (("split", SET_NAMES), ("kind", get_args(Kind))):
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
                f"{table.name} puts {case.ct.name} and its scan in different patient groups; "
                "give both the same patient_group."
            )


@dataclass(frozen=True)
class CaseCheck:
    """What a case holds; zeros where it could not be read. Liver slices show liver or tumor."""

    case: Case
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    slices: int = 0
    liver_slices: int = 0
    tumor_slices: int = 0
    tumor_ml: float = 0.0
    spacing_kji_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class CaseReport:
    """The checks of many cases, in order."""

    checks: tuple[CaseCheck, ...]

    @property
    def problems(self) -> list[str]:
        """Every problem as a sentence behind its case's name; empty when all is well."""
        return [f"{check.case.name}: {p}" for check in self.checks for p in check.problems]

    @property
    def tumor_ml(self) -> dict[str, float]:
        """Tumor volume in ml by case name, as :func:`training.splits.stratified_split` wants it."""
        return {check.case.name: check.tumor_ml for check in self.checks}

    def text(self) -> str:
        """The table, its totals, warnings (each kind once) and problems."""
        header = f"{'name':<14}{'group':<12}{'split':<7}{'slices':>7}{'liver':>7}{'tumor':>7}"
        rows = [f"{header}{'tumor ml':>10}  {'spacing x y z mm':<22}problems"]
        rows += [_line(check) for check in self.checks]
        cases = [check.case for check in self.checks if check.case.kind == "case"]
        groups = len({check.case.group for check in self.checks})
        rows += [
            f"{len(cases)} cases and {len(self.checks) - len(cases)} context files "
            f"of {groups} patient groups; {len(self.problems)} problems."
        ]
        return "\n".join([*rows, *self._warning_lines(), *self.problems])

    def _warning_lines(self) -> list[str]:
        """A folder of windowed scans would say the same thing a hundred times."""
        alike: dict[str, list[str]] = {}
        for check in self.checks:
            for sentence in check.warnings:
                alike.setdefault(sentence.replace(check.case.ct.name, ""), []).append(sentence)
        return [f"Warning ({len(all_of)} x): {all_of[0]}" for all_of in alike.values()]


def _line(check: CaseCheck) -> str:
    case = check.case
    k, j, i = check.spacing_kji_mm
    return (
        f"{case.name:<14}{case.group:<12}{case.split or '-':<7}{check.slices:>7}"
        f"{check.liver_slices:>7}{check.tumor_slices:>7}{check.tumor_ml:>10.2f}"
        f"  {f'{i:.3f} {j:.3f} {k:.3f}':<22}{len(check.problems) or '-'}"
    )


def check_case(case: Case) -> list[str]:
    """What is wrong with a case, in sentences; empty when nothing is."""
    return list(_check(case).problems)


def check_cases(cases: Iterable[Case]) -> CaseReport:
    """Read every case, one at a time in memory (an int16 CT and its uint8 labels), and report."""
    return CaseReport(tuple(_check(case) for case in cases))


def _check(case: Case) -> CaseCheck:
    try:
        ct, warnings = read_ct(case.ct)
    except ValueError as error:
        return CaseCheck(case, problems=(str(error),))
    seen = CaseCheck(case, (), warnings, slices=ct.shape_kji[0], spacing_kji_mm=ct.spacing_kji_mm)
    if case.labels is None:
        problem = f"{case.ct.name} has no label file; add it or remove the CT."
        return replace(seen, problems=(problem,))
    try:
        labels, labels_to_ras = read_labels(case.labels)
    except ValueError as error:
        return replace(seen, problems=(str(error),))
    tumor = labels == Label.TUMOR
    grid_problems = _grid_problems(case.labels.name, ct, labels.shape, labels_to_ras)
    return replace(
        seen,
        problems=(*grid_problems, *_label_problems(case, labels, ct)),
        liver_slices=int((labels >= Label.LIVER).any(axis=(1, 2)).sum()),
        tumor_slices=int(tumor.any(axis=(1, 2)).sum()),
        tumor_ml=int(np.count_nonzero(tumor)) * ct.voxel_ml,
    )


def _grid_problems(
    name: str, ct: CtVolume, shape_kji: tuple[int, ...], labels_to_ras: NDArray[np.float64]
) -> Iterator[str]:
    if shape_kji != ct.shape_kji:
        yield (
            f"{name} has {shape_kji} voxels (k, j, i) but its CT has {ct.shape_kji}; "
            "find the labels of this scan."
        )
        return
    k, j, i = shape_kji
    apart = np.abs(ct.ijk_to_ras - labels_to_ras) @ (i, j, k, 1)  # mm, at most, at any voxel
    if apart.max() > GRIDS_DIFFER * min(ct.spacing_kji_mm):
        yield (
            f"{name} lies elsewhere than its CT (up to {apart.max():.2g} mm, by the affines); "
            "copy the CT's geometry into it if the voxels match, else find the right labels."
        )


def _label_problems(case: Case, labels: NDArray[np.uint8], ct: CtVolume) -> Iterator[str]:
    name = case.labels.name if case.labels else ""
    if labels.max() > Label.TUMOR:
        yield f"{name} holds the label {labels.max()}; use only 0, 1 liver and 2 tumor."
    elif case.kind == "context" and labels.any():
        yield f"{name} shows liver; context files are liver-free slices: remove those with liver."
    elif case.kind == "case" and not labels.any():
        yield f"{name} is empty; label the liver, or name the pair -context if there is none."
    elif labels.any() and labels.shape == ct.shape_kji:
        mean_hu = ct.hu.mean(where=labels > 0, dtype=np.float64)
        if not LIVER_HU[0] <= mean_hu <= LIVER_HU[1]:
            yield (
                f"{name} marks voxels of {mean_hu:.0f} HU on average, which is no liver; check "
                "that labels and CT belong together, the same way up, and that the CT is in HU."
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report of a folder; 0 when all is well, 2 when not."""
    from tqdm import tqdm

    parser = argparse.ArgumentParser(
        prog="python -m training.lits", description="Check a folder of labeled CTs for training."
    )
    parser.add_argument("folder", type=Path, help="LiTS or MSD Task03 folder")
    parser.add_argument(
        "--table", type=Path, help=f"CSV: file, patient_group, split (default: FOLDER/{MANIFEST})"
    )
    options = parser.parse_args(argv)
    try:
        cases = find_cases(options.folder, table=options.table)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    report = check_cases(tqdm(cases, unit="case", leave=False, disable=None))
    print(report.text())
    return 2 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
