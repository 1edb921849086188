"""The phantom keeps its promises: one patient on every grid, tumors as told, organs in place."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations, product

import numpy as np
import pytest
from LiverTumorSegLib.phantom.phantom import Phantom, make_phantom
from LiverTumorSegLib.volume import Reorientation
from looped import looped
from scipy import ndimage

COARSE = {"shape_kji": (50, 96, 96), "spacing_kji_mm": (5.0, 4.0, 4.0)}
FINE = {"shape_kji": (100, 96, 140), "spacing_kji_mm": (2.0, 2.4, 2.0)}


@lru_cache(maxsize=8)
def coarse(seed: int, n_tumors: int | None = None) -> Phantom:
    return make_phantom(seed=seed, n_tumors=n_tumors, **COARSE)


@lru_cache(maxsize=1)
def fine() -> Phantom:
    return make_phantom(seed=4, n_tumors=6, **FINE)


def liver_ml(phantom: Phantom) -> float:
    return float((phantom.labels > 0).sum() * phantom.ct.voxel_ml)


def to_ras_mm(phantom: Phantom, mask: np.ndarray) -> np.ndarray:
    kji = np.argwhere(mask)
    affine = phantom.ct.ijk_to_ras
    return kji[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]


def liver_center_mm(phantom: Phantom) -> np.ndarray:
    return to_ras_mm(phantom, phantom.labels > 0).mean(axis=0)


def at(phantom: Phantom, ras_mm: tuple[float, float, float]) -> int:
    """The label at a place in the patient."""
    ijk = np.linalg.solve(phantom.ct.ijk_to_ras, [*ras_mm, 1.0])[:3]
    i, j, k = np.rint(ijk).astype(int)
    return int(phantom.labels[k, j, i])


def test_a_seed_is_a_patient() -> None:
    again = make_phantom(seed=0, **COARSE)
    assert (again.ct.hu == coarse(0).ct.hu).all()
    assert (again.labels == coarse(0).labels).all()
    assert again.tumors == coarse(0).tumors
    assert (coarse(1).labels != coarse(0).labels).any()


def test_default_grid_is_lps_around_zero() -> None:
    ct = make_phantom(shape_kji=(3, 4, 5), spacing_kji_mm=(30.0, 20.0, 10.0)).ct
    assert ct.shape_kji == (3, 4, 5)
    assert ct.spacing_kji_mm == pytest.approx((30.0, 20.0, 10.0))
    assert ct.ijk_to_ras @ [2, 1.5, 1, 1] == pytest.approx([0, 0, 0, 1])
    assert (np.sign(np.diag(ct.ijk_to_ras)) == [-1, -1, 1, 1]).all()


@looped("seed", range(8))
def test_liver_lies_where_it_lies_in_patients(seed: int) -> None:
    phantom = coarse(seed)
    assert 900 < liver_ml(phantom) < 2200
    right, _, _ = liver_center_mm(phantom)
    assert 20 < right < 100
    points = to_ras_mm(phantom, phantom.labels > 0)
    assert 120 < np.ptp(points[:, 2]) < 200  # mm from dome to tip
    assert points[:, 0].min() < -10  # the left lobe crosses the midline
    parts, n = ndimage.label(phantom.labels > 0)
    assert np.bincount(parts.ravel())[1:].max() > 0.99 * (phantom.labels > 0).sum(), n


def test_liver_stays_off_the_grids_edges() -> None:
    labels = coarse(2).labels
    for axis in range(3):
        assert not labels.take([0, -1], axis=axis).any()


def test_every_grid_shows_the_same_patient() -> None:
    # two grids show the same patient
    other = make_phantom(seed=0, shape_kji=(90, 200, 160), spacing_kji_mm=(2.5, 2.0, 2.4))
    assert liver_ml(other) == pytest.approx(liver_ml(coarse(0)), rel=0.05)
    assert liver_center_mm(other) == pytest.approx(liver_center_mm(coarse(0)), abs=3.0)
    assert other.tumors == coarse(0).tumors

    # oblique grid shows the same patient
    turn = np.deg2rad(20)
    rotation = np.eye(3)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-4.0, -4.0, 4.0])
    affine[:3, 3] = -affine[:3, :3] @ [59.5, 49.5, 29.5]  # center of the grid at RAS 0
    phantom = make_phantom(seed=0, shape_kji=(60, 100, 120), ijk_to_ras=affine)
    assert liver_ml(phantom) == pytest.approx(liver_ml(coarse(0)), rel=0.05)
    assert liver_center_mm(phantom) == pytest.approx(liver_center_mm(coarse(0)), abs=3.0)

    # patient moves with the grids center
    affine = coarse(0).ct.ijk_to_ras.copy()
    affine[:3, 3] += [100.0, -50.0, 700.0]
    moved = make_phantom(seed=0, shape_kji=COARSE["shape_kji"], ijk_to_ras=affine)
    assert (moved.labels == coarse(0).labels).all()
    shift = np.subtract(moved.tumors[0].center_ras_mm, coarse(0).tumors[0].center_ras_mm)
    assert shift == pytest.approx([100.0, -50.0, 700.0])


ORIENTATIONS = list(product(permutations(range(3)), product((False, True), repeat=3)))


@looped(("order", "flips"), ORIENTATIONS[::8])
def test_turned_grid_gives_turned_voxels(
    order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    shape = (24, 40, 48)
    plain = make_phantom(seed=6, shape_kji=shape, spacing_kji_mm=(9.3, 8.1, 7.7))
    turn = Reorientation(order, flips, shape)
    expected = turn.apply(plain.labels)
    affine = turn.apply_affine(plain.ct.ijk_to_ras)
    turned = make_phantom(seed=6, shape_kji=expected.shape, ijk_to_ras=affine)
    assert (turned.labels == expected).all()
    assert (turned.ct.hu == turn.apply(plain.ct.hu)).all()


def test_tumors_lie_inside_the_liver_and_apart_and_vary() -> None:
    # tumors are inside the liver and apart
    bare = make_phantom(seed=4, n_tumors=0, **FINE)
    assert not (bare.labels == 2).any()
    assert bare.tumors == ()
    assert ((fine().labels > 0) == (bare.labels > 0)).all()  # a tumor replaces liver, no more
    _, n = ndimage.label(fine().labels == 2, np.ones((3, 3, 3)))
    assert n == len(fine().tumors) == 6

    # tumor counts sizes and kinds vary
    drawn = [coarse(seed).tumors for seed in range(8)]
    tumors = [t for each in drawn for t in each]
    assert len({len(each) for each in drawn}) > 2
    assert {t.rim for t in tumors} == {True, False}
    assert all(7 < t.diameter_mm < 53 and 40 <= t.hu <= 75 for t in tumors)
    assert max(t.diameter_mm for t in tumors) > 2 * min(t.diameter_mm for t in tumors)


def test_tumors_measure_what_the_truth_says() -> None:
    parts, _ = ndimage.label(fine().labels == 2, np.ones((3, 3, 3)))
    for tumor in fine().tumors:
        ijk = np.linalg.solve(fine().ct.ijk_to_ras, [*tumor.center_ras_mm, 1.0])[:3]
        i, j, k = np.rint(ijk).astype(int)
        mask = parts == parts[k, j, i]
        assert at(fine(), tumor.center_ras_mm) == 2
        volume_mm3 = mask.sum() * fine().ct.voxel_ml * 1000
        assert (6 * volume_mm3 / np.pi) ** (1 / 3) == pytest.approx(tumor.diameter_mm, rel=0.12)
        assert to_ras_mm(fine(), mask).mean(axis=0) == pytest.approx(tumor.center_ras_mm, abs=3.0)
        core = (
            ndimage.distance_transform_edt(mask, sampling=(2.0, 2.4, 2.0))
            > 0.6 * tumor.diameter_mm / 2
        )
        if core.sum() > 20:
            assert fine().ct.hu[core].mean() == pytest.approx(tumor.hu, abs=12)


def test_many_tumors_find_room_or_are_refused() -> None:
    crowd = make_phantom(seed=3, n_tumors=25, **COARSE)
    assert len(crowd.tumors) == 25
    centers = np.array([t.center_ras_mm for t in crowd.tumors])
    radii = np.array([t.diameter_mm / 2 for t in crowd.tumors])
    gaps = np.linalg.norm(centers[:, None] - centers, axis=2) - radii[:, None] - radii
    assert gaps[~np.eye(25, dtype=bool)].min() > 1.0
    with pytest.raises(ValueError, match="0 to 40 tumors"):
        make_phantom(n_tumors=41, **COARSE)


@looped("seed", [0, 1, 2])
def test_organs_have_the_numbers_of_portal_venous_ct(seed: int) -> None:
    phantom = coarse(seed)
    hu, labels = phantom.ct.hu.astype(float), phantom.labels
    inner_liver = ndimage.binary_erosion(labels == 1, iterations=2)
    assert 90 < np.median(hu[inner_liver]) < 130
    assert hu[0, 0].mean() == pytest.approx(-1000, abs=5)
    assert hu.min() >= -1024
    assert 300 < hu.max() <= 1250  # cortical bone
    assert ((hu > -900) & (hu < -780)).mean() > 0.02  # lung
    assert ((hu > -140) & (hu < -70)).mean() > 0.05  # fat
    left_soft = (hu > 80) & (hu < 150) & (labels == 0)
    k, _, i = (n // 2 for n in hu.shape)
    left_soft[:, :, :i] = False  # spleen, left kidney and stomach are on the other side
    assert left_soft[k:].sum() * phantom.ct.voxel_ml > 80


def test_noise_is_that_of_a_scanner() -> None:
    phantom = make_phantom(
        seed=1, n_tumors=0, shape_kji=(8, 200, 200), spacing_kji_mm=(4.0, 1.5, 1.5)
    )
    inner = ndimage.binary_erosion(phantom.labels == 1, np.ones((1, 9, 9)))
    values = phantom.ct.hu[inner].astype(float)
    robust_sd = 1.4826 * np.median(np.abs(values - np.median(values)))
    assert 8 < robust_sd < 17


@looped(
    ("wrong", "sentence"),
    [
        ({"seed": -1}, "0 or more"),
        ({"shape_kji": (4, 0, 4)}, "at least one voxel"),
        ({"spacing_kji_mm": (1.0, 0.0, 1.0)}, "above zero"),
        ({"n_tumors": -2}, "0 to 40"),
        ({"ijk_to_ras": np.zeros((4, 4))}, "spacing is zero"),
    ],
)
def test_impossible_wishes_are_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_phantom(**{"shape_kji": (4, 4, 4), **wrong})


def test_grid_beside_the_liver_is_plain() -> None:
    affine = np.diag([-5.0, -5.0, 5.0, 1.0])
    phantom = make_phantom(seed=0, shape_kji=(1, 1, 1), ijk_to_ras=affine)
    assert phantom.labels.shape == (1, 1, 1)
