"""Find labeled cases in a LiTS, MSD Task03 or 3D-IRCADb folder, and check them before training.

    cases = find_cases(Path("LiTS"))
    report = check_cases(cases)
    print(report.text())

LiTS: ``volume-N.nii[.gz]`` with ``segmentation-N.nii[.gz]`` in one folder or in folders up to two
below it, as Kaggle's ``volume_pt1`` and ``segmentations``. MSD Task03: ``imagesTr/liver_N.nii.gz``
with the same name in ``labelsTr``; it kept the numbers of LiTS. nnU-Net's copy of it calls the
images ``liver_N_0000``. 3D-IRCADb: see :mod:`training.cases.ircad`; patient N has the number of
LiTS volume N + 27, which it is. ``volume-N-context`` holds slices of scan N without
liver. They are far apart and not evenly spaced: 2D material, left out (``kind``) wherever
volumes are evaluated.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from LiverTumorSegLib.ct.checks import is_bare
from LiverTumorSegLib.ct.label_map import LIVER_MEAN_HU
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import CtVolume, Reorientation
from numpy.typing import NDArray

from training.cases import ircad
from training.cases.case import (
    Case,
    Kind,
    default_group,
    has_bare_labels,
    ircad_lits_id,
    ircad_patient,
)
from training.cases.table import with_table

Files = tuple[dict[str, Path], dict[str, Path]]  # CTs and labels by case name
MANIFEST = "manifest.csv"
GRIDS_DIFFER = 0.05  # of the smallest spacing, at the far corner; rounding stays far below


def find_cases(folder: Path, *, table: Path | None = None) -> list[Case]:
    """The cases of a folder (layouts: see the module), by number, each scan before its context.

    table: CSV of patient groups and sets (:mod:`training.cases.table`). Default: ``manifest.csv``
    in the folder if it is there, else every number is a patient, apart from the known groups of
    LiTS. Raises ``ValueError``, one sentence, for a layout or table that cannot be right.
    """
    cts, labels = find_files(folder)
    if lonely := sorted(labels.keys() - cts.keys(), key=_order):
        raise ValueError(
            f"{labels[lonely[0]].name} has no CT beside it; add the CT or remove the label file."
        )
    cases = [_case(name, cts[name], labels.get(name)) for name in sorted(cts, key=_order)]
    if table is None and (folder / MANIFEST).is_file():
        table = folder / MANIFEST
    return cases if table is None else with_table(cases, table)


def _case(name: str, ct: Path, labels: Path | None) -> Case:
    kind: Kind = "context" if name.endswith("-context") else "case"
    return Case(name, ct, labels, default_group(int(name.split("-")[0])), None, kind)


def _order(name: str) -> tuple[int, str]:
    number, _, rest = name.partition("-")
    return int(number), rest


def find_files(folder: Path) -> Files:
    """The CTs and labels of a folder; ``ValueError``, one sentence, when it cannot be right."""
    if not folder.is_dir():
        raise ValueError(f"{folder.name} is not a folder; give the one that holds the CT files.")
    if (folder / "imagesTr").is_dir():
        return _find_msd(folder)
    if any(found := _find_lits([folder])):
        return found
    # LiTS comes as two folders, "Training Batch 1" and "2", Kaggle's with one more around them
    below = [path for path in sorted(folder.iterdir()) if _is_open_folder(path)]
    two_below = [path for home in below for path in sorted(home.iterdir()) if _is_open_folder(path)]
    batches = _find_lits([*below, *two_below])
    patients = ircad.find_patients(folder)
    if patients and any(batches):
        raise ValueError(
            "The folder holds LiTS and 3D-IRCADb, whose patients are LiTS volumes 28 to 47; "
            "give the folder of one of them."
        )
    if patients:
        return _by_lits_id(patients)
    if any(batches):
        return batches
    raise ValueError(
        "The folder holds no cases; give a folder with volume-N.nii.gz and segmentation-N.nii.gz "
        "(LiTS), with imagesTr and labelsTr (MSD Task03), or with 3Dircadb1.N (3D-IRCADb)."
    )


def _is_open_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".") and os.access(path, os.R_OK | os.X_OK)


def _by_lits_id(patients: Mapping[int, ircad.Patient]) -> Files:
    cts = {str(ircad_lits_id(n)): patient.ct for n, patient in patients.items()}
    masks = {str(ircad_lits_id(n)): patient.masks for n, patient in patients.items()}
    return cts, {name: path for name, path in masks.items() if path is not None}


def _find_msd(folder: Path) -> Files:
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


def _find_lits(folders: Sequence[Path]) -> Files:
    """The cases that lie right in these folders, which may be none."""
    cts, labels = (_numbered(folders, prefix) for prefix in ("volume-", "segmentation-"))
    return cts, labels


def _numbered(folders: Sequence[Path], prefix: str) -> dict[str, Path]:
    """NIfTI files that start with prefix, by name ("7", "7-context")."""
    found: dict[str, Path] = {}
    for path in (file for folder in folders for file in sorted(folder.iterdir())):
        # A hidden "._volume-0.nii" (macOS) does not start with the prefix either.
        if not (path.name.startswith(prefix) and path.name.endswith((".nii", ".nii.gz"))):
            continue
        if path.is_dir():  # a file that was unpacked into a folder of its name
            continue
        match = re.fullmatch(r"([0-9]+)(-context)?(?:_0000)?\.nii(\.gz)?", path.name[len(prefix) :])
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


@dataclass(frozen=True)
class CaseCheck:
    """The result of checking a case: slices, volumes, problems; zeros if it is unreadable.

    Slices are axial, and liver is liver or tumor.
    end_shares: liver area of the lowest and the highest slice over that of the largest slice.
    """

    case: Case
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    slices: int = 0
    liver_slices: int = 0
    tumor_slices: int = 0
    tumor_ml: float = 0.0
    spacing_kji_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    end_shares: tuple[float, float] = (0.0, 0.0)


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
        """Tumor volume in ml by case name, as ``stratified_split`` wants it."""
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
                alike.setdefault(sentence.replace(check.case.file, ""), []).append(sentence)
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
    """Check a case and say in sentences what is wrong; empty when nothing is."""
    return list(_check(case).problems)


def check_cases(cases: Iterable[Case]) -> CaseReport:
    """Read every case, one at a time in memory (an int16 CT and its uint8 labels), and report."""
    return CaseReport(tuple(_check(case) for case in cases))


def _check(case: Case) -> CaseCheck:
    try:
        ct, warnings = case.read_ct()
    except ValueError as error:
        return CaseCheck(case, problems=(str(error),))
    axial = Reorientation.to_lps(ct.ijk_to_ras, ct.shape_kji)
    seen = CaseCheck(
        case,
        warnings=warnings,
        slices=ct.shape_kji[axial.order_kji[0]],
        spacing_kji_mm=ct.spacing_kji_mm,
    )
    try:
        labels, labels_to_ras = case.read_labels()
    except ValueError as error:
        return replace(seen, problems=(str(error),))
    grid_problems = _grid_problems(case.label_file, ct, labels.shape, labels_to_ras)
    return replace(
        _counted(seen, labels, axial),
        warnings=(*warnings, *_geometry_warnings(case, ct)),
        problems=(*grid_problems, *_label_problems(case, labels, ct)),
        tumor_ml=int(np.count_nonzero(labels == Label.TUMOR)) * ct.voxel_ml,
    )


def _geometry_warnings(case: Case, ct: CtVolume) -> Iterator[str]:
    """Warnings about geometry that a header lacks and that could be completed."""
    if has_bare_labels(case.labels, case.ct):
        yield (
            f"{case.label_file} has no geometry of its own (its affine is the identity) and was"
            " taken to mark its CT's voxels; look at some, the same way up."
        )
    if is_bare(ct.ijk_to_ras) and ircad_patient(case.number) is not None:
        yield (
            "LiTS 28 to 47 are the patients of 3D-IRCADb, and many copies of them lost their"
            " spacing and orientation; take them from 3D-IRCADb."
        )


def _counted(seen: CaseCheck, labels: NDArray[np.uint8], axial: Reorientation) -> CaseCheck:
    """Counts of axial slices by what they show, from the feet up."""
    others = axial.order_kji[1:]
    liver = np.count_nonzero(labels >= Label.LIVER, axis=others)
    tumor = np.count_nonzero(labels == Label.TUMOR, axis=others)
    lowest, highest = (liver[-1], liver[0]) if axial.flipped_kji[0] else (liver[0], liver[-1])
    largest = max(1, int(liver.max()))
    return replace(
        seen,
        liver_slices=int(np.count_nonzero(liver)),
        tumor_slices=int(np.count_nonzero(tumor)),
        end_shares=(float(lowest / largest), float(highest / largest)),
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
    name = case.label_file
    if labels.max() > Label.TUMOR:
        yield f"{name} holds the label {labels.max()}; use only 0, 1 liver and 2 tumor."
    elif case.kind == "context" and labels.any():
        yield f"{name} shows liver; context files are liver-free slices: remove those with liver."
    elif case.kind == "case" and not labels.any():
        yield f"{name} is empty; label the liver, or name the pair -context if there is none."
    elif labels.any() and labels.shape == ct.shape_kji:
        mean_hu = ct.hu.mean(where=labels > 0, dtype=np.float64)
        if not LIVER_MEAN_HU[0] <= mean_hu <= LIVER_MEAN_HU[1]:
            yield (
                f"{name} marks voxels of {mean_hu:.0f} HU on average, which is no liver; check "
                "that labels and CT belong together, the same way up, and that the CT is in HU."
            )
