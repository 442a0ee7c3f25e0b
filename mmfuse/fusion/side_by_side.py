"""SideBySideFusion: the modalities' vectors one after the other, nothing mixed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmfuse.fusion.base import Fused, Fusion
from mmfuse.tokens import Tokens


class SideBySideFusion(Fusion):
    """Each modality keeps a block of the fused vector to itself.

    ::

        vector = [b_1 ; ... ; b_M],   b_m = z_m if present, else a learned vector a_m

    What comes after can still tell the modalities apart, such as a graph that passes them along
    side by side, or an objective that compares them.

    Args:
        dims: width of each modality's tokens, in fusion order.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, sum of dims)

    Example:
        >>> SideBySideFusion({"image": 4, "text": 3}).blocks["text"]
        slice(4, 7, None)
    """

    def __init__(self, dims: Mapping[str, int]) -> None:
        super().__init__(dims, sum(dims.values()) or 1)
        for m, d in dims.items():
            self.register_parameter(f"absent_{m}", nn.Parameter(torch.zeros(d)))

    @property
    def blocks(self) -> dict[str, slice]:
        """Where each modality stands in the vector."""
        found, start = {}, 0
        for m, width in self.dims.items():
            found[m] = slice(start, start + width)
            start += width
        return found

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fills and joins."""
        parts = [
            torch.where(present[:, i, None], t.pooled(), getattr(self, f"absent_{m}"))
            for i, (m, t) in enumerate(tokens.items())
        ]
        return Fused(torch.cat(parts, dim=1))
