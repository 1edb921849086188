"""A CT or its labels by their path: a NIfTI file, or a folder of DICOM slices (3D-IRCADb).

ct, warnings = read_ct(Path("volume-0.nii"))
labels_kji, ijk_to_ras = read_labels(Path("3Dircadb1.5/MASKS_DICOM"))
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from LiverTumorSegLib.ct import nifti
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

from training.cases import ircad


def read_ct(path: Path) -> tuple[CtVolume, tuple[str, ...]]:
    """The scan and warnings of one sentence each; ``ValueError`` when it cannot be read."""
    return ircad.read_ct(path) if path.is_dir() else nifti.read_ct(path)


def read_labels(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Labels uint8 ``(k, j, i)`` and their 4 x 4 ijk_to_ras in mm; ``ValueError`` if unreadable."""
    return ircad.read_labels(path) if path.is_dir() else nifti.read_labels(path)


def files_of(path: Path) -> list[Path]:
    """The files that hold a CT or its labels, in an order that is always the same."""
    return ircad.files_of(path) if path.is_dir() else [path]


def shown_name(path: Path) -> str:
    """What sentences call it: a file's name, for 3D-IRCADb that of the patient's folder."""
    return ircad.shown_name(path) if path.is_dir() else path.name
