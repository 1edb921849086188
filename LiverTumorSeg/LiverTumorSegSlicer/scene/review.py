"""What a reader thinks of each lesion, and what becomes of its segment.

    undo = acceptLesion(segmentationNode, volumeNode, lesion)
    undo = rejectLesion(segmentationNode, volumeNode, lesion)
    undo = addLesion(segmentationNode, volumeNode, maskKji)
    undo()

The status is Slicer's own, of a segment; so a lesion that is reviewed gets a segment of its own. A
rejected one becomes liver again. What is undone is put back alone: what was drawn meanwhile stays.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
import vtk
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.lesions import LiverMeasures, lesion_rows, measures_to_dict
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .geometry import gridIn, worldIjkToRas
from .lesion_measures import MeasuredLesion
from .nodes import resultRecord
from .segment_map import mapSegments
from .segments import (
    ALGORITHM_NAME,
    ALGORITHM_TYPE,
    COLORS_RGB,
    LABELMAP,
    MODEL,
    NOTICE,
    ROLE,
    SHA256,
    TAG,
    VERSION,
    boxAround,
    makeLayer,
    rolesOf,
    segmentIds,
    tagOf,
    terminology,
)

NEW, ACCEPTED, REJECTED, ADDED = "", "accepted", "rejected", "added"  # as lesions.json has them
ADDED_TAG = TAG + "Added"
REJECTED_LESIONS = TAG + "Rejected"  # attribute: rows of the lesions a reader took out, as JSON

PROVENANCE = (MODEL, VERSION, SHA256, NOTICE, ALGORITHM_TYPE, ALGORITHM_NAME)
Undo = Callable[[], None]


def reviewOf(segment: Any) -> str:
    """A reader's verdict on the lesions of a segment, by Slicer's own status of it."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    status = logic.GetSegmentStatus(segment)
    if status == logic.Completed:
        return ACCEPTED
    if status == logic.Flagged:
        return REJECTED
    return ADDED if tagOf(segment, ADDED_TAG) else NEW


def rejectedLesions(segmentationNode: Any) -> list[dict[str, Any]]:
    """The lesions that a reader took out of a segmentation, as a record has them."""
    return list(json.loads(segmentationNode.GetAttribute(REJECTED_LESIONS) or "[]"))


def acceptLesion(segmentationNode: Any, volumeNode: Any, lesion: MeasuredLesion) -> Undo:
    """Note that a reader agrees: the lesion's own segment is completed."""
    segmentation = segmentationNode.GetSegmentation()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    before = logic.GetSegmentStatus(segmentation.GetSegment(lesion.segmentId))
    segmentId = _ownSegment(segmentationNode, volumeNode, lesion)
    logic.SetSegmentStatus(segmentation.GetSegment(segmentId), logic.Completed)

    def undo() -> None:
        segment = segmentation.GetSegment(segmentId)
        if segment is not None:
            logic.SetSegmentStatus(segment, before)

    return undo


def rejectLesion(segmentationNode: Any, volumeNode: Any, lesion: MeasuredLesion) -> Undo:
    """Take a lesion out: its voxels are liver again, and its row stays."""
    segmentation = segmentationNode.GetSegmentation()
    piece, isAlone = _pieceOf(segmentationNode, volumeNode, lesion)
    liver = _liverOf(segmentation)
    copy = slicer.vtkSegment()
    copy.DeepCopy(segmentation.GetSegment(lesion.segmentId))
    place = segmentIds(segmentation).index(lesion.segmentId)
    following = next(iter(segmentIds(segmentation)[place + 1 :]), "")
    isLast = sum(label is Label.TUMOR for label in rolesOf(segmentation).values()) == 1
    if isAlone and not isLast:
        segmentation.RemoveSegment(lesion.segmentId)
    else:
        takeOut(segmentationNode, lesion.segmentId, piece)
    if liver:
        putInto(segmentationNode, liver, piece)
    rows = rejectedLesions(segmentationNode)
    row = {**lesion_rows(LiverMeasures(0.0, 0.0, None, (lesion.lesion,)))[0], "review": REJECTED}
    _setRejected(segmentationNode, [*rows, row])

    def undo() -> None:
        if liver and segmentation.GetSegment(liver) is not None:
            takeOut(segmentationNode, liver, piece)
        if segmentation.GetSegment(lesion.segmentId) is None:
            segmentation.AddSegment(copy, lesion.segmentId, following)
        putInto(segmentationNode, lesion.segmentId, piece)
        _setRejected(segmentationNode, [r for r in rejectedLesions(segmentationNode) if r != row])

    return undo


