"""What a cascade of two thresholds finds: grids, regions, steps, probabilities.

The pretended networks are exact and need no torch, so what is tested is all that surrounds them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.agreement import dice
from LiverTumorSegLib.volume import CtVolume
from looped import looped
from numpy.typing import NDArray
from threshold_cascade import AS_IT_IS, CASCADE_STEPS, SEES_LIVER, Blind, Threshold, segmenter
from threshold_slices import (
    AIR_HU,
    LIVER_HU,
    TUMOR_HU,
    abdomen,
    distance_mm,
    volume,
)

Array = NDArray[Any]


def ball_in_liver(
    shape: tuple[int, int, int], spacing: Array, radius_mm: float
) -> tuple[CtVolume, Array]:
    """A tumor, a ball with partial volume at its rim, in a slab of liver; the ball itself."""
    center = np.array([0.47, 0.41, 0.58]) * shape
    distance = distance_mm(shape, spacing, center)
    inside = np.clip((radius_mm - distance) / spacing[2] + 0.5, 0, 1)
    hu = np.full(shape, LIVER_HU) + (160 - LIVER_HU) * inside
    hu[0] = hu[-1] = AIR_HU
    k, j, i = (float(mm) for mm in spacing)
    return volume(hu, (k, j, i)), distance < radius_mm


@looped(
    ("shape_ji", "spacing_ji_mm"),
    [((256, 256), (1.4, 1.4)), ((101, 77), (3.0, 3.0)), ((256, 100), (1.2, 1.7))],
)
@looped("liver_px", [64, 128, 192])
def test_a_ball_stays_where_it_is(
    shape_ji: tuple[int, int], spacing_ji_mm: tuple[float, float], liver_px: int
) -> None:
    spacing = np.array([7.0, *spacing_ji_mm])
    ct, truth = ball_in_liver((11, *shape_ji), spacing, 28.0)
    worker = segmenter(sees=replace(SEES_LIVER, size_px=128), liver_px=liver_px)
    labels = worker.segment(ct).labels_kji
    found = labels == Label.TUMOR
    assert np.abs(np.argwhere(found).mean(0) - np.argwhere(truth).mean(0)).max() < 0.15
    assert dice(found, truth) > 0.95
    assert (labels[1:-1] >= Label.LIVER).all()


def test_outlines_have_no_steps() -> None:
    """The networks' pixels are four times as wide as the CT's, the outline is not as coarse."""
    ct, truth = ball_in_liver((9, 256, 256), np.array([7.0, 1.2, 1.2]), 40.0)
    found = segmenter().segment(ct).labels_kji[4] == Label.TUMOR
    blocks = truth[4].reshape(64, 4, 64, 4).mean(axis=(1, 3)) > 0.5
    steps = np.repeat(np.repeat(blocks, 4, axis=0), 4, axis=1)
    off, off_by_steps = (np.count_nonzero(mask ^ truth[4]) for mask in (found, steps))
    assert off < 0.6 * off_by_steps


def test_the_tumor_network_sees_the_liver_alone() -> None:
    """And air that is as bright as a tumor is none."""
    hu = np.full((12, 40, 40), AIR_HU)
    hu[3:9, 4:16, 4:16] = LIVER_HU
    hu[4:8, 8:12, 8:12] = TUMOR_HU
    hu[3:9, 34:38, 34:38] = 160  # no liver: a piece of its own, and smaller
    worker = segmenter(replace(AS_IT_IS, clean_liver=True))
    labels = worker.segment(volume(hu, (6.0, 4.0, 4.0))).labels_kji
    assert set(np.unique(labels[:, 30:])) == {0}
    assert (labels[5:7, 9:11, 9:11] == Label.TUMOR).all()
    liver, tumor = worker.network.liver.runner, worker.network.tumor.runner
    assert len(tumor.seen) < len(liver.seen), "windows without liver are left out"
    assert max(patch[:, :, :, -8:, -8:].max() for patch in liver.seen) > 0.9
    assert max(patch.max() for patch in tumor.seen) < 0.97, "the bright piece is blanked"


@looped(("margin_mm", "kept"), [(0.0, False), (10.0, True)])
def test_the_margin_keeps_a_tumor_at_the_rim(margin_mm: float, kept: bool) -> None:
    """One that the liver network has missed."""
    hu = np.full((12, 48, 48), AIR_HU)
    hu[3:9, 8:24, 8:24] = LIVER_HU
    hu[4:8, 12:20, 24:28] = TUMOR_HU
    worker = segmenter(sees=replace(SEES_LIVER, liver_margin_mm=margin_mm))
    blind = Threshold(2.0, 0.0)
    worker.network.liver.runner = Blind(blind)
    labels = worker.segment(volume(hu, (6.0, 4.0, 4.0))).labels_kji
    assert (labels[5:7, 13:19, 25:26] == Label.TUMOR).all() == kept


@looped("liver_px", [32, 128])
def test_each_network_works_on_its_own_grid(liver_px: int) -> None:
    """And what the tumor network is shown differs by no more than the liver's outline."""
    ct, both, alike = abdomen(), segmenter(liver_px=liver_px), segmenter()
    labels = both.segment(ct, keep_prediction=True)
    expected = alike.segment(ct, keep_prediction=True)
    seen = len(both.network.liver.runner.seen), len(alike.network.liver.runner.seen)
    assert (seen[0] > seen[1]) == (liver_px > 64), "a finer grid takes more windows"
    assert dice(labels.labels_kji > 0, expected.labels_kji > 0) > 0.93
    assert dice(labels.labels_kji == 2, expected.labels_kji == 2) > 0.99
    assert labels.probabilities is not None
    assert np.abs(labels.probabilities.astype(np.float32).sum(0) - 1).max() < 3e-3


