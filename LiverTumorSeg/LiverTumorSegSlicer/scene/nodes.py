"""Between MRML nodes and arrays: a CT out of a volume node, a result into a segmentation node.

    ct = readVolume(volumeNode)
    node = writeSegmentation(labelsKji, volumeNode, record)
    labelsKji = readLabels(node, volumeNode)
    removeResult(node)

Arrays are ``(k, j, i)``, as Slicer's own. Nothing touches the scene until all that can be refused
has been refused, and a failure half-way puts everything back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import vtk
from LiverTumorSegLib.labels import Label
from slicer.i18n import tr as _

from .geometry import gridIn, ijkToRas, isInScene, placeBeside, removeFromScene
from .segment_map import mapSegments
from .segments import (
    MODEL,
    NOTICE,
    ROLE,
    SHA256,
    TAG,
    VERSION,
    Provenance,
    exchangeSegments,
    isEdited,
    makeSegments,
    rolesOf,
    segmentIds,
    tagOf,
)
from .volumes import checkVolume, readVolume, refuseWrongNode

__all__ = [
    "EditedSegmentsError",
    "checkVolume",
    "hasEditedSegments",
    "hasResult",
    "readLabels",
    "readVolume",
    "removeResult",
    "resultRecord",
    "writeSegmentation",
]

RECORD = TAG + "Record"  # attribute: what the run said of itself, as JSON
MADE_BY_RUN = TAG + "MadeByRun"  # attribute: the node itself came with a run
WRITTEN = TAG + "Written"  # attribute: names of the segments it wrote, by identifier, as JSON


class EditedSegmentsError(ValueError):
    """A person edited segments that would be lost. ``names``: which, as people see them."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        super().__init__(
            _(
                "These segments were edited and would be lost: {names}. Choose a new segmentation "
                "for the result, or confirm that the edits may go."
            ).format(names=", ".join(names))
        )


def writeSegmentation(
    labelsKji: np.ndarray,
    volumeNode: Any,
    record: dict[str, Any],
    *,
    segmentationNode: Any = None,
    onePerLesion: bool = False,
    discardEdits: bool = False,
) -> Any:
    """Put a run's labels into the scene, into a new segmentation node by default; the node.

    labelsKji: uint8 ``(k, j, i)`` of :class:`Label` on the grid of ``volumeNode``.
    record: what the run left (``lesions.json``): model, version, checksum, warnings.
    segmentationNode: its liver and tumor segments are replaced, its others are left alone.
    onePerLesion: a segment for each lesion, largest first, instead of one for all tumors.
    discardEdits: the user has agreed that edited segments may be replaced.
    Raises ``EditedSegmentsError`` without that, and ``ValueError`` when a node is gone (deleted,
    or the scene closed) or the labels do not fit; the scene is then as it was.
    """
    refuseWrongNode(volumeNode)
    _refuseWrongLabels(labelsKji, volumeNode)
    isNew = segmentationNode is None
    if not isNew:
        _refuseWrongSegmentation(segmentationNode)
        _refuseEdited(segmentationNode, discardEdits)
    hasOthers = not isNew and _hasOtherSegments(segmentationNode)
    grid = gridIn(segmentationNode, volumeNode) if hasOthers else ijkToRas(volumeNode)
    segments = makeSegments(labelsKji, grid, Provenance.of(record), onePerLesion)
    if isNew:
        return _writeNew(segments, volumeNode, record)
    before = _Before(segmentationNode)
    with _undoneOnFailure(before.putBack):
        _fill(segmentationNode, segments, volumeNode, record, hasOthers)
    return segmentationNode


def removeResult(segmentationNode: Any, *, discardEdits: bool = False) -> Any | None:
    """Take the liver and tumor segments of a run away.

    The node itself goes when a run made it and nothing else is in it; then None is returned.
    Raises ``EditedSegmentsError`` when edits would be lost and the user has not agreed, and
    ``ValueError`` when there is no result to remove.
    """
    _refuseWrongSegmentation(segmentationNode)
    if not hasResult(segmentationNode):
        raise ValueError(_("This segmentation holds no result of a run; select one that does."))
    _refuseEdited(segmentationNode, discardEdits)
    if segmentationNode.GetAttribute(MADE_BY_RUN) and not _hasOtherSegments(segmentationNode):
        removeFromScene(segmentationNode)
        return None
    exchangeSegments(segmentationNode.GetSegmentation(), [])
    _setAttributes(segmentationNode, {})
    return segmentationNode


def readLabels(segmentationNode: Any, volumeNode: Any) -> np.ndarray:
    """The liver and tumor segments as uint8 ``(k, j, i)`` of :class:`Label` on the CT's own grid.

    Hidden segments count; where liver and tumor overlap it is tumor. Raises ``ValueError`` when
    a node is gone.
    """
    return mapSegments(segmentationNode, volumeNode).labelsKji()


def hasResult(segmentationNode: Any) -> bool:
    """Whether a run wrote this segmentation, so that :func:`removeResult` can undo it."""
    return isInScene(segmentationNode) and bool(segmentationNode.GetAttribute(RECORD))


def resultRecord(segmentationNode: Any) -> dict[str, Any]:
    """The record of the run that wrote this segmentation; empty without one."""
    text = segmentationNode.GetAttribute(RECORD) if isInScene(segmentationNode) else None
    return json.loads(text) if text else {}


