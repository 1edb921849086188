"""One pass of a cascade's networks over a CT, and what is kept of it to decide on labels later.

    answers = segmenter.answers(ct)                        # both networks, once
    for share in (0.5, 0.7):                               # any number of decisions, without them
        decided = answers.decide(Decision(tumor_threshold=share), Postprocessing())
        decided.labels, decided.certainty

What the networks say is brought to the CT's own pixels as probabilities and decided there, so that
outlines have no steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.sentences import sentence

from .decision import Decision
from .postprocess import Postprocessing
from .preprocess_volume import VolumePreprocessing
from .segmentation import Labels, Place, Progress, silent

HALF = 0.5  # the liver is marked where it is likelier than not
CLEANING = 0.6  # of a decision's progress: before this each slice, then all of them at once

Mask = NDArray[np.bool_]
Half = NDArray[np.float16]
Floats = NDArray[np.float32]
Spacing = tuple[float, float, float]


class Decided(NamedTuple):
    """Arrays (k, j, i) of the CT's pixels, in LPS order.

    labels: uint8, after all steps. certainty: uint8, 255 times the calibrated probability of tumor,
    1 to 255, where the label is tumor and 0 elsewhere; None when the decision has no confidence.
    probabilities: float16 (3, k, j, i) of the networks themselves, or None.
    """

    labels: Labels
    certainty: Labels | None
    probabilities: Half | None


@dataclass(frozen=True, eq=False)
class CascadeAnswers:
    """What both networks said of a CT; arrays (k, j, i), in LPS order, of the CT or of the part of
    it that was asked for.

    of_liver, of_tumor: float16 probabilities, each on its network's grid.
    liver, tumor: how each network's grid lies in the CT.
    shape_kji, spacing_kji_mm: of the CT. notes: what an engine had to change.
    """

    of_liver: Half
    of_tumor: Half
    liver: VolumePreprocessing
    tumor: VolumePreprocessing
    shape_kji: tuple[int, int, int]
    spacing_kji_mm: Spacing
    place: Place
    notes: tuple[str, ...]

    def decide(
        self,
        decision: Decision,
        steps: Postprocessing,
        progress: Progress | None = None,
        *,
        keep_probabilities: bool = False,
    ) -> Decided:
        """A voxel is tumor where the tumor network's answer is above ``decision.tumor_threshold``.

        The probabilities are the networks' own and know of neither decision nor steps.
        progress may raise ``Cancelled`` between two slices.
        """
        tell = progress or silent
        liver, tumor = np.zeros(self.shape_kji, np.bool_), np.zeros(self.shape_kji, np.bool_)
        kept = np.empty((len(Label), *self.shape_kji), np.float16) if keep_probabilities else None
        certainty = None if decision.calibration is None else np.zeros(self.shape_kji, np.uint8)
        liver_there, tumor_there = self._way_back(self.liver), self._way_back(self.tumor)
        share = decision.tumor_threshold
        count = len(liver)
        for k in range(count):
            tell(
                CLEANING * k / count,
                sentence("Back to the CT's own pixels, slice {k} of {count}", k=k + 1, count=count),
            )
            layer = self.of_tumor[k]
            if kept is None and self.of_liver[k].max() <= HALF and layer.max() <= share:
                continue
            of_liver = liver_there(self.of_liver[k])
            liver[k], tumor[k] = of_liver > HALF, tumor_there(layer) > share
            if kept is None and certainty is None:
                continue
            of_tumor = tumor_there(self.of_tumor[k])
            if kept is not None:
                kept[:, k] = _three_classes(of_liver, of_tumor)
            if certainty is not None:
                certainty[k] = decision.certainty(of_tumor)
        tell(CLEANING, "Cleaning up")
        labels = steps.labels(liver, tumor, self.spacing_kji_mm)
        if certainty is not None:
            certainty[labels != Label.TUMOR] = 0
        return Decided(labels, certainty, kept)

    def shares(self) -> Iterator[tuple[int, Floats]]:
        """Each slice k where the tumor network says anything, with what it says, (j, i), 0 to 1."""
        tumor_there = self._way_back(self.tumor)
        for k, layer in enumerate(self.of_tumor):
            if layer.any():
                yield k, tumor_there(layer)

    def _way_back(self, stage: VolumePreprocessing) -> Callable[[Half], Floats]:
        """From a layer on the stage's grid (j, i) to the CT's own pixels."""
        geometry = stage.geometry(self.shape_kji[1:], self.spacing_kji_mm[1:])
        return lambda layer: stage.undo(layer[None], geometry)[0]


def _three_classes(of_liver: Floats, of_tumor: Floats) -> Floats:
    """Background, liver, tumor, whose sum is 1; (j, i) each to (3, j, i)."""
    rest = 1 - of_tumor
    return np.stack([rest * (1 - of_liver), rest * of_liver, of_tumor])
