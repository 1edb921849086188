"""From the answers of a liver and of a tumor network to one label map, ours or as published.

    steps = CascadePostprocessing()  # or PRESETS["published"]
    liver = steps.liver_on_grid(liver_probability > 0.5)  # what the tumor network is shown
    tumor = steps.tumor_on_grid(tumor_probability > 0.5, liver, grid_spacing_kji_mm)
    labels_kji = steps(native_liver, native_tumor, ct.spacing_kji_mm)

The first two run on the networks' own grid, where the published sizes are counted, and the last one
on the CT's. A liver mask holds its tumors, as in LiTS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label

from .postprocess import Postprocessing, check_settings, refuse_unknown
from .preprocess_volume import clean_liver, widened

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
# published: voxels of a piece on the 256 x 256 x N grid that is smaller -> how often it is dilated
GROWN_ONCE_BELOW, GROWN_TWICE_BELOW = 80, 100


@dataclass(frozen=True, kw_only=True)
class CascadePostprocessing:
    """The steps, each of which can be switched off; the published ones are in :data:`PRESETS`.

    clean_liver: of the liver the largest piece connected by faces, smoothed by a median of
        3 x 3 x 3 (published).
    grow_small_tumors: pieces of tumor, connected by faces, of less than 80 voxels of the networks'
        grid are dilated once, of 80 to 99 twice, over the faces (published).
    tumor_inside_liver: tumor further than liver_margin_mm (center to center) from the liver is
        background, and so are crumbs that the median has broken off the liver, with the tumor in
        them. The published steps leave both.
    smallest_lesion_mm: a lesion whose ball of equal volume has a smaller diameter becomes liver. 0
        switches the step off, which is published.
    smallest_liver_ml: below this, the answer is "no liver": background everywhere. 0 switches the
        step off.
    """

    clean_liver: bool = True
    grow_small_tumors: bool = False
    tumor_inside_liver: bool = True
    liver_margin_mm: float = 5.0
    smallest_lesion_mm: float = 3.0
    smallest_liver_ml: float = 20.0

    def __post_init__(self) -> None:
        check_settings(
            self,
            numbers=("liver_margin_mm", "smallest_lesion_mm", "smallest_liver_ml"),
            switches=("clean_liver", "grow_small_tumors", "tumor_inside_liver"),
        )

    def liver_on_grid(self, liver: Mask) -> Mask:
        """The liver network's mask (k, j, i) as the tumor network is shown it."""
        return clean_liver(liver) if self.clean_liver else liver.copy()

    def tumor_on_grid(self, tumor: Mask, liver: Mask, spacing_kji_mm: Spacing) -> Mask:
        """The tumor network's mask (k, j, i), grown or cut to the liver.

        liver: of :meth:`liver_on_grid`. spacing_kji_mm: of the networks' grid.
        """
        if self.grow_small_tumors:
            tumor = grown(tumor)
        if not self.tumor_inside_liver:
            return tumor.copy()
        return tumor & widened(liver, self.liver_margin_mm, spacing_kji_mm)

    def __call__(self, liver: Mask, tumor: Mask, spacing_kji_mm: Spacing) -> Labels:
        """Masks (k, j, i) on the CT's grid to clean labels 0, 1, 2 of the same shape.

        tumor: with the steps of :meth:`tumor_on_grid` done. Where it lies outside the liver, it is
        tumor all the same. Nothing found, or too little liver, gives all zeros.
        """
        from scipy import ndimage

        result = np.zeros(liver.shape, np.uint8)
        found = liver | tumor
        for tight in ndimage.find_objects(found.view(np.uint8)) if found.any() else []:
            # Only the box around what was found, for a body-sized volume is mostly background,
            # with the rim of background that the median looks at.
            box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in tight)
            result[box] = self._labels(liver[box], tumor[box], spacing_kji_mm)
        return result

    def _labels(self, liver: Mask, tumor: Mask, spacing_kji_mm: Spacing) -> Labels:
        steps = Postprocessing(
            largest_liver_component=self.tumor_inside_liver,
            tumor_inside_liver=self.tumor_inside_liver,
            liver_margin_mm=self.liver_margin_mm,
            smallest_lesion_mm=self.smallest_lesion_mm,
            smallest_liver_ml=self.smallest_liver_ml,
        )
        labels = (clean_liver(liver) if self.clean_liver else liver).astype(np.uint8)
        labels[tumor] = Label.TUMOR  # the liver's voxels are 1 already
        return steps(labels, spacing_kji_mm)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, as stored in both model files of a cascade; see :meth:`from_dict`."""
        return {"kind": "cascade", **asdict(self)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> CascadePostprocessing:
        """The inverse of :meth:`to_dict`; missing keys take their defaults, so {} is ours.

        ``ValueError`` on keys this version does not know, and for another kind.
        """
        values = dict(stored)
        if values.pop("kind", "cascade") != "cascade":
            raise ValueError(f"Postprocessing kind {stored['kind']!r} is not for a cascade.")
        refuse_unknown("postprocessing", cls, values)
        return cls(**values)


PRESETS = {
    "ours": CascadePostprocessing(),
    "published": CascadePostprocessing(
        grow_small_tumors=True,
        tumor_inside_liver=False,
        smallest_lesion_mm=0.0,
        smallest_liver_ml=0.0,
    ),
}


def grown(tumor: Mask) -> Mask:
    """Small pieces dilated, as in the authors' code; a new mask (k, j, i).

    A piece of less than 80 voxels grows by one layer over the faces, one of 80 to 99 by two, which
    is how it is published; nothing is taken away.
    """
    from scipy import ndimage

    result, pieces = tumor.copy(), np.zeros(tumor.shape, np.int32)
    ndimage.label(tumor, output=pieces)
    for number, tight in enumerate(ndimage.find_objects(pieces), 1):
        if sum(side.stop - side.start for side in tight) - 2 >= GROWN_TWICE_BELOW:
            continue  # a path of faces from end to end of its box alone has so many voxels
        box = tuple(slice(max(side.start - 2, 0), side.stop + 2) for side in tight)
        piece = pieces[box] == number
        size = np.count_nonzero(piece)
        if size < GROWN_TWICE_BELOW:
            layers = 1 if size < GROWN_ONCE_BELOW else 2
            result[box] |= ndimage.binary_dilation(piece, iterations=layers)
    return result
