"""Figure 5: the network as it is, its shapes and parameters taken from the net itself.

    facts = trace_hybrid2d({"width": 32}, size_px=256)
    facts.encoder[0].shape, facts.parameters      # (256, 256, 32), 5_218_307

The net is built without memory for its weights (PyTorch's meta device), one slice is sent through,
and every part says what it put out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.reports.slices_to_show import NotDrawn
from training.reports.style import (
    NORMAL,
    SOFT,
    Box,
    canvas,
    draw_arrow,
    draw_box,
    page,
    write,
    write_on_white,
)
from training.score.summary import Record, basis

Shape = tuple[int, int, int]  # rows, columns, channels, as in the paper's Table 1
ENCODER_TINT, TRANSFORMER_TINT, DECODER_TINT, ENDS_TINT = "#dcebf7", "#fde5cf", "#dff2e1", "#eef0f3"
NORM_PLACES = {True: "before each part, and at the end", False: "after each part"}
SIZE_OF_THE_PAPER_PX = 256
BOX_WIDTH, BOX_HEIGHT = 2.25, 0.72
ROW_IN, LAST_ROW_IN = 1.16, 1.75  # from one level of the net to the next; to the bottleneck


@dataclass(frozen=True)
class Block:
    """One part of the net: what it puts out and how many parameters it learns."""

    shape: Shape
    parameters: int


@dataclass(frozen=True, kw_only=True)
class Hybrid2dFacts:
    """Sizes and counts that the diagram of hybrid2d shows.

    encoder: from the first level to the bottleneck. decoder: from the bottleneck up; ``ups`` are
    the transposed convolutions in it. tokens: number and length of each.
    """

    input: Shape
    encoder: tuple[Block, ...]
    tokens: tuple[int, int]
    position: str
    layers: int
    heads: int
    feed_forward: int
    norm_first: bool
    dropout: float
    transformer_parameters: int
    decoder: tuple[Block, ...]
    ups: tuple[Shape, ...]
    head: Block
    parameters: int


def trace_hybrid2d(net_args: Mapping[str, Any], size_px: int) -> Hybrid2dFacts:
    """Build the net of these arguments and send one slice of ``size_px`` through it."""
    import torch
    from LiverTumorSegLib.nets import NETS

    with torch.device("meta"):
        net: Any = NETS["hybrid2d"](**net_args).eval()
        slices = torch.empty(1, net.channels, size_px, size_px)
    shapes: dict[str, Shape] = {}

    def watch(name: str) -> Any:
        def keep(_module: Any, _given: Any, out: Any) -> None:
            shapes[name] = (out.shape[2], out.shape[3], out.shape[1])

        return keep

    levels = ("encoder1", "encoder2", "encoder3", "encoder4"), ("decoder3", "decoder2", "decoder1")
    parts = {name: getattr(net, name) for name in (*levels[0], *levels[1], "head")}
    for name, part in parts.items():
        part.register_forward_hook(watch(name))
        if name in levels[1]:
            part.up.register_forward_hook(watch(f"{name}.up"))
    with torch.inference_mode():
        net(slices)
    blocks = {name: Block(shapes[name], _parameters(part)) for name, part in parts.items()}
    rows, columns, dim = shapes["encoder4"]
    layer = net.transformer[0]
    return Hybrid2dFacts(
        input=(size_px, size_px, net.channels),
        encoder=tuple(blocks[name] for name in levels[0]),
        tokens=(rows * columns, dim),
        position=_position(net),
        layers=len(net.transformer),
        heads=layer.attention.heads,
        feed_forward=layer.feed_forward[0].out_features,
        norm_first=layer.pre,
        dropout=layer.drop.p,
        transformer_parameters=sum(map(_parameters, (net.transformer, net.final_norm))),
        decoder=tuple(blocks[name] for name in levels[1]),
        ups=tuple(shapes[f"{name}.up"] for name in levels[1]),
        head=blocks["head"],
        parameters=_parameters(net),
    )


def facts_of(summary: Record) -> Hybrid2dFacts | None:
    """The facts of the scored network, at the size of its slices; None for another net."""
    network = summary["network"]
    if network["net"] != "hybrid2d":
        return None
    size_px = network["preprocessing"].get("size_px", SIZE_OF_THE_PAPER_PX)
    return trace_hybrid2d(network["net_args"], size_px)


def _parameters(part: Any) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def _position(net: Any) -> str:
    if net.position.table is None:
        return "no position embedding"
    learned = _parameters(net.position) > 0
    return "+ learned position embedding" if learned else "+ fixed sine-cosine positions"


def draw_network(summary: Record) -> Figure:
    """Figure 5: encoder, transformer and decoder as blocks with their true shapes."""
    facts = facts_of(summary)
    if facts is None:
        net = summary["network"]["net"]
        raise NotDrawn(f"No block diagram: it is that of hybrid2d, and this model is {net}.")
    figure = page(
        "The network: encoder, transformer, decoder",
        "Convolutions see texture nearby, the transformer relates all places of the slice to each"
        " other, and skip connections bring back fine detail. Shapes: rows x columns x channels.",
        f"{facts.parameters:,} parameters in all; drawn from the net that was scored, not from the"
        f" paper. {basis(summary)}",
        7.05,
        number=5,
    )
    axes = canvas(figure)
    encoder, decoder = _draw_levels(axes, facts)
    _draw_bottleneck(axes, facts, encoder[-1], decoder[0])
    return figure


def _draw_levels(axes: Axes, facts: Hybrid2dFacts) -> tuple[list[Box], list[Box]]:
    """Input, encoder, decoder, output, and the skips between; boxes of encoder and decoder."""
    width = axes.get_xlim()[1]
    left, right = BOX_WIDTH / 2 + 0.1, width - BOX_WIDTH / 2 - 0.1
    top = axes.get_ylim()[1] - 0.65
    ends = [Box(x, top, BOX_WIDTH, BOX_HEIGHT) for x in (left, right)]
    draw_box(axes, ends[0], ENDS_TINT, ["Input slice", shape_text(facts.input)])
    head = ["Conv 1 x 1, softmax", shape_text(facts.head.shape), _share(facts.head)]
    draw_box(axes, ends[1], ENDS_TINT, head)
    rows = [top - ROW_IN * (n + 1) for n in range(len(facts.decoder))]
    encoder = [Box(left, y, BOX_WIDTH, BOX_HEIGHT) for y in (*rows, rows[-1] - LAST_ROW_IN)]
    decoder = [Box(right, y, BOX_WIDTH, BOX_HEIGHT) for y in reversed(rows)]
    before = facts.input[2]
    for n, (box, block) in enumerate(zip(encoder, facts.encoder, strict=True)):
        channels = f"Double conv {before} to {block.shape[2]}"
        draw_box(axes, box, ENCODER_TINT, [channels, shape_text(block.shape), _share(block)])
        draw_arrow(axes, (encoder[n - 1] if n else ends[0]).bottom, box.top)
        if n:
            write(axes, (box.x + 0.1, box.top[1] + 0.22), "max-pool 2 x 2", ha="left")
        before = block.shape[2]
    for n, (box, block) in enumerate(zip(decoder, facts.decoder, strict=True)):
        skip = facts.encoder[len(facts.encoder) - 2 - n].shape[2]
        channels = f"Double conv {skip + facts.ups[n][2]} to {block.shape[2]}"
        draw_box(axes, box, DECODER_TINT, [channels, shape_text(block.shape), _share(block)])
        draw_arrow(axes, box.top, (decoder[n + 1] if n + 1 < len(decoder) else ends[1]).bottom)
        _draw_skip(axes, encoder[-2 - n], box, skip, facts.ups[n][2])
        text = f"transposed conv 2 x 2 to {facts.ups[n][2]}"
        write(axes, (box.x - 0.1, box.bottom[1] - 0.22), text, ha="right")
    for box, name in ((ends[0], "Encoder"), (ends[1], "Decoder")):
        write(axes, (box.x, box.top[1] + 0.2), name, bold=True, size=NORMAL + 2, color=SOFT)
    return encoder, decoder


def _draw_skip(axes: Axes, start: Box, end: Box, skip: int, up: int) -> None:
    draw_arrow(axes, start.right, end.left, linestyle="--", color=SOFT)
    middle = (start.right[0] + end.left[0]) / 2, start.y
    write_on_white(axes, middle, f"skip: {skip} + {up} channels joined")


def _draw_bottleneck(axes: Axes, facts: Hybrid2dFacts, deep: Box, first_up: Box) -> None:
    """Tokens, the transformer, and the map folded back, from the encoder's end to the decoder."""
    count, dim = facts.tokens
    y, gap = deep.y, 0.28
    folded = Box(first_up.x, y, BOX_WIDTH, BOX_HEIGHT)
    free = folded.left[0] - deep.right[0] - 2 * gap
    middle = Box((deep.right[0] + folded.left[0]) / 2, y, free, 2.05)
    lines = [
        f"{facts.layers} x transformer layer",
        f"{count:,} tokens of length {dim}",
        facts.position,
        f"self-attention, {facts.heads} heads of {dim // facts.heads}",
        f"feed-forward {dim} to {facts.feed_forward} to {dim}, GELU",
        f"residual; LayerNorm {NORM_PLACES[facts.norm_first]}",
        f"dropout {facts.dropout:g} in training",
        f"{facts.transformer_parameters:,} parameters",
    ]
    middle_lines = [line for line in lines if line]
    draw_box(axes, middle, TRANSFORMER_TINT, middle_lines)
    at = middle.x, middle.top[1] + 0.2
    write(axes, at, "Transformer", bold=True, size=NORMAL + 2, color=SOFT)
    draw_box(axes, folded, TRANSFORMER_TINT, ["Folded back", shape_text(facts.encoder[-1].shape)])
    draw_arrow(axes, deep.right, middle.left)
    draw_arrow(axes, middle.right, folded.left)
    draw_arrow(axes, folded.top, first_up.bottom)


def shape_text(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _share(block: Block) -> str:
    return f"{block.parameters:,} parameters"
