"""The loss by hand on four pixels, against MONAI, and where a class is missing."""

from __future__ import annotations

from functools import partial
from math import log

import pytest
import torch
import torch_threads
from looped import looped
from torch import Tensor

from training.learn.losses import CombinedLoss, focal_loss, reduced_mean, soft_dice_loss

one_thread = torch_threads.one_thread
SMOOTHING = 1e-6  # Table 2
# Four pixels, 2 x 2: probabilities of background, liver, tumor, and the truth.
PIXELS = [
    ((0.7, 0.2, 0.1), 0),
    ((0.1, 0.8, 0.1), 1),
    ((0.3, 0.3, 0.4), 2),
    ((0.5, 0.4, 0.1), 1),
]


def four_pixels() -> tuple[Tensor, Tensor]:
    """Logits (1, 3, 2, 2) whose softmax is PIXELS, and labels (1, 2, 2)."""
    logits = torch.tensor([p for p, _ in PIXELS]).log().T.reshape(1, 3, 2, 2) + 5.0
    return logits, torch.tensor([label for _, label in PIXELS]).reshape(1, 2, 2)


def only(**weights: float) -> CombinedLoss:
    return CombinedLoss(**{"cross_entropy": 0.0, "dice": 0.0, "focal": 0.0, **weights})


def random_case(seed: int = 0, batch: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, 3, 16, 12, generator=generator)
    return logits, torch.randint(0, 3, (batch, 16, 12), generator=generator)


