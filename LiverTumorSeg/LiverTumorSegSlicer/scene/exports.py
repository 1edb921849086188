"""A result as a file: NIfTI and .seg.nrrd by Slicer's storage nodes, DICOM SEG by its exporter."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import slicer
from LiverTumorSegLib.result.parts import PartMeasures, with_parts
from slicer.i18n import tr as _

from .file_writing import refuseExisting, writeBytesWhole, writeWhole
from .geometry import ijkToRas, isInScene, toMatrix
from .lesion_measures import measureSegments
from .nodes import readLabels
from .review import reviewedRecord
from .segment_map import mapSegments
from .segments import ALGORITHM_TYPE, isEdited

NIFTI_NAMES = (".nii", ".nii.gz")
LABELS_NAME, RECORD_NAME = "seg.nii.gz", "lesions.json"  # of a result folder
SEG_NRRD_NAMES = (".seg.nrrd",)
INSTANCE_UIDS = "DICOM.instanceUIDs"  # Slicer's attribute of volumes from its DICOM database
SERIES_DESCRIPTION = "Liver and tumors, for research only"  # DICOM allows 64 characters
EXPORTER_MODULE = "DICOMSegmentationPlugin"  # Slicer 5.12 and later, or QuantitativeReporting


def exportNifti(
    segmentationNode: Any, volumeNode: Any, path: str | Path, *, overwrite: bool = False
) -> None:
    """Write labels (0, 1 liver, 2 tumor) on the CT's grid, as its file has it.

    Transforms above the CT are left out, so that the labels fit the CT's own file.
    Raises ``ValueError`` for another ending, a file in the way, a full disk or a node that is gone.
    """
    target = _target(path, NIFTI_NAMES, overwrite)
    labelsKji = mapSegments(segmentationNode, volumeNode).labelsKji()
    labelmap = slicer.vtkMRMLLabelMapVolumeNode()  # in no scene: nothing flickers, nothing stays
    slicer.util.updateVolumeFromArray(labelmap, labelsKji)
    labelmap.SetIJKToRASMatrix(toMatrix(ijkToRas(volumeNode)))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    writeWhole(target, lambda part: _store(storage, labelmap, part))


def exportSegNrrd(segmentationNode: Any, path: str | Path, *, overwrite: bool = False) -> None:
    """Write the segmentation with names, colors and codes, for Slicer and other programs.

    Raises ``ValueError`` for another ending, a file in the way, a full disk or a node that is gone.
    """
    if not isInScene(segmentationNode):
        raise ValueError(_("The segmentation is not in the scene (any more); segment first."))
    target = _target(path, SEG_NRRD_NAMES, overwrite)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    writeWhole(target, lambda part: _store(storage, segmentationNode, part))


def exportResult(
    segmentationNode: Any, volumeNode: Any, folder: str | Path, parts: PartMeasures | None = None
) -> None:
    """Write what ``livertumorseg report`` and ``compare`` read: the labels, and lesions.json with
    the numbers of now and the reader's opinions. parts: of this liver, as measured now.

    Raises ``ValueError`` for files in the way, a full disk or a node that is gone.
    """
    labelsPath, recordPath = Path(folder) / LABELS_NAME, Path(folder) / RECORD_NAME
    for target in (labelsPath, recordPath):
        refuseExisting(target, overwrite=False)
    measures, lesions = measureSegments(segmentationNode, volumeNode)
    record = reviewedRecord(segmentationNode, measures, lesions)
    record = with_parts(record, parts, readLabels(segmentationNode, volumeNode))
    text = json.dumps(record, indent=1) + "\n"
    exportNifti(segmentationNode, volumeNode, labelsPath)
    writeBytesWhole(recordPath, text.encode("utf-8"))


def exportDicomSeg(
    segmentationNode: Any,
    volumeNode: Any,
    folder: str | Path,
    *,
    findExporter: Callable[[], Any] | None = None,
) -> Path:
    """Write the liver and tumor segments as DICOM SEG and list it in the DICOM database.

    Empty segments are left out. Edited segments are marked as semi-automatic.
    Returns the file. Raises ``ValueError`` with what is missing: a CT from the DICOM database, its
    files, the exporter, a segment with voxels.
    """
    whyNot = whyNoDicomSeg(volumeNode)
    if whyNot:
        raise ValueError(whyNot)
    _refuseOtherReference(segmentationNode, volumeNode)
    exporterClass = (findExporter or findDicomExporter)()
    filled = _filledSegments(segmentationNode, volumeNode)
    target = Path(folder) / f"LiverTumorSeg_{datetime.now():%Y%m%d_%H%M%S}.dcm"
    refuseExisting(target, overwrite=False)
    exporter = exporterClass(segmentationNode)
    try:
        metadata = {"SeriesDescription": SERIES_DESCRIPTION}
        exporter.export(str(target.parent), target.name, metadata, filled, skipEmpty=True)
    except Exception as error:  # of whatever kind Slicer's exporter and its tools raise
        target.unlink(missing_ok=True)
        raise ValueError(
            _("Slicer's DICOM exporter stopped ({reason}); export as .seg.nrrd instead.").format(
                reason=error
            )
        ) from error
    finally:
        exporter.cleanup()
    slicer.dicomDatabase.insert(str(target))
    return target


def writeDicomPair(folder: Path, name: str, seg: bytes, report: bytes) -> None:
    """Write a DICOM SEG and the report that refers to it, and list them in the DICOM database.

    Both or none: ``ValueError`` for a file in the way, a folder that is gone or a full disk.
    """
    files = {folder / f"{name}.dcm": seg, folder / f"{name}_report.dcm": report}
    for target in files:
        refuseExisting(target, overwrite=False)
    written: list[Path] = []
    try:
        for target, data in files.items():
            writeBytesWhole(target, data)
            written.append(target)
    except ValueError:
        for target in written:
            target.unlink(missing_ok=True)
        raise
    for target in files:
        slicer.dicomDatabase.insert(str(target))


def dicomFiles(volumeNode: Any) -> list[str]:
    """The CT's files in Slicer's DICOM database; where ``whyNoDicomSeg`` finds none missing."""
    uids = _instanceUids(volumeNode)
    return sorted({str(slicer.dicomDatabase.fileForInstance(uid)) for uid in uids})


def _instanceUids(volumeNode: Any) -> list[str]:
    return (volumeNode.GetAttribute(INSTANCE_UIDS) or "").split()


def whyNoDicomSeg(volumeNode: Any) -> str:
    """Why a result on this CT cannot become a DICOM SEG, one sentence; empty when it can."""
    uids = _instanceUids(volumeNode) if isInScene(volumeNode) else []
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None:
        return _(
            "DICOM SEG refers to the CT's DICOM files, and this CT was not loaded from Slicer's "
            "DICOM database; load it with the DICOM module, or export as NIfTI or .seg.nrrd."
        )
    missing = sum(not database.fileForInstance(uid) for uid in uids)
    if missing:
        return _(
            "{missing} of the CT's {count} DICOM files are not in Slicer's DICOM database any "
            "more; import them again, or export as NIfTI or .seg.nrrd."
        ).format(missing=missing, count=len(uids))
    return ""


def findDicomExporter() -> Any:
    """Slicer's class that writes DICOM SEG. ``ValueError`` where there is none."""
    try:
        return importlib.import_module(EXPORTER_MODULE).DICOMSegmentationExporter
    except (ImportError, AttributeError):
        raise ValueError(
            _(
                "This Slicer has no DICOM SEG exporter; use Slicer 5.12 or later, or install the "
                "extension QuantitativeReporting, or export as NIfTI or .seg.nrrd."
            )
        ) from None


