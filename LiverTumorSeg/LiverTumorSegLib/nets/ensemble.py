"""Several trained copies of one network, which answer by the mean of their probabilities.

    net = Hybrid2dEnsemble(members=2, width=24, channels=3, ...)
    net(slices).softmax(1)      # the mean of each member's softmax

What one copy takes for a tumor by chance, another one rarely does; what both see, stays.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .hybrid2d import Hybrid2d

MOST_MEMBERS = 16


class Hybrid2dEnsemble(nn.Module):
    """Members of one shape, each with weights of its own, that see the same slices.

    members: how many, 1 to 16. network_args: of each, as :class:`Hybrid2d` takes them.
    """

    def __init__(self, *, members: int, **network_args: Any) -> None:
        super().__init__()
        if not 1 <= members <= MOST_MEMBERS:
            raise ValueError(f"an ensemble has 1 to {MOST_MEMBERS} members, not {members}.")
        self.members = nn.ModuleList(Hybrid2d(**network_args) for _ in range(members))

    def forward(self, slices: Tensor) -> Tensor:
        """Slices (B, channels, H, W); logits (B, classes, H, W), whose softmax is the mean."""
        each = torch.stack([member(slices).float().log_softmax(1) for member in self.members])
        return each.logsumexp(0) - math.log(len(self.members))
