"""3D augmentation: the published table, SciPy and PyTorch as oracles, and what may not change."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch_threads
from looped import looped
from scipy import ndimage
from torch import Tensor

from training.data.augment import Draws
from training.data.augment3d import (
    NONE,
    PAPER,
    VolumeAugmentation,
    around_one,
    blur,
    gamma_curve,
    low_resolution,
    middle,
    rotation,
    stretch,
    warp,
)

one_thread = torch_threads.one_thread

CPU = torch.device("cpu")
SHAPE = (12, 20, 24)
EVERY_P = [field.name for field in fields(PAPER) if field.name.endswith("_p")]


def with_p(probability: float, *names: str, base: VolumeAugmentation = NONE) -> VolumeAugmentation:
    values: dict[str, Any] = dict.fromkeys(names, probability)
    if "mirror_p" in names:
        values["mirror_p"] = (probability,) * 3
    return replace(base, **values)


ALWAYS = with_p(1.0, *EVERY_P)
GEOMETRY = replace(with_p(1.0, "rotation_p", "zoom_p"), mirror_p=(0.5, 0.5, 0.5))
INTENSITY = with_p(
    1.0, *(name for name in EVERY_P if name not in ("rotation_p", "zoom_p", "mirror_p"))
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(
    batch: int = 4, shape: tuple[int, int, int] = SHAPE, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Smooth random images in [0, 1] and labels 0, 1, 2 in large blobs."""
    noise = np.random.default_rng(seed).normal(size=(batch, *shape))
    smooth = ndimage.gaussian_filter(noise, (0, *(n / 8 for n in shape)), mode="wrap")
    smooth /= np.abs(smooth).max()
    labels = torch.from_numpy((smooth > -0.1).astype(np.uint8) + (smooth > 0.25))
    return torch.from_numpy(0.5 + 0.5 * smooth).float()[:, None], labels


def turn(k_deg: float, j_deg: float, i_deg: float) -> Tensor:
    return rotation(*(torch.tensor([angle]) for angle in (k_deg, j_deg, i_deg)))


def test_the_published_table() -> None:
    expected: dict[str, Any] = {"rotation_p": 0.2, "rotation_deg": (30, 30, 30)}
    expected |= {"zoom_p": 0.2, "zoom": (0.7, 1.4), "noise_p": 0.1, "noise_sd": (0, 0.1)}
    expected |= {"blur_p": 0.2 * 0.5, "blur_sigma_px": (0.5, 1)}
    expected |= {"brightness_p": 0.15, "brightness": (0.75, 1.25)}
    expected |= {"contrast_p": 0.15, "contrast": (0.75, 1.25)}
    expected |= {"low_resolution_p": 0.25 * 0.5, "low_resolution": (0.5, 1)}
    expected |= {"inverted_gamma_p": 0.1, "gamma_p": 0.3, "gamma": (0.7, 1.5)}
    assert asdict(PAPER) == expected | {"mirror_p": (0.5, 0.5, 0.5)}


@looped("name", [name for name in EVERY_P if name != "mirror_p"])
def test_probability_is_honored_and_the_others_come_back_bit_for_bit(name: str) -> None:
    count, probability = 1500, 0.3
    image = torch.rand(1, 1, 6, 7, 8, generator=seeded(9)) * 0.8 + 0.1
    labels = torch.zeros(count, 6, 7, 8, dtype=torch.uint8)
    only = replace(with_p(probability, name), low_resolution=(0.5, 0.8), noise_sd=(0.05, 0.1))
    out, _ = only(image.repeat(count, 1, 1, 1, 1), labels, seeded())
    changed = (out != image).flatten(1).any(dim=1)
    five_sigma = 5 * (probability * (1 - probability) / count) ** 0.5
    assert abs(changed.float().mean() - probability) < five_sigma


