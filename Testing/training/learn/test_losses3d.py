"""The 3D loss: SciPy's erosions, MONAI's Dice, and a Hausdorff term that does have a gradient."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch_threads
from looped import looped
from numpy.typing import NDArray
from scipy.ndimage import convolve
from torch import Tensor
from torch.nn import functional

from training.learn.losses3d import REFERENCE, VolumeLoss, coarsen, eroded_error

one_thread = torch_threads.one_thread

OFF = VolumeLoss(hausdorff="off")
SOFT = VolumeLoss(dice=0.0, cross_entropy=0.0)
HEADS = (4 / 7, 2 / 7, 1 / 7)
Volume = NDArray[np.float64]


def balls(shape: tuple[int, int, int] = (16, 24, 24)) -> Tensor:
    """Labels (2, k, j, i): a large ball, and a small one."""
    k, j, i = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    large = (k - 8) ** 2 + (j - 12) ** 2 + (i - 12) ** 2 < 50
    small = (k - 5) ** 2 + (j - 8) ** 2 + (i - 15) ** 2 < 6
    return torch.stack([large, small]).long()


def random_logits(labels: Tensor, classes: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(len(labels), classes, *labels.shape[1:], generator=generator)


def one_hot(labels: Tensor, classes: int = 2) -> Tensor:
    return functional.one_hot(labels, classes).movedim(-1, 1).float()


def three_heads(logits: Tensor) -> list[Tensor]:
    """Logits on the full grid, 1/2 x 1/4 x 1/4 and 1/4 x 1/8 x 1/8 of it."""
    return [logits, logits[:, :, ::2, ::4, ::4], logits[:, :, ::4, ::8, ::8]]


def by_scipy(error: Volume, *, stretch: bool) -> Volume:
    """The erosion loss as published (stretch), or with the factor of 2, in float64."""
    cross = np.zeros((3, 3, 3))
    for axis in range(3):
        cross[tuple(slice(None) if a == axis else 1 for a in range(3))] = 1 / 7
    left, total = error, np.zeros_like(error)
    for n in range(1, 11):
        left = np.maximum(convolve(left, cross, mode="constant", cval=0.0) - 0.5, 0)
        if not stretch:
            left = 2 * left
        elif left.max() > left.min():
            left = (left - left.min()) / (left.max() - left.min())
        total = total + n**2 * left
    return total


@looped("published", [True, False])
def test_erosions_equal_scipys(published: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    soft = torch.rand(1, 2, 16, 24, 24, generator=generator)
    error = torch.cat([balls()[:, None].float().expand(-1, 2, -1, -1, -1), 0.4 + 0.6 * soft])
    found = eroded_error(error, published=published).numpy()
    for sample in range(3):
        for channel in range(2):
            expected = by_scipy(error[sample, channel].double().numpy(), stretch=published)
            np.testing.assert_allclose(found[sample, channel], expected, atol=1e-3, rtol=1e-4)
    assert found[0].max() > 10


def test_both_rescalings_agree_while_a_voxel_lies_inside() -> None:
    """A cube whose center is 12 voxels from its outside outlives ten erosions; a plate does not."""
    cube, plate = torch.zeros(1, 1, 25, 25, 25), torch.zeros(1, 1, 25, 25, 25)
    cube[..., 1:24, 1:24, 1:24] = 1
    plate[..., 10:14, 1:24, 1:24] = 1
    torch.testing.assert_close(eroded_error(cube), eroded_error(cube, published=True))
    assert eroded_error(plate).sum() < 0.8 * eroded_error(plate, published=True).sum()


def test_a_deep_error_weighs_more_than_a_thin_one() -> None:
    thin, deep = torch.zeros(1, 1, 16, 24, 24), torch.zeros(1, 1, 16, 24, 24)
    thin[..., 8, :20, :20] = 1  # 400 voxels, one thick
    deep[..., 4:11, 8:16, 8:15] = 1  # 392 voxels
    assert eroded_error(thin).sum() < eroded_error(deep).sum() / 10
    assert (eroded_error(torch.zeros_like(thin)) == 0).all()


def test_the_gradient_of_the_erosions_is_right() -> None:
    error = (0.6 + 0.4 * torch.rand(1, 2, 4, 5, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(eroded_error, (error,))


def test_the_soft_term_pulls_a_wrong_prediction_toward_the_truth() -> None:
    """A liver predicted where there is none: less of it inside, and nowhere more."""
    labels = torch.zeros(1, 16, 24, 24, dtype=torch.int64)
    logits = 6 * (one_hot(balls()[:1]) - 0.5)
    logits.requires_grad_()
    SOFT(logits, labels).backward()
    assert logits.grad is not None
    toward_liver = -logits.grad[:, 1]
    assert toward_liver[0, 8, 12, 12] < 0
    assert (toward_liver <= 0).all()
    with torch.no_grad():
        assert SOFT(logits - 50 * logits.grad / logits.grad.norm(), labels) < SOFT(logits, labels)


def test_the_gradient_stays_in_bounds_where_the_published_rescaling_explodes() -> None:
    """A first prediction that is wrong everywhere, a little unevenly: what training starts from."""
    labels = torch.zeros(1, 16, 24, 24, dtype=torch.int64)
    logits = 0.15 * random_logits(labels) + torch.tensor([-2.0, 2.0]).view(1, 2, 1, 1, 1)
    norms = {}
    for loss in (OFF, VolumeLoss(hausdorff_warm_up=0.0)):
        leaf = logits.clone().requires_grad_()
        loss(leaf, labels).backward()
        assert leaf.grad is not None
        norms[loss.hausdorff] = leaf.grad.norm().item()
    assert norms["off"] < norms["soft"] < 10 * norms["off"]
    leaf = logits.clone().requires_grad_()
    p = leaf.softmax(1)[:, 1:]
    (gradient,) = torch.autograd.grad(0.05 * eroded_error(p.square(), published=True).mean(), leaf)
    assert gradient.norm().item() > 10 * norms["off"]


def test_the_reference_adds_a_constant_and_no_gradient() -> None:
    labels = balls()
    plain, published = (random_logits(labels).requires_grad_() for _ in range(2))
    off, full = OFF(plain, labels), REFERENCE(published, labels)
    off.backward()
    full.backward()
    assert plain.grad is not None
    assert torch.equal(plain.grad, published.grad)
    cut = (plain.detach() > 0.5).double() - one_hot(labels).double()  # logits, of both classes
    by_hand = [by_scipy(c.square().numpy(), stretch=True).mean() for c in cut.flatten(0, 1)]
    assert (full - off).item() == pytest.approx(0.05 * np.mean(by_hand), rel=1e-4)


def test_published_weights_and_warm_up() -> None:
    # warm up is a tenth of the training
    labels = balls()
    logits = random_logits(labels) + torch.tensor([-3.0, 3.0]).view(1, 2, 1, 1, 1)
    loss, off = VolumeLoss(), OFF(logits, labels)
    assert loss(logits, labels, progress=0.0) == loss(logits, labels, progress=0.0999) == off
    assert loss(logits, labels, progress=0.1) == loss(logits, labels) > off + 0.01
    assert VolumeLoss(hausdorff_warm_up=0.0)(logits, labels, progress=0.0) > off + 0.01

    # published weights
    assert VolumeLoss().head_weights == pytest.approx(HEADS)
    assert VolumeLoss().hausdorff_weights[0] == REFERENCE.hausdorff_weights[0] == 0.05
    assert REFERENCE.hausdorff_weights[1:] == (1.0, 1.0)
    assert (VolumeLoss().dice, VolumeLoss().cross_entropy) == (1.0, 1.0)


def test_dice_and_cross_entropy_equal_monais() -> None:
    losses = pytest.importorskip("monai.losses")
    labels = balls()
    for classes in (2, 3):
        logits = random_logits(labels, classes)
        dice = losses.DiceLoss(
            softmax=True,
            to_onehot_y=True,
            include_background=False,
            batch=True,
            smooth_nr=1e-5,
            smooth_dr=1e-5,
        )(logits, labels[:, None])
        ours = replace(OFF, cross_entropy=0.0)(logits, labels)
        torch.testing.assert_close(ours, dice, atol=1e-6, rtol=0)
        theirs = functional.cross_entropy(logits, labels)
        torch.testing.assert_close(replace(OFF, dice=0.0)(logits, labels), theirs)
        torch.testing.assert_close(OFF(logits, labels), dice + theirs)


@looped("loss", [OFF, VolumeLoss(), REFERENCE])
def test_heads_weigh_four_two_one(loss: VolumeLoss) -> None:
    labels = balls()
    heads = three_heads(random_logits(labels))
    alone = [
        replace(loss, hausdorff_weights=(share, 0.0, 0.0))(head, coarsen(labels, head))
        for head, share in zip(heads, loss.hausdorff_weights, strict=True)
    ]
    expected = sum(weight * part for weight, part in zip(HEADS, alone, strict=True))
    torch.testing.assert_close(loss(heads, labels), expected)


def test_coarse_labels_are_the_voxels_behind_the_block_centers() -> None:
    labels = torch.arange(16 * 24 * 24).view(1, 16, 24, 24)
    half = coarsen(labels, torch.empty(1, 2, 8, 6, 6))
    assert torch.equal(half, labels[:, 1::2, 2::4, 2::4])
    scaled = functional.interpolate(labels[:, None].double(), (8, 6, 6), mode="nearest-exact")
    assert torch.equal(half, scaled[:, 0].long())
    assert torch.equal(coarsen(labels, torch.empty(1, 2, 16, 24, 24)), labels)


def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_much() -> None:
    labels = balls()
    heads = three_heads(60 * (one_hot(labels) - 0.5))
    heads[1:] = [60 * (one_hot(coarsen(labels, head)) - 0.5) for head in heads[1:]]
    for loss in (OFF, VolumeLoss(), REFERENCE):
        assert loss(heads, labels).item() == pytest.approx(0, abs=1e-5)
        assert loss([-head for head in heads], labels).item() > 2


@looped("kind", [torch.bfloat16, torch.float16])
def test_low_precision_and_an_empty_truth(kind: torch.dtype) -> None:
    labels = torch.zeros_like(balls())
    logits = (100 * random_logits(labels)).to(kind).requires_grad_()
    loss = VolumeLoss()(three_heads(logits), labels)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_bad_arguments_say_what_to_do() -> None:
    labels = balls()
    with pytest.raises(ValueError, match="soft, reference, off"):
        VolumeLoss(hausdorff="hard")
    with pytest.raises(ValueError, match="one for each head"):
        VolumeLoss(hausdorff_weights=(0.05,))
    with pytest.raises(ValueError, match="share, 0 to 1"):
        VolumeLoss(hausdorff_warm_up=10)
    with pytest.raises(ValueError, match="2 heads and the loss 3"):
        OFF(three_heads(random_logits(labels))[:2], labels)
    with pytest.raises(ValueError, match="do not divide"):
        OFF([random_logits(labels), torch.zeros(2, 2, 5, 6, 6), torch.zeros(2, 2, 4, 3, 3)], labels)


def noted(sums: list[Tensor], own: Tensor) -> Tensor:
    sums.append(own.detach())
    return own


def added(others: list[Tensor], own: Tensor) -> Tensor:
    return own + others.pop(0)


@looped("loss", [VolumeLoss(hausdorff_warm_up=0.0), REFERENCE])
def test_parts_of_a_batch_find_the_whole_batchs_loss(loss: VolumeLoss) -> None:
    """Each is given the sums of the other, as processes exchange them."""
    labels = balls().repeat(2, 1, 1, 1)[:3]
    heads = three_heads(random_logits(labels))
    whole = loss(heads, labels).item()
    parts = [([head[s] for head in heads], labels[s]) for s in (slice(1), slice(1, 3))]
    sums: tuple[list[Tensor], list[Tensor]] = ([], [])
    for part, own_sums in zip(parts, sums, strict=True):
        loss(*part, partial(noted, own_sums))
    for part, others in zip(parts, reversed(sums), strict=True):
        assert loss(*part, partial(added, others)).item() == pytest.approx(whole, rel=1e-5)
    assert abs(loss(*parts[0]).item() - whole) > 1e-3
