"""A patch network that finds liver and tumors by itself, over a whole CT.

network = VolumeNetwork(runner, ResampledPreprocessing(), SlidingWindow(patch_kji=(96, 96, 96)))
prediction = network.predict(lps, progress)     # of background, liver and tumor
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from LiverTumorSegLib.volume import CtVolume

from .patches import Runner
from .prediction import Prediction
from .preprocess_resampled import ResampledPreprocessing
from .progress import Progress, native_slices, no_progress, subrange
from .runner import WithRunner
from .sliding_window import SlidingWindow

PREPARED, RUN = 0.05, 0.95  # of a prediction's progress


@dataclass
class VolumeNetwork(WithRunner[Runner]):
    """A patch network of three classes, as networks from elsewhere are.

    runner: takes patches (B, 1, k, j, i) along the network's axes and gives the probabilities of
        liver and tumor (B, 2, k, j, i).
    """

    preprocessing: ResampledPreprocessing
    window: SlidingWindow

    def predict(self, lps: CtVolume, progress: Progress = no_progress) -> Prediction:
        """Liver and tumor in a CT in LPS order; progress is called after every batch of windows."""
        progress(0.0, "Preparing the CT")
        image = self.preprocessing(lps)
        try:
            probabilities = self.window(image[None], self.runner, subrange(progress, PREPARED, RUN))
            warnings = tuple(self.runner.warnings)
        finally:  # cancelled or not, what happened in this run is no news in the next
            self.runner.warnings.clear()
        del image
        maps = self.preprocessing.to_maps(probabilities, lps)
        liver_lps = np.zeros(lps.shape_kji, np.bool_)
        for k in native_slices(lps.shape_kji[0], subrange(progress, RUN, 1.0)):
            if k in maps.by_slice:
                liver_lps[k] = maps.is_foreground_native(k)
        return Prediction.of_one_network(
            liver_lps, maps, lps.spacing_kji_mm, slices_run=len(liver_lps), warnings=warnings
        )
