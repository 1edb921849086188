"""The square grid of square pixels: proportions on the way in, alignment on the way back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from LiverTumorSegLib.inference.preprocess import SliceGeometry, SlicePreprocessing
from looped import looped
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FLOOR_HU, TISSUE_HU = -40, 100
GRIDS = [  # shape (j, i), spacing (j, i) in mm
    ((122, 101), (3.0, 3.0)),
    ((512, 200), (0.8, 0.8)),
    ((200, 512), (0.8, 0.8)),
    ((512, 512), (0.7, 0.7)),
    ((300, 300), (1.0, 1.4)),
    ((256, 384), (1.6, 0.9)),
    ((130, 77), (1.7, 3.1)),
    ((1024, 1024), (0.4, 0.4)),
]
every_grid = looped(("shape", "spacing_mm"), GRIDS)
Pair = tuple[float, float]
Shape = tuple[int, int]


def disk(
    shape: Shape, spacing_mm: Pair, center: Pair = (0.45, 0.55), share: float = 0.3
) -> NDArray[np.bool_]:
    """A disk in mm; its radius is a share of the shorter side."""
    rows, columns = np.indices(shape)
    radius_mm = share * min(shape[0] * spacing_mm[0], shape[1] * spacing_mm[1])
    down_mm = (rows - center[0] * shape[0]) * spacing_mm[0]
    right_mm = (columns - center[1] * shape[1]) * spacing_mm[1]
    return np.asarray(down_mm**2 + right_mm**2 < radius_mm**2)


def centroid(weights: Floats) -> Floats:
    rows, columns = np.indices(weights.shape)
    total = weights.sum()
    return np.array([(rows * weights).sum() / total, (columns * weights).sum() / total])


def second_moments(weights: Floats) -> tuple[float, float, float]:
    """Along rows, along columns, mixed; px^2 around the centroid."""
    down, right = np.indices(weights.shape).astype(float) - centroid(weights)[:, None, None]
    total = weights.sum()
    moments = [float((a * b * weights).sum() / total) for a, b in ((down, down), (right, right))]
    return moments[0], moments[1], float((down * right * weights).sum() / total)


@every_grid
def test_a_disk_in_mm_stays_a_disk(shape: Shape, spacing_mm: Pair) -> None:
    hu = np.where(disk(shape, spacing_mm), TISSUE_HU, FLOOR_HU).astype(np.int16)
    gray = SlicePreprocessing().square(hu, spacing_mm)
    assert gray.shape == (512, 512)
    down, right, mixed = second_moments(gray.astype(float))
    assert down == pytest.approx(right, rel=0.02)
    assert abs(mixed) < 0.02 * down


@every_grid
def test_the_longer_side_fills_the_grid_and_the_body_lies_centered(
    shape: Shape, spacing_mm: Pair
) -> None:
    geometry = SlicePreprocessing().geometry(shape, spacing_mm)
    sides_mm = np.array(shape) * spacing_mm
    assert max(geometry.content_ji) == 512
    ratio = geometry.content_ji[0] / geometry.content_ji[1]
    assert ratio == pytest.approx(sides_mm[0] / sides_mm[1], rel=0.005)
    margins = 512 - np.array(geometry.content_ji) - 2 * np.array(geometry.offset_ji)
    assert set(margins.tolist()) <= {0, 1}


@every_grid
def test_padding_has_the_gray_of_the_windows_floor(shape: Shape, spacing_mm: Pair) -> None:
    preprocessing = SlicePreprocessing()
    square = preprocessing.square(np.full(shape, TISSUE_HU, np.int16), spacing_mm)
    geometry = preprocessing.geometry(shape, spacing_mm)
    tissue = preprocessing.to_gray(np.full((1, 1), TISSUE_HU, np.int16))[0, 0]
    floor = preprocessing.to_gray(np.full((1, 1), FLOOR_HU, np.int16))[0, 0]
    inside = np.zeros((512, 512), bool)
    rows, columns = (
        slice(first, first + size)
        for first, size in zip(geometry.offset_ji, geometry.content_ji, strict=True)
    )
    inside[rows, columns] = True
    assert (square[inside] == tissue).all()
    assert (square[~inside] == floor).all()


def test_a_full_slice_of_square_pixels_is_not_touched() -> None:
    hu = np.random.default_rng(0).integers(-40, 161, (512, 512)).astype(np.int16)
    preprocessing = SlicePreprocessing()
    assert np.array_equal(preprocessing.square(hu, (0.7, 0.7)), preprocessing.to_gray(hu))
    assert preprocessing.geometry((512, 512), (0.7, 0.7)).is_whole_grid


def smooth_map(shape: Shape) -> NDArray[np.float32]:
    """Three smooth probabilities (j, i, 3) that add up to one."""
    rows, columns = np.indices(shape) / np.array(shape).reshape(2, 1, 1)
    liver = np.exp(-((rows - 0.5) ** 2 + (columns - 0.4) ** 2) / 0.05)
    tumor = 0.3 * np.exp(-((rows - 0.45) ** 2 + (columns - 0.6) ** 2) / 0.03)
    whole = 1 + liver + tumor
    return np.stack([1 / whole, liver / whole, tumor / whole], axis=-1).astype(np.float32)


def to_net_grid(probabilities: NDArray[np.float32], geometry: SliceGeometry) -> NDArray[np.float32]:
    """The same map as the net would see it: placed like an image, then 256 px."""
    height, width = geometry.content_ji
    square = np.zeros((geometry.grid_px, geometry.grid_px, 3), np.float32)
    square[..., 0] = 1
    top, left = geometry.offset_ji
    square[top : top + height, left : left + width] = cv2.resize(probabilities, (width, height))
    return np.asarray(cv2.resize(square, (256, 256)), np.float32)


@every_grid
def test_a_smooth_map_comes_back(shape: Shape, spacing_mm: Pair) -> None:
    preprocessing = SlicePreprocessing()
    geometry = preprocessing.geometry(shape, spacing_mm)
    there = smooth_map(shape)
    back = preprocessing.grid(shape, spacing_mm).to_native(to_net_grid(there, geometry))
    assert back.shape == (*shape, 3)
    inner = tuple(slice(n // 16, n - n // 16) for n in shape)  # the border meets the padding
    assert np.abs(back - there)[inner].max() < 0.01
    assert np.abs(back.sum(axis=-1) - 1).max() < 1e-5


@every_grid
@looped("preset", ["window", "paper"])
def test_labels_come_back_where_they_were(shape: Shape, spacing_mm: Pair, preset: str) -> None:
    """Within 0.3 px of the 512 grid; the paper's nearest pixel is half a pixel off."""
    preprocessing = SlicePreprocessing(preset=preset)
    geometry = preprocessing.geometry(shape, spacing_mm)
    labels = disk(shape, spacing_mm).astype(np.uint8)
    small = preprocessing.place_labels(labels, spacing_mm)
    one_hot = np.stack([small == 0, small == 1, small == 2], axis=-1).astype(np.float32)
    back = preprocessing.grid(shape, spacing_mm).to_native(one_hot)[..., 1].astype(float)
    grid_px = np.array(geometry.content_ji) / np.array(shape)
    off_px = (centroid(back) - centroid(labels.astype(float))) * grid_px
    if preset == "window":
        assert np.abs(off_px).max() <= 0.3
    else:
        assert np.abs(off_px).max() <= 0.9


