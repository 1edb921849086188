"""A patch network over a whole volume: overlapping windows, Gaussian weights, mirrored if wished.

    window = SlidingWindow(patch_kji=(64, 128, 128))
    probabilities = window(volume, predictor, progress)  # float16 (classes, k, j, i)
    for first, slab in window.slabs(volume, predictor, progress):  # float32, from the feet up
        ...

NumPy only: the network is whatever is handed in. Windows run slice layer by slice layer, and a
slice is done when no later window reaches it, so that float32 sums are kept for the depth of one
patch and not for the volume: (classes + 1) x 64 x 256 x 256 x 4 bytes, 34 MB for one class, however
many slices there are. The values are those of MONAI's ``sliding_window_inference``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence

from .progress import no_progress

SIGMA_SHARE = 0.125  # of the patch's side, as in nnU-Net and MONAI
LEAST_WEIGHT = 1e-3  # of the middle's; MONAI's, so that a corner seen once is not lost to rounding

Floats = NDArray[np.float32]
Kji = tuple[int, int, int]
Progress = Callable[[float, str], None]


class PatchPredictor(Protocol):
    """A network that takes a batch of patches.

    batch: patches at a time. It is read before every call: a network that has run short of memory
        lowers it, and notes that in its own warnings.
    """

    batch: int

    def __call__(self, patches: Floats, /) -> Floats:
        """(B, channels, k, j, i) to values to be averaged, say probabilities, (B, classes, ...)."""
        ...


@dataclass(frozen=True, kw_only=True)
class SlidingWindow:
    """Sliding-window inference: how a volume is covered by overlapping patches.

    patch_kji: what the network takes. A volume that is smaller is centered in zeros.
    overlap: of neighboring windows, a share of the patch; published: a half.
    mirror_axes: of k, j, i (0, 1, 2); each window is also seen with every combination of them
        mirrored, and the predictions, mirrored back, are averaged. All three are published; they
        take eight times as long.
    """

    patch_kji: Kji = (64, 128, 128)
    overlap: float = 0.5
    mirror_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        k, j, i = self.patch_kji
        object.__setattr__(self, "patch_kji", (k, j, i))
        object.__setattr__(self, "mirror_axes", tuple(self.mirror_axes))
        if not 0 <= self.overlap < 1:
            raise ValueError(
                sentence(
                    "overlap is {overlap}; give a share of 0 or more, below 1.",
                    overlap=self.overlap,
                )
            )
        if min(self.patch_kji) < 1:
            raise ValueError(
                sentence(
                    "patch_kji is {patch}; give three sizes above 0.", patch=str(self.patch_kji)
                )
            )
        if len(set(self.mirror_axes)) < len(self.mirror_axes) or set(self.mirror_axes) - {0, 1, 2}:
            raise ValueError(
                sentence(
                    "mirror_axes are {axes}; give each of 0, 1, 2 once.", axes=str(self.mirror_axes)
                )
            )

    def __call__(
        self,
        volume: NDArray[Any],
        predictor: PatchPredictor,
        progress: Progress | None = None,
        *,
        where: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float16]:
        """All of :meth:`slabs` in one array (classes, k, j, i)."""
        result: NDArray[np.float16] | None = None
        for first, slab in self.slabs(volume, predictor, progress, where=where):
            if result is None:
                result = np.empty((len(slab), *volume.shape[1:]), np.float16)
            result[:, first : first + slab.shape[1]] = slab
        assert result is not None  # there is at least one slab
        return result

    def slabs(
        self,
        volume: NDArray[Any],
        predictor: PatchPredictor,
        progress: Progress | None = None,
        *,
        where: NDArray[np.bool_] | None = None,
    ) -> Iterator[tuple[int, Floats]]:
        """First slice and averaged values float32 (classes, slices, j, i), in order and complete.

        volume: (channels, k, j, i) of any float type.
        progress(fraction 0-1, phrase) is called before the first window and after every run of the
            predictor, and stops everything by raising.
        where: bool (k, j, i). Windows without any voxel of it are left out; its voxels have the
            values that they would have with all windows, others may be 0.
        ``ValueError`` when the shapes do not fit or ``where`` is empty.
        """
        _check(volume, where)
        cover = _Cover(self, (volume.shape[1], volume.shape[2], volume.shape[3]))
        starts = [s for s in cover.starts() if where is None or where[cover.inside(s)].any()]
        if not starts:
            raise ValueError("The region to look at is empty; there is nothing for the network.")
        sums = _Sums(cover)
        for start, values in self._window_values(
            volume, cover, starts, predictor, progress or no_progress
        ):
            sums.expect(values)
            yield from sums.emit(start[0])
            sums.add(start, values)
        yield from sums.emit(cover.padded_kji[0])

    def _window_values(
        self,
        volume: NDArray[Any],
        cover: _Cover,
        starts: list[Kji],
        predictor: PatchPredictor,
        progress: Progress,
    ) -> Iterator[tuple[Kji, Floats]]:
        """Each window's start and values, batch by batch."""
        turns = [
            c for n in range(len(self.mirror_axes) + 1) for c in combinations(self.mirror_axes, n)
        ]
        done, total = 0, len(starts)
        progress(0.0, sentence("Window {done} of {count}", done=1, count=total))
        while done < total:
            chunk = starts[done : done + predictor.batch]
            patches = np.stack([cover.cut(volume, start) for start in chunk])
            values: Floats | None = None
            for n, turn in enumerate(turns, 1):
                seen = _mirrored(predictor, patches, turn)
                values = seen if values is None else values + seen
                fraction = (done + len(chunk) * n / len(turns)) / total
                progress(
                    fraction,
                    sentence(
                        "Window {done} of {count}", done=min(done + len(chunk), total), count=total
                    ),
                )
            assert values is not None
            if len(turns) > 1:
                values = values / np.float32(len(turns))
            yield from zip(chunk, values, strict=True)
            done += len(chunk)


