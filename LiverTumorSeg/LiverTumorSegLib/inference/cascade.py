"""Two networks one after the other: the liver in the whole CT, then the tumors in and at the liver.

    cascade = Cascade(liver=SliceNetwork(...), tumor=PatchNetwork(...))
    prediction = cascade.predict(lps, progress)

As in G-UNETR++ (Shin et al. 2026). Any liver network goes with any tumor network, whether it takes
slices or patches. Each works on pixels of its own: a small liver network needs a wide view, and a
tumor network fine pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.volume import CtVolume

from .grids import HALF, SquareGrid
from .prediction import ClassMaps, Floats, Prediction
from .preprocess import SlicePreprocessing
from .preprocess_liver_box import LiverBoxPreprocessing
from .preprocess_volume import VolumePreprocessing, square_spacing_kji_mm
from .progress import Progress, native_slices, no_progress, stage_progress, subrange
from .region import CascadeSettings, LiverRegion, find_region

NETWORKS_DONE = 0.95  # of a prediction's progress
TUMOR_PART = 0.5  # of the CT, about, that the tumor network sees: the liver and what is around it

Mask = NDArray[np.bool_]


class StageNetwork(Protocol):
    """A network in one of the two places: a ``SliceNetwork`` or a ``PatchNetwork``."""

    @property
    def device(self) -> str: ...

    @property
    def warnings(self) -> list[str]: ...

    @property
    def work_px(self) -> float: ...

    @property
    def preprocessing(
        self,
    ) -> SlicePreprocessing | LiverBoxPreprocessing | VolumePreprocessing: ...

    def liver_maps(self, lps: CtVolume, progress: Progress) -> tuple[ClassMaps, int]: ...

    def tumor_maps(self, lps: CtVolume, region: LiverRegion, progress: Progress) -> ClassMaps: ...


@dataclass
class Cascade:
    """A liver and a tumor network, and how the second one's region comes from the first's liver."""

    liver: StageNetwork
    tumor: StageNetwork
    settings: CascadeSettings = field(default_factory=CascadeSettings)

    @property
    def device(self) -> str:
        """Where the networks are; the CPU if one of them had to go there."""
        devices = self.liver.device, self.tumor.device
        return "cpu" if "cpu" in devices else devices[1]

    @property
    def warnings(self) -> list[str]:
        """Both networks' warnings, each once."""
        return list(dict.fromkeys([*self.liver.warnings, *self.tumor.warnings]))

    @property
    def preprocessing(self) -> SlicePreprocessing | LiverBoxPreprocessing | VolumePreprocessing:
        """The tumor network's."""
        return self.tumor.preprocessing

    def predict(self, lps: CtVolume, progress: Progress = no_progress) -> Prediction:
        """Liver and tumor in a CT in LPS order; without a liver nothing is looked for in it."""
        tumor_px = TUMOR_PART * self.tumor.work_px
        liver_done = NETWORKS_DONE * self.liver.work_px / (self.liver.work_px + tumor_px)
        try:
            liver, slices_run = self.liver.liver_maps(
                lps, stage_progress(progress, 0.0, liver_done, "Liver")
            )
            progress(liver_done, "Preparing the liver")
            region = self._region(lps, liver)
            tumor = ClassMaps(liver.grid)
            if region.liver.any() and region.liver_ml >= self.settings.smallest_liver_ml:
                tumor = self.tumor.tumor_maps(
                    lps, region, stage_progress(progress, liver_done, NETWORKS_DONE, "Tumor")
                )
            warnings = tuple(self.warnings)
        finally:  # cancelled or not, what happened in this run is no news in the next
            self.liver.warnings.clear()
            self.tumor.warnings.clear()
        return self._prediction(
            lps, liver, tumor, slices_run, warnings, subrange(progress, NETWORKS_DONE, 1.0)
        )

    def _region(self, lps: CtVolume, liver: ClassMaps) -> LiverRegion:
        grid = liver.grid
        assert isinstance(grid, SquareGrid)  # a network that finds the liver sees whole slices
        found = np.zeros((lps.shape_kji[0], *grid.shape_ji), np.bool_)
        for k, layers in liver.by_slice.items():
            found[k] = (layers.sum(axis=0) if len(layers) > 1 else layers[0]) > HALF
        spacing = square_spacing_kji_mm(lps.spacing_kji_mm, lps.shape_kji, grid.size_px)
        return find_region(found, grid, spacing, self.settings)

    def _prediction(
        self,
        lps: CtVolume,
        liver: ClassMaps,
        tumor: ClassMaps,
        slices_run: int,
        warnings: tuple[str, ...],
        progress: Progress,
    ) -> Prediction:
        """Both networks' predictions as one, with the masks that no decision changes."""
        liver_lps = np.zeros(lps.shape_kji, np.bool_)
        tumor_lps = np.zeros(lps.shape_kji, np.bool_) if tumor.has_liver else None
        join = tumor_lps is not None and self.settings.join_liver
        for k in native_slices(lps.shape_kji[0], progress):
            if join and k in tumor.by_slice:
                liver_lps[k] = _mean_foreground(liver, tumor, k) > HALF
            elif k in liver.by_slice and liver.by_slice[k].sum(axis=0).max() > HALF:
                liver_lps[k] = liver.foreground_native(k) > HALF
            if tumor_lps is not None and k in tumor.by_slice:
                tumor_lps[k] = tumor.is_foreground_native(k)
        return Prediction(
            liver_lps=liver_lps,
            tumor_lps=tumor_lps,
            liver=liver,
            tumor=tumor,
            spacing_kji_mm=lps.spacing_kji_mm,
            slices_run=slices_run,
            warnings=warnings,
        )


def _mean_foreground(liver: ClassMaps, tumor: ClassMaps, k: int) -> Floats:
    """The mean of both networks' foreground probabilities on slice k, (j, i)."""
    found = tumor.foreground_native(k)
    if k in liver.by_slice:
        found = found + liver.foreground_native(k)
    return found * np.float32(0.5)
