"""Decisions on what pretended networks said: shares, smoothing through the plane, probabilities."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threshold_cascade
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.prediction import Prediction
from LiverTumorSegLib.inference.progress import Cancelled
from LiverTumorSegLib.inference.slices import SliceNetwork
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.agreement import dice
from LiverTumorSegLib.volume import CtVolume
from looped import ALL_AXES, looped
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import reconstruction
from threshold_slices import (
    AS_IT_IS,
    FAST,
    GrayRunner,
    abdomen,
    distance_mm,
    segmenter,
    turned,
    volume,
)

Array = NDArray[Any]

SIDE = 64
COPY = replace(FAST, grid_px=SIDE, size_px=SIDE)  # of square slices of this side it makes copies
SHARES = [0.1, 0.3, 0.45, 0.5, 0.55, 0.7, 0.9]


class Told:
    """In place of a network: the next of the prediction that it was given."""

    device, batch = "cpu", 1

    def __init__(self, probabilities: Array) -> None:
        self.warnings: list[str] = []
        self.answers = iter(probabilities.astype(np.float32))

    def __call__(self, grays: NDArray[np.uint8]) -> NDArray[np.float32]:
        return next(self.answers)[None]


def random_probabilities(count: int = 12, seed: int = 0, empty: tuple[int, ...] = ()) -> Array:
    """(count, SIDE, SIDE, 3): blobs of every class, rough from slice to slice, with some ties."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(count, SIDE, SIDE, 3)), (0.7, 2, 2, 0))
    raised = np.exp(12 * field)
    levels = np.rint(64 * raised / raised.sum(axis=3, keepdims=True))
    made = (levels + 1) / (levels.sum(axis=3, keepdims=True) + 3)
    for k in empty:
        made[k] = (0.9, 0.05, 0.05)
    return made


def predicted(
    probabilities: Array,
    spacing_mm: float = 2.0,
    shape_ji: tuple[int, int] = (SIDE, SIDE),
) -> Prediction:
    ct = volume(np.zeros((len(probabilities), *shape_ji)), (spacing_mm, 1.0, 1.0))
    return SliceNetwork(Told(probabilities), COPY, coarse_search=False).predict(ct)


def decided(prediction: Prediction, decision: Decision) -> Array:
    """Labels before any step."""
    return prediction.decide(decision, AS_IT_IS).labels


def labels_of(probabilities: Array, decision: Decision, spacing_mm: float = 2.0) -> Array:
    return decided(predicted(probabilities, spacing_mm), decision)


@looped("shape_ji", [(SIDE, SIDE), (97, 80)])
def test_the_default_decision_is_the_likeliest_class(shape_ji: tuple[int, int]) -> None:
    """Liver or tumor bit for bit; which of the two, as far as halves tell them apart."""
    probabilities = random_probabilities()
    prediction = predicted(probabilities, shape_ji=shape_ji)
    grid = COPY.grid(shape_ji, (1.0, 1.0))
    native = np.stack([grid.to_native(one.astype(np.float32)) for one in probabilities])
    expected = native.argmax(axis=3)
    assert set(np.unique(expected)) == {0, 1, 2}
    for decision in (Decision(), Decision(calibration=(1.0, 0.0))):
        made = decided(prediction, decision)
        np.testing.assert_array_equal(made > 0, expected > 0)
        clear = np.abs(native[..., 1] - native[..., 2]) > 1e-3
        np.testing.assert_array_equal(made[clear], expected[clear])


@looped("share", [0.2, 0.7])
def test_tumor_is_where_its_share_is_above_the_threshold(share: float) -> None:
    probabilities = random_probabilities()
    likeliest = labels_of(probabilities, Decision())
    made = labels_of(probabilities, Decision(tumor_threshold=share))
    of_tumor = probabilities[..., 2] / probabilities[..., 1:].sum(axis=3)
    expected = np.where(likeliest > 0, np.where(of_tumor > share, 2, 1), 0)
    clear = np.abs(of_tumor - share) > 1e-3  # more than what halves round
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(made[clear], expected[clear])
    assert (made != likeliest).any()


