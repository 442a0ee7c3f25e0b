"""Histories: what each user took, in the order of time; Sequences: the part that a batch reads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmfuse.errors import DataError

#: Fills up sequences that are shorter than others.
NOTHING = -1


@dataclass(frozen=True, slots=True)
class Sequences:
    """What some users took, and where the pairs of a batch stand in it.

    A line of w items has 1 + w slots, one before the first item and one after each. Lines of about
    one length stand together in a block, so that little is filled up.

    Args:
        blocks: ``(g, w)`` long each, a line a user, oldest first, filled up with -1.
        at: ``(B,)`` long, the slot of each pair, after all items of its line that come before it;
            slots are counted line after line, block after block.
    """

    blocks: tuple[Tensor, ...]
    at: Tensor

    @property
    def taken(self) -> Tensor:
        """``(n,)`` long, the items in it, one after the other."""
        return torch.cat([block[block != NOTHING] for block in self.blocks])

    def among(self, codes: Tensor) -> Sequences:
        """The same with items by their place among codes, ``(n,)`` long and ascending."""
        places = (torch.searchsorted(codes, block.clamp(min=0)) for block in self.blocks)
        kept = (p.where(b != NOTHING, NOTHING) for p, b in zip(places, self.blocks, strict=True))
        return Sequences(tuple(kept), self.at)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Sequences:
        """The same on another device."""
        blocks = tuple(b.to(device, non_blocking=non_blocking) for b in self.blocks)
        return Sequences(blocks, self.at.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Sequences:
        """The same in page-locked memory."""
        return Sequences(tuple(b.pin_memory() for b in self.blocks), self.at.pin_memory())


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

    def sizes(self, users: Tensor) -> Tensor:
        """``(n,)`` long, the number of items of some users."""
        return self.offsets[users + 1] - self.offsets[users]

    def last(self, users: Tensor, length: int) -> Tensor:
        """The last items of some users.

        Args:
            users: ``(n,)`` long.
            length: L, how many at most.

        Returns:
            ``(n, l)`` long, oldest first, filled up with -1; l is L, or less where none has as many
        """
        sizes = self.sizes(users).clamp(max=length)
        within = torch.arange(int(sizes.max()) if len(sizes) else 0)
        places = (self.offsets[users + 1] - sizes)[:, None] + within
        is_there = within < sizes[:, None]
        return torch.where(is_there, self.items[places.where(is_there, 0)], NOTHING)

    def pairs(self, users: Tensor, length: int) -> tuple[Tensor, Tensor, Sequences]:
        """Every item of some users' last ones to be found after those before it.

        Of a longer history the last L + 1 items count: the first of them is looked at, and not to
        be found. Else a user's first item is to be found after nothing.

        Args:
            users: ``(G,)`` long, each with an item.
            length: L, how many items are looked at, at most.

        Returns:
            users and items ``(B,)`` long, and what comes before them
        """
        sizes = self.sizes(users)
        widths = (sizes - 1).clamp(max=length)
        order = torch.argsort(widths, stable=True)
        # Together are 0, 1, 2 and 3, 4 to 7, and so on: at most half of a block is filled up.
        _, counts = torch.unique_consecutive(_bits(widths[order]), return_counts=True)
        owners, found, blocks, slots, before = [], [], [], [], 0
        for some in order.split(counts.tolist()):
            last = self.last(users[some], length + 1)
            is_there = last != NOTHING
            is_there[:, 0] &= sizes[some] <= length + 1
            row, place = is_there.nonzero(as_tuple=True)
            owners.append(users[some[row]])
            found.append(last[row, place])
            blocks.append(_without_last(last))
            slots.append(before + row * last.shape[1] + place)
            before += last.numel()
        sequences = Sequences(tuple(blocks), torch.cat(slots))
        return torch.cat(owners), torch.cat(found), sequences


def _bits(values: Tensor) -> Tensor:
    """How many bits each whole number takes."""
    return torch.frexp(values.double()).exponent


def _without_last(items: Tensor) -> Tensor:
    """Lines without the last item of each, which nothing is to be found after."""
    following = torch.cat([items[:, 1:], items.new_full((len(items), 1), NOTHING)], dim=1)
    return items.masked_fill(following == NOTHING, NOTHING)[:, :-1]
