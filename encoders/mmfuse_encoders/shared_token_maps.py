"""How MMRL and MMRL++ map the vectors that the towers share to tokens, and tokens to features."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn


class TokenMaps(nn.Module):
    """One linear map a layer, all equal at first (MMRL).

    Shape:
        (K, d_r) -> one (K, width) a layer
    """

    def __init__(self, d_r: int, width: int, layers: int) -> None:
        super().__init__()
        first = nn.Linear(d_r, width)
        self.maps = nn.ModuleList([copy.deepcopy(first) for _ in range(layers)])

    def forward(self, space: Tensor) -> list[Tensor]:
        """Each layer's tokens."""
        return [layer_map(space) for layer_map in self.maps]


class SharedTokenMaps(nn.Module):
    """One weight for all layers, and for each an update of low rank and a bias (MMRL++)::

        T_i = R (W + A_i B_i) + b_i

    Shape:
        (K, d_r) -> one (K, width) a layer
    """

    def __init__(self, d_r: int, width: int, layers: int, rank: int) -> None:
        super().__init__()
        first = nn.Linear(d_r, width)
        self.weight = first.weight
        self.biases = nn.Parameter(first.bias.detach().repeat(layers, 1))
        self.updates = nn.ModuleList([LowRank(d_r, width, rank) for _ in range(layers)])

    def forward(self, space: Tensor) -> list[Tensor]:
        """Each layer's tokens."""
        shared = nn.functional.linear(space, self.weight)
        own = zip(self.updates, self.biases, strict=True)
        return [shared + update(space) + bias for update, bias in own]


class LowRank(nn.Module):
    """A map of low rank that is zero at first: ``x A B``, A drawn as Kaiming's uniform, B zero."""

    def __init__(self, width: int, out_dim: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, width))
        self.up = nn.Parameter(torch.zeros(out_dim, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., out_dim)."""
        return x @ self.down.T @ self.up.T


class FreshProjection(nn.Module):
    """A projection of its own in the place of CLIP's, drawn as CLIP's are (MMRL)."""

    def __init__(self, width: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, out_dim) * width**-0.5)

    def forward(self, x: Tensor, frozen: Tensor) -> Tensor:
        """(B, width) -> (B, out_dim)."""
        return x.to(self.weight.dtype) @ self.weight


class UpdatedProjection(nn.Module):
    """CLIP's frozen projection and an update of low rank, zero at first (MMRL++)."""

    def __init__(self, width: int, out_dim: int, rank: int) -> None:
        super().__init__()
        self.update = LowRank(width, out_dim, rank)

    def forward(self, x: Tensor, frozen: Tensor) -> Tensor:
        """(B, width), CLIP's (width, out_dim) -> (B, out_dim)."""
        return x @ frozen + self.update(x.to(self.update.down.dtype))
