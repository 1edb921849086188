"""The best setting is the best, nothing is cut off, and a patient left out has had no say."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod

import numpy as np
import pytest
from choice_material import (
    DEFAULT,
    SPACING_KJI_MM,
    Spot,
    answered,
    random_spots,
    scan,
    search,
    segmenter,
)
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.prediction import Prediction
from looped import looped

from training.score.matching import lits_detection
from training.score.voxels import Overlap, slice_matrices
from training.tuning.search import TRIED, Scores, Setting

TRUE = Spot(2, 7, 10)
UNSURE = Spot(4, 5, 40, share=0.65, true=False)
SETTINGS = [
    DEFAULT,
    Setting(Decision(tumor_threshold=0.7), Postprocessing(smallest_lesion_mm=0.0)),
    Setting(Decision(tumor_threshold=0.3, seed_threshold=0.8), Postprocessing()),
    Setting(
        Decision(tumor_threshold=0.4, smoothing_mm=6.0),
        Postprocessing(max_distance_to_liver_mm=20.0),
    ),
]


@looped("setting", SETTINGS)
@looped("seed", range(3))
def test_counts_are_those_of_what_users_get(setting: Setting, seed: int) -> None:
    """However much was cut off around the liver."""
    spots = random_spots(seed)
    ct, true = scan(spots)
    labels = segmenter(setting).segment(ct).labels_kji
    found = answered("3", "anna", spots).counts(setting.decision, [setting.postprocessing])[setting]
    overlap = Overlap.of(slice_matrices(labels, true).sum(axis=0), "tumor")
    counted = (found.shared, found.predicted, found.true)
    assert counted == (overlap.tp, overlap.predicted_voxels, overlap.true_voxels)
    assert found.detection == lits_detection(labels, true, threshold=0.0)
    assert found.voxel_ml == pytest.approx(prod(SPACING_KJI_MM) / 1000)


def test_tumor_where_no_liver_was_found_counts_as_missed() -> None:
    """Truth outside all that the network saw belongs to the box, too."""
    volume = answered("3", "anna", [TRUE])
    true = np.zeros_like(scan([])[1])
    true[0, :4, :4] = 2
    moved = replace(volume, true=true)
    (counts,) = moved.counts(Decision(), [Postprocessing()]).values()
    assert (counts.shared, counts.true, counts.detection.fn) == (0, 16, 1)


def test_a_higher_share_is_chosen_where_it_helps_and_no_more_than_that() -> None:
    """The unsure spot goes from 0.7 on; that is nearer to the default than smoothing it away."""
    best = search(answered("3", "anna", [TRUE, UNSURE])).best()
    assert best == DEFAULT.with_value("tumor_threshold", 0.7)


def test_smoothing_is_chosen_against_what_is_sure_on_one_slice() -> None:
    """No threshold tells the two apart: the false spot is the surer one."""
    spots = [Spot(1, 9, 10, share=0.8), Spot(4, 5, 40, share=1.0, true=False)]
    found = search(answered("3", "anna", spots))
    assert found.best().decision.smoothing_mm > 0
    assert found.scores(found.best()).score == 1
    assert found.scores(DEFAULT).score < 1


def test_a_seed_threshold_is_chosen_where_it_alone_tells_lesions_apart() -> None:
    """The true lesion has a rim as sure as the false spot, and a surer core."""
    true = [Spot(2, 7, 10, share=0.65, side=6), Spot(3, 6, 12, share=0.97, side=2, row=22)]
    false = Spot(1, 9, 40, share=0.94, side=8, true=False)
    found = search(answered("3", "anna", [*true, false]))
    best = found.best()
    assert found.scores(best).score == 1
    assert (best.decision.tumor_threshold, best.decision.seed_threshold) == (0.5, 0.95)
    points = list(found.curve(best).items())
    seeds = [decision.seed_threshold for decision, _ in points]
    assert seeds == sorted(seeds)
    assert {decision.tumor_threshold for decision, _ in points} == {0.5}
    marked = [scores.detection.tp + scores.detection.fp for _, scores in points]
    assert marked[0] == 2
    assert marked == sorted(marked, reverse=True)


def test_a_least_recall_takes_false_lesions_into_the_bargain_and_not_more_than_it_must() -> None:
    """An unsure lesion of 13 mm among four false ones that are surer."""
    true = [TRUE, Spot(2, 7, 20, share=0.65)]
    false = [Spot(1, 9, 10 + 12 * n, share=0.75, true=False, row=40) for n in range(4)]
    faint = Spot(1, 9, 40, share=0.55, true=False)
    volume = answered("3", "anna", [*true, *false, faint])
    free, bound = search(volume), search(volume, least_recall=0.9)
    few, many = free.scores(free.best()), bound.scores(bound.best())
    assert (few.large_recall, few.detection.fp) == (0.5, 0)
    assert (many.large_recall, many.detection.fp) == (1.0, 4)
    assert many.score < few.score
    missed = answered("3", "anna", [*true, Spot(2, 7, 50, share=0.0)])
    assert search(missed, least_recall=0.9).scores(search(missed).best()).large_recall < 0.9
    assert search(missed, least_recall=0.9).best() == search(missed).best()


def test_small_lesions_go_and_margins_widen_where_it_helps() -> None:
    # small lesions go when all small ones are false: Of 8.2 mm in diameter and as sure and as
    # thick as the true one.
    spots = [Spot(1, 9, 10, share=1.0), Spot(1, 9, 40, share=1.0, side=1, true=False)]
    best = search(answered("3", "anna", spots)).best()
    assert best == DEFAULT.with_value("smallest_lesion_mm", 10.0)

    # a wider margin is chosen where tumors lie apart: 9 mm from the liver, the default keeps what
    # is within 5.
    spots = [Spot(2, 7, 10, share=1.0, row=58, side=4), Spot(1, 9, 10, share=1.0)]
    best = search(answered("3", "anna", spots)).best()
    assert best == DEFAULT.with_value("max_distance_to_liver_mm", 10.0)


@looped("seed", range(2))
def test_the_first_step_finds_the_best_of_all_pairs(seed: int) -> None:
    """Tried here one by one, by the segmenter itself."""
    spots = random_spots(seed)
    ct, true = scan(spots)
    scores = {}
    for share, smoothing in product(TRIED["tumor_threshold"], TRIED["smoothing_mm"]):
        decision = Decision(tumor_threshold=share, smoothing_mm=smoothing)
        labels = segmenter(Setting(decision, Postprocessing())).segment(ct).labels_kji
        dice = Overlap.of(slice_matrices(labels, true).sum(axis=0), "tumor").dice
        scores[decision] = (float(dice) + lits_detection(labels, true, threshold=0.0).f1) / 2
    found = search(answered("3", "anna", spots))
    found.best()
    tried = {s.decision: found.scores(s).score for s in found.tried()[: len(scores)]}
    assert tried == pytest.approx(scores)
    assert found.scores(found.best()).score >= max(scores.values())


@looped("seed", range(2))
def test_the_best_is_no_worse_than_anything_tried(seed: int) -> None:
    found = search(answered("3", "a", random_spots(seed)), answered("4", "b", random_spots(9)))
    tried = found.tried()
    best = found.scores(found.best()).score
    assert best == max(found.scores(setting).score for setting in tried)
    assert DEFAULT in tried
    # one of each later step is known already; of the pairs with a seed threshold, 7 are
    assert len(tried) == len(set(tried)) == 35 + 7 * 8 + 4 + 3


def test_what_scores_the_same_stays_as_it_was() -> None:
    """Also where the model's own setting is none of those tried."""
    own = Setting(Decision(tumor_threshold=0.55), Postprocessing(smallest_lesion_mm=6.0))
    whole = [Spot(1, 9, 10, share=1.0)]
    found = search(answered("3", "anna", whole), default=own)
    assert {found.scores(setting).score for setting in found.tried()} == {1.0}
    assert found.best() == own


