"""Low-rank tensor fusion: tensor fusion without ever building the tensor."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fused, Fusion
from mmfuse.tokens import Tokens


class LowRankTensorFusion(Fusion):
    """Tensor fusion whose weight has low rank: products of one linear map a modality.

    ::

        vector = sum_r w_r  prod_m (W_m^r [1 ; x_m])  + b

    with the product taken coordinate by coordinate. It equals ``TensorFusion`` of the ``x_m``
    whose weight tensor is ``sum_r w_r W_1^r (x) ... (x) W_M^r``, at a cost linear in M. An
    absent modality has ``x_m = 0``: the 1 remains and its factor is a constant. That 1 is the
    bias of a linear layer here, so nothing is padded.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector.
        rank: number of terms r.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Raises:
        ConfigError: a ``rank`` below 1.

    Reference:
        Liu et al., "Efficient Low-rank Multimodal Fusion with Modality-Specific Factors",
        ACL 2018, arXiv:1806.00064.

    Departs from the paper: the factors' constants start at one in place of random values, so
    that a product of many modalities neither vanishes nor explodes at first.
    """

    def __init__(self, dims: Mapping[str, int], out_dim: int = 128, rank: int = 4) -> None:
        super().__init__(dims, out_dim)
        if rank < 1:
            raise ConfigError(f"rank is {rank}; expected 1 or more.")
        self.factors = nn.ModuleDict({m: nn.Linear(d, rank * out_dim) for m, d in dims.items()})
        self.rank_weights = nn.Parameter(torch.randn(rank) / rank**0.5)
        self.bias = nn.Parameter(torch.zeros(out_dim))
        for factor in self.factors.values():
            nn.init.ones_(factor.bias)  # type: ignore[arg-type]

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Multiplies the factors, then adds up the ranks."""
        first, *others = (self.factors[m](t.pooled()) for m, t in tokens.items())
        product = first
        for factor in others:
            product = product * factor
        terms = product.unflatten(1, (-1, self.out_dim))
        return Fused(torch.einsum("brd,r->bd", terms, self.rank_weights) + self.bias)
