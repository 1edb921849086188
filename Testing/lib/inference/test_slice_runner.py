"""The engine: the same answers as the plain network, on less when memory runs short."""

from __future__ import annotations

import copy
import re
import weakref
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch_threads
from LiverTumorSegLib.inference import network as engine_file
from LiverTumorSegLib.inference.network import (
    CUDA_BATCH,
    SliceRunner,
    choose_device,
    fold_batch_norm,
)
from LiverTumorSegLib.nets.hybrid2d import Hybrid2d
from looped import looped
from numpy.typing import NDArray
from torch import nn

one_thread = torch_threads.one_thread

SIDE = 64
Grays = NDArray[np.uint8]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """Small, with batch norms as after training: no mean, variance, gain or offset is trivial."""
    torch.manual_seed(0)
    net = Hybrid2d(width=8, size_px=SIDE)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.2, 3.0)
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.0, 0.3)
    return net


def grays(count: int) -> Grays:
    return np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)


def plain(net: nn.Module, images: Grays) -> NDArray[np.float32]:
    """The network's own answer, one slice at a time, without any of the engine's means."""
    net = copy.deepcopy(net).eval()
    with torch.no_grad():
        answers = [net(torch.tensor(one)[None, None] / 255).softmax(1)[0] for one in images]
    return torch.stack(answers).permute(0, 2, 3, 1).numpy()


def test_the_networks_own_probabilities(net: nn.Module) -> None:
    images = grays(3)
    probabilities = SliceRunner(net, "cpu")(images)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (3, SIDE, SIDE, 3)
    np.testing.assert_allclose(probabilities.sum(axis=3), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities, plain(net, images), atol=1e-5)


def test_mirrored_answers_are_averaged(net: nn.Module) -> None:
    images = grays(3)
    straight, turned = plain(net, images), plain(net, images[..., ::-1].copy())
    made = SliceRunner(net, "cpu", 2, tta=True)(images)
    np.testing.assert_allclose(made, (straight + turned[:, :, ::-1]) / 2, atol=1e-5)
    assert np.abs(made - straight).max() > 1e-2  # a net that is not symmetric


@looped("batch", [2, 4, 5, 16])
def test_a_batch_is_as_good_as_one_at_a_time(net: nn.Module, batch: int) -> None:
    images = grays(5)
    together = SliceRunner(net, "cpu", batch)(images)
    np.testing.assert_allclose(together, SliceRunner(net, "cpu", 1)(images), atol=1e-5)


def test_folding_changes_the_form_and_not_the_function(net: nn.Module) -> None:
    before = copy.deepcopy(net.state_dict())
    folded = fold_batch_norm(net)
    images = torch.rand(2, 1, SIDE, SIDE)
    with torch.no_grad():
        expected = copy.deepcopy(net).eval()(images)
        assert expected.std() > 1e-2  # the comparison means something
        torch.testing.assert_close(folded(images), expected, atol=1e-5, rtol=1e-5)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(m.training for m in folded.modules() if not isinstance(m, nn.Identity))
    assert net.training
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == 14
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_only_a_norm_right_behind_its_convolution_is_folded() -> None:
    norm = nn.BatchNorm2d(4)
    norm.running_mean.normal_()
    net = nn.Sequential(norm, nn.Conv2d(4, 4, 1), nn.ReLU(), copy.deepcopy(norm)).eval()
    images = torch.rand(2, 4, 8, 8)
    folded = fold_batch_norm(net)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules()) == 2
    torch.testing.assert_close(folded(images), net(images))


RuntimeErrors = Callable[[], RuntimeError]
FULL: RuntimeErrors = partial(torch.cuda.OutOfMemoryError, "simulated")


