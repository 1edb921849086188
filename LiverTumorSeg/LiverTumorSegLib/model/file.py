"""One model in one ``.safetensors`` file: its description and its weights. Nothing is unpickled.

::

    file = ModelFile(spec, net.state_dict())
    sha256 = file.save("mine.safetensors", storage="int8")
    net = ModelFile.load("mine.safetensors", sha256=sha256).build_net()

    pair = join_files(liver_file, tumor_file, name="pair", version="1", cascade={})
    nets = pair.build_nets()        # {"liver": ..., "tumor": ...}, whose tensors begin so
    both = join_members([one_file, other_file])         # one network of two, their mean

Three forms of storage: ``fp32``; ``fp16``; ``int8``, a quarter of fp32's size, where the weights of
convolution, transposed convolution, linear and attention layers are int8 with one fp16 scale per
output channel and the rest is fp16. The running statistics of normalization layers stay fp32, for
a variance can pass fp16's 65504; whole numbers stay as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from LiverTumorSegLib.files import whole_file
from LiverTumorSegLib.sentences import sentence, sentence_of

from .spec import (
    GET_AGAIN,
    STAGES,
    STORAGES,
    BundleError,
    ModelSpec,
    file_sha256,
    join_specs,
    joint_training,
    naming_file,
    opened_model,
    parse_spec,
    read_spec,
)

if TYPE_CHECKING:
    import torch

__all__ = ["BundleError", "ModelFile", "ModelSpec", "file_sha256", "read_spec"]

State = Mapping[str, "torch.Tensor"]
SCALE = ".scale"  # suffix of the tensor with an int8 tensor's scales; no state dict has such a name
INT8_MAX = 127
SIZES_OF_SMALL_NETS = 512  # of layers, channels, pixels: harmless whatever is in the file
ENSEMBLES = {"hybrid2d": "hybrid2d-ensemble"}  # networks of which several can answer together
THREE_CLASSES = {"background": 0, "liver": 1, "tumor": 2}
OTHER_MODEL = "The file belongs to another net or version; export it again, or use another model."


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model's description and its weights.

    state: the net's state dict, brought to the CPU, floating point as fp32.
    sha256: of the file it was loaded from; None when it did not come from a file.
    """

    spec: ModelSpec
    state: dict[str, torch.Tensor]
    sha256: str | None = None

    def __post_init__(self) -> None:
        state = {name: _to_fp32_cpu(tensor) for name, tensor in self.state.items()}
        object.__setattr__(self, "state", state)

    @classmethod
    def load(cls, path: str | Path, *, sha256: str | None = None) -> ModelFile:
        """Read and check a file; ``BundleError`` when it is not what it should be.

        sha256: the hash the file must have. It is compared before anything in the file is parsed.
        """
        path = Path(path)
        with naming_file(path), opened_model(path) as stream:
            data = stream.read()
            digest = hashlib.sha256(data).hexdigest()
            if sha256 is not None and digest != sha256.lower():
                raise BundleError(
                    sentence(
                        "The file is damaged or was changed: its SHA-256 is {digest}, not "
                        "{sha256}. {again}",
                        digest=digest,
                        sha256=sha256,
                        again=GET_AGAIN,
                    )
                )
            stream.seek(0)  # the open file knows its name, which sharpens the refusal of pickles
            spec = parse_spec(stream, len(data))
            file = cls(spec, _unpack(_tensors(data)), digest)
            _check_state(file.state, _expected_state(spec, file.state))
        return file

    def save(self, path: str | Path, *, storage: str | None = None) -> str:
        """Write the file whole or not at all; return its SHA-256.

        storage: one of ``fp32``, ``fp16``, ``int8``; None keeps the spec's. The same spec and
        weights give the same bytes.
        """
        import safetensors.torch

        storage = storage or self.spec.storage
        if storage not in STORAGES:
            raise ValueError(
                sentence(
                    "Storage {storage!r} is unknown; use {known}.",
                    storage=storage,
                    known=", ".join(STORAGES),
                )
            )
        net = _new_net(self.spec)
        _check_state(self.state, net.state_dict())
        data: bytes = safetensors.torch.save(
            _pack(self.state, net, storage),
            metadata={"spec": replace(self.spec, storage=storage).to_json()},
        )
        with whole_file(Path(path)) as part:
            part.write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def build_net(self) -> torch.nn.Module:
        """A new net with its own copy of the weights, in eval mode, on the CPU."""
        net = _new_net(self.spec)
        _check_state(self.state, net.state_dict())
        net.load_state_dict(self.state, strict=True)
        return net.eval()

    def build_nets(self) -> dict[str, torch.nn.Module]:
        """Build each network of the spec, by its name; as :meth:`build_net`."""
        net = self.build_net()
        if not self.spec.is_cascade:
            return dict.fromkeys(self.spec.networks, net)
        return dict(net.named_children())


