"""Encoder for small images: a convolutional network for any size from a few pixels up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfuse.encoder import Encoder
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens

# Channels that are normalised together, as Wu and He found best.
GROUP = 16


class ImageCNNEncoder(Encoder):
    """Small convolutional network, trained from scratch, for images from 4 x 4 pixels up.

    Layer i has ``hidden * 2^i`` channels and two 3 x 3 convolutions with GroupNorm and ReLU;
    each layer but the first halves height and width, down to one pixel at the least. Then
    comes the mean over what is left.

    Args:
        spec: an image modality.
        out_dim: width of the result.
        hidden: channels of the first layer.
        layers: number of layers.
        dropout: rate before the readout.
        tokens: give each place of the last map as a token, row by row, not their mean.
        frozen: no learning.

    Shape:
        (B, C, H, W) -> (B, out_dim), or Tokens (B, T, out_dim) with
        T = ceil(H / 2^(layers - 1)) * ceil(W / 2^(layers - 1))

    GroupNorm (Wu and He, arXiv:1803.08494) and not BatchNorm, because an encoder sees only
    the rows that have its modality, which may be a single one.
    """

    kinds = frozenset({"image"})
    default_for = frozenset({"image"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: int = 32,
        layers: int = 3,
        dropout: float = 0.0,
        tokens: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        self.tokens = tokens
        width, maps = self.spec.width, []
        for i in range(layers):
            wide = hidden * 2**i
            maps += [*_convolution(width, wide, 2 if i else 1), *_convolution(wide, wide, 1)]
            width = wide
        self.maps = nn.Sequential(*maps)
        self.readout = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, out_dim))

    def forward(self, x: Tensor) -> Tensor | Tokens:
        """Encodes the rows."""
        places = self.maps(x).flatten(2).transpose(1, 2)
        if not self.tokens:
            return self.readout(places.mean(dim=1))
        values = self.readout(places)
        return Tokens(values, values.new_ones(values.shape[:2], dtype=torch.bool))


def _convolution(width: int, wide: int, stride: int) -> list[nn.Module]:
    groups = 1 if wide % GROUP else wide // GROUP
    return [
        nn.Conv2d(width, wide, 3, stride, padding=1, bias=False),
        nn.GroupNorm(groups, wide),
        nn.ReLU(),
    ]
