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
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import Sentence, sentence

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PREAMBLE_BYTES = 128
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"  # SOP class; the enhanced ones are below it
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # screen shots, dose pages, converted CTs
NOT_STATED = ("", "CT", "OT")  # a modality that an anonymizer leaves on a CT
BARE_VRS = (b"CS", b"UI", b"UL", b"DA", b"TM", b"SH", b"LO")  # of what a file begins with
IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
NOT_COMPRESSED = (IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN)
PIXEL_DATA = {"little": b"\xe0\x7f\x10\x00", "big": b"\x7f\xe0\x00\x10"}  # tags, by byte order
UNDEFINED_LENGTH = 0xFFFFFFFF
LARGE_FILE_BYTES = 2**28  # no smaller file needs more memory than there is
INFLATED_AT_MOST = 2**28  # bytes of a file that is deflated as a whole
PHASE_TAGS = (  # what tells the phases in a series apart, the surest first
    *("AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex"),
    *("NominalPercentageOfCardiacPhase", "TriggerTime", "AcquisitionTime", "ContentTime"),
    *("ConvolutionKernel", "KVP", "StackID", "ImageType", "ContrastBolusAgent", "SeriesTime"),
    "SliceThickness",
)
TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "Modality", "SeriesNumber"),
    *("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "LossyImageCompression"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "BitsAllocated", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "PhotometricInterpretation"),
    *("InstanceNumber", *PHASE_TAGS),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]


@dataclass(frozen=True)
class DicomImage:
    """One image of a CT series; tuples are None where the header lacks them or cannot be read.

    series: whatever tells one series from another, never shown. instance: "" where not stated.
    position_lps_mm: center of the first pixel. orientation: direction cosines, i (along a row)
    then j. spacing_ji_mm: between rows, between columns. slope, intercept: from stored numbers to
    ``unit``, which is "" where not stated and means Hounsfield units then (DICOM PS3.3 C.11.1.1.2).
    padding: least and greatest stored number that is no image. phase: the values of PHASE_TAGS, ""
    where not stated. is_bare: the header lacks what a reader of pixels wants (see :func:`decode`).
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
    padding: tuple[int, int] | None
    instance_number: int | None
    phase: tuple[str, ...]
    is_localizer: bool
    is_lossy: bool
    is_bare: bool
    transfer_syntax: str


def looks_like_dicom(path: Path) -> bool:
    """Whether a file carries the mark of DICOM, whatever its name; needs no pydicom.

    Old archives and planning systems leave out the mark: then the first element tells.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            start = file.read(PREAMBLE_BYTES + 4)
    except OSError:
        return False
    return start[PREAMBLE_BYTES:] == b"DICM" or _begins_with_element(start)


def _begins_with_element(start: bytes) -> bool:
    """Whether bytes are a short first element of group 0002 or 0008, of either byte order."""
    order: Literal["little", "big"] = "big" if start[0:1] == b"\0" else "little"
    group, element = (int.from_bytes(start[n : n + 2], order) for n in (0, 2))
    if group not in (0x0002, 0x0008) or element > 0x01FF:
        return False
    if start[4:6] in BARE_VRS:
        return int.from_bytes(start[6:8], order) <= 128
    is_implicit = order == "little" and len(start) > 8
    return is_implicit and int.from_bytes(start[4:8], order) <= 128


def require_pydicom() -> None:
    """``ValueError`` with what to install where pydicom is missing."""
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise ValueError(
            "Reading DICOM needs pydicom, which is missing; get it with: pip install"
            " 'livertumorseg[dicom]'."
        ) from None


