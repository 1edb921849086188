"""Which device a training process takes, and whether it counts in bf16 there.

device = pick_device("auto", processes)
bf16 = pick_bf16("auto", device)
"""

from __future__ import annotations

from typing import Any

import torch

from training.learn.distributed import ALONE, Processes


def pick_device(wanted: str, processes: Processes = ALONE) -> str:
    """CUDA where there is a device for "auto", else the CPU; of several processes each its own.

    Raises ``ValueError`` when this process has no GPU of its own.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if processes.count == 1 or wanted == "cpu":
        return wanted
    if wanted != "cuda":
        raise ValueError(
            f"Several processes cannot share {wanted}; give --device cuda, and each takes a GPU."
        )
    here = torch.cuda.device_count()
    if processes.local_rank >= here:
        raise ValueError(
            f"This machine has {here} GPUs, fewer than processes; start torchrun with"
            " --nproc_per_node at most that, or give --device cpu."
        )
    torch.cuda.set_device(processes.local_rank)
    return f"cuda:{processes.local_rank}"


def pick_bf16(wanted: str, device: str, *, vectors: bool = False) -> bool:
    """Whether to compute in bf16: on CUDA and on processors with matrix tiles for it; else slower.

    vectors: also where the processor multiplies it in vectors only (AVX512-BF16), with which a step
    of Hybrid2d took 0.53 of its time.
    """
    if wanted != "auto":
        return wanted == "bf16"
    if device.startswith("cuda"):
        return True
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.10 on
    tiles = bool(capabilities.get("amx_bf16", False))
    return tiles or (vectors and bool(capabilities.get("avx512_bf16", False)))
