"""Augmentation: what may change, what may not, and OpenCV and SciPy as oracles."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch
import torch_threads
from looped import looped
from scipy.ndimage import gaussian_filter
from torch import Tensor

from training.data.augment import (
    NONE,
    PAPER,
    STRONG,
    Augmentation,
    Draws,
    blur,
    compose,
    elastic_field_px,
    hole_mask,
    inverse_affine,
    low_resolution,
    warp,
)

one_thread = torch_threads.one_thread

CPU = torch.device("cpu")
GEOMETRY = replace(NONE, horizontal_flip_p=0.5, vertical_flip_p=0.5, rotation_p=1.0, ssr_p=1.0)
EVERY_GEOMETRY = replace(
    GEOMETRY, elastic_p=1.0, elastic_alpha_px=(30.0, 120.0), elastic_sigma_px=(6.0, 10.0)
)
INTENSITY = replace(
    NONE, brightness_contrast_p=1.0, gamma_p=1.0, noise_p=1.0, blur_p=1.0, dropout_p=1.0
)
ALWAYS = replace(
    STRONG, **{field.name: 1.0 for field in fields(STRONG) if field.name.endswith("_p")}
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(batch: int, seed: int = 0) -> Draws:
    return Draws(batch, CPU, seeded(seed))


def scene(batch: int = 4, size: int = 96, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth random images and labels 0, 1, 2 in large blobs."""
    noise = np.random.default_rng(seed).normal(size=(batch, size, size))
    smooth = gaussian_filter(noise, (0, size / 12, size / 12), mode="wrap")
    smooth /= np.abs(smooth).max()
    labels = torch.from_numpy((smooth > -0.1).astype(np.uint8) + (smooth > 0.25))
    return torch.from_numpy(0.5 + 0.5 * smooth).float()[:, None], labels


def transform(angle_deg: float, zoom: float, right_px: float, down_px: float) -> Tensor:
    return inverse_affine(*(torch.tensor([v]) for v in (angle_deg, zoom, right_px, down_px)))


def test_samples_that_draw_nothing_come_back_bit_for_bit() -> None:
    images, labels = scene(64, 32)
    rare = replace(
        ALWAYS, **{field.name: 0.1 for field in fields(ALWAYS) if field.name.endswith("_p")}
    )
    out, out_labels = rare(images, labels, seeded())
    same = [torch.equal(a, b) for a, b in zip(out, images, strict=True)]
    assert 8 <= sum(same) <= 45  # 0.9 ** 8 = 43 % are expected, 28 of 64
    assert all(torch.equal(out_labels[i], labels[i]) for i in range(64) if same[i])


@looped(("name", "axis"), [("horizontal_flip_p", -1), ("vertical_flip_p", -2)])
def test_flips_are_exact_for_image_and_label(name: str, axis: int) -> None:
    images, labels = scene()
    flip = replace(NONE, **{name: 1.0})
    out, out_labels = flip(images, labels, seeded())
    assert torch.equal(out, images.flip(axis))
    assert torch.equal(out_labels, labels.flip(axis))
    out, out_labels = replace(flip, anatomical=True)(images, labels, seeded())
    assert torch.equal(out, images)
    assert torch.equal(out_labels, labels)


@looped("turns", [1, 2, 3])
def test_quarter_turns_equal_rot90(turns: int) -> None:
    images, labels = scene(1)
    out, out_labels = warp(images, labels, transform(90.0 * turns, 1, 0, 0))
    assert torch.allclose(out, torch.rot90(images, turns, (-2, -1)), atol=1e-4)
    assert torch.equal(out_labels, torch.rot90(labels, turns, (-2, -1)))