@looped("empty", [(), (0, 4, 5, 11)])
def test_smoothing_is_the_quotient_of_two_filters(empty: tuple[int, ...]) -> None:
    """Beyond the ends, and on slices without any liver or tumor, both sums are 0."""
    probabilities = random_probabilities(empty=empty)
    seen = dict(predicted(probabilities).shares(smoothing_mm=3.0))
    assert sorted(seen) == [k for k in range(12) if k not in empty]
    counted = probabilities.copy()
    counted[list(empty)] = 0
    options: dict[str, Any] = {"sigma": 1.5, "axis": 0, "mode": "constant", "truncate": 2.99}
    tumor = ndimage.gaussian_filter1d(counted[..., 2], **options)
    both = ndimage.gaussian_filter1d(counted[..., 1:].sum(axis=3), **options)
    for k, share in seen.items():
        np.testing.assert_allclose(share, tumor[k] / both[k], atol=2e-3)


@looped("share", SHARES)
def test_shares_give_the_labels_of_every_threshold(share: float) -> None:
    prediction = predicted(random_probabilities(empty=(3,)))
    labels = decided(prediction, Decision(tumor_threshold=share, smoothing_mm=3.0))
    expected = prediction.liver_lps.astype(np.uint8)
    for k, shares in prediction.shares(3.0):
        expected[k][expected[k] > 0] = 1
        expected[k][(expected[k] > 0) & (shares > share)] = 2
    np.testing.assert_array_equal(labels, expected)


@looped("seed", [0.0, 0.6, 0.75, 0.9, 0.9999])
def test_a_lesion_stays_whole_where_it_has_a_seed_and_else_goes(seed: float) -> None:
    """Oracle: morphological reconstruction of the low mask from the high one."""
    prediction = predicted(random_probabilities(empty=(3,)))
    made = decided(prediction, Decision(tumor_threshold=0.6, seed_threshold=seed)) == 2
    low = decided(prediction, Decision(tumor_threshold=0.6)) == 2
    high = low.copy()
    if seed > 0:
        high = decided(prediction, Decision(tumor_threshold=max(seed, 0.6))) == 2
    grown = reconstruction(high, low, footprint=np.ones((3, 3, 3))).astype(bool)
    np.testing.assert_array_equal(made, grown)
    assert made.any() == (seed < 0.99)
    assert (made == low).all() == (seed <= 0.6)


def test_what_has_no_seed_is_liver_and_has_no_probability() -> None:
    prediction = predicted(random_probabilities())
    low = Decision(tumor_threshold=0.6, calibration=(1.0, 0.0))
    every, sure = (
        prediction.decide(one, AS_IT_IS) for one in (low, replace(low, seed_threshold=0.9))
    )
    gone = (every.labels == 2) & (sure.labels != 2)
    assert gone.any()
    assert (sure.labels[gone] == 1).all()
    assert every.tumor_probability is not None
    assert sure.tumor_probability is not None
    stays = sure.labels == 2
    np.testing.assert_array_equal(sure.tumor_probability > 0, stays)
    np.testing.assert_array_equal(sure.tumor_probability[stays], every.tumor_probability[stays])


def of_two_networks() -> Prediction:
    """The tumors of one random network, and the liver of another that agrees with it in part."""
    first, second = (predicted(random_probabilities(seed=seed)) for seed in (3, 4))
    return replace(second, liver=first.liver)


@looped("least", [0.5, 0.6, 0.7, 1.0])
def test_a_lesion_stays_whole_where_the_liver_network_says_liver(least: float) -> None:
    """Oracle: SciPy's means over SciPy's labels. What goes and is no liver to it is background."""
    prediction = of_two_networks()
    low = Decision(tumor_threshold=0.6)
    every, made = (decided(prediction, one) for one in (low, replace(low, least_liver_share=least)))
    slices = range(len(prediction.liver_lps))
    liver = np.stack([prediction.liver.foreground_native(k) for k in slices])
    lesions, count = ndimage.label(every == Label.TUMOR, np.ones((3, 3, 3)))
    means = ndimage.mean(liver, lesions, range(1, count + 1))
    stays = np.isin(lesions, 1 + np.flatnonzero(means >= least))
    np.testing.assert_array_equal(made == Label.TUMOR, stays)
    goes = (every == Label.TUMOR) & ~stays
    np.testing.assert_array_equal(made[goes], liver[goes] >= 0.5)
    np.testing.assert_array_equal(made[every != Label.TUMOR], every[every != Label.TUMOR])
    assert goes.any()
    assert stays.any() == (least < 1)


