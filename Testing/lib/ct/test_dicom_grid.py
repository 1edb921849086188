"""The grid of a stack of slices: any plane, tilted gantries, gaps, doubles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from LiverTumorSegLib.ct.dicom_grid import find_grid
from LiverTumorSegLib.volume import CtVolume
from looped import FOUR_AXES, looped
from numpy.typing import NDArray

Array = NDArray[np.float64]
AXIAL = np.array([[1.0, 0, 0], [0, 1, 0]])
SPACING_JI_MM = (0.7, 0.8)


def stack(
    heights_mm: Any, orientation: Array = AXIAL, shift: Any = 0.0
) -> tuple[Array, Array, Array]:
    """Slices at heights along their normal; shift moves each along j."""
    heights = np.asarray(heights_mm, float)
    normal = np.cross(*orientation)
    moved = np.broadcast_to(np.asarray(shift, float), heights.shape)
    positions = np.array([10.0, -20.0, 5.0]) + heights[:, None] * normal
    positions += moved[:, None] * orientation[1]
    count = len(heights)
    return positions, np.tile(orientation, (count, 1, 1)), np.tile(SPACING_JI_MM, (count, 1))


def test_an_axial_stack_in_any_order() -> None:
    heights = np.array([3.0, 0.0, 6.0, 1.5, 4.5])
    order, ijk_to_ras, warnings = find_grid(*stack(heights))
    assert order == [1, 3, 0, 4, 2]
    assert warnings == ()
    # i (columns, 0.8 mm) to the left, j (rows, 0.7 mm) to the back, k to the head
    expected = [[-0.8, 0, 0, -10], [0, -0.7, 0, 20], [0, 0, 1.5, 5], [0, 0, 0, 1]]
    np.testing.assert_allclose(ijk_to_ras, expected, atol=1e-12)


@looped(axes_to_ras=FOUR_AXES)
def test_every_signed_orientation(axes_to_ras: Array) -> None:
    """Every voxel lies where DICOM PS3.3 C.7.6.2.1.1 says, and k is along the normal."""
    orientation = (axes_to_ras[:, :2] * np.array([[-1.0], [-1.0], [1.0]])).T
    positions, *rest = stack([0, 2, 4, 6], orientation)
    order, ijk_to_ras, warnings = find_grid(positions[::-1].copy(), *rest)
    assert (order, warnings) == ([3, 2, 1, 0], ())
    for i, j, k in np.ndindex(3, 3, 4):
        lps = positions[k] + orientation[0] * 0.8 * i + orientation[1] * 0.7 * j
        np.testing.assert_allclose((ijk_to_ras @ (i, j, k, 1))[:3], lps * (-1, -1, 1), atol=1e-9)
    assert np.linalg.det(np.diag([-1, -1, 1]) @ ijk_to_ras[:3, :3]) > 0


def test_a_tilted_gantry_gives_a_sheared_grid_and_a_warning() -> None:
    heights = np.arange(6) * 5.0
    shift = heights * np.tan(np.radians(15))
    positions, *rest = stack(heights, shift=shift)
    _, ijk_to_ras, warnings = find_grid(positions, *rest)
    assert len(warnings) == 1
    assert "tilted by 15 degrees" in warnings[0]
    np.testing.assert_allclose((ijk_to_ras @ (0, 0, 5, 1))[:3], positions[5] * (-1, -1, 1))
    ct = CtVolume(np.zeros((6, 2, 2), np.int16), ijk_to_ras)
    assert ct.voxel_ml == pytest.approx(0.7 * 0.8 * 5.0 / 1000)  # shear keeps the volume


@looped("digits", [1, 2])
def test_rounded_positions_are_no_news(digits: int) -> None:
    _, ijk_to_ras, warnings = find_grid(*stack(np.round(np.arange(80) * 0.744, digits)))
    assert warnings == ()
    assert ijk_to_ras[2, 2] == pytest.approx(0.744, abs=0.002)


def test_somewhat_uneven_distances_are_told() -> None:
    heights = np.arange(40) * 5.0
    heights[20:] += 0.8
    _, _, warnings = find_grid(*stack(heights))
    assert len(warnings) == 1
    assert "5 to 5.8 mm apart" in warnings[0]
    moved = float(warnings[0].partition("up to ")[2].split()[0])
    assert 0.3 <= moved <= 0.8


@looped("count", [3, 4, 50])
@looped("missing", [1, -2])
@looped("hole", [1, 3])
def test_a_missing_slice_anywhere_is_refused(count: int, missing: int, hole: int) -> None:
    heights = np.arange(count) * 2.5
    heights[missing if missing > 0 else count + missing + 1 :] += hole * 2.5
    with pytest.raises(ValueError, match=rf"missing .* gap of {2.5 * (hole + 1):g} mm .* 2.5 mm"):
        find_grid(*stack(heights))


def test_slices_that_are_no_stack_are_refused() -> None:
    # two distances are refused
    halves = np.concatenate([np.arange(20) * 5.0, 95 + np.arange(1, 20) * 5.6])
    with pytest.raises(ValueError, match=r"5 to 5\.6 mm apart"):
        find_grid(*stack(halves))
    with pytest.raises(ValueError, match="3 to 4 mm apart"):
        find_grid(*stack([0, 3, 6, 9, 13, 16, 19]))

    # slices that jump within their plane are refused
    with pytest.raises(ValueError, match="mm apart"):
        find_grid(*stack(np.arange(10.0), shift=[0, 0, 0, 30, 0, 0, 0, 0, 0, 0]))

    # mixed and broken headers are refused
    positions, orientations, spacings = stack([0, 1, 2])
    other = orientations.copy()
    other[1] = [[0, 1, 0], [0, 0, -1]]
    with pytest.raises(ValueError, match="different planes"):
        find_grid(positions, other, spacings)
    for bad in ([[1, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 1, 0]], [[2, 0, 0], [0, 1, 0]]):
        with pytest.raises(ValueError, match="broken orientation"):
            find_grid(positions, np.tile(np.array(bad, float), (3, 1, 1)), spacings)
    with pytest.raises(ValueError, match="no pixel spacing"):
        find_grid(positions, orientations, spacings * 0)
    spacings[2] *= 1.1
    with pytest.raises(ValueError, match="different pixel spacings"):
        find_grid(positions, orientations, spacings)


@looped("heights", [[0, 1, 1, 2, 3], [0, 0, 0], [0, 0, 1, 1, 2, 2], [0, 1, 1.001]])
def test_two_images_at_one_place_are_refused(heights: list[float]) -> None:
    with pytest.raises(ValueError, match="more than one image at the same place"):
        find_grid(*stack(heights))