def test_mirrors_are_exact_and_drawn_for_each_axis() -> None:
    images, labels = scene(1)
    for axis in range(3):
        share = tuple(float(a == axis) for a in range(3))
        only = replace(NONE, mirror_p=(share[0], share[1], share[2]))
        out, out_labels = only(images, labels, seeded())
        assert torch.equal(out, images.flip(axis + 2))
        assert torch.equal(out_labels, labels.flip(axis + 1))
    many, many_labels = images.repeat(400, 1, 1, 1, 1), labels.repeat(400, 1, 1, 1)
    out, _ = replace(NONE, mirror_p=(0.5, 0.5, 0.5))(many, many_labels, seeded())
    kinds = out[:, 0, ::11, ::19, ::23].flatten(1).unique(dim=0, return_counts=True)[1]
    assert len(kinds) == 8
    assert kinds.min() > 25  # 50 are expected of each


@looped(
    ("angles", "axes"),
    [((90.0, 0.0, 0.0), (2, 3)), ((0.0, 90.0, 0.0), (3, 1)), ((0.0, 0.0, 90.0), (1, 2))],
)
def test_quarter_turns_equal_rot90(
    angles: tuple[float, float, float], axes: tuple[int, int]
) -> None:
    images, labels = scene(1, (16, 16, 16))
    out, out_labels = warp(images, labels[:, None], turn(*angles), (16, 16, 16))
    # reading at a place turned one way turns what is seen the other way
    assert torch.equal(out_labels[:, 0], torch.rot90(labels, -1, axes))
    assert torch.allclose(out[:, 0], torch.rot90(images[:, 0], -1, axes), atol=1e-5)


@looped("angles", [(20.0, 0.0, 0.0), (-15.0, 28.0, 7.0), (30.0, -30.0, 30.0)])
@looped("zoom", [0.7, 1.4])
def test_turning_and_zooming_equal_scipys(angles: tuple[float, float, float], zoom: float) -> None:
    images, labels = scene(1)
    matrix = turn(*angles) * zoom
    out, out_labels = warp(images, labels[:, None], matrix, SHAPE)
    center = (np.array(SHAPE) - 1) / 2
    numbers = matrix[0].double().numpy()
    offset = center - numbers @ center
    expected = ndimage.affine_transform(
        images[0, 0].double().numpy(), numbers, offset, order=1, mode="grid-constant", cval=0.0
    )
    assert np.abs(out[0, 0].numpy() - expected).max() < 1e-4
    nearest = ndimage.affine_transform(
        labels[0].numpy(), numbers, offset, order=0, mode="grid-constant", cval=0
    )
    assert (out_labels[0, 0].numpy() != nearest).mean() < 2e-3  # level ones may round either way


def test_a_rotation_turns_about_its_axis_by_its_angle() -> None:
    for axis, angles in enumerate(np.eye(3) * 25.0):
        matrix = turn(*angles.tolist())[0].double()
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(3).double(), atol=1e-6, rtol=0)
        assert matrix[axis, axis].item() == pytest.approx(1)
        assert matrix.trace().item() == pytest.approx(1 + 2 * np.cos(np.deg2rad(25)))
        assert torch.linalg.det(matrix).item() == pytest.approx(1)
    in_turn = turn(0, 0, 11) @ turn(0, -20, 0) @ turn(30, 0, 0)
    torch.testing.assert_close(turn(30, -20, 11), in_turn)


def test_angles_and_zooms_stay_in_their_ranges() -> None:
    """Seen on the matrices that a plain ramp gives away."""
    count, shape = 600, (9, 9, 9)
    j = torch.arange(-4.0, 5.0)[:, None]
    labels = torch.zeros(count, *shape, dtype=torch.uint8)
    zooms, sines = [], []
    for only, values in (
        (with_p(1.0, "zoom_p"), zooms),
        (replace(with_p(1.0, "rotation_p"), rotation_deg=(30.0, 0.0, 0.0)), sines),
    ):
        out, _ = only((0.5 + j / 20).expand(count, 1, *shape), labels, seeded())
        inner = out[:, 0, 4, 3:6, 3:6]  # small enough to stay inside at a zoom of 1.4
        along_j, along_i = inner[:, 2, 1] - inner[:, 0, 1], inner[:, 1, 2] - inner[:, 1, 0]
        values += [10 * along_j, 10 * along_i]
    assert 0.7 - 1e-3 <= zooms[0].min() < 0.72
    assert 1.38 < zooms[0].max() <= 1.4 + 1e-3
    assert abs((zooms[0] < 1).float().mean() - 0.5) < 0.1  # below and above 1 equally often
    angles_deg = torch.rad2deg(torch.asin(sines[1]))
    assert -30.1 < angles_deg.min() < -28
    assert 28 < angles_deg.max() < 30.1


