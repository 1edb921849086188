"""What the overview draws: a scan with its labels, turned to LPS, its lesions numbered."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.labels import Label
from LiverTumorSegLib.result.lesions import LiverMeasures, label_lesions
from LiverTumorSegLib.volume import CtVolume, Reorientation, bounding_box

from .views import Plane, choose_slices, choose_window, liver_profile

Array = NDArray[Any]

AXIAL = 6  # slices shown at most


@dataclass(frozen=True, eq=False)
class OverviewScene:
    """What is drawn, the LPS way: arrays ``(k, j, i)``.

    lesions: numbers of the tumor voxels inside ``box``, 0 elsewhere; both None without tumor.
    slices: axial ones to show, head first. widest: where each lesion is widest, as k.
    liver_k: first and last slice with liver. center_kji: the voxel that the coronal and the
    sagittal plane run through.
    """

    ct: CtVolume
    labels: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None
    turn: Reorientation
    lesions: NDArray[np.int32] | None
    box: tuple[slice, slice, slice] | None
    slices: tuple[int, ...]
    widest: tuple[int, ...]
    liver_k: tuple[int, int]
    center_kji: tuple[int, int, int]

    @classmethod
    def of(
        cls, ct: CtVolume, labels: Array, truth: Array | None, measures: LiverMeasures
    ) -> OverviewScene:
        lps, turn = ct.to_lps(copy=False)
        labels = turn.apply(labels)
        profile = liver_profile(labels)
        widest = [turned_slice(lesion.slice_index, turn) for lesion in measures.lesions]
        slices = choose_slices(profile[0], widest, lps.spacing_kji_mm[0], AXIAL)
        lesions, box = _numbered_lesions(labels, measures)
        held = np.flatnonzero(profile[0])
        return cls(
            ct=lps,
            labels=labels,
            truth=None if truth is None else turn.apply(truth),
            turn=turn,
            lesions=lesions,
            box=box,
            slices=tuple(slices),
            widest=tuple(widest),
            liver_k=(int(held[0]), int(held[-1])) if len(held) else (0, len(profile[0]) - 1),
            center_kji=_center(lps, profile, measures),
        )

    def plane(self, axis: int, index: int) -> Plane:
        """The plane at an index of k (axis 0), j (1) or i (2), as it is shown."""
        at: list[Any] = [slice(None)] * 3
        at[axis] = index
        step = 1 if axis == 0 else -1  # k runs to the head, rows run down
        spacing = [mm for n, mm in enumerate(self.ct.spacing_kji_mm) if n != axis]
        lesions: Array | None = None
        if axis == 0 and self.lesions is not None and self.box is not None:
            lesions = np.zeros(self.labels.shape[1:], np.int32)
            if self.box[0].start <= index < self.box[0].stop:
                lesions[self.box[1:]] = self.lesions[index - self.box[0].start]
        return Plane(
            hu=self.ct.hu[tuple(at)][::step],
            labels=self.labels[tuple(at)][::step],
            truth=None if self.truth is None else self.truth[tuple(at)][::step],
            lesions=lesions,
            spacing_mm=(round(spacing[0], 6), round(spacing[1], 6)),
        )

    def superior_mm(self, k: int) -> float:
        """Height of a slice's center in RAS mm; rounded, so that no float noise shows."""
        _, rows, columns = self.ct.shape_kji
        at = (self.ct.ijk_to_ras @ ((columns - 1) / 2, (rows - 1) / 2, k, 1.0))[2]
        return round(float(at), 3)

    @cached_property
    def window_hu(self) -> tuple[int, int]:
        """Lower and upper HU shown, the same on every plane."""
        return choose_window([self.plane(0, k) for k in self.slices])

    def below_head_mm(self, k: float) -> float:
        """Distance of a slice's center from the top edge of a coronal plane."""
        return (len(self.labels) - k - 0.5) * self.ct.spacing_kji_mm[0]


def turned_slice(index: int, turn: Reorientation) -> int:
    """A slice number of the input's grid as k of the LPS grid, and the other way round."""
    count = turn.shape_kji[turn.order_kji[0]]
    return count - 1 - index if turn.flipped_kji[0] else index


def _numbered_lesions(
    labels: NDArray[np.uint8], measures: LiverMeasures
) -> tuple[NDArray[np.int32] | None, tuple[slice, slice, slice] | None]:
    """Lesion numbers as in the measures, within the box of all tumor."""
    box = bounding_box(labels, Label.TUMOR)
    components, count = (None, 0) if box is None else label_lesions(labels[box])
    if count != len(measures.lesions):
        raise ValueError(
            f"The labels hold {count} lesions and the measures list {len(measures.lesions)}; "
            "measure these labels on this CT first."
        )
    if box is None or components is None:
        return None, None
    voxels = np.bincount(components.ravel(), minlength=count + 1)[1:]
    numbers = np.zeros(count + 1, np.int32)
    numbers[1 + np.argsort(-voxels, kind="stable")] = np.arange(1, count + 1)
    return numbers[components], (box[0], box[1], box[2])


def _center(
    ct: CtVolume, profile: tuple[Array, Array, Array], measures: LiverMeasures
) -> tuple[int, int, int]:
    """The largest lesion's center, else where most liver lies, else the middle."""
    if measures.lesions:
        ras = (*measures.lesions[0].centroid_ras_mm, 1.0)
        ijk = np.linalg.inv(ct.ijk_to_ras) @ np.array(ras)
        nearest = np.rint(np.round(ijk[2::-1], 6)).astype(int)
        k, j, i = (int(v) for v in np.clip(nearest, 0, np.array(ct.shape_kji) - 1))
        return k, j, i
    if profile[0].any():
        return int(profile[0].argmax()), int(profile[1].argmax()), int(profile[2].argmax())
    return ct.shape_kji[0] // 2, ct.shape_kji[1] // 2, ct.shape_kji[2] // 2
