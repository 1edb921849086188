"""What a run replaces in a segmentation is kept, so that it can be put back in one step.

The kept segments lie in a hidden segmentation node that the shown one refers to. They are part of
the scene: saved and loaded with it, gone when it is closed. A second run keeps the first one's
segments, which refer to what the first one had replaced, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from .placement import isInScene, parentToWorld, removeFromScene, toMatrix
from .segments import LABELMAP, TAG, rolesOf, segmentIds

KEPT = TAG + "Replaced"  # node reference to the hidden node; on that, how many segments it has
HAS_KEPT = TAG + "HasReplaced"  # attribute: such a node belongs here
MOVED = TAG + "MovedByRun"  # attribute: the run put the node under another transform
CLOSED_SURFACE = "Closed surface"  # the name of Slicer's own representation


def ownAttributes(node: Any) -> dict[str, str]:
    """The attributes that this module gave a node."""
    return {n: node.GetAttribute(n) for n in node.GetAttributeNames() if n.startswith(TAG)}


def setOwnAttributes(node: Any, attributes: Mapping[str, str]) -> None:
    """Give a node these attributes of ours and no others of ours."""
    for name in ownAttributes(node):
        node.RemoveAttribute(name)
    for name, text in attributes.items():
        node.SetAttribute(name, text)


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


def keepReplaced(segmentationNode: Any) -> Any:
    """Copy the liver and tumor segments, and what is known of them, to a new hidden node."""
    kept = slicer.vtkMRMLSegmentationNode()
    kept.SetHideFromEditors(True)
    kept.SetName(_("{name} before the run").format(name=segmentationNode.GetName()))
    slicer.mrmlScene.AddNode(kept)
    segmentation = kept.GetSegmentation()
    segmentation.DeepCopy(segmentationNode.GetSegmentation())
    for segmentId in set(segmentIds(segmentation)) - set(rolesOf(segmentation)):
        segmentation.RemoveSegment(segmentId)
    kept.SetAndObserveTransformNodeID(segmentationNode.GetTransformNodeID())
    setOwnAttributes(kept, {**ownAttributes(segmentationNode), KEPT: _count(kept)})
    _copyReferences(segmentationNode, kept)
    return kept


def _count(node: Any) -> str:
    return str(node.GetSegmentation().GetNumberOfSegments())


def putBack(segmentationNode: Any, kept: Any) -> None:
    """Undo a run: exchange its segments for the kept ones and remove the hidden node.

    Everything comes back to the place in the patient where it was. Raises ``ValueError``, with
    nothing changed, when a transform that bends space was added since.
    """
    if segmentationNode.GetAttribute(MOVED):
        segmentationNode.SetAndObserveTransformNodeID(kept.GetTransformNodeID())
    _carryOver(kept, segmentationNode)
    segmentation, keptSegmentation = segmentationNode.GetSegmentation(), kept.GetSegmentation()
    keptIds = segmentIds(keptSegmentation)
    segments = [(segmentId, keptSegmentation.GetSegment(segmentId)) for segmentId in keptIds]
    exchangeSegments(segmentation, segments)
    segmentation.CopyConversionParameters(keptSegmentation)
    attributes = ownAttributes(kept)
    attributes.pop(KEPT)
    setOwnAttributes(segmentationNode, attributes)
    _copyReferences(kept, segmentationNode)
    removeFromScene(kept)


def _carryOver(kept: Any, segmentationNode: Any) -> None:
    """Bring kept voxels into the shown node's coordinates, should its transform differ by now."""
    if kept.GetTransformNodeID() == segmentationNode.GetTransformNodeID():
        return
    between = np.linalg.inv(parentToWorld(segmentationNode)) @ parentToWorld(kept)
    segmentation, done = kept.GetSegmentation(), []
    for segmentId in segmentIds(segmentation):
        layer = segmentation.GetSegment(segmentId).GetRepresentation(LABELMAP)
        if any(layer is other for other in done):
            continue
        done.append(layer)
        matrix = vtk.vtkMatrix4x4()
        layer.GetImageToWorldMatrix(matrix)
        layer.SetImageToWorldMatrix(toMatrix(between @ slicer.util.arrayFromVTKMatrix(matrix)))


def _copyReferences(source: Any, target: Any) -> None:
    """What was kept before, and the volume whose grid a segmentation is edited on."""
    for role in (KEPT, slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()):
        target.SetNodeReferenceID(role, source.GetNodeReferenceID(role))


def removeOrphans() -> None:
    """Remove kept segments that no segmentation refers to any longer (it was deleted)."""
    while True:
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        wanted = {node.GetNodeReferenceID(KEPT) for node in nodes}
        orphans = [n for n in nodes if n.GetAttribute(KEPT) and n.GetID() not in wanted]
        for orphan in orphans:
            removeFromScene(orphan)
        if not orphans:
            return


def keptOf(segmentationNode: Any) -> Any | None:
    """The hidden node with what the last run replaced; None when it replaced nothing.

    Raises ``ValueError`` when there was one and it is gone.
    """
    if not segmentationNode.GetAttribute(HAS_KEPT):
        return None
    kept = segmentationNode.GetNodeReference(KEPT)
    # Saved without its file, a hidden node comes back empty.
    if not isInScene(kept) or kept.GetAttribute(KEPT) != _count(kept):
        raise ValueError(
            _(
                "What this run replaced is no longer in the scene, so it cannot be put back; "
                "delete the segments that you do not want in the Segmentations module."
            )
        )
    return kept
