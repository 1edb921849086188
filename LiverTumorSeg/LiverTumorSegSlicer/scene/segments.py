"""Segments of liver and tumor: made from a label map, recognized again, checked for edits.

*Liver* is the liver without its tumors and *Tumor* the tumors, in one shared layer: no voxel is
in both. So Segment Editor's "editable area: inside Liver" does what a reader expects: painting
tumor takes from the liver and erasing tumor gives back to it. Liver volumes count both segments.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.lesions import label_lesions
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .geometry import toMatrix

LABELMAP, CLOSED_SURFACE = "Binary labelmap", "Closed surface"  # Slicer's own representations
TAG = "LiverTumorSeg."
ROLE, WRITTEN_NAME, FINGERPRINT = TAG + "Role", TAG + "WrittenName", TAG + "Fingerprint"
MODEL, VERSION, SHA256, NOTICE = (TAG + n for n in ("Model", "Version", "Sha256", "Notice"))
ALGORITHM_TYPE, ALGORITHM_NAME = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"

CATEGORIES = "Segmentation category and type - DICOM master list"
REGIONS = "Anatomic codes - DICOM master list"
NO_CODE = "^^"
ANATOMY = "SCT^123037004^Anatomical Structure"
ABNORMALITY = "SCT^49755003^Morphologically Altered Structure"
LIVER_CODE = Label.LIVER.snomed[0]
# Neoplasm; then what other programs and people call a liver tumor: mass, lesion, primary tumor.
TUMOR_CODES = (Label.TUMOR.snomed[0], "4147007", "52988006", "86049000")
UNDECIDED_CODES = ("", "85756007")  # no code, and the Tissue that Segment Editor gives to all
NAMES = {
    Label.LIVER: re.compile(r"liver[\s_#-]*\d*", re.IGNORECASE),
    Label.TUMOR: re.compile(r"(tumou?r|lesion|metastasis|neoplasm)s?[\s_#-]*\d*", re.IGNORECASE),
}
# The liver as Slicer's own terminology colors it, so that it looks as other extensions' livers do;
# a neoplasm has no color there.
COLORS_RGB = {Label.LIVER: (221, 130, 101), Label.TUMOR: Label.TUMOR.color_rgb}
SAME_PLACE_MM = 0.01
FILL_2D = {Label.LIVER: 0.2, Label.TUMOR: 0.4}  # opacity inside the outline


@dataclass(frozen=True)
class Provenance:
    """Which model made a result; empty where the record does not say."""

    model: str = ""
    version: str = ""
    sha256: str = ""
    notice: str = ""

    @classmethod
    def of(cls, record: dict[str, Any]) -> Provenance:
        """The origin of segments, from a run's record (``lesions.json``)."""
        model = record.get("model") or {}
        texts = (model.get("model"), model.get("version"), model.get("sha256"))
        return cls(*(_plain(text) for text in texts), _plain(record.get("notice")))

    def tags(self) -> dict[str, str]:
        """The provenance as segment tags; the DICOM ones go into a DICOM SEG that is exported."""
        name = " ".join(("LiverTumorSeg", self.model, self.version)).strip()
        return {
            MODEL: self.model,
            VERSION: self.version,
            SHA256: self.sha256,
            NOTICE: self.notice,
            ALGORITHM_TYPE: "AUTOMATIC",
            ALGORITHM_NAME: name,
        }


def _plain(word: Any) -> str:
    """A bar would end the tag when Slicer writes it to a .seg.nrrd file."""
    return "" if word is None else str(word).replace("|", "/")


@dataclass(frozen=True)
class _Part:
    """One segment to be made: its voxels carry ``value`` in the shared layer."""

    name: str
    label: Label
    value: int
    voxels: int


def makeSegments(
    labelsKji: np.ndarray, grid: np.ndarray, provenance: Provenance, onePerLesion: bool
) -> list[vtk.vtkObject]:
    """Segments of a label map, liver first, in one shared layer; not in any node yet.

    labelsKji: uint8 ``(k, j, i)`` of :class:`Label`. grid: ``(4, 4)``, voxel i, j, k to mm.
    onePerLesion: a segment for each connected lesion, largest first, else one for all tumors.
    A segment without voxels says that none was found; it has an empty layer of its own, by
    which Slicer's exporters know it.
    """
    valuesKji, parts = _separateLesions(labelsKji) if onePerLesion else (labelsKji, [])
    parts = parts or _twoParts(labelsKji)
    layer, empty = makeLayer(valuesKji, grid), makeLayer(np.zeros((1, 1, 1), np.uint8), grid)
    return [_makeSegment(part, layer if part.voxels else empty, provenance) for part in parts]


def _twoParts(labelsKji: np.ndarray) -> list[_Part]:
    counts = [int(np.count_nonzero(labelsKji == label)) for label in (Label.LIVER, Label.TUMOR)]
    return [
        _Part(_("Liver"), Label.LIVER, int(Label.LIVER), counts[0]),
        _Part(_("Tumor"), Label.TUMOR, int(Label.TUMOR), counts[1]),
    ]


