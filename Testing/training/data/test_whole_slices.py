"""What a liver network is fed: whole slices as other patients and scanners would have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.phantom.phantom import make_phantom
from numpy.typing import NDArray

from training.cases.scattered import LabeledSlices
from training.data.box_patches import Batch
from training.data.boxes import WINDOW_HU
from training.data.whole_slices import SliceSampler


@pytest.fixture(scope="module")
def stack() -> LabeledSlices:
    phantom = make_phantom(seed=0, shape_kji=(24, 96, 96), spacing_kji_mm=(10, 4, 4))
    return LabeledSlices(
        *("patient", "group", "case"),
        np.clip(phantom.ct.hu, *WINDOW_HU),
        phantom.labels,
        np.arange(24, dtype=np.float64) * 10,
        (4.0, 4.0),
    )


def sampler(stack: LabeledSlices, seed: int = 0, lesion_share: float = 0.0) -> SliceSampler:
    """Grays are HU here, but for their scale."""
    plain = SlicePreprocessing(size_px=96, grid_px=96, use_clahe=False, use_gamma=False)
    return SliceSampler([stack], plain, seed=seed, lesion_share=lesion_share)


def test_livers_are_seen_from_fatty_to_brighter_than_the_window(stack: LabeledSlices) -> None:
    """One patient's; nothing else in the slice gets as dark or as bright with it."""
    batch = sampler(stack).batch(300)
    low, high = WINDOW_HU
    rows = [
        (np.median(hu[t > 0]), np.median(hu[(t == 0) & (hu > low + 10)]))
        for hu, t in ((h * (high - low) + low, t) for h, t in slices_of(batch))
    ]
    liver, beside = np.array(rows).T
    usual = float(np.median(stack.hu[stack.labels > 0]))
    assert len(rows) > 100
    assert abs(np.median(liver) - usual) < 15
    assert (liver > high - 5).mean() == pytest.approx(0.08, abs=0.07)
    assert (liver < usual - 35).any()
    assert (liver - beside).min() < 5
    assert (liver - beside).max() > 60


def test_what_is_drawn_is_a_function_of_the_seed_and_of_the_batch(stack: LabeledSlices) -> None:
    first, again, other = (sampler(stack, seed, lesion_share=0.5) for seed in (3, 3, 4))
    batches = [first.batch(4) for _ in range(2)]
    for batch in batches:
        np.testing.assert_array_equal(batch.images, again.batch(4).images)
    assert not np.array_equal(batches[0].images, batches[1].images)
    assert not np.array_equal(batches[0].images, other.batch(4).images)


def test_a_drawn_lesion_stays_liver(stack: LabeledSlices) -> None:
    """The target does not change with what is painted into a liver without tumors."""
    usual = int(np.median(stack.hu[stack.labels == 1]))
    hu = np.where(stack.labels == 2, usual, stack.hu).astype(np.int16)
    stack = replace(stack, hu=hu, labels=np.minimum(stack.labels, 1))
    with_lesions, without = (sampler(stack, 5, share).batch(200) for share in (1.0, 0.0))
    assert set(np.unique(with_lesions.labels)) == {0, 1}
    assert with_lesions.labels.mean() == pytest.approx(without.labels.mean(), rel=0.15)
    dark = [
        np.mean([(h[t > 0] < np.median(h[t > 0]) - 0.1).mean() for h, t in slices_of(batch)])
        for batch in (with_lesions, without)
    ]
    assert dark[0] > 1.2 * dark[1]  # there are some; the liver's edge is dark as well


def slices_of(batch: Batch) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Image and target of those that show much of the liver."""
    pairs = zip(batch.images[:, 0], batch.labels, strict=True)
    return [(image, target) for image, target in pairs if (target > 0).sum() > 100]
