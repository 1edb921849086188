"""A CT on a network's own voxels and axes, and the way back; oracles are nibabel and skimage."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from LiverTumorSegLib.inference.preprocess_resampled import (
    ResampledPreprocessing,
    resample,
    separate_axis,
)
from LiverTumorSegLib.volume import CtVolume
from skimage.transform import resize

EVERY_AXCODES = [
    "".join(codes) for order in permutations(("RL", "AP", "SI")) for codes in product(*order)
]


def lps_ct(hu: np.ndarray, spacing_kji_mm: tuple[float, float, float] = (1, 1, 1)) -> CtVolume:
    k, j, i = spacing_kji_mm
    return CtVolume(hu.astype(np.int16), np.diag([-i, -j, k, 1.0]))


def test_all_48_axcodes_turn_as_nibabel_does_and_lps_is_nibabels() -> None:
    # all 48 axcodes turn a volume as nibabel does and back
    from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

    hu = np.random.default_rng(0).integers(-1000, 1000, (3, 4, 5))
    assert len(EVERY_AXCODES) == 48
    for axcodes in EVERY_AXCODES:
        steps = ResampledPreprocessing(axcodes=axcodes)
        turn = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(axcodes))
        expected = apply_orientation(hu.transpose(2, 1, 0), turn)
        np.testing.assert_array_equal(steps.to_axes(hu), expected)
        np.testing.assert_array_equal(steps.from_axes(steps.to_axes(hu)), hu)

    # nibabel agrees what lps is
    ct = lps_ct(np.zeros((2, 3, 4), np.int16))
    assert nibabel.aff2axcodes(ct.ijk_to_ras) == ("L", "P", "S")


def test_resampling_is_that_of_skimage_with_which_nnunet_resamples() -> None:
    image = np.random.default_rng(1).normal(0, 100, (9, 11, 14)).astype(np.float32)
    for shape, order in (((12, 7, 20), 3), ((5, 22, 14), 1)):
        ours = resample(image, shape, order=order, across=None, order_across=0)
        theirs = resize(image, shape, order=order, mode="edge", anti_aliasing=False)
        np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_slices_far_apart_are_resampled_one_by_one_and_not_mixed() -> None:
    image = np.random.default_rng(2).normal(0, 100, (4, 8, 9)).astype(np.float32)
    ours = resample(image, (8, 16, 18), order=3, across=0, order_across=0)
    for k in range(8):
        plane = resize(image[k // 2], (16, 18), order=3, mode="edge", anti_aliasing=False)
        np.testing.assert_allclose(ours[k], plane, atol=0.02)
    assert separate_axis((5.0, 0.8, 0.8), (1.0, 0.8, 0.8)) == 0
    assert separate_axis((1.0, 0.8, 0.8), (5.0, 0.8, 0.8)) == 0
    assert separate_axis((1.0, 0.8, 0.8), (2.0, 0.8, 0.8)) is None
    assert separate_axis((4.0, 4.0, 1.0), (1.0, 1.0, 1.0)) is None, "two axes are equally coarse"


def test_hu_are_clipped_and_scaled_before_anything_else() -> None:
    hu = np.array([-1000, -50, 100, 250, 3000]).repeat(8).reshape(5, 2, 4)
    steps = ResampledPreprocessing(clip_hu=(-50, 250), mean_std_hu=(100, 75))
    np.testing.assert_allclose(steps(lps_ct(hu))[:, 0, 0], [-2, -2, 0, 2, 2])
    assert steps.window_hu == (-50, 250)


def test_a_grid_covers_the_same_place_on_the_way_there_and_back() -> None:
    """A ramp in mm along each axis stays that ramp, whatever the voxels and the orientation."""
    ct = lps_ct(np.zeros((20, 30, 40), np.int16), (3.0, 1.5, 1.0))
    for axis in range(3):
        place_mm = (np.arange(ct.shape_kji[axis]) + 0.5) * ct.spacing_kji_mm[axis]
        shape = [-1 if n == axis else 1 for n in range(3)]
        ramp = np.broadcast_to(place_mm.reshape(shape), ct.shape_kji)
        steps = ResampledPreprocessing(spacing_mm=(2.0, 2.0, 2.0), axcodes="RAS", order=1)
        seen = steps(lps_ct(10 * ramp, ct.spacing_kji_mm))
        assert seen.shape == (20, 22, 30) == steps.shape(ct)
        maps = steps.to_maps(np.stack([seen / 1000, seen / 1000]).astype(np.float16), ct)
        for k in range(6, 14):
            if k in maps.by_slice:
                back = maps.last_native(k) * 100
                np.testing.assert_allclose(back[4:-4, 4:-4], ramp[k, 4:-4, 4:-4], atol=0.6)


def test_a_network_of_slices_sees_each_slice_of_the_ct_by_itself() -> None:
    """As nnU-Net plans it in 2D: in its own pixels, and as many as there are, however far apart."""
    for far_mm in (0.6, 1.0, 7.0):
        ct = lps_ct(np.random.default_rng(3).normal(50, 100, (5, 12, 14)), (far_mm, 1.5, 1.0))
        seen = ResampledPreprocessing(spacing_mm=(1.0, 0.8))(ct)
        assert seen.shape == (5, 18, 18)
        for k in range(5):
            plane = ct.hu[k].astype(np.float32)
            theirs = resize(plane, (18, 18), order=3, mode="edge", anti_aliasing=False)
            inside = (theirs > plane.min()) & (theirs < plane.max())
            np.testing.assert_allclose(seen[k][inside], theirs[inside], atol=0.3)
        coronal = ResampledPreprocessing(spacing_mm=(1.0, 0.8), axcodes="PSL")
        assert coronal(ct).shape == coronal.shape(ct) == (12, round(5 * far_mm), 18)


def test_settings_come_back_from_their_stored_form_and_nonsense_is_refused() -> None:
    steps = ResampledPreprocessing(
        spacing_mm=(2.0, 1.0, 1.0), axcodes="SAR", clip_hu=(-10.5, 200.0), mean_std_hu=(-3.0, 4.0)
    )
    assert ResampledPreprocessing.from_dict(steps.to_dict()) == steps
    for wrong in (
        {"axcodes": "RAL"},
        {"axcodes": "RA"},
        {"axcodes": None},
        {"spacing_mm": (1.0,)},
        {"spacing_mm": (1.0, 1.0, 0.0)},
        {"clip_hu": (5.0, 5.0)},
        {"clip_hu": (0.0, float("nan"))},
        {"mean_std_hu": (0.0, 0.0)},
        {"mean_std_hu": None},
        {"order": 5},
    ):
        with pytest.raises(ValueError, match="; give "):
            ResampledPreprocessing.from_dict({**steps.to_dict(), **wrong})
