"""Splits by shares of each user's pairs: at random, or the last ones in time."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.recommend.splits.base import Pairs, SplitRule, check_shares, held_out, last_of_each


class RandomSplit(SplitRule):
    """A share of each user's pairs, drawn at random: the split of most papers (8:1:1).

    A user with n pairs has ``floor(share n)`` of them in val and in test, but one at least, as
    far as one is left for training: of two pairs one trains and one tests; a single one trains.
    So the shares that come out are larger where histories are short.

    Args:
        val: share that validates; 0 for none.
        test: share that tests; 0 for none.

    Raises:
        ConfigError: shares that leave nothing to train on.

    Reference: the protocol of Zhang et al., "Mining Latent Structures for Multimedia
    Recommendation" (LATTICE), ACM MM 2021, arXiv:2104.09036.
    """

    def __init__(self, val: float = 0.1, test: float = 0.1) -> None:
        check_shares(val, test)
        self.val, self.test = val, test

    def codes(self, pairs: Pairs, seed: int) -> Tensor:
        """``(E,)`` long splits."""
        draw = torch.Generator().manual_seed(seed)
        key = torch.rand(len(pairs), generator=draw, dtype=torch.float64)
        return _by_shares(pairs, key, self.val, self.test)


class UserTimeSplit(SplitRule):
    """The last share of each user's pairs in time: no user's past is held out.

    Counts are those of ``RandomSplit``. Another user's later pairs may train; ``TimeSplit``
    rules that out too. Of equal times the source's earlier row comes first.

    Args:
        val: share that validates; 0 for none.
        test: share that tests, after those that validate; 0 for none.

    Raises:
        ConfigError: shares that leave nothing to train on.
        DataError: at set-up, when the source has no times.
    """

    def __init__(self, val: float = 0.1, test: float = 0.1) -> None:
        check_shares(val, test)
        self.val, self.test = val, test

    def codes(self, pairs: Pairs, seed: int) -> Tensor:
        """``(E,)`` long splits; nothing is drawn."""
        return _by_shares(pairs, pairs.times("UserTimeSplit"), self.val, self.test)


def _by_shares(pairs: Pairs, key: Tensor, val: float, test: float) -> Tensor:
    sizes = torch.bincount(pairs.user, minlength=pairs.user_count)
    wanted = (_count(sizes, share) for share in (val, test))
    return last_of_each(pairs.user, key, *held_out(sizes, *wanted))


def _count(sizes: Tensor, share: float) -> Tensor:
    if not share:
        return torch.zeros_like(sizes)
    # A share such as 0.1 of 10 must not lose one to rounding.
    return (sizes.double() * share + 1e-9).floor().long().clamp_min(1)
