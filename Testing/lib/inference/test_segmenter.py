"""The segmenter with a network made of thresholds: grids, scan, progress, cancel, warnings.

The pretended network is exact and needs no torch, so what is tested is all that surrounds one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.progress import Cancelled
from LiverTumorSegLib.result.agreement import dice
from LiverTumorSegLib.volume import CtVolume
from looped import looped
from numpy.typing import NDArray
from threshold_slices import (
    AIR_HU,
    AS_IT_IS,
    FAST,
    LIVER_HU,
    TUMOR_HU,
    BrightRunner,
    GrayRunner,
    abdomen,
    distance_mm,
    segmenter,
    spec_of,
    turned,
    volume,
)

Array = NDArray[Any]


@looped(
    ("shape_ji", "spacing_ji_mm"),
    [
        ((512, 512), (0.7, 0.7)),
        ((122, 101), (3.0, 3.0)),
        ((512, 200), (0.8, 1.7)),
        ((200, 512), (2.0, 0.7)),
    ],
)
def test_a_ball_stays_where_it_is(
    shape_ji: tuple[int, int], spacing_ji_mm: tuple[float, float]
) -> None:
    """With the whole preprocessing of the paper, and partial volume at the ball's rim."""
    shape, spacing = (11, *shape_ji), np.array([7.0, *spacing_ji_mm])
    center = np.array([4.7, 0.41 * shape_ji[0], 0.63 * shape_ji[1]])
    distance = distance_mm(shape, spacing, center)
    inside = np.clip((30.0 - distance) / max(spacing_ji_mm) + 0.5, 0, 1)
    ct = volume(-40 + 200 * inside, (7.0, *spacing_ji_mm))
    result = segmenter(BrightRunner(), steps=SlicePreprocessing(), postprocessing=AS_IT_IS)
    found = result.segment(ct).labels_kji > 0
    assert np.abs(np.argwhere(found).mean(0) - center)[1:].max() < 0.5
    assert np.abs(np.argwhere(found).mean(0) - np.argwhere(distance < 30).mean(0)).max() < 0.1
    assert dice(found, distance < 30) > 0.95


def test_thresholds_come_back_on_the_pixels_they_came_from() -> None:
    """A grid that preprocessing only copies: the labels are the thresholds, voxel by voxel."""
    hu = np.repeat(np.repeat(abdomen().hu[:, :32, :32], 4, axis=1), 4, axis=2)
    steps = replace(FAST, size_px=128)
    made = segmenter(steps=steps, postprocessing=AS_IT_IS).segment(volume(hu, (6.0, 1.0, 1.0)))
    expected = np.where(hu == TUMOR_HU, 2, np.where(hu == LIVER_HU, 1, 0))
    np.testing.assert_array_equal(made.labels_kji, expected)


@looped("batch", [1, 4, 16])
def test_the_scan_changes_nothing_but_the_work(batch: int) -> None:
    ct = abdomen(count=96, bottom=41, spacing_k_mm=4.0)
    hu = ct.hu.copy()
    hu[15, 30:32, 40:42] = hu[11, 8, 9] = LIVER_HU  # specks on a scanned slice and off the scan
    ct = CtVolume(hu, ct.ijk_to_ras)
    full, engine = segmenter(coarse_search=False).segment(ct), GrayRunner(batch)
    quick = segmenter(engine).segment(ct)
    np.testing.assert_array_equal(quick.labels_kji, full.labels_kji)
    assert quick.found_liver
    assert (full.slices, full.slices_run) == (96, 96)
    assert quick.slices_run == sum(engine.calls) < 48
    assert max(engine.calls) <= batch


def test_a_tip_too_small_for_a_hit_is_labeled_all_the_same() -> None:
    hu = np.full((9, 40, 52), AIR_HU)
    hu[4, 20:22, 30:32] = LIVER_HU  # 42 of the 100 square millimeters of a hit
    worker = segmenter(postprocessing=AS_IT_IS)
    labels = worker.segment(volume(hu, (6.0, 3.5, 3.0))).labels_kji
    np.testing.assert_array_equal(labels, (hu == LIVER_HU).astype(np.uint8))


def test_progress_rises_to_one_with_every_slice() -> None:
    told: list[tuple[float, str]] = []
    done_by_then: list[int] = []
    engine = GrayRunner()

    def progress(fraction: float, phrase: str) -> None:
        told.append((fraction, phrase))
        done_by_then.append(len(engine.calls))

    result = segmenter(engine).segment(abdomen(count=70, bottom=20), progress)
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert all(phrase.strip() for _, phrase in told)
    slices = [
        phrase
        for _, phrase in told
        if phrase.startswith(("Slice ", "Looking for the liver, slice "))
    ]
    assert len(slices) == result.slices_run == len(engine.calls)
    assert done_by_then[1 : 1 + len(slices)] == list(range(1, len(slices) + 1))


