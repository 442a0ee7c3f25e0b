"""The contract of split rules, and what they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.recorded import Recorded


@dataclass(frozen=True)
class Pairs:
    """Distinct pairs of a user and an item, before they are split.

    Args:
        user: ``(E,)`` long codes.
        item: ``(E,)`` long codes.
        user_count: number of users U.
        item_count: number of items I.
        time: ``(E,)``, or None.
        given: ``(E,)`` long, the source's own split by its place in ``SPLITS``, or None.
        rating: ``(E,)`` float, or None.
    """

    user: Tensor
    item: Tensor
    user_count: int
    item_count: int
    time: Tensor | None = None
    given: Tensor | None = None
    rating: Tensor | None = None

    def __len__(self) -> int:
        return len(self.user)

    def times(self, rule: str) -> Tensor:
        """The times.

        Raises:
            DataError: there are none; naming the rule that needs them.
        """
        if self.time is None:
            raise DataError(
                f"{rule} needs the time of each interaction. Name the source's column of times, "
                "or choose another rule."
            )
        return self.time


class SplitRule(Recorded, ABC):
    """Base of all rules: from pairs to the split of each."""

    @abstractmethod
    def codes(self, pairs: Pairs, seed: int) -> Tensor:
        """``(E,)`` long, each pair's split by its place in ``mmfuse.store.SPLITS``.

        Args:
            pairs: the pairs.
            seed: of whatever is drawn.
        """


def check_shares(val: float, test: float) -> None:
    """Refuses shares that leave nothing to train on.

    Raises:
        ConfigError: a share below 0, or a sum of 1 or more.
    """
    if val < 0 or test < 0 or val + test >= 1:
        raise ConfigError(
            f"val is {val} and test {test}; expected shares from 0 up whose sum is below 1."
        )


def last_of_each(user: Tensor, key: Tensor, val: Tensor, test: Tensor) -> Tensor:
    """Puts the last pairs of each user, in the order of a key, into val and test.

    Args:
        user: ``(E,)`` long codes.
        key: ``(E,)``, by which each user's pairs are ordered; of equals the earlier row leads.
        val: ``(U,)`` long, how many pairs of each user validate.
        test: ``(U,)`` long, how many test; they come after those that validate.

    Returns:
        ``(E,)`` long splits
    """
    order = torch.argsort(key, stable=True)
    order = order[torch.argsort(user[order], stable=True)]
    owner = user[order]
    ends = torch.bincount(user, minlength=len(val)).cumsum(0)
    from_end = ends[owner] - 1 - torch.arange(len(user))
    split = (from_end < test[owner]).long() + (from_end < (val + test)[owner]).long()
    return torch.empty_like(split).index_copy_(0, order, split)


def held_out(sizes: Tensor, val: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """How many pairs of each user validate and test, so that one is left to train on.

    Of two pairs one trains and the other tests, if anything is to test.

    Args:
        sizes: ``(U,)`` long, how many pairs each user has.
        val: ``(U,)`` long, how many should validate.
        test: ``(U,)`` long, how many should test.
    """
    test = test.minimum((sizes - 1).clamp_min(0))
    return val.minimum((sizes - 1 - test).clamp_min(0)), test


def time_travels(user: Tensor, split: Tensor, time: Tensor, user_count: int) -> int:
    """How many held-out pairs are earlier than a pair of the same user in an earlier split.

    Args:
        user: ``(E,)`` long codes.
        split: ``(E,)`` long.
        time: ``(E,)``.
        user_count: number of users.
    """
    when = time.double()
    latest = torch.full((user_count,), -torch.inf, dtype=torch.float64)
    travels = 0
    for code in range(int(split.max()) + 1):
        here = split == code
        travels += int((when[here] < latest[user[here]]).sum())
        latest = latest.scatter_reduce(0, user[here], when[here], "amax")
    return travels
