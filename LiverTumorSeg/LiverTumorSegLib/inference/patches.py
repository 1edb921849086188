"""A patch network over a whole CT, as either of a cascade's two; see ``sliding_window``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.volume import CtVolume

from .grids import SquareGrid
from .prediction import ClassMaps, Half, Mask
from .preprocess_volume import VolumePreprocessing, resample_mask
from .progress import Progress
from .region import LiverRegion
from .runner import OnDevice, WithRunner
from .sliding_window import PatchPredictor, SlidingWindow

ALL_AXES = (0, 1, 2)


class Runner(PatchPredictor, OnDevice, Protocol):
    """The interface of :class:`network.PatchRunner`.

    It takes patches (B, channels, k, j, i) and gives the probability of its class (B, 1, k, j, i).
    """


@dataclass
class PatchNetwork(WithRunner[Runner]):
    """A patch network with its preprocessing, and how a volume is covered by patches."""

    preprocessing: VolumePreprocessing
    window: SlidingWindow

    @property
    def work_px(self) -> float:
        """Pixels of a slice: what a slice costs."""
        return float(self.preprocessing.size_px**2)

    def liver_maps(self, lps: CtVolume, progress: Progress) -> tuple[ClassMaps, int]:
        """Probabilities as the first network of a cascade, and the number of slices run."""
        progress(0.0, "Preparing the CT")
        image = self.preprocessing(lps.hu, lps.spacing_kji_mm)
        probability = self._probability(self.preprocessing.channels(image), progress)
        return _maps(probability, self._grid(lps)), len(probability)

    def tumor_maps(self, lps: CtVolume, region: LiverRegion, progress: Progress) -> ClassMaps:
        """Probabilities as the second network of a cascade, within its search region only.

        The region is the liver with the margin that the network was trained with.
        """
        steps = self.preprocessing
        image = steps(lps.hu, lps.spacing_kji_mm)
        if steps.needs_liver:
            liver = resample_mask(region.liver, steps.size_px)
            search = steps.search_region(liver, lps.spacing_kji_mm, lps.shape_kji)
        else:
            search = resample_mask(region.search, steps.size_px)
        if not search.any():
            return ClassMaps(self._grid(lps))
        channels = steps.channels(image, search)
        del image  # 40 MB of 300 slices, as each of these arrays
        probability = self._probability(channels, progress, search)
        probability[~search] = 0
        return _maps(probability, self._grid(lps))

    def _grid(self, lps: CtVolume) -> SquareGrid:
        return self.preprocessing.grid(lps.shape_kji[1:], lps.spacing_kji_mm[1:])

    def _probability(
        self, channels: Half, progress: Progress, where: Mask | None = None
    ) -> NDArray[np.float16]:
        """Of the class in each voxel; (channels, k, j, i) to (k, j, i); 0 may be beyond where."""
        result = np.zeros(channels.shape[1:], np.float16)
        for first, slab in self.window.slabs(channels, self.runner, progress, where=where):
            result[first : first + slab.shape[1]] = slab[0]
        return result


def _maps(probability: Half, grid: SquareGrid) -> ClassMaps:
    return ClassMaps(grid, {k: layer[None] for k, layer in enumerate(probability) if layer.any()})
