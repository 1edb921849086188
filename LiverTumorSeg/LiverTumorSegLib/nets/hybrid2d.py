"""Hybrid 2D CNN-Transformer (Bader & Jarjees 2026, section II.D, Table 1): slices in, logits out.

Three levels of double convolutions, a bottleneck read as tokens by four transformer encoder
layers, and a decoder that mirrors the encoder. The shapes in the comments are those of the paper's
256 x 256 slices at width 64.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

POSITIONS = ("learned", "sincos", "none")
NORMS = ("post", "pre")


class DoubleConv(nn.Sequential):
    """Conv 3x3, batch norm, ReLU, twice (Eq. 3; Table 1)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.BatchNorm2d(channels_out),  # eps 1e-5, momentum 0.1
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


class SelfAttention(nn.Module):
    """Multi-head self-attention over all tokens (Eq. 6-7)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        # the framework's own start for attention: one fan for the three stacked maps, no bias
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, dim = tokens.shape
        qkv = self.qkv(tokens).view(batch, count, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, 8, 1024, 64)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout if self.training else 0.0
        )
        joined = mixed.transpose(1, 2).reshape(batch, count, dim)  # (B, 1024, 512)
        result: Tensor = self.out(joined)
        return result


class EncoderLayer(nn.Module):
    """Transformer encoder layer: attention and a 4x GELU feed-forward part, both residual.

    ``norm="post"`` normalizes after each addition (the original transformer; the paper does not
    say); ``"pre"`` before each part.
    """

    def __init__(
        self, dim: int, heads: int, dropout: float, attention_dropout: float, norm: str
    ) -> None:
        super().__init__()
        self.pre = norm == "pre"
        self.attention = SelfAttention(dim, heads, attention_dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim)
        )
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        if self.pre:
            tokens = tokens + self.drop(self.attention(self.norm1(tokens)))
            tokens = tokens + self.drop(self.feed_forward(self.norm2(tokens)))
            return tokens
        tokens = self.norm1(tokens + self.drop(self.attention(tokens)))
        tokens = self.norm2(tokens + self.drop(self.feed_forward(tokens)))
        return tokens


class PositionEmbedding(nn.Module):
    """Position embedding of the tokens: learned, fixed sine-cosine, or none.

    The embedding belongs to a ``grid x grid`` map and is interpolated for maps of other sizes, so
    that a net can be trained on small slices first.
    """

    table: Tensor | None

    def __init__(self, kind: str, dim: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        if kind == "learned":
            self.table = nn.Parameter(torch.empty(1, grid * grid, dim))  # Table 1: 1024 x 512
            nn.init.trunc_normal_(self.table, std=0.02)
        elif kind == "sincos":
            self.register_buffer("table", _sincos_2d(dim, grid), persistent=False)
        else:
            self.table = None

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        if self.table is None:
            return tokens
        return tokens + self.at(height, width).to(tokens.dtype)

    def at(self, height: int, width: int) -> Tensor:
        """The embedding of a height x width map: (1, height * width, dim)."""
        table = cast(Tensor, self.table)
        if (height, width) == (self.grid, self.grid):
            return table
        square = table.transpose(1, 2).reshape(1, -1, self.grid, self.grid)
        resized = functional.interpolate(
            square, (height, width), mode="bilinear", align_corners=False, antialias=True
        )
        return resized.flatten(2).transpose(1, 2)


class UpBlock(nn.Module):
    """Transposed conv 2x2 stride 2, [encoder, upsampled] joined, a double conv (Eq. 9)."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        half = channels_in // 2
        self.up = nn.ConvTranspose2d(channels_in, half, 2, stride=2)
        self.conv = DoubleConv(channels_in, half)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        result: Tensor = self.conv(torch.cat([skip, self.up(deep)], dim=1))
        return result


