"""A slice segmenter whose network is made of thresholds, and CTs for it to segment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nibabel.orientations as nib
import numpy as np
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.segmenter import Segmenter
from LiverTumorSegLib.inference.slices import SliceNetwork
from LiverTumorSegLib.model.spec import ModelSpec
from LiverTumorSegLib.volume import LPS_SIGNS, CtVolume
from numpy.typing import NDArray

Array = NDArray[Any]

AIR_HU, LIVER_HU, TUMOR_HU = -1000, 60, 150  # grays 0, 128, 242
FAST = SlicePreprocessing(grid_px=128, size_px=64, use_clahe=False, use_gamma=False)
AS_IT_IS = Postprocessing(
    largest_liver_component=False,
    tumor_inside_liver=False,
    smallest_lesion_mm=0,
    smallest_liver_ml=0,
)


class GrayRunner:
    """Gray 0 is background, 128 liver, 255 tumor, with linear passages between them."""

    def __init__(self, batch: int = 1) -> None:
        self.device, self.batch = "cpu", batch
        self.warnings: list[str] = []
        self.calls: list[int] = []

    def __call__(self, grays: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.calls.append(len(grays))
        gray = grays.astype(np.float32) / 255
        background, tumor = np.clip(1 - 2 * gray, 0, 1), np.clip(2 * gray - 1, 0, 1)
        return np.stack([background, 1 - background - tumor, tumor], axis=-1)


class BrightRunner(GrayRunner):
    """Liver as likely as it is bright, and no tumor."""

    def __call__(self, grays: NDArray[np.uint8]) -> NDArray[np.float32]:
        gray = grays.astype(np.float32) / 255
        return np.stack([1 - gray, gray, np.zeros_like(gray)], axis=-1)


def spec_of(**changes: Any) -> ModelSpec:
    spec = ModelSpec(
        name="tiny",
        version="1",
        net="hybrid2d",
        net_args={},
        preprocessing=FAST.to_dict(),
        labels={"background": 0, "liver": 1, "tumor": 2},
        training_hu_range=None,
        postprocessing={},
        provenance={},
        storage="fp32",
    )
    return replace(spec, **changes)


def segmenter(runner: GrayRunner | None = None, **settings: Any) -> Segmenter:
    network = SliceNetwork(
        runner or GrayRunner(),
        settings.pop("steps", FAST),
        coarse_search=settings.pop("coarse_search", True),
    )
    return Segmenter(network, settings.pop("spec", spec_of()), **settings)


def volume(
    hu: Array, spacing_kji_mm: tuple[float, float, float], rotation: Array | None = None
) -> CtVolume:
    """An LPS grid, turned by ``rotation`` if there is one."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(LPS_SIGNS * np.array(spacing_kji_mm[::-1]))
    if rotation is not None:
        affine[:3, :3] = rotation @ affine[:3, :3]
    affine[:3, 3] = (31.5, -12.25, 400.0)
    return CtVolume(hu.astype(np.int16), affine)


def distance_mm(
    shape_kji: tuple[int, int, int], spacing_kji_mm: Array | tuple[float, ...], center_kji: Array
) -> Array:
    offset = np.moveaxis(np.indices(shape_kji), 0, -1) - center_kji
    return np.linalg.norm(offset * spacing_kji_mm, axis=-1)


def abdomen(count: int = 14, bottom: int = 3, spacing_k_mm: float = 6.0, **where: Any) -> CtVolume:
    """A lopsided liver with two tumors, noise in the air, on a grid of unequal sides."""
    shape, spacing = (count, 40, 52), np.array([spacing_k_mm, 3.5, 3.0])
    hu = np.random.default_rng(5).integers(AIR_HU, -60, shape)
    center = np.array([bottom + 30 / spacing_k_mm, 17.0, 19.0])
    hu[distance_mm(shape, spacing * (1, 1, 0.6), center) < 32] = LIVER_HU
    for offset_mm, radius_mm in (((3, -8, 12), 9), ((-8, 10, -15), 6)):
        place = center + np.array(offset_mm) / spacing
        hu[distance_mm(shape, spacing, place) < radius_mm] = TUMOR_HU
    return volume(hu, (spacing_k_mm, 3.5, 3.0), **where)


def oblique() -> Array:
    a, b = np.deg2rad([14.0, -9.0])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return about_z @ about_x


def turned(array_kji: Array, axes_to_ras: Array) -> tuple[Array, Array]:
    """An LPS array with its axes along ``axes_to_ras``, and new to old indices (i, j, k, 1)."""
    target = nib.io_orientation(np.block([[axes_to_ras, np.zeros((3, 1))], [np.eye(4)[3]]]))
    turn = nib.ornt_transform(nib.axcodes2ornt("LPS"), target)
    array = nib.apply_orientation(array_kji.transpose(2, 1, 0), turn).transpose(2, 1, 0)
    return np.ascontiguousarray(array), nib.inv_ornt_aff(turn, array_kji.shape[::-1])
