"""CTs on the patch network's grid: the published formula, the way back, and the liver mask."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from LiverTumorSegLib.inference.postprocess import clean_liver
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.preprocess_volume import (
    VolumePreprocessing,
    dilate_mm,
    resample_mask,
)
from LiverTumorSegLib.phantom.phantom import make_phantom
from looped import looped
from numpy.typing import NDArray
from scipy import ndimage

Hu = NDArray[np.int16]
Mask = NDArray[np.bool_]
MM = (2.5, 0.75, 0.75)
HALF_STEP = 2.0**-12  # the largest rounding of a half float in [0.5, 1]
GRIDS = [  # shape (j, i), spacing (j, i) in mm
    ((512, 512), (0.7, 0.7)),
    ((122, 101), (3.0, 3.0)),
    ((512, 200), (0.8, 0.8)),
    ((300, 300), (1.0, 1.4)),
    ((64, 64), (5.0, 5.0)),
]
every_grid = looped(("shape", "spacing_ji_mm"), GRIDS)


@pytest.fixture(scope="module")
def scan() -> Hu:
    """Two slices (256, 256) of a patient; the phantom's air and bone pass both windows."""
    phantom = make_phantom(seed=3, shape_kji=(2, 256, 256), spacing_kji_mm=(60.0, 1.5, 1.5))
    return phantom.ct.hu


@looped("window", [(-250, 250), (-40, 160)])
def test_the_published_formula(scan: Hu, window: tuple[int, int]) -> None:
    low, high = window
    image = VolumePreprocessing(window_hu=window, size_px=128)(scan, MM)
    assert image.shape == (2, 128, 128)
    assert image.dtype == np.float16
    halved = scan.reshape(2, 128, 2, 128, 2).astype(np.float64).mean(axis=(2, 4))
    expected = (halved.clip(low, high) - low) / (high - low)
    assert np.abs(image - expected).max() <= HALF_STEP + 1e-6
    ends_reached = (expected - expected.min()) / (expected.max() - expected.min())
    assert np.abs(image - ends_reached).max() <= HALF_STEP + 1e-6  # the paper's own ends


def test_hu_are_clipped_after_resizing_scaled_by_the_window_and_none_is_lost() -> None:
    # resized before it is clipped
    hu = np.full((1, 64, 64), 100, np.int16)
    hu[:, :, ::2] = -1000
    image = VolumePreprocessing(size_px=32)(hu, MM)
    assert np.array_equal(np.unique(image), [0])  # -450; clipped first it would be -75

    # the scale is the windows and not each volumes
    levels = np.array([-3000, -250, -125, 0, 125, 250, 3000], np.int16)
    for value, expected in zip(levels, [0, 0, 0.25, 0.5, 0.75, 1, 1], strict=True):
        flat = VolumePreprocessing(size_px=32)(np.full((1, 32, 32), value, np.int16), MM)
        assert np.array_equal(np.unique(flat), [np.float16(expected)])

    # half floats keep every hu of the published window
    hu = np.arange(-256, 256, dtype=np.int16)[:, None, None] * np.ones((32, 32), np.int16)
    image = VolumePreprocessing(size_px=32)(hu, MM)
    assert np.array_equal(
        np.rint(image[:, 5, 5].astype(float) * 500 - 250), hu[:, 0, 0].clip(-250, 250)
    )


def test_each_slice_is_read_for_itself(scan: Hu) -> None:
    preprocessing = VolumePreprocessing(size_px=128)
    image = preprocessing(scan, MM)
    assert np.array_equal(preprocessing(scan[::-1], MM), image[::-1])
    assert not np.array_equal(image[0], image[1])


@every_grid
def test_the_grid_is_that_of_the_slice_network(
    shape: tuple[int, int], spacing_ji_mm: tuple[float, float]
) -> None:
    """Within the window both see the same picture, padded with the window's floor."""
    rows, columns = np.indices(shape) / np.array(shape).reshape(2, 1, 1)
    hu = (60 + 80 * np.sin(5 * rows) * np.cos(4 * columns)).astype(np.int16)
    slices = SlicePreprocessing(use_clahe=False, use_gamma=False)
    volumes = VolumePreprocessing(window_hu=slices.window_hu)
    image = volumes(hu[None], (2.0, *spacing_ji_mm))[0]
    assert np.abs(image.astype(float) - slices(hu, spacing_ji_mm) / 255.0).max() < 0.02
    assert volumes.geometry(shape, spacing_ji_mm) == slices.geometry(shape, spacing_ji_mm)


