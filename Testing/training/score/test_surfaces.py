"""Surface distances against all pairs of surface voxels, MONAI and closed forms."""

from __future__ import annotations

from dataclasses import astuple
from itertools import product
from typing import Any

import numpy as np
import pytest
from looped import looped
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

from training.score.surfaces import SurfaceScores, surface_points, surface_scores

Mask = NDArray[np.bool_]
SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.7, 0.8), (0.9, 2.5, 1.1)]


def blob(seed: int, shape: tuple[int, int, int] = (14, 17, 19)) -> Mask:
    """Rough shapes that touch the array's border here and there."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(ndimage.gaussian_filter(noise, 1.6) > 0.09)


def surface_by_neighbors(mask: Mask, farthest: int) -> NDArray[np.intp]:
    """Voxels with background among the neighbors up to ``farthest`` axes away, one at a time."""
    padded = np.pad(mask, 1)
    steps = [s for s in product((-1, 0, 1), repeat=3) if 0 < np.abs(s).sum() <= farthest]
    points = [
        point
        for point in np.argwhere(mask)
        if not all(padded[tuple(point + 1 + np.array(step))] for step in steps)
    ]
    return np.array(points)


def by_all_pairs(predicted: Mask, true: Mask, spacing: tuple[float, ...]) -> SurfaceScores:
    """The definitions of the docstring over the full matrix of distances."""
    ways = []
    for farthest in (2, 1):
        ends = [surface_by_neighbors(m, farthest) * np.array(spacing) for m in (predicted, true)]
        table = cdist(*ends)
        ways.append((table.min(axis=1), table.min(axis=0)))
    lits, faces = np.concatenate(ways[0]), np.concatenate(ways[1])
    return SurfaceScores(
        assd_mm=lits.sum() / len(lits),
        rmsd_mm=np.sqrt((lits**2).sum() / len(lits)),
        msd_mm=lits.max(),
        hd95_mm=max(np.quantile(way, 0.95) for way in ways[1]),
        nsd_2mm=(faces <= 2 + 1e-9).mean(),
        nsd_3mm=(faces <= 3 + 1e-9).mean(),
    )


@looped("spacing", SPACINGS)
@looped("seed", [0, 1])
def test_all_scores_are_those_of_every_pair_of_voxels(seed: int, spacing: Any) -> None:
    predicted, true = blob(seed), blob(seed + 10)
    ours, expected = (
        surface_scores(predicted, true, spacing),
        by_all_pairs(predicted, true, spacing),
    )
    assert astuple(ours) == pytest.approx(astuple(expected))


@looped("spacing", SPACINGS)
def test_hd95_and_nsd_are_monais(spacing: Any) -> None:
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    predicted, true = blob(3), blob(4)
    batch = [torch.from_numpy(mask)[None, None] for mask in (predicted, true)]
    ours = surface_scores(predicted, true, spacing)
    options = {"include_background": True, "spacing": spacing}
    hd95 = compute_hausdorff_distance(*batch, percentile=95, **options)
    nsd = [compute_surface_dice(*batch, [mm], **options).item() for mm in (2.0, 3.0)]
    assert ours.hd95_mm == pytest.approx(hd95.item(), rel=1e-5)
    assert (ours.nsd_2mm, ours.nsd_3mm) == pytest.approx(nsd, rel=1e-5)
    assert 0 < ours.nsd_2mm < ours.nsd_3mm < 1


@looped("seed", [5, 6])
def test_a_surface_voxel_has_background_among_its_neighbors(seed: int) -> None:
    """And it is one that SciPy's erosion with that neighborhood takes away."""
    mask = blob(seed)
    for rank, points in zip((2, 1), surface_points(mask), strict=True):
        assert np.array_equal(points, surface_by_neighbors(mask, rank))
        structure = ndimage.generate_binary_structure(3, rank)
        eroded = ndimage.binary_erosion(mask, structure)
        assert np.array_equal(points, np.argwhere(mask & ~eroded))


