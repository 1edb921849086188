"""The cascade's steps: the authors' growth by hand and against a plain loop, the liver's cut."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.postprocess_cascade import PRESETS, CascadePostprocessing, grown
from LiverTumorSegLib.inference.preprocess_volume import clean_liver
from LiverTumorSegLib.labels import Label
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
MM = (1.0, 1.0, 1.0)
OFF = {
    "clean_liver": False,
    "tumor_inside_liver": False,
    "smallest_lesion_mm": 0.0,
    "smallest_liver_ml": 0.0,
}


def only(**settings: Any) -> CascadePostprocessing:
    """Every step off but these."""
    return CascadePostprocessing(**{**OFF, **settings})


def empty(side: int = 30) -> Mask:
    return np.zeros((side,) * 3, np.bool_)


def rod(length: int, start: int = 5) -> Mask:
    """Voxels in a row along i, of a volume that is long enough."""
    mask = np.zeros((7, 7, 130), np.bool_)
    mask[3, 3, start : start + length] = True
    return mask


def ball(radius: float, side: int = 30) -> Mask:
    k, j, i = np.indices((side,) * 3) - side / 2
    return np.asarray(k**2 + j**2 + i**2 < radius**2)


def noise(seed: int, threshold: float = 0.1) -> Mask:
    """Pieces of every size."""
    values = np.random.default_rng(seed).normal(size=(24, 40, 40))
    return np.asarray(ndimage.gaussian_filter(values, 1.2) > threshold)


@pytest.mark.parametrize(
    ("length", "layers"), [(1, 1), (79, 1), (80, 2), (99, 2), (100, 0), (110, 0)]
)
def test_published_growth_of_a_rod(length: int, layers: int) -> None:
    mask = rod(length)
    ends = {0: 0, 1: 2 + 4 * length, 2: 4 + 12 * length + 8}
    assert np.count_nonzero(grown(mask)) == length + ends[layers]
    assert np.array_equal(mask, rod(length)), "the mask itself stays"


@pytest.mark.parametrize("seed", range(3))
def test_published_growth_is_the_plain_loop(seed: int) -> None:
    """The authors' way, a whole volume a piece."""
    mask = noise(seed, 0.17)
    pieces, count = ndimage.label(mask)
    expected, sizes = np.zeros_like(mask), []
    for number in range(1, count + 1):
        piece = pieces == number
        sizes.append(int(piece.sum()))
        layers = 1 if sizes[-1] < 80 else 2 if sizes[-1] < 100 else 0
        expected |= ndimage.binary_dilation(piece, iterations=layers) if layers else piece
    assert min(sizes) < 80
    assert max(sizes) >= 80
    np.testing.assert_array_equal(grown(mask), expected)


def test_growth_at_the_volume_s_rim_and_of_nothing() -> None:
    corner = empty(4)
    corner[0, 0, 0] = True
    assert np.count_nonzero(grown(corner)) == 4
    assert not grown(empty()).any()


def test_a_large_piece_of_few_voxels_across_is_not_small() -> None:
    """Its box is short, its voxels are many."""
    slab = empty(12)
    slab[5, 1:11, 1:11] = True
    np.testing.assert_array_equal(grown(slab), slab)


def test_the_liver_that_the_tumor_network_is_shown() -> None:
    mask = noise(1)
    np.testing.assert_array_equal(only(clean_liver=True).liver_on_grid(mask), clean_liver(mask))
    same = only().liver_on_grid(mask)
    np.testing.assert_array_equal(same, mask)
    assert not np.shares_memory(same, mask)


@pytest.mark.parametrize("spacing", [MM, (5.0, 1.4, 1.4)])
def test_tumor_outside_the_margin_is_cut(spacing: tuple[float, float, float]) -> None:
    liver, tumor = empty(), empty()
    liver[10:20, 10:20, 10:20] = True
    tumor[5:25, 15, 15] = tumor[15, 15, 5:25] = True
    steps = only(tumor_inside_liver=True, liver_margin_mm=3.0)
    distance_mm = ndimage.distance_transform_edt(~liver, spacing)
    expected = tumor & (distance_mm <= 3.0)
    np.testing.assert_array_equal(steps.tumor_on_grid(tumor, liver, spacing), expected)
    assert 0 < expected.sum() < tumor.sum()
    np.testing.assert_array_equal(only().tumor_on_grid(tumor, liver, spacing), tumor)