def addLesion(segmentationNode: Any, volumeNode: Any, maskKji: np.ndarray) -> Undo:
    """Make a tumor segment of a mask on the CT's grid, which the liver gives away."""
    segmentation = segmentationNode.GetSegmentation()
    piece = makeLayer(maskKji.astype(np.uint8), gridIn(segmentationNode, volumeNode))
    liver = _liverOf(segmentation)
    if liver:
        takeOut(segmentationNode, liver, piece)
    segmentId = newTumor(segmentation, piece)
    segment = segmentation.GetSegment(segmentId)
    segment.SetTag(ADDED_TAG, "1")
    segment.SetTag(ALGORITHM_TYPE, "SEMIAUTOMATIC")
    segment.SetTag(ALGORITHM_NAME, "LiverTumorSeg")

    def undo() -> None:
        segmentation.RemoveSegment(segmentId)
        if liver and segmentation.GetSegment(liver) is not None:
            putInto(segmentationNode, liver, piece)

    return undo


def _ownSegment(segmentationNode: Any, volumeNode: Any, lesion: MeasuredLesion) -> str:
    """The segment that holds this lesion and no other; a new one where it shared one."""
    piece, isAlone = _pieceOf(segmentationNode, volumeNode, lesion)
    if isAlone:
        return lesion.segmentId
    segmentation = segmentationNode.GetSegmentation()
    before = segmentation.GetSegment(lesion.segmentId)
    takeOut(segmentationNode, lesion.segmentId, piece)
    return newTumor(segmentation, piece, before)


def _pieceOf(
    segmentationNode: Any, volumeNode: Any, lesion: MeasuredLesion
) -> tuple[vtk.vtkObject, bool]:
    """A lesion's voxels as an image, and whether its segment holds nothing else."""
    from scipy import ndimage

    found = mapSegments(segmentationNode, volumeNode)
    number = found.segmentIds.index(lesion.segmentId) + 1
    inSegment = found.numbersKji == number
    box = boxAround(inSegment)
    if box is None:
        raise ValueError(_("The lesion is not there any more; choose another one."))
    ras = np.array([*lesion.pointRasMm, 1.0])
    point = np.rint(np.linalg.inv(worldIjkToRas(volumeNode)) @ ras)[2::-1].astype(int)
    pieces, count = ndimage.label(inSegment[box], np.ones((3, 3, 3)))
    inBox = tuple(int(p) - side.start for p, side in zip(point, box, strict=True))
    if not all(0 <= p < n for p, n in zip(inBox, pieces.shape, strict=True)) or not pieces[inBox]:
        raise ValueError(_("The lesion is not there any more; choose another one."))
    maskKji = np.zeros(inSegment.shape, np.uint8)
    maskKji[box] = pieces == pieces[inBox]
    return makeLayer(maskKji, gridIn(segmentationNode, volumeNode)), count == 1


def _liverOf(segmentation: Any) -> str:
    roles = rolesOf(segmentation)
    return next((segmentId for segmentId, label in roles.items() if label is Label.LIVER), "")