class Noting(GrayRunner):
    """Writes a note in its third call of all."""

    def __call__(self, grays: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities = super().__call__(grays)
        if len(self.calls) == 3:
            self.warnings.append("Went on smaller.")
        return probabilities


@looped("after", [0, 1, 5, 14])
def test_cancel_stops_at_once_and_leaves_nothing(after: int) -> None:
    ct, engine = abdomen(), Noting()
    worker = segmenter(engine)
    with pytest.raises(Cancelled):
        worker.segment(ct, cancel_after(after))
    assert len(engine.calls) == after
    engine.calls.extend([0] * 3)  # past the note
    again = worker.segment(ct)
    np.testing.assert_array_equal(again.labels_kji, segmenter().segment(ct).labels_kji)
    assert again.warnings == ()


def cancel_after(slices: int) -> Any:
    def progress(fraction: float, phrase: str) -> None:
        progress.calls += 1  # type: ignore[attr-defined]
        if progress.calls > slices:  # type: ignore[attr-defined]
            raise Cancelled

    progress.calls = 0  # type: ignore[attr-defined]
    return progress


def test_cancel_stops_within_one_batch() -> None:
    engine = GrayRunner(batch=4)
    with pytest.raises(Cancelled):
        segmenter(engine).segment(abdomen(), cancel_after(6))
    assert engine.calls == [4, 4]


@looped("batch", [1, 3])
def test_probabilities_on_request(batch: int) -> None:
    hu, new_to_old = turned(abdomen().hu, np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]]))
    ct = CtVolume(hu, abdomen().ijk_to_ras @ new_to_old)
    worker = segmenter(GrayRunner(batch), postprocessing=AS_IT_IS)
    result = worker.segment(ct, keep_prediction=True)
    assert result.probabilities is not None
    assert result.probabilities.dtype == np.float16
    assert result.probabilities.shape == (3, *ct.shape_kji)
    wide = result.probabilities.astype(np.float32)
    assert np.abs(wide.sum(0) - 1).max() < 2e-3
    second, first = np.sort(wide, axis=0)[-2:]
    clear = first - second > 2e-3
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(wide.argmax(0)[clear], result.labels_kji[clear])
    plain = worker.segment(ct)
    assert plain.probabilities is None
    np.testing.assert_array_equal(plain.labels_kji, result.labels_kji)


def test_slices_left_out_are_surely_background() -> None:
    result = segmenter().segment(abdomen(count=80, bottom=30), keep_prediction=True)
    assert result.slices_run < 80
    assert result.probabilities is not None
    assert (result.probabilities[:, 1] == np.array([1, 0, 0])[:, None, None]).all()
    assert np.abs(result.probabilities.astype(np.float32).sum(0) - 1).max() < 2e-3


@looped("count", [9, 60])
def test_no_liver_is_a_plain_result(count: int) -> None:
    result = segmenter().segment(volume(np.full((count, 30, 30), AIR_HU), (5.0, 2.0, 2.0)))
    assert not result.labels_kji.any()
    assert not result.found_liver
    assert result.slices_run == count  # everything was looked at before saying so
    assert result.warnings == ()


@looped(
    ("preset", "bright_slices", "warned"),
    [("window", 0, False), ("window", 1, False), ("window", 4, True), ("paper", 4, False)],
)
def test_a_liver_at_the_windows_top(preset: str, bright_slices: int, warned: bool) -> None:
    hu = np.full((16, 40, 40), -40)
    hu[:, 0, 0] = 160  # gives per-slice scaling the same two ends
    hu[2:14, 10:30, 10:30] = LIVER_HU
    hu[2 : 2 + bright_slices, 10:30, 10:30] = 160
    result = segmenter(steps=replace(FAST, preset=preset)).segment(volume(hu, (5.0, 4.0, 4.0)))
    assert result.found_liver
    assert len(result.warnings) == warned
    if warned:
        assert "% of the liver is at or above 160 HU" in result.warnings[0]
        share = int(result.warnings[0].split()[0])
        assert share == pytest.approx(100 * bright_slices / 12, abs=5)


def test_notes_of_the_engine_are_warnings_of_their_own_run_only() -> None:
    engine = Noting()
    engine.warnings.append("Made at the start.")
    worker = segmenter(engine)
    assert worker.segment(abdomen()).warnings == ("Made at the start.", "Went on smaller.")
    assert worker.segment(abdomen()).warnings == ()


@looped(
    ("trained_from_hu", "least_hu", "refused"),
    [
        (-1024, -1024, None),
        (-40, -40, None),
        (-1024, -40, "raw"),
        (-40, -1024, "windowed"),
        (-1024, -400, "raw"),  # where the readers begin to call a CT windowed
        (-1024, -401, None),
        (None, -40, None),
    ],
)
def test_paper_preset_wants_what_it_was_trained_on(
    trained_from_hu: int | None, least_hu: int, refused: str | None
) -> None:
    hu_range = None if trained_from_hu is None else (float(trained_from_hu), 400.0)
    engine, spec = GrayRunner(), spec_of(training_hu_range=hu_range)
    ct = volume(np.maximum(abdomen().hu, least_hu), (6.0, 3.5, 3.0))
    assert segmenter(spec=spec).segment(ct).found_liver  # the window preset takes both
    worker = segmenter(engine, spec=spec, steps=replace(FAST, preset="paper"))
    if refused is None:
        worker.segment(ct)
        return
    with pytest.raises(ValueError, match=f"trained on {refused}.*use a model with the window"):
        worker.segment(ct)
    assert engine.calls == []


@looped("preset", ["window", "paper"])
def test_the_ct_is_only_read(preset: str) -> None:
    ct = abdomen()
    ct.hu.setflags(write=False)
    before = ct.hu.copy()
    segmenter(steps=replace(FAST, preset=preset)).segment(ct, keep_prediction=True)
    np.testing.assert_array_equal(ct.hu, before)


class Broken(GrayRunner):
    def __call__(self, grays: NDArray[np.uint8]) -> NDArray[np.float32]:
        if len(self.calls) == 2:
            raise RuntimeError("The device fell off the bus.")
        return super().__call__(grays)


def test_what_the_engine_raises_comes_through() -> None:
    with pytest.raises(RuntimeError, match="fell off the bus"):
        segmenter(Broken()).segment(abdomen())