@contextmanager
def silenced_pydicom() -> Iterator[None]:
    """Silence the warnings of pydicom and highdicom, which quote what a header says."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)  # its children have no levels of their own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def read_images(path: Path) -> list[DicomImage]:
    """The CT images of a file, in its order; none for other modalities, screen shots, a DICOMDIR.

    Raises ``ValueError`` with the file's name when it is no whole DICOM file.
    """
    import pydicom

    with _errors_as_sentence(_damaged(path)):
        _refuse_bomb(path)
        try:
            with open(path, "rb") as file:
                header = pydicom.dcmread(
                    file, force=True, stop_before_pixels=True, specific_tags=[*TAGS]
                )
                next_element = file.read(12)
        except MemoryError:  # a length that the file does not have; headers are small
            raise ValueError from None
        encoding = _transfer_syntax(header)
        if not _is_ct(header):
            return []
        if _holds_more(header, encoding, next_element):
            raise _Reason(
                sentence(
                    "{file} holds more pixels than its {rows} rows of {columns} columns; its header"
                    " was changed, so export it again.",
                    file=shown_name(path),
                    rows=int(header.Rows),
                    columns=int(header.Columns),
                )
            )
        count = int(header.get("NumberOfFrames") or 1)
        _refuse_unplaced_frames(path, header, count)
        return [_image(path, header, n, encoding) for n in range(count)]


def _refuse_unplaced_frames(path: Path, header: Dataset, count: int) -> None:
    """``ValueError`` for an enhanced CT that lacks what it says about each of its frames."""
    if count > 1 and len(header.get("PerFrameFunctionalGroupsSequence") or []) != count:
        raise _Reason(
            sentence(
                "{file} does not say where each of its {count} images lies; export the series"
                " again, as one file a slice.",
                file=shown_name(path),
                count=count,
            )
        )


def _holds_more(header: Dataset, encoding: str, pixel_element: bytes) -> bool:
    """Whether uncompressed pixels fill a row more than the header says: it is not theirs.

    pixel_element: the first bytes of the element of pixels, up to its length.
    """
    order: Literal["little", "big"] = "big" if encoding == EXPLICIT_BIG_ENDIAN else "little"
    tag, is_short = pixel_element[:4], encoding == IMPLICIT_LITTLE_ENDIAN
    if encoding not in NOT_COMPRESSED or len(pixel_element) < 12 or tag != PIXEL_DATA[order]:
        return False
    start = 4 if is_short else 8
    stored = int.from_bytes(pixel_element[start : start + 4], order)
    row_bytes = (
        int(header.Columns)
        * int(header.get("SamplesPerPixel") or 1)
        * int(header.get("BitsAllocated") or 16)
        // 8
    )
    expected = int(header.get("NumberOfFrames") or 1) * int(header.Rows) * row_bytes
    return stored != UNDEFINED_LENGTH and stored >= expected + row_bytes > 0


def read_texts(path: Path, names: Sequence[str], frame: int = 0) -> dict[str, str]:
    """Some elements of a file's header as text, "" where it lacks them; several values by \\.

    Raises ``ValueError`` with the file's name when it is no whole DICOM file.
    """
    import pydicom
    from pydicom.multival import MultiValue

    with _errors_as_sentence(_damaged(path)):
        groups = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
        header = pydicom.dcmread(
            path, force=True, stop_before_pixels=True, specific_tags=[*names, *groups]
        )
        find = _finder(header, frame)
        values = {name: find(name) for name in names}
    several = {n: v if isinstance(v, MultiValue) else [v] for n, v in values.items()}
    return {n: "\\".join("" if v is None else str(v) for v in vs) for n, vs in several.items()}


def _is_ct(header: Dataset) -> bool:
    """Whether images are CT: by their SOP class, or by the modality where that leaves it open.

    A Secondary Capture is a screen shot unless it says where it lies and has more than 8 bits.
    """
    kind = str(header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID", ""))
    modality = str(header.get("Modality") or "").strip().upper()
    if kind == CT_IMAGE or kind.startswith(CT_IMAGE + "."):
        return modality in NOT_STATED
    if not kind and not modality and "Rows" in header:
        return "RescaleIntercept" in header and "ImagePositionPatient" in header
    if not kind:
        if header.preamble and not modality:
            raise ValueError  # the header ends too early
        return modality == "CT"
    if modality != "CT" or "Rows" not in header:
        return False
    if not kind.startswith(SECONDARY_CAPTURE):
        return True
    place = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    return all(name in header for name in place) and int(header.get("BitsAllocated") or 8) > 8


def _refuse_bomb(path: Path) -> None:
    """``ValueError`` for a deflated file that unpacks to more than a CT; pydicom would do it."""
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    with path.open("rb") as file:
        start = file.read(2048)
        at = start.find(DeflatedExplicitVRLittleEndian.encode())
        if at < 0 or start[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] != b"DICM":
            return
        meta_bytes = int.from_bytes(start[140:144], "little")  # of group 2, after its own length
        file.seek(144 + meta_bytes)
        unpack, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        for packed in iter(lambda: file.read(65536), b""):
            while packed:
                size += len(unpack.decompress(packed, 2**20))
                packed = unpack.unconsumed_tail
                if size > INFLATED_AT_MOST:
                    raise _Reason(
                        sentence(
                            "{file} unpacks to far more than a CT; export the series again,"
                            " uncompressed.",
                            file=shown_name(path),
                        )
                    )


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
                sentence(
                    "The images of this series are compressed ({how}) in a way that cannot be read;"
                    " export the series uncompressed.",
                    how=how,
                )
            )
        raise ValueError(
            sentence(
                "The images of this series are compressed ({how}), which needs python-gdcm; get it"
                " with: pip install 'livertumorseg[dicom]'.",
                how=how,
            )
        )


def decode(images: Sequence[DicomImage]) -> Iterator[NDArray[Any]]:
    """The stored numbers of images of one file, ``(j, i)``; ``ValueError`` for a damaged one."""
    import pydicom
    from pydicom.pixels.utils import iter_pixels

    first = images[0]
    unreadable = sentence(
        "The image in {file} is cut off, damaged or compressed in a way that cannot be read; copy"
        " or export the series again, uncompressed.",
        file=shown_name(first.path),
    )
    with _errors_as_sentence(unreadable):
        is_deflated = first.transfer_syntax == pydicom.uid.DeflatedExplicitVRLittleEndian
        try:
            source = _completed(first) if is_deflated or first.is_bare else first.path
            # one reader for all frames: opening the file for each would read its header each time
            frames = iter_pixels(source, indices=[image.frame for image in images])
            for image, pixels in zip(images, frames, strict=True):
                if pixels.shape != image.shape_ji:
                    raise ValueError
                yield pixels
        except MemoryError:
            if first.path.stat().st_size < LARGE_FILE_BYTES:
                raise ValueError from None  # an element says that it is longer than the file
            raise


def _completed(image: DicomImage) -> Dataset:
    """A whole file in memory, with what pydicom must know before it decodes pixels."""
    import pydicom

    dataset = pydicom.dcmread(image.path, force=True)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(image.transfer_syntax)
    dataset.setdefault("SamplesPerPixel", image.samples)
    dataset.setdefault("PhotometricInterpretation", "MONOCHROME2")
    return dataset


def shown_name(path: Path) -> str:
    """A file's own name on one line."""
    return "".join(c if c.isprintable() else "?" for c in path.name) or "This path"


