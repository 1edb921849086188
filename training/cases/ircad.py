"""Read 3D-IRCADb-01 as it comes: one folder a patient, CT and organ masks as DICOM slices.

    3Dircadb1.5/PATIENT_DICOM/image_0 ...          (or PATIENT_DICOM/PATIENT_DICOM, as unzip nests)
    3Dircadb1.5/MASKS_DICOM/liver/image_0 ...      (or MASKS_DICOM/MASKS_DICOM)
    3Dircadb1.5/MASKS_DICOM/livertumor01/image_0 ...

    patients = find_patients(Path("3Dircadb1"))    # {5: Patient(ct=..., masks=...)}
    ct, warnings = read_ct(patients[5].ct)
    labels_kji, ijk_to_ras = read_labels(patients[5].masks)

A voxel is tumor when any mask whose folder's name begins with livertumor (livertumor, livertumor1,
livertumor02, livertumors) shows it, also outside the liver's own mask; other tumors, cysts and
organs are left alone. A patient without such a folder has no tumor. Slices are put in order by
where they lie in the patient, never by their names: image_10 comes before image_2 there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from LiverTumorSegLib.ct.dicom import find_series, list_files, read_series
from LiverTumorSegLib.ct.dicom_grid import find_grid
from LiverTumorSegLib.ct.dicom_headers import looks_like_dicom, require_pydicom
from LiverTumorSegLib.ct.dicom_stacks import FEWEST_SLICES
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

CT_FOLDER, MASKS_FOLDER = "PATIENT_DICOM", "MASKS_DICOM"
LIVER, TUMOR_PREFIX = "liver", "livertumo"  # tumor or tumour
PATIENTS = range(1, 21)
# "3Dircadb1.5", "3Dircadb-5", "patient05", "5"
PATIENT_NAME = r"(?:3d[ _-]?ircadb(?:[ _-]?0?1)?[ ._-]|patient[ ._-]?)?0*([0-9]{1,2})"
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
SAME_GRID_MM = 1e-3  # of one voxel's step, between masks of one patient
PATIENT_ZIP = re.compile(r"3d[ _-]?ircadb.*\.zip", re.IGNORECASE)


@dataclass(frozen=True)
class Patient:
    """Folders of a patient's slices; masks are ``None`` when there are none."""

    ct: Path
    masks: Path | None


def find_patients(folder: Path) -> dict[int, Patient]:
    """The patients of a folder, by number; empty when it is not laid out as 3D-IRCADb.

    The patients' folders may be the folder itself, lie in it, or one level deeper. Raises
    ``ValueError`` when something is still zipped, has no number, or is there twice.
    """
    homes = _homes(folder)
    if not homes:
        _refuse_zips(folder)
    patients: dict[int, Patient] = {}
    for home in homes:
        number = _number(home)
        if number in patients:
            raise ValueError(f"Two folders are patient {number} of 3D-IRCADb; keep one of them.")
        ct = _unpacked(home, CT_FOLDER, number)
        if ct is None:  # _homes takes folders with the CT or with its zip
            continue
        patients[number] = Patient(ct, _unpacked(home, MASKS_FOLDER, number))
    return patients


def _homes(folder: Path) -> list[Path]:
    """The folders that hold PATIENT_DICOM, packed or not."""
    below = _folders(folder)
    deeper = [inner for outer in below if not _is_home(outer) for inner in _folders(outer)]
    return [home for home in (folder, *below, *deeper) if _is_home(home)]


def _folders(folder: Path) -> list[Path]:
    """Sub-folders that may hold patients or masks; none in an unreadable folder."""
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return []
    inside = [path for path in inside if not path.name.startswith(".")]
    return [path for path in inside if path.is_dir() and path.name != CT_FOLDER]


def _is_home(folder: Path) -> bool:
    return (folder / CT_FOLDER).is_dir() or (folder / f"{CT_FOLDER}.zip").is_file()


def _refuse_zips(folder: Path) -> None:
    if zips := [path for path in sorted(folder.iterdir()) if PATIENT_ZIP.fullmatch(path.name)]:
        raise ValueError(
            f"{zips[0].name} is not unpacked; unpack it, and the zip files inside, where they lie."
        )


def _number(home: Path) -> int:
    match = re.fullmatch(PATIENT_NAME, home.absolute().name, re.IGNORECASE)
    if match is None or int(match[1]) not in PATIENTS:
        # The folder's name is left out of the sentence: it may be that of a person.
        raise ValueError(
            f"A folder with {CT_FOLDER} is not named by its patient's number; call it 3Dircadb1.N, "
            f"N from {PATIENTS[0]} to {PATIENTS[-1]}."
        )
    return int(match[1])


