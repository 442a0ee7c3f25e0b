"""ColdStartSplit: items that no one has taken in training."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import DataError
from mmfuse.recommend.splits.base import Pairs, SplitRule, check_shares


class ColdStartSplit(SplitRule):
    """All pairs of some items validate, of others test: only their modalities tell of them.

    Args:
        val: share of the items whose pairs validate; 0 for none.
        test: share of the items whose pairs test.

    Raises:
        ConfigError: shares that leave nothing to train on.
        DataError: at set-up, when there are too few items for a share.

    Reference: Volkovs et al., "DropoutNet: Addressing Cold Start in Recommender Systems",
    NeurIPS 2017, section 4.
    """

    def __init__(self, val: float = 0.1, test: float = 0.1) -> None:
        check_shares(val, test)
        self.val, self.test = val, test

    def codes(self, pairs: Pairs, seed: int) -> Tensor:
        """``(E,)`` long splits."""
        sizes = [round(share * pairs.item_count) for share in (self.val, self.test)]
        for share, size in zip((self.val, self.test), sizes, strict=True):
            if share and not size:
                raise DataError(
                    f"{pairs.item_count} items are too few to hold out a share of {share}."
                )
        draw = torch.Generator().manual_seed(seed)
        order = torch.randperm(pairs.item_count, generator=draw)
        of_item = torch.zeros(pairs.item_count, dtype=torch.long)
        of_item[order[: sizes[0]]] = 1
        of_item[order[sizes[0] : sum(sizes)]] = 2
        return of_item[pairs.item]
