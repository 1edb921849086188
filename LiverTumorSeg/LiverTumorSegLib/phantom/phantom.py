"""A synthetic abdomen with its true labels, for the demo and for tests.

    phantom = make_phantom(seed=3)
    phantom.ct, phantom.labels, phantom.tumors

A seed is a patient: habitus, organs and tumors are solid shapes in millimeters around the center
of the volume, so every grid (any spacing, any orientation, oblique) shows the same patient. It
looks like portal-venous CT; it is no model of any real person and proves nothing about accuracy in
patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.volume import LPS_SIGNS, CtVolume

from . import organs, trunk
from .liver import LIVER_BOX_MM, Liver, Tumor, place_tumors
from .shapes import Canvas, Grain, Grid
from .trunk import Patient

Array = NDArray[Any]


@dataclass(frozen=True)
class PhantomTumor:
    """One tumor of the truth.

    center_ras_mm: in the volume's own RAS coordinates.
    diameter_mm: of the sphere of equal volume.
    hu: of its core. rim: whether a brighter shell surrounds the core (the shell is tumor too).
    """

    center_ras_mm: tuple[float, float, float]
    diameter_mm: float
    hu: float
    rim: bool


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic CT and its truth.

    labels: uint8 ``(k, j, i)`` on the grid of ``ct``, values of :class:`Label`.
    tumors: all of the patient's, also those outside a grid that shows only a part.
    """

    ct: CtVolume
    labels: NDArray[np.uint8]
    tumors: tuple[PhantomTumor, ...]


def make_phantom(
    *,
    seed: int = 0,
    shape_kji: tuple[int, int, int] = (64, 256, 256),
    spacing_kji_mm: tuple[float, float, float] = (4.0, 1.5, 1.5),
    n_tumors: int | None = None,
    ijk_to_ras: NDArray[np.float64] | None = None,
) -> Phantom:
    """The patient of a seed on a grid.

    shape_kji: voxels. spacing_kji_mm: used without ``ijk_to_ras`` (then i runs to the
    left, j to posterior, k to superior, and RAS 0 is the volume's center).
    n_tumors: drawn from the seed (1 to 6) by default.
    The patient is centered on the grid's center. The body is 280 to 375 mm wide, 200 to 310
    mm deep, and goes on beyond the grid above and below; the liver lies within 110 mm of the
    center's height.
    Raises ``ValueError`` for a negative seed, an impossible grid or number of tumors.
    """
    if seed < 0:
        raise ValueError(f"A phantom's seed is 0 or more, not {seed}.")
    if len(shape_kji) != 3 or min(shape_kji) < 1:
        raise ValueError(f"A phantom has three axes of at least one voxel, not {shape_kji}.")
    affine = _default_affine(shape_kji, spacing_kji_mm) if ijk_to_ras is None else ijk_to_ras
    blank = CtVolume(np.zeros(shape_kji, np.int16), affine)
    canonical, turn = blank.to_lps()
    grid, center_ras_mm = _centered_grid(canonical)
    liver = Liver(Patient.draw(seed))
    tumors = place_tumors(liver, n_tumors)
    hu, labels = _render(liver, tumors, grid, canonical.spacing_kji_mm)
    return Phantom(
        CtVolume(turn.undo(hu), blank.ijk_to_ras),
        turn.undo(labels),
        tuple(_truth(tumor, center_ras_mm) for tumor in tumors),
    )


def _default_affine(
    shape_kji: tuple[int, int, int], spacing_kji_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    if min(spacing_kji_mm) <= 0:
        raise ValueError(f"A phantom's spacing is above zero, not {spacing_kji_mm} mm.")
    affine = np.diag([*(LPS_SIGNS * np.array(spacing_kji_mm)[::-1]), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape_kji)[::-1] - 1) / 2)
    return affine


def _centered_grid(ct: CtVolume) -> tuple[Grid, Array]:
    """The grid in LPS mm around its center, and the center in RAS mm.

    Rounded to a nanometer, so that a flipped copy of a grid gives the very same points.
    """
    half = (np.array(ct.shape_kji)[::-1] - 1) / 2
    center_ras_mm = ct.ijk_to_ras[:3, :3] @ half + ct.ijk_to_ras[:3, 3]
    matrix = np.round(LPS_SIGNS[:, None] * ct.ijk_to_ras[:3, :3], 6)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, -matrix @ half
    return Grid(ct.shape_kji, affine), center_ras_mm


