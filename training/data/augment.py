"""Random changes to a batch of slices and their labels, on the device that trains.

    augment = PAPER  # or STRONG, NONE, replace(PAPER, anatomical=True)
    images, labels = augment(images, labels, generator)

The nine transforms of the hybrid2d paper (II.C) in its order and with its probabilities; what it
leaves open has the defaults of Albumentations 1.4.3. All geometry is one resampling: flips are
exact, then rotation, shift-scale-rotate and the elastic field are composed into one grid, read
linearly for images and by nearest neighbor for labels, with the border mirrored around the edge
pixel. Nothing here makes the host wait for the device.

Lengths in px are those of a 256-px-high slice and scale with the height.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

REFERENCE_PX = 256  # the height at which lengths in px are meant
NEGLIGIBLE_PX = 0.05  # an elastic field that stays below this is not computed
Range = tuple[float, float]


@dataclass(frozen=True)
class Draws:
    """Random numbers for a batch, one per sample, all from one generator on one device."""

    batch: int
    device: torch.device
    generator: torch.Generator | None

    def rand(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), float32 ``(B, *shape)``."""
        size = (self.batch, *shape)
        return torch.rand(size, generator=self.generator, device=self.device)

    def uniform(self, limits: Range, *shape: int) -> Tensor:
        low, high = limits
        return low + (high - low) * self.rand(*shape)

    def normal(self, *shape: int) -> Tensor:
        size = (self.batch, *shape)
        return torch.randn(size, generator=self.generator, device=self.device)

    def happens(self, probability: float) -> Tensor:
        """Which samples a transform is applied to: bool ``(B,)``."""
        return self.rand() < probability


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Every probability and strength; the defaults are the paper's, else the library's.

    Called with images ``(B, 1, H, W)`` float in [0, 1] and labels ``(B, H, W)`` of any integer
    type; returns both with the same shapes and types. Each sample draws for itself.
    """

    horizontal_flip_p: float = 0.5
    vertical_flip_p: float = 0.3
    anatomical: bool = False  # no flips: the liver stays on its side, the spine at the back
    rotation_p: float = 0.5
    rotation_deg: float = 25.0
    ssr_p: float = 0.5  # shift, scale and rotate
    ssr_shift: float = 0.0625  # of the width and of the height
    ssr_scale: float = 0.1
    ssr_rotate_deg: float = 45.0
    # Displacement = alpha times uniform noise in [-1, 1] under a Gaussian of sigma, the library's
    # meaning without its hidden affine. The paper's 1 and 50 move no pixel by more than 0.02 px:
    # below NEGLIGIBLE_PX, so the field is skipped there. Low alpha goes with low sigma.
    elastic_p: float = 0.3
    elastic_alpha_px: Range = (1.0, 1.0)
    elastic_sigma_px: Range = (50.0, 50.0)
    brightness_contrast_p: float = 0.5
    brightness_limit: float = 0.2
    contrast_limit: float = 0.2
    gamma_p: float = 0.0  # not in the paper
    gamma: Range = (0.7, 1.5)
    low_resolution_p: float = 0.0  # not in the paper
    low_resolution_px: Range = (1.0, 2.5)
    noise_p: float = 0.3
    noise_sd: Range = (0.012, 0.028)  # variance 10 to 50 in gray levels of 255
    blur_p: float = 0.2
    blur_kernel: tuple[int, int] = (3, 7)  # odd sizes in px
    dropout_p: float = 0.3
    dropout_holes: int = 8
    dropout_size_px: int = 8

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_p") and not 0.0 <= value <= 1.0:
                raise ValueError(f"{field.name} is {value}; give a probability from 0 to 1.")
        if any(size < 1 or size % 2 == 0 for size in self.blur_kernel):
            raise ValueError(f"blur_kernel is {self.blur_kernel}; give two odd sizes in px.")
        if min(self.elastic_sigma_px) <= 0:
            raise ValueError(f"elastic_sigma_px is {self.elastic_sigma_px}; give sizes above 0.")

    @torch.no_grad()
    def __call__(
        self, images: Tensor, labels: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        _check(images, labels)
        draws = Draws(len(images), images.device, generator)
        # Mixed precision would round grids and kernels to 8 bits.
        with torch.autocast(images.device.type, enabled=False):
            changed, labels = self._flip(images.float(), labels, draws)
            changed, labels = self._move(changed, labels, draws)
            changed = self._recolor(changed, draws)
            changed = self._degrade(changed, draws)
        return changed.to(images.dtype), labels

    def _flip(self, images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        for axis, probability in ((-1, self.horizontal_flip_p), (-2, self.vertical_flip_p)):
            if probability == 0 or self.anatomical:
                continue
            chosen = draws.happens(probability)
            images = torch.where(_per_sample(chosen, 4), images.flip(axis), images)
            labels = torch.where(_per_sample(chosen, 3), labels.flip(axis), labels)
        return images, labels

    def _move(self, images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        height, width = images.shape[-2:]
        elastic_px = max(self.elastic_alpha_px) / min(self.elastic_sigma_px) * _scale(images)
        bends = self.elastic_p > 0 and elastic_px >= NEGLIGIBLE_PX
        if self.rotation_p == 0 and self.ssr_p == 0 and not bends:
            return images, labels
        turned, rotation = self._draw_rotation(draws)
        placed, placement = self._draw_placement(draws, height, width)
        moved, field_px = turned | placed, None
        if bends:
            bent = draws.happens(self.elastic_p)
            field_px = bent[:, None, None, None] * elastic_field_px(
                self.elastic_alpha_px, self.elastic_sigma_px, (height, width), draws
            )
            moved = moved | bent
        new_images, new_labels = warp(images, labels, compose(rotation, placement), field_px)
        # Untouched samples come back bit for bit.
        images = torch.where(_per_sample(moved, 4), new_images, images)
        return images, torch.where(_per_sample(moved, 3), new_labels, labels)

    def _draw_rotation(self, draws: Draws) -> tuple[Tensor, Tensor]:
        chosen = draws.happens(self.rotation_p)
        angle_deg = draws.uniform((-self.rotation_deg, self.rotation_deg)) * chosen
        still = torch.zeros_like(angle_deg)
        return chosen, inverse_affine(angle_deg, still + 1, still, still)

    def _draw_placement(self, draws: Draws, height: int, width: int) -> tuple[Tensor, Tensor]:
        chosen = draws.happens(self.ssr_p)
        angle_deg = draws.uniform((-self.ssr_rotate_deg, self.ssr_rotate_deg)) * chosen
        zoom = 1 + draws.uniform((-self.ssr_scale, self.ssr_scale)) * chosen
        right_px = draws.uniform((-self.ssr_shift, self.ssr_shift)) * width * chosen
        down_px = draws.uniform((-self.ssr_shift, self.ssr_shift)) * height * chosen
        return chosen, inverse_affine(angle_deg, zoom, right_px, down_px)

    def _recolor(self, images: Tensor, draws: Draws) -> Tensor:
        if self.brightness_contrast_p > 0:
            chosen = draws.happens(self.brightness_contrast_p)
            gain = 1 + draws.uniform((-self.contrast_limit, self.contrast_limit)) * chosen
            offset = draws.uniform((-self.brightness_limit, self.brightness_limit)) * chosen
            images = (images * _per_sample(gain, 4) + _per_sample(offset, 4)).clamp(0, 1)
        if self.gamma_p > 0:
            chosen = draws.happens(self.gamma_p)
            exponent = torch.where(chosen, draws.uniform(self.gamma), 1.0)
            images = images ** _per_sample(exponent, 4)
        return images

    def _degrade(self, images: Tensor, draws: Draws) -> Tensor:
        if self.low_resolution_p > 0:
            chosen = draws.happens(self.low_resolution_p)
            cell_px = draws.uniform(self.low_resolution_px) * _scale(images)
            images = low_resolution(images, torch.where(chosen, cell_px, 1.0))
        if self.noise_p > 0:
            images = self._add_noise(images, draws)
        if self.blur_p > 0:
            chosen = draws.happens(self.blur_p)
            blurred = blur(images, self._draw_kernel(draws), max(self.blur_kernel))
            images = torch.where(_per_sample(chosen, 4), blurred, images)
        if self.dropout_p > 0:
            chosen = draws.happens(self.dropout_p)
            size_px = max(1, round(self.dropout_size_px * _scale(images)))
            holes = hole_mask(images, self.dropout_holes, size_px, draws)
            images = images.masked_fill(_per_sample(chosen, 4) & holes, 0.0)
        return images

    def _add_noise(self, images: Tensor, draws: Draws) -> Tensor:
        low, high = self.noise_sd
        chosen = draws.happens(self.noise_p)
        # The library draws the variance evenly, not the standard deviation.
        sd = draws.uniform((low**2, high**2)).sqrt() * chosen
        noisy = images + _per_sample(sd, 4) * draws.normal(*images.shape[1:])
        # Only what is noisy is clipped, so that no chosen sample means no change.
        return torch.where(_per_sample(chosen, 4), noisy.clamp(0, 1), images)

    def _draw_kernel(self, draws: Draws) -> Tensor:
        smallest, largest = self.blur_kernel
        choices = (largest - smallest) // 2 + 1
        return smallest + 2 * (draws.rand() * choices).floor()


def inverse_affine(angle_deg: Tensor, zoom: Tensor, right_px: Tensor, down_px: Tensor) -> Tensor:
    """Where an output pixel is read from: ``(B, 2, 3)`` on (x, y) in px from the image center.

    The image is turned counter-clockwise as displayed, enlarged by ``zoom``, then shifted: the
    meaning of ``cv2.getRotationMatrix2D`` plus a shift. Each argument is ``(B,)``.
    """
    angle = torch.deg2rad(angle_deg)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    x_row = torch.stack([cos, -sin, -cos * right_px + sin * down_px], dim=-1)
    y_row = torch.stack([sin, cos, -sin * right_px - cos * down_px], dim=-1)
    return torch.stack([x_row, y_row], dim=1)  # (B, 2, 3)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The inverse of doing ``first``, then ``second`` to an image; all ``(B, 2, 3)``."""
    linear = first[:, :, :2] @ second[:, :, :2]
    shift = first[:, :, :2] @ second[:, :, 2:] + first[:, :, 2:]
    return torch.cat([linear, shift], dim=-1)


