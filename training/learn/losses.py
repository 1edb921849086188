"""The hybrid2d paper's loss: CE + Dice + 0.5 focal (section II.E, Table 2), and a Tversky term.

    loss = CombinedLoss()(logits, labels)

Where several processes share a batch, each sees its part only: ``reduce`` turns the sums over that
part into those over the whole batch, and means and ratios are formed after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Reduce = Callable[[Tensor], Tensor]


def alone(sums: Tensor) -> Tensor:
    """The sums over a batch that no other process has a part of."""
    return sums


def reduced_mean(values: Tensor, reduce: Reduce = alone) -> Tensor:
    """Mean of all ``values`` of all processes, whatever number each has; a scalar."""
    count = values.new_full((), values.numel())
    sums = reduce(torch.stack([values.sum(), count]))
    return sums[0] / sums[1]


def soft_dice_loss(
    probabilities: Tensor, one_hot: Tensor, smoothing: float = 1e-6, reduce: Reduce = alone
) -> Tensor:
    """1 - 2|P G| / (|P| + |G|), summed over batch and pixels, mean over classes.

    probabilities, one_hot: (B, classes, H, W). A class absent from both gives loss 0 for a hard
    prediction (smoothing over smoothing) and nearly 1 for a soft one.
    """
    axes = (0, 2, 3)
    shared = (probabilities * one_hot).sum(axes)
    sizes = probabilities.sum(axes) + one_hot.sum(axes)
    sums = reduce(torch.stack([shared, sizes]))  # (2, classes)
    return (1 - (2 * sums[0] + smoothing) / (sums[1] + smoothing)).mean()


def tversky_loss(
    probabilities: Tensor,
    one_hot: Tensor,
    alpha: float = 0.3,
    beta: float = 0.7,
    smoothing: float = 1e-6,
    reduce: Reduce = alone,
) -> Tensor:
    """1 - |P G| / (|P G| + alpha |P - G| + beta |G - P|), mean over classes.

    Salehi et al. 2017 (arXiv:1706.05721), eq. 2, with the weights that scored best there.
    Shapes, sums and absent classes as in :func:`soft_dice_loss`, which it is at alpha = beta = 1/2.
    alpha: what a false positive costs. beta: what a false negative costs.
    """
    axes = (0, 2, 3)
    shared = (probabilities * one_hot).sum(axes)
    sums = torch.stack([shared, probabilities.sum(axes), one_hot.sum(axes)])
    shared, predicted, true = reduce(sums).unbind()  # (3, classes)
    wrong = alpha * (predicted - shared) + beta * (true - shared)
    return (1 - (2 * shared + smoothing) / (2 * (shared + wrong) + smoothing)).mean()


def focal_loss(
    log_p_true: Tensor, alpha: float = 0.25, gamma: float = 2.0, reduce: Reduce = alone
) -> Tensor:
    """Mean of -alpha (1 - p_t)^gamma log p_t, the same alpha for every class (II.E).

    log_p_true: log probability of each pixel's true class, any shape.
    """
    return reduced_mean(-alpha * (1 - log_p_true.exp()) ** gamma * log_p_true, reduce)


@dataclass(frozen=True, kw_only=True)
class CombinedLoss:
    """Weighted sum of cross-entropy, Dice, focal and Tversky loss; the defaults are the paper's.

    tversky: weight of that term, over liver and tumor and not the background.
    """

    cross_entropy: float = 1.0
    dice: float = 1.0
    focal: float = 0.5
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0
    smoothing: float = 1e-6
    tversky: float = 0.0
    tversky_alpha: float = 0.3
    tversky_beta: float = 0.7

    def __call__(self, logits: Tensor, labels: Tensor, reduce: Reduce = alone) -> Tensor:
        """logits (B, classes, H, W) of any float type, labels (B, H, W) int64; a float32 scalar."""
        log_p = functional.log_softmax(logits.float(), dim=1)
        index = labels[:, None]
        log_p_true = log_p.gather(1, index)
        one_hot = torch.zeros_like(log_p).scatter_(1, index, 1.0)
        total = (
            self.cross_entropy * -reduced_mean(log_p_true, reduce)
            + self.dice * soft_dice_loss(log_p.exp(), one_hot, self.smoothing, reduce)
            + self.focal * focal_loss(log_p_true, self.focal_alpha, self.focal_gamma, reduce)
        )
        if self.tversky == 0:
            return total
        found, truth = log_p.exp()[:, 1:], one_hot[:, 1:]
        weights = self.tversky_alpha, self.tversky_beta
        return total + self.tversky * tversky_loss(found, truth, *weights, self.smoothing, reduce)
