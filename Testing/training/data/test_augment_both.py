"""What holds for the augmentation of slices and of patches alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import test_augment
import test_augment3d
import torch
import torch_threads
from looped import looped
from torch import Tensor

one_thread = torch_threads.one_thread


class Kind(NamedTuple):
    """scene(): images and labels. The others are augmentations."""

    scene: Callable[..., tuple[Tensor, Tensor]]
    none: Any
    paper: Any
    intensity: Any
    always: Any
    large: Any  # a size for the GPU


SLICES = Kind(
    test_augment.scene,
    test_augment.NONE,
    test_augment.PAPER,
    test_augment.INTENSITY,
    test_augment.ALWAYS,
    256,
)
PATCHES = Kind(
    test_augment3d.scene,
    test_augment3d.NONE,
    test_augment3d.PAPER,
    test_augment3d.INTENSITY,
    test_augment3d.ALWAYS,
    (32, 64, 64),
)
of_both = looped("kind", [SLICES, PATCHES])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@of_both
@looped("label_type", [torch.uint8, torch.int64])
def test_shapes_and_types_stay(kind: Kind, label_type: torch.dtype) -> None:
    images, labels = kind.scene(3)
    for augment in (kind.none, kind.paper, kind.always):
        for image_type in (torch.float32, torch.float16):
            out, out_labels = augment(images.to(image_type), labels.to(label_type), seeded())
            assert (out.shape, out.dtype) == (images.shape, image_type)
            assert (out_labels.shape, out_labels.dtype) == (labels.shape, label_type)
            assert torch.isfinite(out).all()


@looped("augment", [test_augment.NONE, test_augment.PAPER, test_augment.STRONG])
def test_grays_of_slices_stay_between_0_and_1(augment: test_augment.Augmentation) -> None:
    out, _ = augment(*test_augment.scene(3, 64), seeded())
    assert out.min() >= 0
    assert out.max() <= 1


@of_both
def test_probability_zero_changes_nothing_and_intensity_leaves_labels_alone(kind: Kind) -> None:
    images, labels = kind.scene()
    out, out_labels = kind.none(images, labels, seeded())
    assert torch.equal(out, images)
    assert torch.equal(out_labels, labels)
    out, out_labels = kind.intensity(images, labels, seeded())
    assert not torch.equal(out, images)
    assert torch.equal(out_labels, labels)


@of_both
def test_samples_do_not_touch_each_other_and_draw_for_themselves(kind: Kind) -> None:
    images, labels = kind.scene(4)
    other, other_labels = images.clone(), labels.clone()
    other[2], other_labels[2] = 1 - images[2], 2 - labels[2]
    first = kind.always(images, labels, seeded())
    second = kind.always(other, other_labels, seeded())
    for n in (0, 1, 3):
        assert torch.equal(first[0][n], second[0][n])
        assert torch.equal(first[1][n], second[1][n])
    assert not torch.equal(first[0][2], second[0][2])
    alike = (part[:1].expand(4, *[-1] * (part.ndim - 1)) for part in (images, labels))
    same, _ = kind.always(*alike, seeded())
    assert all((same[a] - same[b]).abs().max() > 0.05 for a in range(4) for b in range(a))


@of_both
def test_seed_decides_and_arguments_stay(kind: Kind) -> None:
    images, labels = kind.scene()
    before, labels_before = images.clone(), labels.clone()
    one, two, three = (kind.always(images, labels, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], three[0])
    assert torch.equal(images, before)
    assert torch.equal(labels, labels_before)


@of_both
def test_mixed_precision_around_it_changes_nothing(kind: Kind) -> None:
    images, labels = kind.scene()
    plain, plain_labels = kind.always(images, labels, seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, mixed_labels = kind.always(images, labels, seeded())
    assert torch.equal(plain, mixed)
    assert torch.equal(plain_labels, mixed_labels)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@of_both
def test_device_never_makes_the_host_wait(kind: Kind) -> None:
    images, labels = (part.cuda() for part in kind.scene(4, kind.large))
    generator = torch.Generator("cuda").manual_seed(0)
    kind.always(images, labels, generator)  # the first call loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        out, out_labels = kind.always(images, labels, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert out.is_cuda
    assert out_labels.is_cuda
