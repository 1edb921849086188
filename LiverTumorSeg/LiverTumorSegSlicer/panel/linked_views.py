"""Two dates side by side in Slicer's own layout, linked by Slicer's own switch.

The earlier CT and its segmentation are moved onto the later one while it lasts, by a transform
above them: the later one carries the table, its diameters and a person's edits, and stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from LiverTumorSegSlicer.scene.geometry import (
    isInScene,
    isUnderLinearTransforms,
    parentToWorld,
    removeFromScene,
    toMatrix,
)

from .views import Point, goToPoint

LEFT, RIGHT = "Red", "Yellow"  # Slicer's names of the two views of this layout
Nodes = tuple[Any, Any]  # a segmentation and its CT


class LinkedViews:
    """Slice views side by side that move together, from ``show`` until ``hide``."""

    def __init__(self) -> None:
        self._layout: int | None = None
        self._views: dict[str, _ViewBefore] = {}
        self._displays: list[_DisplayBefore] = []
        self._moved: list[_Moved] = []

    @property
    def isOn(self) -> bool:
        return self._layout is not None

    def show(self, baseline: Nodes, followup: Nodes, toFollowup: np.ndarray) -> None:
        """The baseline on the left, laid onto the follow-up by ``toFollowup`` (4 x 4, RAS mm)."""
        self.hide()
        manager = slicer.app.layoutManager()
        self._layout = int(manager.layout)
        manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
        if baseline[1] is not followup[1]:  # two results of one CT lie on each other as they are
            self._moved = [_Moved.of(node, toFollowup) for node in baseline]
        for name, (segmentationNode, volumeNode) in ((RIGHT, followup), (LEFT, baseline)):
            logic = manager.sliceWidget(name).sliceLogic()
            sliceNode, composite = logic.GetSliceNode(), logic.GetSliceCompositeNode()
            self._views[name] = _ViewBefore.of(sliceNode, composite)
            sliceNode.SetOrientation("Axial")  # the layout leaves what the view had before
            composite.SetBackgroundVolumeID(volumeNode.GetID())
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
            display = segmentationNode.GetDisplayNode()
            self._displays.append(_DisplayBefore.of(display))
            display.SetVisibility(True)
            display.AddViewNodeID(sliceNode.GetID())
            logic.FitSliceToBackground()
        self._showTheSamePlace()

    def goTo(self, before: Point, after: Point) -> None:
        """Each date's view to its own place, both in the follow-up's world; all views else."""
        for sliceNode in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            isLeft = self.isOn and sliceNode.GetLayoutName() == LEFT
            goToPoint(sliceNode, before if isLeft else after)

    @contextmanager
    def inTheirPlaces(self) -> Iterator[None]:
        """Put all nodes where they lie without linked views, for a while."""
        for moved in self._moved:
            moved.moveBack()
        try:
            yield
        finally:
            for moved in self._moved:
                moved.moveAgain()

    def hide(self) -> None:
        """The views, the layout, and what they show, as before; what left the scene is let go."""
        for moved in self._moved:
            moved.remove()
        for display in self._displays:
            display.restore()
        for view in self._views.values():
            view.restore()
        if self._layout is not None:
            slicer.app.layoutManager().setLayout(self._layout)
        self._layout, self._views, self._displays, self._moved = None, {}, [], []

    def _showTheSamePlace(self) -> None:
        left, right = (self._views[name].sliceNode for name in (LEFT, RIGHT))
        left.GetSliceToRAS().DeepCopy(right.GetSliceToRAS())
        width = right.GetFieldOfView()[0]
        x, y, z = left.GetFieldOfView()
        left.SetFieldOfView(width, width * y / x, z)
        left.UpdateMatrices()


@dataclass(frozen=True, eq=False)
class _ViewBefore:
    """A slice view as it was."""

    sliceNode: Any
    composite: Any
    sliceToRas: Any
    fieldOfView: tuple[float, ...]
    backgroundId: str | None
    isLinked: int
    isHotLinked: int

    @classmethod
    def of(cls, sliceNode: Any, composite: Any) -> _ViewBefore:
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(sliceNode.GetSliceToRAS())
        return cls(
            sliceNode,
            composite,
            matrix,
            tuple(sliceNode.GetFieldOfView()),
            composite.GetBackgroundVolumeID(),
            composite.GetLinkedControl(),
            composite.GetHotLinkedControl(),
        )

    def restore(self) -> None:
        self.composite.SetLinkedControl(self.isLinked)
        self.composite.SetHotLinkedControl(self.isHotLinked)
        if self.backgroundId is None or slicer.mrmlScene.GetNodeByID(self.backgroundId):
            self.composite.SetBackgroundVolumeID(self.backgroundId)
        self.sliceNode.GetSliceToRAS().DeepCopy(self.sliceToRas)
        self.sliceNode.SetFieldOfView(*self.fieldOfView)
        self.sliceNode.UpdateMatrices()


@dataclass(frozen=True, eq=False)
class _DisplayBefore:
    """Where a segmentation was shown."""

    display: Any
    isVisible: int
    viewIds: tuple[str, ...]

    @classmethod
    def of(cls, display: Any) -> _DisplayBefore:
        ids = tuple(display.GetNthViewNodeID(n) for n in range(display.GetNumberOfViewNodeIDs()))
        display.RemoveAllViewNodeIDs()
        return cls(display, display.GetVisibility(), ids)

    def restore(self) -> None:
        if isInScene(self.display):
            self.display.RemoveAllViewNodeIDs()
            for viewId in self.viewIds:
                self.display.AddViewNodeID(viewId)
            self.display.SetVisibility(self.isVisible)


@dataclass(frozen=True, eq=False)
class _Moved:
    """A node under a transform of ours, and under which it was."""

    node: Any
    parentId: str | None
    transform: Any

    @classmethod
    def of(cls, node: Any, movement: np.ndarray) -> _Moved:
        """Moved in the world: what was above the node goes on to count."""
        transform = _transformAfter(node, movement)
        transform.SetName(_("{name} onto the later CT").format(name=node.GetName()))
        slicer.mrmlScene.AddNode(transform)
        moved = cls(node, node.GetTransformNodeID(), transform)
        moved.moveAgain()
        return moved

    def moveAgain(self) -> None:
        if isInScene(self.node) and isInScene(self.transform):
            self.node.SetAndObserveTransformNodeID(self.transform.GetID())

    def moveBack(self) -> None:
        """A node that somebody has put under another transform meanwhile stays there."""
        if isInScene(self.node) and self.node.GetParentTransformNode() is self.transform:
            self.node.SetAndObserveTransformNodeID(self.parentId)

    def remove(self) -> None:
        self.moveBack()
        if isInScene(self.transform):
            removeFromScene(self.transform)


def _transformAfter(node: Any, movement: np.ndarray) -> Any:
    """What all transforms above a node do together, and then the movement."""
    if isUnderLinearTransforms(node):
        transform = slicer.vtkMRMLLinearTransformNode()
        transform.SetMatrixTransformToParent(toMatrix(movement @ parentToWorld(node)))
        return transform
    transform, whole = slicer.vtkMRMLTransformNode(), vtk.vtkGeneralTransform()
    node.GetParentTransformNode().GetTransformToWorld(whole)  # Slicer bends uneven slices a little
    whole.PostMultiply()
    whole.Concatenate(toMatrix(movement))
    transform.SetAndObserveTransformToParent(whole)
    return transform
