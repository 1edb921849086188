"""A network's own classes as three: background, liver and tumor, whatever else it knows.

logits = three_classes(network(patches), liver=(1, 3), tumor=(2,), overlapping=False)
logits.softmax(1)       # what is neither liver nor tumor to the network is background
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LEAST = 1e-7  # a probability whose logarithm is finite in single precision


def three_classes(
    logits: Tensor, *, liver: Sequence[int], tumor: Sequence[int], overlapping: bool
) -> Tensor:
    """Logits (B, channels, k, j, i) to those of background, liver, tumor, (B, 3, k, j, i).

    liver, tumor: their channels. overlapping: each channel has a sigmoid of its own and the liver
    may hold the tumor (nnU-Net's regions); else all channels share one softmax. The softmax of the
    result is the sum of the probabilities of each one's channels.
    """
    logits = logits.float()
    if overlapping:
        probabilities = logits.sigmoid()
        whole = probabilities[:, list(liver)].amax(1)
        tumors = probabilities[:, list(tumor)].amax(1)
        classes = [1 - torch.maximum(whole, tumors), (whole - tumors).clamp_min(0), tumors]
        return torch.stack(classes, dim=1).clamp_min(LEAST).log()
    others = [n for n in range(logits.shape[1]) if n not in {*liver, *tumor}]
    groups = [others, list(liver), list(tumor)]
    return torch.stack([logits[:, group].logsumexp(1) for group in groups], dim=1)