def shift_px(preset: str, center: Pair) -> Floats:
    """How far a disk of a 512 slice moves on the 256 grid, in pixels of the 512 grid."""
    labels = disk((512, 512), (0.7, 0.7), center, share=0.15).astype(np.uint8)
    small = SlicePreprocessing(preset=preset).place_labels(labels, (0.7, 0.7))
    moved = 2 * centroid(small.astype(float)) + 0.5  # the center of a 2 x 2 block
    return moved - centroid(labels.astype(float))


def test_majority_labels_have_no_half_pixel_bias_and_nearest_ones_do() -> None:
    random = np.random.default_rng(0)
    centers = random.uniform(0.4, 0.6, (12, 2)).tolist()
    majority = np.mean([shift_px("window", (row, column)) for row, column in centers], axis=0)
    nearest = np.mean([shift_px("paper", (row, column)) for row, column in centers], axis=0)
    assert np.abs(majority).max() < 0.05
    assert nearest == pytest.approx([0.5, 0.5], abs=0.1)


def test_a_block_takes_the_class_that_fills_most_of_it() -> None:
    labels = np.zeros((512, 512), np.uint8)
    labels[:2, :2] = [[1, 1], [1, 0]]
    labels[:2, 2:4] = [[0, 2], [2, 2]]
    labels[:2, 4:6] = [[1, 1], [2, 0]]
    small = SlicePreprocessing().place_labels(labels, (1.0, 1.0))
    assert small[0, :4].tolist() == [1, 2, 1, 0]


def test_level_blocks_go_to_each_class_half_the_time() -> None:
    labels = np.zeros((512, 512), np.uint8)
    labels[:, 1::2] = 1
    small = SlicePreprocessing().place_labels(labels, (1.0, 1.0))
    assert small.mean() == pytest.approx(0.5)


@every_grid
@looped("preset", ["window", "paper"])
def test_labels_get_no_new_values_and_padding_is_background(
    shape: Shape, spacing_mm: Pair, preset: str
) -> None:
    preprocessing = SlicePreprocessing(preset=preset)
    labels = 2 * disk(shape, spacing_mm).astype(np.uint8)
    assert set(np.unique(preprocessing.place_labels(labels, spacing_mm))) == {0, 2}
    full = preprocessing.place_labels(np.ones(shape, np.uint8), spacing_mm)
    shares = np.array(preprocessing.geometry(shape, spacing_mm).content_ji) / 512
    assert full.mean() == pytest.approx(shares.prod(), abs=0.006)


@every_grid
def test_labels_lie_on_their_image(shape: Shape, spacing_mm: Pair) -> None:
    """A bright disk and its label have one center on the net's grid."""
    body = disk(shape, spacing_mm)
    preprocessing = SlicePreprocessing(use_clahe=False, use_gamma=False)
    image = preprocessing(np.where(body, 160, -40).astype(np.int16), spacing_mm)
    labels = preprocessing.place_labels(body.astype(np.uint8), spacing_mm)
    apart = centroid(image.astype(float)) - centroid(labels.astype(float))
    assert np.abs(apart).max() < 0.15
