"""Clean a predicted label map: one liver, tumor only in or near it, no specks.

    steps = Postprocessing(smallest_lesion_mm=4.0)
    labels_kji = steps(labels_kji, ct.spacing_kji_mm)
    labels_kji = steps.labels(liver_kji, tumor_kji, ct.spacing_kji_mm)  # of two masks

Everything connected is meant in the 26-neighborhood, as in result/lesions.py. Lengths are in mm
with the grid's spacing, so what is removed does not depend on slice thickness or axis order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, pi, prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.settings import Settings
from LiverTumorSegLib.volume import bounding_box

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Postprocessing(Settings):
    """The steps, each of which can be switched off. "Liver" includes its tumor, as in LiTS.

    A piece is a 26-neighborhood component of liver and tumor together; a piece with at least one
    liver voxel is a liver, a piece of tumor alone is a loose tumor.

    clean_liver: of the liver mask the largest piece connected by faces, smoothed by a median of
        3 x 3 x 3 (G-UNETR++, for the first of two networks). Only where liver and tumor come as
        two masks; see :meth:`labels`.
    largest_liver_component: of several livers only the largest stays; the others become
        background with the tumor in them.
    tumor_inside_liver: a loose tumor stays, whole, only if one of its voxels lies within
        max_distance_to_liver_mm (center to center) of the liver. A lesion that touches the liver is
        never cut: a large tumor at the rim reaches far from any liver voxel.
    smallest_lesion_mm: a lesion whose ball of equal volume has a smaller diameter becomes liver,
        or background when it is loose. 0 switches the step off.
    smallest_liver_ml: below this, the answer is "no liver": background everywhere. 0 switches the
        step off.
    """

    NOUN: ClassVar[str] = "postprocessing"
    RENAMED: ClassVar[Mapping[str, str]] = {"liver_margin_mm": "max_distance_to_liver_mm"}
    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "max_distance_to_liver_mm": (0.0, 1000.0),
        "smallest_lesion_mm": (0.0, 1000.0),
        "smallest_liver_ml": (0.0, 1e5),
    }

    clean_liver: bool = False
    largest_liver_component: bool = True
    tumor_inside_liver: bool = True
    max_distance_to_liver_mm: float = 5.0
    smallest_lesion_mm: float = 5.0
    smallest_liver_ml: float = 20.0

    def __call__(self, labels_kji: Labels, spacing_kji_mm: Spacing) -> Labels:
        """Clean labels 0, 1, 2 ``(k, j, i)``; returns a new uint8 array of the same shape.

        Applying it twice gives what applying it once gives. Nothing found gives all zeros.
        Raises ``ValueError`` for other label values or a spacing that is not three lengths > 0.
        ``clean_liver`` does nothing here: labels do not say what of a tumor was liver as well.
        """
        _check(labels_kji, spacing_kji_mm)
        result = labels_kji.astype(np.uint8)
        self._clean_in_place(result, spacing_kji_mm)
        return result

    def labels(self, liver: Mask, tumor: Mask, spacing_kji_mm: Spacing) -> Labels:
        """Masks ``(k, j, i)`` of liver (with its tumor) and of tumor to clean labels 0, 1, 2.

        Tumor outside the liver mask is tumor all the same.
        """
        return self.labels_in(self.liver(liver), tumor, spacing_kji_mm)

    def labels_in(self, liver: Mask, tumor: Mask, spacing_kji_mm: Spacing) -> Labels:
        """The same of a liver mask as :meth:`liver` gives it, which is overwritten."""
        labels: Labels = liver.view(np.uint8)
        for plane, its_tumor in zip(labels, tumor, strict=True):
            plane[its_tumor] = Label.TUMOR
        _check(labels, spacing_kji_mm)
        self._clean_in_place(labels, spacing_kji_mm)
        return labels

    def liver(self, mask: Mask) -> Mask:
        """The liver mask ``(k, j, i)``, cleaned if that is asked for; always a new array."""
        return clean_liver(mask) if self.clean_liver else mask.copy()

    def _clean_in_place(self, labels: Labels, spacing_mm: Spacing) -> None:
        """Only in the box around what was found: a body-sized volume is mostly background."""
        if (box := bounding_box(labels)) is not None:
            labels[box] = self._clean(labels[box].copy(), spacing_mm)

    def _clean(self, labels: Labels, spacing_mm: Spacing) -> Labels:
        """The steps in order; changes ``labels`` in place."""
        voxel_ml = prod(spacing_mm) / 1000.0
        pieces, count = _label(labels > 0)
        sizes = _sizes(pieces, count)
        is_liver = np.zeros(count + 1, dtype=bool)
        is_liver[pieces[labels == Label.LIVER]] = True
        liver_pieces = _largest_only(is_liver, sizes) if self.largest_liver_component else is_liver
        if sizes[liver_pieces].sum() * voxel_ml < self.smallest_liver_ml:
            return np.zeros_like(labels)
        loose = ~is_liver
        loose[0] = False  # background
        if self.smallest_lesion_mm > 0:
            # A loose tumor is a lesion of its own: its piece goes. The others turn into liver.
            loose &= ~_is_small(sizes, spacing_mm, self.smallest_lesion_mm)
            _small_lesions_to_liver(labels, spacing_mm, self.smallest_lesion_mm)
        if self.tumor_inside_liver:
            loose &= _near(pieces, liver_pieces, loose, spacing_mm, self.max_distance_to_liver_mm)
        labels[~_look_up(liver_pieces | loose, pieces)] = Label.BACKGROUND
        return labels

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Postprocessing:
        """Read stored settings, also those that earlier versions stored for a cascade."""
        if "kind" not in stored:
            return super().from_dict(stored)
        values = dict(stored)
        if values.pop("kind") != "cascade":
            raise ValueError(
                sentence("The kind of postprocessing {kind!r} is unknown.", kind=stored["kind"])
            )
        if values.pop("grow_small_tumors", False):
            raise ValueError("This version grows no small tumors; see training/reproduce.")
        defaults = {"clean_liver": True, "smallest_lesion_mm": 3.0}
        values.setdefault("largest_liver_component", values.get("tumor_inside_liver", True))
        return super().from_dict({**defaults, **values})


def clean_liver(mask: Mask) -> Mask:
    """The mask as G-UNETR++ cleans it: one piece, smoothed; (k, j, i) in and out.

    The largest piece connected by faces, then a median of 3 x 3 x 3. Nothing gives nothing.
    """
    from scipy import ndimage

    clean = np.zeros(mask.shape, np.bool_)
    around = bounding_box(mask)
    if around is None:
        return clean
    # with the rim of background that the median looks at
    box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in around)
    pieces = np.zeros(mask[box].shape, np.int32)
    count = int(ndimage.label(mask[box], output=pieces))
    votes = (pieces == int(_sizes(pieces, count)[1:].argmax()) + 1).astype(np.uint8)
    for axis in range(3):
        votes = ndimage.convolve1d(votes, [1, 1, 1], axis, mode="nearest")
    clean[box] = votes >= 14  # of 27 voxels: a mask's median
    return clean


def label_lesions(tumor: Mask, voxels: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
    """Numbers from 1 of the lesions that flat voxels of tumor lie in, and how many lesions are.

    tumor: (k, j, i); lesions are its components in the 26-neighborhood. voxels: (n,), all tumor.
    """
    if (box := bounding_box(tumor)) is None:
        return np.zeros(0, np.int32), 0
    numbers, count = _label(tumor[box])
    kji = np.unravel_index(voxels, tumor.shape)
    here = tuple(at - side.start for at, side in zip(kji, box, strict=True))
    return numbers[here], count


def _check(labels: Labels, spacing_mm: Spacing) -> None:
    if labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            sentence(
                "Labels are a 3D array of integers; this one is {kind} with shape {shape}.",
                kind=str(labels.dtype),
                shape=str(labels.shape),
            )
        )
    if labels.size and (labels.min() < Label.BACKGROUND or labels.max() > Label.TUMOR):
        raise ValueError(
            sentence(
                "Labels are 0 (background), 1 (liver) and 2 (tumor); found {least} to {value}. Map "
                "other structures to one of these first.",
                least=int(labels.min()),
                value=int(labels.max()),
            )
        )
    if len(spacing_mm) != 3 or not all(isfinite(s) and s > 0 for s in spacing_mm):
        raise ValueError(
            sentence(
                "The spacing is {spacing}; give three lengths in mm above zero.",
                spacing=str(spacing_mm),
            )
        )


def _label(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """Components of the 26-neighborhood, numbered from 1, and their count."""
    from scipy import ndimage

    components = np.zeros(mask.shape, dtype=np.int32)
    count = int(ndimage.label(mask, structure=np.ones((3, 3, 3), dtype=bool), output=components))
    return components, count


def _sizes(components: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """``(count + 1,)`` voxels of each component; slice by slice, as bincount copies to int64."""
    sizes = np.zeros(count + 1, dtype=np.int64)
    for plane in components:
        sizes += np.bincount(plane.ravel(), minlength=count + 1)
    return sizes


def _look_up(table: Mask, components: NDArray[np.int32]) -> Mask:
    """``table[components]``, slice by slice, as indexing copies the whole index to int64."""
    result = np.empty(components.shape, dtype=bool)
    for plane, target in zip(components, result, strict=True):
        target[...] = table[plane]
    return result


def _largest_only(is_liver: Mask, sizes: NDArray[np.int64]) -> Mask:
    """The one largest liver; a loose tumor never counts as the liver, however large."""
    largest = np.zeros_like(is_liver)
    if is_liver.any():
        largest[np.argmax(np.where(is_liver, sizes, -1))] = True
    return largest


def _is_small(sizes: NDArray[np.int64], spacing_mm: Spacing, smallest_mm: float) -> Mask:
    """Whether the ball of equal volume is smaller in diameter than ``smallest_mm``."""
    volumes_mm3 = sizes * prod(spacing_mm)
    small: Mask = np.cbrt(6.0 * volumes_mm3 / pi) < smallest_mm
    return small


def _small_lesions_to_liver(labels: Labels, spacing_mm: Spacing, smallest_mm: float) -> None:
    """Relabel, in place, every tumor component that is too small."""

    box = bounding_box(labels, Label.TUMOR)
    if box is None:
        return
    window = labels[box]  # a view: writing to it changes labels
    lesions, count = _label(window == Label.TUMOR)
    small = _is_small(_sizes(lesions, count), spacing_mm, smallest_mm)
    small[0] = False  # background
    window[_look_up(small, lesions)] = Label.LIVER


def _near(
    pieces: NDArray[np.int32],
    liver_pieces: Mask,
    loose: Mask,
    spacing_mm: Spacing,
    margin_mm: float,
) -> Mask:
    """Which of the ``loose`` pieces come within ``margin_mm`` of the ``liver_pieces`` ones.

    The nearest voxels of two separate shapes lie on their surfaces, so surface points and a tree
    give the exact distances of a distance transform without its float64 volumes.
    """
    from scipy.spatial import cKDTree

    near = np.zeros_like(loose)
    if not liver_pieces.any() or not loose.any():
        return near
    scale = np.array(spacing_mm)
    liver = np.argwhere(_surface(_look_up(liver_pieces, pieces)))
    tumor = np.argwhere(_surface(_look_up(loose, pieces)))
    reach_mm = margin_mm * (1.0 + 1e-9)  # the tree's bound leaves out equality
    distances_mm, _ = cKDTree(liver * scale).query(tumor * scale, distance_upper_bound=reach_mm)
    near[pieces[tuple(tumor[np.isfinite(distances_mm)].T)]] = True
    return near


def _surface(mask: Mask) -> Mask:
    """Voxels of the mask with a face neighbor outside it (or on the array's rim)."""
    inner = np.zeros_like(mask)
    core = mask[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for side in (slice(None, -2), slice(2, None)):
            window = [slice(1, -1)] * 3
            window[axis] = side
            core &= mask[tuple(window)]
    inner[1:-1, 1:-1, 1:-1] = core
    return mask & ~inner
