"""Gated multimodal unit: every modality's say is weighed by all modalities together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmfuse.fusion.base import Fused, Fusion, pooled
from mmfuse.tokens import Tokens


class GatedFusion(Fusion):
    """Gated multimodal unit: a sum of the modalities under gates that read all of them.

    ::

        z_m    = sigmoid(W_zm [x_1 ; ... ; x_M] + c_m)
        vector = sum_{m present} z_m * tanh(W_m x_m + b_m)

    An absent modality is zero in the gates' input and drops out of the sum. ``weights`` are
    the gates' means over the width.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), weights (B, M)

    Reference:
        Arevalo et al., "Gated Multimodal Units for Information Fusion", ICLR 2017 workshop,
        arXiv:1702.01992.

    Departs from the paper: biases; and for two modalities, too, each has a gate of its own,
    where the paper ties them (z and 1 - z), as a tied gate has no meaning once one is absent.
    """

    def __init__(self, dims: Mapping[str, int], out_dim: int = 128) -> None:
        super().__init__(dims, out_dim)
        self.project = nn.ModuleDict({m: nn.Linear(d, out_dim) for m, d in dims.items()})
        self.gate = nn.Linear(sum(dims.values()), len(dims) * out_dim)

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Gates, then adds up."""
        vectors = pooled(tokens)
        opinion = torch.stack([self.project[m](v) for m, v in vectors.items()], dim=1).tanh()
        gate = self.gate(torch.cat(list(vectors.values()), dim=1)).sigmoid().view_as(opinion)
        gate = gate.masked_fill(~present.unsqueeze(-1), 0)
        return Fused((gate * opinion).sum(dim=1), weights=gate.mean(dim=-1))
