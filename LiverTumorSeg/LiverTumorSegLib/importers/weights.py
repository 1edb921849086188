"""Weights of a network from elsewhere: safetensors, TorchScript, ONNX, and trusted pickles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from LiverTumorSegLib.files import read_json

if TYPE_CHECKING:
    import torch

State = dict[str, "torch.Tensor"]
ONNX_ENDINGS = (".onnx",)
PROGRAM_ENDINGS = (".ts", ".pt", *ONNX_ENDINGS)
PICKLE_ENDINGS = (".pth", ".ckpt")
SHARED_PREFIXES = ("module.", "_orig_mod.")  # of networks trained on several GPUs, or compiled


def read_description(path: Path) -> dict[str, Any]:
    """A JSON file of the folder; ``ValueError`` where there is none."""
    if not path.is_file():
        raise ValueError(f"The folder holds no {path.name}; name the folder that training wrote.")
    return read_json(path)


def read_safetensors(path: Path) -> State:
    """The tensors in a file; nothing in it can run."""
    import safetensors
    import safetensors.torch

    try:
        state: State = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path.name} is no whole safetensors file; get it again.") from error
    return without_prefix(state)


def read_trusted_pickle(path: Path, *, trust: bool) -> State:
    """The tensors of an nnU-Net checkpoint. Without ``trust`` it is not opened at all."""
    if not trust:
        raise ValueError(
            f"{path.name} is a pickle: to open it runs whatever code it holds, with your rights. If"
            " you know who made it, import the folder again with --trust; what is kept then is no"
            " pickle."
        )
    import torch

    try:
        stored = torch.load(path, map_location="cpu", weights_only=False)
        state = dict(stored.get("network_weights", stored))
    except Exception as error:  # whatever its code leads to
        raise ValueError(f"{path.name} cannot be opened ({type(error).__name__}).") from error
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ValueError(f"{path.name} holds no network's weights; use nnU-Net's checkpoint.")
    return without_prefix(tensors)


def without_prefix(state: State) -> State:
    """Rename tensors to the names that the network itself has for them."""
    for prefix in SHARED_PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def read_program(path: Path, patch: Sequence[int]) -> tuple[str, State, int]:
    """Of TorchScript or ONNX: the net's name here, the archive as the tensor that it is stored as,
    and how many channels the network puts out.

    patch: of two sides for a network of slices. The network is run once on an empty patch: what
    does not take it is refused.
    """
    import torch

    from LiverTumorSegLib.nets.onnx import OnnxNet
    from LiverTumorSegLib.nets.torchscript import TorchScriptNet

    data = path.read_bytes()
    is_onnx = path.suffix in ONNX_ENDINGS
    try:
        program = (OnnxNet if is_onnx else TorchScriptNet).load(data, torch.device("cpu"))
    except ValueError as error:
        if is_onnx:
            raise ValueError(f"{path.name}: {error}") from None
        raise ValueError(
            f"{path.name} is no TorchScript. Export the network with torch.jit.trace or"
            " torch.jit.script, or as .onnx; other checkpoints are not read."
        ) from None
    try:
        with torch.inference_mode():
            answer = program(torch.zeros(1, 1, *patch))
    except RuntimeError as error:
        raise ValueError(
            f"The network in {path.name} does not take one CT channel in patches of {list(patch)}."
        ) from error
    if isinstance(answer, (tuple, list)) and answer:
        answer = answer[0]
    is_map = isinstance(answer, torch.Tensor) and answer.ndim == 2 + len(patch)
    if not is_map or tuple(answer.shape[2:]) != tuple(patch):
        raise ValueError(
            f"The network in {path.name} does not answer with a map as large as its patch."
        )
    archive = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return "onnx" if is_onnx else "torchscript", {"archive": archive}, int(answer.shape[1])
