"""Slices to grays: OpenCV as oracle, and what a scan's pixel grid may not change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from LiverTumorSegLib.ct.nifti import read_ct, read_labels
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing, gamma_table, gray_table
from LiverTumorSegLib.phantom.phantom import make_phantom
from looped import looped
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Hu = NDArray[np.int16]
Slice = tuple[Hu, Bytes, float]  # HU, labels, pixel size in mm
EVERY_HU = np.arange(-1100, 3101, dtype=np.int16)
MM = (0.75, 0.75)


@pytest.fixture(scope="module")
def phantom_slices() -> list[Slice]:
    """Slices (512, 512) through the liver of two patients."""
    slices = []
    for seed in (3, 8):
        phantom = make_phantom(seed=seed, shape_kji=(2, 512, 512), spacing_kji_mm=(5.0, *MM))
        slices.append((phantom.ct.hu[1], phantom.labels[1], MM[0]))
    return slices


def rounded(values: NDArray[np.float64]) -> Bytes:
    """To nearest, level ones to even: OpenCV's own rounding."""
    return np.rint(values).astype(np.uint8)


def paper_order(gray: Bytes) -> Bytes:
    """II.B and III.B in plain OpenCV: CLAHE, then gamma, and the resize last."""
    equalized = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(gray)
    table = rounded(255 * (np.arange(256) / 255) ** 1.2)
    darkened = cv2.LUT(equalized, table)
    return np.asarray(cv2.resize(darkened, (256, 256), interpolation=cv2.INTER_LINEAR), np.uint8)


def test_both_presets_equal_opencv_byte_for_byte(phantom_slices: list[Slice]) -> None:
    # window equals opencv byte for byte
    for hu, _, _ in phantom_slices:
        gray = rounded(np.clip((hu.astype(np.float64) + 40) / 200, 0, 1) * 255)
        assert np.array_equal(SlicePreprocessing()(hu, MM), paper_order(gray))

    # paper equals opencv byte for byte
    for hu, _, _ in phantom_slices:
        raw = hu.astype(np.float64)
        gray = rounded((raw - raw.min()) / (raw.max() - raw.min()) * 255)
        assert np.array_equal(SlicePreprocessing(preset="paper")(hu, MM), paper_order(gray))


def test_a_steep_resize_takes_the_mean_of_every_pixel(phantom_slices: list[Slice]) -> None:
    """OpenCV's area resize; the halved image's block means but for one rounding more."""
    steep, halving = SlicePreprocessing(size_px=128), SlicePreprocessing()
    for hu, _, _ in phantom_slices:
        full = cv2.LUT(
            cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(halving.to_gray(hu)),
            gamma_table(1.2),
        )
        image = steep(hu, MM)
        area = cv2.resize(full, (128, 128), interpolation=cv2.INTER_AREA)
        assert np.array_equal(image, area)
        means = halving(hu, MM).reshape(128, 2, 128, 2).mean(axis=(1, 3))
        assert np.abs(image - means).max() <= 1
        linear_px = cv2.resize(full, (128, 128), interpolation=cv2.INTER_LINEAR)
        assert np.abs(linear_px - means).max() > 8  # of a noisy scan it reads a quarter


