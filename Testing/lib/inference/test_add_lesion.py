"""A click on a missed lesion finds it: on spheres of known size, and on real lesions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from LiverTumorSegLib.ct.label_map import read_label_map
from LiverTumorSegLib.ct.read import read_input
from LiverTumorSegLib.inference.add_lesion import lesion_at
from LiverTumorSegLib.result.lesions import label_lesions
from LiverTumorSegLib.volume import CtVolume
from looped import looped
from scipy import ndimage

LEAST_DICE = 0.7
LIVER_HU, CONTRAST_HU, NOISE_HU, FAT_HU = 110.0, 20.0, 12.0, -90.0
SIDE_MM = 150.0
REAL = {"10": (1, 2, 4)}  # LiTS volume -> its lesions of 26, 19 and 11 mm


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def sphere_in_liver(
    spacing_kji_mm: tuple[float, float, float], diameter_mm: float
) -> tuple[CtVolume, np.ndarray, np.ndarray]:
    """A noisy CT of a round liver with a lesion a little longer than wide; liver, lesion."""
    shape = tuple(int(SIDE_MM / mm) for mm in spacing_kji_mm)
    places = np.indices(shape) * np.reshape(spacing_kji_mm, (3, 1, 1, 1)) - SIDE_MM / 2
    liver = np.linalg.norm(places, axis=0) < 0.45 * SIDE_MM
    stretched = places / np.reshape((0.85, 1.0, 1.15), (3, 1, 1, 1))
    lesion = np.linalg.norm(stretched, axis=0) < diameter_mm / 2
    hu = np.where(liver, LIVER_HU, FAT_HU)
    hu[lesion] -= CONTRAST_HU
    hu += np.random.default_rng(0).normal(0, NOISE_HU, shape)
    k, j, i = spacing_kji_mm
    return CtVolume(hu.astype(np.int16), np.diag([-i, -j, k, 1.0])), liver, lesion


def voxel_at(ct: CtVolume, *offset_kji_mm: float) -> tuple[int, int, int]:
    k, j, i = (
        int((SIDE_MM / 2 + offset) / mm)
        for offset, mm in zip(offset_kji_mm, ct.spacing_kji_mm, strict=True)
    )
    return k, j, i


@looped("spacing", [(2.5, 0.8, 0.8), (5.0, 0.75, 0.75), (1.0, 1.0, 1.0)])
def test_a_lesion_of_20_hu_is_found_from_10_to_40_mm_wherever_it_is_clicked(
    spacing: tuple[float, float, float],
) -> None:
    for diameter in (10.0, 18.0, 40.0):
        ct, liver, lesion = sphere_in_liver(spacing, diameter)
        for aside in (0.0, 0.3):
            found = lesion_at(ct, liver, voxel_at(ct, 0.0, aside * diameter / 2, 0.0))
            assert dice(found, lesion) >= LEAST_DICE, (diameter, aside)
            assert not (found & ~liver).any()


def test_what_the_networks_saw_is_taken_as_they_saw_it() -> None:
    """At half of the greatest share near the click; the liver's own share makes no lesion."""
    ct, liver, lesion = sphere_in_liver((2.5, 1.0, 1.0), 20.0)
    share = np.zeros(liver.shape, np.uint8)
    seen = ndimage.binary_dilation(lesion)
    share[seen], share[lesion] = 40, 100
    click = voxel_at(ct, 0.0, 0.0, 0.0)
    assert (lesion_at(ct, liver, click, share) == lesion).all()
    beside = voxel_at(ct, 0.0, 12.0, 0.0)
    assert (lesion_at(ct, liver, beside, share) == lesion).all(), "a click a little beside it"
    share[liver] = 60
    walked = lesion_at(ct, liver, click)
    assert (lesion_at(ct, liver, click, share) == walked).all(), "as large as the liver: not taken"


def test_lesions_that_are_marked_already_are_left_alone() -> None:
    ct, liver, lesion = sphere_in_liver((2.5, 1.0, 1.0), 30.0)
    marked = lesion.copy()
    marked[:, : liver.shape[1] // 2] = False
    found = lesion_at(ct, liver & ~marked, voxel_at(ct, 0.0, -8.0, 0.0))
    assert not (found & marked).any()
    assert dice(found, lesion & ~marked) >= LEAST_DICE


def test_a_click_where_nothing_is_is_refused_in_words() -> None:
    ct, liver, _ = sphere_in_liver((2.5, 1.0, 1.0), 10.0)
    with pytest.raises(ValueError, match="inside the liver"):
        lesion_at(ct, liver, (0, 0, 0))
    with pytest.raises(ValueError, match="looks like the liver around it"):
        lesion_at(ct, liver, voxel_at(ct, 0.0, 40.0, 0.0))


@looped("case", REAL)
def test_real_lesions_are_found_by_a_click_in_their_middle(case: str, shared_data: Path) -> None:
    folder = shared_data / "lits-subset"
    ct, _ = read_input(folder / f"volume-{case}.nii.gz")
    labels, _ = read_label_map(folder / f"segmentation-{case}.nii.gz", ct)
    lesions, _ = label_lesions(labels)
    for number in REAL[case]:
        lesion = lesions == number
        (box,) = ndimage.find_objects(lesion.view(np.uint8))
        depth = ndimage.distance_transform_edt(np.pad(lesion[box], 1))[1:-1, 1:-1, 1:-1]
        inner = np.unravel_index(int(depth.argmax()), depth.shape)
        click = tuple(int(n) + side.start for n, side in zip(inner, box, strict=True))
        liver = (labels > 0) & ((lesions == 0) | lesion)
        assert dice(lesion_at(ct, liver, click), lesion) >= LEAST_DICE, number
