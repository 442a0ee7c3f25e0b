"""EncodedItems: all items through their encoders once, fused under as many masks as asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mmfuse.model import FusionModel
from mmfuse.recommend.catalogue import ItemCatalogue
from mmfuse.tokens import Tokens


@dataclass(frozen=True)
class EncodedItems:
    """What the encoders give for every item, gaps of their own included.

    Args:
        tower: in eval mode.
        blocks: tokens of each modality, a block of items after the other.
        present: ``(n, M)`` bool of each block in fusion order, who is there by nature.
    """

    tower: FusionModel
    blocks: tuple[Mapping[str, Tokens], ...]
    present: tuple[Tensor, ...]

    @classmethod
    @torch.no_grad()
    def of(cls, tower: FusionModel, catalogue: ItemCatalogue, block: int = 4096) -> EncodedItems:
        """Encodes every item, and this once.

        Args:
            tower: in eval mode.
            catalogue: the items.
            block: how many are encoded at a time.
        """
        device = tower.fusion.prior.device
        blocks, present = [], []
        for codes in torch.arange(len(catalogue)).split(block):
            batch = catalogue.batch(codes, missing=None).to(device)
            blocks.append(tower.encode(batch))
            present.append(tower.present(batch))
        return cls(tower, tuple(blocks), tuple(present))

    @torch.no_grad()
    def fused(self, kept: Tensor, fill: Mapping[str, Tokens] | None = None) -> Tensor:
        """The fused vectors of all items.

        Args:
            kept: ``(I, M)`` bool in fusion order, who is left.
            fill: what stands in for the others, which then count as present; see ``fills_of``.

        Shape:
            -> (I, C)
        """
        found = []
        parts = kept.split([len(p) for p in self.present])
        for tokens, there in zip(self.blocks, parts, strict=True):
            if fill is not None:
                columns = dict(zip(self.tower.modalities, there.unbind(dim=1), strict=True))
                tokens = {m: _filled(tokens.get(m), fill[m], k) for m, k in columns.items()}
                there = torch.ones_like(there)
            found.append(self.tower.fuse(tokens, there).vector)
        return torch.cat(found)


def _filled(tokens: Tokens | None, blank: Tokens, kept: Tensor) -> Tokens:
    """Tokens of who is left, the stand-in (one row) elsewhere."""
    count = len(kept)
    values, mask = blank.values.expand(count, -1, -1), blank.mask.expand(count, -1)
    if tokens is None:
        return Tokens(values, mask)
    return Tokens(
        torch.where(kept[:, None, None], tokens.values, values),
        torch.where(kept[:, None], tokens.mask, mask),
    )
