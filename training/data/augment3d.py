"""Random changes to a batch of patches and their labels, on the device that trains.

    augment = PAPER  # or NONE, replace(PAPER, mirror_p=(0.0, 0.0, 0.0))
    images, labels = augment(images, labels, generator)
    images, labels = augment(larger_images, larger_labels, generator, patch_kji=(64, 128, 128))

The transforms of the G-UNETR++ code (nnU-Net v1's "moreDA" set) in its order, with its
probabilities and ranges. Turning and scaling are one affine map, read linearly for images and by
nearest neighbor for labels, 0 beyond the border; of larger patches the middle is
returned, so that a turned patch brings no empty corners. The original reads images by cubic
and labels by linear interpolation. Nothing here makes the host wait for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.augment import Draws, Range

CUBIC = -0.75  # of the cubic kernel, as in PyTorch and OpenCV
BLUR_REACH = 4.0  # standard deviations, as in SciPy
TINY = 1e-8  # keeps a constant patch from being divided by its spread of 0


@dataclass(frozen=True, kw_only=True)
class VolumeAugmentation:
    """Every probability and strength; the defaults are the published ones.

    Called with images ``(B, 1, k, j, i)`` float in [0, 1] and labels ``(B, k, j, i)`` or
    ``(B, maps, k, j, i)`` of any integer type (a liver mask moves with the tumor's labels); returns
    both with the same types. Each sample draws for itself. Gains, contrast, zooms and exponents are
    drawn below 1 and above 1 equally often, as published; brightness evenly over its range.
    """

    rotation_p: float = 0.2
    rotation_deg: tuple[float, float, float] = (30.0, 30.0, 30.0)  # about the axes k, j, i
    zoom_p: float = 0.2
    zoom: Range = (0.7, 1.4)  # of the part that is seen: above 1 things become smaller
    noise_p: float = 0.1
    noise_sd: Range = (0.0, 0.1)  # published as a variance and used as a standard deviation
    blur_p: float = 0.2 * 0.5  # of samples, and of the channels of one: we have one
    blur_sigma_px: Range = (0.5, 1.0)
    brightness_p: float = 0.15
    brightness: Range = (0.75, 1.25)
    contrast_p: float = 0.15
    contrast: Range = (0.75, 1.25)
    low_resolution_p: float = 0.25 * 0.5  # of samples, and of channels
    low_resolution: Range = (0.5, 1.0)
    inverted_gamma_p: float = 0.1
    gamma_p: float = 0.3
    gamma: Range = (0.7, 1.5)
    mirror_p: tuple[float, float, float] = (0.5, 0.5, 0.5)  # along k, j, i

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_p"):
                shares = value if isinstance(value, tuple) else (value,)
                if not all(0.0 <= share <= 1.0 for share in shares):
                    raise ValueError(f"{field.name} is {value}; give probabilities from 0 to 1.")
            elif len(value) == 2 and not 0 <= value[0] <= value[1]:
                raise ValueError(f"{field.name} is {value}; give two numbers, the lower first.")
        if self.low_resolution[0] <= 0 or self.low_resolution[1] > 1 or self.zoom[0] <= 0:
            raise ValueError("low_resolution is a share above 0, up to 1, and zoom is above 0.")

    def reach_kji(self, patch_kji: Sequence[int]) -> tuple[int, int, int]:
        """Size of the patch to give for ``patch_kji``, so that no turn or zoom reads its border."""
        steps = torch.linspace(-1, 1, 9)
        angles = torch.cartesian_prod(*(steps * most for most in self.rotation_deg))
        zoom = self.zoom[1] if self.zoom_p > 0 else 1.0
        turns = rotation(*angles.T) if self.rotation_p > 0 else torch.eye(3)[None]
        half = torch.tensor([(n - 1) / 2 for n in patch_kji])
        farthest = (turns.abs() @ half).amax(dim=0) * zoom
        k, j, i = (
            max(n, n + 2 * math.ceil(far - (n - 1) / 2))
            for n, far in zip(patch_kji, farthest.tolist(), strict=True)
        )
        return k, j, i

    @torch.no_grad()
    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator | None = None,
        *,
        patch_kji: Sequence[int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """patch_kji: size of what is returned, the middle of the input; None keeps the size."""
        size = tuple(images.shape[2:]) if patch_kji is None else tuple(patch_kji)
        _check(images, labels, size)
        draws = Draws(len(images), images.device, generator)
        maps = labels.flatten(1, -4) if labels.ndim > 4 else labels[:, None]
        # Mixed precision would round grids and kernels to 8 bits.
        with torch.autocast(images.device.type, enabled=False):
            changed, maps = self._move(images.float(), maps, size, draws)
            changed = self._degrade(changed, draws)
            changed = self._recolor(changed, draws)
            changed = self._curve(changed, draws)
            changed, maps = self._mirror(changed, maps, draws)
        return changed.to(images.dtype), maps.view(*labels.shape[:-3], *size)

    def _move(
        self, images: Tensor, maps: Tensor, size: tuple[int, ...], draws: Draws
    ) -> tuple[Tensor, Tensor]:
        still = middle(images, size), middle(maps, size)
        if self.rotation_p == 0 and self.zoom_p == 0:
            return still
        turned, zoomed = draws.happens(self.rotation_p), draws.happens(self.zoom_p)
        angles = [draws.uniform((-most, most)) * turned for most in self.rotation_deg]
        zoom = torch.where(zoomed, around_one(self.zoom, draws), 1.0)
        moved = turned | zoomed
        new_images, new_maps = warp(images, maps, rotation(*angles) * _wide(zoom, 3), size)
        # Untouched samples come back bit for bit.
        return (
            torch.where(_wide(moved, 5), new_images, still[0]),
            torch.where(_wide(moved, 5), new_maps, still[1]),
        )

    def _degrade(self, images: Tensor, draws: Draws) -> Tensor:
        if self.noise_p > 0:
            sd = draws.uniform(self.noise_sd) * draws.happens(self.noise_p)
            images = images + _wide(sd, 5) * draws.normal(*images.shape[1:])
        if self.blur_p > 0:
            chosen, sigma_px = draws.happens(self.blur_p), draws.uniform(self.blur_sigma_px)
            blurred = blur(images, sigma_px, self.blur_sigma_px[1])
            images = torch.where(_wide(chosen, 5), blurred, images)
        return images

    def _recolor(self, images: Tensor, draws: Draws) -> Tensor:
        if self.brightness_p > 0:
            chosen, gain = draws.happens(self.brightness_p), draws.uniform(self.brightness)
            images = images * _wide(torch.where(chosen, gain, 1.0), 5)
        if self.contrast_p > 0:
            chosen, gain = draws.happens(self.contrast_p), around_one(self.contrast, draws)
            images = torch.where(_wide(chosen, 5), stretch(images, gain), images)
        if self.low_resolution_p > 0:
            chosen = draws.happens(self.low_resolution_p)
            coarse = low_resolution(images, draws.uniform(self.low_resolution))
            images = torch.where(_wide(chosen, 5), coarse, images)
        return images

    def _curve(self, images: Tensor, draws: Draws) -> Tensor:
        for sign, probability in ((-1.0, self.inverted_gamma_p), (1.0, self.gamma_p)):
            if probability == 0:
                continue
            chosen, exponent = draws.happens(probability), around_one(self.gamma, draws)
            bent = sign * gamma_curve(sign * images, exponent)
            images = torch.where(_wide(chosen, 5), bent, images)
        return images

    def _mirror(self, images: Tensor, maps: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        for axis, probability in zip((-3, -2, -1), self.mirror_p, strict=True):
            if probability == 0:
                continue
            chosen = _wide(draws.happens(probability), 5)
            images = torch.where(chosen, images.flip(axis), images)
            maps = torch.where(chosen, maps.flip(axis), maps)
        return images, maps


def around_one(limits: Range, draws: Draws) -> Tensor:
    """A factor ``(B,)``: below 1 and above 1 equally often, evenly within each part."""
    low, high = limits
    if low >= 1 or high <= 1:
        return draws.uniform(limits)
    return torch.where(draws.happens(0.5), draws.uniform((low, 1.0)), draws.uniform((1.0, high)))


def rotation(about_k_deg: Tensor, about_j_deg: Tensor, about_i_deg: Tensor) -> Tensor:
    """Rotations ``(B, 3, 3)`` of (k, j, i): about k, then j, then i; each argument is ``(B,)``.

    About k turns j toward i, about j turns i toward k, about i turns k toward j.
    """
    result = torch.eye(3, device=about_k_deg.device)
    for axis, angle_deg in enumerate((about_k_deg, about_j_deg, about_i_deg)):
        angle = torch.deg2rad(angle_deg)
        one, two = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3, device=angle.device).repeat(len(angle), 1, 1)
        turn[:, one, one] = turn[:, two, two] = torch.cos(angle)
        turn[:, one, two], turn[:, two, one] = -torch.sin(angle), torch.sin(angle)
        result = turn @ result
    return result


def warp(
    images: Tensor, maps: Tensor, matrix: Tensor, size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Read images (linear) and label maps (nearest) around the middle, 0 beyond the border.

    matrix: ``(B, 3, 3)`` from a place in the result to where it is read, both (k, j, i) in voxels
    from the middle. size: voxels of the result.
    """
    axes = [torch.arange(n, device=images.device) - (n - 1) / 2 for n in size]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)
    read = (places @ matrix.mT).view(len(images), *size, 3)  # (B, k, j, i, 3)
    ends = [max((n - 1) / 2, 0.5) for n in images.shape[2:]]
    grid = torch.stack([read[..., axis] / ends[axis] for axis in (2, 1, 0)], dim=-1)
    # No label is ever mixed from others: nearest neighbor reads one voxel.
    moved = _read(maps.float(), grid, "nearest").to(maps.dtype)
    return _read(images, grid, "bilinear"), moved


