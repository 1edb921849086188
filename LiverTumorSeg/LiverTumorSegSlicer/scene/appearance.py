"""How a new result looks in the slices: the CT must be seen through it, or it cannot be judged."""

from __future__ import annotations

from typing import Any

from LiverTumorSegLib.labels import Label

from .segments import rolesOf

FILL_2D = {Label.LIVER: 0.2, Label.TUMOR: 0.4}  # opacity inside the outline


def showForReview(segmentationNode: Any) -> None:
    """Clear outlines, faint filling; a person may change it afterwards."""
    display = segmentationNode.GetDisplayNode()
    for segmentId, label in rolesOf(segmentationNode.GetSegmentation()).items():
        display.SetSegmentOpacity2DFill(segmentId, FILL_2D[label])
        display.SetSegmentOpacity2DOutline(segmentId, 1.0)