def test_image_and_label_move_together() -> None:
    _, labels = scene(8, (24, 28, 32))
    mask = (labels >= 1).float()[:, None]
    images, moved = GEOMETRY(mask, labels, seeded())
    assert not torch.equal(moved, labels)
    truth = (moved >= 1).float()[:, None]
    neighbors = torch.nn.functional.avg_pool3d(truth, 3, 1, 1, count_include_pad=False)
    away_from_edges = (neighbors == 0) | (neighbors == 1)
    agrees = (images > 0.5) == (truth > 0.5)
    assert agrees[away_from_edges].float().mean() > 0.999
    assert agrees.float().mean() > 0.95


def test_several_label_maps_move_alike_and_take_no_new_value() -> None:
    images, labels = scene()
    gapped = torch.tensor([0, 7, 200], dtype=torch.uint8)[labels.long()]
    both = torch.stack([gapped, labels], dim=1)
    _, moved = ALWAYS(images, both, seeded())
    _, alone = ALWAYS(images, labels, seeded())
    assert moved.shape == both.shape
    assert torch.equal(moved[:, 1], alone)
    assert torch.equal(moved[:, 0], torch.tensor([0, 7, 200], dtype=torch.uint8)[alone.long()])


def test_larger_patches_bring_their_surroundings_along() -> None:
    """What is turned has no empty corner, and is the turned small patch where that has data."""
    reach = GEOMETRY.reach_kji(SHAPE)
    images, labels = scene(40, reach)
    images = images * 0.5 + 0.4
    out, out_labels = GEOMETRY(images, labels + 1, seeded(), patch_kji=SHAPE)
    assert out.shape == (40, 1, *SHAPE)
    assert out_labels.shape == (40, *SHAPE)
    assert out.min() > 0.39
    assert out_labels.min() >= 1
    _, alone = GEOMETRY(middle(images, SHAPE), middle(labels + 1, SHAPE), seeded())
    assert 0.4 < (alone > 0).float().mean() < 0.95
    assert (out_labels[alone > 0] == alone[alone > 0]).float().mean() > 0.999
    still, _ = NONE(images, labels, seeded(), patch_kji=SHAPE)
    before = [(large - small) // 2 for large, small in zip(reach, SHAPE, strict=True)]
    assert torch.equal(still, images[(..., *map(slice, before, np.add(before, SHAPE)))])


def test_how_far_turns_and_zooms_reach() -> None:
    assert NONE.reach_kji(SHAPE) == SHAPE
    only_zoom = with_p(1.0, "zoom_p").reach_kji((65, 129, 129))
    assert only_zoom == (91, 181, 181)  # 1.4 times 64 and 128, and the middle
    quarter = replace(with_p(1.0, "rotation_p"), rotation_deg=(90.0, 0.0, 0.0))
    assert quarter.reach_kji((9, 21, 31))[0] == 9
    assert quarter.reach_kji((9, 21, 31))[1] >= 31


@looped("sigma", [0.5, 0.75, 1.0])
def test_blur_equals_scipys(sigma: float) -> None:
    image = torch.rand(2, 1, *SHAPE, generator=seeded())
    out = blur(image, torch.tensor([sigma, 0.6]), 1.0)
    expected = ndimage.gaussian_filter(image[0, 0].double().numpy(), sigma, truncate=8)
    assert np.abs(out[0, 0].numpy() - expected).max() < 2e-4  # it ends at 4, SciPy's here at 8


@looped("zoom", [0.5, 0.61, 0.83, 1.0])
def test_low_resolution_equals_the_frameworks(zoom: float) -> None:
    """Nearest on the way down and cubic up, for which PyTorch has two dimensions."""
    image = torch.rand(1, 1, 1, 20, 24, generator=seeded())
    out = low_resolution(image, torch.tensor([zoom]))[:, :, 0]
    size = (round(20 * zoom), round(24 * zoom))
    small = torch.nn.functional.interpolate(image[:, :, 0], size, mode="nearest-exact")
    expected = torch.nn.functional.interpolate(small, (20, 24), mode="bicubic", align_corners=False)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    turned = low_resolution(image.transpose(2, 4), torch.tensor([zoom])).transpose(2, 4)
    torch.testing.assert_close(turned[:, :, 0], expected, atol=1e-5, rtol=0)  # slices as well


def test_contrast_turns_about_the_mean_within_the_range() -> None:
    images, _ = scene(2)
    more, less = (
        stretch(images, torch.tensor([1.25, 1.25])),
        stretch(images, torch.tensor([0.8] * 2)),
    )
    for n in range(2):
        image, mean = images[n], images[n].mean()
        expected = (mean + 1.25 * (image - mean)).clamp(image.min(), image.max())
        torch.testing.assert_close(more[n], expected)
        torch.testing.assert_close(less[n], mean + 0.8 * (image - mean))


def test_gamma_keeps_mean_and_spread() -> None:
    images, _ = scene(3)
    images = 0.3 * images + 0.2
    out = gamma_curve(images, torch.tensor([0.7, 1.0, 1.5]))
    axes = (1, 2, 3, 4)
    torch.testing.assert_close(out.mean(axes), images.mean(axes))
    torch.testing.assert_close(out.std(axes), images.std(axes))
    torch.testing.assert_close(out[1], images[1], atol=1e-5, rtol=0)
    share = (images[2] - images[2].min()) / (images[2].max() - images[2].min())
    correlation = torch.corrcoef(torch.stack([out[2].flatten(), (share**1.5).flatten()]))[0, 1]
    assert correlation.item() == pytest.approx(1, abs=1e-5)
    flat = torch.full((1, 1, 4, 4, 4), 0.3)
    torch.testing.assert_close(gamma_curve(flat, torch.tensor([1.4])), flat)


def test_the_inverted_gamma_is_that_of_the_negative() -> None:
    images, labels = scene()
    inverted, _ = with_p(1.0, "inverted_gamma_p")(1 - images, labels, seeded())
    plain, _ = with_p(1.0, "gamma_p")(images, labels, seeded())
    torch.testing.assert_close(inverted, 1 - plain, atol=1e-5, rtol=0)


def test_noise_and_brightness_follow_their_ranges() -> None:
    gray, labels = (
        torch.full((300, 1, 8, 16, 16), 0.5),
        torch.zeros(300, 8, 16, 16, dtype=torch.uint8),
    )
    out, _ = with_p(1.0, "noise_p")(gray, labels, seeded())
    sd = out.std(dim=(1, 2, 3, 4))
    assert sd.max() < 0.1 * 1.06
    assert sd.min() < 0.005
    assert sd.mean() == pytest.approx(0.05, abs=0.006)  # the standard deviation is what is uniform
    out, _ = with_p(1.0, "brightness_p")(gray, labels, seeded())
    gain = out[:, 0, 0, 0, 0] / 0.5
    assert 0.75 <= gain.min() < 0.77
    assert 1.23 < gain.max() <= 1.25


def test_factors_lie_below_and_above_one_equally_often() -> None:
    factors = around_one((0.7, 1.5), Draws(4000, CPU, seeded()))
    assert 0.7 <= factors.min() < 0.71
    assert 1.49 < factors.max() <= 1.5
    assert (factors < 1).float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert around_one((1.2, 1.5), Draws(100, CPU, seeded())).min() >= 1.2


def test_bad_arguments_say_what_to_do() -> None:
    images, labels = scene(2)
    for arguments, words in (
        ({"blur_p": 1.5}, "probabilities from 0 to 1"),
        ({"mirror_p": (0.5, -0.1, 0.5)}, "probabilities from 0 to 1"),
        ({"gamma": (1.5, 0.7)}, "the lower first"),
        ({"low_resolution": (0.0, 1.0)}, "above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(PAPER, **arguments)
    with pytest.raises(ValueError, match="Images are float"):
        PAPER(images[:, 0], labels)
    with pytest.raises(ValueError, match="Labels are integers"):
        PAPER(images, labels[:, :-1])
    with pytest.raises(ValueError, match="none above the"):
        PAPER(images, labels, patch_kji=(64, 128, 128))
