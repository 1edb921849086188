"""A network of axial slices over a whole CT: alone, or as either of a cascade's two.

network = SliceNetwork(runner, SlicePreprocessing())
prediction = network.predict(lps, progress)     # of background, liver and tumor
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.volume import CtVolume

from .coarse_search import CoarseSearch
from .grids import HALF, SquareGrid
from .prediction import ClassMaps, Floats, Mask, Prediction
from .preprocess import SlicePreprocessing
from .preprocess_liver_box import LiverBoxPreprocessing
from .preprocess_volume import square_spacing_kji_mm
from .progress import Progress, no_progress
from .region import LiverRegion
from .runner import OnDevice, WithRunner

HIT_PROBABILITY = 0.3  # of liver or tumor
HIT_AREA_MM2 = 100.0
BOX_SIDE_MM = 300.0  # about, of a box around a liver

Prepare = Callable[[list[int]], NDArray[Any]]
Note = Callable[[int, Floats, SquareGrid], bool]


class Runner(OnDevice, Protocol):
    """The interface of :class:`network.SliceRunner`."""

    batch: int

    def __call__(self, inputs: NDArray[Any], /) -> Floats: ...


@dataclass
class SliceNetwork(WithRunner[Runner]):
    """A network of slices with its preprocessing.

    coarse_search: skip slices that lie clearly outside the liver.
    """

    preprocessing: SlicePreprocessing | LiverBoxPreprocessing
    coarse_search: bool = True

    @property
    def work_px(self) -> float:
        """Pixels of a slice, about: what a slice costs."""
        if isinstance(self.preprocessing, LiverBoxPreprocessing):
            return (BOX_SIDE_MM / self.preprocessing.pixel_mm) ** 2
        return float(self.preprocessing.size_px**2)

    def predict(self, lps: CtVolume, progress: Progress = no_progress) -> Prediction:
        """Liver and tumor in a CT in LPS order; progress is called after every slice."""
        liver_lps = np.zeros(lps.shape_kji, np.bool_)

        def note(k: int, probabilities: Floats, grid: SquareGrid) -> bool:
            liver_lps[k] = is_foreground(grid.to_native(probabilities))
            return bool(liver_lps[k].any())

        try:
            maps, slices_run = self.liver_maps(lps, progress, note)
            warnings = tuple(self.runner.warnings)
        finally:  # cancelled or not, what happened in this run is no news in the next
            self.runner.warnings.clear()
        return Prediction.of_one_network(
            liver_lps, maps, lps.spacing_kji_mm, slices_run=slices_run, warnings=warnings
        )

    def liver_maps(
        self, lps: CtVolume, progress: Progress, note: Note | None = None
    ) -> tuple[ClassMaps, int]:
        """Probabilities on every slice that the search asks for, and the number of slices run.

        note: called with a likely slice, says whether it shows any liver or tumor.
        """
        note = note or _shows_foreground
        steps = self.preprocessing
        if isinstance(steps, LiverBoxPreprocessing):
            raise ValueError("This network needs to be shown the liver; run a liver network first.")
        count, rows, columns = lps.shape_kji
        grid = steps.grid((rows, columns), lps.spacing_kji_mm[1:])
        search = CoarseSearch(count, lps.spacing_kji_mm[0], coarse=self.coarse_search)
        _, *pixel_mm = square_spacing_kji_mm(lps.spacing_kji_mm, lps.shape_kji, steps.size_px)
        maps, slices_run = ClassMaps(grid), 0
        progress(0.0, "Looking for the liver")
        for chunk, inputs in self._inputs(search.groups(), self._grays(lps)):
            for k, probabilities in zip(chunk, self.runner(inputs), strict=True):
                likely = probabilities[..., 1:].max(axis=2) > HIT_PROBABILITY
                likely_mm2 = np.count_nonzero(likely) * pixel_mm[0] * pixel_mm[1]
                found = False
                if likely_mm2 > 0:
                    maps.by_slice[k] = _foreground(probabilities)
                    found = note(k, probabilities, grid)
                search.record(k, hit=bool(likely_mm2 >= HIT_AREA_MM2), empty=not found)
                slices_run += 1
                progress(search.fraction, search.phrase)
        return maps, slices_run

    def tumor_maps(self, lps: CtVolume, region: LiverRegion, progress: Progress) -> ClassMaps:
        """Probabilities as the second network of a cascade, within its search region only."""
        if isinstance(self.preprocessing, LiverBoxPreprocessing):
            box = self.preprocessing(lps, region)
            maps, place = ClassMaps(box.grid), box.mask
            prepare: Prepare = box.inputs
        else:
            steps, spacing_ji_mm = self.preprocessing, lps.spacing_kji_mm[1:]
            maps = ClassMaps(steps.grid(lps.shape_kji[1:], spacing_ji_mm))
            prepare = self._grays(lps)

            def place(native: Mask) -> Mask:
                return steps.place_labels(native.astype(np.uint8), spacing_ji_mm) > 0

        slices = region.slices
        for chunk, inputs in self._inputs([slices], prepare):
            for k, probabilities in zip(chunk, self.runner(inputs), strict=True):
                inside = place(region.search_native(k))
                maps.by_slice[k] = _foreground(np.where(inside[..., None], probabilities, 0))
                n, count = len(maps.by_slice), len(slices)
                progress(n / count, sentence("Slice {n} of {count}", n=n, count=count))
        return maps

    def _grays(self, lps: CtVolume) -> Prepare:
        steps, spacing_ji_mm = self.preprocessing, lps.spacing_kji_mm[1:]
        assert isinstance(steps, SlicePreprocessing)
        return lambda slices: np.stack([steps(lps.hu[k], spacing_ji_mm) for k in slices])

    def _inputs(
        self, groups: Iterable[list[int]], prepare: Prepare
    ) -> Iterator[tuple[list[int], NDArray[Any]]]:
        """Chunks of slices and what the network takes of them, the next made while it works.

        A group may depend on what the network said of those before.
        """
        with ThreadPoolExecutor(1) as preparer:
            for group in groups:
                size = self.runner.batch
                chunks = [group[start : start + size] for start in range(0, len(group), size)]
                upcoming = [preparer.submit(prepare, chunk) for chunk in chunks[:1]]
                for n, chunk in enumerate(chunks):
                    inputs = upcoming.pop().result()
                    if n + 1 < len(chunks):
                        upcoming.append(preparer.submit(prepare, chunks[n + 1]))
                    yield chunk, inputs


def is_foreground(probabilities: Floats) -> Mask:
    """Where another class than the first is the likeliest; (j, i, classes) to (j, i)."""
    classes = [probabilities[..., n] for n in range(probabilities.shape[2])]
    best = classes[1]
    for other in classes[2:]:
        best = np.maximum(best, other)
    mask: Mask = best > classes[0]
    return mask


def _shows_foreground(k: int, probabilities: Floats, grid: SquareGrid) -> bool:
    return bool((probabilities[..., 1:].sum(axis=2) > HALF).any())


def _foreground(probabilities: Floats) -> NDArray[np.float16]:
    """(J, I, classes) to float16 (classes without background, J, I)."""
    layers = [probabilities[..., n] for n in range(1, probabilities.shape[2])]
    return np.stack(layers).astype(np.float16)