def _separateLesions(labelsKji: np.ndarray) -> tuple[np.ndarray, list[_Part]]:
    """Label values with a number for each lesion, and the parts; no parts without a lesion."""
    isTumor = labelsKji == Label.TUMOR
    box = boxAround(isTumor)
    if box is None:
        return labelsKji, []
    components, count = label_lesions(labelsKji[box])
    voxels = np.bincount(components.ravel(), minlength=count + 1)
    largestFirst = 1 + np.argsort(-voxels[1:], kind="stable")
    values = np.zeros(count + 1, np.uint8 if count < 254 else np.uint16)
    values[largestFirst] = Label.TUMOR + np.arange(count)
    valuesKji = labelsKji.astype(values.dtype)
    valuesKji[isTumor] = values[components[isTumor[box]]]
    parts = _twoParts(labelsKji)[:1]
    for number, component in enumerate(largestFirst, start=1):
        name = _("Tumor {number}").format(number=number)
        parts.append(_Part(name, Label.TUMOR, number + 1, int(voxels[component])))
    return valuesKji, parts


def makeLayer(
    valuesKji: np.ndarray, grid: np.ndarray, first: tuple[int, int, int] = (0, 0, 0)
) -> vtk.vtkObject:
    """A ``vtkOrientedImageData`` of the box around all that is not 0; empty without any.

    first: index ``(k, j, i)`` on the grid of the first of the values.
    """
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(toMatrix(grid))
    box = boxAround(valuesKji)
    if box is None:
        image.SetExtent(0, -1, 0, -1, 0, -1)
        return image
    sides = [(side.start + n, side.stop + n - 1) for side, n in zip(box, first, strict=True)]
    extent = [edge for side in reversed(sides) for edge in side]
    image.SetExtent(extent)
    flat = np.ascontiguousarray(valuesKji[box]).reshape(-1)
    scalars = numpy_to_vtk(flat, deep=True)
    scalars.SetName("ImageScalars")  # Slicer's exporters ask for it by this name
    image.GetPointData().SetScalars(scalars)
    return image


def boxAround(valuesKji: np.ndarray) -> tuple[slice, slice, slice] | None:
    """The smallest box ``(k, j, i)`` that holds all values other than 0; None without any."""
    planes = np.flatnonzero(valuesKji.any(axis=(1, 2)))
    if not planes.size:
        return None
    flat = np.bitwise_or.reduce(valuesKji[planes[0] : planes[-1] + 1], axis=0)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    k, j, i = (slice(int(edge[0]), int(edge[-1]) + 1) for edge in (planes, rows, columns))
    return k, j, i


def _makeSegment(part: _Part, layer: vtk.vtkObject, provenance: Provenance) -> vtk.vtkObject:
    segment = slicer.vtkSegment()
    segment.SetName(part.name)
    segment.SetColor([channel / 255 for channel in COLORS_RGB[part.label]])
    segment.SetNameAutoGenerated(False)
    segment.SetColorAutoGenerated(False)
    segment.SetLabelValue(part.value)
    segment.AddRepresentation(LABELMAP, layer)
    tags = {
        slicer.vtkSegment.GetTerminologyEntryTagName(): terminology(part.label),
        ROLE: part.label.name.lower(),
        WRITTEN_NAME: _plain(part.name),
        FINGERPRINT: fingerprint(segment),
        **provenance.tags(),
    }
    for name, text in tags.items():
        segment.SetTag(name, text)
    return segment


def terminology(label: Label) -> str:
    """Slicer's terminology entry of a label: SNOMED CT codes from the DICOM master list."""
    code = "SCT^{}^{}".format(*label.snomed)
    if label is Label.LIVER:
        parts = (CATEGORIES, ANATOMY, code, NO_CODE, REGIONS, NO_CODE, NO_CODE)
    else:
        liver = "SCT^{}^{}".format(*Label.LIVER.snomed)
        parts = (CATEGORIES, ABNORMALITY, code, NO_CODE, REGIONS, liver, NO_CODE)
    return "~".join(parts)


def tagOf(segment: vtk.vtkObject, name: str) -> str:
    """A segment's tag; the empty text where it has none."""
    text = vtk.reference("")
    return str(text) if segment.GetTag(name, text) else ""


def segmentIds(segmentation: vtk.vtkObject) -> list[str]:
    """All segment identifiers, in the order of the list that people see."""
    return [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]


def rolesOf(segmentation: vtk.vtkObject) -> dict[str, Label]:
    """The segments that are liver or tumor, by identifier, in their order.

    Our own tag decides, whatever a segment is called by now; then its terminology (a tumor of
    another organ is none of ours); then, for terminology that leaves it open, its name.
    """
    found = {}
    for segmentId in segmentIds(segmentation):
        label = _roleOf(segmentation.GetSegment(segmentId))
        if label is not None:
            found[segmentId] = label
    return found


