"""Data of a run that are held for a segmentation beside the scene, for this session of Slicer.

keepForLater(segmentationNode, steps, seen, onePerLesion)      # when a run ends
kept = keptFor(segmentationNode)                               # None where nothing was left
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from LiverTumorSegLib.result.step_labels import StepLabels, TumorSeen

from .geometry import isInScene


@dataclass(eq=False)
class Kept:
    """Data that the last run left for a segmentation.

    step: the sensitivity that the segments have now. touched: of the voxels of ``steps``, those
    that a person has changed or judged at some step; they stay so at every other.
    """

    segmentationNode: Any
    steps: StepLabels | None
    seen: TumorSeen | None
    onePerLesion: bool
    step: int = 0
    touched: np.ndarray | None = None


_kept: list[Kept] = []


def keepForLater(
    segmentationNode: Any, steps: StepLabels | None, seen: TumorSeen | None, onePerLesion: bool
) -> None:
    """Hold these data while the segmentation is in the scene, in place of an earlier run's."""
    forget(segmentationNode)
    if steps is not None or seen is not None:
        _kept.append(Kept(segmentationNode, steps, seen, onePerLesion))


def keptFor(segmentationNode: Any) -> Kept | None:
    """The data of a segmentation's run in this session; None where there is nothing."""
    _prune()
    return next((one for one in _kept if one.segmentationNode is segmentationNode), None)


def forget(segmentationNode: Any) -> None:
    """The result is taken away, or another one takes its place."""
    _prune()
    _kept[:] = [one for one in _kept if one.segmentationNode is not segmentationNode]


def _prune() -> None:
    _kept[:] = [one for one in _kept if isInScene(one.segmentationNode)]
