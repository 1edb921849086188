"""A network on a device: arrays in, probabilities out; smaller, or on the CPU, if memory is short.

torch is imported at file scope here; import this file only where a network is about to run.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from LiverTumorSegLib.sentences import sentence

from .tensors import to_array, to_tensor

MPS = "mps"  # Apple's GPU
MPS_TOLERANCE = 0.01  # of a probability; what PyTorch computes wrongly there is off by far more
CUDA_BATCH = 16
CPU_BATCH = 1  # larger batches are slower there and take more memory
CUDA_PATCHES = 4  # Cancel waits for no more than these
# PyTorch has a slow convolution for one small patch and another for two, in a third of the time; a
# large one takes the fast one alone, and Cancel should not wait for two of them
CPU_PATCHES, SMALL_VOXELS = 2, 2**18
BF16_CAPABILITY = (8, 0)  # the first cards with bf16 units; PyTorch emulates it on older ones
# PyTorch has a type of its own for one of the ways in which memory runs out, not for the others
SHORT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")
CONVOLUTIONS, NORMS = (nn.Conv2d, nn.Conv3d), (nn.BatchNorm2d, nn.BatchNorm3d)


class NetworkRunner(ABC):
    """Runs a network batch by batch; steps down to smaller batches and the CPU without memory.

    device: "auto" (CUDA where there is a device, else Apple's GPU), "cpu", "cuda", "cuda:N" or
        "mps". ``ValueError`` when it is not there. Apple's GPU works when its answer to the first
        input is the CPU's; else the CPU does ("auto"), or ``ValueError`` says why ("mps").
    batch: inputs at a time; halves when CUDA memory runs out, and at last the CPU takes over.
    warnings: sentences about what had to be changed on the way; whoever has shown them clears them.
    """

    one, several = "slice", "slices"  # what an input is called in sentences
    cuda_batch, cpu_batch = CUDA_BATCH, CPU_BATCH

    def __init__(self, net: nn.Module, device: str = "auto", batch: int | None = None) -> None:
        self.device = choose_device(device)
        self._is_checked, self._must_be_mps = self.device != MPS, device == MPS
        self.batch = batch or (self.cpu_batch if self.device == "cpu" else self.cuda_batch)
        self.warnings: list[str] = []
        self._net = fold_batch_norm(net)
        try:
            self._place()
        except RuntimeError as error:
            if self.device == "cpu" or not _is_short_of_memory(error):
                raise
            self._move_to_cpu()

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Any number of inputs, the first axis, to as many predictions."""
        if not self._is_checked:
            self._check_against_cpu(inputs[:1])
        while True:
            try:
                parts = []
                for start in range(0, len(inputs), self.batch):
                    parts.append(self._run(inputs[start : start + self.batch]))
                return np.concatenate(parts)
            except RuntimeError as error:
                if not _is_short_of_memory(error):
                    raise
            self._step_down()  # out here, where the error no longer holds what filled the memory

    def _check_against_cpu(self, one: NDArray[Any]) -> None:
        """Use Apple's GPU only if its prediction of one input is the CPU's."""
        self._is_checked = True
        reason = "computes other numbers than the CPU"
        prediction: NDArray[np.float32] | None = None
        try:
            prediction = self._run(one)
        except RuntimeError as error:  # an operation that it lacks, most often
            reason = sentence("cannot run this network ({error})", error=str(error).splitlines()[0])
        self.device = "cpu"
        self._place()
        if prediction is not None and np.abs(prediction - self._run(one)).max() <= MPS_TOLERANCE:
            self.device = MPS
            self._place()
        elif self._must_be_mps:
            raise ValueError(sentence("The Apple GPU {reason}; use cpu.", reason=reason))
        else:
            self.batch = self.cpu_batch
            self.warnings.append(
                sentence("The Apple GPU {reason}: the run went on with the CPU.", reason=reason)
            )

    @abstractmethod
    def _run(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """One batch."""

    def _step_down(self) -> None:
        """Half the batch, or the CPU when one input is too much for the GPU."""
        if self.batch > 1:
            self.batch //= 2
            some = self.one if self.batch == 1 else self.several
            whose = "Memory" if self.device == "cpu" else "GPU memory"
            self.warnings.append(
                sentence(
                    "{whose} ran short: continued with {batch} {some} at a time.",
                    whose=whose,
                    batch=self.batch,
                    some=some,
                )
            )
        elif self.device == "cpu":
            raise MemoryError(
                sentence("The memory does not hold one {one}; close other programs.", one=self.one)
            )
        else:
            self._move_to_cpu()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _move_to_cpu(self) -> None:
        self.device, self.batch = "cpu", self.cpu_batch
        self._place()
        self.warnings.append("GPU memory ran out: the run continued on the CPU, which is slower.")

    def _place(self) -> None:
        self._net = self._net.to(self.device)

    def _autocast(self) -> AbstractContextManager[Any]:
        if not self.device.startswith("cuda"):
            return nullcontext()
        # older cards have no bf16 units; fp16 carries this net's range as well
        has_bf16 = torch.cuda.get_device_capability(self.device) >= BF16_CAPABILITY
        half = torch.bfloat16 if has_bf16 else torch.float16
        return torch.autocast("cuda", half)


class SliceRunner(NetworkRunner):
    """Runs a slice network: grays uint8 (B, H, W), or float32 (B, channels, H, W) as the network
    takes them, to class probabilities (B, H, W, classes).

    tta: average each probability with that of the slice's left-right mirror image, mirrored back.
    """

    def __init__(
        self,
        net: nn.Module,
        device: str = "auto",
        batch: int | None = None,
        *,
        tta: bool = False,
    ) -> None:
        self.tta = tta
        super().__init__(net, device, batch)

    def _run(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode(), self._autocast():
            images = to_tensor(inputs).to(self.device)
            if images.ndim == 3:
                images = images[:, None].float() / 255
            images = images.contiguous(memory_format=torch.channels_last)
            probabilities = self._net(images).float().softmax(1)
            if self.tta:
                mirrored = images.flip(3).contiguous(memory_format=torch.channels_last)
                probabilities += self._net(mirrored).float().softmax(1).flip(3)
                probabilities /= 2
            return to_array(probabilities.permute(0, 2, 3, 1))

    def _place(self) -> None:
        self._net = self._net.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class PatchRunner(NetworkRunner):
    """Runs a patch network: (B, channels, k, j, i) to foreground probabilities.

    These are (B, classes - 1, k, j, i). It is what ``sliding_window`` calls a predictor. Background
    is left out: with one foreground class its probability says all, and half of the memory that the
    windows' sums take is saved.
    Channels do not lie last here, as they do for slices.
    """

    one, several = "patch", "patches"
    cuda_batch = CUDA_PATCHES

    def __init__(self, net: nn.Module, device: str = "auto", batch: int | None = None) -> None:
        patch_kji: tuple[int, ...] = getattr(net, "patch_kji", ())
        self.cpu_batch = CPU_PATCHES if patch_kji and prod(patch_kji) <= SMALL_VOXELS else 1
        super().__init__(net, device, batch)

    def _run(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), self._autocast():
            logits = self._net(to_tensor(inputs).to(self.device))
            return to_array(logits.float().softmax(1)[:, 1:])


def choose_device(wanted: str) -> str:
    """A device that is there: ``ValueError`` with what to use otherwise."""
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wanted == "auto":
        return "cuda" if has_cuda else MPS if has_mps else "cpu"
    if wanted == "cpu":
        return "cpu"
    if wanted == MPS:
        if not has_mps:
            raise ValueError("This computer has no Apple GPU that PyTorch can use; use cpu.")
        return MPS
    if wanted == "cuda" or wanted.startswith("cuda:"):
        if not has_cuda:
            raise ValueError("This computer has no CUDA device that PyTorch can use; use cpu.")
        there = ["cuda", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
        if wanted not in there:
            raise ValueError(
                sentence(
                    "There is no device {wanted!r}; use {there} or cpu.",
                    wanted=wanted,
                    there=", ".join(there),
                )
            )
        return wanted
    raise ValueError(
        sentence("Device {wanted!r} is unknown; use auto, cpu, cuda, cuda:0 or mps.", wanted=wanted)
    )


def _is_short_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(
        message in str(error) for message in SHORT_OF_MEMORY
    )


def fold_batch_norm(net: nn.Module) -> nn.Module:
    """A copy in eval mode whose batch norms are part of the convolutions before them.

    The same function up to rounding, with a sixth of the memory traffic saved.
    """
    folded = copy.deepcopy(net).eval()
    for module in folded.modules():
        if isinstance(module, nn.Sequential):
            _fold_sequence(module)
    return folded


def _fold_sequence(sequence: nn.Sequential) -> None:
    for n in range(len(sequence) - 1):
        convolution, norm = sequence[n], sequence[n + 1]
        if isinstance(convolution, CONVOLUTIONS) and isinstance(norm, NORMS):
            sequence[n] = fuse_conv_bn_eval(convolution, norm)
            sequence[n + 1] = nn.Identity()