def one_hot(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()


def test_each_loss_and_the_papers_sum_by_hand() -> None:
    # cross entropy by hand
    by_hand = -(log(0.7) + log(0.8) + log(0.4) + log(0.4)) / 4
    assert only(cross_entropy=1.0)(*four_pixels()).item() == pytest.approx(by_hand, abs=1e-6)

    # dice by hand
    background = 2 * 0.7 / ((0.7 + 0.1 + 0.3 + 0.5) + 1)
    liver = 2 * (0.8 + 0.4) / ((0.2 + 0.8 + 0.3 + 0.4) + 2)
    tumor = 2 * 0.4 / ((0.1 + 0.1 + 0.4 + 0.1) + 1)
    by_hand = 1 - (background + liver + tumor) / 3
    assert only(dice=1.0)(*four_pixels()).item() == pytest.approx(by_hand, abs=1e-5)

    # focal by hand
    by_hand = -sum(0.25 * (1 - p) ** 2 * log(p) for p in (0.7, 0.8, 0.4, 0.4)) / 4
    assert only(focal=1.0)(*four_pixels()).item() == pytest.approx(by_hand, abs=1e-6)

    # the papers sum is ce plus dice plus half focal
    case = four_pixels()
    parts = [only(**{name: 1.0})(*case).item() for name in ("cross_entropy", "dice", "focal")]
    by_hand = parts[0] + parts[1] + 0.5 * parts[2]
    assert CombinedLoss()(*case).item() == pytest.approx(by_hand, abs=1e-6)


@looped(("alpha", "beta"), [(0.3, 0.7), (0.8, 0.1)])
def test_tversky_by_hand(alpha: float, beta: float) -> None:
    """Background is not in it."""
    liver = 1.2 / (1.2 + alpha * (0.2 + 0.3) + beta * (0.2 + 0.6))
    tumor = 0.4 / (0.4 + alpha * (0.1 + 0.1 + 0.1) + beta * 0.6)
    loss = only(tversky=1.0, tversky_alpha=alpha, tversky_beta=beta)
    assert loss(*four_pixels()).item() == pytest.approx(1 - (liver + tumor) / 2, abs=1e-5)


@looped("seed", [0, 1])
def test_cross_entropy_equals_the_frameworks(seed: int) -> None:
    logits, labels = random_case(seed)
    theirs = torch.nn.functional.cross_entropy(logits, labels)
    assert torch.allclose(only(cross_entropy=1.0)(logits, labels), theirs, atol=1e-6)


@looped("seed", [0, 1])
def test_dice_equals_monais(seed: int) -> None:
    losses = pytest.importorskip("monai.losses")
    logits, labels = random_case(seed)
    monai = losses.DiceLoss(
        softmax=True,
        to_onehot_y=True,
        include_background=True,
        batch=True,
        smooth_nr=SMOOTHING,
        smooth_dr=SMOOTHING,
    )
    ours = only(dice=1.0)(logits, labels)
    assert torch.allclose(ours, monai(logits, labels[:, None]), atol=1e-6)


@looped("seed", [0, 1])
@looped(("alpha", "beta"), [(0.3, 0.7), (0.7, 0.3), (1.0, 1.0)])
def test_tversky_equals_monais(alpha: float, beta: float, seed: int) -> None:
    losses = pytest.importorskip("monai.losses")
    logits, labels = random_case(seed)
    monai = losses.TverskyLoss(
        softmax=True,
        to_onehot_y=True,
        include_background=False,
        batch=True,
        alpha=alpha,
        beta=beta,
        smooth_nr=SMOOTHING,
        smooth_dr=SMOOTHING,
    )
    ours = only(tversky=1.0, tversky_alpha=alpha, tversky_beta=beta)(logits, labels)
    assert torch.allclose(ours, monai(logits, labels[:, None]), atol=1e-6)


@looped("highest", [0, 1, 2])
def test_tversky_with_halves_is_dice_of_liver_and_tumor(highest: int) -> None:
    logits, labels = random_case()
    labels = labels.clamp(max=highest)
    ours = only(tversky=1.0, tversky_alpha=0.5, tversky_beta=0.5)(logits, labels)
    dice = soft_dice_loss(logits.softmax(1)[:, 1:], one_hot(labels)[:, 1:])
    assert torch.allclose(ours, dice, atol=1e-6)


def test_tversky_costs_more_for_what_is_missed_and_is_added_at_its_weight() -> None:
    # tversky costs more for what is missed than for what is marked wrongly
    true, fewer, more = (
        torch.tensor(tumor).reshape(1, 2, 3)
        for tumor in ([2, 2, 2, 2, 0, 0], [2, 2, 2, 0, 0, 0], [2, 2, 2, 2, 2, 0])
    )
    recall = only(tversky=1.0)
    missed, wrong = (recall(60 * (one_hot(p) - 0.5), true).item() for p in (fewer, more))
    assert missed == pytest.approx((1 - 3 / (3 + 0.7)) / 2, abs=1e-5)  # liver, in neither, costs 0
    assert wrong == pytest.approx((1 - 4 / (4 + 0.3)) / 2, abs=1e-5)

    # tversky is added at its weight
    case = random_case()
    wanted = CombinedLoss()(*case) + 0.4 * only(tversky=1.0)(*case)
    assert torch.allclose(CombinedLoss(tversky=0.4)(*case), wanted, atol=1e-6)


@looped("gamma", [0.0, 1.0, 2.0])
def test_focal_equals_monais(gamma: float) -> None:
    """MONAI's scalar alpha weighs background 1 - alpha, and its mean divides by the classes too."""
    losses = pytest.importorskip("monai.losses")
    logits, labels = random_case()
    monai = losses.FocalLoss(gamma=gamma, alpha=None, use_softmax=True, to_onehot_y=True)
    ours = CombinedLoss(cross_entropy=0.0, dice=0.0, focal=1.0, focal_gamma=gamma)(logits, labels)
    assert torch.allclose(ours, 0.25 * 3 * monai(logits, labels[:, None]), atol=1e-6)


def test_focal_weighs_every_class_alike_and_without_focus_is_cross_entropy() -> None:
    # focal without focus is a quarter of cross entropy
    log_p = torch.tensor([-0.1, -1.0, -3.0])
    assert focal_loss(log_p, gamma=0.0).item() == pytest.approx(0.25 * -log_p.mean().item())

    # focal weighs every class alike: II.E: one alpha; exchanging the classes changes nothing.
    logits, labels = random_case()
    turned = logits[:, [2, 0, 1]], (labels + 1) % 3
    assert torch.allclose(CombinedLoss()(logits, labels), CombinedLoss()(*turned), atol=1e-6)


def test_dice_is_summed_over_the_batch() -> None:
    """So a slice without tumor costs nothing beside one with it."""
    logits, labels = random_case(batch=4)
    joined = logits.movedim(0, 1).reshape(1, 3, -1, 12), labels.reshape(1, -1, 12)
    assert torch.allclose(only(dice=1.0)(logits, labels), only(dice=1.0)(*joined), atol=1e-6)


@looped(
    ("predicted", "true", "loss"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], 0.0),  # liver and tumor in neither: smoothing over smoothing
        ([0, 1, 1, 0], [0, 1, 1, 0], 0.0),  # tumor in neither
        ([0, 1, 1, 0], [0, 0, 0, 0], (1 - 2 * 2 / 6 + 1) / 3),  # liver predicted, not there
        ([0, 0, 0, 0], [0, 1, 1, 0], (1 - 2 * 2 / 6 + 1) / 3),  # liver missed
        ([2, 2, 2, 2], [1, 1, 1, 1], 2 / 3),  # background in neither
    ],
)
def test_what_an_absent_class_costs(predicted: list[int], true: list[int], loss: float) -> None:
    hard = one_hot(torch.tensor(predicted).reshape(1, 2, 2))
    truth = one_hot(torch.tensor(true).reshape(1, 2, 2))
    assert soft_dice_loss(hard, truth).item() == pytest.approx(loss, abs=1e-5)


