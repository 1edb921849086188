"""Sets what the slice views show: a window to see tumors in, a lesion, and its diameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from LiverTumorSegSlicer.scene.geometry import isInScene, removeFromScene

Point = tuple[float, float, float]
Line = tuple[Point, Point]

ABDOMEN_HU = (-135.0, 215.0)  # Slicer's own preset for the abdomen: width 350, level 40
LINE_COLORS = ((1.0, 0.9, 0.2), (0.3, 0.9, 1.0))  # yellow and light blue: on gray, green and red
LINE_THICKNESS = 0.2  # of the size of a point
LINE_POINT_SCALE = 0.8  # percent of the view; Slicer's own is 3 and hides a small lesion


def showAbdomenWindow(volumeNode: Any) -> None:
    """Show a CT in the abdomen window, unless the file or a person has chosen a window for it."""
    volumeNode.CreateDefaultDisplayNodes()
    display = volumeNode.GetDisplayNode()
    if display.GetAutoWindowLevel():
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(*ABDOMEN_HU)


def showInstead(volumeNode: Any, resultBefore: Any, result: Any) -> None:
    """Show another CT, and its result instead of the one before; nothing where a view has it."""
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    if volumeNode.GetID() in {view.GetBackgroundVolumeID() for view in views}:
        return
    if volumeNode.GetImageData() is not None:
        slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)
    if resultBefore is not result:
        for node, isShown in ((resultBefore, False), (result, True)):
            if isInScene(node) and node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(isShown)


def showPoint(pointRasMm: Point) -> None:
    """Go to the slices through a point in all views; a view moves aside only if it is out of it."""
    for sliceNode in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        goToPoint(sliceNode, pointRasMm)


def goToPoint(sliceNode: Any, pointRasMm: Point) -> None:
    """Go to the slice through a point in one view."""
    if isInView(sliceNode, pointRasMm):
        sliceNode.JumpSliceByOffsetting(*pointRasMm)
    else:
        sliceNode.JumpSliceByCentering(*pointRasMm)


def isInView(sliceNode: Any, pointRasMm: Point) -> bool:
    """Whether a view shows a point once it has gone to its slice."""
    rasToXy = np.linalg.inv(slicer.util.arrayFromVTKMatrix(sliceNode.GetXYToRAS()))
    x, y = (rasToXy @ [*pointRasMm, 1.0])[:2]
    width, height = sliceNode.GetDimensions()[:2]
    return bool(0 <= x <= width and 0 <= y <= height)


class DiameterLines:
    """The diameters of one lesion, drawn where they were measured. Nobody can drag or save them."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []

    def show(self, lines: Sequence[Line]) -> None:
        """The longest, then the one across it, in mm in the world; instead of those before."""
        self.hide()
        names = (_("Longest"), _("Perpendicular"))
        for line, name, color in zip(lines, names, LINE_COLORS, strict=False):
            self._nodes.append(_makeLine(line, name, color))

    def hide(self) -> None:
        """Take them out of the scene; one that was closed has them no more."""
        while self._nodes:
            node = self._nodes.pop()
            if isInScene(node):
                removeFromScene(node)


def _makeLine(line: Iterable[Point], name: str, color: Point) -> Any:
    node = slicer.vtkMRMLMarkupsLineNode()
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetSelectedColor(*color)
    display.SetColor(*color)
    display.SetGlyphScale(LINE_POINT_SCALE)
    display.SetLineThickness(LINE_THICKNESS)
    display.SetPointLabelsVisibility(False)
    display.SetPropertiesLabelVisibility(False)  # lengths are in the table, and hide a small lesion
    display.SetVisibility3D(False)
    for point in line:
        node.AddControlPointWorld(vtk.vtkVector3d(*point))
    node.SetLocked(True)
    return node
