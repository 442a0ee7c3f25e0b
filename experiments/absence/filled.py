"""Filled: a trained model that is not told of absence and reads something else in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse import Batch, FusionModel, Tokens
from mmfuse.fusion.base import Fused, Fusion


class Filled(Fusion):
    """Hands a fusion the encoding of a fill wherever a modality is absent, as if it were there.

    Args:
        fusion: trained.
        fills: of each modality the encoding of what stands in its place, ``(1, T, D)``.
    """

    def __init__(self, fusion: Fusion, fills: Mapping[str, Tokens]) -> None:
        super().__init__(fusion.dims, fusion.out_dim)
        self.fusion = fusion
        self._fills = dict(fills)

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fills, then fuses."""
        filled = {}
        for i, (m, t) in enumerate(tokens.items()):
            there, fill = present[:, i].view(-1, 1, 1), self._fills[m]
            values = torch.where(there, t.values, fill.values.expand_as(t.values))
            filled[m] = Tokens(values, torch.ones_like(t.mask))
        return self.fusion(filled, torch.ones_like(present))

    def forward(self, tokens: Mapping[str, Tokens], present: Tensor, **options: Any) -> Fused:
        """A row with nothing present is full of fills."""
        blanked, present = self.blanked(tokens, present)
        return self.fuse(blanked, present)


def filled(model: FusionModel, fill: str) -> FusionModel:
    """The model with its fusion wrapped; ``zeros`` or ``means`` of raw inputs stand in."""
    spec = model.spec
    inputs = {
        m: torch.zeros(1, s.size)
        if fill == "zeros"
        else torch.tensor(s.mean or [0.0] * s.size)[None]
        for m, s in spec.modalities.items()
    }
    present = torch.ones(1, len(inputs), dtype=torch.bool)
    with torch.no_grad(), model.evaluating():
        fills = model.encode(Batch(tuple(inputs), inputs, present))
    found = FusionModel.__new__(FusionModel)
    nn.Module.__init__(found)
    found.__dict__.update(model.__dict__)
    found._modules = dict(model._modules)
    found.fusion = Filled(model.fusion, fills)
    return found
