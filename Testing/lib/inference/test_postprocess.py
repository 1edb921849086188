"""Each postprocessing step by cases made by hand, and what must hold for any label map."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.labels import Label
from looped import looped
from numpy.typing import NDArray
from scipy import ndimage

MM = (1.0, 1.0, 1.0)
OFF = {
    "largest_liver_component": False,
    "tumor_inside_liver": False,
    "smallest_lesion_mm": 0.0,
    "smallest_liver_ml": 0.0,
}


def only(**settings: Any) -> Postprocessing:
    """Every step off but these."""
    return Postprocessing(**{**OFF, **settings})


def liver_box() -> NDArray[np.uint8]:
    """A liver of 20 x 20 x 20 voxels with room to its right (i from 30)."""
    labels = np.zeros((40, 40, 60), np.uint8)
    labels[10:30, 10:30, 10:30] = Label.LIVER
    return labels


def noisy_case(seed: int) -> NDArray[np.uint8]:
    """Livers, loose and attached tumors and specks of every size."""
    rng = np.random.default_rng(seed)
    organ = ndimage.gaussian_filter(rng.normal(size=(22, 30, 38)), 2.0) > 0.03
    tumor = ndimage.gaussian_filter(rng.normal(size=organ.shape), 1.0) > 0.14
    return np.where(tumor, Label.TUMOR, organ).astype(np.uint8)


def test_all_steps_off_changes_nothing() -> None:
    labels = noisy_case(0)
    result = only()(labels, MM)
    assert np.array_equal(result, labels)
    assert not np.shares_memory(result, labels)


def test_only_the_largest_liver_stays_with_its_tumor() -> None:
    labels = liver_box()
    labels[18:22, 18:22, 30:34] = Label.TUMOR  # at the liver's rim
    expected = labels.copy()
    labels[0:6, 0:6, 0:6] = Label.LIVER
    labels[2:4, 2:4, 2:4] = Label.TUMOR  # a tumor in a false liver goes with it
    assert np.array_equal(only(largest_liver_component=True)(labels, MM), expected)


def test_liver_held_by_a_corner_is_one_piece() -> None:
    labels = liver_box()
    labels[30:34, 30:34, 30:34] = Label.LIVER
    assert np.array_equal(only(largest_liver_component=True)(labels, MM), labels)


def test_a_large_loose_tumor_is_never_taken_for_the_liver() -> None:
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[:20, :, :] = Label.TUMOR
    labels[25:30, :, :] = Label.LIVER
    result = only(
        largest_liver_component=True, tumor_inside_liver=True, max_distance_to_liver_mm=2.0
    )(labels, MM)
    assert (result[25:] == Label.LIVER).all()
    assert not result[:25].any()


@looped("spacing", [MM, (5.0, 0.7, 0.7), (0.5, 3.0, 1.25)])
@looped("axis", [0, 1, 2])
def test_loose_tumor_stays_within_the_margin(
    spacing: tuple[float, float, float], axis: int
) -> None:
    gap = 4  # steps from the last liver voxel to the first tumor voxel
    labels = np.zeros((24, 24, 24), np.uint8)
    labels[4:12, 4:12, 4:12] = Label.LIVER
    where = [slice(6, 9)] * 3
    where[axis] = slice(11 + gap, 18)
    labels[tuple(where)] = Label.TUMOR
    distance_mm = gap * spacing[axis]
    inside = only(tumor_inside_liver=True, max_distance_to_liver_mm=distance_mm)(labels, spacing)
    assert np.array_equal(inside, labels)  # whole, also the part beyond the margin
    outside = only(tumor_inside_liver=True, max_distance_to_liver_mm=distance_mm * 0.99)(
        labels, spacing
    )
    assert not (outside == Label.TUMOR).any()
    assert np.array_equal(outside == Label.LIVER, labels == Label.LIVER)


@looped("seed", range(4))
def test_margin_agrees_with_a_distance_transform(seed: int) -> None:
    labels, spacing, margin_mm = noisy_case(seed), (2.5, 0.8, 1.1), 3.0
    result = only(tumor_inside_liver=True, max_distance_to_liver_mm=margin_mm)(labels, spacing)
    pieces, count = ndimage.label(labels > 0, structure=np.ones((3, 3, 3)))
    livers = np.isin(pieces, np.unique(pieces[labels == Label.LIVER]))
    distance_mm = ndimage.distance_transform_edt(~livers, sampling=spacing)
    for piece in range(1, count + 1):
        stays = (distance_mm[pieces == piece] <= margin_mm).any()
        assert (result[pieces == piece] > 0).all() == stays


def test_a_large_tumor_at_the_rim_is_not_cut() -> None:
    labels = liver_box()
    labels[10:30, 10:30, 30:55] = Label.TUMOR  # reaches 25 mm beyond the liver
    assert np.array_equal(Postprocessing(smallest_liver_ml=1)(labels, MM), labels)


@looped("spacing", [MM, (2.0, 0.5, 1.0)])
def test_smallest_lesion_by_equivalent_diameter(spacing: tuple[float, float, float]) -> None:
    labels = np.full((41, 41, 41), Label.LIVER, np.uint8)
    k, j, i = ((np.arange(41) - 20) * s for s in spacing)
    ball = k[:, None, None] ** 2 + j[:, None] ** 2 + i**2 <= 6.0**2
    labels[ball] = Label.TUMOR
    equivalent_mm = (6 * ball.sum() * np.prod(spacing) / np.pi) ** (1 / 3)
    assert equivalent_mm == pytest.approx(12.0, rel=0.03)
    kept = only(smallest_lesion_mm=float(equivalent_mm) - 1e-6)(labels, spacing)
    assert np.array_equal(kept, labels)
    filled = only(smallest_lesion_mm=float(equivalent_mm) + 1e-6)(labels, spacing)
    assert (filled == Label.LIVER).all()


def test_small_lesions_become_liver_inside_and_background_outside() -> None:
    labels = liver_box()
    expected = labels.copy()
    labels[15:17, 15:17, 15:17] = Label.TUMOR
    labels[15:17, 15:17, 30:32] = Label.TUMOR  # touches the rim: part of the liver
    expected[15:17, 15:17, 30:32] = Label.LIVER
    labels[15:17, 15:17, 34:36] = Label.TUMOR  # loose, though near
    assert np.array_equal(only(smallest_lesion_mm=5.0)(labels, MM), expected)


def test_a_tiny_liver_is_no_liver() -> None:
    labels = liver_box()  # 8 ml
    labels[12:20, 12:20, 12:20] = Label.TUMOR  # counts as liver
    assert np.array_equal(only(smallest_liver_ml=8.0)(labels, MM), labels)
    assert not only(smallest_liver_ml=8.1)(labels, MM).any()
    assert not Postprocessing()(labels, MM).any()
    assert Postprocessing()(labels, (3.0, 1.0, 1.0)).any()


def test_nothing_liver_alone_and_tumor_alone() -> None:
    empty = np.zeros((4, 5, 6), np.uint8)
    result = Postprocessing()(empty, MM)
    assert result.dtype == np.uint8
    assert result.shape == empty.shape
    assert not result.any()
    assert (Postprocessing(smallest_liver_ml=0)(empty + 1, MM) == Label.LIVER).all()
    tumor = np.full((40, 40, 40), Label.TUMOR, np.uint8)
    assert not Postprocessing()(tumor, MM).any()
    assert not Postprocessing(smallest_liver_ml=0)(tumor, MM).any()
    assert np.array_equal(only()(tumor, MM), tumor)
    assert Postprocessing()(np.zeros((0, 4, 4), np.uint8), MM).shape == (0, 4, 4)
    assert (Postprocessing(smallest_liver_ml=0)(np.ones((1, 1, 2), np.uint8), MM) == 1).all()


SETTINGS = [
    Postprocessing(smallest_liver_ml=0.5),
    Postprocessing(smallest_liver_ml=0, smallest_lesion_mm=0, max_distance_to_liver_mm=2),
    Postprocessing(smallest_liver_ml=0, largest_liver_component=False, smallest_lesion_mm=3),
    Postprocessing(smallest_liver_ml=0, tumor_inside_liver=False, smallest_lesion_mm=4),
    Postprocessing(smallest_liver_ml=0, smallest_lesion_mm=2.5, max_distance_to_liver_mm=1.5),
]


@looped("clean", SETTINGS)
@looped("seed", range(4))
def test_twice_is_once_and_tumor_never_grows(clean: Postprocessing, seed: int) -> None:
    labels, spacing = noisy_case(seed), (2.0, 0.9, 1.2)
    before = labels.copy()
    once = clean(labels, spacing)
    assert np.array_equal(labels, before)  # the input is left as it was
    assert not np.array_equal(once, labels)
    assert np.array_equal(clean(once, spacing), once)
    assert not ((once == Label.TUMOR) & (labels != Label.TUMOR)).any()
    assert not ((once > 0) & (labels == 0)).any()


@looped("clean", SETTINGS[:2])
def test_flips_and_axis_orders_do_not_matter(clean: Postprocessing) -> None:
    labels, spacing = noisy_case(7), (2.0, 0.9, 1.2)
    reference = clean(labels, spacing)
    for order, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        steps = tuple(slice(None, None, f) for f in flips)
        turned = clean(labels.transpose(order)[steps], tuple(spacing[a] for a in order))
        assert np.array_equal(turned, reference.transpose(order)[steps])


def test_wrong_input_is_refused() -> None:
    clean = Postprocessing()
    with pytest.raises(ValueError, match="found 0 to 3"):
        clean(np.array([[[0, 3]]], np.uint8), MM)
    with pytest.raises(ValueError, match="integers"):
        clean(np.zeros((2, 2, 2), np.float32), MM)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="three lengths"):
        clean(np.zeros((2, 2, 2), np.uint8), (1.0, 0.0, 1.0))


def ball(radius: float, side: int = 30) -> NDArray[np.bool_]:
    k, j, i = np.indices((side,) * 3) - side / 2
    return np.asarray(k**2 + j**2 + i**2 < radius**2)


def test_labels_of_two_masks_and_of_none() -> None:
    # labels of two masks
    liver, tumor = ball(10), ball(3)
    tumor[:3] = True  # far from the liver, which nobody asked to be inside
    labels = only().labels(liver, tumor, MM)
    np.testing.assert_array_equal(labels, np.where(tumor, 2, liver))
    assert labels.dtype == np.uint8

    # masks of nothing give nothing
    nothing = np.zeros((9, 9, 9), np.bool_)
    assert not Postprocessing(clean_liver=True).labels(nothing, nothing, MM).any()
    assert not Postprocessing(clean_liver=True).liver(nothing).any()


def test_one_smooth_liver() -> None:
    """The largest piece, and the median of 3 x 3 x 3 of it, also at the volume's rim."""
    for seed in range(3):
        values = np.random.default_rng(seed).normal(size=(24, 40, 40))
        mask = np.asarray(ndimage.gaussian_filter(values, 1.2) > 0.1)
        mask[:, :4] = mask[20:] = False
        pieces, count = ndimage.label(mask)
        sizes = ndimage.sum_labels(mask, pieces, range(1, count + 1))
        expected = ndimage.median_filter(pieces == 1 + int(np.argmax(sizes)), 3, mode="nearest")
        cleaned = only(clean_liver=True).liver(mask)
        np.testing.assert_array_equal(cleaned, expected)
        made = only(clean_liver=True).labels(mask, np.zeros_like(mask), MM)
        np.testing.assert_array_equal(made > 0, expected)
        same = only().liver(mask)
        np.testing.assert_array_equal(same, mask)
        assert not np.shares_memory(same, mask)
