"""Settings tried on what a cascade has answered: what users would get, and what is chosen by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import CtVolume
from looped import looped
from numpy.typing import NDArray
from threshold_cascade import AS_IT_IS, segmenter
from threshold_slices import AIR_HU, LIVER_HU, volume

from training.score.matching import lits_detection
from training.score.voxels import Overlap, slice_matrices
from training.tune import best_choice
from training.tuning.platt import fit_confidence
from training.tuning.search import CroppedPrediction, PredictedCase, Search, Setting

SURE_HU, UNSURE_HU = 130, 117  # the tumor network says 0.9 and 0.64
OURS = Postprocessing(smallest_lesion_mm=0.0, smallest_liver_ml=0.0, clean_liver=True)
Labels = NDArray[np.uint8]


def scan(seed: int = 0) -> tuple[CtVolume, Labels]:
    """A liver with a true tumor, placed by the seed, and a false one that is less sure."""
    hu, true = np.full((12, 64, 64), AIR_HU), np.zeros((12, 64, 64), np.uint8)
    hu[1:-1, 8:48, 8:56], true[1:-1, 8:48, 8:56] = LIVER_HU, 1
    column = 12 + 4 * seed
    for first, left, look, is_true in (
        (3, column, SURE_HU, True),
        (5, 40, UNSURE_HU, False),
    ):
        where = slice(first, first + 4), slice(16, 26), slice(left, left + 10)
        hu[where] = look
        if is_true:
            true[where] = 2
    return volume(hu, (6.0, 4.0, 4.0)), true


def answered(case: str, patient: str, seed: int = 0) -> PredictedCase:
    ct, true = scan(seed)
    _, turn = ct.to_lps()
    return PredictedCase(case, patient, segmenter().predict(ct), turn.apply(true))


@looped("share", [0.3, 0.5, 0.8])
@looped(
    "steps",
    [OURS, replace(OURS, smallest_lesion_mm=30.0, max_distance_to_liver_mm=0.0), AS_IT_IS],
)
def test_counts_are_those_of_what_users_get(share: float, steps: Postprocessing) -> None:
    ct, true = scan()
    setting = Setting(Decision(tumor_threshold=share), steps)
    worker = segmenter(steps)
    worker.decision = setting.decision
    labels = worker.segment(ct).labels_kji
    found = answered("3", "anna").counts(setting.decision, [steps])[setting]
    overlap = Overlap.of(slice_matrices(labels, true).sum(axis=0), "tumor")
    assert (found.shared, found.predicted, found.true) == (
        overlap.tp,
        overlap.predicted_voxels,
        overlap.true_voxels,
    )
    assert found.detection == lits_detection(labels, true, threshold=0.0)
    assert found.voxel_ml == pytest.approx(6 * 4 * 4 / 1000)


def test_a_share_above_the_false_tumor_is_chosen() -> None:
    search = Search(
        [answered("3", "anna", 0), answered("4", "ben", 1)],
        Setting(Decision(), AS_IT_IS, smoothing=False),
    )
    assert search.scores(search.default).detection.fp == 2
    best = search.best()
    decision = best.decision
    assert 0.64 < max(decision.tumor_threshold, decision.seed_threshold) <= 0.9
    assert search.scores(best).detection.fp == 0
    assert [left.scores.detection.fp for left in search.leave_one_out()] == [0, 0]


def test_neighboring_slices_are_not_smoothed() -> None:
    search = Search([answered("3", "anna")], Setting(Decision(), AS_IT_IS, smoothing=False))
    assert {setting.decision.smoothing_mm for setting in search.tried()} == {0.0}
    assert set(search.default.values) == {
        "tumor_threshold",
        "seed_threshold",
        "smallest_lesion_mm",
        "max_distance_to_liver_mm",
    }
    assert len(search.tried()) > 10


def beside_the_liver(case: str, patient: str, seed: int) -> PredictedCase:
    """Two lesions that look alike; where the false one lies the liver network says 0.2."""
    hu, true = (np.array(part) for part in (scan(seed)[0].hu, scan(seed)[1]))
    hu[hu == UNSURE_HU] = SURE_HU
    told = segmenter().predict(volume(hu, (6.0, 4.0, 4.0)))
    false = (hu == SURE_HU) & (true != Label.TUMOR)
    by_slice = {}
    for k, layers in told.liver.by_slice.items():
        by_slice[k] = layers.copy()
        by_slice[k][0, false[k]] = 0.2
    liver = replace(told.liver, by_slice=by_slice)
    return PredictedCase(case, patient, replace(told, liver=liver), true)


def test_what_the_liver_network_leaves_out_is_chosen_to_be_left_out() -> None:
    cases = [beside_the_liver("3", "anna", 0), beside_the_liver("4", "ben", 1)]
    strict = Setting(Decision(), AS_IT_IS, smoothing=False, two_networks=True)
    search = Search(cases, strict)
    assert search.scores(strict).detection.fp == 2
    best = search.best()
    assert best.decision.least_liver_share > 0.2
    assert search.scores(best).detection.fp == 0
    assert search.scores(best).detection.tp == 2
    for one in cases:
        cropped = CroppedPrediction.of(one.prediction, one.true)
        small = PredictedCase(one.case, one.patient, *cropped)
        for setting in (strict, best, best.with_value("least_liver_share", 0.7)):
            decision, steps = setting.decision, [setting.postprocessing]
            assert list(small.counts(decision, steps).values()) == list(
                one.counts(decision, steps).values()
            )


def test_evidence_is_what_was_labeled_and_how_it_was_seen() -> None:
    evidence = answered("3", "anna").evidence(Setting(Decision(), AS_IT_IS, smoothing=False))
    assert evidence.patient == "anna"
    assert set(evidence.lesions) == {0, 1}
    sure, unsure = (evidence.shares[evidence.tumor == is_true] for is_true in (True, False))
    assert max(sure) == pytest.approx(0.9, abs=0.01)
    assert max(unsure) == pytest.approx(0.64, abs=0.01)
    assert min(evidence.shares) > 0.5


def test_a_confidence_is_calibrated_and_stored() -> None:
    """Where what looks sure is tumor and the rest is none."""
    volumes = [answered("3", "anna", 0), answered("4", "ben", 1)]
    strict = Setting(Decision(), AS_IT_IS, smoothing=False)
    fitted = fit_confidence([volume.evidence(strict) for volume in volumes])
    sure, unsure = Decision(calibration=fitted).probability(np.array([0.9, 0.64], np.float32))
    assert sure > 0.9
    assert unsure < 0.4
    assert len(best_choice(Search(volumes, strict)).chosen.decision.calibration or ()) == 2