@looped("shape", [(96, 96), (80, 120)])
def test_affine_and_its_border_equal_opencv(shape: tuple[int, int]) -> None:
    height, width = shape
    images = scene(1, 128)[0][..., :height, :width]
    out, _ = warp(images, torch.zeros(1, *shape, dtype=torch.uint8), transform(31, 0.8, 9, -14))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 31, 0.8)
    matrix[:, 2] += (9, -14)
    expected = cv2.warpAffine(
        images[0, 0].numpy(), matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    # OpenCV rounds positions to 1/32 px, which is worth up to 1/32 of the step between pixels.
    steps = max(np.abs(np.diff(images[0, 0].numpy(), axis=axis)).max() for axis in (0, 1))
    assert np.abs(out[0, 0].numpy() - expected).max() < steps / 16


def test_compose_equals_one_after_the_other() -> None:
    first, second = transform(20, 1.1, 3, -2), transform(-35, 0.9, -4, 5)
    images, labels = scene(1, 128)
    step, step_labels = warp(*warp(images, labels, first), second)
    once, once_labels = warp(images, labels, compose(first, second))
    middle = slice(40, -40)  # away from the border, where mirroring twice differs
    assert (step - once)[..., middle, middle].abs().max() < 0.01
    differing = (step_labels != once_labels)[..., middle, middle].float().mean()
    assert differing < 0.03


def test_labels_take_no_new_value() -> None:
    images, labels = scene(16, 64)
    gapped = torch.tensor([0, 7, 200], dtype=torch.uint8)[labels.long()]
    for seed in range(5):
        out = ALWAYS(images, gapped, seeded(seed))[1]
        assert set(out.unique().tolist()) <= {0, 7, 200}


def test_image_and_label_move_together() -> None:
    _, labels = scene(8, 128)
    mask = (labels == 1).float()[:, None]
    images, moved = EVERY_GEOMETRY(mask, labels, seeded())
    truth = (moved == 1).float()[:, None]
    assert not torch.equal(moved, labels)
    kernel = torch.ones(1, 1, 3, 3)
    neighbors = torch.nn.functional.conv2d(truth, kernel, padding=1)
    away_from_edges = (neighbors == 0) | (neighbors == 9)
    agrees = (images > 0.5) == (truth > 0.5)
    assert agrees[away_from_edges].float().mean() > 0.999
    assert agrees.float().mean() > 0.95


@looped("name", [field.name for field in fields(NONE) if field.name[-2:] == "_p"])
def test_probability_is_honored(name: str) -> None:
    count, probability = 2000, 0.3
    image = torch.rand(1, 1, 16, 16, generator=seeded(9)) * 0.8 + 0.1
    only = replace(
        NONE,
        **{name: probability},
        elastic_alpha_px=(100.0, 120.0),
        elastic_sigma_px=(10.0, 10.0),
        low_resolution_px=(32.0, 40.0),
        dropout_size_px=64,
    )
    out, _ = only(
        image.repeat(count, 1, 1, 1), torch.zeros(count, 16, 16, dtype=torch.uint8), seeded()
    )
    # At 16 px the blur kernel is scaled below one pixel, so its share is seen on a larger slice.
    if name == "blur_p":
        out, image = _blurred(only, count)
    changed = (out - image).abs().amax(dim=(1, 2, 3)) > 1e-6
    five_sigma = 5 * (probability * (1 - probability) / count) ** 0.5
    assert abs(changed.float().mean() - probability) < five_sigma


def _blurred(only: Augmentation, count: int) -> tuple[Tensor, Tensor]:
    image = torch.rand(1, 1, 256, 4, generator=seeded(9))
    labels = torch.zeros(count, 256, 4, dtype=torch.uint8)
    return only(image.repeat(count, 1, 1, 1), labels, seeded())[0], image


def test_paper_probabilities() -> None:
    expected = {"horizontal_flip": 0.5, "vertical_flip": 0.3, "rotation": 0.5, "ssr": 0.5}
    expected |= {"elastic": 0.3, "brightness_contrast": 0.5, "noise": 0.3, "blur": 0.2}
    expected |= {"dropout": 0.3, "gamma": 0.0, "low_resolution": 0.0}
    assert {name: getattr(PAPER, f"{name}_p") for name in expected} == expected
    assert PAPER.rotation_deg == 25


def test_brightness_and_contrast_follow_the_formula() -> None:
    image = torch.linspace(0.3, 0.6, 64 * 64).view(1, 1, 64, 64).repeat(500, 1, 1, 1)
    only = replace(NONE, brightness_contrast_p=1.0)
    out, _ = only(image, torch.zeros(500, 64, 64, dtype=torch.uint8), seeded())
    gain = (out[:, 0, -1, -1] - out[:, 0, 0, 0]) / 0.3
    offset = out[:, 0, 0, 0] - gain * 0.3
    for values, center in ((gain, 1.0), (offset, 0.0)):
        assert center - 0.2001 <= values.min() < center - 0.19
        assert center + 0.19 < values.max() <= center + 0.2001


def test_noise_has_the_stated_spread() -> None:
    gray = torch.full((200, 1, 64, 64), 0.5)
    labels = torch.zeros(200, 64, 64, dtype=torch.uint8)
    out, _ = replace(NONE, noise_p=1.0)(gray, labels, seeded())
    sd = out.std(dim=(1, 2, 3))
    assert sd.min() > 0.012 * 0.95
    assert sd.max() < 0.028 * 1.05
    variance = (sd**2).mean()
    assert abs(variance - (0.012**2 + 0.028**2) / 2) < 5e-5  # the variance is what is uniform


@looped("size", [3, 5, 7])
def test_blur_equals_opencv(size: int) -> None:
    image = torch.rand(2, 1, 256, 200, generator=seeded())
    kernels = torch.tensor([float(size), 3.0])
    sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    expected = cv2.GaussianBlur(
        image[0, 0].numpy(), (size, size), sigma, borderType=cv2.BORDER_REFLECT_101
    )
    assert np.allclose(blur(image, kernels, 7)[0, 0].numpy(), expected, atol=1e-5)


def test_dropout_covers_eight_squares_with_zero() -> None:
    gray = torch.full((300, 1, 256, 256), 0.5)
    labels = torch.ones(300, 256, 256, dtype=torch.uint8)
    out, out_labels = replace(NONE, dropout_p=1.0)(gray, labels, seeded())
    assert torch.equal(out_labels, labels)
    assert set(out.unique().tolist()) == {0.0, 0.5}
    covered = (out == 0).sum(dim=(1, 2, 3))
    assert covered.max() == 8 * 64  # no two squares overlap
    assert covered.min() >= 64
    assert (out == 0).any(dim=0)[0, [0, -1]].any()  # squares reach the first and the last row


def test_holes_scale_with_the_slice() -> None:
    mask = hole_mask(torch.zeros(50, 1, 64, 64), holes=1, size_px=5, draws=draws(50))
    assert (mask.sum(dim=(1, 2, 3)) == 25).all()
    small = torch.full((40, 1, 128, 128), 0.5)
    labels = torch.zeros(40, 128, 128, dtype=torch.uint8)
    out, _ = replace(NONE, dropout_p=1.0, dropout_holes=1)(small, labels, seeded())
    assert ((out == 0).sum(dim=(1, 2, 3)) == 16).all()  # 4 x 4 at half the height


def test_elastic_of_the_paper_is_nothing() -> None:
    field = elastic_field_px(PAPER.elastic_alpha_px, PAPER.elastic_sigma_px, (256, 256), draws(50))
    assert 0 < field.abs().max() <= 0.02
    images, labels = scene(2, 256)
    out, out_labels = replace(NONE, elastic_p=1.0)(images, labels, seeded())
    assert torch.equal(out, images)
    assert torch.equal(out_labels, labels)


@looped("sigma", [6.0, 10.0])
def test_elastic_spreads_as_smoothed_noise_does(sigma: float) -> None:
    field = elastic_field_px((80.0, 80.0), (sigma, sigma), (256, 256), draws(8)).numpy()
    noise = np.random.default_rng(0).uniform(-1, 1, (16, 256, 256))
    expected = 80 * gaussian_filter(noise, (0, sigma, sigma), mode="wrap")
    assert field.std() == pytest.approx(expected.std(), rel=0.08)
    slopes = np.diff(field, axis=-1).std(), np.diff(expected, axis=-1).std()
    assert slopes[0] == pytest.approx(slopes[1], rel=0.08)
    rows = field.std(axis=(0, 1, 3))
    assert rows.max() / rows.min() < 3  # no grid of nodes shows through


def test_elastic_scales_with_the_slice() -> None:
    spreads = [
        elastic_field_px((80.0, 80.0), (8.0, 8.0), (size, size), draws(16)).std().item() / size
        for size in (128, 256)
    ]
    assert spreads[0] == pytest.approx(spreads[1], rel=0.08)


def test_strong_bends_without_folding() -> None:
    field = elastic_field_px(
        STRONG.elastic_alpha_px, STRONG.elastic_sigma_px, (256, 256), draws(32)
    )
    assert field.abs().amax(dim=(1, 2, 3)).mean() > 2  # px: this one does something
    x_step, y_step = field.diff(dim=-1)[:, :, :-1], field.diff(dim=-2)[..., :-1]
    area = (1 + x_step[:, 0]) * (1 + y_step[:, 1]) - x_step[:, 1] * y_step[:, 0]
    assert area.min() > 0
    assert STRONG.anatomical


def test_low_resolution_keeps_flat_and_whole_pixels() -> None:
    images, _ = scene(2)
    assert torch.equal(low_resolution(images, torch.tensor([1.0, 1.0])), images)
    flat = torch.full_like(images, 0.4)
    assert torch.allclose(low_resolution(flat, torch.tensor([1.7, 2.5])), flat)
    sharp = torch.rand(1, 1, 96, 96, generator=seeded())
    coarse = low_resolution(sharp, torch.tensor([2.5]))
    assert coarse.diff(dim=-1).abs().mean() < 0.7 * sharp.diff(dim=-1).abs().mean()
    ramp = torch.linspace(0, 1, 96).expand(1, 1, 96, 96)
    assert (low_resolution(ramp, torch.tensor([2.0])) - ramp).abs().max() < 2 / 95  # stays in place


def test_bad_arguments_say_what_to_do() -> None:
    images, labels = scene(2)
    with pytest.raises(ValueError, match="probability from 0 to 1"):
        Augmentation(blur_p=1.5)
    with pytest.raises(ValueError, match="odd sizes"):
        Augmentation(blur_kernel=(3, 6))
    with pytest.raises(ValueError, match="above 0"):
        Augmentation(elastic_sigma_px=(0.0, 5.0))
    with pytest.raises(ValueError, match="Images are float"):
        PAPER(images[:, 0], labels)
    with pytest.raises(ValueError, match="Labels are integers"):
        PAPER(images, labels[:, :-1])
    with pytest.raises(ValueError, match="2 x 2"):
        PAPER(images[..., :1], labels[..., :1])
