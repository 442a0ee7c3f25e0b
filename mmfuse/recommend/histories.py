"""Histories: what each user took, in the order of time; Sequences: the part that a batch reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmfuse.errors import DataError

#: Fills up sequences that are shorter than others.
NOTHING = -1


@dataclass(frozen=True, slots=True)
class Sequences:
    """What some users took, and where the pairs of a batch stand in it.

    Args:
        items: ``(G, L)`` long, a line a user, oldest first, filled up with -1.
        row: ``(B,)`` long, the line of each pair.
        place: ``(B,)`` long, how many items of its line come before the pair's, 0 to L.
    """

    items: Tensor
    row: Tensor
    place: Tensor

    @property
    def taken(self) -> Tensor:
        """``(n,)`` long, the items in it, one after the other."""
        return self.items[self.items != NOTHING]

    def among(self, codes: Tensor) -> Sequences:
        """The same with items by their place among codes, ``(n,)`` long and ascending."""
        places = torch.searchsorted(codes, self.items.clamp(min=0))
        return replace(self, items=torch.where(self.items == NOTHING, NOTHING, places))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Sequences:
        """The same on another device."""
        parts = (self.items, self.row, self.place)
        return Sequences(*(t.to(device, non_blocking=non_blocking) for t in parts))

    def pin_memory(self) -> Sequences:
        """The same in page-locked memory."""
        return Sequences(*(t.pin_memory() for t in (self.items, self.row, self.place)))


@dataclass(frozen=True)
class Histories:
    """Each user's items, oldest first.

    Args:
        offsets: ``(U + 1,)`` long; user u's items are ``items[offsets[u]:offsets[u + 1]]``.
        items: ``(E,)`` long.

    Example:
        >>> users, items = torch.tensor([0, 0, 2, 0]), torch.tensor([5, 6, 7, 8])
        >>> found = Histories.of(users, items, torch.tensor([3, 1, 1, 2]), 3)
        >>> found.last(torch.tensor([0, 1, 2]), 2).tolist()
        [[8, 5], [-1, -1], [7, -1]]
    """

    offsets: Tensor
    items: Tensor

    @classmethod
    def of(cls, users: Tensor, items: Tensor, time: Tensor, user_count: int) -> Histories:
        """Histories from pairs in any order; of two at one time the earlier in the list leads.

        Args:
            users: ``(E,)`` long codes.
            items: ``(E,)`` long codes.
            time: ``(E,)`` numbers that grow with time.
            user_count: number of users U, those without a pair among them.

        Raises:
            DataError: unequal lengths.
        """
        if not users.shape == items.shape == time.shape or users.ndim != 1:
            shapes = [tuple(x.shape) for x in (users, items, time)]
            raise DataError(
                f"Users, items and times have shapes {shapes}; expected one of each for each pair."
            )
        order = torch.argsort(time, stable=True)
        order = order[torch.argsort(users[order], stable=True)]
        sizes = torch.bincount(users, minlength=user_count)
        return cls(torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]), items[order])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def sizes(self) -> Tensor:
        """``(U,)`` long, the number of items of each user."""
        return self.offsets.diff()

    def last(self, users: Tensor, length: int) -> Tensor:
        """The last items of some users.

        Args:
            users: ``(n,)`` long.
            length: L, how many at most.

        Returns:
            ``(n, l)`` long, oldest first, filled up with -1; l is L, or less where none has as many
        """
        ends = self.offsets[users + 1]
        sizes = (ends - self.offsets[users]).clamp(max=length)
        within = torch.arange(int(sizes.max()) if len(sizes) else 0)
        places = (ends - sizes)[:, None] + within
        is_there = within < sizes[:, None]
        return torch.where(is_there, self.items[places.where(is_there, 0)], NOTHING)

    def pairs(self, users: Tensor, length: int) -> tuple[Tensor, Sequences]:
        """Every item of some users' last ones to be found after those before it.

        Of a longer history the last L + 1 items count: the first of them is looked at, and not to
        be found. Else a user's first item is to be found after nothing.

        Args:
            users: ``(G,)`` long, each with an item.
            length: L, how many items are looked at, at most.

        Returns:
            ``(B,)`` long the items, and what comes before them
        """
        last = self.last(users, length + 1)
        is_there = last != NOTHING
        is_cut = self.sizes()[users] > length + 1
        is_there[:, 0] &= ~is_cut
        row, place = is_there.nonzero(as_tuple=True)
        return last[row, place], Sequences(_without_last(last), row, place)


def _without_last(items: Tensor) -> Tensor:
    """Lines without the last item of each, which nothing is to be found after."""
    following = torch.cat([items[:, 1:], items.new_full((len(items), 1), NOTHING)], dim=1)
    return items.masked_fill(following == NOTHING, NOTHING)[:, :-1]