@every_grid
def test_a_smooth_answer_comes_back(
    shape: tuple[int, int], spacing_ji_mm: tuple[float, float]
) -> None:
    """A picture that the network gives back as it is lies where it lay."""
    rows, columns = np.indices(shape) / np.array(shape).reshape(2, 1, 1)
    smooth = np.exp(-((rows - 0.45) ** 2 + (columns - 0.6) ** 2) / 0.05)
    preprocessing = VolumePreprocessing()
    hu = np.rint(500 * smooth - 250).astype(np.int16)
    image = preprocessing(hu[None], (2.0, *spacing_ji_mm))
    both = np.stack([image[0], 1 - image[0]], axis=-1).astype(np.float32)
    back = preprocessing.grid(shape, spacing_ji_mm).to_native(both)
    assert back.shape == (*shape, 2)
    assert back.dtype == np.float32
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(back[..., 0] - smooth)[inner].max() < 0.02
    np.testing.assert_allclose(back.sum(axis=-1), 1, atol=1e-3)


@every_grid
def test_labels_lie_where_the_image_does(
    shape: tuple[int, int], spacing_ji_mm: tuple[float, float]
) -> None:
    rows, columns = np.indices(shape)
    down_mm = (rows - 0.45 * shape[0]) * spacing_ji_mm[0]
    right_mm = (columns - 0.55 * shape[1]) * spacing_ji_mm[1]
    radius_mm = 0.25 * min(shape[0] * spacing_ji_mm[0], shape[1] * spacing_ji_mm[1])
    disk = down_mm**2 + right_mm**2 < radius_mm**2
    spacing_mm, preprocessing = (2.0, *spacing_ji_mm), VolumePreprocessing()
    hu = np.where(disk, 250, -250).astype(np.int16)[None]
    image = preprocessing(hu, spacing_mm)[0].astype(float)
    placed = preprocessing.place_labels((7 * disk).astype(np.uint8)[None], spacing_mm)
    assert placed.shape == (1, 256, 256)
    assert set(np.unique(placed)) == {0, 7}
    for a, b in zip(ndimage.center_of_mass(image), ndimage.center_of_mass(placed[0]), strict=True):
        assert a == pytest.approx(b, abs=0.1)
    assert np.count_nonzero(placed) == pytest.approx(image.sum(), rel=0.02)


def ball(shape: tuple[int, int, int], center: tuple[int, int, int], radius: float) -> Mask:
    apart = np.indices(shape) - np.array(center).reshape(3, 1, 1, 1)
    return np.asarray((apart**2).sum(axis=0) <= radius**2)


@looped(
    ("spacing_mm", "margin_mm"),
    [
        ((1.0, 1.0, 1.0), 3.0),
        ((2.5, 1.4, 1.4), 5.0),
        ((5.0, 1.0, 2.0), 4.0),
        ((1.0, 1.5, 1.5), 1.2),
    ],
)
def test_widening_equals_the_distance_transform(
    spacing_mm: tuple[float, float, float], margin_mm: float
) -> None:
    mask = ball((14, 40, 36), (3, 8, 20), 6) | ball((14, 40, 36), (13, 39, 35), 2)
    distance = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    expected = distance <= margin_mm + 1e-9
    found = dilate_mm(mask, margin_mm, spacing_mm)
    assert found.dtype == np.bool_
    assert np.array_equal(found, expected)
    assert np.count_nonzero(found) > np.count_nonzero(mask)


def test_a_mask_is_widened_by_mm_of_the_ct_and_by_nothing_is_a_copy() -> None:
    # widening by nothing or of nothing
    mask = ball((6, 20, 20), (3, 10, 10), 4)
    assert np.array_equal(dilate_mm(mask, 0.0, MM), mask)
    assert not dilate_mm(np.zeros_like(mask), 5.0, MM).any()
    assert np.array_equal(dilate_mm(mask[3:4], 50.0, (1.0, 1.0, 1.0)), np.ones((1, 20, 20), bool))

    # the margin is in mm of the ct: 512 px of 0.75 mm are 256 px of 1.5 mm.
    liver = np.zeros((9, 256, 256), bool)
    liver[4, 128, 128] = True
    preprocessing = VolumePreprocessing(liver_margin_mm=3.0)
    region = preprocessing.search_region(liver, (1.0, 0.75, 0.75), (9, 512, 512))
    assert np.count_nonzero(region[4, 128]) == 5  # two pixels each way
    assert np.count_nonzero(region[:, 128, 128]) == 7
    tall = preprocessing.search_region(liver, (1.0, 1.5, 0.75), (9, 512, 512))
    assert np.count_nonzero(tall[4, 128]) == 3  # the longer side fills the grid: 3 mm a pixel

    # a mask on its own grid is a copy
    mask = np.random.default_rng(3).random((3, 32, 32)) < 0.5
    placed = resample_mask(mask, 32)
    np.testing.assert_array_equal(placed, mask)
    placed[...] = False
    assert mask.any()


