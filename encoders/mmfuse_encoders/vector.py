"""Encoders for one vector a row: a linear map, a perceptron, a residual perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from mmfuse.encoder import Encoder
from mmfuse.picked import PickedRows
from mmfuse.spec import ModalitySpec


def perceptron(width: int, hidden: Sequence[int], out_dim: int, dropout: float) -> nn.Sequential:
    """Linear, ReLU and dropout for every hidden width, then a linear map to ``out_dim``."""
    layers: list[nn.Module] = []
    for wide in hidden:
        layers += [nn.Linear(width, wide), nn.ReLU(), nn.Dropout(dropout)]
        width = wide
    return nn.Sequential(*layers, nn.Linear(width, out_dim))


def spectral_norm(linear: nn.Linear) -> float:
    """The largest singular value of a linear map, found exactly and not by iteration."""
    weight = linear.weight.detach().double()
    return float(torch.linalg.matrix_norm(weight, ord=2))


def with_indicators(numbers: Tensor) -> Tensor:
    """Numbers (B, C), zero where they are missing (NaN), then C ones and zeros that tell it."""
    gaps = numbers.isnan()
    return torch.cat([numbers.masked_fill(gaps, 0), gaps.to(numbers.dtype)], dim=1)


class LinearEncoder(Encoder):
    """One linear map, the plainest encoder there is.

    Args:
        spec: a vector modality, or its width.
        out_dim: width of the result.
        frozen: no learning.

    Shape:
        (B, C) or PickedRows -> (B, out_dim)
    """

    takes_picked = True

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        self.map = nn.Linear(self.spec.width, out_dim)

    @property
    def lipschitz(self) -> float:
        """The map's largest singular value."""
        return spectral_norm(self.map)

    def forward(self, x: Tensor | PickedRows) -> Tensor:
        """Maps the rows."""
        return x.mapped(self.map) if isinstance(x, PickedRows) else self.map(x)


class MLPEncoder(Encoder):
    """Perceptron with ReLU and dropout.

    Where cells may be missing, each column has a second input that says whether its number is;
    the number itself is then zero, which is the training mean if data are standardised.

    Args:
        spec: a vector modality, or its width.
        out_dim: width of the result.
        hidden: widths of the hidden layers.
        dropout: rate after every hidden layer.
        frozen: no learning.

    Shape:
        (B, C) -> (B, out_dim)
    """

    default_for = frozenset({"vector"})
    takes_gaps = True

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: Sequence[int] = (128,),
        dropout: float = 0.0,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        inputs = self.spec.width * (2 if self.spec.has_gaps else 1)
        self.layers = perceptron(inputs, hidden, out_dim, dropout)

    @property
    def lipschitz(self) -> float | None:
        """The product of its maps' largest singular values; None where cells may be missing."""
        if self.spec.has_gaps:
            return None
        return prod(spectral_norm(f) for f in self.layers if isinstance(f, nn.Linear))

    def forward(self, x: Tensor) -> Tensor:
        """Encodes the rows."""
        return self.layers(with_indicators(x) if self.spec.has_gaps else x)


class ResidualMLPEncoder(Encoder):
    """Residual perceptron (the ResNet for tabular data).

    Linear to ``hidden``, then blocks, then a readout::

        block(h) = h + Dropout(Linear(Dropout(ReLU(Linear(LayerNorm(h))))))
        readout(h) = Linear(ReLU(LayerNorm(h)))

    Args:
        spec: a vector modality, or its width.
        out_dim: width of the result.
        hidden: width of the residual stream; inside a block it is twice as wide.
        layers: number of blocks.
        dropout: rate after both linear maps of a block.
        frozen: no learning.

    Shape:
        (B, C) -> (B, out_dim)

    Reference: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data",
        NeurIPS 2021, arXiv:2106.11959, section 3.2.

    Departs from the paper: LayerNorm for BatchNorm, because an encoder sees only the rows
    that have its modality, which may be a single one, and BatchNorm cannot train on one.
    """

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: int = 128,
        layers: int = 2,
        dropout: float = 0.0,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        self.stem = nn.Linear(self.spec.width, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(hidden),
                nn.Linear(hidden, 2 * hidden),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(2 * hidden, hidden),
                nn.Dropout(dropout),
            )
            for _ in range(layers)
        )
        self.readout = nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, out_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Encodes the rows."""
        h = self.stem(x)
        for block in self.blocks:
            h = h + block(h)
        return self.readout(h)
