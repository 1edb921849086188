"""qMRMLNodeComboBox: the node selector, on the real scene."""

import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from .properties import row_layout, stored
from .pythonqt import native
from .qmrml_widgets import Observations, added_node
from .uiloader import standin

VERBS = (
    ("Create new", "addEnabled"),
    ("Rename current", "renameEnabled"),
    ("Edit current", "editEnabled"),
    ("Delete current", "removeEnabled"),
)


def _refresh(box):
    box._refresh()


@standin
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Selects a node of the scene. As in Slicer, a node that appears later is not selected."""

    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAddedByUserAction = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.__dict__.update(_scene=None, _node=None, _attributes=[], _labels={})
        self._observations = Observations()
        native(self, "destroyed").connect(self._observations.clear)
        self._combo = QtWidgets.QComboBox(self)
        row_layout(self, self._combo)
        native(self._combo, "activated").connect(self._activated)
        native(self._combo, "setEnabled")(False)  # until there is a scene

    nodeTypes = stored("QStringList", "nodeTypes", [], _refresh)
    showHidden = stored(bool, "showHidden", False, _refresh)
    showChildNodeTypes = stored(bool, "showChildNodeTypes", True, _refresh)
    hideChildNodeTypes = stored("QStringList", "hideChildNodeTypes", [], _refresh)
    baseName = stored(str, "baseName", "")
    noneDisplay = stored(str, "noneDisplay", "None", _refresh)
    noneEnabled = stored(bool, "noneEnabled", False, _refresh)
    addEnabled = stored(bool, "addEnabled", True, _refresh)
    removeEnabled = stored(bool, "removeEnabled", True, _refresh)
    renameEnabled = stored(bool, "renameEnabled", False, _refresh)
    editEnabled = stored(bool, "editEnabled", False, _refresh)
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)
    currentNodeID = Property(
        str, lambda s: s._node.GetID() if s._node else "", lambda s, v: s.setCurrentNodeID(v)
    )

    def mrmlScene(self):
        return self._scene

    @Slot(object)
    def setMRMLScene(self, scene):
        self._observations.clear()
        self.__dict__["_scene"] = scene
        native(self._combo, "setEnabled")(scene is not None)
        if scene:
            events = slicer.vtkMRMLScene
            add = self._observations.add
            add(scene, events.NodeAddedEvent, added_node(self._added))
            add(scene, events.NodeAboutToBeRemovedEvent, added_node(self._leaving))
            add(scene, events.NodeRemovedEvent, added_node(self._refresh))
            add(scene, events.EndCloseEvent, lambda *_: self._refresh())
            add(scene, events.EndImportEvent, lambda *_: self._refresh())
        self._refresh()

    def _added(self, node):
        if self._accepts(node):
            self.nodeAdded.emit(node)
            self._refresh()

    def _leaving(self, node):
        if self._accepts(node):
            self.nodeAboutToBeRemoved.emit(node)

    def addAttribute(self, nodeType, name, value=None):
        self._attributes.append((nodeType, name, value))
        self._refresh()

    def removeAttribute(self, nodeType, name):
        self._attributes[:] = [a for a in self._attributes if a[:2] != (nodeType, name)]
        self._refresh()

    def setNodeTypeLabel(self, label, nodeType):
        self._labels[nodeType] = label
        self._refresh()

    def nodeTypeLabel(self, nodeType):
        default = slicer.mrmlScene.GetTypeDisplayNameByClassName(nodeType) or nodeType[7:-4]
        return self._labels.get(nodeType) or default

    def _accepts(self, node):
        if node is None or (node.GetHideFromEditors() and not self.showHidden):
            return False
        return any(self._is_kind(node, kind) for kind in self.nodeTypes) and all(
            node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name))
            for kind, name, value in self._attributes
            if node.IsA(kind)
        )

    def _is_kind(self, node, kind):
        if node.GetClassName() == kind:
            return True
        hidden = node.GetClassName() in self.hideChildNodeTypes
        return self.showChildNodeTypes and node.IsA(kind) and not hidden

    def _nodes(self):
        if not self._scene:
            return []
        count = self._scene.GetNumberOfNodes()
        return [n for n in map(self._scene.GetNthNode, range(count)) if self._accepts(n)]

    def _refresh(self, removed=None):
        nodes = self._nodes()
        keeps = removed is not self._node and any(node is self._node for node in nodes)
        box = self._combo
        box.clear()
        if self.noneEnabled:
            box.addItem(self.noneDisplay, None)
        box.placeholderText = f"Select a {self._label()}"
        for node in nodes:
            box.addItem(node.GetName(), node.GetID())
        for verb, enabled in VERBS:
            if getattr(self, enabled):
                box.addItem(f"{verb} {self._label()}", verb)
        self._select(self._node if keeps else None)

    def _label(self):
        return self.nodeTypeLabel(self.nodeTypes[0]) if self.nodeTypes else "node"

    def _select(self, node):
        nothing = 0 if self.noneEnabled else -1
        self._combo.currentIndex = self._combo.findData(node.GetID()) if node else nothing
        if node is not self._node:
            self.__dict__["_node"] = node
            self.currentNodeChanged[object].emit(node)
            self.currentNodeChanged[bool].emit(node is not None)
            self.currentNodeIDChanged.emit(node.GetID() if node else "")

    def _activated(self, index):
        chosen = self._combo.itemData(index)
        if chosen == "Create new":
            self.nodeAddedByUserAction.emit(self.addNode())
        elif chosen == "Delete current":
            self.removeCurrentNode()
        elif chosen == "Rename current":
            self.renameCurrentNode()
        elif chosen == "Edit current":
            self.nodeAboutToBeEdited.emit(self._node)
            self._refresh()
        else:
            self._select(self._scene.GetNodeByID(chosen) if chosen else None)
            self.nodeActivated.emit(self._node)

    # Slots and invokables

    def currentNode(self):
        return self._node

    def nodeCount(self):
        return len(self._nodes())

    def nodeFromIndex(self, index):
        nodes = self._nodes()
        return nodes[index] if 0 <= index < len(nodes) else None

    @Slot(object)
    def setCurrentNode(self, node):
        if isinstance(node, str):
            node = self._scene.GetNodeByID(node) if node else None
        if node is not None and not any(n is node for n in self._nodes()):
            return  # as in Slicer: a node of another type or scene is not selected
        self._select(node)

    def setCurrentNodeID(self, node_id):
        self.setCurrentNode(node_id or None)

    def setCurrentNodeIndex(self, index):
        self._select(self.nodeFromIndex(index))

    def addNode(self, nodeType=None):
        kind = nodeType or self.nodeTypes[0]
        name = self._scene.GenerateUniqueName(self.baseName or self._label())
        node = self._scene.AddNewNodeByClass(kind, name)
        for attribute_kind, attribute, value in self._attributes:
            if node.IsA(attribute_kind):
                node.SetAttribute(attribute, value or "")
        if self.selectNodeUponCreation:
            self._select(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self):
        if self._node is not None:
            self._scene.RemoveNode(self._node)

    def renameCurrentNode(self):
        if self._node is not None:
            ask = QtWidgets.QInputDialog.getText
            name, agreed = ask(self, "Rename", "New name:", text=self._node.GetName())
            if agreed and name:
                self._node.SetName(name)
        self._refresh()
