"""Hands a result to Slicer's own tools: Segment Editor with the right settings, and 3D surfaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from LiverTumorSegLib.labels import Label
from slicer.i18n import tr as _

from .geometry import isInScene
from .segments import CLOSED_SURFACE, rolesOf, segmentIds

LIVER_OPACITY_3D = 0.4  # the tumors are inside
SINGLETON_TAG = "SegmentEditor"  # of the settings node that Slicer's Segment Editor module uses


def openSegmentEditor() -> Any:
    """Slicer's Segment Editor module, opened; its ``qMRMLSegmentEditorWidget``."""
    slicer.util.selectModule("SegmentEditor")
    return slicer.modules.SegmentEditorWidget.editor


def editInSegmentEditor(
    segmentationNode: Any,
    volumeNode: Any,
    segmentId: str | None = None,
    *,
    openEditor: Callable[[], Any] = openSegmentEditor,
) -> None:
    """Open Segment Editor on a segment (the first tumor when none is named) and its CT.

    Raises ``ValueError`` when a node is gone or there is nothing to edit.
    """
    if not isInScene(segmentationNode) or not isInScene(volumeNode):
        raise ValueError(
            _("The segmentation or its CT is not in the scene (any more); segment the CT first.")
        )
    chosen = segmentId or firstToEdit(segmentationNode)
    if chosen not in segmentIds(segmentationNode.GetSegmentation()):
        raise ValueError(_("The segment is not there any more; choose another one."))
    editor = openEditor()
    editor.setSegmentationNode(segmentationNode)
    editor.setSourceVolumeNode(volumeNode)
    editor.setCurrentSegmentID(chosen)
    setMasking(editor.mrmlSegmentEditorNode(), segmentationNode, chosen)


def firstToEdit(segmentationNode: Any) -> str:
    """The first tumor segment, else the liver, else any; empty when there is none."""
    roles = rolesOf(segmentationNode.GetSegmentation())
    inOrder = sorted(roles, key=lambda segmentId: -roles[segmentId])
    return next(iter([*inOrder, *segmentIds(segmentationNode.GetSegmentation())]), "")


def setMasking(editorNode: Any, segmentationNode: Any, segmentId: str) -> None:
    """Where Segment Editor may draw a segment.

    A tumor: inside the liver only. Painting takes from the liver, erasing gives back to it.
    The liver: outside all other segments, so that no tumor is painted over.
    """
    modes = slicer.vtkMRMLSegmentationNode
    roles = rolesOf(segmentationNode.GetSegmentation())
    liver = next((key for key, label in roles.items() if label is Label.LIVER), None)
    mode = modes.EditAllowedEverywhere
    if roles.get(segmentId) is Label.TUMOR and liver:
        mode = modes.EditAllowedInsideSingleSegment
        editorNode.SetMaskSegmentID(liver)
    elif roles.get(segmentId) is Label.LIVER:
        mode = modes.EditAllowedOutsideAllSegments
    editorNode.SetMaskMode(mode)
    editorNode.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)


def releaseMasking(segmentationNode: Any) -> None:
    """Let Segment Editor draw everywhere again, if it is still set to this segmentation.

    Its settings outlive a visit: without this, another segmentation could not be edited.
    """
    editorNode = slicer.mrmlScene.GetSingletonNode(SINGLETON_TAG, "vtkMRMLSegmentEditorNode")
    if editorNode is not None and editorNode.GetSegmentationNode() is segmentationNode:
        editorNode.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)


def style3D(segmentationNode: Any) -> None:
    """Show surfaces that Slicer's own button has made, the liver see-through.

    Raises ``ValueError`` when the segmentation is gone or Slicer could not make them.
    """
    if not isInScene(segmentationNode):
        raise ValueError(_("The segmentation is not in the scene (any more); segment first."))
    if not segmentationNode.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE):
        raise ValueError(
            _("Slicer could not make 3D surfaces of these segments; look at them in the slices.")
        )
    segmentationNode.CreateDefaultDisplayNodes()
    display = segmentationNode.GetDisplayNode()
    for segmentId, label in rolesOf(segmentationNode.GetSegmentation()).items():
        if label is Label.LIVER:
            display.SetSegmentOpacity3D(segmentId, LIVER_OPACITY_3D)
    display.SetPreferredDisplayRepresentationName3D(CLOSED_SURFACE)
    display.SetVisibility3D(True)


def is3DShown(segmentationNode: Any) -> bool:
    """Whether surfaces of this segmentation are there and visible."""
    if not isInScene(segmentationNode) or segmentationNode.GetDisplayNode() is None:
        return False
    has = segmentationNode.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
    return bool(has and segmentationNode.GetDisplayNode().GetVisibility3D())
