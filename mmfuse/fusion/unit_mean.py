"""UnitMeanFusion: the mean direction of modalities that share a space."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmfuse.fusion.base import Fused, Fusion, equal_weights
from mmfuse.tokens import Tokens
from mmfuse.unit import unit


class UnitMeanFusion(Fusion):
    """Mean of the present modalities' unit vectors, scaled to unit length.

    ::

        vector = unit(1/|P| sum_{m in P} unit(z_m)),   P the modalities present

    Modalities that lie in one space, as ``AlignmentTask`` makes them, meet there without
    anything to learn. One whose width is not ``out_dim`` is mapped to it first.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector; the widest modality's by default.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), weights (B, M)

    Reference: Wang et al., "OmniBind: Large-scale Omni Multimodal Representation via Binding
        Spaces", 2024, arXiv:2407.11895 (the mean of spaces that it compares with).
    """

    def __init__(self, dims: Mapping[str, int], out_dim: int | None = None) -> None:
        super().__init__(dims, out_dim if out_dim is not None else max(dims.values(), default=1))
        width = self.out_dim
        self.project = nn.ModuleDict(
            {m: nn.Linear(d, width) for m, d in dims.items() if d != width}
        )

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Averages directions over the present."""
        vectors = {m: t.pooled() for m, t in tokens.items()}
        mapped = [self.project[m](z) if m in self.project else z for m, z in vectors.items()]
        stack = unit(torch.stack(mapped, dim=1))
        weights = equal_weights(present, stack.dtype)
        mean = torch.einsum("bmd,bm->bd", stack, weights)
        return Fused(unit(mean), weights=weights)
