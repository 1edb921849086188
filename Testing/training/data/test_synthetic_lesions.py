"""Synthetic lesions have the volume, contrast and place that were asked for."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.lesions import Lesion, add_lesions, draw_lesion, paint

LIVER_HU = 100.0
Z_MM = np.arange(40) * 1.5


def liver(shape: tuple[int, int, int] = (40, 96, 96)) -> tuple[np.ndarray, np.ndarray]:
    """A block of liver at 1 mm with a margin of fat."""
    free = np.zeros(shape, bool)
    free[3:-3, 10:-10, 10:-10] = True
    return np.where(free, LIVER_HU, -40.0).astype(np.float32), free


def plain(**changes: float) -> Lesion:
    values = dict(edge_mm=0.4, contrast_hu=-40.0, texture_hu=0.0, vessels=0.0, warp=0.0)
    return Lesion((30.0, 48.0, 48.0), (12.0, 9.0, 15.0), np.eye(3), **(values | changes))


def test_an_ellipsoid_has_its_volume_and_its_contrast() -> None:
    hu, free = liver()
    painted, alpha = paint(hu, plain(), free, Z_MM, 1.0, LIVER_HU, np.random.default_rng(0))
    volume_mm3 = (alpha > 0.5).sum() * 1.5
    assert volume_mm3 == pytest.approx(4 / 3 * np.pi * 12 * 9 * 15, rel=0.03)
    assert painted[alpha > 0.99].mean() == pytest.approx(LIVER_HU - 40, abs=1)
    # the label ends where half of the contrast is reached
    half = (painted < LIVER_HU - 20) & free
    assert ((alpha > 0.5) != half).mean() < 1e-3


def test_a_core_is_darker_and_a_rim_brighter_than_what_lies_between() -> None:
    hu, free = liver()
    lesion = plain(core_hu=-25.0, rim_hu=25.0)
    painted, _ = paint(hu, lesion, free, Z_MM, 1.0, LIVER_HU, np.random.default_rng(0))
    row = painted[20, 48, 48:66]  # from the center outward, half axis 15
    assert row[0] < row[10] - 15
    assert row[14] > row[10] + 5


def test_nothing_changes_outside_of_the_free_liver_and_labels_lie_inside_it() -> None:
    hu, free = liver()
    for seed in range(12):
        painted, tumor, radius_mm = add_lesions(
            hu, free=free, z_mm=Z_MM, pixel_mm=1.0, rng=np.random.default_rng(seed)
        )
        assert not (tumor & ~free).any()
        np.testing.assert_array_equal(tumor, radius_mm > 0)
        far = np.zeros_like(free)
        far[:, :6] = far[:, -6:] = True
        np.testing.assert_array_equal(painted[far], hu[far])


def test_a_seed_gives_the_same_lesions_and_another_seed_others() -> None:
    hu, free = liver()
    first, second, other = (
        add_lesions(hu, free=free, z_mm=Z_MM, pixel_mm=1.0, rng=np.random.default_rng(seed))[0]
        for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_no_lesion_is_drawn_where_there_is_no_free_liver() -> None:
    hu, free = liver()
    painted, tumor, _ = add_lesions(
        hu, free=free & False, z_mm=Z_MM, pixel_mm=1.0, rng=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(painted, hu)
    assert not tumor.any()


def test_sizes_are_log_uniform_and_contrasts_reach_from_faint_to_strong() -> None:
    rng = np.random.default_rng(0)
    lesions = [draw_lesion((0, 0, 0), rng) for _ in range(3000)]
    radius = np.array([lesion.radius_mm for lesion in lesions])
    contrast = np.array([lesion.contrast_hu for lesion in lesions])
    # the middle of a log-uniform draw from 3 to 40 mm is the geometric mean
    assert np.median(radius) == pytest.approx(np.sqrt(3 * 40), rel=0.1)
    assert ((contrast > -25) & (contrast < 0)).mean() > 0.15
    assert 0.04 < (contrast > 0).mean() < 0.14


def test_the_noise_of_the_ct_goes_on_inside() -> None:
    hu, free = liver()
    rng = np.random.default_rng(0)
    noisy = hu + rng.normal(0, 9, hu.shape).astype(np.float32)
    painted, alpha = paint(noisy, plain(), free, Z_MM, 1.0, LIVER_HU, rng)
    inside = alpha[20] > 0.99
    assert painted[20][inside].std() == pytest.approx(noisy[20][inside].std(), rel=0.15)
