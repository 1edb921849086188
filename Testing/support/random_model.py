"""A whole model file whose weights are random, and whose three classes all win somewhere."""

from __future__ import annotations

from pathlib import Path

import torch
from command_line import MODEL_SPEC
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.nets.hybrid2d import Hybrid2d


def save_random_model(path: Path) -> Path:
    """The same bytes each time."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        net = Hybrid2d(**MODEL_SPEC.net_args).eval()
        torch.nn.init.normal_(net.head.weight, std=20.0)
        net.head.bias -= net(torch.rand(1, 1, 256, 256)).mean((0, 2, 3))
    ModelFile(MODEL_SPEC, net.state_dict()).save(path)
    return path
