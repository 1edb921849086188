"""Makes the items of the subject hierarchy, as Qt plugins do in Slicer.

No pointer to the hierarchy node is kept: the scene replaces it when it is cleared.
"""

import slicer
from PySide6 import QtCore

from .qmrml_widgets import added_node


def _tree(scene):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def _is_listed(node):
    return isinstance(node, slicer.vtkMRMLDisplayableNode | slicer.vtkMRMLTableNode)


def _add(scene, node):
    tree = _tree(scene)
    if _is_listed(node) and not node.GetHideFromEditors() and not tree.GetItemByDataNode(node):
        tree.CreateItem(tree.GetSceneItemID(), node)


def follow(scene):
    """From now on each displayable node and table has an item, and loses it when it goes."""

    def added(node):
        if not scene.IsImporting() and not scene.IsClosing():
            _add(scene, node)
        if node.IsA("vtkMRMLSegmentationNode"):
            _watch_segments(node)

    def leaving(node):
        tree = None if scene.IsClosing() else _tree(scene)
        if tree and _is_listed(node) and tree.GetItemByDataNode(node):
            tree.RemoveItem(tree.GetItemByDataNode(node), False, False)

    def imported(*_):
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(scene)
        for number in range(scene.GetNumberOfNodes()):
            _add(scene, scene.GetNthNode(number))

    events = slicer.vtkMRMLScene
    scene.AddObserver(events.NodeAddedEvent, added_node(added))
    scene.AddObserver(events.NodeAboutToBeRemovedEvent, added_node(leaving))
    scene.AddObserver(events.EndImportEvent, imported)


def _watch_segments(node):
    """Slicer's plugin follows the segments of every segmentation of the scene, hidden ones too."""

    def changed(node, event):
        scene = node.GetScene()
        if scene is None or scene.IsImporting() or scene.IsClosing():
            return
        if not _tree(scene).GetItemByDataNode(node):
            name = node.GetName()
            QtCore.qCritical(
                f"Failed to access subject hierarchy item for segmentation node {name}"
            )

    events = slicer.vtkSegmentation
    for event in (events.SegmentAdded, events.SegmentRemoved, events.SegmentModified):
        node.AddObserver(event, changed)
