"""The model's own probability of tumor, laid over the CT in colors, with a color bar.

    overlay = ProbabilityOverlay(seen, volumeNode)
    overlay.remove()                # the slice views show again what they did before

Nothing of it is saved with the scene.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from LiverTumorSegLib.result.step_labels import TumorSeen
from slicer.i18n import tr as _

from .geometry import ijkToRas, isInScene, removeFromScene, toMatrix
from .probability_volumes import ROLE

OPACITY = 0.6  # the CT must be seen through it
LEAST_PERCENT = 5.0  # below this the CT alone is shown
LABEL_FORMAT = "%.0f %%"
COLORS = 256
RAMP = ((0.15, 0.35, 1.0), (0.1, 0.75, 0.95), (0.55, 0.95, 0.6), (1.0, 0.98, 0.55))  # RGB


class ProbabilityOverlay:
    """An overlay of tumor probability in all slice views, until it is removed."""

    def __init__(self, seen: TumorSeen, volumeNode: Any) -> None:
        """Raises ``ValueError`` when the CT is gone."""
        if not isInScene(volumeNode):
            raise ValueError(_("The CT is not in the scene (any more); load it first."))
        self._color = _makeColors()
        self.node = _makeVolume(seen, volumeNode, self._color)
        self.legend = _makeLegend(self.node)
        self._before = [
            (view, view.GetForegroundVolumeID(), view.GetForegroundOpacity()) for view in _views()
        ]
        for view, *_ignored in self._before:
            view.SetForegroundVolumeID(self.node.GetID())
            view.SetForegroundOpacity(OPACITY)

    def remove(self) -> None:
        """Take it away; a view whose foreground somebody has changed keeps it."""
        for view, volumeId, opacity in self._before:
            if isInScene(view) and view.GetForegroundVolumeID() == self.node.GetID():
                view.SetForegroundVolumeID(volumeId)
                view.SetForegroundOpacity(opacity)
        removeFromScene(self.node)  # with its color bar
        if isInScene(self._color):
            slicer.mrmlScene.RemoveNode(self._color)


def _views() -> list[Any]:
    return list(slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"))


def _makeColors() -> Any:
    """From blue over light green to pale yellow, brighter and brighter.

    None of it is lost on a dark CT, nor beside the red outlines of tumors, and who does not tell
    red from green reads it too.
    """
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName("LiverTumorSeg probability")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.SetNumberOfColors(COLORS)
    places = np.linspace(0, 1, len(RAMP))
    for index, share in enumerate(np.linspace(0, 1, COLORS)):
        r, g, b = (float(np.interp(share, places, channel)) for channel in zip(*RAMP, strict=True))
        node.SetColor(index, f"{100 * share:.0f} %", r, g, b, 1.0)
    return slicer.mrmlScene.AddNode(node)


def _makeVolume(seen: TumorSeen, volumeNode: Any, colorNode: Any) -> Any:
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(_("Tumor probability"))
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.SetAttribute(ROLE, "overlay")  # and so no CT
    slicer.mrmlScene.AddNode(node)
    percentKji = np.rint(seen.values * np.float32(100 / 255)).astype(np.uint8)
    slicer.util.updateVolumeFromArray(node, percentKji)
    grid = ijkToRas(volumeNode)
    grid[:3, 3] += grid[:3, :3] @ seen.first_kji[::-1]
    node.SetIJKToRASMatrix(toMatrix(grid))
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetAndObserveColorNodeID(colorNode.GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 100)
    display.SetAutoThreshold(False)
    display.SetThreshold(LEAST_PERCENT, 100)
    display.ApplyThresholdOn()
    return node


def _makeLegend(node: Any) -> Any:
    """Slicer's own color bar."""
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
    legend.SetSaveWithScene(False)
    legend.SetTitleText(_("Tumor"))
    legend.SetLabelFormat(LABEL_FORMAT)
    for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):
        text.SetColor(1.0, 1.0, 1.0)
        text.SetShadow(True)  # the bar may lie on bright tissue
        text.SetBold(True)
    legend.SetVisibility(True)
    return legend