def join_files(
    liver: ModelFile, tumor: ModelFile, *, name: str, version: str, cascade: dict[str, Any]
) -> ModelFile:
    """The cascade of two networks as one model; ``BundleError`` when they do not make one.

    cascade: ``CascadeSettings.to_dict()``.
    """
    for place, file in (("liver", liver), ("tumor", tumor)):
        if file.spec.is_cascade or file.spec.labels not in (STAGES[place], THREE_CLASSES):
            raise BundleError(
                sentence(
                    "{name} is not the {stage} network of a cascade.",
                    name=file.spec.name,
                    stage=place,
                )
            )
    state = {
        f"{place}.{key}": tensor
        for place, file in (("liver", liver), ("tumor", tumor))
        for key, tensor in file.state.items()
    }
    return ModelFile(join_specs(name, version, liver.spec, tumor.spec, cascade), state)


def join_members(files: Sequence[ModelFile]) -> ModelFile:
    """Networks of one shape as one that answers by their mean; ``BundleError`` when they differ.

    A case that one of them has seen is no test for the ensemble.
    """
    first, *others = (file.spec for file in files)
    for spec in (first, *others):
        if _shape_of(spec) != _shape_of(first) or spec.net not in ENSEMBLES:
            raise BundleError(
                sentence(
                    "{name} cannot answer together with {first}: join networks that differ in "
                    "nothing but their weights.",
                    name=spec.name,
                    first=first.name,
                )
            )
    state = {
        f"members.{n}.{key}": tensor
        for n, file in enumerate(files)
        for key, tensor in file.state.items()
    }
    spec = replace(
        first,
        net=ENSEMBLES[first.net],
        net_args={"members": len(files), **first.net_args},
        provenance={
            **first.provenance,
            **joint_training([file.spec for file in files]),
            "members": [_training_of(file.spec) for file in files],
        },
    )
    return ModelFile(spec, state)


def _training_of(spec: ModelSpec) -> dict[str, Any]:
    """How one member was trained, as far as it differs from the others."""
    return {key: spec.provenance[key] for key in ("steps", "hours") if key in spec.provenance}


def _shape_of(spec: ModelSpec) -> tuple[object, ...]:
    return spec.net, spec.net_args, spec.preprocessing, spec.labels, spec.tta, spec.pair


def _expected_state(spec: ModelSpec, state: State) -> State:
    """Names, shapes and kinds of the tensors that the spec's net needs, without their numbers.

    A description may ask for a net of any size: sizes beyond those of the tensors in the file are
    refused before anything is built, and the rest is built without memory.
    """
    import torch

    most = max([SIZES_OF_SMALL_NETS, len(state), *(n for t in state.values() for n in t.shape)])
    args = [pair for one in spec.networks.values() for pair in one.net_args.items()]
    for name, value in args:
        for number in value if isinstance(value, list) else [value]:
            if type(number) is int and not 0 <= number <= most:
                raise BundleError(
                    sentence(
                        "The net's {name} is {value}, which its tensors do not bear out. {other}",
                        name=name,
                        value=value,
                        other=OTHER_MODEL,
                    )
                )
    with torch.device("meta"):
        return _new_net(spec).state_dict()


def _new_net(spec: ModelSpec) -> torch.nn.Module:
    """The spec's net, or both by their names, with random weights; the caller's random numbers go
    on undisturbed."""
    import torch

    if spec.is_cascade:
        return torch.nn.ModuleDict({name: _new_net(one) for name, one in spec.pair.items()})
    from LiverTumorSegLib.nets import NETS

    if spec.net not in NETS:
        known = ", ".join(sorted(NETS))
        raise BundleError(
            sentence(
                "The net {net!r} is unknown here (known: {known}). Update LiverTumorSeg, or use a "
                "model of a known net.",
                net=spec.net,
                known=known,
            )
        )
    try:
        with torch.random.fork_rng(devices=[]):
            net: torch.nn.Module = NETS[spec.net](**spec.net_args)
    except Exception as error:  # a division by no heads, say: whatever the arguments lead to
        raise BundleError(
            sentence(
                "The net {net!r} cannot be built from the model's arguments {arguments}: {problem} "
                "Export the model again with this version, or use another one.",
                net=spec.net,
                arguments=str(spec.net_args),
                problem=sentence_of(error),
            )
        ) from error
    return net


