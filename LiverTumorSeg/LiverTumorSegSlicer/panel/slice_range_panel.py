"""Which slices a run is about: two numbers, taken from what a view shows or from a region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import vtk
from slicer.i18n import tr as _

from LiverTumorSegSlicer.scene.axial_slices import AxialSlices, cornersOfLongView, cornersOfRoi


class SliceRangePanel:
    """Keeps the range in the parameter node, and within the volume.

    say(text): where a sentence goes when a view or a region is of no use.
    """

    def __init__(self, ui: Any, say: Callable[[str], None]) -> None:
        self._ui, self._say = ui, say
        self._parameters: Any = None
        self._volumeNode: Any = None
        self._roiNode: Any = None
        self._roiTags: list[int] = []
        ui.slicesFromViewsButton.connect("clicked(bool)", self._takeView)

    def follow(self, parameters: Any) -> None:
        """The parameter node is another one, or was changed. None: there is none."""
        isOther = parameters is not self._parameters
        self._parameters = parameters
        volumeNode = parameters.inputVolume if parameters else None
        if isOther or volumeNode is not self._volumeNode:
            self._volumeNode = volumeNode
            self._fitToVolume(isNew=not isOther)
        self._followRoi(parameters.sliceRoi if parameters else None, isFirst=isOther)
        isLimited = bool(parameters and parameters.limitSlices)
        self._ui.firstSliceSpinBox.enabled = isLimited
        self._ui.lastSliceSpinBox.enabled = isLimited

    def cleanUp(self) -> None:
        """The panel goes."""
        self.follow(None)

    def sliceRange(self) -> tuple[int, int] | None:
        """First and last slice, as AxialSlices numbers them; None for all."""
        parameters = self._parameters
        if not parameters or not parameters.limitSlices:
            return None
        return parameters.firstSlice, parameters.lastSlice

    def _fitToVolume(self, *, isNew: bool) -> None:
        """All slices of a volume that was chosen just now; a loaded range is only kept within."""
        slices = AxialSlices.of(self._volumeNode)
        if slices is None:
            return
        top = slices.count - 1
        for box in (self._ui.firstSliceSpinBox, self._ui.lastSliceSpinBox):
            box.maximum = top
        isUnset = self._parameters.firstSlice == self._parameters.lastSlice == 0
        if isNew or isUnset:
            self._parameters.firstSlice, self._parameters.lastSlice = 0, top

    def _followRoi(self, roiNode: Any, *, isFirst: bool) -> None:
        if roiNode is self._roiNode:
            return
        while self._roiTags:
            self._roiNode.RemoveObserver(self._roiTags.pop())
        self._roiNode = roiNode
        if roiNode is None:
            return
        self._roiTags = [roiNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._takeRoi)]
        if not isFirst:
            self._takeRoi()

    def _takeRoi(self, *_event: Any) -> None:
        if self._volumeNode is not None:
            problem = _("The region of interest is outside this volume.")
            self._take(cornersOfRoi(self._roiNode), problem)

    def _takeView(self) -> None:
        self._take(cornersOfLongView(), _("No coronal or sagittal view shows this volume."))

    def _take(self, cornersRas: list, problem: str) -> None:
        slices = AxialSlices.of(self._volumeNode)
        reached = slices.reachedBy(cornersRas) if slices is not None and cornersRas else None
        if reached is None:
            self._say(problem)
            return
        self._parameters.limitSlices = True
        self._parameters.firstSlice, self._parameters.lastSlice = reached