class Tight(SliceRunner):
    """A pretended CUDA device that holds ``room`` slices, and a CPU that holds any number."""

    def __init__(self, room: int, batch: int | None = None, error: RuntimeErrors = FULL) -> None:
        self.room, self.tried, self.error = room, [], error
        super().__init__(nn.Identity(), "cuda", batch)

    def _place(self) -> None:
        """Nothing to move."""

    def _run(self, grays: Grays) -> NDArray[np.float32]:
        self.tried.append((self.device, len(grays)))
        if self.device == "cuda" and len(grays) > self.room:
            raise self.error()
        return np.repeat(grays[..., None].astype(np.float32), 3, axis=3)


@pytest.fixture
def pretended_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_file, "choose_device", lambda wanted: wanted)


@pytest.mark.usefixtures("pretended_cuda")
@looped(("room", "batches"), [(16, []), (15, [8]), (8, [8]), (5, [8, 4]), (1, [8, 4, 2, 1])])
def test_the_batch_halves_until_it_fits(room: int, batches: list[int]) -> None:
    engine = Tight(room)
    images = grays(19)
    np.testing.assert_array_equal(engine(images)[..., 1], images)
    assert engine.device == "cuda"
    assert engine.batch == ([CUDA_BATCH, *batches])[-1]
    assert len(engine.warnings) == len(batches)
    for note, batch in zip(engine.warnings, batches, strict=True):
        assert f"with {batch} slice" in note
    tried = len(engine.tried)
    engine(images)  # the next call knows what fits
    assert max(size for _, size in engine.tried[tried:]) <= room
    assert len(engine.warnings) == len(batches)


@pytest.mark.usefixtures("pretended_cuda")
def test_at_last_the_cpu_takes_over() -> None:
    engine = Tight(room=0, batch=5)
    images = grays(7)
    np.testing.assert_array_equal(engine(images)[..., 2], images)
    assert engine.tried == [("cuda", 5), ("cuda", 2), ("cuda", 1), *[("cpu", 1)] * 7]
    assert (engine.device, engine.batch) == ("cpu", 1)
    assert "CPU" in engine.warnings[-1]
    assert all(note.endswith(".") for note in engine.warnings)