def elastic_field_px(
    alpha_px: Range, sigma_px: Range, shape: tuple[int, int], draws: Draws
) -> Tensor:
    """Random smooth displacements along (x, y) in px: ``(B, 2, H, W)``.

    Noise under a Gaussian of sigma varies no faster than sigma, so it is drawn on nodes that far
    apart, at the variance of noise drawn per pixel, and two small matrix products spread it: the
    cost does not grow with sigma. No displacement exceeds alpha / sigma. Alpha and sigma are drawn
    together, because a large alpha with a small sigma folds the image over itself.
    """
    scale, spacing_px = shape[0] / REFERENCE_PX, min(sigma_px)
    strength = draws.rand()
    alpha = alpha_px[0] + (alpha_px[1] - alpha_px[0]) * strength
    sigma = (sigma_px[0] + (sigma_px[1] - sigma_px[0]) * strength) * scale
    reach = 4 * max(sigma_px) * scale
    rows, columns = (_spread(size, spacing_px * scale, reach, sigma) for size in shape)
    noise = draws.uniform((-1.0, 1.0), 2, rows.shape[-1], columns.shape[-1])
    smooth = rows[:, None] @ noise @ columns[:, None].mT  # (B, 2, H, W)
    return _per_sample(alpha * scale / spacing_px, 4) * smooth


