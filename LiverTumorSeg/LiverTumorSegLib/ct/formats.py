"""A CT from a .nrrd or .mha file, as Slicer and ITK save it; by SimpleITK (extra ``[formats]``).

    if is_format(path):
        ct, warnings = read_format(path)

Both formats store i fastest and place voxels in LPS millimeters.
"""

# mypy: allow-untyped-calls
# (SimpleITK's methods carry no types)

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.volume import LPS_SIGNS, CtVolume

from .checks import (
    NO_ORIENTATION,
    VOXELS_AT_MOST,
    check_ct,
    check_geometry,
    refuse_huge,
    refuse_one_slice,
    refuse_wrong_shape,
)
from .dicom_headers import shown_name
from .nifti import DEFLATE_AT_MOST, whole_hu

ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")
DETACHED = (".nhdr", ".mhd")  # the voxels lie in a file beside them
BYTES_AT_MOST = 2 * VOXELS_AT_MOST
NRRD_ENDINGS = (".nrrd", ".nhdr")
GET_FORMATS = "get it with: pip install 'livertumorseg[formats]', or save the scan as .nii.gz."
SAYS_HOW_IT_LIES = re.compile(rb"^(space:|TransformMatrix\s*=|Orientation\s*=)", re.M)
UNREADABLE = (
    "is cut off, damaged or stored in a way that cannot be read; save it as .nii.gz in the program"
    " that made it, or copy it again."
)
SEVERAL_VALUES = (
    "holds several values a voxel (color, time points or segments); give the CT itself, with one"
    " number a voxel."
)
SEVERAL_LAYERS = (
    "holds segments that overlap, in layers; let one mask the other in Segment Editor, or export a"
    " label map."
)
NO_LABELS = "holds values that are no labels (whole numbers from 0 to 255); give a label map."
SEGMENT_TAGS = re.compile(r"Segment(\d+)_Tags")
SEGMENT_NAME = re.compile(r"Segment(\d+)_Name")
STANDARD_ERROR = 2  # its descriptor
HEADER_BYTES = 4096
LONGEST_HEADER_BYTES = 2**20
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


def is_format(path: Path) -> bool:
    """Whether a file's name is that of a format read here."""
    return path.name.lower().endswith(ENDINGS)


def read_format(path: Path) -> tuple[CtVolume, tuple[str, ...]]:
    """The scan and warnings of one sentence each, as :func:`nifti.read_ct` gives them.

    Raises ``ValueError``, one sentence with what to do, for what cannot be read or is no CT, and
    where SimpleITK is missing.
    """
    name = shown_name(path)
    reader, says_orientation = _opened(path)
    with _errors_as_sentence(name):
        shape_kji = _checked_shape(path, reader)
        ijk_to_ras = _ijk_to_ras(reader)
        warnings = check_geometry(name, shape_kji, ijk_to_ras)
        voxels = _voxels(reader, shape_kji)
    hu, low, high = whole_hu(name, shape_kji, (plane.astype(np.float64) for plane in voxels))
    ct = CtVolume(hu, ijk_to_ras)
    unknown = () if says_orientation else (NO_ORIENTATION,)
    return ct, (*unknown, *warnings, *check_ct(name, ct, low, high))


def read_format_labels(
    path: Path,
) -> tuple[NDArray[np.uint8], NDArray[np.float64], dict[str, tuple[int, ...]]]:
    """Labels uint8 ``(k, j, i)`` and their 4 x 4 ijk_to_ras in mm, as :func:`nifti.read_labels`;
    and of a .seg.nrrd the numbers that each SNOMED code has there, empty for other files.

    Raises ``ValueError`` with one sentence as :func:`read_format`, and for what is no label map.
    """
    name = shown_name(path)
    reader, _ = _opened(path)
    with _errors_as_sentence(name):
        shape_kji = _checked_shape(path, reader, SEVERAL_LAYERS)
        ijk_to_ras = _ijk_to_ras(reader)
        voxels = _voxels(reader, shape_kji)
    labels = np.empty(shape_kji, np.uint8)
    for k, plane in enumerate(voxels):
        if not np.isfinite(plane).all() or plane.min() < 0 or plane.max() > 255:
            raise ValueError(f"{name} {NO_LABELS}")
        labels[k] = plane
        if (labels[k] != plane).any():
            raise ValueError(f"{name} {NO_LABELS}")
    return labels, ijk_to_ras, _coded_segments(reader)


def _coded_segments(reader: Any) -> dict[str, tuple[int, ...]]:
    """SNOMED code -> numbers, from Slicer's tags of segments."""
    found: dict[str, tuple[int, ...]] = {}
    for key in reader.GetMetaDataKeys():
        match = SEGMENT_TAGS.fullmatch(key)
        value_key = f"Segment{match[1]}_LabelValue" if match else ""
        if not match or not reader.HasMetaDataKey(value_key):
            continue
        codes = reader.GetMetaData(key).split("~")
        code = codes[2].split("^")[1] if len(codes) > 2 and codes[2].startswith("SCT^") else ""
        value = reader.GetMetaData(value_key).strip()
        if code and value.isdigit():
            found[code] = (*found.get(code, ()), int(value))
    return found


def read_segment_names(path: Path) -> dict[int, str]:
    """The names of a .seg.nrrd's segments by their numbers; empty for other files."""
    reader, _ = _opened(path)
    found = {}
    for key in reader.GetMetaDataKeys():
        match = SEGMENT_NAME.fullmatch(key)
        value_key = f"Segment{match[1]}_LabelValue" if match else ""
        if match and reader.HasMetaDataKey(value_key):
            value = reader.GetMetaData(value_key).strip()
            if value.isdigit():
                found[int(value)] = reader.GetMetaData(key).strip()
    return found