def _check_state(state: State, expected: State) -> None:
    """Names, shapes and kinds of number as in ``expected``, and every number finite."""
    import torch

    if missing := sorted(expected.keys() - state.keys()):
        raise BundleError(
            sentence(
                "{count} tensors are missing ({first}, ...). {other}",
                count=len(missing),
                first=missing[0],
                other=OTHER_MODEL,
            )
        )
    if extra := sorted(state.keys() - expected.keys()):
        raise BundleError(
            sentence(
                "{count} tensors have no place ({first}, ...). {other}",
                count=len(extra),
                first=extra[0],
                other=OTHER_MODEL,
            )
        )
    for name, reference in expected.items():
        tensor = state[name]
        if tensor.shape != reference.shape:
            raise BundleError(
                sentence(
                    "{name} has shape {shape} and the net needs {needed}. {other}",
                    name=name,
                    shape=str(tuple(tensor.shape)),
                    needed=str(tuple(reference.shape)),
                    other=OTHER_MODEL,
                )
            )
        if tensor.is_floating_point() != reference.is_floating_point():
            raise BundleError(
                sentence(
                    "{name} is {kind}, not {needed}. {other}",
                    name=name,
                    kind=str(tensor.dtype),
                    needed=str(reference.dtype),
                    other=OTHER_MODEL,
                )
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BundleError(
                sentence(
                    "{name} holds numbers that are not finite (NaN or infinite): its training went "
                    "wrong or the file is damaged. Use an earlier checkpoint or get the file "
                    "again.",
                    name=name,
                )
            )


def _tensors(data: bytes) -> dict[str, torch.Tensor]:
    import safetensors
    import safetensors.torch

    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load(data)
    except (safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise BundleError(
            sentence(
                "The file's tensors are damaged ({problem}). {again}",
                problem=sentence_of(error),
                again=GET_AGAIN,
            )
        ) from error
    return tensors


def _unpack(stored: State) -> dict[str, torch.Tensor]:
    """fp32 weights from any form of storage: the file itself says which tensors have a scale."""
    import torch

    scaled = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    state = {}
    for name, tensor in stored.items():
        if name.endswith(SCALE) and name.removesuffix(SCALE) in scaled:
            continue
        scale = stored.get(name + SCALE) if name in scaled else None
        state[name] = tensor if scale is None else _dequantized(name, tensor, scale)
    return state


def _pack(state: State, net: torch.nn.Module, storage: str) -> dict[str, torch.Tensor]:
    """The tensors as they lie in the file; copies, for safetensors refuses shared memory."""
    if storage == "fp32":
        return {name: tensor.contiguous().clone() for name, tensor in state.items()}
    axes = _output_axes(net) if storage == "int8" else {}
    precise = _running_statistics(net)
    packed = {}
    for name, tensor in state.items():
        if name in axes:
            packed[name], packed[name + SCALE] = _quantized(name, tensor, axes[name])
        elif name in precise or not tensor.is_floating_point():
            packed[name] = tensor.contiguous().clone()
        else:
            packed[name] = _fitting_half(name, tensor).contiguous()
    return packed


def _output_axes(net: torch.nn.Module) -> dict[str, int]:
    """Name of each weight that is stored as int8 -> its axis of output channels."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

    axes = {}
    for prefix, module in net.named_modules():
        if isinstance(module, _ConvNd | nn.Linear):
            axis, names = int(isinstance(module, _ConvTransposeNd)), ["weight"]
        elif isinstance(module, nn.MultiheadAttention):
            axis, names = 0, [f"{part}_proj_weight" for part in ("in", "q", "k", "v")]
        else:
            continue
        for name in names:
            if getattr(module, name) is not None:  # attention has either "in" or "q", "k", "v"
                axes[f"{prefix}.{name}" if prefix else name] = axis
    return axes


def _running_statistics(net: torch.nn.Module) -> set[str]:
    from torch.nn.modules.batchnorm import _NormBase

    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in net.named_modules()
        if isinstance(module, _NormBase)
        for name in ("running_mean", "running_var")
    }


def _quantized(name: str, weight: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 weights and fp16 scales with the weight's number of axes, all but ``axis`` of length 1.

    The scale is the least fp16 number that keeps the channel's largest weight within 127 steps, and
    the weights are divided by that rounded scale: so each is within half a step of its original.
    """
    import torch

    others = [other for other in range(weight.ndim) if other != axis]
    peak = weight.abs().amax(dim=others, keepdim=True)
    near = (peak / INT8_MAX).half()
    above = (near.view(torch.int16) + 1).view(torch.float16)  # the next larger fp16 number
    scale = torch.where(near.float() * INT8_MAX < peak, above, near)
    scale = torch.where(peak == 0, torch.ones_like(scale), scale)
    if not bool(torch.isfinite(scale).all()):
        raise _too_large(name, weight)
    steps = torch.round(weight / scale.float()).clamp(-INT8_MAX, INT8_MAX)
    return steps.to(torch.int8).contiguous(), scale.contiguous()


def _dequantized(name: str, steps: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    fits = scale.ndim == steps.ndim and all(
        length in (1, full) for length, full in zip(scale.shape, steps.shape, strict=True)
    )
    if not fits or not scale.is_floating_point():
        raise BundleError(
            sentence(
                "{name} of shape {shape} has scales of shape {scales}, which do not fit. {again}",
                name=name,
                shape=str(tuple(steps.shape)),
                scales=str(tuple(scale.shape)),
                again=GET_AGAIN,
            )
        )
    return steps.float() * scale.float()


def _fitting_half(name: str, tensor: torch.Tensor) -> torch.Tensor:
    import torch

    half = tensor.half()
    if not bool(torch.isfinite(half).all()):
        raise _too_large(name, tensor)
    return half


def _too_large(name: str, tensor: torch.Tensor) -> BundleError:
    largest = float(tensor.abs().max())
    return BundleError(
        sentence(
            "{name} holds {largest:.3g}, too large for half precision. Save with storage fp32.",
            name=name,
            largest=largest,
        )
    )


def _to_fp32_cpu(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor
