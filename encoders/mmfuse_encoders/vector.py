"""Encoders for one vector a row: a linear map, a perceptron, a residual perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mmfuse.encoder import Encoder
from mmfuse.spec import ModalitySpec


class LinearEncoder(Encoder):
    """One linear map, the plainest encoder there is.

    Args:
        spec: a vector modality, or its width.
        out_dim: width of the result.
        frozen: no learning.

    Shape:
        (B, C) -> (B, out_dim)
    """

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        self.map = nn.Linear(self.spec.width, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps the rows."""
        return self.map(x)


class MLPEncoder(Encoder):
    """Perceptron with ReLU and dropout.

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

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: Sequence[int] = (128,),
        dropout: float = 0.0,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        layers: list[nn.Module] = []
        width = self.spec.width
        for wide in hidden:
            layers += [nn.Linear(width, wide), nn.ReLU(), nn.Dropout(dropout)]
            width = wide
        self.layers = nn.Sequential(*layers, nn.Linear(width, out_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Encodes the rows."""
        return self.layers(x)
