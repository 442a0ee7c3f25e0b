"""ItemLists: a list of items for each user, ragged, with membership tested in one go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mmfuse.errors import DataError


@dataclass(frozen=True)
class ItemLists:
    """A list of items for each user.

    Args:
        offsets: ``(U + 1,)`` long; user u's items are ``items[offsets[u]:offsets[u + 1]]``.
        items: ``(E,)`` long, ascending within a user, without repeats.
        count: number of items there are; codes run from 0 to ``count - 1``.

    Example:
        >>> lists = ItemLists.of(torch.tensor([0, 0, 2]), torch.tensor([3, 1, 0]), 3, 4)
        >>> lists.sizes().tolist()
        [2, 0, 1]
        >>> lists.contains(torch.tensor([0, 1]), torch.tensor([3, 3])).tolist()
        [True, False]
    """

    offsets: Tensor
    items: Tensor
    count: int

    @classmethod
    def of(cls, users: Tensor, items: Tensor, user_count: int, item_count: int) -> ItemLists:
        """Lists from pairs in any order; repeats are dropped.

        Args:
            users: ``(E,)`` long codes.
            items: ``(E,)`` long codes.
            user_count: number of users U, those without a pair among them.
            item_count: number of items.

        Raises:
            DataError: unequal lengths, or a code outside its range.
        """
        if users.shape != items.shape or users.ndim != 1:
            raise DataError(
                f"Users have shape {tuple(users.shape)}, items {tuple(items.shape)}; expected "
                "one user and one item for each pair."
            )
        for name, codes, count in (("user", users, user_count), ("item", items, item_count)):
            if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < count:
                raise DataError(
                    f"A {name} has code {int(codes.min())} or {int(codes.max())}; expected 0 to "
                    f"{count - 1}. Give the code of each {name}, not its raw id."
                )
        keys = torch.unique(users.long() * item_count + items.long())  # sorted
        owners = keys // max(item_count, 1)
        sizes = torch.bincount(owners, minlength=user_count)
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        return cls(offsets, keys - owners * item_count, item_count)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def sizes(self) -> Tensor:
        """``(U,)`` long, the number of items of each user."""
        return self.offsets.diff()

    def rows(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """The items of some users, one after the other.

        Args:
            users: ``(n,)`` long.

        Returns:
            the position in ``users`` that each item belongs to, and the item; both ``(sum,)``.
        """
        starts = self.offsets[users]
        sizes = self.offsets[users + 1] - starts
        place = torch.repeat_interleave(torch.arange(len(users), device=users.device), sizes)
        ends = sizes.cumsum(0)
        within = torch.arange(len(place), device=users.device) - (ends - sizes)[place]
        return place, self.items[starts[place] + within]

    def pairs(self) -> tuple[Tensor, Tensor]:
        """User and item of every pair, ``(E,)`` each, ascending by user, then by item."""
        users = torch.arange(len(self), device=self.items.device)
        return torch.repeat_interleave(users, self.sizes()), self.items

    def contains(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each user's list has the item.

        Args:
            users: long, of any shape.
            items: long, of a shape that broadcasts with it.

        Returns:
            bool, of the common shape.
        """
        wanted = users * self.count + items
        if not len(self.items):
            return torch.zeros_like(wanted, dtype=torch.bool)
        places = torch.searchsorted(self._keys, wanted).clamp_(max=len(self._keys) - 1)
        return self._keys[places] == wanted

    @cached_property
    def _keys(self) -> Tensor:
        users, items = self.pairs()
        return users * self.count + items

    def to(self, device: torch.device | str) -> ItemLists:
        """The same lists on another device."""
        return ItemLists(self.offsets.to(device), self.items.to(device), self.count)