def rough_liver() -> Mask:
    shape = (20, 40, 40)
    noise = np.random.default_rng(0).random(shape)
    rough = ball(shape, (10, 18, 18), 9) & (noise > 0.15)
    return np.asarray(rough | ball(shape, (3, 35, 35), 3) | ball(shape, (0, 18, 18), 2))


@looped(("size_px", "least"), [(32, 0.95), (96, 0.98), (128, 0.98), (256, 0.98)])
def test_a_mask_on_another_grid_is_where_it_was(size_px: int, least: float) -> None:
    """A disk drawn there is the oracle."""

    def disks(side: int) -> Any:
        j, i = (np.indices((side, side)) + 0.5) / side
        return np.stack([np.hypot(j - 0.4, i - 0.55) < radius for radius in (0.3, 0.2, 0.0)])

    placed = resample_mask(disks(64), size_px)
    expected = disks(size_px)
    assert placed.dtype == np.bool_
    assert placed.shape == expected.shape
    assert not placed[2].any()
    for one, other in zip(placed[:2], expected[:2], strict=True):
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > least
        apart_px = np.argwhere(one).mean(0) - np.argwhere(other).mean(0)
        assert np.abs(apart_px).max() < 0.2 * max(1, size_px / 64)


def test_cleaning_is_the_largest_piece_and_scipys_median_parted_at_edges() -> None:
    # cleaning equals the largest piece and scipys median
    mask = rough_liver()
    pieces, count = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, pieces, range(1, count + 1))
    largest = pieces == 1 + int(np.argmax(sizes))
    expected = ndimage.median_filter(largest.astype(np.uint8), size=3)
    cleaned = clean_liver(mask)
    assert cleaned.dtype == np.bool_
    assert np.array_equal(cleaned, expected.astype(bool))
    assert not cleaned[3, 35, 35]
    assert cleaned.any()

    # cleaning separates what touches at an edge only
    mask = np.zeros((8, 16, 16), bool)
    mask[1:7, 1:8, 1:8] = True
    mask[1:7, 8:14, 8:14] = True
    cleaned = clean_liver(mask)
    assert cleaned[4, 4, 4]
    assert not cleaned[4, 11, 11]

    # cleaning nothing gives nothing
    nothing = clean_liver(np.zeros((4, 8, 8), bool))
    assert nothing.shape == (4, 8, 8)
    assert not nothing.any()


def test_what_each_network_is_given() -> None:
    image = np.random.default_rng(0).random((6, 32, 32)).astype(np.float16)
    region = ball((6, 32, 32), (3, 16, 16), 8)
    whole = VolumePreprocessing()
    assert not whole.needs_liver
    assert np.array_equal(whole.channels(image), image[None])
    masked = VolumePreprocessing(liver_margin_mm=0)
    assert masked.needs_liver
    (alone,) = masked.channels(image, region)
    assert np.array_equal(alone[region], image[region])
    assert not alone[~region].any()
    both = VolumePreprocessing(liver_margin_mm=0, mask_as_channel=True).channels(image, region)
    assert np.array_equal(both, np.stack([image, region]))
    assert alone.dtype == both.dtype == np.float16
    with pytest.raises(ValueError, match="run the liver network first"):
        masked.channels(image)
    with pytest.raises(ValueError, match="no use for a liver mask"):
        whole.search_region(region, MM, (6, 32, 32))


def test_the_floor_of_the_window_is_what_lies_outside() -> None:
    """Masked, padded and -250 HU all are the same 0."""
    hu = np.full((1, 40, 80), -250, np.int16)
    assert not VolumePreprocessing(size_px=32)(hu, MM).any()
    hu[:] = 250
    filled = VolumePreprocessing(size_px=32)(hu, MM)[0]
    assert set(np.unique(filled)) == {0, 1}
    assert (filled[8:24] == 1).all()


@looped(
    ("arguments", "words"),
    [
        ({"window_hu": (160, -40)}, "lower bound first"),
        ({"size_px": 100}, "multiple of 32"),
        ({"size_px": 0}, "give 32 to 2048"),
        ({"mask_as_channel": True}, "needs a mask"),
    ],
)
def test_settings_that_cannot_work_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VolumePreprocessing(**arguments)


def test_opencv_halves_by_the_mean_of_four() -> None:
    """What the formula above rests on."""
    square = np.random.default_rng(0).random((64, 64), np.float32)
    halved = cv2.resize(square, (32, 32), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(halved, square.reshape(32, 2, 32, 2).mean(axis=(1, 3)), atol=1e-6)