def test_a_seed_and_the_liver_are_asked_for_together() -> None:
    prediction = of_two_networks()
    seed = Decision(tumor_threshold=0.6, seed_threshold=0.9)
    inside = Decision(tumor_threshold=0.6, least_liver_share=0.45)
    both = replace(seed, least_liver_share=0.45)
    one, other, made = (decided(prediction, d) == Label.TUMOR for d in (seed, inside, both))
    np.testing.assert_array_equal(made, one & other)
    assert made.any()
    assert (one & ~made).any()
    assert (other & ~made).any()


def test_one_network_is_not_asked_about_its_liver() -> None:
    prediction = predicted(random_probabilities())
    made = decided(prediction, Decision(least_liver_share=1.0))
    np.testing.assert_array_equal(made, decided(prediction, Decision()))


@looped("smoothing_mm", [0.0, 4.0])
def test_a_higher_threshold_never_adds_tumor_nor_moves_the_foreground(smoothing_mm: float) -> None:
    prediction = predicted(random_probabilities())
    foreground = prediction.liver_lps.copy()
    made = [
        decided(prediction, Decision(tumor_threshold=share, smoothing_mm=smoothing_mm))
        for share in SHARES
    ]
    for labels in made:
        np.testing.assert_array_equal(labels > 0, foreground)
    for lower, higher in pairwise(made):
        assert ((higher == 2) <= (lower == 2)).all()
    counts = [np.count_nonzero(labels == 2) for labels in made]
    assert counts[0] > counts[-1] > 0
    np.testing.assert_array_equal(prediction.liver_lps, foreground)  # deciding changes nothing


@looped("share", [0.5, 0.7])
def test_smoothing_alike_slices_changes_nothing(share: float) -> None:
    alike = np.repeat(random_probabilities(count=1, seed=3), 9, axis=0)
    plain = labels_of(alike, Decision(tumor_threshold=share))
    smooth = labels_of(alike, Decision(tumor_threshold=share, smoothing_mm=5.0))
    of_tumor = alike[..., 2] / alike[..., 1:].sum(axis=3)
    clear = np.abs(of_tumor - share) > 1e-3
    assert set(np.unique(plain)) == {0, 1, 2}
    np.testing.assert_array_equal(smooth[clear], plain[clear])


@looped("share", [0.5, 0.7])
def test_slices_too_far_apart_are_left_to_themselves(share: float) -> None:
    probabilities = random_probabilities()
    plain = labels_of(probabilities, Decision(tumor_threshold=share), spacing_mm=6.1)
    decision = Decision(tumor_threshold=share, smoothing_mm=2.0)
    np.testing.assert_array_equal(labels_of(probabilities, decision, spacing_mm=6.1), plain)
    assert (labels_of(probabilities, decision, spacing_mm=5.9) != plain).any()


