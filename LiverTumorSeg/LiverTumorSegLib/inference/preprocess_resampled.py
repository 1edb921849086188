"""Resamples a CT to voxels of one size in mm on a network's own axes, as nnU-Net and MONAI do.

    preprocess = ResampledPreprocessing(spacing_mm=(1.0, 0.78, 0.78), clip_hu=(-15, 197),
                                        mean_std_hu=(99.4, 39.4))
    image = preprocess(lps)                     # float16 along the network's axes
    maps = preprocess.to_maps(probabilities, lps)    # back, slice by slice of the CT

In nnU-Net's order: clip, subtract a mean and divide by a deviation, then resample with splines. A
voxel grid covers the same extent before and after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from LiverTumorSegLib.sentences import sentence
from LiverTumorSegLib.settings import Settings
from LiverTumorSegLib.volume import CtVolume

from .grids import BoxGrid
from .prediction import ClassMaps
from .preprocess import INT16

Image = NDArray[np.float16]
Floats = NDArray[np.float32]
Kji = tuple[int, int, int]
Mm = tuple[float, float, float]

AXIS_OF = {"S": 0, "I": 0, "P": 1, "A": 1, "L": 2, "R": 2}  # of an array in LPS order
AGAINST = "IAR"  # letters that run against it
ANISOTROPIC = 3.0  # nnU-Net's: slices this much farther apart than pixels are resampled one by one
LEAST_LIKELY = 0.3  # a third decides among three classes, so a slice below it is background


@dataclass(frozen=True, kw_only=True)
class ResampledPreprocessing(Settings):
    """Voxels of one size, with HU clipped and scaled.

    axcodes: where the network's three axes point, as nibabel writes it: R or L, A or P, S or I.
        "SPL" are the slices, rows and columns of this library; nnU-Net that turns images to RAS has
        "SAR", MONAI's Orientationd to RAS "RAS".
    spacing_mm: of the network's voxels along these axes. Two lengths are those of a network of
        slices, along its last two axes: along the first the CT's own slices stay.
    clip_hu: CT numbers are clipped to it; None for as they are.
    mean_std_hu: what is seen is (HU - mean) / std.
    order: of the splines, 0 (nearest) to 3 (cubic). order_across: where slices lie more than three
        times as far apart as pixels, each is resampled by itself, and between them with this order.
    """

    NOUN: ClassVar[str] = "preprocessing"
    KIND: ClassVar[str] = "resampled"
    RANGES: ClassVar[Mapping[str, tuple[float, float]]] = {
        "spacing_mm": (0.1, 20.0),
        "order": (0, 3),
        "order_across": (0, 3),
    }

    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0)
    axcodes: str = "SPL"
    clip_hu: tuple[float, float] | None = None
    mean_std_hu: tuple[float, float] = (0.0, 1.0)
    order: int = 3
    order_across: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        letters = list(self.axcodes) if isinstance(self.axcodes, str) else []
        if sorted(AXIS_OF.get(letter, -1) for letter in letters) != [0, 1, 2]:
            raise ValueError(
                sentence(
                    "axcodes are {axcodes!r}; give one of R, L, one of A, P and one of S, I, as in "
                    "RAS.",
                    axcodes=self.axcodes,
                )
            )
        if not isinstance(self.spacing_mm, tuple | list) or len(self.spacing_mm) not in (2, 3):
            raise ValueError(
                sentence(
                    "spacing_mm is {spacing}; give three lengths, or two for a network of slices.",
                    spacing=str(self.spacing_mm),
                )
            )
        for name in ("clip_hu", "mean_std_hu"):
            self._check_pair(name, getattr(self, name))

    def _check_pair(self, name: str, pair: object) -> None:
        if pair is None and name == "clip_hu":
            return
        is_pair = isinstance(pair, tuple | list) and len(pair) == 2
        numbers = list(pair) if isinstance(pair, tuple | list) else []
        if not is_pair or not all(type(n) in (int, float) and abs(n) < 1e6 for n in numbers):
            raise ValueError(
                sentence("{name} is {pair}; give two numbers of HU.", name=name, pair=str(pair))
            )
        low, high = numbers
        if high <= (low if name == "clip_hu" else 0):
            raise ValueError(
                sentence(
                    "{name} is {pair}; give a clip that rises, and a deviation above 0.",
                    name=name,
                    pair=str(pair),
                )
            )

    @property
    def window_hu(self) -> tuple[int, int]:
        """Beyond these CT numbers the network sees no difference."""
        if self.clip_hu is None:
            return INT16
        return round(self.clip_hu[0]), round(self.clip_hu[1])

    def __call__(self, lps: CtVolume) -> Image:
        """A CT in LPS order as the network sees it, float16 along its axes."""
        mean, std = self.mean_std_hu
        scaled = self.to_axes(lps.hu).astype(np.float32)
        if self.clip_hu is not None:
            np.clip(scaled, *self.clip_hu, out=scaled)
        scaled -= np.float32(mean)
        scaled /= np.float32(std)
        spacing_mm = self._along_axes(lps.spacing_kji_mm)
        across = separate_axis(spacing_mm, self._spacing_for(lps))
        return resample(
            scaled, self.shape(lps), order=self.order, across=across, order_across=self.order_across
        ).astype(np.float16)

    def shape(self, lps: CtVolume) -> Kji:
        """How many voxels the network has along its axes."""
        sides = zip(
            self._along_axes(lps.shape_kji),
            self._along_axes(lps.spacing_kji_mm),
            self._spacing_for(lps),
            strict=True,
        )
        k, j, i = (max(1, round(count * old / new)) for count, old, new in sides)
        return k, j, i

    def _spacing_for(self, lps: CtVolume) -> Mm:
        """Of the network's voxels on a CT."""
        own_mm, _, _ = self._along_axes(lps.spacing_kji_mm)
        k, j, i = self.spacing_mm if len(self.spacing_mm) == 3 else (own_mm, *self.spacing_mm)
        return k, j, i

    @property
    def _against(self) -> tuple[int, ...]:
        return tuple(AXIS_OF[code] for code in self.axcodes if code in AGAINST)

    def to_axes(self, array_kji: NDArray[Any]) -> NDArray[Any]:
        """A view of an array (k, j, i) in LPS order along the network's axes."""
        turned = np.flip(array_kji, self._against)
        return turned.transpose([AXIS_OF[c] for c in self.axcodes])

    def from_axes(self, array: NDArray[Any]) -> NDArray[Any]:
        """The inverse of :meth:`to_axes`, as a view."""
        straight = array.transpose(np.argsort([AXIS_OF[c] for c in self.axcodes]))
        return np.flip(straight, self._against)

    def to_maps(self, probabilities: NDArray[np.float16], lps: CtVolume) -> ClassMaps:
        """Probabilities (classes, *shape) along the network's axes, for each slice of the CT.

        Linear between the network's layers; a slice on which no class may win is left out.
        """
        found = np.stack([self.from_axes(one) for one in probabilities])
        layers, rows, columns = found.shape[1:]
        _, *slice_ji = lps.shape_kji
        inside = (rows, columns)
        maps = ClassMaps(BoxGrid((slice_ji[0], slice_ji[1]), inside, (0, 0), inside, inside))
        for k in range(lps.shape_kji[0]):
            at = min(max((k + 0.5) * layers / lps.shape_kji[0] - 0.5, 0), layers - 1)
            low = int(at)
            high, share = min(low + 1, layers - 1), np.float32(at - low)
            near = (found[:, n].astype(np.float32) for n in (low, high))
            below, above = near
            plane = below + share * (above - below)
            if plane.max() > LEAST_LIKELY:
                maps.by_slice[k] = plane.astype(np.float16)
        return maps

    def _along_axes(self, values_kji: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        k, j, i = (values_kji[AXIS_OF[code]] for code in self.axcodes)
        return k, j, i


def separate_axis(old_mm: Mm, new_mm: Mm) -> int | None:
    """The axis along which slices are too far apart to mix them, as nnU-Net decides it."""
    for spacing_mm in (old_mm, new_mm):
        if max(spacing_mm) > ANISOTROPIC * min(spacing_mm):
            longest = [n for n in range(3) if spacing_mm[n] == max(spacing_mm)]
            return longest[0] if len(longest) == 1 else None
    return None


def resample(
    image: Floats, shape: Kji, *, order: int, across: int | None, order_across: int
) -> Floats:
    """The image on another number of voxels of the same extent.

    across: an axis whose layers are resampled by themselves, and along it with order_across.
    """
    if image.shape == shape:
        return image
    if across is not None:
        layers = np.moveaxis(image, across, 0)
        inner = tuple(side for axis, side in enumerate(shape) if axis != across)
        planes = np.stack([_zoom(layer, inner, order) for layer in layers])
        image, order = np.moveaxis(planes, 0, across), order_across
    return _zoom(image, shape, order)


def _zoom(image: Floats, shape: tuple[int, ...], order: int) -> Floats:
    """Never beyond the image's own values, which cubic splines would leave."""
    from scipy import ndimage

    factors = [new / old for new, old in zip(shape, image.shape, strict=True)]
    zoom: Any = ndimage.zoom  # its hints know no kind of number but double
    zoomed: Floats = zoom(
        image, factors, output=np.float32, order=order, mode="nearest", grid_mode=True
    )
    return np.clip(zoomed, image.min(), image.max(), out=zoomed)
