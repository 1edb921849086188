"""Small real Qt widgets under the names of the qMRML widgets, on the real scene."""

import slicer
import vtk
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from .ctk_widgets import ctkMenuButton
from .properties import stored
from .pythonqt import native
from .uiloader import standin


class Observations:
    """VTK observers that are removed together."""

    def __init__(self):
        self._tags = []

    def add(self, caller, event, callback):
        self._tags.append((caller, caller.AddObserver(event, callback)))

    def clear(self, *_):
        while self._tags:
            caller, tag = self._tags.pop()
            caller.RemoveObserver(tag)


@standin
class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    @Slot(object)
    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self.__dict__["_scene"] = scene
            self.mrmlSceneChanged.emit(scene)


class SegmentationWidget(qMRMLWidget):
    """What the widgets on one segmentation share: they follow it."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._segmentation, self._observations = None, Observations()
        native(self, "destroyed").connect(self._observations.clear)

    def segmentationNode(self):
        return self._segmentation

    @Slot(object)
    def setSegmentationNode(self, node):
        if isinstance(node, str):
            raise TypeError("setSegmentationNode takes a node, not its ID")
        if node is self._segmentation:
            return
        self._observations.clear()
        self.__dict__["_segmentation"] = node
        for event in self._followed() if node else ():
            self._observations.add(node, event, lambda *_: self._update())
        self._update()

    def _followed(self):
        kinds = slicer.vtkSegmentation
        return kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified

    def _update(self):
        """Shows the state of self._segmentation."""


@standin
class qMRMLSegmentsTableView(SegmentationWidget):
    """The segments of a segmentation, one a row."""

    selectionChanged = Signal(object, object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._table = QtWidgets.QTableWidget(0, 2, self)
        self._table.setHorizontalHeaderLabels(["", "Name"])
        self._table.horizontalHeader().stretchLastSection = True
        QtWidgets.QVBoxLayout(self).addWidget(self._table)
        changed = native(self._table, "itemSelectionChanged")
        changed.connect(lambda: self.selectionChanged.emit(None, None))

    headerVisible = stored(bool, "headerVisible", True)
    readOnly = stored(bool, "readOnly", False)
    visibilityColumnVisible = stored(bool, "visibilityColumnVisible", True)
    colorColumnVisible = stored(bool, "colorColumnVisible", True)
    opacityColumnVisible = stored(bool, "opacityColumnVisible", False)
    statusColumnVisible = stored(bool, "statusColumnVisible", False)
    layerColumnVisible = stored(bool, "layerColumnVisible", False)
    filterBarVisible = stored(bool, "filterBarVisible", False)
    jumpToSelectedSegmentEnabled = stored(bool, "jumpToSelectedSegmentEnabled", False)
    selectionMode = stored(int, "selectionMode", 3)
    segmentCount = Property(int, lambda self: self._table.rowCount)

    def tableWidget(self):
        return self._table

    def displayedSegmentIDs(self):
        return (
            tuple(self._segmentation.GetSegmentation().GetSegmentIDs())
            if self._segmentation
            else ()
        )

    def _update(self):
        ids = self.displayedSegmentIDs()
        self._table.rowCount = len(ids)
        for row, segment_id in enumerate(ids):
            segment = self._segmentation.GetSegmentation().GetSegment(segment_id)
            swatch = QtWidgets.QTableWidgetItem()
            swatch.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            self._table.setItem(row, 0, swatch)
            self._table.setItem(row, 1, QtWidgets.QTableWidgetItem(segment.GetName()))

    def selectedSegmentIDs(self):
        rows = sorted({index.row() for index in self._table.selectedIndexes()})
        return tuple(self.displayedSegmentIDs()[row] for row in rows)

    def setSelectedSegmentIDs(self, ids):
        self.clearSelection()
        for row, segment_id in enumerate(self.displayedSegmentIDs()):
            if segment_id in ids:
                self._table.selectRow(row)

    def clearSelection(self):
        self._table.clearSelection()

    def rowForSegmentID(self, segment_id):
        ids = self.displayedSegmentIDs()
        return ids.index(segment_id) if segment_id in ids else -1

    def segmentIDForRow(self, row):
        return self.displayedSegmentIDs()[row]


@standin
class qMRMLSegmentationShow3DButton(ctkMenuButton):
    """Makes or removes the closed surfaces of a segmentation, and nothing else: display nodes,
    visibility and opacity are left as they are."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._segmentation, self._observations = None, Observations()
        native(self, "destroyed").connect(self._observations.clear)
        native(self, "setText")("Show 3D")
        native(self, "setCheckable")(True)
        native(self, "setEnabled")(False)
        native(self, "toggled").connect(self._toggle)

    locked = stored(bool, "locked", False, lambda self: self._update())

    def segmentationNode(self):
        return self._segmentation

    @Slot(object)
    def setSegmentationNode(self, node):
        self._observations.clear()
        self.__dict__["_segmentation"] = node
        kinds = slicer.vtkSegmentation
        events = (
            kinds.SegmentAdded,
            kinds.SegmentRemoved,
            kinds.ContainedRepresentationNamesModified,
        )
        for event in events if node else ():
            self._observations.add(node, event, lambda *_: self._update())
        self._update()

    def _has_surface(self):
        name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        return self._segmentation.GetSegmentation().ContainsRepresentation(name)

    def _update(self):
        node = self._segmentation
        filled = bool(node) and node.GetSegmentation().GetNumberOfSegments() > 0
        native(self, "setEnabled")(filled and not self.locked)
        native(self, "blockSignals")(True)
        native(self, "setChecked")(bool(node) and self._has_surface())
        native(self, "blockSignals")(False)

    def _toggle(self, on):
        if self._segmentation is None:
            return
        segmentation, display = self._segmentation.GetSegmentation(), None
        surfaces = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        if not on:
            segmentation.RemoveRepresentation(surfaces)
        elif segmentation.CreateRepresentation(surfaces):
            display = self._segmentation.GetDisplayNode()
        if display is not None:
            display.SetPreferredDisplayRepresentationName3D(surfaces)


def added_node(callback):
    """An observer for vtkMRMLScene.NodeAddedEvent and its like that is given the node."""

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def observer(caller, event, node):
        callback(node)

    return observer
