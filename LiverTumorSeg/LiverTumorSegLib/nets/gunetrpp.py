"""G-UNETR++ (Shin et al. 2026) and its base UNETR++ (Shaker et al. 2024): patches in, logits out.

UNETR++ is an encoder and a decoder of blocks with efficient paired attention (EPA): one map over
channels, one over space, from shared queries and keys, both linear in the number of voxels.
G-UNETR++ adds two encoders that see second derivatives of the patch, f_xz and f_yz, and whose
stages are summed to the first one's. The shapes in the comments are those of the papers' patch of
64 x 128 x 128 voxels (slices, rows, columns) at dims 32, 64, 128, 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import lcm, prod

import torch
from torch import Tensor, nn
from torch.nn import functional

STEM = (2, 4, 4)  # voxels of the patch in one token of stage 1
SPATIAL_LAYOUTS = ("corrected", "reference")
LAYER_SCALE = 1e-6  # how little a new block's attention adds


class PairedAttention(nn.Module):
    """EPA: attention over channels and over space, side by side.

    tokens: N, the tokens it is made for. projection: P, the tokens that space is summed up in.
    layout: "corrected" puts each token's spatial answer at that token, as the paper's formula says;
        "reference" mixes tokens with channels as the published code does, for its weights only.
    """

    def __init__(
        self, *, dim: int, tokens: int, projection: int, heads: int, dropout: float, layout: str
    ) -> None:
        super().__init__()
        self.heads, self.rate, self.layout = heads, dropout, layout
        self.qkvv = nn.Linear(dim, 4 * dim, bias=False)
        self.project = nn.Linear(tokens, projection)  # the same for keys and values
        self.temperature_channel = nn.Parameter(torch.ones(heads, 1, 1))
        self.temperature_space = nn.Parameter(torch.ones(heads, 1, 1))
        self.out_space = nn.Linear(dim, dim // 2)
        self.out_channel = nn.Linear(dim, dim // 2)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, dim = tokens.shape
        split = self.qkvv(tokens).view(batch, count, 4, self.heads, dim // self.heads)
        query, key, value_channel, value_space = split.permute(2, 0, 3, 4, 1)  # (B, 4, 8, 32768)
        unit_query = functional.normalize(query, dim=-1)  # along the tokens, not the channels
        space = self._space(unit_query, self.project(key), self.project(value_space))
        channel = self._channel(unit_query, functional.normalize(key, dim=-1), value_channel)
        return torch.cat([self.out_space(space), self.out_channel(channel)], dim=-1)

    def _space(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query (B, heads, d, N), key and value (B, heads, d, P); tokens (B, N, C)."""
        mixed = functional.scaled_dot_product_attention(
            (self.temperature_space * query).mT.to(value.dtype),
            key.mT,
            value.mT,
            dropout_p=self.rate if self.training else 0.0,
            scale=1.0,
        )  # (B, 4, 32768, 8)
        # the published code reads (B, 8, 4, 32768) as if its tokens came first
        order = (0, 3, 1, 2) if self.layout == "reference" else (0, 2, 1, 3)
        return mixed.permute(order).reshape(len(mixed), query.shape[-1], -1)  # (B, 32768, 32)

    def _channel(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """All (B, heads, d, N); tokens (B, N, C)."""
        alike = self.temperature_channel * (query @ key.mT)  # (B, 4, 8, 8)
        mixed: Tensor = self.drop(alike.softmax(dim=-1)) @ value  # (B, 4, 8, 32768)
        return mixed.flatten(1, 2).transpose(1, 2)  # (B, 32768, 32)


class ResidualConv(nn.Module):
    """Conv 3x3x3, norm, leaky ReLU, conv, norm, plus the input, leaky ReLU."""

    def __init__(self, channels_in: int, channels_out: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(channels_in, channels_out, 3, padding=1, bias=False),
            norm(channels_out),
            nn.LeakyReLU(0.01),
            nn.Conv3d(channels_out, channels_out, 3, padding=1, bias=False),
            norm(channels_out),
        )
        self.identity: nn.Module = nn.Identity()
        if channels_in != channels_out:
            change = nn.Conv3d(channels_in, channels_out, 1, bias=False)
            self.identity = nn.Sequential(change, norm(channels_out))

    def forward(self, features: Tensor) -> Tensor:
        return functional.leaky_relu(self.body(features) + self.identity(features), 0.01)


class Block(nn.Module):
    """Positions, paired attention, then convolutions; each but the positions residual."""

    def __init__(
        self,
        *,
        dim: int,
        tokens: int,
        projection: int,
        heads: int,
        dropout: float,
        attention_dropout: float,
        layout: str,
    ) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, tokens, dim))
        self.norm = nn.LayerNorm(dim)
        self.attention = PairedAttention(
            dim=dim,
            tokens=tokens,
            projection=projection,
            heads=heads,
            dropout=attention_dropout,
            layout=layout,
        )
        self.gain = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.conv = ResidualConv(dim, dim, nn.BatchNorm3d)
        self.mix = nn.Sequential(nn.Dropout3d(dropout), nn.Conv3d(dim, dim, 1))

    def forward(self, features: Tensor) -> Tensor:
        tokens = features.flatten(2).mT + self.position  # (B, 32768, 32)
        tokens = tokens + self.gain * self.attention(self.norm(tokens))
        features = tokens.mT.reshape(features.shape)  # (B, 32, 32, 32, 32)
        result: Tensor = features + self.mix(self.conv(features))
        return result


