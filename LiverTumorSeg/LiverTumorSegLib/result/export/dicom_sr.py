"""A result's numbers as a DICOM structured report, TID 1500 "Measurement Report".

One group for the organ (volume with its tumors, tumor volume, burden), and one for each lesion,
which refers to its segment in the DICOM SEG and to the CT's images that show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from LiverTumorSegLib import __version__
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.lesions import lesion_rows, measures_to_dict

from .dicom_seg import DESCRIPTION, MAKER, UNKNOWN_ORIGIN, code, new_series, serial_number
from .dicom_source import DicomSource
from .segments import Segment, SegmentedCase

if TYPE_CHECKING:
    from highdicom.seg import Segmentation
    from highdicom.sr import Comprehensive3DSR

OURS = "99LTS"  # codes that DICOM and SNOMED have none for
OUR_SCHEME = "LiverTumorSeg's own codes"
TUMOR_VOLUME = ("tumor-volume", "Volume of all tumors")
BURDEN = ("tumor-burden", "Tumors in percent of liver with tumors")
PLAUSIBILITY = ("plausibility", "Plausibility")
MILLILITER = ("mL", "milliliter")
LONGEST_MEANING = 64


def make_sr(case: SegmentedCase, source: DicomSource, seg: Segmentation) -> Comprehensive3DSR:
    """The dataset, which refers to this SEG."""
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import Comprehensive3DSR, MeasurementReport
    from pydicom.sr.codedict import codes

    lesions = [
        _lesion_group(segment, case, source, seg) for segment in case.segments if segment.lesion
    ]
    report = MeasurementReport(
        observation_context=_observer(case),
        procedure_reported=code(("25045-6", "CT unspecified body region"), "LN"),
        imaging_measurements=[_organ_group(case), *lesions],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return Comprehensive3DSR(
        evidence=[*source.images, seg],
        content=report,
        **new_series(case, source, 2),
        is_complete=True,
        coding_schemes=[CodingSchemeIdentificationItem(OURS, name=OUR_SCHEME)],
    )


def _observer(case: SegmentedCase) -> Any:
    """The software: no person has looked."""
    import highdicom
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext
    from highdicom.sr import ObserverContext as Observer
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=highdicom.UID(),
        name=DESCRIPTION,
        manufacturer_name=MAKER,
        model_name=f"{MAKER} {__version__}",
        serial_number=serial_number(case),
    )
    return ObservationContext(observer_device_context=Observer(codes.DCM.Device, device))


def _algorithm(case: SegmentedCase) -> Any:
    from highdicom.sr import AlgorithmIdentification

    if not case.model:
        return AlgorithmIdentification(UNKNOWN_ORIGIN, "unknown")
    return AlgorithmIdentification(
        str(case.model["model"]),
        str(case.model["version"]),
        parameters=[f"sha256={serial_number(case)}"],
        manufacturer=MAKER,
    )


def _organ_group(case: SegmentedCase) -> Any:
    from highdicom.sr import (
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        TrackingIdentifier,
    )
    from pydicom.sr.codedict import codes

    values = measures_to_dict(case.measures)
    milliliter = code(MILLILITER, "UCUM")
    numbers = [
        Measurement(codes.SCT.Volume, values["liver_volume_ml"], milliliter),
        Measurement(code(TUMOR_VOLUME, OURS), values["tumor_volume_ml"], milliliter),
    ]
    if values["burden_percent"] is not None:
        percent = codes.UCUM.Percent
        numbers.append(Measurement(code(BURDEN, OURS), values["burden_percent"], percent))
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(identifier="Liver with its tumors"),
        finding_type=code(Label.LIVER.snomed),
        algorithm_id=_algorithm(case),
        measurements=numbers,
    )


def _lesion_group(
    segment: Segment, case: SegmentedCase, source: DicomSource, seg: Segmentation
) -> Any:
    from highdicom.sr import (
        FindingSite,
        Measurement,
        QualitativeEvaluation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom.sr.codedict import codes

    assert segment.lesion is not None
    row: dict[str, Any] = lesion_rows(case.measures)[segment.lesion.number - 1]
    millimeter = codes.UCUM.Millimeter
    numbers = [
        Measurement(codes.SCT.Volume, row["volume_ml"], code(MILLILITER, "UCUM")),
        Measurement(codes.SCT.LongAxis, row["longest_axial_diameter_mm"], millimeter),
        Measurement(codes.SCT.ShortAxis, row["perpendicular_diameter_mm"], millimeter),
    ]
    if row["mean_hu"] is not None:
        name, unit = codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit
        numbers.append(Measurement(name, row["mean_hu"], unit, derivation=codes.SCT.Mean))
    doubts = []
    if row["implausible"] is not None:
        reason = f"Hardly a tumor: {row['implausible']}"[:LONGEST_MEANING]
        doubt = code(("hardly-a-tumor", reason), OURS)
        doubts.append(QualitativeEvaluation(code(PLAUSIBILITY, OURS), doubt))
    uid = seg.SegmentSequence[segment.number - 1].TrackingUID
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=uid, identifier=segment.name),
        referenced_segment=_referenced(segment, case, source, seg),
        finding_type=code(Label.TUMOR.snomed),
        finding_sites=[FindingSite(code(Label.LIVER.snomed))],
        algorithm_id=_algorithm(case),
        measurements=numbers,
        qualitative_evaluations=doubts or None,
    )


def _referenced(
    segment: Segment, case: SegmentedCase, source: DicomSource, seg: Segmentation
) -> Any:
    """A segment, and the images that show it."""
    from highdicom.sr import ReferencedSegment, SourceImageForSegmentation

    shown = np.flatnonzero((case.values_kji == segment.number).any(axis=(1, 2)))
    places = [source.image_and_frame(int(k)) for k in shown]
    if source.frames:
        frames = sorted(frame for _, frame in places if frame is not None)
        places = [(source.images[0], None)]
    images = [
        SourceImageForSegmentation(
            image.SOPClassUID, image.SOPInstanceUID, frames if source.frames else None
        )
        for image, _ in places
    ]
    return ReferencedSegment(
        sop_class_uid=seg.SOPClassUID,
        sop_instance_uid=seg.SOPInstanceUID,
        segment_number=segment.number,
        source_images=images,
    )
