"""A labeled CT: its name, its patient, and how CT and labels are read.

    case = Case("7", Path("volume-7.nii"), Path("segmentation-7.nii"), "6-10", None, "case")
    ct, warnings = case.read_ct()
    labels_kji, ijk_to_ras = case.read_labels()

A path is a NIfTI file, or a folder of DICOM slices (3D-IRCADb).

Cases have the numbers of LiTS throughout, those of MSD Task03 and 3D-IRCADb too: only so is it
noticed that one patient comes in several collections, or several times in one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from LiverTumorSegLib.ct import nifti
from LiverTumorSegLib.ct.checks import is_bare
from LiverTumorSegLib.volume import CtVolume, Reorientation
from numpy.typing import NDArray

from training.cases import ircad

FileKind = Literal["case", "context"]
Kind = Literal[FileKind, "phantom"]
SetName = Literal["train", "val", "test"]
SET_NAMES: tuple[SetName, ...] = get_args(SetName)

# LiTS numbers of one patient scanned several times, found by eye: others may be unnoticed.
SAME_PATIENT = {"0-1": (0, 1), "6-10": (6, 7, 8, 9, 10), "14-15": (14, 15)}
FIRST_IRCAD, IRCAD_PATIENTS = 28, 20


@dataclass(frozen=True)
class Case:
    """One CT and its labels: two files, two folders, or a phantom that is computed.

    name: the number in the file's name, "7", or "7-context" for liver-free slices of that scan.
    ct: a NIfTI file, or a folder of DICOM slices (3D-IRCADb).
    labels: ``None`` when there is no label file; in 3D-IRCADb the folder of all masks.
    group: the patient; never split within a group.
    split: from the table's column, ``None`` without one.
    phantom_seed: of a phantom, which is drawn by :mod:`LiverTumorSegLib.phantom` and has no files.
    """

    name: str
    ct: Path
    labels: Path | None
    group: str
    split: SetName | None
    kind: Kind
    phantom_seed: int | None = None

    @property
    def number(self) -> int:
        """N of ``volume-N``; a context file has the number of its scan."""
        return int(self.name.split("-")[0])

    @property
    def file(self) -> str:
        """The CT's file name, or the patient's folder in 3D-IRCADb: tables and sentences use it."""
        return shown_name(self.ct)

    @property
    def label_file(self) -> str:
        """The labels' name for messages; empty without any."""
        return "" if self.labels is None else shown_name(self.labels)

    def read(self) -> tuple[CtVolume, NDArray[np.uint8]]:
        """The CT and its labels on the same grid (k, j, i); ``ValueError`` if one is unreadable.

        Some public label files have a slightly different origin, which is let pass; a different
        direction is an error.
        """
        if self.phantom_seed is not None:
            from LiverTumorSegLib.phantom.phantom import make_phantom

            phantom = make_phantom(
                seed=self.phantom_seed, shape_kji=(40, 384, 384), spacing_kji_mm=(7.0, 1.0, 1.0)
            )
            return phantom.ct, phantom.labels
        ct, _ = self.read_ct()
        labels, labels_affine = self.read_labels()
        turns = [Reorientation.to_lps(a, ct.shape_kji) for a in (ct.ijk_to_ras, labels_affine)]
        if turns[0] != turns[1]:
            raise ValueError(
                f"{self.name}: CT and labels lie in different directions by their headers; export"
                " the labels on the CT's grid."
            )
        return ct, labels

    def read_ct(self) -> tuple[CtVolume, tuple[str, ...]]:
        """The scan and warnings of one sentence each; ``ValueError`` when it cannot be read."""
        return read_ct(self.ct)

    def read_labels(self) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Labels uint8 ``(k, j, i)``, 0, 1 liver, 2 tumor, and their 4 x 4 ijk_to_ras in mm.

        Raises ``ValueError`` when there are none or they cannot be read.
        """
        if self.labels is None:
            raise ValueError(f"{self.file} has no label file; add it or remove the CT.")
        return read_labels(self.labels, self.ct)


def phantom_case(seed: int) -> Case:
    """A synthetic patient of the training set."""
    name = f"phantom-{seed}"
    return Case(name, Path(), None, name, "train", "phantom", phantom_seed=seed)


def ircad_patient(lits_id: int) -> int | None:
    """The 3D-IRCADb-01 patient (1 to 20) a LiTS volume (28 to 47) is; ``None`` for others.

    A network trained on LiTS has seen them: 3D-IRCADb is no external test for it.
    """
    patient = lits_id - FIRST_IRCAD + 1
    return patient if 1 <= patient <= IRCAD_PATIENTS else None


def ircad_lits_id(patient: int) -> int:
    """The LiTS volume a 3D-IRCADb-01 patient is; the inverse of :func:`ircad_patient`."""
    return patient + FIRST_IRCAD - 1


def default_group(lits_id: int) -> str:
    """The patient group of a LiTS volume without a table: its number, or a known group's name."""
    return next((name for name, ids in SAME_PATIENT.items() if lits_id in ids), str(lits_id))


def read_ct(path: Path) -> tuple[CtVolume, tuple[str, ...]]:
    """The scan and warnings of one sentence each; ``ValueError`` when it cannot be read."""
    return ircad.read_ct(path) if path.is_dir() else nifti.read_ct(path)


def read_labels(
    path: Path, ct: Path | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Labels uint8 ``(k, j, i)`` and their 4 x 4 ijk_to_ras in mm; ``ValueError`` if unreadable.

    ct: whose voxels they mark. Labels without a geometry of their own take its geometry, as many
    of LiTS' copies need; whether they mark a liver there, :mod:`training.cases.folder` checks.
    """
    if path.is_dir():
        return ircad.read_labels(path)
    labels, ijk_to_ras = nifti.read_labels(path)
    if ct is not None and not ct.is_dir() and is_bare(ijk_to_ras):
        shape_kji, ct_to_ras = nifti.read_geometry(ct)
        if shape_kji == labels.shape and not is_bare(ct_to_ras):
            return labels, ct_to_ras
    return labels, ijk_to_ras


def has_bare_labels(labels: Path | None, ct: Path) -> bool:
    """Whether labels take the geometry of their CT, which has one; for files that can be read."""
    if labels is None or labels.is_dir() or ct.is_dir():
        return False
    return is_bare(nifti.read_geometry(labels)[1]) and not is_bare(nifti.read_geometry(ct)[1])


def files_of(path: Path) -> list[Path]:
    """The files that hold a CT or its labels, in an order that is always the same."""
    return ircad.files_of(path) if path.is_dir() else [path]


def shown_name(path: Path) -> str:
    """The name for messages: the file's, for 3D-IRCADb that of the patient's folder."""
    return ircad.shown_name(path) if path.is_dir() else path.name
