"""A CT volume with its place in the patient, and its reorientation to LPS and back.

Arrays are ``(k, j, i)``: i runs fastest, as in Slicer's ``arrayFromVolume``. ``ijk_to_ras`` takes
voxel indices ``(i, j, k, 1)`` to millimeters right, anterior, superior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence

Array = NDArray[Any]
Box = tuple[slice, slice, slice]
TILE = (64, 16)  # voxels along the source's fastest axis and along the copy's
LPS_SIGNS = np.array([-1.0, -1.0, 1.0])  # of RAS: left and posterior are negative there


@dataclass(frozen=True, eq=False)
class CtVolume:
    """CT numbers on a grid.

    hu: int16 ``(k, j, i)``, Hounsfield units.
    ijk_to_ras: float64 ``(4, 4)``, millimeters.
    Raises ``ValueError`` when the array is not 3D int16 or the affine cannot be inverted.
    """

    hu: NDArray[np.int16]
    ijk_to_ras: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or 0 in self.hu.shape:
            raise ValueError(
                sentence(
                    "A CT volume has three axes; this array has shape {shape}.",
                    shape=str(self.hu.shape),
                )
            )
        if self.hu.dtype != np.int16:
            raise ValueError(
                sentence(
                    "CT numbers are kept as int16; this array is {kind}.", kind=str(self.hu.dtype)
                )
            )
        object.__setattr__(self, "ijk_to_ras", _checked_affine(self.ijk_to_ras))

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        k, j, i = self.hu.shape
        return k, j, i

    @property
    def spacing_kji_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centers along k, j, i in mm, on any grid."""
        i, j, k = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)
        return float(k), float(j), float(i)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in milliliters."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3])) / 1000.0)

    def to_lps(self, *, copy: bool = True) -> tuple[CtVolume, Reorientation]:
        """The same voxels with i toward left, j toward posterior, k toward superior.

        No interpolation: axes are permuted and flipped to the nearest directions of the patient.
        copy: let the array be contiguous; else it is a view, for who looks at a few slices only.
        """
        turn = Reorientation.to_lps(self.ijk_to_ras, self.shape_kji)
        hu = turn.apply(self.hu) if copy else turn.view(self.hu)
        return CtVolume(hu, turn.apply_affine(self.ijk_to_ras)), turn


@dataclass(frozen=True)
class Reorientation:
    """A permutation and flips of array axes, with its inverse.

    order_kji: for each new axis (k, j, i) the old axis it comes from.
    flipped_kji: for each new axis whether it runs against the old one.
    """

    order_kji: tuple[int, int, int]
    flipped_kji: tuple[bool, bool, bool]
    shape_kji: tuple[int, int, int]  # before

    @classmethod
    def to_lps(
        cls, ijk_to_ras: NDArray[np.float64], shape_kji: tuple[int, int, int]
    ) -> Reorientation:
        """The turn that brings a grid nearest to LPS: the pairing of axes that agrees best."""
        from itertools import permutations

        directions = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
        toward_lps = LPS_SIGNS[:, None] * directions  # (patient axis x y z, index axis i j k)
        best = max(
            permutations(range(3)),
            key=lambda p: sum(abs(toward_lps[axis, p[axis]]) for axis in range(3)),
        )
        i, j, k = best
        flips = tuple(bool(toward_lps[axis, best[axis]] < 0) for axis in (2, 1, 0))
        return cls((2 - k, 2 - j, 2 - i), (flips[0], flips[1], flips[2]), shape_kji)

    def apply(self, array_kji: Array) -> Array:
        """Turn an array of the old grid; further leading axes (classes, say) stay in front."""
        return _contiguous(self.view(array_kji))

    def view(self, array_kji: Array) -> Array:
        """Like :meth:`apply`, without a copy."""
        lead = array_kji.ndim - 3
        turned = array_kji.transpose(*range(lead), *(lead + a for a in self.order_kji))
        return self._flip(turned)

    def undo(self, array_kji: Array) -> Array:
        """The inverse of :meth:`apply`."""
        lead = array_kji.ndim - 3
        inverse = np.argsort(self.order_kji)
        turned = self._flip(array_kji).transpose(*range(lead), *(lead + int(a) for a in inverse))
        return _contiguous(turned)

    def apply_affine(self, ijk_to_ras: NDArray[np.float64]) -> NDArray[np.float64]:
        """The affine of the turned grid: every voxel keeps its place in the patient."""
        new_to_old = np.zeros((4, 4))
        new_to_old[3, 3] = 1.0
        for new_axis, (old_axis, flipped) in enumerate(
            zip(self.order_kji, self.flipped_kji, strict=True)
        ):
            new_ijk, old_ijk = 2 - new_axis, 2 - old_axis
            new_to_old[old_ijk, new_ijk] = -1.0 if flipped else 1.0
            new_to_old[old_ijk, 3] = self.shape_kji[old_axis] - 1 if flipped else 0.0
        result: NDArray[np.float64] = ijk_to_ras @ new_to_old
        return result

    def _flip(self, array_kji: Array) -> Array:
        axes = tuple(axis - 3 for axis, flipped in enumerate(self.flipped_kji) if flipped)
        return np.flip(array_kji, axes)


def bounding_box(array_kji: Array, least: int = 1) -> Box | None:
    """The smallest box around all values from ``least`` up; None where there are none.

    Plane by plane, so that no mask of the whole is made.
    """
    _, rows, columns = array_kji.shape
    k, in_j, in_i = list[int](), np.zeros(rows, np.bool_), np.zeros(columns, np.bool_)
    for n, plane in enumerate(array_kji):
        mask = plane >= least
        along_i = mask.any(axis=0)
        if along_i.any():
            k.append(n)
            in_i |= along_i
            in_j |= mask.any(axis=1)
    if not k:
        return None
    j, i = np.flatnonzero(in_j), np.flatnonzero(in_i)
    return (
        slice(k[0], k[-1] + 1),
        slice(int(j[0]), int(j[-1]) + 1),
        slice(int(i[0]), int(i[-1]) + 1),
    )


def _contiguous(view: Array) -> Array:
    """The same array if it is contiguous, else a copy.

    Where axes are swapped it is made in tiles: voxel by voxel, each one would be a whole line of
    the processor's cache, and a long CT takes minutes.
    """
    fastest = int(np.argmin(np.abs(view.strides)))
    if view.flags.c_contiguous or fastest == view.ndim - 1:
        return np.ascontiguousarray(view)
    copy = np.empty(view.shape, view.dtype)
    tile = [slice(None)] * view.ndim
    for start in range(0, view.shape[fastest], TILE[0]):
        tile[fastest] = slice(start, start + TILE[0])
        for begin in range(0, view.shape[-1], TILE[1]):
            tile[-1] = slice(begin, begin + TILE[1])
            copy[tuple(tile)] = view[tuple(tile)]
    return copy


def _checked_affine(ijk_to_ras: NDArray[np.float64]) -> NDArray[np.float64]:
    affine = np.array(ijk_to_ras, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ValueError("The volume's affine must be a 4 x 4 matrix of finite numbers.")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths <= 0).any():
        raise ValueError("The volume's voxel spacing is zero; give the scan its real spacing.")
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise ValueError("The volume's affine is singular: two axes point the same way.")
    affine.setflags(write=False)
    return affine
