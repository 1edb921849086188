"""Probabilities of the network as volumes that one can overlay or threshold.

Percent in uint8: a CT of 512 x 512 x 300 voxels takes 79 MB a volume so, 315 MB as float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from LiverTumorSegLib.labels import Label
from slicer.i18n import tr as _

from .geometry import ijkToRas, isInScene, placeBeside, toMatrix

ROLE = "LiverTumorSeg.Probability"  # node reference of the segmentation; attribute of a volume
SHOWN = (Label.LIVER, Label.TUMOR)


def addProbabilityVolumes(
    probabilities: np.ndarray, volumeNode: Any, segmentationNode: Any
) -> list:
    """A volume each for liver and tumor, beside the CT; the segmentation refers to them.

    probabilities: float16 ``(3, k, j, i)``, 0 to 1, on the CT's grid. Those of an earlier run stay.
    """
    nodes = [_addVolume(probabilities[label], label, volumeNode) for label in SHOWN]
    for number, node in enumerate(nodes):
        segmentationNode.SetNthNodeReferenceID(ROLE, number, node.GetID())
    return nodes


def probabilityVolumesOf(segmentationNode: Any) -> list:
    """The volumes that came with a segmentation's last run; [] when it made none."""
    count = segmentationNode.GetNumberOfNodeReferences(ROLE)
    nodes = (segmentationNode.GetNthNodeReference(ROLE, n) for n in range(count))
    return [node for node in nodes if isInScene(node)]


def tumorShareOf(segmentationNode: Any, volumeNode: Any) -> np.ndarray | None:
    """255 times the probability of tumor, uint8 on the CT's grid; None where no run has left it."""
    tumor = Label.TUMOR.display_name
    volumes = probabilityVolumesOf(segmentationNode)
    node = next((one for one in volumes if one.GetAttribute(ROLE) == tumor), None)
    if node is None:
        return None
    percentKji = slicer.util.arrayFromVolume(node)
    if percentKji.shape != volumeNode.GetImageData().GetDimensions()[::-1]:
        return None
    share: np.ndarray = (percentKji.astype(np.uint16) * 255 // 100).astype(np.uint8)
    return share


def isProbabilityVolume(volumeNode: Any) -> bool:
    """Whether a volume is one of these, and so no CT."""
    return bool(volumeNode.GetAttribute(ROLE))


def forgetProbabilityVolumes(segmentationNode: Any) -> None:
    """A new run has none: those there are belong to an earlier result, and stay in the scene."""
    segmentationNode.RemoveNodeReferenceIDs(ROLE)


def _addVolume(probabilityKji: np.ndarray, label: Label, volumeNode: Any) -> Any:
    percentKji = np.empty(probabilityKji.shape, np.uint8)
    for k, plane in enumerate(probabilityKji):  # by plane: no wider copy of the whole volume
        percentKji[k] = np.rint(plane.astype(np.float32) * 100)
    name = _("{volume} {structure} probability (%)").format(
        volume=volumeNode.GetName(), structure=label.display_name.lower()
    )
    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name)
    )
    slicer.util.updateVolumeFromArray(node, percentKji)
    node.SetIJKToRASMatrix(toMatrix(ijkToRas(volumeNode)))
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    node.SetAttribute(ROLE, label.display_name)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 100)
    placeBeside(node, volumeNode)
    return node