def test_a_mask_behind_the_whole_image() -> None:
    worker = segmenter(sees=replace(SEES_LIVER, mask_as_channel=True, liver_margin_mm=0.0))
    worker.network.liver.runner = Blind(Threshold(2.0, 0.0))
    worker.segment(abdomen())
    seen = worker.network.tumor.runner.seen
    assert {patch.shape[1] for patch in seen} == {2}
    assert {float(v) for patch in seen for v in np.unique(patch[:, 1])} == {0.0, 1.0}
    assert any((patch[:, 0] * (1 - patch[:, 1])).any() for patch in seen), "not blanked"


def test_the_tumor_network_has_its_own_window() -> None:
    worker = segmenter()
    steps = replace(SEES_LIVER, window_hu=(-250, 250))
    worker.network.tumor.preprocessing = steps
    worker.segment(abdomen())
    assert max(p.max() for p in worker.network.liver.runner.seen) == pytest.approx(0.95, abs=1e-3)
    assert max(p.max() for p in worker.network.tumor.runner.seen) == pytest.approx(0.8, abs=1e-3)


@looped("probabilities", [False, True])
def test_no_liver_is_a_plain_result(probabilities: bool) -> None:
    worker = segmenter(CASCADE_STEPS)
    ct = volume(np.full((9, 30, 30), AIR_HU), (5.0, 2.0, 2.0))
    result = worker.segment(ct, keep_prediction=probabilities)
    assert not result.labels_kji.any()
    assert not result.found_liver
    assert (result.slices_run, result.warnings) == (9, ())
    assert worker.network.tumor.runner.seen == []
    if probabilities:
        assert result.probabilities is not None
        assert (result.probabilities[0] == 1).all()


def test_too_little_liver_is_none() -> None:
    ct = abdomen()
    liver_ml = (segmenter().segment(ct).labels_kji > 0).sum() * ct.voxel_ml
    worker = segmenter(replace(AS_IT_IS, smallest_liver_ml=1.2 * liver_ml))
    assert not worker.segment(ct).found_liver
    assert worker.network.tumor.runner.seen == []


def test_probabilities_are_the_networks_own() -> None:
    worker, ct = segmenter(), abdomen()
    result = worker.segment(ct, keep_prediction=True)
    assert result.probabilities is not None
    assert result.probabilities.dtype == np.float16
    assert result.probabilities.shape == (3, *ct.shape_kji)
    background, liver, tumor = result.probabilities.astype(np.float32)
    assert np.abs(background + liver + tumor - 1).max() < 3e-3
    clear = (np.abs(tumor - 0.5) > 2e-3) & (np.abs(liver - background) > 4e-3)
    expected = np.where(tumor > 0.5, 2, liver > background)
    np.testing.assert_array_equal(result.labels_kji[clear], expected[clear])
    plain = worker.segment(ct)
    assert plain.probabilities is None
    np.testing.assert_array_equal(plain.labels_kji, result.labels_kji)
    ours = segmenter(AS_IT_IS).segment(ct, keep_prediction=True)
    np.testing.assert_array_equal(ours.probabilities, result.probabilities)


def test_what_the_steps_take_away_is_gone() -> None:
    """Loose tumor too far from the liver, and tumor that is too small; none is cut in two."""
    hu = np.full((12, 48, 48), AIR_HU)
    hu[2:10, 8:30, 8:30] = LIVER_HU
    hu[5:8, 14:17, 14:17] = hu[5:8, 12:18, 30:36] = hu[5:8, 12:18, 40:44] = TUMOR_HU
    steps = replace(AS_IT_IS, tumor_inside_liver=True, max_distance_to_liver_mm=12.0)
    worker = segmenter(steps, sees=replace(SEES_LIVER, liver_margin_mm=60.0))
    worker.network.liver.runner = Blind(Threshold(2.0, 0.0))
    ct = volume(hu, (6.0, 4.0, 4.0))
    tumor = worker.segment(ct).labels_kji == Label.TUMOR
    assert tumor[6, 15, 15]
    assert tumor[6, 13:17, 30:35].all()
    assert not tumor[:, :, 38:].any()
    worker.set_smallest_lesion(60.0)
    assert not (worker.segment(ct).labels_kji == Label.TUMOR).any()
