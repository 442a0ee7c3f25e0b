"""SSMA: squeeze-and-gate over the joined features (self-supervised model adaptation)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fused, Fusion, pooled
from mmfuse.tokens import Tokens


class SSMAFusion(Fusion):
    """Squeeze-and-gate: a bottleneck reads all features and scales each before they are mixed.

    ::

        X      = [x_1 ; ... ; x_M]
        G      = sigmoid(W_2 relu(W_1 [X ; present] + b_1) + b_2)
        vector = LayerNorm(W_3 (X * G))

    ``weights`` are the gates' means over each modality's features, zero where absent.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector.
        reduction: how many times narrower than X the bottleneck is.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), weights (B, M)

    Raises:
        ConfigError: a ``reduction`` below 1.

    Reference:
        Valada et al., "Self-Supervised Model Adaptation for Multimodal Semantic
        Segmentation", IJCV 2019, arXiv:1808.03833.

    Departs from the paper: linear maps on vectors in place of convolutions on maps; the gate
    also reads who is present, so that it can tell an absent modality from one that says zero;
    layer norm in place of batch norm, because a row's result must not depend on its
    neighbours, nor on how often they lacked a modality in training.
    """

    def __init__(self, dims: Mapping[str, int], out_dim: int = 128, reduction: int = 16) -> None:
        super().__init__(dims, out_dim)
        if reduction < 1:
            raise ConfigError(f"reduction is {reduction}; expected 1 or more.")
        width = sum(dims.values())
        narrow = max(1, width // reduction)
        self.gate = nn.Sequential(
            nn.Linear(width + len(dims), narrow), nn.ReLU(), nn.Linear(narrow, width)
        )
        self.mix = nn.Linear(width, out_dim, bias=False)
        self.norm = nn.LayerNorm(out_dim)

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Gates the joined features, mixes and normalises."""
        joined = torch.cat(list(pooled(tokens).values()), dim=1)
        gate = self.gate(torch.cat([joined, present.to(joined.dtype)], dim=1)).sigmoid()
        parts = gate.split(list(self.dims.values()), dim=1)
        weights = torch.stack([part.mean(dim=1) for part in parts], dim=1)
        vector = self.norm(self.mix(joined * gate))
        return Fused(vector, weights=weights.masked_fill(~present, 0))
