"""A volume that both networks of a cascade have seen, as training.tuning.search tries settings.

volume = AnsweredCascade(case, patient, segmenter.answers(ct), true_lps)
volume.counts(Decision(tumor_threshold=0.7), [Postprocessing()])
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.prediction import CascadeAnswers

from training.score.matching import LesionMatch, match_lesions
from training.tuning.platt import Evidence
from training.tuning.search import Box, Labels, Setting, VolumeCounts, box_around


@dataclass(frozen=True, eq=False)
class AnsweredCascade:
    """true: labels of the whole volume, in LPS order as the answers."""

    case: str
    patient: str
    answers: CascadeAnswers
    true: Labels

    def counts(
        self, decision: Decision, steps: Iterable[Postprocessing]
    ) -> dict[Setting, VolumeCounts]:
        """Brought to the CT's pixels anew for each: the first steps work before that."""
        return {Setting(decision, step): self._counts(decision, step) for step in steps}

    def evidence(self, setting: Setting) -> Evidence:
        """How the tumor network saw the voxels that are labeled tumor at last."""
        match, (first, rows, columns) = self._match(setting.decision, setting.postprocessing)
        shares = self.answers.shares()
        slices = ((k - first.start, share_ji[rows, columns]) for k, share_ji in shares)
        return Evidence.of(self.patient, match, slices)

    def _counts(self, decision: Decision, step: Postprocessing) -> VolumeCounts:
        match, _ = self._match(decision, step)
        return VolumeCounts.of(self.case, self.patient, match, self.answers.spacing_kji_mm)

    def _match(self, decision: Decision, step: Postprocessing) -> tuple[LesionMatch, Box]:
        """Of the box around all that is labeled, and the box."""
        labels = self.answers.decide(decision, step).labels
        box = box_around((labels > 0) | (self.true > 0))
        pair = (np.ascontiguousarray(one[box]) for one in (labels, self.true))
        return match_lesions(*pair), box