def test_a_soft_prediction_of_an_absent_class_costs_one_a_perfect_one_nothing() -> None:
    # a soft prediction of an absent class costs nearly one
    probabilities = torch.tensor([0.89, 0.1, 0.01]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    truth = one_hot(torch.zeros(1, 2, 2, dtype=torch.int64))
    background = 1 - 2 * 0.89 / (0.89 + 1)
    assert soft_dice_loss(probabilities, truth).item() == pytest.approx((background + 2) / 3, 1e-4)

    # a perfect prediction costs nothing and a wrong one much
    _, labels = random_case()
    logits = 60 * (one_hot(labels) - 0.5)
    assert CombinedLoss()(logits, labels).item() == pytest.approx(0, abs=1e-5)
    assert CombinedLoss()(-logits, labels).item() > 2


@looped("kind", [torch.float32, torch.bfloat16, torch.float16])
@looped("scale", [1.0, 1000.0])
def test_loss_and_gradient_are_finite_in_low_precision(kind: torch.dtype, scale: float) -> None:
    """Also where softmax is 0 or 1 to the last bit and where a class is missing."""
    logits, labels = random_case()
    logits = (scale * logits).to(kind).requires_grad_()
    loss = CombinedLoss(tversky=1.0)(logits, labels.clamp(max=1))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.dtype == kind


def test_bf16_logits_lose_only_their_own_rounding() -> None:
    logits, labels = random_case()
    rounded = logits.bfloat16()
    exact = CombinedLoss()(rounded.float(), labels)
    assert torch.equal(CombinedLoss()(rounded, labels), exact)


def test_gradient_equals_finite_differences() -> None:
    logits, labels = random_case(batch=1)
    logits, labels = logits[:, :, :3, :3].clone().requires_grad_(), labels[:, :3, :3]
    loss = CombinedLoss(tversky=1.0)
    loss(logits, labels).backward()
    assert logits.grad is not None
    with torch.no_grad():
        for row, column in ((0, 0), (1, 2)):
            step = torch.zeros_like(logits)
            step[0, 1, row, column] = 1e-2
            slope = (loss(logits + step, labels) - loss(logits - step, labels)) / 2e-2
            assert slope.item() == pytest.approx(logits.grad[0, 1, row, column].item(), abs=1e-4)


def noted(sums: list[Tensor], own: Tensor) -> Tensor:
    sums.append(own)
    return own


def added(others: list[Tensor], own: Tensor) -> Tensor:
    return own + others.pop(0)


@looped("loss", [CombinedLoss(), only(tversky=1.0)])
def test_means_and_ratios_are_formed_after_the_sums_are_joined(loss: CombinedLoss) -> None:
    """Parts of 1 and 3 of 4 slices, each given what the other sums up to, find the whole's loss."""
    logits, labels = random_case(batch=4)
    whole = loss(logits, labels).item()
    parts = [(logits[:1], labels[:1]), (logits[1:], labels[1:])]
    sums: tuple[list[Tensor], list[Tensor]] = ([], [])
    for part, own_sums in zip(parts, sums, strict=True):
        loss(*part, partial(noted, own_sums))
    for part, others in zip(parts, reversed(sums), strict=True):
        found = loss(*part, partial(added, others))
        assert found.item() == pytest.approx(whole, abs=1e-6)
    assert abs(loss(*parts[0]).item() - whole) > 1e-3


def test_a_joined_mean_counts_values_not_parts() -> None:
    others = torch.tensor([12.0, 3.0])  # the sum and number of three fours elsewhere
    mean = reduced_mean(torch.tensor([2.0]), lambda own: own + others)
    assert mean.item() == pytest.approx(14 / 4)