def test_surfaces_are_of_the_18_neighborhood_and_the_scans_border() -> None:
    # the 18 neighborhood takes voxels behind an edge too: A cube without one of its edges: the
    # voxel diagonally behind it is surface for LiTS.
    mask = np.ones((5, 5, 5), dtype=bool)
    mask[:, 0, 0] = False
    lits, monai = surface_points(mask)
    assert [2, 1, 1] in lits.tolist()
    assert [2, 1, 1] not in monai.tolist()

    # the scans border is a surface
    whole = np.ones((3, 4, 5), dtype=bool)
    assert [len(points) for points in surface_points(whole)] == [whole.size - 1 * 2 * 3] * 2


def test_distances_of_voxels_plates_and_equal_masks() -> None:
    # two voxels are as far apart as their centers
    one, other = np.zeros((2, 9, 9, 9), dtype=bool)
    one[1, 1, 1], other[2, 3, 4] = True, True
    distance = float(np.hypot(np.hypot(1 * 5.0, 2 * 0.5), 3 * 0.7))
    scores = surface_scores(one, other, (5.0, 0.5, 0.7))
    assert astuple(scores) == pytest.approx((distance,) * 4 + (0.0, 0.0))

    # parallel plates have one distance: Two one-voxel plates across the whole array, 4 voxels of
    # 0.5 mm apart: 2 mm, within 2 mm.
    plates = np.zeros((2, 9, 6, 6), dtype=bool)
    plates[0, 2], plates[1, 6] = True, True
    scores = surface_scores(plates[0], plates[1], (0.5, 3.0, 3.0))
    assert astuple(scores) == pytest.approx((2.0, 2.0, 2.0, 2.0, 1.0, 1.0))

    # equal masks are 0 mm apart
    assert astuple(surface_scores(blob(6), blob(6), (3.0, 1.0, 1.0))) == (0, 0, 0, 0, 1, 1)


@looped("axis", [0, 1, 2])
def test_a_shifted_cube_is_off_by_the_shift(axis: int) -> None:
    """Its far face moved by three voxels of that axis; faces along the shift hardly moved."""
    spacing = (4.0, 1.5, 0.5)
    cube = np.zeros((20, 20, 20), dtype=bool)
    cube[4:10, 4:10, 4:10] = True
    scores = surface_scores(np.roll(cube, 3, axis=axis), cube, spacing)
    assert scores.msd_mm == pytest.approx(3 * spacing[axis])
    assert 0 < scores.assd_mm < scores.rmsd_mm < scores.msd_mm


@looped(("voxel_mm", "apart"), [(0.1, 20), (2 / 3, 3), (0.4, 5), (1 / 7, 14)])
def test_a_distance_of_the_tolerance_is_within_it_whatever_the_rounding(
    voxel_mm: float, apart: int
) -> None:
    for start in range(4):
        one, other = np.zeros((2, 30, 1, 1), dtype=bool)
        one[start], other[start + apart] = True, True
        assert surface_scores(one, other, (voxel_mm, 1.0, 1.0)).nsd_2mm == 1
        wider = surface_scores(one, other, (voxel_mm * 1.001, 1.0, 1.0))
        assert (wider.nsd_2mm, wider.nsd_3mm) == (0, 1)


def test_order_and_place_do_not_matter() -> None:
    predicted, true = blob(7), blob(8)
    spacing = (3.0, 0.8, 1.2)
    expected = pytest.approx(astuple(surface_scores(predicted, true, spacing)))
    assert astuple(surface_scores(true, predicted, spacing)) == expected
    moved = [np.pad(mask, ((3, 9), (0, 4), (8, 1))) for mask in (predicted, true)]
    assert astuple(surface_scores(*moved, spacing)) == expected
    turned = [mask.transpose(2, 0, 1) for mask in (predicted, true)]
    assert astuple(surface_scores(*turned, (1.2, 3.0, 0.8))) == expected


@looped(("predicted", "true"), [(False, True), (True, False), (False, False)])
def test_without_a_surface_nothing_is_measured(predicted: bool, true: bool) -> None:
    masks = [np.full((4, 4, 4), filled) for filled in (predicted, true)]
    assert np.isnan(astuple(surface_scores(*masks, (1.0, 1.0, 1.0)))).all()


def test_other_input_is_refused() -> None:
    mask = blob(9)
    with pytest.raises(ValueError, match="one shape"):
        surface_scores(mask, mask[1:], (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="must be bool"):
        surface_scores(mask.astype(np.uint8), mask, (1.0, 1.0, 1.0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="three positive lengths"):
        surface_scores(mask, mask, (1.0, 0.0, 1.0))
