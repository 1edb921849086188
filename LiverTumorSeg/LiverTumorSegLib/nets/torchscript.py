"""A network that came as TorchScript."""

from __future__ import annotations

import io
from typing import Any

import torch

from .archive import ArchiveNet, Program


class TorchScriptNet(ArchiveNet):
    """Its arguments are those of :class:`ArchiveNet`."""

    @staticmethod
    def load(archive: bytes, device: torch.device) -> Program:
        """The program in an archive, in eval mode; ``ValueError`` when there is none."""
        try:
            load: Any = torch.jit.load  # without hints
            program = load(io.BytesIO(archive), map_location=device)
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                "This is no TorchScript that PyTorch can read here; export the network again."
            ) from error
        evaluating: Program = program.eval()
        return evaluating
