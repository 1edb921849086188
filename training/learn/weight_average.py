"""The running average of a net's weights, which swings less from step to step than they do.

average = WeightAverage(net, decay=0.995)
average.update(net)              # after every step
average.take_statistics(net)     # before average.net is asked
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """Exponential average of the parameters, in a net of its own that is always in eval mode.

    decay: what of the average stays at each step, 0 to 1; after n steps not more than
        (1 + n) / (10 + n), so that the first, poor weights are soon forgotten, and the weights of
        the first step are taken whole. Raises ``ValueError`` outside of [0, 1).
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema is {decay}; give a decay from 0 to less than 1, as 0.995.")
        self.net = deepcopy(net).requires_grad_(False).eval()
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Move toward the parameters that ``net`` has after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.steps else 0.0
        own, new = ([p.data for p in one.parameters()] for one in (self.net, net))
        torch._foreach_lerp_(own, new, 1 - decay)
        self.steps += 1

    @torch.no_grad()
    def take_statistics(self, net: nn.Module) -> None:
        """Copy what is no parameter: the running statistics of batch norms are averages already."""
        for own, new in zip(self.net.buffers(), net.buffers(), strict=True):
            own.copy_(new)

    def state(self) -> dict[str, Any]:
        """Plain tensors and numbers, for a checkpoint."""
        return {"net": self.net.state_dict(), "steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.steps = state["steps"]