@looped(("grid_px", "size_px"), [(512, 256), (512, 512), (256, 128), (128, 64)])
def test_a_resize_to_half_or_more_is_linear(
    phantom_slices: list[Slice], grid_px: int, size_px: int
) -> None:
    steps = SlicePreprocessing(grid_px=grid_px, size_px=size_px, use_clahe=False, use_gamma=False)
    square = steps.square(phantom_slices[0][0], MM)
    want = cv2.resize(square, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(steps.enhance(square), want)


def test_another_order_gives_other_bytes(phantom_slices: list[Slice]) -> None:
    """So that the two tests above do tell the order."""
    hu, _, _ = phantom_slices[0]
    preprocessing = SlicePreprocessing()
    gray = preprocessing.to_gray(hu)
    right = preprocessing(hu, MM)
    clahe = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    gamma_first = cv2.resize(clahe.apply(cv2.LUT(gray, gamma_table(1.2))), (256, 256))
    resize_first = cv2.LUT(clahe.apply(cv2.resize(gray, (256, 256))), gamma_table(1.2))
    for other in (gamma_first, resize_first):
        assert np.count_nonzero(other != right) > 1000


@looped(
    "window", [(-40, 160), (-160, 240), (-200, 250), (-1024, 3071), (0, 255), (0, 256), (30, 31)]
)
def test_table_equals_the_rounded_formula_at_every_hu(window: tuple[int, int]) -> None:
    low, high = window
    share = np.clip((EVERY_HU.astype(np.float64) - low) / (high - low), 0, 1)
    gray = SlicePreprocessing(window_hu=window).to_gray(EVERY_HU[None])
    assert gray.dtype == np.uint8
    assert np.array_equal(gray[0], np.rint(share * 255).astype(np.uint8))


def test_grays_are_rounded_to_nearest_not_cut() -> None:
    gray = SlicePreprocessing().to_gray(EVERY_HU[None])[0]
    exact = np.clip((EVERY_HU.astype(np.float64) + 40) / 200, 0, 1) * 255
    assert np.abs(gray - exact).max() <= 0.5
    assert np.count_nonzero(gray != np.trunc(exact)) > 50


@looped(("low", "high"), [(-1024, 3071), (-1000, 200), (-40, 160), (7, 8)])
def test_paper_scales_each_slice_between_its_own_ends(low: int, high: int) -> None:
    hu = np.random.default_rng(0).integers(low, high + 1, (64, 64)).astype(np.int16)
    hu[0, :2] = low, high
    share = (hu.astype(np.float64) - low) / (high - low)
    gray = SlicePreprocessing(preset="paper").to_gray(hu)
    assert np.array_equal(gray, np.rint(share * 255).astype(np.uint8))


@looped("preset", ["window", "paper"])
@looped("value", [-32768, -40, 0, 160, 32767])
def test_a_constant_slice_gives_a_constant_gray(preset: str, value: int) -> None:
    flat = np.full((64, 64), value, np.int16)
    assert len(np.unique(SlicePreprocessing(preset=preset).to_gray(flat))) == 1


def test_both_presets_give_the_same_images_on_windowed_data(phantom_slices: list[Slice]) -> None:
    for hu, _, _ in phantom_slices:
        windowed = hu.clip(-40, 160)
        assert (windowed.min(), windowed.max()) == (-40, 160)
        paper = SlicePreprocessing(preset="paper")(windowed, MM)
        assert np.array_equal(SlicePreprocessing()(windowed, MM), paper)


def test_both_presets_give_the_same_images_on_real_cases(shared_data: Path) -> None:
    for number in (0, 50):
        ct, _ = read_ct(shared_data / "lits-subset" / f"volume-{number}.nii.gz")
        spacing = ct.spacing_kji_mm[1:]
        for hu in ct.to_lps()[0].hu[::9]:
            paper = SlicePreprocessing(preset="paper")(hu, spacing)
            assert np.array_equal(SlicePreprocessing()(hu, spacing), paper)


def linear(hu: Hu, step: int) -> Hu:
    side = (hu.shape[1] // step, hu.shape[0] // step)
    return np.asarray(cv2.resize(hu, side, interpolation=cv2.INTER_LINEAR), np.int16)


def every_pixel(hu: Hu, step: int) -> Hu:
    return np.ascontiguousarray(hu[step // 2 :: step, step // 2 :: step])


# Block means are no such copies: they take the noise away too, and 4 x 4 of them lift the gray of
# a noisy liver by up to 17 levels, as a smoother reconstruction of the full matrix would.
def liver_gray(hu: Hu, labels: Bytes, pixel_mm: float) -> float:
    preprocessing, spacing = SlicePreprocessing(), (pixel_mm, pixel_mm)
    liver = preprocessing.place_labels(labels, spacing) >= 1
    return float(preprocessing(hu, spacing)[liver].mean())


def gray_range(case: Slice, coarser: Callable[[Hu, int], Hu]) -> float:
    """Largest minus smallest mean liver gray of a slice and its 2x and 4x coarser copies."""
    hu, labels, pixel_mm = case
    grays = [liver_gray(hu, labels, pixel_mm)]
    for step in (2, 4):
        fewer = np.ascontiguousarray(labels[step // 2 :: step, step // 2 :: step])
        grays.append(liver_gray(coarser(hu, step), fewer, pixel_mm * step))
    return max(grays) - min(grays)


@looped("coarser", [linear, every_pixel])
def test_a_phantoms_coarser_copies_keep_the_livers_gray(
    phantom_slices: list[Slice], coarser: Callable[[Hu, int], Hu]
) -> None:
    for case in phantom_slices:
        assert gray_range(case, coarser) <= 12


@looped("coarser", [linear, every_pixel])
@looped("number", [0, 50])
def test_a_patients_coarser_copies_keep_the_livers_gray(
    shared_data: Path, number: int, coarser: Callable[[Hu, int], Hu]
) -> None:
    folder = shared_data / "lits-subset"
    ct, _ = read_ct(folder / f"volume-{number}.nii.gz")
    labels, _ = read_labels(folder / f"segmentation-{number}.nii.gz")
    k = int(np.argmax((labels >= 1).sum(axis=(1, 2))))
    case = (ct.hu[k], labels[k], ct.spacing_kji_mm[1])
    assert gray_range(case, coarser) <= 12


def test_without_the_square_grid_the_gray_would_differ(phantom_slices: list[Slice]) -> None:
    """The fault that the 512 grid is there for: CLAHE on a coarser slice's own pixels."""
    hu, labels, pixel_mm = phantom_slices[0]
    preprocessing = SlicePreprocessing(grid_px=128)
    gray = preprocessing(every_pixel(hu, 4), (4 * pixel_mm, 4 * pixel_mm))
    liver = preprocessing.place_labels(labels, MM) >= 1
    assert abs(float(gray[liver].mean()) - liver_gray(hu, labels, pixel_mm)) > 12


SWITCHES: list[dict[str, Any]] = [
    {"preset": "paper"},
    {"window_hu": (-160, 240)},
    {"use_clahe": False, "use_gamma": False},
    {"grid_px": 256, "size_px": 128, "clahe_tiles": 4, "clahe_clip": 3.5, "gamma": 0.9},
]


@looped("changes", SWITCHES)
def test_every_switch_changes_the_image(
    phantom_slices: list[Slice], changes: dict[str, Any]
) -> None:
    hu, _, _ = phantom_slices[0]
    switched = SlicePreprocessing(**changes)(hu, MM)
    assert not np.array_equal(switched, SlicePreprocessing()(hu, MM))


def test_without_clahe_and_gamma_only_the_resize_is_left(phantom_slices: list[Slice]) -> None:
    hu, _, _ = phantom_slices[0]
    plain = SlicePreprocessing(use_clahe=False, use_gamma=False)
    want = cv2.resize(plain.to_gray(hu), (256, 256), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(plain(hu, MM), want)


@looped(
    ("stored", "said"),
    [
        ({"preset": "soft"}, "window, paper"),
        ({"window_hu": [160, -40]}, "lower bound first"),
        ({"window_hu": [10, 10]}, "lower bound first"),
        ({"grid_px": 500}, "clahe_tiles"),
        ({"size_px": 250}, "multiple of 8"),
        ({"size_px": 4}, "give 8 to 2048"),
    ],
)
def test_wrong_settings_are_refused_in_words(stored: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SlicePreprocessing.from_dict(stored)


def test_tables_are_shared_and_so_cannot_be_written() -> None:
    for table in (gray_table(-40, 160), gamma_table(1.2)):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = 1
