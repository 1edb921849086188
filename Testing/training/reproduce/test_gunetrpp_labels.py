"""The published steps after two networks: growth by hand and by a plain loop, and whole."""

from __future__ import annotations

import numpy as np
import pytest
import threshold_slices
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import clean_liver
from LiverTumorSegLib.labels import Label
from numpy.typing import NDArray
from scipy import ndimage
from threshold_cascade import AS_IT_IS, segmenter
from threshold_slices import AIR_HU, LIVER_HU, abdomen, volume

from training.reproduce.gunetrpp import grow_small, published_labels

Mask = NDArray[np.bool_]


def test_published_growth_of_a_rod() -> None:
    for length, layers in ((1, 1), (79, 1), (80, 2), (99, 2), (100, 0), (110, 0)):
        mask = np.zeros((7, 7, 130), np.bool_)
        mask[3, 3, 5 : 5 + length] = True
        before = mask.copy()
        ends = {0: 0, 1: 2 + 4 * length, 2: 4 + 12 * length + 8}
        assert np.count_nonzero(grow_small(mask)) == length + ends[layers]
        assert np.array_equal(mask, before), "the mask itself stays"


def test_published_growth_is_the_plain_loop() -> None:
    """The authors' way, a whole volume a piece; also at the rim, of slabs and of nothing."""
    for seed in range(3):
        values = np.random.default_rng(seed).normal(size=(24, 40, 40))
        mask = ndimage.gaussian_filter(values, 1.2) > 0.17
        pieces, count = ndimage.label(mask)
        expected, sizes = np.zeros_like(mask), []
        for number in range(1, count + 1):
            piece = pieces == number
            sizes.append(int(piece.sum()))
            layers = 1 if sizes[-1] < 80 else 2 if sizes[-1] < 100 else 0
            expected |= ndimage.binary_dilation(piece, iterations=layers) if layers else piece
        assert min(sizes) < 80
        assert max(sizes) >= 80
        np.testing.assert_array_equal(grow_small(mask), expected)
    slab = np.zeros((12, 12, 12), np.bool_)
    slab[5, 1:11, 1:11] = True
    np.testing.assert_array_equal(grow_small(slab), slab)
    assert not grow_small(np.zeros_like(slab)).any()


def test_a_small_tumor_grows_onto_the_slices_beside_it() -> None:
    """However coarse the liver network's pixels are."""
    hu = np.full((12, 64, 64), LIVER_HU)
    hu[0] = hu[-1] = AIR_HU
    hu[5, 30:34, 30:34] = 160
    ct, grown = volume(hu, (5.0, 2.0, 2.0)), []
    for liver_px in (32, 64):
        prediction = segmenter(liver_px=liver_px).predict(ct)
        plain = prediction.decide(Decision(), AS_IT_IS).labels == Label.TUMOR
        grown.append(published_labels(prediction) == Label.TUMOR)
        assert plain[5].any()
        assert not plain[[4, 6]].any()
        assert grown[-1][plain].all()
        assert grown[-1][[4, 6]].any(axis=(1, 2)).all()
        assert not grown[-1][[3, 7]].any()
    np.testing.assert_array_equal(*grown)


def test_large_tumors_stay_as_they_are_and_the_liver_is_one_smooth_piece() -> None:
    prediction = segmenter().predict(abdomen())
    labels = published_labels(prediction)
    plain = prediction.decide(Decision(), AS_IT_IS).labels
    assert ((labels == 2) >= (plain == 2)).all()
    np.testing.assert_array_equal((labels == 1), clean_liver(prediction.liver_lps) & (labels != 2))


def test_a_model_of_one_network_has_no_such_steps() -> None:
    with pytest.raises(ValueError, match="a cascade's"):
        published_labels(threshold_slices.segmenter().predict(abdomen()))
