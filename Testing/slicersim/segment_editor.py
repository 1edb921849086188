"""The Segment Editor: its widget's selections on the real parameter node, without the effects."""

import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Signal, Slot

from .properties import stored
from .pythonqt import native
from .qmrml_widgets import Observations, qMRMLSegmentsTableView, qMRMLWidget
from .scripted import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from .uiloader import standin

SINGLETON = "SegmentEditor"  # tag of the parameter node that the module's own editor uses
EFFECTS = ("Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds")
EFFECTS += ("Fill between slices", "Margin", "Hollow", "Smoothing", "Scissors", "Islands")
EFFECTS += ("Logical operators", "Mask volume")


class Effect:
    """An effect that is only chosen, never applied."""

    def __init__(self, name):
        self.name = name


@standin
class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Keeps its selections in a real vtkMRMLSegmentEditorNode."""

    segmentationNodeSelectorVisible = stored(bool, "segmentationNodeSelectorVisible", True)
    sourceVolumeNodeSelectorVisible = stored(bool, "sourceVolumeNodeSelectorVisible", True)
    switchToSegmentationsButtonVisible = stored(bool, "switchToSegmentationsButtonVisible", True)
    undoEnabled = stored(bool, "undoEnabled", True)
    readOnly = stored(bool, "readOnly", False)
    maximumNumberOfUndoStates = stored(int, "maximumNumberOfUndoStates", 10)

    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)
    currentSegmentIDChanged = Signal(str)
    activeEffectChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.__dict__.update(_node=None, _effect=None)
        self._title, self._table = QtWidgets.QLabel("No segmentation"), qMRMLSegmentsTableView()
        column = QtWidgets.QVBoxLayout(self)
        column.addWidget(self._title)
        column.addWidget(self._table)

    def mrmlSegmentEditorNode(self):
        return self._node

    @Slot(object)
    def setMRMLSegmentEditorNode(self, node):
        self.__dict__["_node"] = node
        self.updateWidgetFromMRML()

    def _editor_node(self):
        if self._node is None:
            raise RuntimeError("call setMRMLSegmentEditorNode before anything is selected")
        return self._node

    def updateWidgetFromMRML(self):
        node = self.segmentationNode()
        self._title.text = node.GetName() if node else "No segmentation"
        self._table.setSegmentationNode(node)
        self._table.setSelectedSegmentIDs([self.currentSegmentID()])

    def segmentationNode(self):
        return self._node.GetSegmentationNode() if self._node else None

    def segmentationNodeID(self):
        node = self.segmentationNode()
        return node.GetID() if node else ""

    def setSegmentationNode(self, node):
        """Also picks the volume the segmentation was made from and the first segment, as Slicer."""
        if node is self.segmentationNode():
            return
        editor = self._editor_node()
        editor.SetAndObserveSegmentationNode(node)
        if node:
            role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
            if node.GetNodeReference(role):
                self.setSourceVolumeNode(node.GetNodeReference(role))
            if node.GetDisplayNode() is None:
                node.CreateDefaultDisplayNodes()
        ids = node.GetSegmentation().GetSegmentIDs() if node else ()
        editor.SetSelectedSegmentID(ids[0] if ids else "")
        self.updateWidgetFromMRML()
        self.segmentationNodeChanged.emit(node)

    def setSegmentationNodeID(self, node_id):
        self.setSegmentationNode(slicer.mrmlScene.GetNodeByID(node_id) if node_id else None)

    def sourceVolumeNode(self):
        return self._node.GetSourceVolumeNode() if self._node else None

    def sourceVolumeNodeID(self):
        node = self.sourceVolumeNode()
        return node.GetID() if node else ""

    def setSourceVolumeNode(self, node):
        self._editor_node().SetAndObserveSourceVolumeNode(node)
        self.sourceVolumeNodeChanged.emit(node)

    def setSourceVolumeNodeID(self, node_id):
        self.setSourceVolumeNode(slicer.mrmlScene.GetNodeByID(node_id) if node_id else None)

    def currentSegmentID(self):
        return (self._node.GetSelectedSegmentID() or "") if self._node else ""

    def setCurrentSegmentID(self, segment_id):
        self._editor_node().SetSelectedSegmentID(segment_id)
        self._table.setSelectedSegmentIDs([segment_id])
        self.currentSegmentIDChanged.emit(segment_id)

    def availableEffectNames(self):
        return EFFECTS

    def effectByName(self, name):
        return Effect(name) if name in EFFECTS else None

    def activeEffect(self):
        return self._effect

    def setActiveEffect(self, effect):
        self.__dict__["_effect"] = effect
        self._editor_node().SetActiveEffectName(effect.name if effect else "")
        self.activeEffectChanged.emit(effect)

    def setActiveEffectByName(self, name):
        self.setActiveEffect(self.effectByName(name))

    def setupViewObservations(self):
        """The real one listens to the mouse in the views."""

    removeViewObservations = setupViewObservations
    installKeyboardShortcuts = uninstallKeyboardShortcuts = setupViewObservations

    def turnOffLightboxes(self):
        return False


class SegmentEditor(ScriptedLoadableModule):
    """The module: what its Widget class needs, and no help."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "Segment Editor"
        parent.categories = ["", "Segmentation"]


class SegmentEditorWidget(ScriptedLoadableModuleWidget):
    """The module's panel; ``slicer.modules.SegmentEditorWidget.editor`` once it was opened."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.parameterSetNode, self.editor = None, None
        self._observations = Observations()

    def setup(self):
        self.editor = qMRMLSegmentEditorWidget()
        self.selectParameterNode()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.layout.addWidget(self.editor)
        events = slicer.vtkMRMLScene
        self._observations.add(slicer.mrmlScene, events.StartCloseEvent, self.onSceneStartClose)
        for event in (events.EndCloseEvent, events.EndImportEvent):
            self._observations.add(slicer.mrmlScene, event, self.onSceneEnd)

    def selectParameterNode(self):
        """The scene's editor node with the module's tag; a new one if there is none."""
        kind = "vtkMRMLSegmentEditorNode"
        node = slicer.mrmlScene.GetSingletonNode(SINGLETON, kind)
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(SINGLETON)
            node = slicer.mrmlScene.AddNode(node)
        if node is not self.parameterSetNode:
            self.parameterSetNode = node
            self.editor.setMRMLSegmentEditorNode(node)

    def enter(self):
        """As in Slicer a segmentation is made where there is none."""
        self.selectParameterNode()
        self.editor.updateWidgetFromMRML()
        if not self.editor.segmentationNodeID():
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
            make = slicer.mrmlScene.AddNewNodeByClass
            self.editor.setSegmentationNode(first or make("vtkMRMLSegmentationNode"))

    def exit(self):
        self.editor.setActiveEffect(None)

    def onSceneStartClose(self, caller, event):
        self.parameterSetNode = None
        self.editor.setSegmentationNode(None)

    def onSceneEnd(self, caller, event):
        if self.parent.isEntered:
            self.selectParameterNode()
            self.editor.updateWidgetFromMRML()

    def cleanup(self):
        self._observations.clear()
        native(self.editor, "deleteLater")()
