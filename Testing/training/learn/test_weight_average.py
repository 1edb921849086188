"""The running average of weights: torch's own as oracle, by hand, and what it leaves alone."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch_threads
from looped import looped
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from training.learn.trainer import WeightAverage

one_thread = torch_threads.one_thread


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))


def take_a_step(net: nn.Module) -> None:
    """Weights and running statistics as after a step in any direction."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        net.train()(torch.randn(4, 1, 8, 8))


@looped("decay", [0.3, 0.9, 0.995])
def test_it_is_torchs_average_with_a_warm_up(decay: float) -> None:
    def warmed_up(average: Tensor, now: Tensor, steps: Tensor | int) -> Tensor:
        kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
        return kept * average + (1 - kept) * now

    net = small_net()
    ours, theirs = WeightAverage(net, decay), AveragedModel(net, avg_fn=warmed_up)
    for _ in range(40):
        take_a_step(net)
        ours.update(net)
        ours.take_statistics(net)
        theirs.update_parameters(net)
        wanted = theirs.module.state_dict()
        for name, tensor in ours.net.state_dict().items():
            assert torch.allclose(tensor, wanted[name], rtol=1e-5, atol=1e-6), name
    assert ours.steps == 40


def test_the_warm_up_by_hand_and_a_small_decay_at_once() -> None:
    # the warm up by hand: Weights 1, 2 and 3: the first whole, then 2/11 and 3/12 of the average
    # stay.
    net = nn.Linear(1, 1, bias=False)
    average, seen = WeightAverage(net, 0.999), []
    for value in (1.0, 2.0, 3.0):
        nn.init.constant_(net.weight, value)
        average.update(net)
        seen.append(average.net.weight.item())
    second = 1 * 2 / 11 + 2 * 9 / 11
    assert seen == pytest.approx([1.0, second, second * 3 / 12 + 3 * 9 / 12])

    # a small decay follows at once
    net, average = small_net(), WeightAverage(small_net(), 0.1)
    for _ in range(20):
        average.update(net)
    for own, wanted in zip(average.net.parameters(), net.parameters(), strict=True):
        assert torch.allclose(own, wanted, atol=1e-6)


def test_statistics_are_copied_and_only_when_asked() -> None:
    net = small_net()
    average = WeightAverage(net, 0.9)
    before = deepcopy(dict(average.net.named_buffers()))
    for _ in range(3):
        take_a_step(net)
        average.update(net)
    for name, buffer in average.net.named_buffers():
        assert torch.equal(buffer, before[name]), name
    average.take_statistics(net)
    own = dict(average.net.named_buffers())
    assert int(own["1.num_batches_tracked"]) == 3
    for name, buffer in net.named_buffers():
        assert torch.equal(own[name], buffer), name


def test_the_net_itself_is_left_alone() -> None:
    net = small_net()
    average = WeightAverage(net, 0.9)
    average.update(net)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        for parameter in average.net.parameters():
            parameter.zero_()
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert net.training
    assert not average.net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(parameter.requires_grad for parameter in average.net.parameters())


def test_a_restored_average_goes_on_to_the_same_bits() -> None:
    net = small_net()
    first, second = WeightAverage(net, 0.9), WeightAverage(small_net(seed=1), 0.9)
    for _ in range(3):
        take_a_step(net)
        first.update(net)
    second.restore(deepcopy(first.state()))
    take_a_step(net)
    for average in (first, second):
        average.update(net)
    assert first.steps == second.steps == 4
    for name, tensor in first.net.state_dict().items():
        assert torch.equal(tensor, second.net.state_dict()[name]), name


@looped("decay", [-0.1, 1.0, 1.5, float("nan")])
def test_a_decay_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="give a decay from 0 to less than 1"):
        WeightAverage(small_net(), decay)