class _Reason(ValueError):
    """A known reason why a file is refused."""


def _damaged(path: Path) -> Sentence:
    return sentence(
        "{file} is a damaged DICOM file; copy or export it again.", file=shown_name(path)
    )


@contextmanager
def _errors_as_sentence(refusal: Sentence) -> Iterator[None]:
    """Raise ``ValueError`` with the sentence for anything that a damaged file brings about."""
    try:
        yield
    except (MemoryError, _Reason):
        raise
    except Exception:
        raise ValueError(refusal) from None


def _image(path: Path, header: Dataset, frame: int, transfer_syntax: str) -> DicomImage:
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
        number=_integer(header, "SeriesNumber"),
        shape_ji=(int(header.Rows), int(header.Columns)),
        samples=int(header.get("SamplesPerPixel") or 1),
        position_lps_mm=_numbers(find("ImagePositionPatient"), 3),
        orientation=_numbers(find("ImageOrientationPatient"), 6),
        spacing_ji_mm=_numbers(find("PixelSpacing"), 2),
        thickness_mm=_number(find("SliceThickness")),
        slope=_number(find("RescaleSlope")),
        intercept=_number(find("RescaleIntercept")),
        unit=str(find("RescaleType") or "").strip().upper(),
        padding=_padding(header),
        instance_number=_integer(header, "InstanceNumber"),
        phase=tuple(str(find(name) or "") for name in PHASE_TAGS),
        is_localizer="LOCALIZER" in kind,
        is_lossy=header.get("LossyImageCompression") == "01",
        is_bare=(
            header.file_meta.get("TransferSyntaxUID") != transfer_syntax
            or "PhotometricInterpretation" not in header
            or "SamplesPerPixel" not in header
        ),
        transfer_syntax=transfer_syntax,
    )


