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
    """From black over red to yellow: also told apart by who does not see red and green."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToIron()
    node.SetName("LiverTumorSeg probability")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
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
    legend.SetVisibility(True)
    return legend
