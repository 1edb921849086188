"""What every segmenter has in common: how it is called, what it gives back, and what it warns of.

frame = Frame(ct, slices)           # in LPS order, the part that is asked for
labels = ...                        # of frame.lps, in its own order
segmentation = frame.result(labels, ...)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.model.spec import ModelSpec
from LiverTumorSegLib.volume import CtVolume, Reorientation

from .postprocess import Postprocessing
from .preprocess import SlicePreprocessing
from .preprocess_volume import VolumePreprocessing
from .slice_range import SliceRange

WINDOWED_HU = -400  # a CT whose least value is not below this was cut to a window
SATURATED_SHARE = 0.10

Labels = NDArray[np.uint8]
Progress = Callable[[float, str], None]


class Cancelled(Exception):
    """Raised by a progress callback to stop; nothing is left behind."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Labels and how they came about.

    labels_kji: uint8 on the CT's grid. probabilities: float16 (classes, k, j, i) of the network
        itself, before any decision or step, or None.
    certainty_kji: uint8 on the CT's grid, 255 times the calibrated probability of tumor, 1 to 255,
        of each voxel labeled tumor and 0 elsewhere; None when the model has no such calibration.
    slices, slices_run: axial slices there are, and those that the network saw.
    device: where it ended.
    slice_range: first and last axial slice that was asked for, from 0 at the feet; None for all.
    """

    labels_kji: Labels
    probabilities: NDArray[np.float16] | None
    device: str
    slices: int
    slices_run: int
    seconds: float
    warnings: tuple[str, ...]
    postprocessing: Postprocessing
    slice_range: tuple[int, int] | None = None
    certainty_kji: Labels | None = None

    @property
    def found_liver(self) -> bool:
        return bool(self.labels_kji.any())


class Segmenter(Protocol):
    """What the command line, Slicer and evaluation know of a segmenter.

    spec: of the model; of a cascade what its two files say together. sha256: of the file, or of
    both. device: where it runs now. preprocessing: of the network that decides on tumor.
    """

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def sha256(self) -> str | None: ...

    @property
    def device(self) -> str: ...

    @property
    def preprocessing(self) -> SlicePreprocessing | VolumePreprocessing: ...

    def describe(self) -> dict[str, Any]:
        """The model and its steps, JSON-able, for the result's own record."""
        ...

    def segment(
        self,
        ct: CtVolume,
        progress: Progress | None = None,
        *,
        probabilities: bool = False,
        slices: Sequence[int] | None = None,
    ) -> Segmentation:
        """Labels of ``ct`` on its own grid, in whatever orientation it has.

        progress(fraction 0-1, phrase) is called after every piece of work and may raise
            ``Cancelled``.
        slices: first and last axial slice to look at, from 0 at the feet; the others stay
            background. Few slices hold little liver, so the least liver volume does not apply.
        Raises ``ValueError`` when the model cannot be used with these CT numbers, or there are no
        such slices.
        """
        ...


@dataclass(frozen=True)
class Place:
    """Where the part of a CT that is asked for lies in it: the way back from LPS order."""

    part: SliceRange
    turn: Reorientation

    def on_ct(self, labels: Labels) -> Labels:
        """uint8 (k, j, i) of the part on the CT's own grid; 0 beyond the part."""
        return self.turn.undo(self.part.paste(labels))

    def probabilities_on_ct(self, probabilities: NDArray[np.float16]) -> NDArray[np.float16]:
        """(classes, k, j, i) of the part on the CT's own grid; sure background beyond it."""
        return self.turn.undo(self.part.paste_probabilities(probabilities))


class Frame:
    """The part of a CT that is asked for, in LPS order, and the way back to the whole.

    lps: that part. part: which axial slices it has. place: the way back.
    """

    def __init__(self, ct: CtVolume, slices: Sequence[int] | None) -> None:
        self._started = time.monotonic()
        whole, turn = ct.to_lps()
        self.part = SliceRange.of(slices, whole.shape_kji[0])
        self.place = Place(self.part, turn)
        self.lps = self.part.cut(whole)

    def result(
        self,
        labels: Labels,
        probabilities: NDArray[np.float16] | None,
        *,
        device: str,
        slices_run: int,
        warnings: Sequence[str],
        postprocessing: Postprocessing,
        certainty: Labels | None = None,
    ) -> Segmentation:
        """labels, certainty (k, j, i) and probabilities (classes, k, j, i) are those of ``lps``."""
        part, place = self.part, self.place
        return Segmentation(
            labels_kji=place.on_ct(labels),
            probabilities=None
            if probabilities is None
            else place.probabilities_on_ct(probabilities),
            device=device,
            slices=part.count,
            slices_run=slices_run,
            seconds=time.monotonic() - self._started,
            warnings=tuple(warnings),
            postprocessing=postprocessing,
            slice_range=(part.first, part.last) if part.note else None,
            certainty_kji=None if certainty is None else place.on_ct(certainty),
        )


def silent(fraction: float, phrase: str) -> None:
    """The progress of a caller that does not ask for it."""


def part_of(tell: Progress, start: float, end: float) -> Progress:
    """The progress of one piece of the work as that part of the whole."""

    def told(fraction: float, phrase: str) -> None:
        tell(start + (end - start) * fraction, phrase)

    return told


def saturation_warning(hu: NDArray[np.int16], labels: Labels, top_hu: int) -> list[str]:
    """A sentence when much of the liver is at or above the top of the model's window."""
    liver = labels >= Label.LIVER
    total = int(np.count_nonzero(liver))
    bright = int(np.count_nonzero(hu[liver] >= top_hu)) if total else 0
    if total == 0 or bright <= SATURATED_SHARE * total:
        return []
    return [
        f"{100 * bright / total:.0f} % of the liver is at or above {top_hu} HU, the top of the"
        " model's window: bright lesions and vessels look alike there, so check it by eye."
    ]
