"""The patch engine: the plain network's own answers, on less when memory runs short."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch_threads
from cascade_model import NET_ARGS, PATCH_KJI
from LiverTumorSegLib.inference import network as engine_file
from LiverTumorSegLib.inference.network import (
    CPU_PATCHES,
    CUDA_PATCHES,
    PatchRunner,
    fold_batch_norm,
)
from LiverTumorSegLib.inference.sliding_window import SlidingWindow
from LiverTumorSegLib.nets.gunetrpp import GUnetrpp
from looped import looped
from numpy.typing import NDArray
from torch import nn

one_thread = torch_threads.one_thread

Patches = NDArray[np.float32]


@pytest.fixture(scope="module")
def net() -> GUnetrpp:
    """Small, with batch norms as after training, and attention that counts."""
    torch.manual_seed(0)
    net = GUnetrpp(**NET_ARGS)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.2, 3.0)
            nn.init.normal_(module.weight, 1.0, 0.3)
            nn.init.normal_(module.bias, 0.0, 0.3)
    for name, parameter in net.named_parameters():
        if name.endswith("gain"):
            nn.init.normal_(parameter)
    return net


def patches(count: int, channels: int = 1) -> Patches:
    return np.random.default_rng(count).random((count, channels, *PATCH_KJI), np.float32)


def plain(net: nn.Module, inputs: Patches) -> Patches:
    """The network's own answer, one patch at a time, without any of the engine's means."""
    net = copy.deepcopy(net).eval()
    with torch.no_grad():
        answers = [net(torch.tensor(one)[None]).softmax(1)[0, 1:] for one in inputs]
    return torch.stack(answers).numpy()


def test_the_networks_own_foreground(net: GUnetrpp) -> None:
    inputs = patches(3)
    made = PatchRunner(net, "cpu")(inputs)
    assert made.dtype == np.float32
    assert made.shape == (3, 1, *PATCH_KJI)
    expected = plain(net, inputs)
    assert expected.std() > 1e-2  # the comparison means something
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_a_mask_as_second_channel(net: GUnetrpp) -> None:
    inputs = patches(1, channels=2)
    inputs[:, 1] = inputs[:, 1] > 0.4
    np.testing.assert_allclose(PatchRunner(net, "cpu")(inputs), plain(net, inputs), atol=1e-5)


def test_a_batch_is_as_good_as_one_at_a_time(net: GUnetrpp) -> None:
    inputs = patches(3)
    together = PatchRunner(net, "cpu", 2)(inputs)
    np.testing.assert_allclose(together, plain(net, inputs), atol=1e-5)


def test_every_batch_norm_behind_a_convolution_is_folded(net: GUnetrpp) -> None:
    folded, inputs = fold_batch_norm(net), torch.tensor(patches(2))
    with torch.no_grad():
        expected = copy.deepcopy(net).eval()(inputs)
        torch.testing.assert_close(folded(inputs), expected, atol=1e-5, rtol=1e-5)
    assert sum(isinstance(m, nn.BatchNorm3d) for m in net.modules()) > 10
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm3d)]
    assert [m for m in folded.modules() if isinstance(m, nn.InstanceNorm3d)]


class Tight(PatchRunner):
    """A pretended CUDA device that holds ``room`` patches, and a CPU that holds any number."""

    def __init__(self, room: int, batch: int | None = None) -> None:
        self.room, self.tried = room, []
        super().__init__(nn.Identity(), "cuda", batch)

    def _place(self) -> None:
        """Nothing to move."""

    def _run(self, inputs: Patches) -> Patches:
        self.tried.append((self.device, len(inputs)))
        if self.device == "cuda" and len(inputs) > self.room:
            raise torch.cuda.OutOfMemoryError("simulated")
        return inputs


@pytest.fixture
def _pretended_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_file, "choose_device", lambda wanted: wanted)


@pytest.mark.usefixtures("_pretended_cuda")
def test_the_batch_halves_and_the_cpu_takes_over() -> None:
    engine, inputs = Tight(room=0), patches(3)
    np.testing.assert_array_equal(engine(inputs), inputs)
    assert engine.tried == [("cuda", 3), ("cuda", 2), ("cuda", 1), *[("cpu", 1)] * 3]
    assert (engine.device, engine.batch) == ("cpu", 1)
    assert "with 2 patches at a time" in engine.warnings[0]
    assert "with 1 patch at a time" in engine.warnings[1]
    assert "CPU" in engine.warnings[2]


@pytest.mark.usefixtures("_pretended_cuda")
def test_a_sliding_window_goes_on_with_what_fits() -> None:
    """The window asks for the batch before each call."""
    engine = Tight(room=1)
    assert engine.batch == CUDA_PATCHES
    volume = np.random.default_rng(0).random((1, 8, 16, 40)).astype(np.float32)
    made = SlidingWindow(patch_kji=(8, 16, 16))(volume, engine)
    np.testing.assert_allclose(made, volume, atol=1e-3)
    assert engine.batch == 1
    assert all(size == 1 for _, size in engine.tried[-3:])


class Greedy(nn.Module):
    """Asks the CPU for four petabytes."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + torch.empty(10**15)


def test_a_cpu_without_memory_says_so() -> None:
    with pytest.raises(MemoryError, match="does not hold one patch; close other programs"):
        PatchRunner(Greedy(), "cpu")(patches(1))


@looped(("patch_kji", "batch"), [((32, 64, 64), CPU_PATCHES), ((64, 128, 128), 1)])
def test_small_patches_go_in_pairs_on_a_cpu(patch_kji: tuple[int, ...], batch: int) -> None:
    net = nn.Identity()
    net.patch_kji = patch_kji
    assert PatchRunner(net, "cpu").batch == batch
    assert PatchRunner(net, "cpu", batch=3).batch == 3


class OneAtATime(nn.Module):
    """Finds memory for a single patch."""

    patch_kji = (8, 16, 16)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return torch.cat([-images, images], dim=1)


def test_a_cpu_short_of_memory_takes_one_patch_at_a_time() -> None:
    engine, inputs = PatchRunner(OneAtATime(), "cpu"), patches(3)
    assert engine(inputs).shape == inputs.shape
    assert (engine.device, engine.batch) == ("cpu", 1)
    assert engine.warnings == ["Memory ran short: continued with 1 patch at a time."]