def _transfer_syntax(header: Dataset) -> str:
    """The transfer syntax as stated; where it is not, or says that VRs are there or not and the
    elements say otherwise, as pydicom found them. Asked before an element is decoded.
    """
    from pydicom.dataelem import RawDataElement

    stated = str(header.file_meta.get("TransferSyntaxUID") or "")
    raw = [element for element in header.values() if isinstance(element, RawDataElement)]
    if not raw or stated not in ("", IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN):
        return stated or IMPLICIT_LITTLE_ENDIAN
    if raw[0].is_implicit_VR:
        return IMPLICIT_LITTLE_ENDIAN
    return EXPLICIT_LITTLE_ENDIAN if raw[0].is_little_endian else EXPLICIT_BIG_ENDIAN


def _padding(header: Dataset) -> tuple[int, int] | None:
    """Stored numbers that are no image: from the padding value to its range limit (C.7.5.1.1.2).

    Both are signed or not as the pixels are, whatever their own element says.
    """
    is_signed = header.get("PixelRepresentation") == 1
    values = []
    for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        value = header.get(name)
        if isinstance(value, bytes):  # the header's encoding does not say whether it is signed
            value = int.from_bytes(value[:2], "little")
        if isinstance(value, int):
            value %= 65536
            values.append(value - 65536 if is_signed and value > 32767 else value)
    return (min(values), max(values)) if values else None


def _finder(header: Dataset, frame: int) -> Callable[[str], Any]:
    """Looks a tag up where it is said for this frame, then for all frames, then for the file."""
    places = []
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for groups in (*frames[frame : frame + 1], *shared[:1]):
        places += [e.value[0] for e in groups if e.VR == "SQ" and e.value]
    places.append(header)
    return lambda name: next((_value(place, name) for place in places if name in place), None)


def _value(place: Dataset, name: str) -> Any:
    """An element's value; text as it is stored, for pydicom refuses numbers with a comma."""
    element = place.get_item(name)
    if isinstance(element.value, bytes) and element.VR in (None, "DS", "IS"):
        return element.value.decode("ascii", "replace").strip(" \0")
    return place[name].value


def _integer(header: Dataset, name: str) -> int | None:
    number = _number(_value(header, name)) if name in header else None
    return None if number is None else int(number)


def _number(value: Any) -> float | None:
    numbers = _numbers(value if isinstance(value, str) else (value,), 1)
    return None if numbers is None else numbers[0]


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """So many finite numbers, or None. Programs in some languages write 0,7 for 0.7."""
    if isinstance(value, str):
        parts = value.split("\\")
        value = value.split(",") if len(parts) < count else [p.replace(",", ".") for p in parts]
    try:
        numbers = tuple(float(n) for n in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None
