"""The CTs in a folder: NIfTI files and DICOM series at any depth, each with a name of its own.

    for case in find_cases(Path("cts"), leave_out=Path("results")):
        ct, warnings = case.read()

A case is named after its file or its series' folder: ``site1/p7/ct.nii.gz`` is ``site1_p7_ct``. No
header gives a name, for those name patients.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from LiverTumorSegLib.ct.dicom import Series, find_series, list_files, read_series
from LiverTumorSegLib.ct.dicom_headers import shown_name
from LiverTumorSegLib.ct.formats import ENDINGS as FORMAT_ENDINGS
from LiverTumorSegLib.ct.read import read_file
from LiverTumorSegLib.model.spec import file_sha256
from LiverTumorSegLib.result.files import DEMO_TRUTH, LABELS, PROBABILITIES, RECORD
from LiverTumorSegLib.volume import CtVolume

from .batch_summary import SUMMARY

ENDINGS = (".nii.gz", ".nii", *FORMAT_ENDINGS)
LABEL_FOLDERS = ("labelstr", "labelsts")  # of nnU-Net and MSD, beside imagesTr and imagesTs
LABEL_NAMES = ("segmentation-*", "*.seg.nrrd")  # of LiTS, and of Slicer: no CT
OUR_LABELS = (LABELS, PROBABILITIES, DEMO_TRUTH)  # beside a record of ours: no CT
LONGEST_NAME_BYTES = 120


@dataclass(frozen=True)
class Case:
    """One CT.

    place: below the folder that was searched; of several series in one folder each has its number
    as a further part. files: one NIfTI file, or all of a series. name: of its result folder.
    """

    place: PurePath
    files: tuple[Path, ...]
    is_dicom: bool
    name: str = ""
    series: Series | None = None

    def read(self) -> tuple[CtVolume, tuple[str, ...]]:
        """The scan and its warnings; errors as the readers raise them."""
        return read_file(self.files[0]) if self.series is None else read_series(self.series)

    def sha256(self) -> str:
        """Of what is in the files, whatever their names; ``OSError`` when one cannot be read."""
        digests = sorted(file_sha256(path) for path in self.files)
        return hashlib.sha256("".join(digests).encode()).hexdigest()


def find_cases(folder: Path, leave_out: Path, only: str | None = None) -> list[Case]:
    """The cases in a folder and those below it, in the order of their places.

    leave_out: a folder that is not looked into (where results go). only: a pattern as of a shell,
    for a case's place or the last part of it.
    Raises ``ValueError`` when there is none, and as ``find_series`` does.
    """
    if not folder.is_dir():
        raise ValueError(
            f"{shown_name(folder)} is no folder; name one that holds CTs, or use `livertumorseg"
            " segment` for a single CT."
        )
    found = [*_single_files(folder, leave_out), *_dicom_series(folder, leave_out)]
    if not found:
        raise ValueError(
            f"{shown_name(folder)} holds no NIfTI or NRRD file and no DICOM series of a CT; name"
            " a folder of CTs."
        )
    if only is not None:
        found = [case for case in found if _matches(case.place, only)]
    if not found:
        raise ValueError(f"No CT there has a name like {only!r}; use another pattern for --only.")
    found.sort(key=lambda case: (case.place.as_posix(), case.files))
    return _named(found, folder)


def _single_files(folder: Path, leave_out: Path) -> Iterator[Case]:
    for path in list_files(folder, [leave_out]):
        is_ours = path.name in OUR_LABELS and path.with_name(RECORD).exists()
        if path.name.lower().endswith(ENDINGS) and not is_ours and not _is_label_map(path):
            yield Case(path.relative_to(folder), (path,), is_dicom=False)


def _is_label_map(path: Path) -> bool:
    """Whether a file lies where, or is called as, data sets keep labels beside their CTs."""
    return path.parent.name.lower() in LABEL_FOLDERS or any(
        fnmatchcase(path.name.lower(), pattern) for pattern in LABEL_NAMES
    )


def _dicom_series(folder: Path, leave_out: Path) -> Iterator[Case]:
    by_folder: dict[Path, list[Series]] = {}
    for series in find_series(folder, [leave_out]):
        by_folder.setdefault(series.folder, []).append(series)
    for where, several in by_folder.items():
        place = where.relative_to(folder)
        numbers = {series.number for series in several}
        are_known = None not in numbers and len(numbers) == len(several)
        for n, series in enumerate(several, 1):
            part = f"series{series.number if are_known else n}"
            home = place / part if len(several) > 1 else place
            yield Case(home, series.files, is_dicom=True, series=series)


def _matches(place: PurePath, pattern: str) -> bool:
    return fnmatchcase(place.as_posix(), pattern) or fnmatchcase(place.name, pattern)


def _named(cases: list[Case], folder: Path) -> list[Case]:
    """Cases whose names differ on every file system: ``ct``, ``ct-2``, ``ct-3`` in their order."""
    taken = {SUMMARY}
    named = []
    for case in cases:
        plain = name = _plain_name(case, folder)
        number = 1
        while _as_compared(name) in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(_as_compared(name))
        named.append(replace(case, name=name))
    return named


def _plain_name(case: Case, folder: Path) -> str:
    """The parts of a case's place on one line, with letters that every system allows in a name."""
    text = "_".join(case.place.parts or (folder.resolve().name,))
    if not case.is_dicom:
        ending = next(e for e in ENDINGS if text.lower().endswith(e))
        text = text[: -len(ending)]
    text = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text)).strip("._-")
    if len(text.encode()) > LONGEST_NAME_BYTES:
        mark = hashlib.sha256(case.place.as_posix().encode("utf-8", "replace")).hexdigest()[:8]
        text = f"{text.encode()[:LONGEST_NAME_BYTES].decode(errors='ignore')}-{mark}"
    return text or "case"


def _as_compared(name: str) -> str:
    return name.casefold()
