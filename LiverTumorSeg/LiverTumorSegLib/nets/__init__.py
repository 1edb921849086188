"""The networks by the names that model files use."""

from __future__ import annotations

from torch import nn

from .ensemble import Hybrid2dEnsemble
from .gunetrpp import GUnetrpp
from .hybrid2d import Hybrid2d
from .nnunet import NnUnet
from .onnx import OnnxNet
from .torchscript import TorchScriptNet

NETS: dict[str, type[nn.Module]] = {
    "gunetrpp": GUnetrpp,
    "hybrid2d": Hybrid2d,
    "hybrid2d-ensemble": Hybrid2dEnsemble,
    "nnunet": NnUnet,
    "onnx": OnnxNet,
    "torchscript": TorchScriptNet,
}
