"""Figure 5 shows the net as it is: shapes and parameter counts against the net and the paper."""

from __future__ import annotations

from typing import Any

import pytest
from LiverTumorSegLib.nets import NETS
from looped import looped
from toy_figures import check_readable, texts_of, toy_summary

from training.reports.figures_network import draw_network, shape_text, trace_hybrid2d
from training.reports.slices_to_show import NotDrawn

pytestmark = pytest.mark.usefixtures("figure_style")


def test_the_papers_net_has_the_shapes_of_table_1() -> None:
    facts = trace_hybrid2d({}, 256)
    assert facts.input == (256, 256, 1)
    assert [block.shape for block in facts.encoder] == [
        (256, 256, 64),
        (128, 128, 128),
        (64, 64, 256),
        (32, 32, 512),
    ]
    assert facts.tokens == (1024, 512)
    assert (facts.layers, facts.heads, facts.feed_forward) == (4, 8, 2048)
    assert [block.shape for block in facts.decoder] == [
        (64, 64, 256),
        (128, 128, 128),
        (256, 256, 64),
    ]
    assert facts.ups == ((64, 64, 256), (128, 128, 128), (256, 256, 64))
    assert facts.head.shape == (256, 256, 3)
    assert facts.parameters == 20_835_779
    assert [block.parameters for block in facts.encoder] == [37_824, 221_952, 886_272, 3_542_016]
    assert facts.transformer_parameters == 12_609_536


@looped(
    "net_args",
    [
        {"width": 8, "size_px": 64},
        {"width": 16, "layers": 2, "heads": 4, "position": "sincos", "norm": "pre"},
        {"width": 8, "position": "none", "channels": 3},
    ],
)
def test_any_net_is_counted_whole(net_args: dict[str, Any]) -> None:
    facts = trace_hybrid2d(net_args, 64)
    net = NETS["hybrid2d"](**net_args)
    assert facts.parameters == sum(p.numel() for p in net.parameters())
    assert facts.encoder[-1].shape == (8, 8, 8 * net_args["width"])
    assert facts.input[2] == net_args.get("channels", 1)
    assert facts.norm_first == (net_args.get("norm") == "pre")
    words = {"learned": "learned", "sincos": "sine-cosine", "none": "no position"}
    assert words[net_args.get("position", "learned")] in facts.position


def test_the_diagram_prints_them() -> None:
    net_args = {"width": 32, "norm": "pre", "dropout": 0.2}
    figure = draw_network(toy_summary(network={"net_args": net_args}))
    check_readable(figure)
    words = texts_of(figure)
    facts = trace_hybrid2d(net_args, 64)
    for block in (*facts.encoder, *facts.decoder, facts.head):
        assert shape_text(block.shape) in words
        assert f"{block.parameters:,} parameters" in words
    assert "Double conv 1 to 32" in words
    assert "Double conv 256 to 128" in words  # 128 from the skip, 128 from below
    assert "skip: 128 + 128 channels joined" in words
    assert "64 tokens of length 256" in words
    assert "self-attention, 8 heads of 32" in words
    assert "feed-forward 256 to 1024 to 256, GELU" in words
    assert "residual; LayerNorm before each part, and at the end" in words
    assert "dropout 0.2 in training" in words
    assert f"{facts.parameters:,} parameters in all" in " ".join(words)


def test_another_net_has_no_such_diagram() -> None:
    with pytest.raises(NotDrawn, match="this model is gunetrpp"):
        draw_network(toy_summary(network={"net": "gunetrpp"}))
