"""The CT's own DICOM images, as far as files made of them have to refer to them.

    source = DicomSource.read(series)
    source.images         # pydicom datasets without pixels, one a slice, or one multi-frame file

Only the tags below get into memory, and so into what is written: who the patient and which the
study is, for an archive files by it, and where each image lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from LiverTumorSegLib.ct.dicom import Series, slices_of
from LiverTumorSegLib.ct.dicom_headers import DicomImage, silenced_pydicom
from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.volume import LPS_SIGNS, CtVolume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SAME_PLACE = 0.1  # pixels: how far one may lie off and still be the same; headers are rounded
ANOTHER_CT = (
    "The DICOM files are not the CT that this result lies on: its grid is another (cropped or"
    " resampled, perhaps); segment the CT as it was loaded."
)
FILED_BY = (  # patient and study: an archive needs them, and they may be empty
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
)
REFERRED_TO = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
LIES_AT = (
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "Modality", "Rows", "Columns"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
TAGS = ("SpecificCharacterSet", *FILED_BY, *REFERRED_TO, *LIES_AT, "NumberOfFrames")


@dataclass(frozen=True, eq=False)
class DicomSource:
    """The DICOM images of the CT, to which SEG and SR refer.

    images: one dataset a slice k, or a single one of a multi-frame CT.
    frames: of a multi-frame CT, which slice k each of its frames is; empty otherwise.
    series_number: of the CT.
    """

    images: tuple[Dataset, ...]
    frames: tuple[int, ...] = ()
    series_number: int = 1

    @classmethod
    def read(cls, series: Series) -> DicomSource:
        """Read the headers; ``ValueError`` with one sentence where nothing can refer to them."""
        require_highdicom()
        slices = slices_of(series)
        number = max(series.number or 1, 1)
        with silenced_pydicom():
            first = _header(slices[0])
            if int(first.get("NumberOfFrames") or 1) > 1:
                frames = _frame_order(slices, first)
                _place_frames(first, [slices[k] for k in frames])
                return cls((first,), frames, number)
            images = tuple(_placed(_header(image), image) for image in slices)
        _refuse_nameless(images)
        return cls(images, (), number)

    def refuse_another(self, ct: CtVolume) -> None:
        """``ValueError`` unless slice k of the CT is image k, pixel by pixel.

        The slices of a tilted gantry may lie straight above each other in the CT: what counts is
        the first image's place and grid, and that the others follow in the same direction.
        """
        along_i, along_j, first = _first_image(self, ct.shape_kji)
        voxel_mm = np.linalg.norm(ct.ijk_to_ras[:3, :3], axis=0)
        apart_mm = [
            np.linalg.norm(ct.ijk_to_ras[:3, 0] - along_i) * ct.shape_kji[2],
            np.linalg.norm(ct.ijk_to_ras[:3, 1] - along_j) * ct.shape_kji[1],
            np.linalg.norm(ct.ijk_to_ras[:3, 3] - first),
        ]
        is_upward = np.cross(along_i, along_j) @ ct.ijk_to_ras[:3, 2] > 0
        if not is_upward or max(apart_mm) > SAME_PLACE * voxel_mm[:2].min():
            raise ValueError(ANOTHER_CT)

    def image_and_frame(self, k: int) -> tuple[Dataset, int | None]:
        """Which image shows slice k, and which frame of it, from 1."""
        if not self.frames:
            return self.images[k], None
        return self.images[0], self.frames.index(k) + 1


def _first_image(source: DicomSource, shape_kji: tuple[int, int, int]) -> tuple[Any, Any, Any]:
    """Steps along a row and a column of the first slice, and where it begins: RAS mm.

    ``ValueError`` where the images have another number or size than the CT's slices.
    """
    header = source.images[0]
    count = len(source.frames) or len(source.images)
    if (count, int(header.Rows), int(header.Columns)) != shape_kji:
        raise ValueError(ANOTHER_CT)
    measures = plane = position = header
    if source.frames:
        shared = header.SharedFunctionalGroupsSequence[0]
        frame = header.PerFrameFunctionalGroupsSequence[source.frames.index(0)]
        measures, plane = shared.PixelMeasuresSequence[0], shared.PlaneOrientationSequence[0]
        position = frame.PlanePositionSequence[0]
    row, column = np.array(plane.ImageOrientationPatient, float).reshape(2, 3) * LPS_SIGNS
    step_j, step_i = map(float, measures.PixelSpacing)
    first = np.array(position.ImagePositionPatient, float) * LPS_SIGNS
    return row * step_i, column * step_j, first


def require_highdicom() -> None:
    """``ValueError`` with what to install where highdicom is missing."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise ValueError(
            "Writing DICOM needs highdicom, which is missing; get it with: pip install"
            " 'livertumorseg[dicom]'."
        ) from None


def _header(image: DicomImage) -> Dataset:
    """The listed tags of a file."""
    import pydicom

    header = pydicom.dcmread(
        image.path, force=True, stop_before_pixels=True, specific_tags=list(TAGS)
    )
    for name in FILED_BY:
        header.setdefault(name, "")
    header.Modality = "CT"
    return header


def _placed(header: Dataset, image: DicomImage) -> Dataset:
    """An image with its position as it was read for the CT, however the header wrote it."""
    header.pop("NumberOfFrames", None)
    header.ImagePositionPatient = _decimals(image.position_lps_mm)
    header.ImageOrientationPatient = _decimals(image.orientation)
    _set_pixel_measures(header, image)
    return header


def _place_frames(header: Dataset, images: Sequence[DicomImage]) -> None:
    """The same for the frames of one file, in their order there."""
    from pydicom.dataset import Dataset

    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    _set_pixel_measures(measures, images[0])
    orientation.ImageOrientationPatient = _decimals(images[0].orientation)
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    header.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for image in images:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = _decimals(image.position_lps_mm)
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    header.PerFrameFunctionalGroupsSequence = frames


def _set_pixel_measures(place: Dataset, image: DicomImage) -> None:
    place.PixelSpacing = _decimals(image.spacing_ji_mm)
    thickness_mm = image.thickness_mm
    place.SliceThickness = None if thickness_mm is None else _decimals([thickness_mm])[0]


def _decimals(numbers: Sequence[float] | None) -> list[str]:
    """Numbers as DICOM decimal strings of at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(number)) for number in numbers or ()]


def _frame_order(slices: Sequence[DicomImage], header: Dataset) -> tuple[int, ...]:
    """Which slice each frame is; ``ValueError`` unless all slices are all frames of one file."""
    _refuse_nameless([header])
    by_frame = {image.frame: k for k, image in enumerate(slices)}
    is_whole = sorted(by_frame) == list(range(int(header.NumberOfFrames)))
    if len({image.path for image in slices}) > 1 or not is_whole:
        raise ValueError(
            "This CT is spread over several multi-frame files, or is one phase of such a file, and"
            " no DICOM result refers to these yet; leave out --dicom."
        )
    return tuple(by_frame[frame] for frame in sorted(by_frame))


def _refuse_nameless(images: Sequence[Dataset]) -> None:
    """An anonymizer may have blanked what a reference needs."""
    needed = (*REFERRED_TO, "FrameOfReferenceUID")
    lacking = sorted({name for name in needed for image in images if not image.get(name)})
    if len({str(image.get("SOPInstanceUID")) for image in images}) < len(images):
        lacking = lacking or ["own SOPInstanceUID"]  # all share one
    if lacking:
        raise ValueError(
            sentence(
                "Images of this series lack their {what}, so that no DICOM can refer to them;"
                " export the series again with its identifiers, or leave out --dicom.",
                what=", ".join(lacking),
            )
        )
