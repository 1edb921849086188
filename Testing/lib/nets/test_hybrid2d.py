"""hybrid2d against the paper's Table 1, the framework's encoder layer, and its own promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch_threads
from LiverTumorSegLib.nets import NETS
from LiverTumorSegLib.nets.hybrid2d import EncoderLayer, Hybrid2d, PositionEmbedding
from looped import looped
from torch import Tensor, nn

one_thread = torch_threads.one_thread

BIT = 1e-5


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    torch.manual_seed(0)


def without_numbers(**arguments: Any) -> Hybrid2d:
    """A net on the meta device: shapes and counts without memory or time."""
    with torch.device("meta"):
        return Hybrid2d(**arguments)


def small(**arguments: Any) -> Hybrid2d:
    return Hybrid2d(**{"width": 8, "size_px": 64, **arguments})


@looped(
    ("arguments", "count"),
    [
        ({}, 20_835_779),
        ({"position": "none"}, 20_311_491),
        ({"position": "sincos"}, 20_311_491),
        ({"norm": "pre"}, 20_835_779 + 1024),
        ({"norm": "pre", "position": "none"}, 20_312_515),
        ({"width": 32}, 5_349_091),
        ({"width": 32, "position": "none"}, 5_086_947),
        ({"width": 32, "position": "sincos"}, 5_086_947),
        ({"attention_dropout": 0.0, "dropout": 0.0}, 20_835_779),
    ],
)
def test_number_of_parameters(arguments: dict[str, Any], count: int) -> None:
    net = without_numbers(**arguments)
    assert sum(p.numel() for p in net.parameters()) == count


def test_parameters_of_each_part() -> None:
    net = without_numbers()
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in net.named_children()}
    assert parts == {
        "encoder1": 37_824,
        "encoder2": 221_952,
        "encoder3": 886_272,
        "encoder4": 3_542_016,
        "pool": 0,
        "position": 1024 * 512,
        "transformer": 4 * 3_152_384,
        "final_norm": 0,
        "decoder3": 524_544 + 1_771_008,
        "decoder2": 131_200 + 443_136,
        "decoder1": 32_832 + 110_976,
        "head": 195,
    }


def shapes_in_order(net: Hybrid2d, slices: Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """(module, shape of its output) of each call, in the order of the calls."""
    seen: list[tuple[str, tuple[int, ...]]] = []

    def note(name: str) -> Any:
        return lambda _module, _inputs, output: seen.append((name, tuple(output.shape)))

    for name, module in net.named_modules():
        if name.count(".") <= 1 and not isinstance(module, nn.ModuleList):
            module.register_forward_hook(note(name or "net"))
    net(slices)
    rows = ("encoder", "pool", "position", "transformer", "decoder", "head", "net")
    inner = ("encoder1.", "encoder2.", "encoder3.", "encoder4.")
    return [s for s in seen if s[0].startswith(rows) and not s[0].startswith(inner)]


def test_every_shape_of_table_1() -> None:
    net = without_numbers()
    shapes = shapes_in_order(net, torch.empty(2, 1, 256, 256, device="meta"))
    layers = [(f"transformer.{n}", (2, 1024, 512)) for n in range(4)]  # row 10
    assert shapes == [
        ("encoder1", (2, 64, 256, 256)),  # row 1
        ("pool", (2, 64, 128, 128)),
        ("encoder2", (2, 128, 128, 128)),
        ("pool", (2, 128, 64, 64)),
        ("encoder3", (2, 256, 64, 64)),
        ("pool", (2, 256, 32, 32)),
        ("encoder4", (2, 512, 32, 32)),  # row 7
        ("position", (2, 1024, 512)),  # rows 8 and 9
        *layers,
        ("decoder3.up", (2, 256, 64, 64)),  # row 12
        ("decoder3.conv", (2, 256, 64, 64)),
        ("decoder3", (2, 256, 64, 64)),
        ("decoder2.up", (2, 128, 128, 128)),
        ("decoder2.conv", (2, 128, 128, 128)),
        ("decoder2", (2, 128, 128, 128)),
        ("decoder1.up", (2, 64, 256, 256)),
        ("decoder1.conv", (2, 64, 256, 256)),
        ("decoder1", (2, 64, 256, 256)),  # row 14
        ("head", (2, 3, 256, 256)),  # row 15
        ("net", (2, 3, 256, 256)),
    ]


def test_table_1s_layers() -> None:
    net = without_numbers()
    layer = net.transformer[0]
    assert layer.attention.heads == 8
    assert [type(m) for m in layer.feed_forward] == [nn.Linear, nn.GELU, nn.Dropout, nn.Linear]
    assert layer.drop.p == layer.attention.dropout == 0.1
    for module in net.modules():
        if isinstance(module, nn.ConvTranspose2d):
            assert (module.kernel_size, module.stride) == ((2, 2), (2, 2))
        elif isinstance(module, nn.Conv2d) and module is not net.head:
            assert (module.kernel_size, module.padding) == ((3, 3), (1, 1))
        elif isinstance(module, nn.BatchNorm2d):
            assert module.eps == 1e-5


def test_the_encoder_comes_first_in_each_joint() -> None:
    """Eq. 9: [encoder, upsampled]."""
    net = small()
    joint: dict[str, Tensor] = {}
    net.encoder1.register_forward_hook(lambda _m, _i, out: joint.update(skip=out))
    net.decoder1.up.register_forward_hook(lambda _m, _i, out: joint.update(up=out))
    net.decoder1.conv.register_forward_hook(lambda _m, inputs, _o: joint.update(both=inputs[0]))
    net.eval()(torch.rand(1, 1, 64, 64))
    assert torch.equal(joint["both"], torch.cat([joint["skip"], joint["up"]], dim=1))


def framework_layer(ours: EncoderLayer, dim: int, heads: int, norm: str) -> nn.Module:
    """torch's own encoder layer with our weights."""
    theirs = nn.TransformerEncoderLayer(
        dim, heads, 4 * dim, activation="gelu", batch_first=True, norm_first=norm == "pre"
    )
    with torch.no_grad():
        for target, source in (
            (theirs.self_attn.in_proj_weight, ours.attention.qkv.weight),
            (theirs.self_attn.in_proj_bias, ours.attention.qkv.bias),
        ):
            target.copy_(source)
    theirs.self_attn.out_proj.load_state_dict(ours.attention.out.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward[3].state_dict())
    theirs.norm1.load_state_dict(ours.norm1.state_dict())
    theirs.norm2.load_state_dict(ours.norm2.state_dict())
    return theirs.eval()


