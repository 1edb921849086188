"""The lesion at a point that somebody has clicked on, which the networks have missed.

    mask = lesion_at(ct, liver_kji, (40, 210, 180), share_kji)      # bool (k, j, i)

Where the networks saw something there, only less than their threshold, it is that. Elsewhere it is
found in the CT alone: random walks inside the liver (Grady, IEEE TPAMI 28 (2006) 1768) with a
model of both tissues' CT numbers as prior (Grady, CVPR 2005, p. 763).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.volume import CtVolume

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Voxel = tuple[int, int, int]
Box = tuple[slice, slice, slice]

REACH_MM = 45.0  # from the click to the farthest voxel of a lesion
STEP_MM = 1.5  # of the grid on which the walks are: fine enough, and solved in a second
SEED_MM = 3.0  # radius of what the click is taken for
SMOOTHING_MM = 1.5  # standard deviation: noise of single voxels is no border
NEAR_CLICK_MM = 4.0  # how far beside the networks' own mark a click may be
LEAST_SHARE = 0.10  # of what the networks saw, to be taken for a lesion at all
BLOB_SHARE = 0.5  # a blob ends where its share is half of the greatest near the click
LARGEST_BLOB_MM = 80.0  # a larger one is the liver, and no lesion
STIFFNESS = 0.5  # how much neighbors count beside the CT number of a voxel itself
EDGE_HU = 10.0  # a step between neighbors that is taken for a border
LEAST_CONTRAST = 1.5  # of both tissues, in standard deviations of the smoothed liver
TOLERANCE = 1e-4


@dataclass(frozen=True)
class _Grid:
    """The cube around a click, on voxels of about STEP_MM.

    box: in the CT. hu: smoothed, (K, J, I). inside: of the liver. click: in this grid.
    """

    box: Box
    hu: Floats
    inside: Mask
    spacing_mm: Floats
    click: NDArray[np.int64]

    @property
    def distance_mm(self) -> Floats:
        """The distance of each voxel from the click, mm."""
        offsets = np.indices(self.hu.shape) - self.click[:, None, None, None]
        distances: Floats = np.linalg.norm(offsets * self.spacing_mm[:, None, None, None], axis=0)
        return distances


def lesion_at(
    ct: CtVolume,
    liver_kji: Mask,
    click_kji: Voxel,
    share_kji: NDArray[np.uint8] | None = None,
) -> Mask:
    """Segment the lesion at a voxel of the liver by its CT numbers: a mask, bool (k, j, i).

    liver_kji: where a lesion may be: the liver without the lesions that are marked already.
    share_kji: uint8, 255 times the networks' probability of tumor; None where it is not known.
    Raises ``ValueError`` with one sentence where the click is outside the liver, or nothing there
    looks unlike the liver around it.
    """
    if not liver_kji[click_kji]:
        raise ValueError("Click inside the liver, on a lesion that is not marked yet.")
    if share_kji is not None:
        blob = _blob_at(share_kji, liver_kji, click_kji, np.array(ct.spacing_kji_mm))
        if blob is not None:
            return blob
    grid = _grid_around(ct, liver_kji, click_kji)
    found = _walk(grid)
    mask = np.zeros(liver_kji.shape, np.bool_)
    mask[grid.box] = _to_voxels(found, mask[grid.box].shape) & liver_kji[grid.box]
    return _piece_at(mask, grid.box, click_kji)


def _blob_at(
    share_kji: NDArray[np.uint8], liver_kji: Mask, click_kji: Voxel, spacing_mm: Floats
) -> Mask | None:
    """The networks' own mark at a lower threshold; None where they saw nothing, or the liver."""
    from scipy import ndimage

    near = _box_around(click_kji, share_kji.shape, NEAR_CLICK_MM, spacing_mm)
    greatest = int(np.where(liver_kji[near], share_kji[near], 0).max())
    if greatest < 255 * LEAST_SHARE:
        return None
    box = _box_around(click_kji, share_kji.shape, REACH_MM, spacing_mm)
    is_marked = (share_kji[box] >= max(BLOB_SHARE * greatest, 1)) & liver_kji[box]
    pieces, _ = ndimage.label(is_marked, np.ones((3, 3, 3)))
    offset = [n.start - b.start for n, b in zip(near, box, strict=True)]
    here = tuple(slice(o, o + n.stop - n.start) for o, n in zip(offset, near, strict=True))
    counts = np.bincount(pieces[here].ravel())
    counts[0] = 0
    piece = pieces == int(counts.argmax())
    extents = [np.ptp(np.flatnonzero(piece.any(axis=axes))) for axes in ((1, 2), (0, 2), (0, 1))]
    if (np.array(extents) * spacing_mm).max() > LARGEST_BLOB_MM:
        return None
    mask = np.zeros(liver_kji.shape, np.bool_)
    mask[box] = piece
    return mask


def _box_around(
    click_kji: Voxel, shape: tuple[int, ...], reach_mm: float, spacing_mm: Floats
) -> Box:
    k, j, i = (
        slice(max(0, c - ceil(reach_mm / mm)), min(n, c + ceil(reach_mm / mm) + 1))
        for c, n, mm in zip(click_kji, shape, spacing_mm, strict=True)
    )
    return k, j, i


