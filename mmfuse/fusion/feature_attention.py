"""FeatureAttentionFusion: attention among the coordinates of a vector, and of two vectors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmfuse.fusion.base import Fused, Fusion, mean_of_present
from mmfuse.fusion.soft_means import soft_means
from mmfuse.tokens import Tokens


class FeatureAttentionFusion(Fusion):
    """Modalities side by side, after attention among coordinates within and across them.

    ::

        x_m    = W_m z_m + b_m
        s_m    = PReLU(LayerNorm(x_m + att(x_m, x_m)))
        c_m    = PReLU(LayerNorm(s_m + mean_{n present, n != m} att(s_m, s_n)))
        vector = [c_1 ; ... ; c_M],   zero for an absent one

    ``att(x, y)`` takes each coordinate for a token of width one::

        att(x, y)_p = o (sum_r softmax_r(q(x_p) k(y_r)) v(y_r))

    with affine maps q, k, v, o of a number to a number, which each modality has for its own, once
    for itself and once for the others.

    Args:
        dims: width of each modality's tokens, in fusion order.
        width: coordinates D of each modality; the fused vector has ``M D``.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, M D)

    Reference: REARM, 2025, arXiv:2508.13745, for two modalities.

    Departs from the paper: any number of modalities, and absent ones.
    """

    def __init__(self, dims: Mapping[str, int], width: int = 64) -> None:
        super().__init__(dims, len(dims) * max(width, 0))
        self.project = nn.ModuleDict({m: nn.Linear(d, width) for m, d in dims.items()})
        self.own = nn.ModuleDict({m: _Attention(width) for m in dims})
        several = dims if len(dims) > 1 else ()
        self.others = nn.ModuleDict({m: _Attention(width) for m in several})

    @property
    def blocks(self) -> dict[str, slice]:
        """Where each modality stands in the vector."""
        width = self.out_dim // len(self.dims)
        return {m: slice(i * width, (i + 1) * width) for i, m in enumerate(self.dims)}

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Attends within each modality, then across them."""
        start = {m: self.project[m](t.pooled()) for m, t in tokens.items()}
        own = {m: self.own[m](x, [x], torch.ones_like(present[:, :1])) for m, x in start.items()}
        parts = list(own.values())
        for place, (m, attend) in enumerate(self.others.items()):
            others = [i for i in range(len(own)) if i != place]
            y = list(own.values())
            parts[place] = attend(own[m], [y[i] for i in others], present[:, others])
        stack = torch.stack(parts, dim=1).masked_fill(~present.unsqueeze(-1), 0)
        return Fused(stack.flatten(1))


class _Attention(nn.Module):
    """The coordinates of a vector look at those of others, and at their own once more."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # Rows: query, key, value, output; columns: factor and offset.
        self.maps = nn.Parameter(torch.stack([torch.empty(4).uniform_(-1, 1), torch.zeros(4)], 1))
        self.norm, self.act = nn.LayerNorm(width), nn.PReLU()

    def forward(self, x: Tensor, others: list[Tensor], here: Tensor) -> Tensor:
        """``x`` (B, D), each of ``others`` likewise, ``here`` (B, len(others)) -> (B, D)."""
        seen = torch.stack([self._look(x, y) for y in others], dim=1)
        made: Tensor = self.act(self.norm(x + mean_of_present(seen, here)))
        return made

    def _look(self, x: Tensor, y: Tensor) -> Tensor:
        (q, q0), (k, _), (v, v0), (o, o0) = self.maps
        # k0 moves all scores of a coordinate alike, which a softmax does not see.
        means = soft_means(k * (q * x + q0), y)
        return o * (v * means + v0) + o0
