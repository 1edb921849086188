"""A volume turned to LPS and back is the same, whichever way its grid lies in the patient."""

from __future__ import annotations

from itertools import product

import nibabel
import numpy as np
import pytest
from LiverTumorSegLib.volume import CtVolume, Reorientation, bounding_box
from looped import ALL_AXES, looped
from numpy.typing import NDArray
from scipy import ndimage

SPACING_IJK_MM = np.array([0.7, 0.9, 2.5])
ORIGIN_RAS_MM = (-31.5, 12.25, 400.0)
TILTS_DEG = [(0, 0, 0), (8, 0, 0), (0, -12, 5), (20, 10, -15)]


def rotation(angles_deg: tuple[float, float, float]) -> NDArray[np.float64]:
    turned = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(angles_deg)):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[b, a], step[a, b] = np.sin(angle), -np.sin(angle)
        turned = step @ turned
    return turned


def volume(directions: NDArray[np.float64]) -> CtVolume:
    """4 x 3 x 5 (k, j, i), every voxel with a number of its own."""
    affine = np.eye(4)
    affine[:3, :3] = directions * SPACING_IJK_MM
    affine[:3, 3] = ORIGIN_RAS_MM
    return CtVolume(np.arange(60, dtype=np.int16).reshape(4, 3, 5), affine)


def places_by_value(ct: CtVolume) -> NDArray[np.float64]:
    """RAS mm of voxel value 0, 1, 2 ...: (values, 3)."""
    kji = np.argwhere(np.ones(ct.shape_kji, dtype=bool))
    ras = (ct.ijk_to_ras @ np.column_stack([kji[:, ::-1], np.ones(len(kji))]).T).T[:, :3]
    return np.asarray(ras[np.argsort(ct.hu.ravel())])


every_volume = looped(
    ct=[volume(rotation(tilt) @ axes) for tilt, axes in product(TILTS_DEG, ALL_AXES)]
)


@every_volume
def test_lps_keeps_every_voxel_in_its_place(ct: CtVolume) -> None:
    lps, _ = ct.to_lps()
    np.testing.assert_allclose(places_by_value(lps), places_by_value(ct), atol=1e-9)


@every_volume
def test_lps_is_lps(ct: CtVolume) -> None:
    lps, _ = ct.to_lps()
    assert nibabel.aff2axcodes(lps.ijk_to_ras) == ("L", "P", "S")


@every_volume
def test_undo_is_the_inverse(ct: CtVolume) -> None:
    lps, turn = ct.to_lps()
    np.testing.assert_array_equal(turn.undo(lps.hu), ct.hu)
    np.testing.assert_array_equal(turn.apply(turn.undo(lps.hu)), lps.hu)
    assert turn.undo(lps.hu).flags.c_contiguous
    assert lps.hu.flags.c_contiguous


@every_volume
def test_undo_keeps_leading_axes(ct: CtVolume) -> None:
    lps, turn = ct.to_lps()
    classes = np.stack([lps.hu, lps.hu + 100, lps.hu + 200])
    for index, back in enumerate(turn.undo(classes)):
        np.testing.assert_array_equal(back, ct.hu + 100 * index)
    np.testing.assert_array_equal(turn.apply(turn.undo(classes)), classes)


@every_volume
def test_turning_changes_neither_voxel_size_nor_volume(ct: CtVolume) -> None:
    lps, turn = ct.to_lps()
    assert sorted(lps.spacing_kji_mm) == pytest.approx(sorted(ct.spacing_kji_mm))
    assert lps.spacing_kji_mm == pytest.approx([ct.spacing_kji_mm[a] for a in turn.order_kji])
    assert lps.voxel_ml == pytest.approx(ct.voxel_ml)


@every_volume
def test_lps_of_lps_is_no_turn(ct: CtVolume) -> None:
    lps, _ = ct.to_lps()
    again = Reorientation.to_lps(lps.ijk_to_ras, lps.shape_kji)
    assert again.order_kji == (0, 1, 2)
    assert again.flipped_kji == (False, False, False)


def test_axes_pair_up_near_45_degrees_and_on_a_sheared_grid() -> None:
    # every axis pairs with another even near 45 degrees
    for angle in (44.0, 45.0, 46.0):
        ct = volume(rotation((angle, angle, angle)))
        lps, turn = ct.to_lps()
        assert sorted(turn.order_kji) == [0, 1, 2]
        np.testing.assert_allclose(places_by_value(lps), places_by_value(ct), atol=1e-9)

    # sheared grid as from a tilted gantry
    sheared = volume(np.array([[-1.0, 0, 0], [0, -1, 0.3], [0, 0, 1]]))
    lps, turn = sheared.to_lps()
    np.testing.assert_allclose(places_by_value(lps), places_by_value(sheared), atol=1e-9)
    assert turn.order_kji == (0, 1, 2)
    assert lps.voxel_ml == pytest.approx(np.prod(SPACING_IJK_MM) / 1000)  # a shear keeps volume


def test_spacing_and_voxel_volume() -> None:
    ct = volume(rotation((20, 10, -15)))
    assert ct.spacing_kji_mm == pytest.approx((2.5, 0.9, 0.7))
    assert ct.voxel_ml == pytest.approx(0.7 * 0.9 * 2.5 / 1000)


def test_the_affine_is_the_volumes_own() -> None:
    affine = np.eye(4)
    ct = CtVolume(np.zeros((2, 2, 2), np.int16), affine)
    affine[0, 0] = 7
    assert ct.ijk_to_ras[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        ct.ijk_to_ras[0, 0] = 7


@looped(
    ("hu", "affine", "says"),
    [
        (np.zeros((2, 2), np.int16), np.eye(4), "three axes"),
        (np.zeros((0, 2, 2), np.int16), np.eye(4), "three axes"),
        (np.zeros((2, 2, 2), np.float32), np.eye(4), "int16"),
        (np.zeros((2, 2, 2), np.int16), np.eye(3), "4 x 4"),
        (np.zeros((2, 2, 2), np.int16), np.full((4, 4), np.nan), "finite"),
        (np.zeros((2, 2, 2), np.int16), np.diag([1.0, 0, 1, 1]), "spacing is zero"),
        (
            np.zeros((2, 2, 2), np.int16),
            np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
            "singular",
        ),
    ],
)
def test_what_is_no_volume_is_refused(
    hu: NDArray[np.int16], affine: NDArray[np.float64], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        CtVolume(hu, affine)


def test_a_turned_array_is_the_view_made_contiguous_tile_by_tile() -> None:
    """Larger than a tile, and not a multiple of one; for every way that axes can be swapped."""
    array = np.random.default_rng(0).integers(0, 99, (70, 19, 83), np.int16)
    for axes_to_ras in ALL_AXES:
        ct = CtVolume(array, np.block([[axes_to_ras, np.zeros((3, 1))], [np.eye(4)[3]]]))
        copied, turn = ct.to_lps()
        viewed, _ = ct.to_lps(copy=False)
        assert copied.hu.flags.c_contiguous
        assert np.shares_memory(viewed.hu, array)
        np.testing.assert_array_equal(copied.hu, viewed.hu)
        np.testing.assert_array_equal(turn.undo(copied.hu), array)


def test_the_bounding_box_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    for share in (0.0, 0.001, 0.01, 0.5):
        labels = (rng.random((9, 12, 7)) < share).astype(np.uint8) * rng.integers(1, 3, (9, 12, 7))
        for least in (1, 2):
            expected = ndimage.find_objects((labels >= least).astype(np.uint8))
            assert bounding_box(labels, least) == (expected[0] if expected else None)
