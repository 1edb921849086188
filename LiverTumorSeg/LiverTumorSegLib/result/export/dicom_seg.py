"""A result as DICOM SEG: the liver and one segment a lesion, with SNOMED codes and the algorithm.

By highdicom, which the DICOM standard's own tables stand in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from LiverTumorSegLib import __version__
from LiverTumorSegLib.labels import Label

from .dicom_source import DicomSource
from .segments import Segment, SegmentedCase

if TYPE_CHECKING:
    from highdicom.seg import Segmentation

MAKER = "LiverTumorSeg"
DESCRIPTION = "LiverTumorSeg, for research only, not for diagnosis"  # at most 64 characters
UNKNOWN_ORIGIN = "Label map of unknown origin"
SNOMED = "SCT"


def make_seg(case: SegmentedCase, source: DicomSource) -> Segmentation:
    """The dataset, with segment numbers as in the case; empty planes are left out."""
    import highdicom
    from highdicom.seg import Segmentation, SegmentationTypeValues

    values = case.values_kji[list(source.frames)] if source.frames else case.values_kji
    tracking = {segment.number: highdicom.UID() for segment in case.segments}
    return Segmentation(
        source_images=list(source.images),
        pixel_array=np.ascontiguousarray(values),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(segment, case, str(tracking[segment.number])) for segment in case.segments
        ],
        **new_series(case, source, 1),
        content_description=DESCRIPTION,
        content_label="LIVER_TUMOR",
    )


def new_series(case: SegmentedCase, source: DicomSource, place: int) -> dict[str, Any]:
    """The attributes of a new DICOM series that SEG and SR share.

    place: from 1, of the series beside the CT's in a list: series 4 has 401 and 402.
    """
    import highdicom

    return {
        "series_instance_uid": highdicom.UID(),
        "series_number": min(source.series_number, 10**6) * 100 + place,
        "sop_instance_uid": highdicom.UID(),
        "instance_number": 1,
        "manufacturer": MAKER,
        "manufacturer_model_name": MAKER,
        "software_versions": __version__,
        "device_serial_number": serial_number(case),
        "series_description": DESCRIPTION,
    }


def serial_number(case: SegmentedCase) -> str:
    """The model's SHA-256, which is 64 characters, as many as DICOM allows."""
    return str((case.model or {}).get("sha256") or "none")


def code(pair: tuple[str, str], scheme: str = SNOMED) -> Any:
    """A code and its meaning as DICOM wants them."""
    from pydicom.sr.coding import Code

    value, meaning = pair
    return Code(value, scheme, meaning)


def _description(segment: Segment, case: SegmentedCase, tracking_uid: str) -> Any:
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription

    is_tumor = segment.label is Label.TUMOR
    return SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.name,
        segmented_property_category=code(segment.label.category),
        segmented_property_type=code(segment.label.snomed),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC
        if case.model and not case.edited
        else SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=_algorithm(case),
        tracking_uid=tracking_uid,
        tracking_id=segment.name,
        anatomic_regions=[code(Label.LIVER.snomed)] if is_tumor else None,
        display_color=CIELabColor.from_rgb(*segment.label.color_rgb),
    )


def _algorithm(case: SegmentedCase) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from pydicom.sr.codedict import codes

    if not case.model:
        return AlgorithmIdentificationSequence(
            name=UNKNOWN_ORIGIN, family=codes.DCM.ManualProcessing, version="unknown"
        )
    return AlgorithmIdentificationSequence(
        name=str(case.model["model"]),
        family=codes.DCM.ArtificialIntelligence,
        version=str(case.model["version"]),
        source=f"{MAKER} {__version__}",
        parameters={"sha256": serial_number(case)},
    )
