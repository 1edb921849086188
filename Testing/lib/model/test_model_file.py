"""A model file written and read back: exactness, size, and every way it can be broken."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from LiverTumorSegLib.model.file import ModelFile
from LiverTumorSegLib.model.spec import BundleError, ModelSpec, file_sha256, read_spec
from LiverTumorSegLib.nets import NETS
from looped import looped
from torch import Tensor, nn


class EveryLayer(nn.Module):
    """One layer of each kind that storage treats in its own way."""

    def __init__(self, *, width: int = 6) -> None:
        super().__init__()
        if width < 2:
            raise ValueError("The width must be at least 2.")
        self.position = nn.Parameter(torch.randn(1, 5, width))
        self.conv = nn.Conv2d(1, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.up = nn.ConvTranspose2d(width, 4, 2)
        self.linear = nn.Linear(width, 3)
        self.attention = nn.MultiheadAttention(width, 2)
        self.cross = nn.MultiheadAttention(width, 2, kdim=4, vdim=4)


AXES = {  # of output channels
    "conv.weight": 0,
    "up.weight": 1,
    "linear.weight": 0,
    "attention.in_proj_weight": 0,
    "attention.out_proj.weight": 0,
    "cross.q_proj_weight": 0,
    "cross.k_proj_weight": 0,
    "cross.v_proj_weight": 0,
    "cross.out_proj.weight": 0,
}


@pytest.fixture(autouse=True)
def _known_nets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETS, "every", EveryLayer)
    monkeypatch.setitem(NETS, "linear", nn.Linear)


def spec_of(net: str, **net_args: Any) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        version="1",
        net=net,
        net_args=net_args,
        preprocessing={},
        labels={"background": 0, "liver": 1, "tumor": 2},
        training_hu_range=None,
        postprocessing={},
        provenance={},
        storage="fp32",
    )


@pytest.fixture
def bundle() -> ModelFile:
    torch.manual_seed(0)
    net = EveryLayer(width=6)
    for parameter in net.parameters():  # channels of very different size, as after training
        parameter.data *= torch.logspace(-6, 2, parameter.shape[0]).view(
            -1, *[1] * (parameter.ndim - 1)
        )
    net.norm.running_var = torch.tensor([1e-9, 1e6, 1.0, 2.0, 3.0, 4.0])
    net.norm.num_batches_tracked = torch.tensor(123_456_789)
    return ModelFile(spec_of("every", width=6), net.state_dict())


def saved_and_loaded(bundle: ModelFile, folder: Path, storage: str) -> ModelFile:
    sha256 = bundle.save(folder / "model.safetensors", storage=storage)
    return ModelFile.load(folder / "model.safetensors", sha256=sha256)


@looped("storage", ["fp32", "fp16", "int8"])
def test_what_every_storage_keeps(bundle: ModelFile, tmp_path: Path, storage: str) -> None:
    back = saved_and_loaded(bundle, tmp_path, storage)
    assert back.spec == replace(bundle.spec, storage=storage)
    assert read_spec(tmp_path / "model.safetensors") == back.spec
    assert back.sha256 == file_sha256(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == [tmp_path / "model.safetensors"]
    assert back.state.keys() == bundle.state.keys()
    for name, tensor in back.state.items():
        original = bundle.state[name]
        assert tensor.dtype == original.dtype
        if storage == "fp32" or "running" in name or not tensor.is_floating_point():
            assert torch.equal(tensor, original), name
        elif storage == "fp16" or name not in AXES:
            assert torch.equal(tensor, original.half().float()), name


@looped("storage", ["fp32", "fp16", "int8"])
def test_a_patch_network_in_every_storage(tmp_path: Path, storage: str) -> None:
    """Of its layers of three axes too all that matters is kept."""
    from cascade_model import LIVER_SPEC, PATCH_KJI, random_net

    net, patches = random_net(0), torch.rand(1, 1, *PATCH_KJI)
    back = saved_and_loaded(ModelFile(LIVER_SPEC, net.state_dict()), tmp_path, storage)
    with torch.no_grad():
        expected, made = net(patches).softmax(1), back.build_net()(patches).softmax(1)
    apart = (made - expected).abs().max()
    assert apart == 0 if storage == "fp32" else 0 < apart < 0.1


def test_int8_is_within_half_a_step_of_the_largest_weight_over_127(
    bundle: ModelFile, tmp_path: Path
) -> None:
    back = saved_and_loaded(bundle, tmp_path, "int8")
    for name, axis in AXES.items():
        original = bundle.state[name].movedim(axis, 0).flatten(1)
        restored = back.state[name].movedim(axis, 0).flatten(1)
        exact_step = original.abs().amax(1, keepdim=True) / 127
        step = exact_step * (1 + 2**-10) + 2**-24  # fp16: relative and least absolute precision
        assert ((restored - original).abs() <= step / 2 * (1 + 1e-5)).all(), name


def test_int8_stores_the_scale_that_it_divided_by(bundle: ModelFile, tmp_path: Path) -> None:
    bundle.save(tmp_path / "model.safetensors", storage="int8")
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert {name for name, tensor in stored.items() if tensor.dtype == torch.int8} == set(AXES)
    for name, axis in AXES.items():
        scale = stored[name + ".scale"]
        assert scale.dtype == torch.float16
        assert scale.numel() == scale.shape[axis] == bundle.state[name].shape[axis]
        error = (stored[name].float() * scale.float() - bundle.state[name]).abs()
        assert (error <= scale.float() / 2 * (1 + 1e-5)).all(), name


def test_a_channel_of_zeros_stays_zero_beside_others(bundle: ModelFile, tmp_path: Path) -> None:
    bundle.state["conv.weight"][2] = 0
    bundle.state["up.weight"][:, 1] = 0
    back = saved_and_loaded(bundle, tmp_path, "int8")
    assert not back.state["conv.weight"][2].any()
    assert not back.state["up.weight"][:, 1].any()
    assert back.state["conv.weight"][3].any()
    scales = safetensors.torch.load_file(tmp_path / "model.safetensors")["conv.weight.scale"]
    assert (scales > 0).all()  # nothing was divided by zero


def test_int8_again_changes_nothing_more(bundle: ModelFile, tmp_path: Path) -> None:
    bundle.state["conv.weight"][0] = 1.0  # away from the least fp16 numbers
    once = saved_and_loaded(bundle, tmp_path, "int8")
    twice = saved_and_loaded(once, tmp_path, "int8")
    for name in ("conv.weight", "attention.in_proj_weight"):
        large = bundle.state[name].flatten(1).abs().amax(1) > 0.02
        assert torch.equal(once.state[name][large], twice.state[name][large])


def test_the_same_model_gives_the_same_bytes(bundle: ModelFile, tmp_path: Path) -> None:
    again = ModelFile(bundle.spec, dict(reversed(bundle.state.items())))
    for storage in ("fp32", "fp16", "int8"):
        first = bundle.save(tmp_path / "a.safetensors", storage=storage)
        assert first == again.save(tmp_path / "b.safetensors", storage=storage)
        assert (tmp_path / "a.safetensors").read_bytes() == (
            tmp_path / "b.safetensors"
        ).read_bytes()


def test_storage_of_the_spec_is_the_default(bundle: ModelFile, tmp_path: Path) -> None:
    half = ModelFile(replace(bundle.spec, storage="fp16"), bundle.state)
    assert half.save(tmp_path / "a") == bundle.save(tmp_path / "b", storage="fp16")
    with pytest.raises(ValueError, match="int4"):
        bundle.save(tmp_path / "c", storage="int4")


def test_net_computes_what_was_saved_and_owns_its_weights(tmp_path: Path) -> None:
    net = nn.Linear(4, 3)
    built = saved_and_loaded(
        ModelFile(spec_of("linear", in_features=4, out_features=3), net.state_dict()),
        tmp_path,
        "fp32",
    ).build_net()
    x = torch.randn(2, 4)
    assert torch.equal(built(x), net(x))
    bundle = ModelFile(spec_of("linear", in_features=4, out_features=3), net.state_dict())
    bundle.build_net().weight.data.zero_()
    assert bundle.state["weight"].any()


def test_random_numbers_go_on_undisturbed(bundle: ModelFile, tmp_path: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    saved_and_loaded(bundle, tmp_path, "int8").build_net()
    assert torch.equal(torch.rand(4), expected)


def test_real_net_shipped_form(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = spec_of("hybrid2d", width=8)
    net = NETS["hybrid2d"](width=8).eval()
    bundle = ModelFile(spec, net.state_dict())
    built = saved_and_loaded(bundle, tmp_path, "int8").build_net()
    assert not built.training
    x = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        expected, got = net(x), built(x)
    assert (got - expected).abs().mean() < 0.05 * expected.std()
    bundle.save(tmp_path / "full", storage="fp32")
    matrices = {k: v for k, v in bundle.state.items() if k.endswith("weight") and v.ndim > 1}
    parameters = sum(tensor.numel() for tensor in matrices.values())
    rest = sum(tensor.numel() for tensor in bundle.state.values()) - parameters
    shipped = (tmp_path / "model.safetensors").stat().st_size
    header = 8 + int.from_bytes((tmp_path / "model.safetensors").read_bytes()[:8], "little")
    assert parameters + 2 * rest < shipped - header < 1.1 * (parameters + 2 * rest)


def test_shipped_form_of_large_layers_is_a_quarter(tmp_path: Path) -> None:
    net = nn.Linear(500, 500)
    bundle = ModelFile(spec_of("linear", in_features=500, out_features=500), net.state_dict())
    sizes = {}
    for storage in ("fp32", "fp16", "int8"):
        bundle.save(tmp_path / storage, storage=storage)
        sizes[storage] = (tmp_path / storage).stat().st_size
    assert sizes["int8"] / sizes["fp32"] == pytest.approx(0.25, abs=0.01)
    assert sizes["fp16"] / sizes["fp32"] == pytest.approx(0.5, abs=0.01)


# How a file can be broken


def broken(
    bundle: ModelFile, path: Path, change: Callable[[dict[str, Tensor]], None], storage: str
) -> Path:
    """A well-formed file whose tensors were changed."""
    bundle.save(path, storage=storage)
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    spec = replace(bundle.spec, storage=storage)
    safetensors.torch.save_file(tensors, path, metadata={"spec": spec.to_json()})
    return path


def _set(name: str, value: Tensor) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.update({name: value})


def _remove(name: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.__delitem__(name)


@looped(
    ("storage", "change", "says"),
    [
        ("fp32", _remove("conv.bias"), r"1 tensors are missing \(conv.bias"),
        ("fp32", _set("other", torch.zeros(2)), r"no place \(other.*use another model"),
        ("fp32", _set("conv.bias", torch.zeros(7)), r"conv.bias has shape \(7,\).*needs \(6,\)"),
        ("fp32", _set("conv.bias", torch.full((6,), torch.nan)), "conv.bias holds.*not finite"),
        ("fp32", _set("norm.running_var", torch.full((6,), torch.inf)), "not finite"),
        ("fp32", _set("conv.bias", torch.zeros(6, dtype=torch.int32)), "conv.bias is torch.int32"),
        ("int8", _remove("conv.weight.scale"), "conv.weight is torch.int8"),
        ("int8", _set("conv.weight.scale", torch.zeros(7).half()), "scales of shape.*do not fit"),
        ("int8", _set("conv.weight.scale", torch.zeros(7, 1, 1, 1).half()), "do not fit"),
        (
            "int8",
            _set("conv.weight.scale", torch.full((6, 1, 1, 1), torch.nan).half()),
            "conv.weight holds.*not finite",
        ),
    ],
)
def test_wrong_tensors_are_refused(
    bundle: ModelFile,
    tmp_path: Path,
    storage: str,
    change: Callable[[dict[str, Tensor]], None],
    says: str,
) -> None:
    path = broken(bundle, tmp_path / "model.safetensors", change, storage)
    with pytest.raises(BundleError, match=f"model.safetensors: .*{says}"):
        ModelFile.load(path)


@looped(
    ("change", "says"),
    [
        ({"net": "unet"}, "'unet' is unknown.*hybrid2d.*Update"),
        ({"net_args": {"depth": 3}}, "cannot be built.*depth"),
        ({"net_args": {"width": 1}}, "cannot be built.*at least 2"),
        ({"net_args": {"width": 8}}, "has shape"),
        ({"net": "linear", "net_args": {"in_features": 2, "out_features": 2}}, "missing"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused(
    bundle: ModelFile, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    spec = replace(bundle.spec, **change)
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(bundle.state, path, metadata={"spec": spec.to_json()})
    with pytest.raises(BundleError, match=says):
        ModelFile.load(path)
    with pytest.raises(BundleError, match=says):
        ModelFile(spec, bundle.state).save(tmp_path / "other.safetensors")
    with pytest.raises(BundleError, match=says):
        ModelFile(spec, bundle.state).build_net()
    assert not (tmp_path / "other.safetensors").exists()


@looped("storage", ["fp32", "fp16", "int8"])
def test_weights_that_are_not_finite_are_not_saved(
    bundle: ModelFile, tmp_path: Path, storage: str
) -> None:
    bundle.state["linear.weight"][0, 0] = torch.nan
    with pytest.raises(BundleError, match=r"linear\.weight holds"):
        bundle.save(tmp_path / "model.safetensors", storage=storage)
    assert list(tmp_path.iterdir()) == []


@looped(("name", "value"), [("linear.bias", 1e5), ("linear.weight", 1e7)])
def test_weights_too_large_for_half_precision_ask_for_fp32(
    bundle: ModelFile, tmp_path: Path, name: str, value: float
) -> None:
    bundle.state[name][0] = value
    with pytest.raises(BundleError, match=f"{name}.*storage fp32"):
        bundle.save(tmp_path / "model.safetensors", storage="int8")
    assert saved_and_loaded(bundle, tmp_path, "fp32").state[name].max() == value


def test_another_hash_is_refused_before_anything_is_parsed(
    bundle: ModelFile, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    sha256 = bundle.save(path)
    assert ModelFile.load(path, sha256=sha256.upper()).sha256 == sha256
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"SHA-256 is .*Get the file again"):
        ModelFile.load(path, sha256=sha256)
    path.write_bytes(b"not even a model")
    with pytest.raises(BundleError, match="SHA-256"):
        ModelFile.load(path, sha256=sha256)


def test_cut_and_absent_files_are_refused(bundle: ModelFile, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    bundle.save(path)
    data = path.read_bytes()
    for length in (0, 4, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(BundleError, match=r"model\.safetensors: "):
            ModelFile.load(path)
    with pytest.raises(BundleError, match="no such model file"):
        ModelFile.load(tmp_path / "none.safetensors")


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@looped("name", ["model.pt", "model.pth", "model.safetensors"])
@looped("kind", ["torch", "torch_old", "zip", "protocol 0", "protocol 4"])
def test_a_pickle_is_never_opened(tmp_path: Path, kind: str, name: str) -> None:
    path, touched = tmp_path / name, tmp_path / "touched"
    payload = Payload(touched)
    if kind.startswith("torch"):
        torch.save(payload, path, _use_new_zipfile_serialization=kind == "torch")
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(payload))
    else:
        path.write_bytes(pickle.dumps(payload, protocol=int(kind[-1])))
    for read in (read_spec, ModelFile.load):
        with pytest.raises(BundleError, match=r"never read|not a model file"):
            read(path)
    assert not touched.exists()
    pickle.load(io.BytesIO(pickle.dumps(payload)))  # the payload is live: the test can fail
    assert touched.exists()


def test_a_description_that_its_tensors_do_not_bear_out_is_one_quick_sentence(
    tmp_path: Path,
) -> None:
    """Whatever a model's words ask for: nothing of that size is built, nothing is a traceback."""
    import json
    import time

    from command_line import save_model
    from LiverTumorSegLib.inference.segmenter import load_segmenter
    from LiverTumorSegLib.settings import RunSettings

    data = save_model(tmp_path / "m.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    spec = json.loads(header["__metadata__"]["spec"])
    odd: list[tuple[str, str, object]] = [
        *(("net_args", "width", value) for value in (0, -1, 4096, 2**62, 8.5, "8", None, [8])),
        *(("net_args", "layers", value) for value in (-1, 3000, 2**30, None)),
        *(("net_args", "heads", value) for value in (0, -1, 3, 2**40, "x")),
        *(("preprocessing", "clahe_tiles", value) for value in (0, -1, 8.0, 2**40, None)),
        *(("preprocessing", "grid_px", value) for value in (0, 512.0, 16384, -512)),
        *(("preprocessing", "size_px", value) for value in (65536, 0, "256")),
        *(("preprocessing", "gamma", value) for value in ("x", None, 0, 1e308, 10**400)),
        *(("preprocessing", "clahe_clip", value) for value in ("x", True, -1)),
        *(("preprocessing", "window_hu", value) for value in ([-40], [-(2**62), 2**62], None, "x")),
        *(("decision", "smoothing_mm", value) for value in (10**400, 1e9, -1)),
        *(("decision", "calibration", value) for value in ([10**400, 0], [1], "xy", [1, None])),
        *(("postprocessing", "smallest_lesion_mm", value) for value in (10**400, 1e308, "5")),
        ("", "training_hu_range", [-(10**400), 10**400]),
        ("", "training_hu_range", [0]),
    ]
    for part, key, value in odd:
        changed = {**spec, part: {**spec[part], key: value}} if part else {**spec, key: value}
        text = json.dumps({**header, "__metadata__": {"spec": json.dumps(changed)}}).encode()
        path = tmp_path / "odd.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
        start = time.process_time()
        with pytest.raises((BundleError, ValueError)) as refused:
            load_segmenter(RunSettings(model=str(path), device="cpu"))
        assert time.process_time() - start < 3, (key, value)
        assert str(tmp_path) not in str(refused.value), (key, value)
