"""A run of a cascade: progress, cancel, notes, warnings, memory, and what is told of the model."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.progress import Cancelled
from LiverTumorSegLib.inference.segmenter import Segmenter
from looped import looped
from threshold_cascade import (
    AS_IT_IS,
    CASCADE_STEPS,
    SEES_LIVER,
    Floats,
    Threshold,
    segmenter,
)
from threshold_slices import AIR_HU, LIVER_HU, abdomen, volume


def test_progress_rises_to_one_with_every_window() -> None:
    worker = segmenter()
    told: list[tuple[float, str]] = []
    done_by_then: list[int] = []

    def progress(fraction: float, phrase: str) -> None:
        told.append((fraction, phrase))
        done_by_then.append(
            len(worker.network.liver.runner.seen) + len(worker.network.tumor.runner.seen)
        )

    worker.segment(abdomen(), progress)
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert all(phrase.strip() for _, phrase in told)
    for name, engine in (
        ("Liver", worker.network.liver.runner),
        ("Tumor", worker.network.tumor.runner),
    ):
        windows = [phrase for _, phrase in told if phrase.startswith(f"{name}: Window ")]
        assert len(windows) == len(engine.seen) + 1
        assert windows[-1].endswith(f"Window {len(engine.seen)} of {len(engine.seen)}")
    assert max(np.diff(done_by_then)) == 1, "no two windows without a word"


class Noting(Threshold):
    """Writes a note in its second call of all."""

    def __call__(self, patches: Floats) -> Floats:
        answer = super().__call__(patches)
        if len(self.seen) == 2:
            self.warnings.append("Went on smaller.")
        return answer


def noting() -> Segmenter:
    worker = segmenter()
    worker.network.liver.runner = Noting(2.0, 0.0)
    worker.network.tumor.runner = Noting(4.0, -2.5)
    return worker


def cancel_at(words: str) -> Callable[[float, str], None]:
    def progress(fraction: float, phrase: str) -> None:
        if words in phrase:
            raise Cancelled

    return progress


@looped(
    ("words", "liver", "tumor"),
    [
        ("Preparing the CT", 0, 0),
        ("Liver: Window 3", 3, 0),
        ("Preparing the liver", None, 0),
        ("Tumor: Window 2", None, 2),
        ("slice 2 of", None, None),
        ("Cleaning up", None, None),
    ],
)
def test_cancel_stops_at_once_and_leaves_nothing(
    words: str, liver: int | None, tumor: int | None
) -> None:
    ct, worker = abdomen(), noting()
    with pytest.raises(Cancelled):
        worker.segment(ct, cancel_at(words))
    for stage, count in ((worker.network.liver, liver), (worker.network.tumor, tumor)):
        assert count is None or len(stage.runner.seen) == count
        stage.runner.seen.extend([np.zeros(1)] * 3)  # past the note
    again = worker.segment(ct)
    np.testing.assert_array_equal(again.labels_kji, segmenter().segment(ct).labels_kji)
    assert again.warnings == ()


def test_notes_of_both_engines_are_told_once() -> None:
    worker = noting()
    assert worker.segment(abdomen()).warnings == ("Went on smaller.",)
    assert worker.segment(abdomen()).warnings == ()


def test_a_liver_at_the_windows_top_is_told() -> None:
    hu = np.full((12, 40, 40), -40)
    hu[2:10, 10:30, 10:30] = 160
    result = segmenter().segment(volume(hu, (5.0, 4.0, 4.0)))
    assert "of the liver is at or above 160 HU" in result.warnings[0]


@looped(
    ("window_low", "trained_low", "least_hu", "told"),
    [
        (-250, -1024.0, -40, True),
        (-250, -1024.0, -1000, False),
        (-250, -200.0, -40, False),
        (-250, None, -40, False),
        (-40, -1024.0, -40, False),
    ],
)
def test_a_scan_that_was_cut_to_less_than_the_model_s_window(
    window_low: int, trained_low: float | None, least_hu: int, told: bool
) -> None:
    trained = None if trained_low is None else (trained_low, 400.0)
    sees = replace(SEES_LIVER, window_hu=(window_low, 600))
    ct = volume(np.maximum(abdomen().hu, least_hu), (6.0, 3.5, 3.0))
    warnings = segmenter(sees=sees, trained=trained).segment(ct).warnings
    assert bool(warnings) == told
    if told:
        assert "nothing below -40 HU" in warnings[0]


@looped(
    ("devices", "device"),
    [(("cuda", "cuda"), "cuda"), (("cpu", "cuda"), "cpu"), (("cuda:1", "cpu"), "cpu")],
)
def test_device_is_the_cpu_as_soon_as_one_is_there(devices: tuple[str, str], device: str) -> None:
    worker = segmenter()
    worker.network.liver.runner.device, worker.network.tumor.runner.device = devices
    assert worker.device == device
    assert worker.segment(abdomen()).device == device


def test_a_higher_share_marks_less_and_says_so() -> None:
    """Tumor's p is 0.5 at the rims of its balls and nearly 1 within."""
    half, sure = segmenter(), segmenter()
    sure.decision = Decision(tumor_threshold=0.9)
    plain, strict = (worker.segment(abdomen()).labels_kji for worker in (half, sure))
    assert ((plain == 2) & (strict != 2)).any()
    assert not ((strict == 2) & (plain != 2)).any()
    np.testing.assert_array_equal(plain > 0, strict > 0)
    assert sure.describe()["decision"]["tumor_threshold"] == 0.9