class Encoder(nn.Module):
    """Four stages of blocks, each on half the grid of the one before."""

    def __init__(self, stages: Sequence[Sequence[Block]], dims: Sequence[int]) -> None:
        super().__init__()
        stem = nn.Conv3d(1, dims[0], STEM, stride=STEM, bias=False)
        self.down = nn.ModuleList([nn.Sequential(stem, nn.GroupNorm(1, dims[0]))])
        for fine, coarse in pairwise(dims):
            half = nn.Conv3d(fine, coarse, 2, stride=2, bias=False)
            self.down.append(nn.Sequential(half, nn.GroupNorm(fine, coarse)))
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages)
        self.apply(_start_like_transformer)

    def forward(self, patches: Tensor) -> list[Tensor]:
        features, found = patches, []  # (B, 1, 64, 128, 128)
        for down, stage in zip(self.down, self.stages, strict=True):
            features = stage(down(features))
            found.append(features)
        return found  # (B, 32, 32^3), (B, 64, 16^3), (B, 128, 8^3), (B, 256, 4^3)


class UpStage(nn.Module):
    """Transposed convolution, plus the encoder's features, then blocks."""

    def __init__(self, channels_in: int, blocks: Sequence[Block], channels_out: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(channels_in, channels_out, 2, stride=2, bias=False)
        self.blocks = nn.Sequential(*blocks)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        result: Tensor = self.blocks(self.up(deep) + skip)
        return result


class GUnetrpp(nn.Module):
    """G-UNETR++: 97,725,934 parameters with two classes, background among them.

    gradient_encoders: False leaves UNETR++ itself, 42,951,470 parameters.
    patch_kji: voxels of a patch (slices, rows, columns); multiples of 16, 32 and 32, because
        positions and attention are made for its tokens.
    dims: channels of the four stages; multiples of the heads. depth: blocks in each stage.
    projections: tokens that each stage's space is summed up in; the decoder has the same from
        stage 3 back to 1.
    dropout: of channels in each block. attention_dropout: of both attention maps.
    spatial_layout: see :class:`PairedAttention`.
    """

    def __init__(
        self,
        *,
        classes: int = 2,
        gradient_encoders: bool = True,
        patch_kji: Sequence[int] = (64, 128, 128),
        dims: Sequence[int] = (32, 64, 128, 256),
        depth: int = 3,
        heads: int = 4,
        projections: Sequence[int] = (64, 64, 64, 32),
        dropout: float = 0.1,
        attention_dropout: float = 0.15,
        spatial_layout: str = "corrected",
    ) -> None:
        super().__init__()
        _check_arguments(patch_kji, dims, heads, projections, spatial_layout)
        self.patch_kji = tuple(patch_kji)

        def blocks(stage: int) -> list[Block]:
            cells = (side // (step << stage) for side, step in zip(patch_kji, STEM, strict=True))
            return [
                Block(
                    dim=dims[stage],
                    tokens=tokens,
                    projection=min(projections[stage], tokens),  # more would sum up nothing
                    heads=heads,
                    dropout=dropout,
                    attention_dropout=attention_dropout,
                    layout=spatial_layout,
                )
                for tokens in [prod(cells)] * depth
            ]

        names = ("image", "f_xz", "f_yz") if gradient_encoders else ("image",)
        self.encoders = nn.ModuleDict(
            {name: Encoder([blocks(stage) for stage in range(4)], dims) for name in names}
        )
        full = dims[0] // 2
        self.full_resolution = ResidualConv(1, full, nn.InstanceNorm3d)
        self.decoder5 = UpStage(dims[3], blocks(2), dims[2])
        self.decoder4 = UpStage(dims[2], blocks(1), dims[1])
        self.decoder3 = UpStage(dims[1], blocks(0), dims[0])
        self.up = nn.ConvTranspose3d(dims[0], full, STEM, stride=STEM, bias=False)
        self.decoder2 = ResidualConv(full, full, nn.InstanceNorm3d)
        self.heads = nn.ModuleList(nn.Conv3d(n, classes, 1) for n in (full, dims[0], dims[1]))

    def forward(self, patches: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Patches to logits (B, classes, k, j, i); in training also those of two coarser grids.

        patches: (B, 1, k, j, i) in [0, 1]; or (B, 2, k, j, i) with a mask of 0 and 1 behind the
        whole image: the net blanks what lies outside, after the derivatives are taken.
        In training: logits on the full grid, on 1/2 x 1/4 x 1/4 and on 1/4 x 1/8 x 1/8 of it.
        """
        self._check_input(patches)
        image = patches[:, :1] * patches[:, 1:] if patches.shape[1] == 2 else patches
        skip1, skip2, skip3, deep = self._encode(image, patches)
        deep = self.decoder5(deep, skip3)  # (B, 128, 8, 8, 8)
        coarse = self.decoder4(deep, skip2)  # (B, 64, 16, 16, 16)
        middle = self.decoder3(coarse, skip1)  # (B, 32, 32, 32, 32)
        full = self.up(middle) + self.full_resolution(image)  # (B, 16, 64, 128, 128)
        full = self.decoder2(full)  # (B, 16, 64, 128, 128)
        if self.training:
            return tuple(h(f) for h, f in zip(self.heads, (full, middle, coarse), strict=True))
        result: Tensor = self.heads[0](full)  # (B, 2, 64, 128, 128)
        return result

    def _encode(self, image: Tensor, patches: Tensor) -> list[Tensor]:
        """The four stages, each the sum over the encoders."""
        stages: list[Tensor] = self.encoders["image"](image)
        if "f_xz" in self.encoders:
            f_xz, f_yz = hessian_features(patches)
            along_x, along_y = self.encoders["f_xz"](f_xz), self.encoders["f_yz"](f_yz)
            stages = [a + b + c for a, b, c in zip(stages, along_x, along_y, strict=True)]
        return stages

    def _check_input(self, patches: Tensor) -> None:
        shape = tuple(patches.shape)
        if len(shape) != 5 or shape[1] not in (1, 2) or shape[2:] != self.patch_kji:
            k, j, i = self.patch_kji
            raise ValueError(
                f"Patches come as (B, 1 or 2, {k}, {j}, {i}), the size the net is made for; got"
                f" {shape}. Cut them so, or build the net with another patch_kji."
            )


def hessian_features(patches: Tensor) -> tuple[Tensor, Tensor]:
    """f_xz and f_yz of each patch: the first two entries of the Hessian's last column.

    x, y, z are the patch's axes in order (slices, rows, columns), one voxel apart, whatever their
    spacing in mm; central differences inside, one-sided at the patch's border. patches: (B, 1 or 2,
    k, j, i); with a second channel, a mask, the first is differentiated as it is and the result is
    masked, so that the mask makes no edge. Returns two (B, 1, k, j, i), float32.
    """
    image = patches[:, :1].float()  # differences of half floats lose what matters
    (f_z,) = torch.gradient(image, dim=(4,))
    f_xz, f_yz = torch.gradient(f_z, dim=(2, 3))
    if patches.shape[1] == 2:
        return f_xz * patches[:, 1:], f_yz * patches[:, 1:]
    return f_xz, f_yz


def _start_like_transformer(module: nn.Module) -> None:
    """The published start, of encoders only; convolutions and decoders keep the framework's."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check_arguments(
    patch_kji: Sequence[int],
    dims: Sequence[int],
    heads: int,
    projections: Sequence[int],
    spatial_layout: str,
) -> None:
    if spatial_layout not in SPATIAL_LAYOUTS:
        raise ValueError(
            f"spatial_layout is {spatial_layout!r}; use one of {', '.join(SPATIAL_LAYOUTS)}."
        )
    steps = [8 * step for step in STEM]
    if len(patch_kji) != 3 or any(s < n or s % n for s, n in zip(patch_kji, steps, strict=True)):
        raise ValueError(
            f"patch_kji is {tuple(patch_kji)}; use three multiples of {steps}, as (64, 128, 128)."
        )
    if len(dims) != 4 or len(projections) != 4 or min(projections) < 1:
        raise ValueError("There are four stages; give four dims and four projections above 0.")
    unit = lcm(2, heads)
    if any(d < unit or d % unit for d in dims):
        raise ValueError(f"dims are {tuple(dims)}; {heads} heads need multiples of {unit}.")
    if any(b % a for a, b in pairwise(dims)):
        raise ValueError(f"dims are {tuple(dims)}; each must be a multiple of the one before.")
