"""How sure the model was of each tumor voxel of a result, for as long as Slicer runs.

    keepCertainty(segmentationNode, volumeNode, certaintyKji)     after a run; None when it has none
    certainty = certaintyOf(segmentationNode, volumeNode)         None when it is not known
    certainty.within(box)

It is not part of the scene: the node has a token, and what the token stands for is kept here. A run
into the same node, or its removal, takes the token away; what the run had replaced comes back with
its own. Only the box around the tumors is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
import slicer

from .segments import TAG, boxAround

TOKEN = TAG + "Certainty"  # attribute of a segmentation node

_kept: dict[str, Certainty] = {}


@dataclass(frozen=True, eq=False)
class Certainty:
    """valuesKji: uint8, 255 times the probability of tumor; 0 for what the model has not marked.

    startKji: the first voxel of the CT that they are of. volumeId, shapeKji: that CT.
    """

    valuesKji: np.ndarray
    startKji: tuple[int, int, int]
    volumeId: str
    shapeKji: tuple[int, ...]

    def within(self, box: tuple[slice, slice, slice]) -> np.ndarray:
        """Those of a box of the CT's voxels; 0 where nothing is kept."""
        result = np.zeros([side.stop - side.start for side in box], np.uint8)
        target, source = [], []
        for side, start, count in zip(box, self.startKji, self.valuesKji.shape, strict=True):
            low, high = max(side.start, start), min(side.stop, start + count)
            high = max(low, high)  # nothing in common
            target.append(slice(low - side.start, high - side.start))
            source.append(slice(low - start, high - start))
        result[tuple(target)] = self.valuesKji[tuple(source)]
        return result


def keepCertainty(segmentationNode: Any, volumeNode: Any, certaintyKji: np.ndarray | None) -> None:
    """Keep what came with the result in a segmentation; those of segmentations now gone go.

    certaintyKji: uint8 ``(k, j, i)`` on the grid of ``volumeNode``, or None.
    """
    segmentationNode.RemoveAttribute(TOKEN)
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    wanted = {node.GetAttribute(TOKEN) for node in nodes}
    for token in set(_kept) - wanted:
        del _kept[token]
    box = None if certaintyKji is None else boxAround(certaintyKji)
    if certaintyKji is None or box is None:
        return
    token, start = uuid4().hex, (box[0].start, box[1].start, box[2].start)
    values = certaintyKji[box].copy()
    _kept[token] = Certainty(values, start, volumeNode.GetID(), certaintyKji.shape)
    segmentationNode.SetAttribute(TOKEN, token)


def certaintyOf(segmentationNode: Any, volumeNode: Any) -> Certainty | None:
    """That of a segmentation on a CT; None when it is not known, or was of another CT."""
    certainty = _kept.get(segmentationNode.GetAttribute(TOKEN) or "")
    shapeKji = volumeNode.GetImageData().GetDimensions()[::-1]
    if certainty is None or certainty.volumeId != volumeNode.GetID():
        return None
    return certainty if tuple(certainty.shapeKji) == tuple(shapeKji) else None