def _read(images: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=True)


def middle(volumes: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of ``(..., k, j, i)``; where it cannot be centered, half a voxel low."""
    for axis, length in zip((-3, -2, -1), size, strict=True):
        volumes = volumes.narrow(axis, (volumes.shape[axis] - length) // 2, length)
    return volumes


def stretch(images: Tensor, gain: Tensor) -> Tensor:
    """Contrast about each image's mean by ``gain (B,)``, cut to the range that it had."""
    axes = (1, 2, 3, 4)
    mean = images.mean(axes, keepdim=True)
    low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
    return (mean + (images - mean) * _wide(gain, 5)).clamp(low, high)


def gamma_curve(images: Tensor, exponent: Tensor) -> Tensor:
    """Each image's range bent by ``exponent (B,)``, then set to its old mean and spread."""
    axes = (1, 2, 3, 4)
    low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
    mean, sd = images.mean(axes, keepdim=True), images.std(axes, keepdim=True, correction=0)
    share = (images - low) / (high - low + TINY)
    bent = share ** _wide(exponent, 5) * (high - low) + low
    centered = bent - bent.mean(axes, keepdim=True)
    return centered / (bent.std(axes, keepdim=True, correction=0) + TINY) * sd + mean


def blur(images: Tensor, sigma_px: Tensor, largest_px: float) -> Tensor:
    """Gaussian blur by ``sigma_px (B,)``, none above ``largest_px``; the border is mirrored."""
    reach = math.ceil(BLUR_REACH * largest_px)
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    weights = torch.exp(-0.5 * (offsets / sigma_px[:, None]).square())
    weights = weights / weights.sum(dim=1, keepdim=True)  # (B, taps)

    def rows(size: int) -> Tensor:
        index = (torch.arange(size, device=images.device)[:, None] + offsets) % (2 * size)
        index = torch.minimum(index, 2 * size - 1 - index)  # (size, taps)
        return _matrix(index.expand(len(images), -1, -1), weights[:, None].expand(-1, size, -1))

    return _along_axes(images, rows)


def low_resolution(images: Tensor, zoom: Tensor) -> Tensor:
    """Simulate ``zoom (B,)`` times the voxels: nearest neighbor down, cubic up."""
    taps = torch.arange(-1, 3, device=images.device)

    def rows(size: int) -> Tensor:
        count = (size * zoom).round().clamp(min=1)[:, None, None]
        cell = size / count
        position = (torch.arange(size, device=images.device)[:, None] + 0.5) / cell - 0.5
        tap = position.floor() + taps  # (B, size, 4)
        index = ((tap.clamp(min=0).minimum(count - 1) + 0.5) * cell).long().clamp(max=size - 1)
        return _matrix(index, _cubic((position - tap).abs()))

    return _along_axes(images, rows)


def _cubic(distance: Tensor) -> Tensor:
    """Weight of a neighbor at a distance from 0 to 2: the cubic convolution kernel."""
    d, a = distance, CUBIC
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = (((d - 5) * d + 8) * d - 4) * a
    return torch.where(d <= 1, near, far)


def _matrix(index: Tensor, weights: Tensor) -> Tensor:
    """Rows that sum up ``weights`` times the voxels at ``index``, both ``(B, size, taps)``."""
    size = index.shape[1]
    return torch.zeros(*index.shape[:2], size, device=index.device).scatter_add(2, index, weights)


def _along_axes(images: Tensor, rows: Callable[[int], Tensor]) -> Tensor:
    """The matrix ``(B, size, size)`` of each axis' size applied along k, then j, then i."""
    for axis in (2, 3, 4):
        last = images.transpose(axis, 4)
        changed = last.flatten(1, 3) @ rows(images.shape[axis]).mT
        images = changed.view(last.shape).transpose(axis, 4)
    return images


def _wide(values: Tensor, dimensions: int) -> Tensor:
    """``(B,)`` as ``(B, 1, ...)``, to go with arrays of that many dimensions."""
    return values.view(-1, *[1] * (dimensions - 1))


def _check(images: Tensor, labels: Tensor, size: tuple[int, ...]) -> None:
    if images.ndim != 5 or images.shape[1] != 1 or not images.is_floating_point():
        raise ValueError(
            f"Images are float (B, 1, k, j, i) in [0, 1]; got {images.dtype} {tuple(images.shape)}."
        )
    fits = labels.ndim in (4, 5) and labels.shape[-3:] == images.shape[-3:]
    if not fits or len(labels) != len(images) or labels.is_floating_point():
        raise ValueError(
            f"Labels are integers {tuple(images[:, 0].shape)}, one per image voxel, or several such"
            f" maps; got {labels.dtype} {tuple(labels.shape)}."
        )
    if len(size) != 3 or any(n < 1 or n > m for n, m in zip(size, images.shape[2:], strict=True)):
        raise ValueError(
            f"patch_kji is {size}; give three sizes, none above the {tuple(images.shape[2:])} of"
            " the images."
        )


PAPER = VolumeAugmentation()
NONE = VolumeAugmentation(
    rotation_p=0.0,
    zoom_p=0.0,
    noise_p=0.0,
    blur_p=0.0,
    brightness_p=0.0,
    contrast_p=0.0,
    low_resolution_p=0.0,
    inverted_gamma_p=0.0,
    gamma_p=0.0,
    mirror_p=(0.0, 0.0, 0.0),
)