@looped("norm", ["post", "pre"])
def test_encoder_layer_equals_the_frameworks(norm: str) -> None:
    ours = EncoderLayer(64, 8, 0.1, 0.1, norm).eval()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.2)
    tokens = torch.randn(2, 48, 64)
    with torch.no_grad():
        theirs = framework_layer(ours, 64, 8, norm)(tokens)
        assert torch.allclose(ours(tokens), theirs, atol=BIT, rtol=BIT)


@looped("position", ["learned", "sincos", "none"])
@looped("norm", ["post", "pre"])
def test_a_batch_of_two_equals_two_batches_of_one(position: str, norm: str) -> None:
    net = small(position=position, norm=norm).eval()
    slices = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        together = net(slices)
        apart = torch.cat([net(slices[:1]), net(slices[1:])])
    assert torch.allclose(together, apart, atol=BIT, rtol=0)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_eval_gives_the_same_every_time_and_training_drops_out() -> None:
    net = small()
    slices = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert not torch.equal(net(slices), net(slices))
        net.eval()
        assert torch.equal(net(slices), net(slices))


@looped("position", ["learned", "sincos", "none"])
@looped("norm", ["post", "pre"])
def test_gradient_reaches_every_parameter(position: str, norm: str) -> None:
    net = small(position=position, norm=norm).eval()  # in training batch norm takes biases out
    net(torch.rand(2, 1, 64, 64)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def embedding(table: Tensor) -> PositionEmbedding:
    """A learned embedding (grid, grid, dim) given by hand."""
    grid, _, dim = table.shape
    position = PositionEmbedding("learned", dim, grid)
    with torch.no_grad():
        assert position.table is not None
        position.table.copy_(table.reshape(1, grid * grid, dim))
    return position


def test_the_learned_embedding_is_its_table_and_keeps_rows_and_columns_apart() -> None:
    # at its own size the embedding is the table itself
    position = PositionEmbedding("learned", 16, 32)
    assert position.at(32, 32) is position.table

    # the embedding of a wide map keeps rows and columns apart
    rows = torch.arange(8.0)[:, None, None].expand(8, 8, 1)
    resized = embedding(rows.contiguous()).at(8, 16).detach().reshape(8, 16)
    assert torch.allclose(resized, torch.arange(8.0)[:, None].expand(8, 16), atol=BIT)


@looped("side", [8, 16, 24, 40, 64])
def test_a_constant_embedding_stays_constant(side: int) -> None:
    values = torch.arange(4.0).expand(32, 32, 4)
    resized = embedding(values).at(side, side)
    assert torch.allclose(resized, torch.arange(4.0).expand(1, side * side, 4), atol=BIT)


@looped("side", [8, 16, 40, 64])
def test_a_ramp_stays_the_same_ramp_inside(side: int) -> None:
    """Places in the slice keep their embedding whatever the number of tokens."""
    centers = (torch.arange(32.0) + 0.5) / 32
    rows, columns = torch.meshgrid(centers, centers, indexing="ij")
    resized = embedding(torch.stack([rows, columns], dim=-1)).at(side, side)
    square = resized.detach().reshape(side, side, 2)
    wanted = (torch.arange(float(side)) + 0.5) / side
    inner = slice(side // 8 + 1, side - side // 8 - 1)
    assert torch.allclose(square[:, 3, 0][inner], wanted[inner], atol=1e-4)
    assert torch.allclose(square[3, :, 1][inner], wanted[inner], atol=1e-4)


def test_sincos_tells_every_place_apart_and_is_in_no_model_file() -> None:
    # sincos tells every place apart
    table = PositionEmbedding("sincos", 64, 32).at(32, 32)[0]
    assert table.abs().max() <= 1
    apart = torch.cdist(table, table) + 10 * torch.eye(1024)
    assert apart.min() > 0.1

    # sincos needs no place in a model file
    with_waves, without = small(position="sincos"), small(position="none")
    assert with_waves.state_dict().keys() == without.state_dict().keys()
    assert "position.table" in small().state_dict()


@looped("position", ["learned", "sincos", "none"])
@looped("shape", [(128, 128), (256, 256), (320, 320), (384, 384), (16, 264)])
def test_other_slice_sizes_work(position: str, shape: tuple[int, int]) -> None:
    with torch.device("meta"):
        logits = Hybrid2d(width=8, position=position)(torch.empty(1, 1, *shape))
    assert logits.shape == (1, 3, *shape)


@looped("side_px", [128, 192])
def test_smaller_slices_give_numbers(side_px: int) -> None:
    net = Hybrid2d(width=8).eval()
    with torch.no_grad():
        assert torch.isfinite(net(torch.rand(1, 1, side_px, side_px))).all()


@looped(
    ("shape", "use"),
    [
        ((1, 1, 250, 256), "use 248 x 256"),
        ((1, 1, 256, 255), "use 256 x 256"),
        ((1, 1, 8, 8), "use 16 x 16"),
        ((1, 3, 256, 256), r"\(B, 1, H, W\)"),
        ((1, 256, 256), r"\(B, 1, H, W\)"),
    ],
)
def test_slices_that_cannot_work_are_refused_with_what_to_use(
    shape: tuple[int, ...], use: str
) -> None:
    with pytest.raises(ValueError, match=use):
        small()(torch.zeros(shape))


@looped(
    ("arguments", "use"),
    [
        ({"size_px": 100}, "use 96"),
        ({"size_px": 8}, "use 16"),
        ({"width": 30}, "use 32"),
        ({"width": 0}, "use 4"),
        ({"width": 8, "heads": 6}, "use 9"),
        ({"position": "sine"}, "learned, sincos, none"),
        ({"norm": "both"}, "post, pre"),
    ],
)
def test_arguments_that_cannot_work_are_refused_with_what_to_use(
    arguments: dict[str, Any], use: str
) -> None:
    with pytest.raises(ValueError, match=use):
        without_numbers(**arguments)


def test_other_channels_and_classes_and_the_nets_name() -> None:
    # more channels and classes
    net = without_numbers(width=8, channels=3, classes=5)
    assert net(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 5, 64, 64)

    # the net is known by its name
    assert NETS["hybrid2d"] is Hybrid2d