def _unpacked(home: Path, name: str, number: int) -> Path | None:
    """PATIENT_DICOM or MASKS_DICOM of a patient, where its slices or organs begin."""
    folder = home / name
    if not folder.is_dir():
        if (home / f"{name}.zip").is_file():
            raise ValueError(
                f"{name}.zip of 3D-IRCADb patient {number} is not unpacked; "
                "unpack it in the patient's folder."
            )
        return None
    return folder / name if (folder / name).is_dir() else folder


def shown_name(folder: Path) -> str:
    """ "3Dircadb1.5" for that patient's CT, "MASKS_DICOM of 3Dircadb1.5" for the masks."""
    home = _home_name(folder)
    return f"{MASKS_FOLDER} of {home}" if folder.name == MASKS_FOLDER else home


def _home_name(folder: Path) -> str:
    whole = folder.absolute()
    return next(p.name for p in (whole, *whole.parents) if p.name not in (CT_FOLDER, MASKS_FOLDER))


def read_ct(folder: Path) -> tuple[CtVolume, tuple[str, ...]]:
    """The scan of PATIENT_DICOM and warnings; ``ValueError`` unless it holds one CT series."""
    series = find_series(folder)
    if len(series) != 1:
        raise ValueError(
            f"{shown_name(folder)} holds {len(series)} CT series in {CT_FOLDER} instead of one; "
            "unpack it again."
        )
    return read_series(series[0].files)


def read_labels(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Labels uint8 ``(k, j, i)`` of MASKS_DICOM and their 4 x 4 ijk_to_ras in mm.

    Raises ``ValueError`` when there is no liver mask, a mask cannot be read, or two masks do not
    lie on the same grid.
    """
    liver, tumors = _mask_folders(folder)
    mask, ijk_to_ras = _read_mask(liver)
    labels = np.where(mask, np.uint8(Label.LIVER), np.uint8(Label.BACKGROUND))
    for tumor in tumors:
        mask, affine = _read_mask(tumor)
        if mask.shape != labels.shape or np.abs(affine - ijk_to_ras).max() > SAME_GRID_MM:
            raise ValueError(
                f"The masks {liver.name} and {tumor.name} of {_home_name(folder)} lie on "
                "different grids; unpack them again."
            )
        labels[mask] = Label.TUMOR
    return labels, ijk_to_ras


def files_of(folder: Path) -> list[Path]:
    """The slices that a CT or the labels are made of, by folder and name."""
    if folder.name != MASKS_FOLDER:
        return _slice_files(folder)
    liver, tumors = _mask_folders(folder)
    return [path for mask in (liver, *tumors) for path in _slice_files(mask)]


def _mask_folders(folder: Path) -> tuple[Path, list[Path]]:
    """The liver's and those of the liver tumors, in any spelling."""
    by_name = {path.name.lower(): path for path in _folders(folder)}
    if LIVER not in by_name:
        raise ValueError(
            f"{shown_name(folder)} has no folder {LIVER}; unpack the patient's masks again."
        )
    tumors = [path for name, path in sorted(by_name.items()) if name.startswith(TUMOR_PREFIX)]
    return by_name[LIVER], tumors


def _slice_files(folder: Path) -> list[Path]:
    return [path for path in list_files(folder) if looks_like_dicom(path)]


def _read_mask(folder: Path) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Where a mask is above 0, ``(k, j, i)``, and its ijk_to_ras in mm.

    A mask is no CT (its values are 0 and 255), so only where its slices lie is read of the header.
    """
    require_pydicom()
    what = f"The mask {folder.name} of {_home_name(folder.parent)}"
    paths = _slice_files(folder)
    if len(paths) < FEWEST_SLICES:
        raise ValueError(f"{what} holds {len(paths)} DICOM slices; unpack it again.")
    try:
        places = [_place(path) for path in paths]
        planes = [_plane(path) for path in paths]
    except Exception:  # a damaged header makes pydicom raise nearly anything
        raise ValueError(
            f"{what} has a slice that is damaged or does not say where it lies; unpack it again."
        ) from None
    if len({plane.shape for plane in planes}) > 1:
        raise ValueError(f"{what} has slices of different sizes; unpack it again.")
    positions, orientations, spacings = (
        np.array(part, float) for part in zip(*places, strict=True)
    )
    try:
        order, ijk_to_ras, _ = find_grid(positions, orientations.reshape(-1, 2, 3), spacings)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    return np.stack([planes[n] for n in order]), ijk_to_ras


def _place(path: Path) -> tuple[Any, Any, Any]:
    """Position, orientation and pixel spacing of a slice, in mm."""
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*PLACE])
    return header.ImagePositionPatient, header.ImageOrientationPatient, header.PixelSpacing


def _plane(path: Path) -> NDArray[np.bool_]:
    from pydicom.pixels.utils import pixel_array

    return np.asarray(pixel_array(path) > 0, np.bool_)
