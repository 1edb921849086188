"""A network of any make that came as a program: patches in, logits of three classes out.

The program is kept as bytes beside the other tensors of a model file, so that such a network is
stored, checked by its hash and handed around as every other one. Which programs there are:
``torchscript`` and ``onnx``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .three_classes import three_classes

Program = Callable[[Tensor], Any]


class ArchiveNet(nn.Module):
    """archive_bytes: length of the archive. patch_kji: what the network takes, along its own axes.

    of_slices: it takes (B, 1, j, i), a slice at a time. liver, tumor, overlapping: see
    :func:`three_classes`.
    """

    archive: Tensor

    def __init__(
        self,
        *,
        archive_bytes: int,
        patch_kji: Sequence[int],
        liver: Sequence[int],
        tumor: Sequence[int],
        overlapping: bool = False,
        of_slices: bool = False,
    ) -> None:
        super().__init__()
        if of_slices and patch_kji[0] != 1:
            raise ValueError(f"patch_kji is {tuple(patch_kji)}; a network of slices has 1 first.")
        self.patch_kji, self.of_slices = tuple(patch_kji), of_slices
        self.liver, self.tumor, self.overlapping = tuple(liver), tuple(tumor), overlapping
        self.register_buffer("archive", torch.zeros(archive_bytes, dtype=torch.uint8))
        self._programs: dict[torch.device, Program] = {}

    def forward(self, patches: Tensor) -> Tensor:
        """(B, 1, k, j, i) to logits (B, 3, k, j, i) of background, liver and tumor."""
        if patches.device not in self._programs:
            kept = self.archive.cpu()
            archive = ctypes.string_at(kept.data_ptr(), kept.numel())
            self._programs = {patches.device: self.load(archive, patches.device)}
        answer = self._programs[patches.device](patches[:, :, 0] if self.of_slices else patches)
        if isinstance(answer, (tuple, list)):  # deep supervision: the finest comes first
            answer = answer[0]
        if self.of_slices:
            answer = answer[:, :, None]
        return three_classes(
            answer, liver=self.liver, tumor=self.tumor, overlapping=self.overlapping
        )

    @staticmethod
    def load(archive: bytes, device: torch.device) -> Program:
        """The program in an archive; ``ValueError`` when there is none."""
        raise NotImplementedError