def test_each_decision_is_made_once_a_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Decision] = []
    marks = Prediction.marks

    def counted(self: Prediction, decision: Decision) -> object:
        made.append(decision)
        return marks(self, decision)

    monkeypatch.setattr(Prediction, "marks", counted)
    found = search(answered("3", "anna", [TRUE, UNSURE]), answered("4", "ben", [TRUE]))
    found.best()
    found.leave_one_out()
    found.tried()
    # each of 35 and 56, and again that of the best pair for the lesions and for the margin
    assert len(made) <= 2 * (35 + 56 + 2 + 2 * 2)


def test_who_is_left_out_has_no_say() -> None:
    """The same as a search that has never seen the patient."""
    volumes = [answered(str(n), f"p{n // 2}", random_spots(n)) for n in range(3)]
    volumes.append(answered("41", "carl", [UNSURE]))
    for left in search(*volumes).leave_one_out():
        others = [volume for volume in volumes if volume.patient != left.name]
        assert left.setting == search(*others).best()
        assert not left.blind
        own = [volume for volume in volumes if volume.patient == left.name]
        setting = left.setting
        counts = [volume.counts(setting.decision, [setting.postprocessing]) for volume in own]
        assert left.counts == tuple(found[setting] for found in counts)


def test_nothing_is_chosen_on_patients_without_tumor() -> None:
    only, free = answered("3", "anna", [TRUE]), answered("41", "ben", [UNSURE])
    by_patient = {left.name: left for left in search(only, free).leave_one_out()}
    assert by_patient["anna"].blind
    assert by_patient["anna"].setting == DEFAULT
    assert not by_patient["ben"].blind
    assert search(only).leave_one_out() == []
    with pytest.raises(ValueError, match="No validation case has tumor"):
        search(free)


def test_scores_by_hand_and_of_nothing() -> None:
    # scores by hand: One found, one missed, one false beside the found one and one in a tumor-
    # free volume.
    a = answered("3", "anna", [TRUE, UNSURE])
    b = answered("4", "ben", [replace(TRUE, share=0.2)])
    c = answered("41", "carl", [UNSURE])
    scores = search(a, b, c).scores(DEFAULT)
    tumor, false = 5 * 36, 36
    assert scores.tumor_dice == pytest.approx(2 * tumor / (tumor + 2 * false + 2 * tumor))
    assert scores.tumor_dice_per_volume.n == 2
    assert scores.tumor_dice_per_volume.value == pytest.approx(tumor / (2 * tumor + false))
    assert (scores.detection.tp, scores.detection.fp, scores.detection.fn) == (1, 2, 1)
    assert scores.score == pytest.approx((scores.tumor_dice + 2 / 5) / 2)
    assert scores.false_ml_without_tumor == pytest.approx(false * 36 / 1000)
    assert scores.row()["false_ml_on_volumes_without_tumor"] == pytest.approx(1.296)

    # scores of nothing are not defined
    free = search(answered("3", "anna", [TRUE]), answered("47", "dora", []))
    row = Scores.of(free.counts(DEFAULT, ["dora"])).row()
    assert row["tumor_dice_pooled"] is None
    assert row["score"] is None
    assert row["lesions_true"] == row["false_lesions"] == 0
