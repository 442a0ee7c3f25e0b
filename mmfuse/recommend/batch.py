"""RankingBatch: observed pairs, and items that their users have not taken in training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.recommend.histories import Sequences


@dataclass(frozen=True, slots=True)
class RankingBatch:
    """A training batch.

    Args:
        users: ``(B,)`` long.
        items: ``(B,)`` long, an observed item of each user.
        negatives: ``(B, N)`` long, drawn from the items that the user has no training
            interaction with, and from nothing else; N is 0 where none are asked for.
        content: the rows of the items that the batch names (``Batch.index`` is the item code,
            ascending), or None where items have no modalities or their features are resident.
        sequences: what the users took before each pair, in the order of time, for a model that
            reads it; else None.

    Example:
        >>> batch = RankingBatch(torch.tensor([0]), torch.tensor([4]), torch.tensor([[2, 4]]))
        >>> len(batch), batch.all_items().tolist(), batch.distinct_items().tolist()
        (1, [[4, 2, 4]], [2, 4])
    """

    users: Tensor
    items: Tensor
    negatives: Tensor
    content: Batch | None = None
    sequences: Sequences | None = None

    def __len__(self) -> int:
        return len(self.users)

    def all_items(self) -> Tensor:
        """``(B, 1 + N)`` long, the observed item first."""
        return torch.cat([self.items[:, None], self.negatives], dim=1)

    def distinct_items(self) -> Tensor:
        """The items that the batch names, those of sequences too, once each, ascending."""
        named = self.all_items()
        if self.sequences is not None:
            named = torch.cat([named.flatten(), self.sequences.taken])
        return torch.unique(named)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> RankingBatch:
        """The same batch on another device."""
        users, items, negatives = (
            t.to(device, non_blocking=non_blocking)
            for t in (self.users, self.items, self.negatives)
        )
        content = None if self.content is None else self.content.to(device, non_blocking)
        sequences = None if self.sequences is None else self.sequences.to(device, non_blocking)
        return RankingBatch(users, items, negatives, content, sequences)

    def pin_memory(self) -> RankingBatch:
        """The same batch in page-locked memory."""
        users, items, negatives = (t.pin_memory() for t in (self.users, self.items, self.negatives))
        content = None if self.content is None else self.content.pin_memory()
        sequences = None if self.sequences is None else self.sequences.pin_memory()
        return RankingBatch(users, items, negatives, content, sequences)
