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


def read_labels(
    path: Path, ct: Path | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Labels uint8 ``(k, j, i)`` and their 4 x 4 ijk_to_ras in mm; ``ValueError`` if unreadable.

    ct: whose voxels they mark. Labels without a geometry of their own take its geometry, as many
    of LiTS' copies need; whether they mark a liver there is for ``cases.folder`` to see.
    """
    if path.is_dir():
        return ircad.read_labels(path)
    labels, ijk_to_ras = nifti.read_labels(path)
    if ct is not None and not ct.is_dir() and is_bare(ijk_to_ras):
        shape_kji, ct_to_ras = nifti.read_geometry(ct)
        if shape_kji == labels.shape and not is_bare(ct_to_ras):
            return labels, ct_to_ras
    return labels, ijk_to_ras


def is_bare(ijk_to_ras: NDArray[np.float64]) -> bool:
    """Whether an affine says neither spacing nor direction: the identity, up to a shift."""
    return np.array_equal(np.abs(ijk_to_ras[:3, :3]), np.eye(3))


def has_bare_labels(labels: Path | None, ct: Path) -> bool:
    """Whether labels take the geometry of their CT, which has one; for files that can be read."""
    if labels is None or labels.is_dir() or ct.is_dir():
        return False
    return is_bare(nifti.read_geometry(labels)[1]) and not is_bare(nifti.read_geometry(ct)[1])


def files_of(path: Path) -> list[Path]:
    """The files that hold a CT or its labels, in an order that is always the same."""
    return ircad.files_of(path) if path.is_dir() else [path]


def shown_name(path: Path) -> str:
    """What sentences call it: a file's name, for 3D-IRCADb that of the patient's folder."""
    return ircad.shown_name(path) if path.is_dir() else path.name
