"""What the header of a DICOM file says about each image in it, and the images themselves.

    with silenced_pydicom():
        images = read_images(path)      # one, or one a frame of an enhanced (multi-frame) CT
        for stored_ji in decode(images):  # (rows, columns), before any rescaling
            ...

Of a header only ``TAGS`` are read: no name, birth date or number of a patient gets into memory with
them. pydicom is imported inside functions.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

GET_DICOM = "get it with: pip install 'livertumorseg[dicom]'."
PREAMBLE_BYTES = 128
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"  # SOP class; the enhanced ones are below it
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # screen shots, dose pages
TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "Modality", "SeriesNumber", "ImageType", "SliceThickness"),
    *("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "LossyImageCompression"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]


@dataclass(frozen=True)
class DicomImage:
    """One image of a CT series; tuples are None where the header lacks them or cannot be read.

    series: whatever tells one series from another, never shown. instance: "" where not stated.
    position_lps_mm: center of the first pixel. orientation: direction cosines, i (along a row)
    then j. spacing_ji_mm: between rows, between columns. slope, intercept: from stored numbers to
    ``unit``, which is "" where not stated and means Hounsfield units then (DICOM PS3.3 C.11.1.1.2).
    """

    path: Path
    frame: int
    series: tuple[str, ...]
    instance: str
    number: int | None
    shape_ji: tuple[int, int]
    samples: int
    position_lps_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_ji_mm: tuple[float, ...] | None
    thickness_mm: float | None
    slope: float | None
    intercept: float | None
    unit: str
    is_localizer: bool
    is_lossy: bool
    transfer_syntax: str


def looks_like_dicom(path: Path) -> bool:
    """Whether a file carries the mark of DICOM, whatever its name; needs no pydicom."""
    try:
        with path.open("rb") as file:
            file.seek(PREAMBLE_BYTES)
            return file.read(4) == b"DICM"
    except OSError:
        return False


def require_pydicom() -> None:
    """``ValueError`` with what to install where pydicom is missing."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise ValueError(f"Reading DICOM needs pydicom, which is missing; {GET_DICOM}") from None


@contextmanager
def silenced_pydicom() -> Iterator[None]:
    """pydicom's warnings quote what a header says; inside this block nobody hears them."""
    logger = logging.getLogger("pydicom")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # its children have no levels of their own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def read_images(path: Path) -> list[DicomImage]:
    """The CT images of a file, in its order; none for other modalities, screen shots, a DICOMDIR.

    Raises ``ValueError`` with the file's name when it is no whole DICOM file.
    """
    import pydicom

    with _explained(f"{shown_name(path)} is a damaged DICOM file; copy or export it again."):
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*TAGS])
        kind = str(header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID", ""))
        if kind and not kind.startswith(CT_IMAGE):
            if header.get("Modality") != "CT" or "Rows" not in header:
                return []
            if kind.startswith(SECONDARY_CAPTURE):
                return []
        elif header.Modality != "CT":  # an AttributeError where the header ends too early
            return []
        return [_image(path, header, n) for n in range(int(header.get("NumberOfFrames") or 1))]


def refuse_unreadable(images: list[DicomImage]) -> None:
    """``ValueError`` when the packages here cannot unpack the images; none is unpacked yet."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    for syntax in sorted({image.transfer_syntax for image in images}):
        try:
            is_available = get_decoder(syntax).is_available
        except NotImplementedError:
            is_available = None
        if is_available:
            continue
        how = UID(syntax).name if UID(syntax).is_transfer_syntax else "an unknown kind"
        if is_available is None or how.startswith("High-Throughput"):
            raise ValueError(
                f"The images of this series are compressed ({how}) in a way that cannot be read;"
                " export the series uncompressed."
            )
        raise ValueError(
            f"The images of this series are compressed ({how}), which needs python-gdcm; "
            + GET_DICOM
        )


def decode(images: Sequence[DicomImage]) -> Iterator[NDArray[Any]]:
    """The stored numbers of images of one file, ``(j, i)``; ``ValueError`` for a damaged one."""
    import pydicom
    from pydicom.pixels.utils import iter_pixels

    first = images[0]
    name = shown_name(first.path)
    with _explained(
        f"The image in {name} is cut off, damaged or compressed in a way that cannot be read;"
        " copy or export the series again, uncompressed."
    ):
        is_deflated = first.transfer_syntax == pydicom.uid.DeflatedExplicitVRLittleEndian
        source = pydicom.dcmread(first.path) if is_deflated else first.path  # pydicom wants that
        # one reader for all frames: opening the file for each would read its long header each time
        frames = iter_pixels(source, indices=[image.frame for image in images])
        for image, pixels in zip(images, frames, strict=True):
            if pixels.shape != image.shape_ji:
                raise ValueError
            yield pixels


def shown_name(path: Path) -> str:
    """A file's own name on one line."""
    return "".join(c if c.isprintable() else "?" for c in path.name) or "This path"


@contextmanager
def _explained(sentence: str) -> Iterator[None]:
    """A damaged file makes pydicom and its decoders raise nearly anything."""
    try:
        yield
    except MemoryError:
        raise
    except Exception:
        raise ValueError(sentence) from None


def _image(path: Path, header: Dataset, frame: int) -> DicomImage:
    find = _finder(header, frame)
    kind = find("ImageType") or find("FrameType") or ()
    return DicomImage(
        path=path,
        frame=frame,
        series=tuple(
            str(header.get(name) or "")
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
        ),
        instance=str(header.get("SOPInstanceUID") or ""),
        number=_number(header.get("SeriesNumber"), int),
        shape_ji=(int(header.Rows), int(header.Columns)),
        samples=int(header.get("SamplesPerPixel") or 1),
        position_lps_mm=_numbers(find("ImagePositionPatient"), 3),
        orientation=_numbers(find("ImageOrientationPatient"), 6),
        spacing_ji_mm=_numbers(find("PixelSpacing"), 2),
        thickness_mm=_number(find("SliceThickness"), float),
        slope=_number(find("RescaleSlope"), float),
        intercept=_number(find("RescaleIntercept"), float),
        unit=str(find("RescaleType") or "").strip().upper(),
        is_localizer="LOCALIZER" in kind,
        is_lossy=header.get("LossyImageCompression") == "01",
        transfer_syntax=str(header.file_meta.TransferSyntaxUID),
    )


def _finder(header: Dataset, frame: int) -> Callable[[str], Any]:
    """Looks a tag up where it is said for this frame, then for all frames, then for the file."""
    places = []
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for groups in (*frames[frame : frame + 1], *shared[:1]):
        places += [e.value[0] for e in groups if e.VR == "SQ" and e.value]
    places.append(header)
    return lambda name: next((place[name].value for place in places if name in place), None)


def _number(value: Any, kind: type) -> Any:
    try:
        number = kind(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(n) for n in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None
