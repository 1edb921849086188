"""What a CT's own numbers and geometry tell: an invented patient, told wrongly in many ways."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from LiverTumorSegLib.ct.checks import AXIS_AT_MOST, check_ct, check_geometry, refuse_huge
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegLib.volume import CtVolume
from numpy.typing import NDArray

Hu = NDArray[np.int16]
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def patients() -> list[CtVolume]:
    """Chest and abdomen of a slim and of a stout patient, 6 x 5 x 5 mm."""
    return [
        make_phantom(seed=seed, shape_kji=(44, 72, 96), spacing_kji_mm=(6, 5, 5)).ct
        for seed in (0, 2)
    ]


def checked(hu: NDArray[np.generic], ijk_to_ras: NDArray[np.float64]) -> tuple[str, ...]:
    ct = CtVolume(np.clip(hu, -32768, 32767).astype(np.int16), ijk_to_ras)
    return check_ct("ct.nii", ct, float(np.min(hu)), float(np.max(hu)))


def padded(hu: Hu, value: int) -> Hu:
    out = hu.copy()
    out[:, :7] = value
    return out


def test_a_plain_ct_gives_no_warning(patients: list[CtVolume]) -> None:
    for ct in patients:
        for hu in (
            ct.hu,
            ct.hu[:20],  # the belly without lungs
            ct.hu[30:],
            ct.hu[:, 20:60, 20:70],  # a field of view within the body
            padded(ct.hu, -2000),
            padded(ct.hu, -3024),
            np.where(ct.hu > -300, ct.hu, -1000),  # air without noise
            np.clip(ct.hu, -1000, 1000),
            ct.hu + np.random.default_rng(0).normal(0, 60, ct.hu.shape),  # a low dose
        ):
            assert checked(hu, ct.ijk_to_ras) == ()


def test_a_missing_offset_is_seen_whatever_the_padding(patients: list[CtVolume]) -> None:
    """The least value says nothing; the sentence says what to add."""
    for ct in patients:
        for offset in (1000, 1024, 2048):
            stored = ct.hu + np.int16(offset)
            for hu in (
                padded(stored, -2000),
                padded(stored, -1),
                np.maximum(padded(stored, -3024), -1024),
                stored - (np.arange(stored.size).reshape(stored.shape) == 0) * 5000,
                padded(stored, -2000)[:20],
            ):
                with pytest.raises(ValueError, match=r"without its offset") as refused:
                    checked(hu, ct.ijk_to_ras)
                added = int(str(refused.value).split("it with ")[1].split()[0])
                assert added == pytest.approx(-offset, abs=30)


def test_where_the_slope_is_missing_too_no_offset_is_advised(patients: list[CtVolume]) -> None:
    """It would make a CT that looks right and is wrong. Padding hides that all is positive."""
    for ct in patients:
        for slope in (0.5, 2.0, 4.0, 10.0):
            for offset in (-1000, -1024, -2048):
                stored = np.rint((ct.hu.astype(np.float64) - offset) / slope).astype(np.int16)
                for hu in (padded(stored, -2000), padded(stored, -1)):
                    with pytest.raises(ValueError, match=r"\bslope\b") as refused:
                        checked(hu, ct.ijk_to_ras)
                    assert "added to every voxel" not in str(refused.value)


def test_padding_is_told_unless_it_is_darker_than_tissue(patients: list[CtVolume]) -> None:
    """Outside a round field of view, as resampling programs and old scanners leave it."""
    for ct in patients:
        j, i = ct.shape_kji[1:]
        y, x = np.mgrid[:j, :i]
        outside = np.hypot((y - j / 2) / (j / 2), (x - i / 2) / (i / 2)) > 1

        def around(value: int, ct: CtVolume = ct, outside: NDArray[np.bool_] = outside) -> Hu:
            return np.where(outside, value, ct.hu).astype(np.int16)

        for dark in (-1024, -2000, -32768):
            assert checked(around(dark), ct.ijk_to_ras) == ()
        for value in (0, -100, 1000):
            warnings = checked(around(value), ct.ijk_to_ras)
            assert f"The rim of this CT holds the value {value}" in warnings[0]
        for bright in (3071, 4095, 31743):
            with pytest.raises(ValueError, match=f"the value {bright} in .* replace it by -1024"):
                checked(around(bright), ct.ijk_to_ras)
        # air that a display window cut off is no padding
        assert not any("rim" in text for text in checked(np.maximum(ct.hu, -160), ct.ijk_to_ras))


def test_other_scales_are_refused(patients: list[CtVolume]) -> None:
    for ct in patients:
        hu = ct.hu.astype(np.int32)
        for wrong, says in (
            (hu - 1024, "applied twice"),
            (hu * 10, "applied twice"),
            (hu // 2, "every voxel times 2"),
            (padded(ct.hu, 32767), "32767 in 10%"),
            (padded(ct.hu, 20000), "20000 in 10%"),
        ):
            with pytest.raises(ValueError, match=says):
                checked(wrong, ct.ijk_to_ras)


def test_gray_levels_are_not_taken_for_a_ct_without_offset(patients: list[CtVolume]) -> None:
    """An MR may have its tissue anywhere; adding a number to it makes no CT."""
    ct = patients[0]
    for picture in ((ct.hu + 1024) // 4, (np.maximum(ct.hu, -1000) + 1000) * 2):
        with pytest.raises(ValueError, match="nothing below 0"):
            checked(picture, ct.ijk_to_ras)


def test_the_body_tells_which_way_is_up(patients: list[CtVolume]) -> None:
    for ct in patients:
        for axis, says in ((0, "head and feet exchanged"), (1, "front and back exchanged")):
            (warning,) = checked(np.flip(ct.hu, axis), ct.ijk_to_ras)
            assert says in warning
        # a patient who lies on the belly, told so by the header
        prone = np.flip(ct.hu, (1, 2))
        assert checked(prone, ct.ijk_to_ras @ np.diag([-1.0, -1.0, 1.0, 1.0])) == ()


def test_the_body_tells_a_wrong_spacing(patients: list[CtVolume]) -> None:
    for ct in patients:
        for factor in (0.2, 0.35, 3.0):
            (warning,) = checked(ct.hu, ct.ijk_to_ras @ np.diag([factor, factor, 1, 1]))
            assert "mm wide" in warning


def grid(*spacing_kji_mm: float, shape_kji: tuple[int, int, int] = (100, 512, 512)) -> Callable:
    affine = LPS @ np.diag([*spacing_kji_mm[::-1], 1.0])
    affine[:3, 3] = (-150, -170, 3)
    return lambda: check_geometry("ct.nii", shape_kji, affine)


def moved(affine: NDArray[np.float64], *corner_mm: float) -> NDArray[np.float64]:
    out = affine.copy()
    out[:3, 3] = corner_mm
    return out


def test_grids_are_accepted_told_or_refused_with_what_was_mixed_up() -> None:
    # usual grids are accepted
    for spacing in ((0.5, 0.3, 0.3), (1, 0.98, 0.98), (5, 0.7, 0.7), (10, 1, 1), (1.5, 1.5, 4.5)):
        assert grid(*spacing)() == ()
    assert grid(3, 3, 3, shape_kji=(18, 101, 122))() == ()
    assert grid(1, 0.7, 0.7, shape_kji=(20, 40, 40))() == ()  # a part that somebody cut out
    assert check_geometry("ct.nii", (9, 9, 9), moved(LPS, 181.3, 170, -905.5)) == ()  # of 1 mm

    # implausible grids are refused with the unit that was mixed up
    for spacing, says in (
        ((0.005, 0.0007, 0.0007), "thousand times too small"),
        ((5000, 700, 700), "thousand times too large"),
        ((0.5, 0.07, 0.07), "ten times too small"),
        ((0.005, 0.0007, 700), "export it again"),
        ((5, 0.7, 0.0007), "export it again"),
        ((0.005, 0.7, 0.7), "export it again"),
        ((50, 7, 7), "export it again"),
        ((60, 1, 1), "mm"),
        ((5, 5.1, 5.1), r"2\.61 m long"),
        ((0, 1, 1), "no voxel spacing"),
    ):
        with pytest.raises(ValueError, match=says) as refused:
            grid(*spacing)()
        assert str(refused.value).endswith(".")

    # unusual grids are told
    for check, says in (
        (grid(12, 0.8, 0.8), "12 mm apart"),
        (grid(5, 0.15, 0.15), "77 x 77 mm"),
        (lambda: check_geometry("ct.nii", (9, 9, 9), np.eye(4)), "identity"),
        (lambda: check_geometry("ct.nii", (9, 9, 9), LPS), "identity"),
        (lambda: check_geometry("ct.nii", (9, 9, 9), moved(np.eye(4), 1, 1, 1)), "identity"),
        (lambda: check_geometry("ct.nii", (9, 9, 9), moved(LPS, 511, 511, 0)), "identity"),
    ):
        (warning,) = check()
        assert says in warning

    # more voxels than a ct has are refused before memory is asked for
    refuse_huge("ct.nii", (3000, 512, 512))
    refuse_huge("ct.nii", (1200, 1024, 1024))
    for shape in ((2, AXIS_AT_MOST + 1, 2), (2000, 1100, 1100), (32767,) * 3):
        with pytest.raises(ValueError, match="more than any CT"):
            refuse_huge("ct.nii", shape)
