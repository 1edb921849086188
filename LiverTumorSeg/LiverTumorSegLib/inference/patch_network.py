"""A patch network on a device: patches in, foreground probabilities out; see ``engine``.

    engine = PatchEngine(net, "auto")
    foreground = engine(patches)  # (B, channels, k, j, i) to (B, classes - 1, k, j, i)

It is what ``sliding_window`` calls a predictor. torch is imported at file scope here; import this
file only where a network is about to run.
"""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .network import NetEngine
from .tensors import to_array, to_tensor

CUDA_PATCHES = 4  # Cancel waits for no more than these
# PyTorch has a slow convolution for one small patch and another for two, in a third of the time; a
# large one takes the fast one alone, and Cancel should not wait for two of them
CPU_PATCHES, SMALL_VOXELS = 2, 2**18


class PatchEngine(NetEngine):
    """Runs a patch network; memory, device and notes as in ``engine.NetEngine``.

    Background is left out: with one foreground class its probability says all, and half of the
    memory that the windows' sums take is saved. Channels do not lie last here, as they do for
    slices.
    """

    one, several = "patch", "patches"
    cuda_batch = CUDA_PATCHES

    def __init__(self, net: nn.Module, device: str = "auto", batch: int | None = None) -> None:
        patch_kji: tuple[int, ...] = getattr(net, "patch_kji", ())
        self.cpu_batch = CPU_PATCHES if patch_kji and prod(patch_kji) <= SMALL_VOXELS else 1
        super().__init__(net, device, batch)

    def __call__(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Patches (B, channels, k, j, i) to foreground probabilities (B, classes - 1, k, j, i)."""
        return super().__call__(patches)

    def _run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), self._autocast():
            logits = self._net(to_tensor(inputs).to(self.device))
            return to_array(logits.float().softmax(1)[:, 1:])
