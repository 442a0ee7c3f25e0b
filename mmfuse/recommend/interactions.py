"""Interactions: who took what, when, in which split; codes for users and items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend.histories import Histories
from mmfuse.recommend.lists import ItemLists
from mmfuse.store import SPLITS


@dataclass(frozen=True)
class Interactions:
    """Implicit feedback: pairs of a user and an item, each in one split.

    Args:
        user: ``(E,)`` long codes, from 0.
        item: ``(E,)`` long codes, from 0.
        split: ``(E,)`` long, the place of each pair's split in ``mmfuse.store.SPLITS``.
        user_ids: ``(U,)`` the raw id of each code; users without a pair among them.
        item_ids: ``(I,)`` the raw id of each code; items without a pair among them.
        time: ``(E,)`` numbers that grow with time, or None.
        rating: ``(E,)`` float, or None.

    Raises:
        DataError: unequal lengths, a code outside its range, or an id that occurs twice.

    Example:
        >>> import numpy as np
        >>> found = Interactions(
        ...     torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), torch.tensor([0, 2, 0]),
        ...     np.array(["ann", "bob"]), np.array([7, 9]),
        ... )
        >>> found.lists("train").sizes().tolist(), found.user_count
        ([1, 1], 2)
    """

    user: Tensor
    item: Tensor
    split: Tensor
    user_ids: np.ndarray
    item_ids: np.ndarray
    time: Tensor | None = None
    rating: Tensor | None = None

    def __post_init__(self) -> None:
        columns = {"user": self.user, "item": self.item, "split": self.split}
        columns |= {"time": self.time} if self.time is not None else {}
        columns |= {"rating": self.rating} if self.rating is not None else {}
        if len({c.shape for c in columns.values()}) != 1 or self.user.ndim != 1:
            shapes = {n: tuple(c.shape) for n, c in columns.items()}
            raise DataError(f"Columns of interactions have shapes {shapes}; expected one length.")
        counts = {"user": self.user_count, "item": self.item_count, "split": len(SPLITS)}
        for name, count in counts.items():
            codes = columns[name]
            if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < count:
                raise DataError(
                    f"Interactions: {name} has codes from {int(codes.min())} to "
                    f"{int(codes.max())}; expected 0 to {count - 1}."
                )
        for name, ids in (("user_ids", self.user_ids), ("item_ids", self.item_ids)):
            if len(np.unique(ids)) != len(ids):
                raise DataError(f"Interactions: {name} holds an id twice; expected one a code.")

    def __len__(self) -> int:
        return len(self.user)

    @property
    def user_count(self) -> int:
        """Number of users U, those without an interaction among them."""
        return len(self.user_ids)

    @property
    def item_count(self) -> int:
        """Number of items I, those without an interaction among them."""
        return len(self.item_ids)

    def within(self, *splits: str) -> Tensor:
        """``(E,)`` bool, whether each pair is in one of the splits.

        Raises:
            ConfigError: a split of another name.
        """
        if unknown := [s for s in splits if s not in SPLITS]:
            raise ConfigError(f"Unknown split {unknown}; expected some of {list(SPLITS)}.")
        return torch.isin(self.split, torch.tensor([SPLITS.index(s) for s in splits]).long())

    def lists(self, *splits: str) -> ItemLists:
        """Each user's items in these splits together; made once."""
        which = tuple(sorted(set(splits)))
        if which not in self._made:
            here, counts = self.within(*which), (self.user_count, self.item_count)
            self._made[which] = ItemLists.of(self.user[here], self.item[here], *counts)
        return self._made[which]

    @cached_property
    def _made(self) -> dict[tuple[str, ...], ItemLists]:
        return {}

    def histories(self, *splits: str) -> Histories:
        """Each user's items in these splits together, oldest first; made once.

        Raises:
            DataError: there are no times.
        """
        if self.time is None:
            raise DataError(
                "The interactions have no times, and the order of a user's items is asked for. "
                "Name the source's column of times, or give InteractionArrays time."
            )
        which = tuple(sorted(set(splits)))
        if which not in self._ordered:
            here = self.within(*which)
            found = Histories.of(self.user[here], self.item[here], self.time[here], self.user_count)
            self._ordered[which] = found
        return self._ordered[which]

    @cached_property
    def _ordered(self) -> dict[tuple[str, ...], Histories]:
        return {}

    def pairs(self, split: str) -> tuple[Tensor, Tensor]:
        """User and item of each pair of a split, ``(n,)`` each, in the order of the source."""
        here = self.within(split)
        return self.user[here], self.item[here]

    def keep(self, which: Tensor) -> Interactions:
        """Fewer pairs, or in another order, of the same users and items.

        Args:
            which: ``(E,)`` bool, or long places.
        """
        return replace(
            self,
            user=self.user[which],
            item=self.item[which],
            split=self.split[which],
            time=None if self.time is None else self.time[which],
            rating=None if self.rating is None else self.rating[which],
        )
