"""Who was scanned, from a DICOM folder; read for a report alone, and only where somebody asks.

read_patient(Path("study"))      # {"Patient": "Doe, Jane", "Patient ID": "1234", ...}
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .dicom_headers import require_pydicom, shown_name, silenced_pydicom
from .read import is_folder
from .study import ANY_SERIES, WantedSeries, choose_series, read_study

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

NOT_STATED = "not stated"


def read_patient(path: Path, series: WantedSeries = ANY_SERIES) -> dict[str, str]:
    """Name, number, date of birth and date of the CT, as the report labels them.

    Raises ``ValueError`` with one sentence where the path is no DICOM folder or cannot be read.
    """
    if not is_folder(path):
        raise ValueError(
            f"{shown_name(path)} does not say who the patient is; give the DICOM folder of the CT,"
            " or leave out --with-patient."
        )
    require_pydicom()
    import pydicom

    first = choose_series(read_study(path), series).series.files[0]
    tags = ["PatientName", "PatientID", "PatientBirthDate", "AcquisitionDate", "StudyDate"]
    with silenced_pydicom():
        header = pydicom.dcmread(first, force=True, stop_before_pixels=True, specific_tags=[*tags])
        return {
            "Patient": _text(header, "PatientName").replace("^", ", ", 1).replace("^", " "),
            "Patient ID": _text(header, "PatientID"),
            "Born": _date(header, "PatientBirthDate"),
            "Date of CT": _date(header, "AcquisitionDate", "StudyDate"),
        }


def _text(header: Dataset, name: str) -> str:
    return str(header.get(name) or "").strip(" ^\0") or NOT_STATED


def _date(header: Dataset, *names: str) -> str:
    """The first of these dates that is stated, as 2026-11-29."""
    for name in names:
        stated = _text(header, name)
        if len(stated) == 8 and stated.isdigit():
            return f"{stated[:4]}-{stated[4:6]}-{stated[6:]}"
        if stated != NOT_STATED:
            return stated
    return NOT_STATED
