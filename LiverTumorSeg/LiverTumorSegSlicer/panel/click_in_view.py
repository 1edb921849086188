"""One click in a view, by Slicer's own way of placing points; the point itself does not stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from LiverTumorSegSlicer.run.later import callLater
from LiverTumorSegSlicer.scene.geometry import isInScene, removeFromScene

Point = tuple[float, float, float]


class ClickInView:
    """``onPoint(pointRasMm)``: a person clicked. ``onStopped()``: they changed their mind."""

    def __init__(self, onPoint: Callable[[Point], None], onStopped: Callable[[], None]) -> None:
        self._onPoint, self._onStopped = onPoint, onStopped
        self._node: Any = None
        self._observed: list[tuple[Any, int]] = []

    def start(self) -> None:
        """The next click in a view is for us."""
        self.stop()
        node = self._node = slicer.vtkMRMLMarkupsFiducialNode()
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        slicer.mrmlScene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        selection, interaction = _selectionNode(), _interactionNode()
        selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
        selection.SetActivePlaceNodeID(node.GetID())
        interaction.SetPlaceModePersistence(0)
        interaction.SetCurrentInteractionMode(interaction.Place)
        placed, changed = node.PointPositionDefinedEvent, interaction.InteractionModeChangedEvent
        self._observed = [
            (node, node.AddObserver(placed, self._onPlaced)),
            (interaction, interaction.AddObserver(changed, self._onModeChanged)),
        ]

    def stop(self) -> None:
        """No click is waited for any more."""
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []
        node, self._node = self._node, None
        if node is None:
            return
        interaction = _interactionNode()
        if interaction.GetCurrentInteractionMode() == interaction.Place:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        if isInScene(node):
            removeFromScene(node)

    def _onPlaced(self, _caller: Any, _event: str) -> None:
        """Slicer is still in the midst of placing the point."""
        node = self._node
        position = [0.0, 0.0, 0.0]
        node.GetNthControlPointPositionWorld(node.GetNumberOfControlPoints() - 1, position)
        r, a, s = (float(mm) for mm in position)
        callLater(0, lambda: self._finish((r, a, s)))

    def _finish(self, point: Point) -> None:
        if self._node is None:
            return
        self.stop()
        self._onStopped()
        self._onPoint(point)

    def _onModeChanged(self, interaction: Any, _event: str) -> None:
        """By Escape or a click on another tool; with a point placed, ``onPoint`` is called."""
        isOver = interaction.GetCurrentInteractionMode() != interaction.Place
        if isOver and self._node is not None and not self._node.GetNumberOfDefinedControlPoints():
            callLater(0, self._onStopped)


def _selectionNode() -> Any:
    return slicer.app.applicationLogic().GetSelectionNode()


def _interactionNode() -> Any:
    return slicer.app.applicationLogic().GetInteractionNode()
