"""slicer.app.ioManager(): reads and writes node files with the real storage nodes."""

import os
import re

import slicer

VALID_CHARACTER = re.compile(r"[A-Za-z0-9 \-_.()$!~#'%^{}]")

TYPES = {
    ".mrml": "SceneFile",
    ".mrb": "SceneFile",
    ".seg.nrrd": "SegmentationFile",
    ".seg.nhdr": "SegmentationFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
    ".stl": "ModelFile",
    ".ply": "ModelFile",
    ".vtp": "ModelFile",
    ".mrk.json": "MarkupsFile",
}
STORAGE = {
    "SegmentationFile": ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode"),
    "TableFile": ("vtkMRMLTableNode", "vtkMRMLTableStorageNode"),
    "ModelFile": ("vtkMRMLModelNode", "vtkMRMLModelStorageNode"),
    "TransformFile": ("vtkMRMLLinearTransformNode", "vtkMRMLTransformStorageNode"),
}


class IOManager:
    """Loads and saves nodes and scenes; file types by the ending of the name."""

    def fileType(self, name):
        endings = (kind for end, kind in TYPES.items() if str(name).lower().endswith(end))
        return next(endings, "VolumeFile")

    def forceFileNameValidCharacters(self, name):
        """Without what is likely to be trouble in a file name."""
        return "".join(c for c in name if VALID_CHARACTER.fullmatch(c)).strip()

    def fileWriterFileType(self, node):
        return type(node).__name__

    def loadNodes(self, fileType, properties, loaded=None, messages=None):
        path = properties["fileName"]
        if not os.path.exists(path):
            return False
        if fileType == "SceneFile":
            return self.loadScene(path, properties.get("clear", False))
        name = properties.get("name") or os.path.basename(path).split(".")[0]
        volume = fileType == "VolumeFile"
        node = self._read_volume(path, name, properties) if volume else _read(path, name, fileType)
        if node is None:
            return False
        if loaded is not None:
            loaded.AddItem(node)
        return True

    def _read_volume(self, path, name, properties):
        options = 1 if properties.get("labelmap") else 0
        node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name, options, None)
        if node and properties.get("show", True) and slicer.app.layoutManager():
            slicer.util.setSliceViewerLayers(background=node, fit=True)
        return node

    def saveNodes(self, fileType, properties, messages=None):
        if fileType == "SceneFile":
            return self.saveScene(properties["fileName"])
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(properties["fileName"])
        storage = node.GetStorageNode()
        storage.SetFileName(properties["fileName"])
        if "useCompression" in properties:
            storage.SetUseCompression(properties["useCompression"])
        return bool(storage.WriteData(node))

    def loadScene(self, path, clear=True):
        scene = slicer.mrmlScene
        if clear:
            scene.Clear(False)
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, False))
        scene.SetURL(path)
        return bool(scene.Import())

    def saveScene(self, path, *_):
        scene = slicer.mrmlScene
        scene.SetRootDirectory(os.path.dirname(os.path.abspath(path)))
        scene.SetURL(path)
        return bool(scene.WriteToMRB(path) if path.endswith(".mrb") else scene.Commit(path))


def _read(path, name, fileType):
    """A node of another kind than a volume, or None when its file cannot be read."""
    node_class, storage_class = STORAGE[fileType]
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass(node_class, scene.GenerateUniqueName(name))
    storage = scene.AddNewNodeByClass(storage_class)
    storage.SetFileName(path)
    node.SetAndObserveStorageNodeID(storage.GetID())
    if not storage.ReadData(node):
        scene.RemoveNode(node)
        scene.RemoveNode(storage)
        return None
    if hasattr(node, "CreateDefaultDisplayNodes"):
        node.CreateDefaultDisplayNodes()
    return node