@looped("steps", [CASCADE_STEPS, AS_IT_IS])
def test_decided_again_without_the_networks(steps: Postprocessing) -> None:
    """The same labels as a run with that decision and these steps."""
    worker, ct = segmenter(), abdomen()
    prediction = worker.predict(ct)
    seen = len(worker.network.liver.runner.seen), len(worker.network.tumor.runner.seen)
    for share in (0.3, 0.5, 0.8):
        decision = Decision(tumor_threshold=share)
        expected = segmenter(steps)
        expected.decision = decision
        turned = ct.to_lps()[1].undo(prediction.decide(decision, steps).labels)
        np.testing.assert_array_equal(turned, expected.segment(ct).labels_kji)
    assert (len(worker.network.liver.runner.seen), len(worker.network.tumor.runner.seen)) == seen


def test_certainty_is_the_calibrated_answer_of_the_tumor_network() -> None:
    """Of each voxel that is tumor in the end, and of no other."""
    decision = Decision(tumor_threshold=0.6, calibration=(0.8, -0.3))
    worker = segmenter(replace(CASCADE_STEPS, smallest_lesion_mm=14.0))
    worker.decision = decision
    result = worker.segment(abdomen(), keep_prediction=True)
    certainty, tumor = result.tumor_probability_kji, result.labels_kji == 2
    assert certainty is not None
    assert result.probabilities is not None
    np.testing.assert_array_equal(certainty > 0, tumor)
    told = decision.stored_probability(result.probabilities[2].astype(np.float32))
    assert np.abs(certainty[tumor].astype(int) - told[tumor]).max() <= 1, "halves of the answers"
    plain = segmenter(replace(CASCADE_STEPS, smallest_lesion_mm=14.0)).segment(abdomen())
    assert plain.tumor_probability_kji is None


def test_the_ct_is_only_read() -> None:
    ct = abdomen()
    ct.hu.setflags(write=False)
    before = ct.hu.copy()
    segmenter(CASCADE_STEPS).segment(ct, keep_prediction=True)
    np.testing.assert_array_equal(ct.hu, before)


def test_memory_is_bounded_by_the_ct_and_the_grid() -> None:
    """No float copy of the CT: two masks, labels, and half floats of the networks' grid."""
    hu = np.full((40, 256, 256), AIR_HU)
    hu[10:30, 70:190, 70:190] = LIVER_HU
    ct = volume(hu, (5.0, 1.4, 1.4))
    worker = segmenter(CASCADE_STEPS)
    for stage in (worker.network.liver, worker.network.tumor):
        stage.runner.seen = _Forgetful()
    tracemalloc.start()
    worker.segment(ct)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * ct.hu.size


class _Forgetful(list[Any]):
    def append(self, item: Any) -> None:
        """What was seen is not kept."""
