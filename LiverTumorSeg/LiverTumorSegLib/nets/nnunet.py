"""nnU-Net's U-Net (Isensee et al. 2021), plain or with a residual encoder (2024): patches in.

Built from what a plans file says of it; its tensors have the names of nnU-Net's checkpoints. The
outputs of coarser grids, which serve training alone, are left out. A 2D network is one whose
kernels, strides and patch are 1 along k, which computes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from .three_classes import three_classes

Kji = Sequence[int]


class ConvNorm(nn.Module):
    """Convolution, instance norm and, if wished, leaky ReLU."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: Kji,
        stride: Kji = (1, 1, 1),
        *,
        bias: bool = True,
        relu: bool = True,
    ) -> None:
        super().__init__()
        padding = [(side - 1) // 2 for side in kernel]
        sizes = tuple(kernel), tuple(stride), padding
        self.conv = nn.Conv3d(channels_in, channels_out, *sizes, bias=bias)  # type: ignore[arg-type]
        self.norm = nn.InstanceNorm3d(channels_out, affine=True)
        self.relu = relu

    def forward(self, features: Tensor) -> Tensor:
        features = self.norm(self.conv(features))
        return functional.leaky_relu(features, inplace=True) if self.relu else features


class ConvStack(nn.Module):
    """Convolutions one after the other, of which the first may halve the grid."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: Kji, stride: Kji, count: int, bias: bool
    ) -> None:
        super().__init__()
        first = ConvNorm(channels_in, channels_out, kernel, stride, bias=bias)
        more = [ConvNorm(channels_out, channels_out, kernel, bias=bias) for _ in range(count - 1)]
        self.convs = nn.Sequential(first, *more)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.convs(features)
        return result


class ResidualBlock(nn.Module):
    """Two convolutions plus the input, pooled and projected where they change its shape."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: Kji, stride: Kji, bias: bool
    ) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels_in, channels_out, kernel, stride, bias=bias)
        self.conv2 = ConvNorm(channels_out, channels_out, kernel, bias=bias, relu=False)
        steps: list[nn.Module] = []
        if prod(stride) > 1:
            k, j, i = stride
            steps.append(nn.AvgPool3d((k, j, i), (k, j, i)))
        if channels_in != channels_out:
            steps.append(ConvNorm(channels_in, channels_out, (1, 1, 1), bias=False, relu=False))
        self.skip = nn.Sequential(*steps)

    def forward(self, features: Tensor) -> Tensor:
        result = self.conv2(self.conv1(features)) + self.skip(features)
        return functional.leaky_relu(result, inplace=True)


class ResidualStack(nn.Module):
    """Residual blocks one after the other, of which the first may halve the grid."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: Kji, stride: Kji, count: int, bias: bool
    ) -> None:
        super().__init__()
        first = ResidualBlock(channels_in, channels_out, kernel, stride, bias)
        same = (channels_out, channels_out, kernel, (1, 1, 1), bias)
        self.blocks = nn.Sequential(first, *(ResidualBlock(*same) for _ in range(count - 1)))

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.blocks(features)
        return result


class Encoder(nn.Module):
    """Stages of convolutions, or of residual blocks behind a first convolution."""

    def __init__(
        self,
        features: Sequence[int],
        kernels: Sequence[Kji],
        strides: Sequence[Kji],
        counts: Sequence[int],
        *,
        residual: bool,
        bias: bool,
    ) -> None:
        super().__init__()
        stack = ResidualStack if residual else ConvStack
        stem = ConvStack(1, features[0], kernels[0], (1, 1, 1), 1, bias)
        self.stem: nn.Module = stem if residual else nn.Identity()
        stages: list[nn.Module] = []
        before = features[0] if residual else 1
        for after, kernel, stride, count in zip(features, kernels, strides, counts, strict=True):
            stage = stack(before, after, kernel, stride, count, bias)
            stages.append(stage if residual else nn.Sequential(stage))
            before = after
        self.stages = nn.ModuleList(stages)

    def forward(self, patches: Tensor) -> list[Tensor]:
        features, found = self.stem(patches), []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        return found


class Decoder(nn.Module):
    """Decodes from the coarsest grid up, joining the encoder's features of each."""

    def __init__(
        self,
        features: Sequence[int],
        kernels: Sequence[Kji],
        strides: Sequence[Kji],
        counts: Sequence[int],
        *,
        bias: bool,
    ) -> None:
        super().__init__()
        stages, ups = [], []
        coarse_to_fine = list(pairwise(reversed(features)))
        for n, (deep, fine) in enumerate(coarse_to_fine, 1):
            stride, kernel = tuple(strides[-n]), kernels[-n - 1]
            ups.append(nn.ConvTranspose3d(deep, fine, stride, stride, bias=bias))  # type: ignore[arg-type]
            stages.append(ConvStack(2 * fine, fine, kernel, (1, 1, 1), counts[n - 1], bias))
        self.stages, self.transpconvs = nn.ModuleList(stages), nn.ModuleList(ups)

    def forward(self, found: Sequence[Tensor]) -> Tensor:
        features = found[-1]
        for n, (up, stage) in enumerate(zip(self.transpconvs, self.stages, strict=True), 2):
            features = stage(torch.cat([up(features), found[-n]], dim=1))
        return features


class NnUnet(nn.Module):
    """patch_kji: voxels of a patch along the network's own axes, multiples of all strides together.

    features, kernels, strides, counts: of each stage of the encoder, the finest first; counts are
        convolutions, or with ``residual`` blocks of two. decoder_counts: convolutions of each stage
        of the decoder, the coarsest first.
    classes: channels of the output. liver, tumor, overlapping: see :func:`three_classes`.
    """

    def __init__(
        self,
        *,
        patch_kji: Sequence[int],
        features: Sequence[int],
        kernels: Sequence[Kji],
        strides: Sequence[Kji],
        counts: Sequence[int],
        decoder_counts: Sequence[int],
        classes: int,
        liver: Sequence[int],
        tumor: Sequence[int],
        overlapping: bool = False,
        residual: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        _check_arguments(patch_kji, features, strides, decoder_counts)
        self.patch_kji = tuple(patch_kji)
        self.liver, self.tumor, self.overlapping = tuple(liver), tuple(tumor), overlapping
        stages = features, kernels, strides
        self.encoder = Encoder(*stages, counts, residual=residual, bias=bias)
        self.decoder = Decoder(*stages, decoder_counts, bias=bias)
        self.head = nn.Conv3d(features[0], classes, 1)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, 1, k, j, i) to logits (B, 3, k, j, i) of background, liver and tumor."""
        logits = self.head(self.decoder(self.encoder(patches)))  # (B, classes, k, j, i)
        return three_classes(
            logits, liver=self.liver, tumor=self.tumor, overlapping=self.overlapping
        )


def _check_arguments(
    patch_kji: Sequence[int],
    features: Sequence[int],
    strides: Sequence[Kji],
    decoder_counts: Sequence[int],
) -> None:
    whole = [prod(stride[axis] for stride in strides) for axis in range(3)]
    if len(patch_kji) != 3 or any(s < n or s % n for s, n in zip(patch_kji, whole, strict=True)):
        raise ValueError(f"patch_kji is {tuple(patch_kji)}; use three multiples of {whole}.")
    if len(features) < 2 or len(decoder_counts) != len(features) - 1:
        raise ValueError("There are two stages or more, and one less in the decoder.")
