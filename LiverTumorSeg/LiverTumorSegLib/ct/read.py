"""A CT by its path: a NIfTI, NRRD or MetaImage file, or a folder that holds a DICOM series.

ct, warnings = read_input(Path("ct.nii.gz"))
ct, warnings = read_input(Path("study"), WantedSeries("2"))  # as `livertumorseg info study` counts
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from LiverTumorSegLib.volume import CtVolume

from .dicom import Series, read_series
from .dicom_headers import looks_like_dicom, shown_name
from .formats import is_format, read_format, stated_grid
from .nifti import read_ct
from .study import ANY_SERIES, WantedSeries, choose_series, read_study


def read_input(path: Path, series: WantedSeries = ANY_SERIES) -> tuple[CtVolume, tuple[str, ...]]:
    """The scan and warnings of one sentence each; errors as of ``read_ct`` and ``read_series``.

    series: which one of a folder; it need not be said where there is one.
    """
    if is_folder(path):
        return read_series(choose_series(read_study(path), series).series)
    if not series.is_any:
        raise ValueError(
            f"{shown_name(path)} is no folder of DICOM; use --series and --phase with one only."
        )
    if looks_like_dicom(path):
        raise ValueError(
            f"{shown_name(path)} is not a NIfTI file but one of a DICOM series; give the folder"
            " that holds the series."
        )
    return read_file(path)


def read_file(path: Path) -> tuple[CtVolume, tuple[str, ...]]:
    """The scan in one file of any format, and warnings; DICOM comes as a folder."""
    return read_format(path) if is_format(path) else read_ct(path)


def axial_slices(path: Path) -> int | None:
    """The number of axial slices by a file's header; None for a file that cannot be read."""
    try:
        if is_format(path):
            shape_ijk, ijk_to_ras = stated_grid(path)
        else:
            import nibabel

            image: Any = nibabel.load(path)
            shape_ijk, ijk_to_ras = image.shape, image.affine
        along = np.abs(np.asarray(ijk_to_ras)[2, :3]) / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
        return int(shape_ijk[int(np.argmax(along))])
    except Exception:  # a damaged header makes its readers raise nearly anything
        return None


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; one that the system refuses to look at is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def dicom_series(path: Path, series: WantedSeries = ANY_SERIES) -> Series | None:
    """The series that :func:`read_input` reads; None where the CT is no DICOM."""
    return choose_series(read_study(path), series).series if is_folder(path) else None