def _spread(size: int, spacing: float, reach: float, sigma: Tensor) -> Tensor:
    """Gaussian weight of each node, out to ``reach``, at each pixel: ``(B, size, nodes)``."""
    count = math.ceil((size + 2 * reach) / spacing) + 1
    nodes = torch.arange(count, device=sigma.device) * spacing - reach
    pixels = torch.arange(size, device=sigma.device)
    distance = (pixels[:, None] - nodes) / sigma[:, None, None]
    density = torch.exp(-0.5 * distance.square()) / (sigma[:, None, None] * math.sqrt(2 * math.pi))
    return density * spacing


def warp(
    images: Tensor, labels: Tensor, inverse: Tensor, field_px: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Read images (linear) and labels (nearest) at the displaced, then transformed pixels.

    inverse: ``(B, 2, 3)`` as from ``inverse_affine``. field_px: ``(B, 2, H, W)`` along (x, y).
    Outside the image its mirror is read, the edge pixel not doubled (OpenCV's reflect 101).
    """
    height, width = images.shape[-2:]
    half_x, half_y = (width - 1) / 2, (height - 1) / 2
    x = torch.arange(width, device=images.device) - half_x  # (W,)
    y = torch.arange(height, device=images.device)[:, None] - half_y  # (H, 1)
    if field_px is not None:
        x, y = x + field_px[:, 0], y + field_px[:, 1]  # (B, H, W) each
    a = inverse[..., None, None]  # (B, 2, 3, 1, 1)
    source_x = a[:, 0, 0] * x + a[:, 0, 1] * y + a[:, 0, 2]
    source_y = a[:, 1, 0] * x + a[:, 1, 1] * y + a[:, 1, 2]
    grid = torch.stack([source_x / half_x, source_y / half_y], dim=-1)  # (B, H, W, 2)
    # No label is ever mixed from others: nearest neighbor reads one pixel.
    moved = _read(labels[:, None].float(), grid, "nearest")[:, 0].to(labels.dtype)
    return _read(images, grid, "bilinear"), moved


def _read(images: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(images, grid, mode=mode, padding_mode="reflection", align_corners=True)


def low_resolution(images: Tensor, cell_px: Tensor) -> Tensor:
    """Simulate a scan with pixels of ``cell_px`` ``(B,)``: nearest neighbor down, linear up."""
    return _coarsen(_coarsen(images, cell_px, 2), cell_px, 3)


def _coarsen(images: Tensor, cell_px: Tensor, axis: int) -> Tensor:
    size = images.shape[axis]
    cell = cell_px.clamp(min=1.0)[:, None]
    position = (torch.arange(size, device=images.device) + 0.5) / cell - 0.5  # (B, size)
    before = position.floor()
    shape = [len(images), 1, 1, 1]
    shape[axis] = size
    low, high = (
        ((cells + 0.5) * cell - 0.5).round().long().clamp(0, size - 1).view(shape)
        for cells in (before, before + 1)
    )
    share = (position - before).view(shape)
    read = [images.gather(axis, index.expand_as(images)) for index in (low, high)]
    return torch.lerp(read[0], read[1], share.expand_as(images))


def blur(images: Tensor, kernel: Tensor, largest: int) -> Tensor:
    """Gaussian blur with an odd kernel size per sample ``(B,)``, none above ``largest``.

    Sigma follows OpenCV: 0.3 ((k - 1) / 2 - 1) + 0.8. Border: reflect 101.
    """
    batch, _, height, width = images.shape
    scale = _scale(images)
    reach = min(math.ceil(largest // 2 * scale), height - 1, width - 1)
    offset = torch.arange(-reach, reach + 1, device=images.device)  # (taps,)
    half = (kernel[:, None] - 1) / 2
    sigma = (0.3 * (half - 1) + 0.8) * scale
    weights = torch.exp(-0.5 * (offset / sigma).square()) * (offset.abs() <= half * scale)
    weights = weights / weights.sum(dim=1, keepdim=True)  # (B, taps)
    padded = F.pad(images, (reach,) * 4, mode="reflect").view(
        1, batch, height + 2 * reach, width + 2 * reach
    )
    blurred = F.conv2d(padded, weights[:, None, None, :], groups=batch)
    blurred = F.conv2d(blurred, weights[:, None, :, None], groups=batch)
    return blurred.view_as(images)


def hole_mask(images: Tensor, holes: int, size_px: int, draws: Draws) -> Tensor:
    """Where ``holes`` squares of ``size_px``, wholly inside the image, lie: ``(B, 1, H, W)``."""
    rows, columns = (_intervals(length, holes, size_px, draws) for length in images.shape[-2:])
    return (rows.mT @ columns > 0)[:, None]


def _intervals(length: int, holes: int, size_px: int, draws: Draws) -> Tensor:
    """1.0 inside each of the random intervals, else 0.0: (B, holes, length)."""
    last_start = max(length - size_px, 0)
    start = (draws.rand(holes, 1) * (last_start + 1)).floor()
    offset = torch.arange(length, device=draws.device) - start
    return ((offset >= 0) & (offset < size_px)).float()


def _per_sample(values: Tensor, dimensions: int) -> Tensor:
    """``(B,)`` as ``(B, 1, ...)``, to go with arrays of that many dimensions."""
    return values.view(-1, *[1] * (dimensions - 1))


def _scale(images: Tensor) -> float:
    return images.shape[-2] / REFERENCE_PX


def _check(images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 1 or not images.is_floating_point():
        raise ValueError(
            f"Images are float (B, 1, H, W) in [0, 1]; got {images.dtype} {tuple(images.shape)}."
        )
    if labels.shape != images[:, 0].shape or labels.is_floating_point():
        raise ValueError(
            f"Labels are integers {tuple(images[:, 0].shape)}, one per image pixel; "
            f"got {labels.dtype} {tuple(labels.shape)}."
        )
    if min(images.shape[-2:]) < 2:
        raise ValueError("Slices need at least 2 x 2 pixels to be augmented.")


PAPER = Augmentation()
NONE = Augmentation(
    horizontal_flip_p=0.0,
    vertical_flip_p=0.0,
    rotation_p=0.0,
    ssr_p=0.0,
    elastic_p=0.0,
    brightness_contrast_p=0.0,
    noise_p=0.0,
    blur_p=0.0,
    dropout_p=0.0,
)
# Stronger, and true to anatomy: real elastic bending instead of flips and large turns.
STRONG = replace(
    PAPER,
    anatomical=True,
    ssr_scale=0.2,
    ssr_rotate_deg=0.0,
    elastic_alpha_px=(30.0, 120.0),
    elastic_sigma_px=(6.0, 10.0),
    gamma_p=0.3,
    low_resolution_p=0.2,
)