def _roleOf(segment: vtk.vtkObject) -> Label | None:
    role = tagOf(segment, ROLE)
    if role:
        return Label[role.upper()] if role.upper() in ("LIVER", "TUMOR") else None
    entry = tagOf(segment, slicer.vtkSegment.GetTerminologyEntryTagName()).split("~")
    kind, region = _codeIn(entry, 2), _codeIn(entry, 5)
    if kind == LIVER_CODE:
        return Label.LIVER
    if kind in TUMOR_CODES:
        return Label.TUMOR if region in ("", LIVER_CODE) else None
    if kind not in UNDECIDED_CODES:
        return None
    name = (segment.GetName() or "").strip()
    return next((label for label, pattern in NAMES.items() if pattern.fullmatch(name)), None)


def _codeIn(entry: list[str], place: int) -> str:
    """The code of one word (scheme^code^meaning) of a terminology entry; empty when left out."""
    word = entry[place].split("^") if place < len(entry) else []
    return word[1] if len(word) > 1 else ""


def exchangeSegments(segmentation: vtk.vtkObject, new: Iterable[tuple[str, vtk.vtkObject]]) -> None:
    """Put segments, with identifiers, in place of all liver and tumor segments there are.

    Other segments stay, and so does the order. 3D surfaces go: making new ones takes seconds,
    and they are made on request only.
    """
    old = list(rolesOf(segmentation))
    following = _firstAfter(segmentation, old)
    segmentation.RemoveRepresentation(CLOSED_SURFACE)
    for segmentId in old:
        segmentation.RemoveSegment(segmentId)
    for segmentId, segment in new:
        if not segmentation.AddSegment(segment, segmentId, following):
            raise RuntimeError(f"Slicer did not accept the segment {segmentId}.")


def _firstAfter(segmentation: vtk.vtkObject, ours: list[str]) -> str:
    """The first other segment behind the first of ours; empty for the end of the list."""
    everyId = segmentIds(segmentation)
    start = everyId.index(ours[0]) if ours else len(everyId)
    return next((segmentId for segmentId in everyId[start:] if segmentId not in ours), "")


def layerArray(image: vtk.vtkObject) -> tuple[np.ndarray, tuple[int, int, int]]:
    """A layer's voxels ``(k, j, i)``, not copied, and the grid index of the first of them."""
    extent = image.GetExtent()
    start, shape = extent[4::-2], [extent[a + 1] - extent[a] + 1 for a in (4, 2, 0)]
    scalars = image.GetPointData().GetScalars()
    if scalars is None or min(shape) < 1:
        return np.zeros((0, 0, 0), np.uint8), start
    return vtk_to_numpy(scalars).reshape(shape), start


def fingerprint(segment: vtk.vtkObject) -> str:
    """A short text of a segment's content and place; the same after saving and loading."""
    image = segment.GetRepresentation(LABELMAP)
    if image is None:
        return "no labelmap"
    valuesKji, start = layerArray(image)
    mask = valuesKji == segment.GetLabelValue()
    box = boxAround(mask)
    if box is None:
        return "empty"
    digest = hashlib.sha256(repr(mask[box].shape).encode())
    digest.update(np.packbits(mask[box]).tobytes())
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    grid = slicer.util.arrayFromVTKMatrix(matrix)
    corners = np.array([[side.start for side in box], [side.stop for side in box]]) + start
    cornersMm = corners[:, ::-1] @ grid[:3, :3].T + grid[:3, 3]
    return " ".join([digest.hexdigest(), *(f"{mm:.3f}" for mm in cornersMm.ravel())])


def isEdited(segment: vtk.vtkObject) -> bool:
    """Whether a person made, changed, renamed or reviewed this segment since the run wrote it.

    Slicer's own segment status tells (Segment Editor and the status column set it), and the
    content against what the run noted, for changes that leave the status alone.
    """
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if logic.GetSegmentStatus(segment) != logic.NotStarted:
        return True
    if tagOf(segment, WRITTEN_NAME) != _plain(segment.GetName()):
        return True
    return not _isSame(tagOf(segment, FINGERPRINT), fingerprint(segment))


def _isSame(noted: str, present: str) -> bool:
    notedDigest, *notedMm = noted.split(" ")
    presentDigest, *presentMm = present.split(" ")
    if notedDigest != presentDigest or len(notedMm) != len(presentMm):
        return False
    return all(
        abs(float(a) - float(b)) <= SAME_PLACE_MM for a, b in zip(notedMm, presentMm, strict=True)
    )


def showForReview(segmentationNode: Any) -> None:
    """Clear outlines, faint filling: through a result the CT must be seen to judge it."""
    display = segmentationNode.GetDisplayNode()
    for segmentId, label in rolesOf(segmentationNode.GetSegmentation()).items():
        display.SetSegmentOpacity2DFill(segmentId, FILL_2D[label])
        display.SetSegmentOpacity2DOutline(segmentId, 1.0)
