"""Encoder for small images: a convolutional network for any size from a few pixels up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError, DataError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens

# Channels that are normalised together, as Wu and He found best.
GROUP = 16


def as_picture(value: Any) -> Image.Image:
    """A raw value as a picture.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(value, Image.Image):
        raise DataError(
            f"The encoder takes pictures (PIL.Image.Image), found {type(value).__name__}. Declare "
            "another kind, or decode the files with mmfuse.media.decode_image."
        )
    return value if value.mode == "RGB" else value.convert("RGB")


class ImageCNNEncoder(Encoder):
    """Small convolutional network, trained from scratch, for images from 4 x 4 pixels up.

    Layer i has ``hidden * 2^i`` channels and two 3 x 3 convolutions with GroupNorm and ReLU;
    each layer but the first halves height and width, down to one pixel at the least. Then
    comes the mean over what is left.

    Raw pictures are resized to a square of ``size`` pixels (whatever their shape, bicubic) and
    their values scaled from 0..255 to -1..1; arrays are taken as they are.

    Args:
        spec: an image modality, arrays of (C, H, W) or raw pictures.
        out_dim: width of the result.
        hidden: channels of the first layer.
        layers: number of layers.
        dropout: rate before the readout.
        tokens: give each place of the last map as a token, row by row, not their mean.
        size: height and width that raw pictures are resized to.
        frozen: no learning.

    Shape:
        preprocess: B pictures -> (B, 3, size, size)
        forward: (B, C, H, W) -> (B, out_dim), or Tokens (B, T, out_dim) with
        T = ceil(H / 2^(layers - 1)) * ceil(W / 2^(layers - 1))

    Raises:
        ConfigError: ``size`` is below 4.
        DataError: from ``preprocess``, a row that is no picture.

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
        size: int = 32,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        if size < 4:
            raise ConfigError(f"ImageCNNEncoder: size is {size}; expected 4 up.")
        self.tokens, self.size = tokens, size
        width, maps = self.spec.width if self.spec.shape else 3, []
        for i in range(layers):
            wide = hidden * 2**i
            maps += [*_convolution(width, wide, 2 if i else 1), *_convolution(wide, wide, 1)]
            width = wide
        self.maps = nn.Sequential(*maps)
        self.readout = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, out_dim))

    def preprocess(self, raw: Any) -> Tensor:
        """Resizes and scales raw pictures; arrays stay."""
        if self.spec.shape:
            return raw
        square = (self.size, self.size)
        resized = [as_picture(p).resize(square, Image.Resampling.BICUBIC) for p in raw]
        pixels = torch.from_numpy(np.stack([np.asarray(p) for p in resized]))
        return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1

    def preprocessing(self) -> dict[str, Any]:
        """The size and range of raw pictures."""
        return {} if self.spec.shape else {"size": self.size, "low": -1.0, "high": 1.0}

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