def _opened(path: Path) -> tuple[Any, bool]:
    """SimpleITK's reader with the header read, and whether it says how the patient lies."""
    name = shown_name(path)
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"{name} is a folder, a pipe or a device; give a file.")
        with path.open("rb") as file:
            start = file.read(LONGEST_HEADER_BYTES)
    except FileNotFoundError:
        raise ValueError(f"{name} does not exist; check the file's name and folder.") from None
    except OSError:
        raise ValueError(f"{name} could not be read; check its disk and copy it again.") from None
    if path.name.lower().endswith(".nrrd") and not _is_whole_nrrd_header(start):
        raise ValueError(f"{name} {UNREADABLE}")
    try:
        import SimpleITK
    except ImportError:
        raise ValueError(
            f"Reading {name} needs SimpleITK, which is missing; {GET_FORMATS}"
        ) from None

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # they print, and quote the header
    reader = _reader(path)
    with _errors_as_sentence(name):
        reader.ReadImageInformation()
    return reader, SAYS_HOW_IT_LIES.search(start[:HEADER_BYTES]) is not None


@contextmanager
def _errors_as_sentence(name: str) -> Iterator[None]:
    """Raise ``ValueError`` with a sentence for what SimpleITK cannot read."""
    try:
        with _silent_library():
            yield
    except RuntimeError:
        raise ValueError(f"{name} {UNREADABLE}") from None


def _voxels(reader: Any, shape_kji: tuple[int, int, int]) -> NDArray[Any]:
    from SimpleITK import GetArrayFromImage

    voxels: NDArray[Any] = GetArrayFromImage(reader.Execute()).reshape(shape_kji)
    return voxels


def _reader(path: Path) -> Any:
    """For the format that the name says; ITK would try all of its own on what is none."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    is_nrrd = path.name.lower().endswith(NRRD_ENDINGS)
    reader.SetImageIO("NrrdImageIO" if is_nrrd else "MetaImageIO")
    reader.SetFileName(str(path))
    return reader


def stated_grid(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Voxels along i, j, k and 4 x 4 ijk_to_ras of a header; errors as SimpleITK raises them."""
    reader = _reader(path)
    with _silent_library():
        reader.ReadImageInformation()
    return tuple(int(n) for n in reader.GetSize()), _ijk_to_ras(reader)


@contextmanager
def _silent_library() -> Iterator[None]:
    """MetaIO, below SimpleITK, writes what is wrong straight to standard error, in several lines.

    Where the descriptor cannot be lent to something else, it may do so.
    """
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    try:
        own = os.dup(STANDARD_ERROR)
    except OSError:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, STANDARD_ERROR)
        yield
    finally:
        os.dup2(own, STANDARD_ERROR)
        os.close(own)
        os.close(nowhere)


def _is_whole_nrrd_header(start: bytes) -> bool:
    """Lines of text up to an empty one; SimpleITK's parser crashes where voxels come in between."""
    head, empty_line, _ = start.replace(b"\r\n", b"\n").partition(b"\n\n")
    return bool(empty_line) and not CONTROL.search(head)


def _checked_shape(path: Path, reader: Any, several: str = SEVERAL_VALUES) -> tuple[int, int, int]:
    """Voxels along k, j, i; ``ValueError`` before memory is asked for where these cannot be."""
    from SimpleITK import GetPixelIDValueAsString

    name, shape_ijk = shown_name(path), tuple(int(n) for n in reader.GetSize())
    refuse_wrong_shape(name, shape_ijk)
    kind = GetPixelIDValueAsString(reader.GetPixelID())
    if reader.GetNumberOfComponents() != 1 or "complex" in kind or "label" in kind:
        raise ValueError(f"{name} {several}")
    i, j, k = shape_ijk[:3]
    refuse_huge(name, (k, j, i))
    refuse_one_slice(name, (k, j, i))
    _refuse_wide(name, i * j * k, kind)
    promised_bytes = i * j * k  # one each, at least
    if (
        not path.name.lower().endswith(DETACHED)
        and path.stat().st_size * DEFLATE_AT_MOST < promised_bytes
    ):
        raise ValueError(f"{name} is cut off or damaged; copy or export it again.")
    return k, j, i


def _refuse_wide(name: str, voxels: int, kind: str) -> None:
    """``ValueError`` where numbers of 32 or 64 bits would fill the memory: all are read at once.

    kind: SimpleITK's words for a voxel, as "64-bit float".
    """
    bits = kind.partition("-")[0]
    size_bytes = voxels * int(bits) // 8 if bits.isdigit() else 0
    if size_bytes > BYTES_AT_MOST:
        raise ValueError(
            f"{name} would take {size_bytes / 1e9:.0f} GB of memory; save it with whole numbers of"
            " 16 bits, as CTs have."
        )


def _ijk_to_ras(reader: Any) -> NDArray[np.float64]:
    dimension = reader.GetDimension()
    directions = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    lps = np.eye(4)
    lps[:3, :3] = directions * np.array(reader.GetSpacing())[:3]
    lps[:3, 3] = np.array(reader.GetOrigin())[:3]
    placed: NDArray[np.float64] = np.diag([*LPS_SIGNS, 1.0]) @ lps
    return placed