def _refuseOtherReference(segmentationNode: Any, volumeNode: Any) -> None:
    """Slicer's exporter takes the DICOM files from the volume that the segmentation refers to."""
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    if not isInScene(segmentationNode) or segmentationNode.GetNodeReference(role) is not volumeNode:
        raise ValueError(
            _(
                "This segmentation was drawn on another volume; segment the CT into a new "
                "segmentation and export that."
            )
        )


def _filledSegments(segmentationNode: Any, volumeNode: Any) -> list[str]:
    """Liver and tumor segments with voxels on the CT; an edited one is no longer automatic."""
    found = mapSegments(segmentationNode, volumeNode)
    segmentation = segmentationNode.GetSegmentation()
    filled = [
        key for number, key in enumerate(found.segmentIds, 1) if (found.numbersKji == number).any()
    ]
    if not filled:
        raise ValueError(_("There is nothing to export: no liver and no tumor is marked."))
    for segmentId in filled:
        segment = segmentation.GetSegment(segmentId)
        if isEdited(segment) and segment.HasTag(ALGORITHM_TYPE):
            segment.SetTag(ALGORITHM_TYPE, "SEMIAUTOMATIC")
    return filled


def _target(path: str | Path, names: tuple[str, ...], overwrite: bool) -> Path:
    target = Path(path)
    if not target.name.lower().endswith(names):
        raise ValueError(
            _("{name} must end in {endings}; name the file so.").format(
                name=target.name, endings=_(" or ").join(names)
            )
        )
    refuseExisting(target, overwrite)
    return target


def _store(storageNode: Any, node: Any, path: Path) -> None:
    """Write with a storage node of Slicer's, which returns only whether it succeeded."""
    storageNode.SetFileName(str(path))
    if not storageNode.WriteData(node):
        raise OSError(_("Slicer could not write the file"))