def newTumor(segmentation: Any, piece: vtk.vtkObject, like: Any = None) -> str:
    """A tumor segment of its own, called as no other one is."""
    names = {segmentation.GetSegment(one).GetName() for one in segmentIds(segmentation)}
    numbered = (_("Tumor {number}").format(number=number) for number in range(1, len(names) + 2))
    name = next(one for one in numbered if one not in names)
    segment = slicer.vtkSegment()
    for tag in PROVENANCE if like is not None else ():
        segment.SetTag(tag, tagOf(like, tag))
    segment.SetName(name)
    segment.SetNameAutoGenerated(False)
    segment.SetColor([channel / 255 for channel in COLORS_RGB[Label.TUMOR]])
    segment.SetColorAutoGenerated(False)
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), terminology(Label.TUMOR))
    segment.SetTag(ROLE, Label.TUMOR.name.lower())
    segment.SetLabelValue(1)
    segment.AddRepresentation(LABELMAP, piece)
    segmentId = segmentation.GenerateUniqueSegmentID("Tumor")
    segmentation.AddSegment(segment, segmentId)
    return str(segmentId)


def takeOut(segmentationNode: Any, segmentId: str, piece: vtk.vtkObject) -> None:
    """Erase an image's voxels from a segment."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    others = _asSegment(segmentationNode, segmentId, piece, isInverted=True)
    extent = piece.GetExtent()
    logic.SetBinaryLabelmapToSegment(
        others, segmentationNode, segmentId, logic.MODE_MERGE_MIN, extent
    )


def putInto(segmentationNode: Any, segmentId: str, piece: vtk.vtkObject) -> None:
    """Give an image's voxels to a segment."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    voxels = _asSegment(segmentationNode, segmentId, piece, isInverted=False)
    logic.SetBinaryLabelmapToSegment(
        voxels, segmentationNode, segmentId, logic.MODE_MERGE_MAX, piece.GetExtent()
    )


def _asSegment(
    segmentationNode: Any, segmentId: str, piece: vtk.vtkObject, *, isInverted: bool
) -> vtk.vtkObject:
    """An image with the value that the segment has in its layer: Slicer compares with that."""
    value = segmentationNode.GetSegmentation().GetSegment(segmentId).GetLabelValue()
    mask = vtk_to_numpy(piece.GetPointData().GetScalars()) != 0
    values = np.where(mask != isInverted, value, 0).astype(np.uint8 if value < 256 else np.uint16)
    scalars = numpy_to_vtk(values, deep=True)
    scalars.SetName("ImageScalars")
    image = slicer.vtkOrientedImageData()
    image.ShallowCopy(piece)
    image.GetPointData().SetScalars(scalars)
    return image


def _setRejected(segmentationNode: Any, rows: list[dict[str, Any]]) -> None:
    segmentationNode.SetAttribute(REJECTED_LESIONS, json.dumps(rows))


def reviewedRecord(
    segmentationNode: Any, measures: LiverMeasures, lesions: tuple[MeasuredLesion, ...]
) -> dict[str, Any]:
    """lesions.json for a segmentation as it is now, with a reader's verdicts.

    The rest is that of the run; of a segmentation that no run has made there is no more.
    """
    segmentation = segmentationNode.GetSegmentation()
    numbers = measures_to_dict(measures)
    reviews = [reviewOf(segmentation.GetSegment(lesion.segmentId)) for lesion in lesions]
    known = {_placeOf(row): row for row in resultRecord(segmentationNode).get("lesions", [])}
    rows = [
        {**row, "implausible": known.get(_placeOf(row), {}).get("implausible"), "review": review}
        for row, review in zip(numbers["lesions"], reviews, strict=True)
    ]
    rejected = rejectedLesions(segmentationNode)
    return {
        "notice": _("For research only, not for diagnosis."),
        "warnings": [],
        **resultRecord(segmentationNode),
        **numbers,
        "lesions": rows,
        **({"rejected": rejected} if rejected else {}),
    }


def _placeOf(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(f"centroid_{axis}_mm") for axis in "ras")
