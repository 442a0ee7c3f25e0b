"""Encoders whose result provably moves no further than their input, times a constant."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse_encoders.nonexpansive import MaxMin, OrthonormalLinear, RescaledConv2d


class LipschitzMLPEncoder(Encoder):
    """Perceptron with a proven Lipschitz bound, for certified radii.

    Orthonormal linear maps with ``MaxMin`` between them, times ``bound``: two rows' results are
    never further apart than ``bound`` times the rows.

    Args:
        spec: a vector modality, or its width.
        out_dim: width of the result.
        hidden: widths of the hidden layers.
        bound: the Lipschitz constant.
        frozen: no learning.

    Shape:
        (B, C) -> (B, out_dim)

    Raises:
        ConfigError: a bound that is not above 0.

    Reference: Anil, Lucas and Grosse, "Sorting out Lipschitz function approximation", ICML 2019,
        arXiv:1811.05381.

    Departs from the paper: rows are made orthonormal by QR, not by Bjorck's iterations.
    """

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: Sequence[int] = (128,),
        bound: float = 1.0,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        self.bound = _checked(bound, "LipschitzMLPEncoder")
        layers: list[nn.Module] = []
        width = self.spec.width
        for wide in hidden:
            layers += [OrthonormalLinear(width, wide), MaxMin()]
            width = wide
        self.layers = nn.Sequential(*layers, OrthonormalLinear(width, out_dim))

    @property
    def lipschitz(self) -> float:
        """The constant that it was given."""
        return self.bound

    def forward(self, x: Tensor) -> Tensor:
        """Encodes the rows."""
        return self.bound * self.layers(x)


class LipschitzCNNEncoder(Encoder):
    """Convolutional network with a proven Lipschitz bound, for certified radii.

    Layers of 3 x 3 convolutions, scaled to a norm of at most 1, with ``MaxMin``; layer i has
    ``hidden * 2^i`` channels, and each but the first halves height and width. Then come the mean
    over what is left, times the root of how many places that is (as a sum of n numbers moves by
    up to sqrt(n) times their distance, and their mean by 1 / sqrt(n)), an orthonormal map, and
    ``bound``.

    Args:
        spec: an image modality, arrays of (C, H, W).
        out_dim: width of the result.
        hidden: channels of the first layer.
        layers: number of layers.
        bound: the Lipschitz constant.
        frozen: no learning.

    Shape:
        (B, C, H, W) -> (B, out_dim)

    Raises:
        ConfigError: a bound that is not above 0.

    Reference: Prach and Lampert, "Almost-Orthogonal Layers for Efficient General-Purpose
        Lipschitz Networks", ECCV 2022, arXiv:2208.03160.
    """

    kinds = frozenset({"image"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: int = 32,
        layers: int = 3,
        bound: float = 1.0,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        self.bound = _checked(bound, "LipschitzCNNEncoder")
        width, maps = self.spec.width, list[nn.Module]()
        for i in range(layers):
            maps += [RescaledConv2d(width, hidden * 2**i, stride=2 if i else 1), MaxMin()]
            width = hidden * 2**i
        self.maps = nn.Sequential(*maps)
        self.readout = OrthonormalLinear(width, out_dim)

    @property
    def lipschitz(self) -> float:
        """The constant that it was given."""
        return self.bound

    def forward(self, x: Tensor) -> Tensor:
        """Encodes the rows."""
        places = self.maps(x).flatten(2)
        return self.bound * self.readout(places.sum(dim=2) / places.shape[2] ** 0.5)


def _checked(bound: float, name: str) -> float:
    if not 0 < bound < float("inf"):
        raise ConfigError(f"{name}: bound is {bound}; expected a finite number above 0.")
    return bound
