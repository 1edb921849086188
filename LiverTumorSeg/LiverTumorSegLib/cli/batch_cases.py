"""The CTs in a folder: NIfTI files and DICOM series at any depth, each with a name of its own.

    for case in find_cases(Path("cts"), leave_out=Path("results")):
        if not case.problem:
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
from LiverTumorSegLib.ct.dicom_headers import looks_like_dicom, require_pydicom, shown_name
from LiverTumorSegLib.ct.formats import ENDINGS as FORMAT_ENDINGS
from LiverTumorSegLib.ct.read import read_file
from LiverTumorSegLib.model.spec import file_sha256
from LiverTumorSegLib.result.files import DEMO_TRUTH, LABELS, PROBABILITIES, RECORD
from LiverTumorSegLib.volume import CtVolume

from .batch_summary import TABLES

ENDINGS = (".nii.gz", ".nii", *FORMAT_ENDINGS)
LABEL_FOLDERS = ("labelstr", "labelsts")  # of nnU-Net and MSD, beside imagesTr and imagesTs
LABEL_NAMES = ("segmentation-*", "*.seg.nrrd")  # of LiTS, and of Slicer: no CT
OUR_LABELS = (LABELS, PROBABILITIES, DEMO_TRUTH)  # beside a record of ours: no CT
LONGEST_NAME_BYTES = 120


@dataclass(frozen=True)
class _OtherKind:
    """Files that look like images and are not read.

    advice: how the sentence ends that begins with a file's name. fewest: in a folder, to look like
    a scan. is_alone: they count only where nothing else in their folder is a case.
    """

    endings: tuple[str, ...]
    advice: str
    fewest: int = 1
    is_alone: bool = False


OTHER_KINDS = (
    _OtherKind(
        (".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz"),
        "is an archive; unpack it, and run again.",
    ),
    _OtherKind(
        (".dcm.gz", ".ima.gz", ".dcm.bz2", ".nii.bz2", ".nii.xz", ".nii.zst", ".nrrd.gz"),
        "is packed in a way that is not read; unpack it, and run again.",
    ),
    _OtherKind(
        (".hdr", ".hdr.gz", ".mgz", ".mgh", ".mnc", ".vtk", ".vti", ".npy", ".npz", ".h5"),
        "is an image of a kind that is not read; save it as .nii.gz.",
    ),
    _OtherKind(
        (".dcm", ".ima", ".dicom"),
        "is called as DICOM is, but is none; copy or export it again.",
        is_alone=True,
    ),
    _OtherKind(
        (".raw", ".img", ".mat"),
        "does not say where its voxels lie; save it as .nii.gz.",
        is_alone=True,
    ),
    _OtherKind(
        (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"),
        "is a picture, without Hounsfield units; give the CT itself.",
        fewest=3,
        is_alone=True,
    ),
)


@dataclass(frozen=True)
class BatchItem:
    """One CT.

    place: below the folder that was searched; of several series in one folder each has its number
    as a further part. files: one NIfTI file, or all of a series. name: of its result folder.
    problem: a sentence of why this is left out, where it is an image that is no CT to be read.
    """

    place: PurePath
    files: tuple[Path, ...]
    is_dicom: bool
    name: str = ""
    series: Series | None = None
    problem: str = ""

    def read(self) -> tuple[CtVolume, tuple[str, ...]]:
        """The scan and its warnings; errors as the readers raise them."""
        return read_file(self.files[0]) if self.series is None else read_series(self.series)

    def fingerprint(self) -> str:
        """A hash of the files' names, sizes and times of change: the same for the same contents."""
        facts = [(path.name, path.stat()) for path in self.files]
        lines = sorted(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in facts)
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def sha256(self) -> str:
        """The hash of the contents, whatever the names; ``OSError`` for an unreadable file."""
        digests = sorted(file_sha256(path) for path in self.files)
        return hashlib.sha256("".join(digests).encode()).hexdigest()


def find_cases(folder: Path, leave_out: Path, only: str | None = None) -> list[BatchItem]:
    """The cases in a folder and those below it, in the order of their places.

    leave_out: a folder that is not looked into (where results go). only: a pattern as of a shell,
    for a case's place or the last part of it.
    Images of other kinds and damaged series are among them, with their problem, so that no patient
    is missing in silence.
    Raises ``ValueError`` when there is no CT at all, or pydicom is needed and missing.
    """
    if not folder.is_dir():
        raise ValueError(
            f"{shown_name(folder)} is no folder; name one that holds CTs, or use `livertumorseg"
            " segment` for a single CT."
        )
    closed: list[OSError] = []
    files = list(list_files(folder, [leave_out], closed.append))
    series = _all_series(folder, leave_out)
    found = [*_single_files(folder, files), *_dicom_cases(folder, series)]
    found += _left_out_dicom(folder, files, series)
    found += _left_out_files(folder, files, {path.parent for case in found for path in case.files})
    found += _closed_folders(folder, closed)
    if not found:
        raise ValueError(
            f"{shown_name(folder)} holds no NIfTI or NRRD file and no DICOM series of a CT; name"
            " a folder of CTs."
        )
    if only is not None:
        found = [case for case in found if _matches(case.place, only)]
    if not found:
        raise ValueError(f"No CT there has a name like {only!r}; use another pattern for --only.")
    if all(case.problem for case in found):
        raise ValueError(f"{shown_name(folder)} holds no CT that can be read. {found[0].problem}")
    found.sort(key=lambda case: (case.place.as_posix(), case.files))
    return _named(found, folder)


