"""G-UNETR++ against the published counts and shapes, and EPA spelled out head by head."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch_threads
from LiverTumorSegLib.nets.gunetrpp import (
    Block,
    GUnetrpp,
    PairedAttention,
    ResidualConv,
    hessian_features,
)
from looped import looped
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

one_thread = torch_threads.one_thread

SMALL: dict[str, Any] = {"patch_kji": (16, 64, 64), "dims": (8, 16, 32, 64), "depth": 1}
PARTS = [
    f"encoders.{encoder}.{part}.{n}"
    for encoder in ("image", "f_xz", "f_yz")
    for part in ("down", "stages")
    for n in range(4)
] + ["decoder5", "decoder4", "decoder3", "up", "full_resolution", "decoder2"]
BIT = 1e-5


@pytest.fixture(scope="module")
def small() -> GUnetrpp:
    """The reduced net in eval mode, with attention and batch norms as after training."""
    torch.manual_seed(0)
    return as_if_trained(GUnetrpp(**SMALL))


@pytest.fixture(scope="module")
def published() -> GUnetrpp:
    """The paper's net without numbers, in training mode."""
    return without_numbers()


def as_if_trained(net: GUnetrpp) -> GUnetrpp:
    for module in net.modules():
        if isinstance(module, Block):
            nn.init.uniform_(module.gain, 0.5, 1.0)
            nn.init.normal_(module.position, std=0.1)
        elif isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    return net.eval()