def _truth(tumor: Tumor, center_ras_mm: Array) -> PhantomTumor:
    x, y, z = (float(v) for v in center_ras_mm + LPS_SIGNS * tumor.center_mm)
    return PhantomTumor((x, y, z), 2 * tumor.radius_mm, tumor.hu, tumor.rim_hu is not None)


def _render(
    liver: Liver, tumors: list[Tumor], grid: Grid, spacing_kji_mm: tuple[float, float, float]
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    patient = liver.patient
    canvas = Canvas(grid, edge_mm=max(1.0, min(spacing_kji_mm)), hu=trunk.AIR_HU)
    trunk.paint_trunk(canvas, patient)
    trunk.paint_spine(canvas, patient)
    organs.paint_bowel(canvas, patient)
    organs.paint_kidneys(canvas, patient)
    organs.paint_pancreas(canvas, patient)
    organs.paint_stomach(canvas, patient)
    organs.paint_spleen(canvas, patient)
    organs.paint_great_vessels(canvas, patient)
    labels = np.zeros(grid.shape_kji, np.uint8)
    _paint_liver(canvas, labels, liver)
    for tumor in tumors:
        _paint_tumor(canvas, labels, tumor)
    canvas.hu += _noise(patient.rng("noise"), grid.shape_kji, spacing_kji_mm)
    return np.clip(np.rint(canvas.hu), -1024, 1250).astype(np.int16), labels


def _paint_liver(canvas: Canvas, labels: NDArray[np.uint8], liver: Liver) -> None:
    patient = liver.patient
    ends, radii = liver.cava
    canvas.paint_tube(ends, radii, patient.vein_hu - 8)
    region = canvas.grid.box(*LIVER_BOX_MM)
    outline = liver.distance(region.points)
    mottle = Grain(patient.rng("liver texture"), 2.0, 25)(region.points)
    tissue: Array = np.broadcast_to(patient.liver_hu + mottle, region.shape).copy()
    inside = Canvas(canvas.grid, canvas.edge_mm, 0.0)
    inside.hu[region.where] = tissue
    for a, b, radius_a, radius_b in liver.vessels():
        inside.paint_tube([a, b], [radius_a, radius_b], patient.vein_hu)
    portal = liver.vessels()[0]
    canvas.paint_tube(portal[:2], portal[2:], patient.vein_hu)
    canvas.paint(region, liver.gallbladder(region.points), 72.0)
    canvas.paint(region, liver.gallbladder(region.points) + np.float32(1.8), 10.0)
    canvas.paint(region, outline, inside.hu[region.where])
    labels[region.where][outline < 0] = Label.LIVER


def _paint_tumor(canvas: Canvas, labels: NDArray[np.uint8], tumor: Tumor) -> None:
    region = canvas.grid.around((tumor.center_mm,), tumor.radius_mm * 1.4 + 4)
    outline = tumor.distance(region.points)
    core = outline
    if tumor.rim_hu is not None:
        canvas.paint(region, outline, tumor.rim_hu)
        core = outline + np.float32(tumor.rim_mm)
    canvas.paint(
        region, core, tumor.hu + tumor.mottle(region.points), max(canvas.edge_mm, tumor.edge_mm)
    )
    labels[region.where][outline < 0] = Label.TUMOR


def _noise(
    rng: np.random.Generator, shape_kji: tuple[int, int, int], spacing_kji_mm: tuple[float, ...]
) -> NDArray[np.float32]:
    """Correlated over about a pixel, as after a soft-tissue kernel; thinner voxels hold more."""
    volume_mm3 = float(np.prod(spacing_kji_mm))
    sd_hu = float(np.clip(rng.uniform(10, 14) * (9.0 / volume_mm3) ** 0.3, 6, 26))
    noise = rng.standard_normal(shape_kji, np.float32)
    for axis in (1, 2):
        sigma = 0.62 if shape_kji[axis] > 1 else 0.0
        noise = ndimage.gaussian_filter1d(noise, sigma, axis=axis) if sigma else noise
    result: NDArray[np.float32] = noise * np.float32(sd_hu / max(float(noise.std()), 1e-6))
    return result