class _Cover:
    """The windows of one volume; starts count from the padded volume's first voxel."""

    def __init__(self, window: SlidingWindow, shape_kji: Kji) -> None:
        self.patch_kji, self.shape_kji = window.patch_kji, shape_kji
        k, j, i = (max(pair) for pair in zip(shape_kji, window.patch_kji, strict=True))
        self.padded_kji = (k, j, i)
        k, j, i = ((p - s) // 2 for p, s in zip(self.padded_kji, shape_kji, strict=True))
        self.before_kji = (k, j, i)
        self.steps = [max(1, int(side * (1 - window.overlap))) for side in window.patch_kji]

    def starts(self) -> Iterator[Kji]:
        """From the feet up; the last window of an axis ends where the volume does."""
        k, j, i = (
            [*range(0, length - side, step), length - side]
            for length, side, step in zip(self.padded_kji, self.patch_kji, self.steps, strict=True)
        )
        return product(k, j, i)

    def inside(self, start: Kji) -> tuple[slice, ...]:
        """The part of the volume that a window sees."""
        corners = zip(start, self.before_kji, self.patch_kji, strict=True)
        return tuple(slice(max(s - b, 0), s - b + side) for s, b, side in corners)

    def cut(self, volume: NDArray[Any], start: Kji) -> Floats:
        """A window (channels, k, j, i) of the volume, with zeros where there is none."""
        patch = np.zeros((len(volume), *self.patch_kji), np.float32)
        seen = volume[(slice(None), *self.inside(start))]
        corner = [max(b - s, 0) for s, b in zip(start, self.before_kji, strict=True)]
        place = [slice(c, c + n) for c, n in zip(corner, seen.shape[1:], strict=True)]
        patch[(slice(None), *place)] = seen
        return patch


class _Sums:
    """Weighted sums for as many slices as a patch has, moving up with the windows."""

    def __init__(self, cover: _Cover) -> None:
        self.cover, self.first = cover, 0
        self.importance = gaussian_importance(cover.patch_kji)
        self.weights = np.zeros((cover.patch_kji[0], *cover.padded_kji[1:]), np.float32)
        self.values: Floats = np.zeros((0, *self.weights.shape), np.float32)

    def expect(self, values: Floats) -> None:
        """The first answer (classes, *patch) says how many classes there are."""
        if values.shape[1:] != self.cover.patch_kji:
            raise ValueError(
                sentence(
                    "The network's answer has shape {shape} and its patch {patch}; use a network "
                    "whose answer is as large as its patch.",
                    shape=str(values.shape[1:]),
                    patch=str(self.cover.patch_kji),
                )
            )
        if len(self.values) == 0:
            self.values = np.zeros((len(values), *self.weights.shape), np.float32)

    def add(self, start: Kji, values: Floats) -> None:
        """Values of the window at ``start``, whose lowest slice is ``first``."""
        j, i = (slice(s, s + side) for s, side in zip(start[1:], values.shape[2:], strict=True))
        self.values[:, :, j, i] += values * self.importance
        self.weights[:, j, i] += self.importance

    def emit(self, end: int) -> Iterator[tuple[int, Floats]]:
        """Hand out the slices below ``end``: no later window reaches them."""
        depth = self.cover.patch_kji[0]
        while self.first < end:
            count = min(depth, end - self.first)
            slab = self._average(count)
            if slab.shape[1]:
                yield max(self.first - self.cover.before_kji[0], 0), slab
            for sums in (self.values, self.weights[None]):
                sums[:, : depth - count] = sums[:, count:].copy()
                sums[:, depth - count :] = 0
            self.first += count

    def _average(self, count: int) -> Floats:
        """The lowest slices, less what lies in the padding."""
        corners = zip(self.cover.before_kji, self.cover.shape_kji, strict=True)
        k, j, i = (slice(before, before + side) for before, side in corners)
        low = max(k.start - self.first, 0)
        high = max(low, min(k.stop - self.first, count))
        values, weights = self.values[:, low:high, j, i], self.weights[low:high, j, i]
        average = np.zeros_like(values)
        np.divide(values, weights, out=average, where=weights > 0)
        return average


def gaussian_importance(patch_kji: Kji) -> Floats:
    """Weight of each voxel of a window: 1 in the middle, a Gaussian of an eighth of each side."""
    weights = np.ones(patch_kji, np.float32)
    for axis, side in enumerate(patch_kji):
        offset = np.arange(side, dtype=np.float32) - (side - 1) / 2
        along = np.exp(-0.5 * np.square(offset / (SIGMA_SHARE * side)))
        weights *= along.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.maximum(weights, max(float(weights.min()), LEAST_WEIGHT), dtype=np.float32)


def _mirrored(predictor: PatchPredictor, patches: Floats, turn: tuple[int, ...]) -> Floats:
    """The predictor's answer with axes of k, j, i turned around before and back after."""
    axes = tuple(axis + 2 for axis in turn)
    values: Floats = np.flip(predictor(np.ascontiguousarray(np.flip(patches, axes))), axes)
    return values


def _check(volume: NDArray[Any], where: NDArray[np.bool_] | None) -> None:
    if volume.ndim != 4 or 0 in volume.shape:
        raise ValueError(
            sentence(
                "A volume comes as (channels, k, j, i); this one is {shape}.",
                shape=str(volume.shape),
            )
        )
    if where is not None and where.shape != volume.shape[1:]:
        raise ValueError(
            sentence(
                "The region to look at has shape {shape} and the volume {volume}; give one value "
                "for each voxel.",
                shape=str(where.shape),
                volume=str(volume.shape[1:]),
            )
        )