def without_numbers(**arguments: Any) -> GUnetrpp:
    """A net on the meta device: shapes and counts without memory or time."""
    with torch.device("meta"):
        return GUnetrpp(**arguments)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def patches(batch: int, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.rand(batch, channels, 16, 64, 64, generator=generator)


@looped(
    ("arguments", "parameters"),
    [
        ({}, 97_725_934),
        ({"classes": 3}, 97_726_049),
        ({"gradient_encoders": False}, 42_951_470),
        ({"gradient_encoders": False, "classes": 14}, 42_952_850),  # Synapse: 42.95 M printed
    ],
)
def test_number_of_parameters(arguments: dict[str, Any], parameters: int) -> None:
    assert count(without_numbers(**arguments)) == parameters


def test_parameters_of_each_part(published: GUnetrpp) -> None:
    net = published
    assert [count(encoder) for encoder in net.encoders.values()] == [27_387_232] * 3
    encoder = net.encoders["image"]
    assert [count(down) for down in encoder.down] == [1_088, 16_512, 65_792, 262_656]
    assert [count(s) for s in encoder.stages] == [9_622_584, 2_312_088, 3_247_704, 11_858_808]
    assert count(net.full_resolution) == 7_360
    decoders = [net.decoder5, net.decoder4, net.decoder3]
    assert [count(decoder) for decoder in decoders] == [3_509_848, 2_377_624, 9_638_968]
    assert count(net.up) + count(net.decoder2) == 30_208
    assert [count(head) for head in net.heads] == [34, 66, 130]


def test_every_shape_and_the_multiply_adds_of_a_patch(published: GUnetrpp) -> None:
    """The published table, and 72.5 G multiply-adds, 47.3 G of them UNETR++ itself."""
    seen: dict[str, Any] = {}

    def note(name: str) -> Any:
        return lambda _module, _inputs, output: seen.update({name: output})

    hooks = [m.register_forward_hook(note(name)) for name, m in published.named_modules()]
    with FlopCounterMode(display=False) as counter:
        outputs = published(torch.empty(1, 1, 64, 128, 128, device="meta"))
    for hook in hooks:
        hook.remove()
    shapes = {name: tuple(output.shape[1:]) for name, output in seen.items() if name in PARTS}
    stages = [(32, 32, 32, 32), (64, 16, 16, 16), (128, 8, 8, 8), (256, 4, 4, 4)]
    expected = dict(zip(PARTS, 6 * stages + stages[2::-1] + 3 * [(16, 64, 128, 128)], strict=True))
    assert shapes == expected
    grids = [(64, 128, 128), (32, 32, 32), (16, 16, 16)]
    assert [tuple(o.shape) for o in outputs] == [(1, 2, *grid) for grid in grids]
    parts = {name: sum(kinds.values()) / 2 for name, kinds in counter.get_flop_counts().items()}
    gradients = parts["GUnetrpp.encoders.f_xz"] + parts["GUnetrpp.encoders.f_yz"]
    assert parts["GUnetrpp"] == pytest.approx(72.5e9, abs=0.1e9)
    assert parts["GUnetrpp"] - gradients == pytest.approx(47.3e9, abs=0.1e9)


def test_the_published_layers(published: GUnetrpp) -> None:
    net = published
    for encoder in net.encoders.values():
        assert [len(stage) for stage in encoder.stages] == [3, 3, 3, 3]
        assert [down[1].num_groups for down in encoder.down] == [1, 32, 64, 128]
        sizes = [stage[0].attention.project.out_features for stage in encoder.stages]
        assert sizes == [64, 64, 64, 32]
    for module in net.modules():
        if isinstance(module, Block):
            assert (module.mix[0].p, module.attention.rate, module.attention.heads) == (
                0.1,
                0.15,
                4,
            )
            assert isinstance(module.conv.body[1], nn.BatchNorm3d)
        elif isinstance(module, nn.ConvTranspose3d):
            size = (2, 4, 4) if module is net.up else (2, 2, 2)
            assert module.kernel_size == module.stride == size
            assert module.bias is None
    for part in (net.full_resolution, net.decoder2):
        assert isinstance(part.body[1], nn.InstanceNorm3d)
        assert not part.body[1].affine


def test_the_published_start() -> None:
    net = GUnetrpp(**SMALL)
    blocks = [module for module in net.modules() if isinstance(module, Block)]
    assert len(blocks) == 3 * 4 + 3
    for block in blocks:
        assert (block.position == 0).all()
        assert (block.gain == 1e-6).all()
        assert (block.attention.temperature_space == 1).all()
        assert (block.attention.temperature_channel == 1).all()
    encoder, decoder = (
        part.attention.project for part in (net.encoders["f_yz"].stages[0][0], blocks[-1])
    )
    assert encoder.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert (encoder.bias == 0).all()
    frameworks = (1 / 3) ** 0.5 / 2048**0.5  # uniform within 1 / sqrt(inputs)
    assert decoder.weight.std().item() == pytest.approx(frameworks, rel=0.02)
    assert (decoder.bias != 0).any()


def spelled_out(attention: PairedAttention, tokens: Tensor) -> tuple[list[Tensor], Tensor]:
    """EPA's formulas for one sample (N, C): each head's spatial answer (N, d), and all channels'.

    Heads are consecutive channels of each of Q, K, V_channel, V_space.
    """
    parts = (tokens @ attention.qkvv.weight.T).chunk(4, dim=1)
    width = tokens.shape[1] // attention.heads
    weight, bias = attention.project.weight, attention.project.bias[:, None]
    spatial, channels = [], []
    for head in range(attention.heads):
        q, k, v_channel, v_space = (p[:, head * width : (head + 1) * width] for p in parts)
        q_unit, k_unit = q / q.norm(dim=0), k / k.norm(dim=0)
        t_channel, t_space = attention.temperature_channel[head], attention.temperature_space[head]
        by_channel = (t_channel * q_unit.T @ k_unit).softmax(dim=1)
        channels.append((by_channel @ v_channel.T).T)
        by_place = (t_space * q_unit @ (weight @ k + bias).T).softmax(dim=1)  # (N, P)
        spatial.append(by_place @ (weight @ v_space + bias))
    return spatial, torch.cat(channels, dim=1)


def small_attention(layout: str) -> PairedAttention:
    torch.manual_seed(1)
    attention = PairedAttention(
        dim=24, tokens=40, projection=10, heads=4, dropout=0.15, layout=layout
    )
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    return attention.eval()


@looped("layout", ["corrected", "reference"])
def test_paired_attention_equals_its_formulas(layout: str) -> None:
    attention, tokens = small_attention(layout), torch.randn(2, 40, 24)
    with torch.no_grad():
        for sample, answer in zip(tokens, attention(tokens), strict=True):
            spatial, channels = spelled_out(attention, sample)
            if layout == "corrected":
                space = torch.cat(spatial, dim=1)
            else:  # what lies one after the other: width, then head, then token
                space = torch.stack(spatial).permute(2, 0, 1).flatten().view(40, 24)
            expected = [attention.out_space(space), attention.out_channel(channels)]
            torch.testing.assert_close(answer, torch.cat(expected, dim=1), atol=BIT, rtol=1e-4)


def test_only_the_corrected_layout_keeps_places() -> None:
    """Tokens in another order give the answers in that order, if the projection is turned too."""
    order = torch.randperm(40)
    for layout, keeps in (("corrected", True), ("reference", False)):
        attention, tokens = small_attention(layout), torch.randn(1, 40, 24)
        turned = copy.deepcopy(attention)
        with torch.no_grad():
            turned.project.weight.copy_(attention.project.weight[:, order])
            same = torch.allclose(turned(tokens[:, order]), attention(tokens)[:, order], atol=BIT)
        assert same is keeps


def test_a_block_is_positions_attention_and_convolutions() -> None:
    torch.manual_seed(2)
    block = Block(
        dim=8,
        tokens=60,
        projection=6,
        heads=2,
        dropout=0.1,
        attention_dropout=0.1,
        layout="corrected",
    ).eval()
    nn.init.normal_(block.position)
    nn.init.normal_(block.gain)
    features = torch.randn(1, 8, 3, 4, 5)
    with torch.no_grad():
        tokens = features.reshape(8, 60).T + block.position[0]
        tokens = tokens + block.gain * block.attention(block.norm(tokens)[None])[0]
        grid = tokens.T.reshape(1, 8, 3, 4, 5)
        expected = grid + block.mix[1](block.conv(grid))
        torch.testing.assert_close(block(features), expected)


@looped("channels_out", [4, 6])
def test_the_residual_conv(channels_out: int) -> None:
    block = ResidualConv(4, channels_out, nn.BatchNorm3d)
    features = torch.randn(2, 4, 5, 6, 7)
    conv1, norm1, _, conv2, norm2 = block.body
    inner = nn.functional.leaky_relu(norm1(conv1(features)), 0.01)
    shortcut = features if channels_out == 4 else block.identity[1](block.identity[0](features))
    expected = nn.functional.leaky_relu(norm2(conv2(inner)) + shortcut, 0.01)
    torch.testing.assert_close(block(features), expected)
    assert not [m for m in block.modules() if isinstance(m, nn.Conv3d) and m.bias is not None]


def test_stages_are_summed_over_the_encoders(small: GUnetrpp) -> None:
    image = patches(1)
    f_xz, f_yz = hessian_features(image)
    with torch.no_grad():
        stages = [small.encoders["image"](image)]
        stages += [small.encoders["f_xz"](f_xz), small.encoders["f_yz"](f_yz)]
        for summed, parts in zip(
            small._encode(image, image), zip(*stages, strict=True), strict=True
        ):
            torch.testing.assert_close(summed, sum(parts))


def axes(shape: tuple[int, int, int] = (9, 8, 7)) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates x, y, z of a patch's voxels along its axes in order."""
    x, y, z = torch.meshgrid(*(torch.arange(float(n)) for n in shape), indexing="ij")
    return x, y, z


def test_second_derivatives_are_exact_for_products_and_waves() -> None:
    # second derivatives of products are exact up to the border
    x, y, z = axes()
    fields = torch.stack([0.3 * x * z - 0.2 * y * z + x**2 - y + 5, 2 * y * z + x * y + z**2])
    f_xz, f_yz = hessian_features(fields[:, None])
    for found, values in ((f_xz, (0.3, 0.0)), (f_yz, (-0.2, 2.0))):
        expected = torch.tensor(values).view(2, 1, 1, 1, 1).expand(2, 1, 9, 8, 7)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)

    # second derivatives of waves: Central differences of sin(w x) are cos(w x) sin(w): the
    # derivative but for sin(w) / w.
    x, y, z = axes()
    wave = (0.5 * x).sin() * (0.4 * y).sin() * (0.3 * z).sin()
    f_xz, f_yz = (f[0, 0][1:-1, 1:-1, 1:-1] for f in hessian_features(wave[None, None]))
    rate = torch.tensor([0.5, 0.4, 0.3]).sin()
    xz = (0.5 * x).cos() * rate[0] * (0.4 * y).sin() * (0.3 * z).cos() * rate[2]
    yz = (0.5 * x).sin() * (0.4 * y).cos() * rate[1] * (0.3 * z).cos() * rate[2]
    torch.testing.assert_close(f_xz, xz[1:-1, 1:-1, 1:-1], atol=1e-6, rtol=0)
    torch.testing.assert_close(f_yz, yz[1:-1, 1:-1, 1:-1], atol=1e-6, rtol=0)


