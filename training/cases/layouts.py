"""Where the CTs and labels of a folder lie, by how it is laid out.

    cts, labels = find_files(Path("LiTS"))      # by case name, "7" or "7-context"

LiTS: ``volume-N.nii[.gz]`` with ``segmentation-N.nii[.gz]`` in one folder or in folders up to two
below it, as Kaggle's ``volume_pt1`` and ``segmentations``. MSD Task03: ``imagesTr/liver_N.nii.gz``
with the same name in ``labelsTr``; it kept the numbers of LiTS. nnU-Net's copy of it calls the
images ``liver_N_0000``. 3D-IRCADb: see :mod:`training.cases.ircad`; patient N has the number of
LiTS volume N + 27, which it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.cases import ircad
from training.cases.case import ircad_lits_id

Files = tuple[dict[str, Path], dict[str, Path]]  # CTs and labels by case name


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
