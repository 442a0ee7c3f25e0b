"""ITHP whose detectors are those of other rows: what is left without what they say of the row."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.fusion import Fused, ITHPFusion, ITHPResidualFusion
from mmfuse.tokens import Tokens


def permuted(tokens: dict[str, Tokens], detectors: list[str]) -> dict[str, Tokens]:
    """The detectors' rows in a new random order, the same for all of them."""
    order = torch.randperm(len(next(iter(tokens.values()))))
    return {m: t.rows(order) if m in detectors else t for m, t in tokens.items()}


class ShuffledITHP(ITHPFusion):
    """ITHPFusion that learns to foretell the detectors of a row drawn anew in every batch."""

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """The chain, with other rows' detectors in training."""
        return super().fuse(permuted(tokens, self.detectors) if self.training else tokens, present)


class ShuffledITHPResidual(ITHPResidualFusion):
    """ITHPResidualFusion that learns to foretell the detectors of another row."""

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """The chain, with other rows' detectors in training."""
        return super().fuse(permuted(tokens, self.detectors) if self.training else tokens, present)