def test_a_mask_makes_an_edge_unless_it_is_a_channel_of_its_own() -> None:
    x, y, z = axes((16, 16, 16))
    ball = ((x - 8) ** 2 + (y - 8) ** 2 + (z - 8) ** 2 < 30).float()[None, None]
    flat = torch.full_like(ball, 0.7)
    for masked, kept in zip(
        hessian_features(flat * ball), hessian_features(torch.cat([flat, ball], dim=1)), strict=True
    ):
        assert masked.abs().max() > 0.1
        assert (kept == 0).all()
    slope = x[None, None] * z[None, None]
    f_xz, _ = hessian_features(torch.cat([slope, ball], dim=1))
    assert torch.equal(f_xz, ball)


@torch.inference_mode()
def test_each_sample_of_a_batch_is_differentiated_for_itself(small: GUnetrpp) -> None:
    two = patches(2)
    together, apart = small(two), torch.cat([small(two[:1]), small(two[1:])])
    torch.testing.assert_close(together, apart, atol=BIT, rtol=0)
    assert (together[0] - together[1]).std() > 0.1


@torch.inference_mode()
def test_a_mask_of_ones_changes_nothing(small: GUnetrpp) -> None:
    image = patches(1)
    masked = small(torch.cat([image, torch.ones_like(image)], dim=1))
    torch.testing.assert_close(masked, small(image), atol=0, rtol=0)


