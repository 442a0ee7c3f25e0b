"""UserVectors: what stands for a user, by its id, by what it took, or by both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.recommend.graphs import SparseMatrix
from mmfuse.recommend.lists import ItemLists
from mmfuse.recorded import Recorded


class Users(nn.Module, Recorded, ABC):
    """Base of all that stands for users.

    Built from plain options; tables come with ``build``, when the users are known.
    """

    warm: Tensor
    #: How many of a user's items are looked at, in the order of time; 0 where order is nothing.
    length = 0

    @property
    def needs_items(self) -> bool:
        """Whether the vectors of all items are needed to make one."""
        return False

    def build(self, train: ItemLists, width: int) -> None:
        """Makes the tables; a subclass adds its own.

        Args:
            train: of training.
            width: of the items' vectors.
        """
        self.register_buffer("warm", train.sizes() > 0)

    @abstractmethod
    def forward(self, codes: Tensor | None, items: Tensor | None) -> Tensor:
        """The vectors of some users.

        Args:
            codes: ``(n,)`` long; None for all.
            items: ``(I, D)`` the vectors of all items, where ``needs_items``.

        Shape:
            -> (n, D)
        """

    def known(self, vectors: Tensor) -> Tensor:
        """Final vectors ``(U, D)``, those of users without history replaced by the mean."""
        if self.warm.all() or not self.warm.any():
            return vectors
        mean = vectors[self.warm].mean(dim=0)
        return torch.where(self.warm.unsqueeze(1), vectors, mean)


class UserVectors(Users):
    """Vectors of users, before any graph.

    ::

        x_u = e_u                              by: id
        x_u = 1/|N(u)| sum_{i in N(u)} x_i     by: history
        x_u = e_u + the mean                   by: both

    N(u) are the user's items of training. A user without any gets, wherever vectors are used, the
    mean of the others' final vectors: nobody's taste, which is near to popularity.

    Args:
        by: what stands for the user.

    Raises:
        ConfigError: an unknown way.
    """

    def __init__(self, by: Literal["id", "history", "both"] = "id") -> None:
        super().__init__()
        if by not in ("id", "history", "both"):
            raise ConfigError(f"UserVectors: by is {by!r}; expected id, history or both.")
        self.by = by
        self.history = SparseMatrix()

    @property
    def needs_items(self) -> bool:
        """Whether the vectors of all items are needed to make one."""
        return self.by != "id"

    def build(self, train: ItemLists, width: int) -> None:
        """Makes the table and the histories."""
        super().build(train, width)
        if self.by != "history":
            self.table = nn.Embedding(len(train), width)
            nn.init.xavier_uniform_(self.table.weight)
        if self.by != "id":
            users, items = train.pairs()
            share = 1 / train.sizes()[users].float()
            self.history = SparseMatrix.of(users, items, share, (len(train), train.count))

    def forward(self, codes: Tensor | None, items: Tensor | None) -> Tensor:
        """The vectors of some users.

        Args:
            codes: ``(n,)`` long; None for all.
            items: ``(I, D)`` the vectors of all items, where ``needs_items``.

        Shape:
            -> (n, D)
        """
        found = None
        if self.by != "history":
            found = self.table.weight if codes is None else self.table(codes)
        if self.by != "id":
            assert items is not None
            mean = self.history(items)
            mean = mean if codes is None else mean[codes]
            found = mean if found is None else found + mean
        assert found is not None
        return found