def _grid_around(ct: CtVolume, liver_kji: Mask, click_kji: Voxel) -> _Grid:
    from scipy import ndimage

    spacing_mm = np.array(ct.spacing_kji_mm)
    box = _box_around(click_kji, ct.shape_kji, REACH_MM, spacing_mm)
    inside = liver_kji[box].astype(np.float64)
    hu = ct.hu[box].astype(np.float64)
    sigma = SMOOTHING_MM / spacing_mm
    # the mean over voxels of the liver alone: fat beside it is no dark lesion
    weights = ndimage.gaussian_filter(inside, sigma, mode="constant")
    sums = ndimage.gaussian_filter(hu * inside, sigma, mode="constant")
    smooth = np.where(weights > 1e-3, sums / np.maximum(weights, 1e-3), 0.0)
    steps = np.maximum(np.rint(STEP_MM / spacing_mm), 1).astype(int)
    start = [side.start for side in box]
    click = np.array(click_kji) - start
    phase = click % steps  # so that the click is a voxel of the coarser grid
    coarse = tuple(slice(int(p), None, int(s)) for p, s in zip(phase, steps, strict=True))
    box_k, box_j, box_i = (
        slice(side.start + int(p), side.stop) for side, p in zip(box, phase, strict=True)
    )
    return _Grid(
        (box_k, box_j, box_i),
        smooth[coarse],
        inside[coarse] > 0,
        spacing_mm * steps,
        (click - phase) // steps,
    )


def _walk(grid: _Grid) -> Floats:
    """How likely a walk that begins at a voxel ends in the lesion and not in the liver."""
    from scipy.sparse import diags
    from scipy.sparse.linalg import cg

    seed = grid.inside & (grid.distance_mm <= SEED_MM)
    around = grid.inside & (grid.distance_mm > REACH_MM - STEP_MM)
    prior = _prior(grid, seed)
    numbers = np.full(grid.inside.shape, -1)
    numbers[grid.inside] = np.arange(np.count_nonzero(grid.inside))
    laplacian = _laplacian(grid, numbers)
    seeds = (seed | around)[grid.inside]
    weight = np.where(seeds, 1e3, 1.0)
    target = np.where(seeds, seed[grid.inside], prior[grid.inside])
    likelihood, _ = cg(laplacian + diags(weight), weight * target, rtol=TOLERANCE, maxiter=500)
    found = np.zeros(grid.inside.shape)
    found[grid.inside] = likelihood
    return found


def _prior(grid: _Grid, seed: Mask) -> Floats:
    """For each voxel, by its CT number alone, how much likelier it is lesion than liver."""
    liver_hu = float(np.median(grid.hu[grid.inside]))
    lesion_hu = float(np.median(grid.hu[seed]))
    rest = np.abs(grid.hu[grid.inside] - liver_hu)
    spread_hu = max(1.4826 * float(np.median(rest)), 2.0)  # a standard deviation, robustly
    contrast = abs(lesion_hu - liver_hu) / spread_hu
    if contrast < LEAST_CONTRAST:
        raise ValueError(
            sentence(
                "What is there ({lesion_hu:.0f} HU) looks like the liver around it"
                " ({liver_hu:.0f} HU); draw it in Segment Editor.",
                lesion_hu=lesion_hu,
                liver_hu=liver_hu,
            )
        )
    # the logarithm of the quotient of two normal densities of one spread is linear in the number
    middle = (lesion_hu + liver_hu) / 2
    slope = (lesion_hu - liver_hu) / spread_hu**2
    logit = np.clip(slope * (grid.hu - middle), -30, 30)
    prior: Floats = 1 / (1 + np.exp(-logit))
    return prior


def _laplacian(grid: _Grid, numbers: NDArray[np.int64]) -> Any:
    """The Laplacian of the graph of neighboring liver voxels, weighted by likeness."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import laplacian

    rows, columns, values = [], [], []
    for axis in range(3):
        one, other = (np.moveaxis(a, axis, 0) for a in (grid.hu, numbers))
        both = (other[1:] >= 0) & (other[:-1] >= 0)
        step = (one[1:] - one[:-1])[both] / EDGE_HU
        near = (STEP_MM / grid.spacing_mm[axis]) ** 2
        rows.append(other[1:][both])
        columns.append(other[:-1][both])
        values.append(STIFFNESS * near * np.exp(-(step**2)))
    count = int(numbers.max()) + 1
    row, column, value = (np.concatenate(parts) for parts in (rows, columns, values))
    graph = coo_array((value, (row, column)), shape=(count, count)).tocsr()
    return laplacian(graph + graph.T)


def _to_voxels(found: Floats, shape: tuple[int, ...]) -> Mask:
    """The coarse grid's answer on the CT's voxels, with outlines between the coarse voxels."""
    from scipy import ndimage

    steps = [max(1, round(n / c)) for n, c in zip(shape, found.shape, strict=True)]
    places = np.ix_(*(np.arange(n) / s for n, s in zip(shape, steps, strict=True)))
    grids = np.broadcast_arrays(*places)
    level = ndimage.map_coordinates(found, np.stack(grids), order=1, mode="nearest")
    mask: Mask = level > 0.5
    return mask


def _piece_at(mask: Mask, box: Box, click_kji: Voxel) -> Mask:
    """The piece around the click, without holes."""
    from scipy import ndimage

    pieces, _ = ndimage.label(mask[box], np.ones((3, 3, 3)))
    start = [side.start for side in box]
    number = pieces[tuple(c - s for c, s in zip(click_kji, start, strict=True))]
    piece = ndimage.binary_fill_holes(pieces == number) if number else np.zeros_like(mask[box])
    result = np.zeros_like(mask)
    result[box] = piece
    return result