def hasEditedSegments(segmentationNode: Any) -> list[str]:
    """Names of the liver and tumor segments that a person made, changed, reviewed or deleted.

    A run into this segmentation would replace them: ask first. Empty when there are none.
    """
    if not isInScene(segmentationNode):
        return []
    segmentation = segmentationNode.GetSegmentation()
    written = json.loads(segmentationNode.GetAttribute(WRITTEN) or "{}")
    there = rolesOf(segmentation)
    segments = [segmentation.GetSegment(segmentId) for segmentId in there]
    edited = [segment.GetName() for segment in segments if isEdited(segment)]
    deleted = [name for segmentId, name in written.items() if segmentId not in there]
    return edited + [_("{name} (deleted)").format(name=name) for name in deleted]


def _writeNew(segments: list[vtk.vtkObject], volumeNode: Any, record: dict[str, Any]) -> Any:
    name = _("{volume} liver and tumors").format(volume=volumeNode.GetName())
    name = slicer.mrmlScene.GenerateUniqueName(name)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    with _undoneOnFailure(lambda: removeFromScene(node)):
        node.SetAttribute(MADE_BY_RUN, "1")
        _fill(node, segments, volumeNode, record, hasOthers=False)
        placeBeside(node, volumeNode)
    return node


def _fill(
    node: Any,
    segments: list[vtk.vtkObject],
    volumeNode: Any,
    record: dict[str, Any],
    hasOthers: bool,
) -> None:
    """Give a segmentation node its new segments, and say on it where they come from."""
    node.CreateDefaultDisplayNodes()
    if not hasOthers:
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    named = _withIds(node.GetSegmentation(), segments)
    exchangeSegments(node.GetSegmentation(), named)
    attributes = {
        RECORD: json.dumps(record),
        WRITTEN: json.dumps({key: segment.GetName() for key, segment in named}),
        **{name: tagOf(segments[0], name) for name in (MODEL, VERSION, SHA256, NOTICE)},
    }
    if node.GetAttribute(MADE_BY_RUN):
        attributes[MADE_BY_RUN] = "1"
    _setAttributes(node, attributes)


def _withIds(
    segmentation: vtk.vtkObject, segments: list[vtk.vtkObject]
) -> list[tuple[str, vtk.vtkObject]]:
    """Segments with identifiers that scripts can type: Liver, Tumor, Tumor_2."""
    taken = set(segmentIds(segmentation)) - set(rolesOf(segmentation))
    named = []
    for segment in segments:
        base = tagOf(segment, ROLE).capitalize()
        numbered = (f"{base}_{n}" for n in range(2, len(taken) + 3))
        segmentId = next(key for key in (base, *numbered) if key not in taken)
        taken.add(segmentId)
        named.append((segmentId, segment))
    return named


def _attributes(node: Any) -> dict[str, str]:
    """The attributes that this module gave a node."""
    return {n: node.GetAttribute(n) for n in node.GetAttributeNames() if n.startswith(TAG)}


def _setAttributes(node: Any, attributes: Mapping[str, str]) -> None:
    """Give a node these attributes of ours and no others of ours."""
    for name in _attributes(node):
        node.RemoveAttribute(name)
    for name, text in attributes.items():
        node.SetAttribute(name, text)


class _Before:
    """A chosen segmentation as it was, for the case that writing into it fails."""

    def __init__(self, node: Any) -> None:
        self._node, self._attributes = node, _attributes(node)
        self._transformId = node.GetTransformNodeID()
        self._referenceId = node.GetNodeReferenceID(_referenceRole())
        self._segmentation = slicer.vtkSegmentation()
        self._segmentation.DeepCopy(node.GetSegmentation())

    def putBack(self) -> None:
        segments = [
            (key, self._segmentation.GetSegment(key)) for key in rolesOf(self._segmentation)
        ]
        exchangeSegments(self._node.GetSegmentation(), segments)
        self._node.GetSegmentation().CopyConversionParameters(self._segmentation)
        self._node.SetAndObserveTransformNodeID(self._transformId)
        self._node.SetNodeReferenceID(_referenceRole(), self._referenceId)
        _setAttributes(self._node, self._attributes)


def _referenceRole() -> str:
    """The reference role of the volume on whose grid a segmentation is edited."""
    return str(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())


@contextmanager
def _undoneOnFailure(undo: Callable[[], Any]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        undo()
        raise


def _hasOtherSegments(segmentationNode: Any) -> bool:
    segmentation = segmentationNode.GetSegmentation()
    return segmentation.GetNumberOfSegments() > len(rolesOf(segmentation))


def _refuseWrongLabels(labelsKji: np.ndarray, volumeNode: Any) -> None:
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    if labelsKji.shape != shape:
        raise ValueError(_("The CT has another size than when it was segmented; segment it again."))
    if labelsKji.dtype != np.uint8 or labelsKji.max() > Label.TUMOR:
        raise ValueError(
            _("The labels must be uint8 with 0 (background), 1 (liver) and 2 (tumor) only.")
        )


def _refuseWrongSegmentation(segmentationNode: Any) -> None:
    if not isInScene(segmentationNode) or not segmentationNode.IsA("vtkMRMLSegmentationNode"):
        raise ValueError(
            _("The segmentation is not in the scene (any more); choose another one, or a new one.")
        )


def _refuseEdited(segmentationNode: Any, discardEdits: bool) -> None:
    edited = [] if discardEdits else hasEditedSegments(segmentationNode)
    if edited:
        raise EditedSegmentsError(edited)