def test_growth_comes_before_the_cut() -> None:
    liver, tumor = empty(), empty()
    liver[:, :, :15] = tumor[15, 15, 14] = True
    steps = only(grow_small_tumors=True, tumor_inside_liver=True, liver_margin_mm=0.0)
    assert np.count_nonzero(steps.tumor_on_grid(tumor, liver, MM)) == 6
    assert np.count_nonzero(PRESETS["published"].tumor_on_grid(tumor, liver, MM)) == 7


def test_labels_of_liver_and_tumor() -> None:
    liver, tumor = ball(10), ball(3)
    tumor[:3] = True  # far from the liver, which nobody asked to be inside
    labels = only()(liver, tumor, MM)
    np.testing.assert_array_equal(labels, np.where(tumor, 2, liver))
    assert labels.dtype == np.uint8


def test_one_smooth_liver_as_on_the_whole_volume() -> None:
    """The box that is worked in changes nothing, at the volume's rim neither."""
    for seed in range(3):
        mask = noise(seed)
        mask[:, :4] = mask[20:] = False
        made = only(clean_liver=True)(mask, np.zeros_like(mask), MM)
        np.testing.assert_array_equal(made > 0, clean_liver(mask))


def test_loose_and_small_tumors_as_the_slice_model_s() -> None:
    liver, tumor = ball(9), empty()
    liver |= tumor
    tumor[15, 15, 15] = True  # too small
    tumor[12:18, 12:18, 8:12] = True
    tumor[15, 15, 28] = True  # loose
    settings = {"liver_margin_mm": 2.0, "smallest_lesion_mm": 3.0, "smallest_liver_ml": 0.0}
    labels = only(tumor_inside_liver=True, **settings)(liver, tumor, MM)
    both = np.where(tumor, Label.TUMOR, liver).astype(np.uint8)
    expected = Postprocessing(largest_liver_component=False, **settings)(both, MM)
    np.testing.assert_array_equal(labels, expected)
    assert labels[15, 15, 15] == Label.LIVER
    assert labels[15, 15, 28] == Label.BACKGROUND
    assert (labels == Label.TUMOR).sum() == 6 * 6 * 4


@pytest.mark.parametrize(("least_ml", "found"), [(0.0, True), (4.0, True), (5.0, False)])
def test_too_little_liver_is_none(least_ml: float, found: bool) -> None:
    liver = ball(10)  # 4.2 mL
    assert only(smallest_liver_ml=least_ml)(liver, empty(), MM).any() == found


def test_nothing_gives_nothing() -> None:
    for steps in PRESETS.values():
        assert not steps(empty(), empty(), MM).any()
        assert not steps.liver_on_grid(empty()).any()
        assert not steps.tumor_on_grid(empty(), empty(), MM).any()


def test_the_published_steps_leave_what_ours_remove() -> None:
    liver, tumor = ball(9), empty()
    tumor[15, 15, 15] = tumor[1, 1, 1] = True
    labels = PRESETS["published"](liver, tumor, MM)
    assert labels[15, 15, 15] == labels[1, 1, 1] == Label.TUMOR
    assert not (PRESETS["ours"](liver, tumor, (3.0, 3.0, 3.0)) == Label.TUMOR)[1, 1, 1]


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS.keys())
def test_stored_and_read_again(preset: CascadePostprocessing) -> None:
    stored = json.loads(json.dumps(preset.to_dict()))
    assert CascadePostprocessing.from_dict(stored) == preset
    assert CascadePostprocessing.from_dict({}) == CascadePostprocessing()


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        ({"fill_holes": True}, "fill_holes"),
        ({"kind": "slice"}, "not for a cascade"),
        ({"liver_margin_mm": -1}, "liver_margin_mm is -1"),
        ({"smallest_lesion_mm": float("nan")}, "smallest_lesion_mm"),
        ({"smallest_liver_ml": True}, "smallest_liver_ml"),
        ({"clean_liver": 1}, "clean_liver is 1; give true or false"),
    ],
)
def test_settings_that_cannot_be(stored: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        CascadePostprocessing.from_dict(stored)