class Hybrid2d(nn.Module):
    """The paper's network; 20,835,779 parameters as published in Table 1.

    width: channels of the first level (paper: 64); a multiple of 8.
    position: "learned" (Table 1) | "sincos" | "none"; without the learned table the count is the
        paper's 20.3 M.
    norm: "post" | "pre" (with a final LayerNorm).
    attention_dropout: of the attention weights, as in the framework's own layer; 0 lets a CPU use
        its fused attention, nine times faster to train at 256 pixels.
    size_px: the slice size the position embedding is made for; a multiple of 8.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        position: str = "learned",
        norm: str = "post",
        channels: int = 1,
        classes: int = 3,
        layers: int = 4,
        heads: int = 8,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        size_px: int = 256,
    ) -> None:
        super().__init__()
        _check_arguments(width, position, norm, heads, size_px)
        dim = 8 * width
        self.channels = channels
        self.encoder1 = DoubleConv(channels, width)
        self.encoder2 = DoubleConv(width, 2 * width)
        self.encoder3 = DoubleConv(2 * width, 4 * width)
        self.encoder4 = DoubleConv(4 * width, dim)
        self.pool = nn.MaxPool2d(2)
        self.position = PositionEmbedding(position, dim, size_px // 8)
        self.transformer = nn.ModuleList(
            EncoderLayer(dim, heads, dropout, attention_dropout, norm) for _ in range(layers)
        )
        self.final_norm = nn.LayerNorm(dim) if norm == "pre" else nn.Identity()
        self.decoder3 = UpBlock(dim)
        self.decoder2 = UpBlock(4 * width)
        self.decoder1 = UpBlock(2 * width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, slices: Tensor) -> Tensor:
        """Slices (B, channels, H, W) in [0, 1], sides multiples of 8; logits (B, classes, H, W)."""
        _check_input(slices, self.channels)
        skip1 = self.encoder1(slices)  # (B, 64, 256, 256)
        skip2 = self.encoder2(self.pool(skip1))  # (B, 128, 128, 128)
        skip3 = self.encoder3(self.pool(skip2))  # (B, 256, 64, 64)
        deep = self.bottleneck(self.encoder4(self.pool(skip3)))  # (B, 512, 32, 32)
        deep = self.decoder3(deep, skip3)  # (B, 256, 64, 64)
        deep = self.decoder2(deep, skip2)  # (B, 128, 128, 128)
        deep = self.decoder1(deep, skip1)  # (B, 64, 256, 256)
        result: Tensor = self.head(deep)  # (B, 3, 256, 256)
        return result

    def bottleneck(self, features: Tensor) -> Tensor:
        """Read the map as tokens, let all tokens see each other, and fold it back."""
        batch, dim, height, width = features.shape
        tokens: Tensor = features.flatten(2).transpose(1, 2)  # (B, 1024, 512)
        tokens = self.position(tokens, height, width)
        for layer in self.transformer:
            tokens = layer(tokens)
        tokens = self.final_norm(tokens)
        return tokens.transpose(1, 2).reshape(batch, dim, height, width)


def _sincos_2d(dim: int, grid: int) -> Tensor:
    """Fixed embedding (1, grid * grid, dim): a quarter each of sin and cos of row and column."""
    quarter = dim // 4
    rates = torch.exp(torch.arange(quarter) * (-math.log(10000.0) / quarter))
    angles = torch.arange(grid)[:, None] * rates  # (grid, quarter)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, dim / 2)
    rows = waves[:, None].expand(grid, grid, -1)
    columns = waves[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=2).reshape(1, grid * grid, dim)


def _check_arguments(width: int, position: str, norm: str, heads: int, size_px: int) -> None:
    if position not in POSITIONS:
        raise ValueError(f"position is {position!r}; use one of {', '.join(POSITIONS)}.")
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; use one of {', '.join(NORMS)}.")
    step = (
        4 * heads // math.gcd(8, 4 * heads)
    )  # tokens of 8 * width split evenly by heads and waves
    if width < 1 or width % step:
        near = max(step, round(width / step) * step)
        raise ValueError(f"width is {width}; {heads} heads need a multiple of {step}, use {near}.")
    if size_px < 16 or size_px % 8:
        raise ValueError(f"size_px is {size_px}; use {_nearest_size(size_px)}.")


def _check_input(slices: Tensor, channels: int) -> None:
    if slices.ndim != 4 or slices.shape[1] != channels:
        raise ValueError(f"Slices come as (B, {channels}, H, W); got {tuple(slices.shape)}.")
    height, width = slices.shape[2:]
    if height % 8 or width % 8 or min(height, width) < 16:
        raise ValueError(
            "Three poolings need sides that are multiples of 8, at least 16; got"
            f" {height} x {width}, use {_nearest_size(height)} x {_nearest_size(width)}."
        )


def _nearest_size(side: int) -> int:
    return max(16, round(side / 8) * 8)