def _single_files(folder: Path, files: list[Path]) -> Iterator[BatchItem]:
    for path in files:
        name, place = path.name.lower(), path.relative_to(folder)
        is_ours = path.name in OUR_LABELS and path.with_name(RECORD).exists()
        if name.endswith(ENDINGS) and not is_ours and not _is_label_map(path):
            is_pipe = path.exists() and not path.is_file()  # it would be waited for
            problem = f"{shown_name(path)} is a pipe or a device; give a file." if is_pipe else ""
            yield BatchItem(place, (path,), is_dicom=False, problem=problem)


def _is_label_map(path: Path) -> bool:
    """Whether a file lies where, or is called as, data sets keep labels beside their CTs."""
    return path.parent.name.lower() in LABEL_FOLDERS or any(
        fnmatchcase(path.name.lower(), pattern) for pattern in LABEL_NAMES
    )


def _all_series(folder: Path, leave_out: Path) -> list[Series]:
    try:
        return find_series(folder, [leave_out])
    except ValueError:
        require_pydicom()  # without it nothing is known of any
        return []  # all is damaged: each folder is left out with its own reason


def _dicom_cases(folder: Path, found: list[Series]) -> Iterator[BatchItem]:
    by_folder: dict[Path, list[Series]] = {}
    for series in found:
        by_folder.setdefault(series.folder, []).append(series)
    for where, several in by_folder.items():
        place = where.relative_to(folder)
        numbers = {series.number for series in several}
        are_known = None not in numbers and len(numbers) == len(several)
        for n, series in enumerate(several, 1):
            part = f"series{series.number if are_known else n}"
            home = place / part if len(several) > 1 else place
            yield BatchItem(home, series.files, is_dicom=True, series=series)


def _left_out_dicom(folder: Path, files: list[Path], found: list[Series]) -> Iterator[BatchItem]:
    """A case a folder of DICOM that no series came of."""
    known = {path.parent for series in found for path in series.files}
    others: dict[Path, list[Path]] = {}
    for path in files:
        is_other = path.name.lower().endswith(ENDINGS) or path.name.upper() == "DICOMDIR"
        if path.parent not in known and not is_other and looks_like_dicom(path):
            others.setdefault(path.parent, []).append(path)
    for where, several in others.items():
        try:
            read_series(several)
            problem = "These DICOM files make no CT series."
        except ValueError as error:
            problem = " ".join(str(error).split())
        yield BatchItem(where.relative_to(folder), tuple(several), is_dicom=True, problem=problem)


def _left_out_files(folder: Path, files: list[Path], homes: set[Path]) -> Iterator[BatchItem]:
    """A case for files of a kind that is not read, one for all of a kind in a folder.

    homes: the folders of other cases.
    """
    homes = homes | {path.parent for path in files if path.name == RECORD}  # pictures of a result
    for kind in OTHER_KINDS:
        by_folder: dict[Path, list[Path]] = {}
        for path in files:
            if path.name.lower().endswith(kind.endings):
                by_folder.setdefault(path.parent, []).append(path)
        for where, several in by_folder.items():
            if len(several) < kind.fewest or (kind.is_alone and where in homes):
                continue
            homes.add(where)
            first = several[0]
            place = first.relative_to(folder)
            if len(several) == 1:
                problem = f"{shown_name(first)} {kind.advice}"
            else:
                place = where.relative_to(folder)
                problem = f"{shown_name(first)}, as others here, {kind.advice}"
            yield BatchItem(place, tuple(several), is_dicom=False, problem=problem)


def _closed_folders(folder: Path, closed: list[OSError]) -> Iterator[BatchItem]:
    """A case for a folder that may not be looked into: it may hold a patient."""
    for error in closed:
        where = Path(error.filename)
        problem = f"{shown_name(where)} may not be looked into; ask for permission to read it."
        yield BatchItem(where.relative_to(folder), (), is_dicom=False, problem=problem)


def _matches(place: PurePath, pattern: str) -> bool:
    return fnmatchcase(place.as_posix(), pattern) or fnmatchcase(place.name, pattern)


def _named(cases: list[BatchItem], folder: Path) -> list[BatchItem]:
    """Cases whose names differ on every file system: ``ct``, ``ct-2``, ``ct-3`` in their order."""
    taken = set(TABLES)
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


def _plain_name(case: BatchItem, folder: Path) -> str:
    """The parts of a case's place on one line, with letters that every system allows in a name."""
    text = "_".join(case.place.parts or (folder.resolve().name,))
    if not case.is_dicom:
        ending = next((e for e in ENDINGS if text.lower().endswith(e)), "")
        text = text[: len(text) - len(ending)]
    text = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text)).strip("._-")
    if len(text.encode()) > LONGEST_NAME_BYTES:
        mark = hashlib.sha256(case.place.as_posix().encode("utf-8", "replace")).hexdigest()[:8]
        text = f"{text.encode()[:LONGEST_NAME_BYTES].decode(errors='ignore')}-{mark}"
    return text or "case"


def _as_compared(name: str) -> str:
    return name.casefold()