@looped(("slices", "stays"), [(1, False), (12, True)])
def test_a_spot_on_one_thin_slice_goes_and_a_tumor_through_many_stays(
    slices: int, stays: bool
) -> None:
    liver, tumor, first = (0.1, 0.8, 0.1), (0.05, 0.1, 0.85), 10
    probabilities = np.full((30, SIDE, SIDE, 3), (0.98, 0.01, 0.01))
    probabilities[:, 10:50, 10:50] = liver
    spot = (slice(first, first + slices), slice(20, 30), slice(20, 30))
    probabilities[spot] = tumor
    assert (labels_of(probabilities, Decision())[spot] == 2).all()
    made = labels_of(probabilities, Decision(smoothing_mm=5.0), spacing_mm=1.0)
    middle = made[first + slices // 2, 20:30, 20:30]
    assert (middle == (2 if stays else 1)).all()
    assert (made == 2).any() == stays


def test_shifted_or_turned_over_the_labels_go_along() -> None:
    decision, probabilities = (
        Decision(tumor_threshold=0.6, smoothing_mm=3.0),
        random_probabilities(),
    )
    made = labels_of(probabilities, decision)
    np.testing.assert_array_equal(labels_of(probabilities[::-1], decision)[::-1], made)
    empty = np.full((5, SIDE, SIDE, 3), (0.9, 0.05, 0.05))
    shifted = labels_of(np.concatenate([empty, probabilities, empty[:2]]), decision)
    np.testing.assert_array_equal(shifted[5:-2], made)
    assert not shifted[:5].any()
    assert not shifted[-2:].any()


def rough_abdomen(**place: Any) -> CtVolume:
    """The liver's HU are everything from plain liver to plain tumor, in blobs."""
    ct = abdomen(**place)
    rng = np.random.default_rng(1)
    blobs = ndimage.gaussian_filter(rng.normal(size=ct.shape_kji), 1.2)
    hu = np.where(ct.hu > -60, 110 + 60 * blobs / blobs.std(), ct.hu)
    return CtVolume(np.clip(hu, -1000, 160).astype(np.int16), ct.ijk_to_ras)


SMOOTH = Decision(tumor_threshold=0.55, smoothing_mm=5.0, calibration=(0.8, -0.3))


@pytest.fixture(scope="module")
def upright() -> tuple[CtVolume, Array, Array]:
    ct = rough_abdomen()
    result = segmenter(decision=SMOOTH, postprocessing=AS_IT_IS).segment(ct)
    plain = segmenter(postprocessing=AS_IT_IS).segment(ct)
    assert (result.labels_kji != plain.labels_kji).any()
    assert set(np.unique(result.labels_kji)) == {0, 1, 2}
    assert result.tumor_probability_kji is not None
    return ct, result.labels_kji, result.tumor_probability_kji


@looped(axes_to_ras=ALL_AXES)
def test_however_the_grid_lies_the_decision_is_the_same(
    upright: tuple[CtVolume, Array, Array], axes_to_ras: Array
) -> None:
    ct, labels, certainty = upright
    hu, new_to_old = turned(ct.hu, axes_to_ras)
    worker = segmenter(decision=SMOOTH, postprocessing=AS_IT_IS)
    result = worker.segment(CtVolume(hu, ct.ijk_to_ras @ new_to_old))
    np.testing.assert_array_equal(result.labels_kji, turned(labels, axes_to_ras)[0])
    assert result.tumor_probability_kji is not None
    np.testing.assert_array_equal(result.tumor_probability_kji, turned(certainty, axes_to_ras)[0])


def test_the_scan_changes_nothing_with_smoothing_either() -> None:
    ct = rough_abdomen(count=96, bottom=41, spacing_k_mm=4.0)
    full = segmenter(coarse_search=False, decision=SMOOTH).segment(ct)
    quick = segmenter(decision=SMOOTH).segment(ct)
    assert quick.slices_run < 48
    np.testing.assert_array_equal(quick.labels_kji, full.labels_kji)
    assert quick.tumor_probability_kji is not None
    assert full.tumor_probability_kji is not None
    np.testing.assert_array_equal(quick.tumor_probability_kji, full.tumor_probability_kji)


def test_segmenting_is_predicting_and_deciding() -> None:
    """And a prediction that was stored decides as it did before."""
    ct, steps = rough_abdomen(), Postprocessing(smallest_lesion_mm=9.0)
    worker = segmenter(decision=SMOOTH, postprocessing=steps)
    result, prediction = worker.segment(ct), worker.predict(ct)
    made = prediction.decide(SMOOTH, steps)
    _, turn = ct.to_lps()
    np.testing.assert_array_equal(result.labels_kji, turn.undo(made.labels))
    assert result.slices_run == prediction.slices_run
    assert worker.describe()["decision"] == SMOOTH.to_dict()


def test_a_stored_prediction_is_the_same(tmp_path: Path) -> None:
    ct = rough_abdomen()
    for number, worker in enumerate((segmenter(), threshold_cascade.segmenter())):
        prediction = worker.predict(ct)
        prediction.save(tmp_path / f"{number}.npz")
        again = Prediction.load(tmp_path / f"{number}.npz")
        for decision in (Decision(), SMOOTH):
            before, after = (one.decide(decision, AS_IT_IS) for one in (prediction, again))
            np.testing.assert_array_equal(after.labels, before.labels)
            np.testing.assert_array_equal(after.tumor_probability, before.tumor_probability)
        np.testing.assert_array_equal(again.probabilities(), prediction.probabilities())
        assert (again.slices_run, again.warnings) == (prediction.slices_run, prediction.warnings)
        held = {id(layers.base) for layers in again.tumor.by_slice.values()}
        assert len(held) == 1 < len(again.tumor.by_slice), "one array, not one for each slice"


def test_tumor_probability_is_the_calibrated_share_of_what_is_tumor() -> None:
    prediction = predicted(random_probabilities())
    labels, certainty = prediction.decide(SMOOTH, AS_IT_IS)
    assert certainty is not None
    assert certainty.dtype == np.uint8
    np.testing.assert_array_equal(certainty > 0, labels == Label.TUMOR)
    for k, share in prediction.shares(SMOOTH.smoothing_mm):
        tumor = labels[k] == Label.TUMOR
        np.testing.assert_array_equal(certainty[k][tumor], SMOOTH.stored_probability(share[tumor]))
    assert prediction.decide(Decision(tumor_threshold=0.7), AS_IT_IS).tumor_probability is None


def test_certainty_goes_with_the_tumor_that_is_cleaned_away() -> None:
    ct, decision = rough_abdomen(), replace(SMOOTH, tumor_threshold=0.7)
    steps = Postprocessing(smallest_lesion_mm=20.0)
    kept = segmenter(decision=decision, postprocessing=AS_IT_IS).segment(ct)
    cleaned = segmenter(decision=decision, postprocessing=steps).segment(ct)
    assert kept.tumor_probability_kji is not None
    assert cleaned.tumor_probability_kji is not None
    tumor = cleaned.labels_kji == Label.TUMOR
    assert 0 < tumor.sum() < (kept.labels_kji == Label.TUMOR).sum()
    np.testing.assert_array_equal(
        cleaned.tumor_probability_kji, np.where(tumor, kept.tumor_probability_kji, 0)
    )


def test_no_certainty_without_a_calibration() -> None:
    assert segmenter().segment(abdomen()).tumor_probability_kji is None


def test_progress_and_cancel_reach_into_the_decision() -> None:
    told: list[tuple[float, str]] = []
    worker, ct = segmenter(engine := GrayRunner(), decision=SMOOTH), rough_abdomen()
    worker.segment(ct, lambda *news: told.append(news))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    deciding = [phrase for _, phrase in told if phrase.startswith("Deciding on tumors, slice")]
    assert 2 < len(deciding) <= len(engine.calls)

    def stop(fraction: float, phrase: str) -> None:
        if phrase == deciding[2]:
            raise Cancelled

    with pytest.raises(Cancelled):
        worker.segment(ct, stop)
    again = worker.segment(ct)
    np.testing.assert_array_equal(again.labels_kji, worker.segment(ct).labels_kji)


def test_nothing_found_is_decided_as_nothing() -> None:
    air = volume(np.full((9, 30, 30), -1000), (5.0, 2.0, 2.0))
    result = segmenter(decision=SMOOTH).segment(air)
    assert not result.found_liver
    assert result.tumor_probability_kji is not None
    assert not result.tumor_probability_kji.any()


def test_a_ball_loses_no_more_than_its_rim() -> None:
    shape, spacing = (40, SIDE, SIDE), np.array([2.0, 2.0, 2.0])
    center = np.array([20.0, 30.0, 30.0])
    probabilities = np.full((*shape, 3), (0.98, 0.01, 0.01))
    probabilities[distance_mm(shape, spacing, center) < 36] = (0.05, 0.9, 0.05)
    ball = distance_mm(shape, spacing, center) < 18
    probabilities[ball] = (0.05, 0.05, 0.9)
    made = labels_of(probabilities, Decision(smoothing_mm=4.0)) == Label.TUMOR
    assert dice(made, ball) > 0.95
    assert (made <= ball).all()
    assert made[distance_mm(shape, spacing, center) < 15].all()
