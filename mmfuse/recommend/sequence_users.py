"""SequenceUsers: what a user is after each of the items that it took, in the order of time."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from mmfuse.recommend.histories import NOTHING, Histories, Sequences
from mmfuse.recommend.users import Users

#: Users whose items are read at a time outside of training.
_TOGETHER = 1024


class SequenceUsers(Users):
    """Base of users that are made of the vectors of their last items, oldest first.

    A subclass says what a user is after each item (``read``), from no others than those before.
    One pass over a user's items then trains all its pairs.

    Args:
        length: L, how many of a user's last items are looked at, at most.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    @abstractmethod
    def read(self, vectors: Tensor) -> Tensor:
        """What users are after nothing, after their first item, their second, and so on.

        Args:
            vectors: ``(n, l, D)`` of items, oldest first, l up to L; zeros fill up the lines of
                users who have fewer.

        Returns:
            ``(n, 1 + l, D)``; line t depends on the first t vectors alone
        """

    def before(self, sequences: Sequences, items: Tensor) -> Tensor:
        """What users are before each pair of a batch.

        Args:
            sequences: what they took; its items are rows of ``items``.
            items: ``(n, D)`` vectors.

        Shape:
            -> (B, D)
        """
        read = [self.read(_vectors(block, items)).flatten(0, 1) for block in sequences.blocks]
        return F.embedding(sequences.at, torch.cat(read))

    def after(self, taken: Tensor, items: Tensor) -> Tensor:
        """What users are after all of their items, whoever they are.

        Args:
            taken: ``(n, l)`` long, rows of ``items``, oldest first, l up to L; -1 fills up the
                lines of users who have fewer.
            items: ``(I, D)`` final vectors.

        Shape:
            -> (n, D)
        """
        read = self.read(_vectors(taken, items))
        return read[torch.arange(len(taken), device=taken.device), (taken != NOTHING).sum(dim=1)]

    def forward(
        self, codes: Tensor | None, items: Tensor | None, histories: Histories | None = None
    ) -> Tensor:
        """What some known users are after all of their items.

        Args:
            codes: ``(n,)`` long; None for all.
            items: ``(I, D)`` the vectors of all items.
            histories: what each user took.

        Shape:
            -> (n, D)
        """
        assert items is not None
        assert histories is not None
        codes = torch.arange(len(histories)) if codes is None else codes.cpu()
        order = torch.argsort(histories.sizes(codes))  # of about one length together
        blocks = (histories.last(codes[some], self.length) for some in order.split(_TOGETHER))
        found = torch.cat([self.after(taken.to(items.device), items) for taken in blocks])
        return found[torch.argsort(order).to(items.device)]


def _vectors(codes: Tensor, items: Tensor) -> Tensor:
    """The vectors of items ``(n, l)``; zeros where there is none."""
    found = F.embedding(codes.clamp(min=0), items)
    return found.masked_fill((codes == NOTHING).unsqueeze(2), 0)
