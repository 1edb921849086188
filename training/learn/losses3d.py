"""The G-UNETR++ paper's loss: Dice + cross-entropy + Hausdorff, over the heads of a 3D net.

    loss = VolumeLoss()  # or REFERENCE
    loss(net(patches), labels, progress=step / steps).backward()

The Hausdorff term is the erosion-based one of Karimi & Salcudean (2020): errors that survive many
erosions lie deep, so they weigh more. As published it looks at logits cut at 0.5, which has no
gradient, so that it never trained anything; "soft" looks at probabilities and does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from training.learn.losses import Reduce, alone, reduced_mean, soft_dice_loss

HAUSDORFF_KINDS = ("soft", "reference", "off")
EROSIONS = 10
SMOOTHING = 1e-5  # of the Dice term


@dataclass(frozen=True, kw_only=True)
class VolumeLoss:
    """Weighted sum of the three terms on each head, and of the heads.

    hausdorff: "soft" (our default), "reference" (the published constant) or "off".
    hausdorff_weights: of the Hausdorff term on each head, the finest first.
    hausdorff_warm_up: share of the training in which "soft" does not count yet: while the net
        finds nothing, everything is a deep error.
    head_weights: of the heads, the finest first. A net that returns the finest alone, as in eval
        mode, is judged by that alone, at full weight.
    """

    dice: float = 1.0
    cross_entropy: float = 1.0
    hausdorff: str = "soft"
    hausdorff_weights: tuple[float, ...] = (0.05, 0.05, 0.05)
    hausdorff_warm_up: float = 0.1
    head_weights: tuple[float, ...] = (4 / 7, 2 / 7, 1 / 7)

    def __post_init__(self) -> None:
        if self.hausdorff not in HAUSDORFF_KINDS:
            raise ValueError(
                f"hausdorff is {self.hausdorff!r}; use one of {', '.join(HAUSDORFF_KINDS)}."
            )
        if len(self.hausdorff_weights) != len(self.head_weights):
            raise ValueError("Give as many hausdorff_weights as head_weights, one for each head.")
        if not 0 <= self.hausdorff_warm_up <= 1:
            raise ValueError(
                f"hausdorff_warm_up is {self.hausdorff_warm_up}; give a share, 0 to 1."
            )

    def __call__(
        self,
        logits: Tensor | Sequence[Tensor],
        labels: Tensor,
        reduce: Reduce = alone,
        *,
        progress: float = 1.0,
    ) -> Tensor:
        """A float32 scalar.

        logits: (B, classes, k, j, i) of any float type, or those of several heads, whose grids
            divide that of the labels; the finest first. labels: (B, k, j, i) int64.
        reduce: of several processes that share the batch, as in :mod:`training.learn.losses`.
        progress: share of the training that is done, for the warm-up.
        """
        if isinstance(logits, Tensor):
            return self._head(logits, labels, self.hausdorff_weights[0], reduce, progress)
        if len(logits) != len(self.head_weights):
            raise ValueError(
                f"The net has {len(logits)} heads and the loss {len(self.head_weights)} weights."
            )
        heads = [
            weight * self._head(head, coarsen(labels, head), share, reduce, progress)
            for head, weight, share in zip(
                logits, self.head_weights, self.hausdorff_weights, strict=True
            )
        ]
        return torch.stack(heads).sum()

    def _head(
        self, logits: Tensor, labels: Tensor, share: float, reduce: Reduce, progress: float
    ) -> Tensor:
        log_p = functional.log_softmax(logits.float(), dim=1)
        index = labels[:, None]
        one_hot = torch.zeros_like(log_p).scatter_(1, index, 1.0)
        p, truth = log_p.exp()[:, 1:], one_hot[:, 1:]  # the background is not scored
        total = self.cross_entropy * -reduced_mean(log_p.gather(1, index), reduce)
        dice = soft_dice_loss(p.flatten(3), truth.flatten(3), SMOOTHING, reduce)
        total = total + self.dice * dice
        if self.hausdorff == "soft" and progress >= self.hausdorff_warm_up:
            deep = eroded_error((p - truth).square())
            total = total + share * reduced_mean(deep, reduce)
        elif self.hausdorff == "reference":
            cut = (logits.detach() > 0.5).float()  # of all classes, before any softmax
            deep = eroded_error((cut - one_hot).square(), published=True)
            total = total + share * reduced_mean(deep, reduce)
        return total


def coarsen(labels: Tensor, head: Tensor) -> Tensor:
    """Labels (B, k, j, i) on a head's coarser grid: the voxel right behind each block's center."""
    steps = []
    for fine, coarse in zip(labels.shape[1:], head.shape[2:], strict=True):
        if fine % coarse:
            raise ValueError(
                f"Labels of {tuple(labels.shape[1:])} do not divide into a head of"
                f" {tuple(head.shape[2:])}; cut patches of the size that the net is made for."
            )
        steps.append(fine // coarse)
    k, j, i = steps
    return labels[:, k // 2 :: k, j // 2 :: j, i // 2 :: i]


def eroded_error(error: Tensor, *, published: bool = False) -> Tensor:
    """Sum over n = 1..10 of n^2 times the n-fold erosion of ``error`` (B, classes, k, j, i), 0-1.

    One erosion is the mean with the six face neighbors (nothing beyond the border), less 0.5, not
    below 0, brought back to 0-1. For that, ``published`` stretches each sample and class between
    its own ends. Where little is left it would multiply a gradient without bound, ten times over;
    so otherwise it is a factor of 2, which is the same as long as any voxel lies inside the error.
    """
    left, total = error, torch.zeros_like(error)
    for n in range(1, EROSIONS + 1):
        mean: Tensor = _CrossMean.apply(left)  # type: ignore[no-untyped-call]
        left = (mean - 0.5).relu()
        left = _stretched(left) if published else 2 * left
        total = total + n**2 * left
    return total


class _CrossMean(torch.autograd.Function):
    """Mean of each voxel and its six face neighbors, with 0 beyond the border.

    What a convolution would do, in a sixth of its time on a CPU. A voxel's share in its neighbor's
    mean is its neighbor's in its own, so the gradient takes the same path.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        mean = values.clone()
        for axis in (2, 3, 4):
            before = values.narrow(axis, 0, values.shape[axis] - 1)
            after = values.narrow(axis, 1, values.shape[axis] - 1)
            mean.narrow(axis, 1, values.shape[axis] - 1).add_(before)
            mean.narrow(axis, 0, values.shape[axis] - 1).add_(after)
        return mean.div_(7)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _CrossMean.forward(ctx, gradient)


def _stretched(left: Tensor) -> Tensor:
    """Each sample from its least and greatest value to 0 and 1; a constant one stays."""
    low, high = left.amin(dim=(2, 3, 4), keepdim=True), left.amax(dim=(2, 3, 4), keepdim=True)
    span = high - low
    return torch.where(span > 0, (left - low) / span.where(span > 0, torch.ones_like(span)), left)


# The published weights; the term is a constant, so they change the number and not the training.
REFERENCE = VolumeLoss(hausdorff="reference", hausdorff_weights=(0.05, 1.0, 1.0))
