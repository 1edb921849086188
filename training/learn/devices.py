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


def pick_bf16(wanted: str, device: str) -> bool:
    """Whether to compute in bf16: on CUDA and on processors that multiply it; elsewhere slower.

    A step of Hybrid2d took a third of the time with AMX, and 0.53 of it with AVX512-BF16.
    """
    if wanted != "auto":
        return wanted == "bf16"
    if device.startswith("cuda"):
        return True
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.10 on
    return bool(capabilities.get("amx_bf16", False) or capabilities.get("avx512_bf16", False))
