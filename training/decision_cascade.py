"""A volume that both networks of a cascade have seen, as training.decision_search tries settings.

volume = AnsweredCascade(case, patient, segmenter.answers(ct), true_lps)
volume.counts(Decision(tumor_share=0.7), [CascadePostprocessing()])
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from LiverTumorSegLib.cascade_answers import CascadeAnswers
from LiverTumorSegLib.decision import Decision
from LiverTumorSegLib.postprocess_cascade import CascadePostprocessing

from training.decision_search import Labels, Setting, Steps, VolumeCounts, box_around
from training.lits_matching import match_lesions


@dataclass(frozen=True, eq=False)
class AnsweredCascade:
    """true: labels of the whole volume, in LPS order as the answers."""

    case: str
    patient: str
    answers: CascadeAnswers
    true: Labels

    def counts(self, decision: Decision, steps: Iterable[Steps]) -> dict[Setting, VolumeCounts]:
        """Brought to the CT's pixels anew for each: the first steps work before that."""
        return {Setting(decision, step): self._counts(decision, step) for step in steps}

    def _counts(self, decision: Decision, step: Steps) -> VolumeCounts:
        if not isinstance(step, CascadePostprocessing):
            raise TypeError("A cascade's answers are cleaned by CascadePostprocessing.")
        labels, _ = self.answers.decide(decision, step)
        box = box_around((labels > 0) | (self.true > 0))
        match = match_lesions(*(np.ascontiguousarray(one[box]) for one in (labels, self.true)))
        return VolumeCounts.of(self.case, self.patient, match, self.answers.spacing_kji_mm)