@pytest.mark.usefixtures("pretended_cuda")
@looped(
    "message",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_memory_that_runs_out_under_another_name(message: str) -> None:
    engine = Tight(room=8, error=partial(RuntimeError, message))
    engine(grays(16))
    assert (engine.device, engine.batch) == ("cuda", 8)


@pytest.mark.usefixtures("pretended_cuda")
def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    error = partial(RuntimeError, "CUDA error: an illegal memory access was encountered")
    engine = Tight(room=8, error=error)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        engine(grays(16))
    assert engine.warnings == []


class Leaky(Tight):
    """Notes whether what the failed try had made is gone when memory is to be freed."""

    def _run(self, grays: Grays) -> NDArray[np.float32]:
        activations = torch.zeros(3)
        self.activations = weakref.ref(activations)
        return super()._run(grays)

    def _step_down(self) -> None:
        assert self.activations() is None
        super()._step_down()


@pytest.mark.usefixtures("pretended_cuda")
def test_a_failed_try_holds_no_memory() -> None:
    engine = Leaky(room=4)
    engine(grays(8))
    assert engine.batch == 4


class TooLargeForTheCard(Tight):
    def _place(self) -> None:
        if self.device == "cuda":
            raise self.error()


@pytest.mark.usefixtures("pretended_cuda")
def test_a_card_without_room_for_the_net() -> None:
    engine = TooLargeForTheCard(room=0)
    assert (engine.device, engine.batch) == ("cpu", 1)
    assert len(engine.warnings) == 1
    assert "CPU" in engine.warnings[0]


class Greedy(nn.Module):
    """Asks the CPU for four petabytes."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + torch.empty(10**15)


def test_a_cpu_without_memory_says_so() -> None:
    engine = SliceRunner(Greedy(), "cpu")
    with pytest.raises(MemoryError, match="does not hold one slice; close other programs"):
        engine(grays(1))
    assert engine.device == "cpu"


@pytest.mark.usefixtures("pretended_cuda")
@looped(("capability", "half"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16)])
def test_half_precision_is_one_that_the_card_has_units_for(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], half: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch, "autocast", lambda kind, dtype: (kind, dtype))
    assert Tight(room=1)._autocast() == ("cuda", half)


def cards(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@looped(
    ("count", "wanted", "device"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (1, "auto", "cuda"),
        (1, "cpu", "cpu"),
        (1, "cuda", "cuda"),
        (1, "cuda:0", "cuda:0"),
        (3, "cuda:2", "cuda:2"),
    ],
)
def test_devices(monkeypatch: pytest.MonkeyPatch, count: int, wanted: str, device: str) -> None:
    cards(monkeypatch, count)
    assert choose_device(wanted) == device
    assert torch.device(device)


@looped(
    ("count", "wanted", "sentence"),
    [
        (0, "cuda", "no CUDA device that PyTorch can use; use cpu"),
        (0, "cuda:0", "no CUDA device that PyTorch can use; use cpu"),
        (1, "cuda:1", "no device 'cuda:1'; use cuda, cuda:0 or cpu"),
        (2, "cuda:2", "no device 'cuda:2'; use cuda, cuda:0, cuda:1 or cpu"),
        (1, "cuda:", "no device 'cuda:'"),
        (1, "cuda:00", "no device 'cuda:00'"),
        (1, "cuda:-1", "no device 'cuda:-1'"),
        (1, "cuda:first", "no device 'cuda:first'"),
        (2, "cuda:²", "no device"),
        (1, "gpu", "'gpu' is unknown; use auto, cpu, cuda, cuda:0 or mps"),
        (0, "", "'' is unknown; use auto"),
        (0, "CPU", "'CPU' is unknown"),
    ],
)
def test_devices_that_are_not_there(
    monkeypatch: pytest.MonkeyPatch, count: int, wanted: str, sentence: str
) -> None:
    cards(monkeypatch, count)
    with pytest.raises(ValueError, match=sentence):
        choose_device(wanted)


class AppleGpu(SliceRunner):
    """An engine whose GPU is off by so much, or cannot at all."""

    def __init__(self, device: str, off: float | str) -> None:
        self.off, self.runs = off, []
        super().__init__(nn.Identity(), device)

    def _place(self) -> None:
        """There is nothing to move."""

    def _run(self, inputs: Grays) -> NDArray[np.float32]:
        self.runs.append((self.device, len(inputs)))
        answer = np.full((*inputs.shape, 3), 0.25, np.float32)
        if self.device == "cpu":
            return answer
        if isinstance(self.off, str):
            raise NotImplementedError(self.off)
        return answer + np.float32(self.off)


def test_an_apple_gpu_is_used_when_its_answer_is_the_cpu_s(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no Apple GPU"):
        choose_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for wanted in ("auto", "mps"):
        engine = AppleGpu(wanted, off=1e-4)
        for _twice in range(2):
            engine(grays(3))
        assert engine.runs == [("mps", 1), ("cpu", 1), ("mps", 3), ("mps", 3)], "proven once"
        assert (engine.device, engine.warnings) == ("mps", [])
    cards(monkeypatch, 1)
    assert choose_device("auto") == "cuda"


def test_an_apple_gpu_that_computes_wrongly_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for off, reason in (
        (0.05, "computes other numbers than the CPU"),
        (float("nan"), "computes other numbers"),
        (
            "conv3d is not implemented\nand pages more",
            r"cannot run .* \(conv3d is not implemented\)",
        ),
    ):
        engine = AppleGpu("auto", off)
        assert (engine(grays(2)) == 0.25).all()
        assert (engine.device, engine.batch) == ("cpu", 1)
        (note,) = engine.warnings
        assert re.search(reason, note)
        with pytest.raises(ValueError, match=reason):
            AppleGpu("mps", off)(grays(1))