@torch.inference_mode()
def test_with_a_mask_the_image_counts_inside_and_one_voxel_around(small: GUnetrpp) -> None:
    image, mask = patches(1), torch.zeros(1, 1, 16, 64, 64)
    mask[..., 4:12, 20:40, 20:40] = 1
    around = nn.functional.max_pool3d(mask, 3, stride=1, padding=1)
    before = small(torch.cat([image, mask], dim=1))
    far = torch.where(around > 0, image, 1 - image)
    assert torch.equal(small(torch.cat([far, mask], dim=1)), before)
    near = torch.where(mask > 0, image, 1 - image)
    assert not torch.equal(small(torch.cat([near, mask], dim=1)), before)
    assert not torch.equal(small(image * mask), before)


def test_training_gives_three_grids_and_drops_out() -> None:
    net = GUnetrpp(**SMALL)
    first, second = net(patches(1)), net(patches(1))
    assert [tuple(o.shape[2:]) for o in first] == [(16, 64, 64), (8, 16, 16), (4, 8, 8)]
    assert not torch.equal(first[0], second[0])
    net.eval()
    assert torch.equal(net(patches(1)), net(patches(1)))


def test_gradient_reaches_every_parameter() -> None:
    net = GUnetrpp(**SMALL)
    for module in net.modules():
        if isinstance(module, Block):
            nn.init.ones_(module.gain)
    outputs = net(patches(2))
    sum(((o - o.mean()) ** 3).sum() for o in outputs).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_sizes_follow_from_patch_and_dims() -> None:
    net = without_numbers(patch_kji=[16, 64, 96], dims=[8, 16, 32, 64], depth=2, classes=3).eval()
    assert net(torch.empty(1, 1, 16, 64, 96, device="meta")).shape == (1, 3, 16, 64, 96)
    last = net.encoders["image"].stages[3][0].attention.project
    assert (last.in_features, last.out_features) == (1 * 2 * 3, 6)  # no more than there are


@looped("shape", [(1, 1, 16, 64, 32), (1, 3, 16, 64, 64), (1, 16, 64, 64), (1, 1, 64, 64, 64)])
def test_other_patches_are_refused(shape: tuple[int, ...]) -> None:
    net = without_numbers(**SMALL)
    with pytest.raises(ValueError, match=r"\(B, 1 or 2, 16, 64, 64\), .*another patch_kji"):
        net(torch.empty(shape, device="meta"))


@looped(
    ("arguments", "use"),
    [
        ({"patch_kji": (64, 128, 100)}, r"three multiples of \[16, 32, 32\]"),
        ({"patch_kji": (64, 128)}, "three multiples"),
        ({"patch_kji": (0, 32, 32)}, "three multiples"),
        ({"dims": (32, 64, 128)}, "four dims"),
        ({"projections": (64, 64, 64, 0)}, "above 0"),
        ({"dims": (30, 60, 120, 240)}, "4 heads need multiples of 4"),
        ({"dims": (33, 66, 132, 264), "heads": 3}, "3 heads need multiples of 6"),
        ({"dims": (32, 48, 96, 192)}, "multiple of the one before"),
        ({"spatial_layout": "scrambled"}, "corrected, reference"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments: dict[str, Any], use: str) -> None:
    with pytest.raises(ValueError, match=use):
        without_numbers(**arguments)
