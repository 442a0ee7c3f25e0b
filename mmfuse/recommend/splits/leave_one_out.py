"""LeaveOneOut: one pair of each user validates, one tests."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.recommend.splits.base import Pairs, SplitRule, held_out, last_of_each


class LeaveOneOut(SplitRule):
    """One pair of each user tests, and another one validates.

    Of two pairs one trains and one tests; a single one trains.

    Args:
        by: which pair: the last in ``time`` (and the last but one validates), or one drawn at
            ``random``.

    Raises:
        ConfigError: ``by`` is neither.
        DataError: at set-up, when the source has no times and ``by`` is ``time``.
    """

    def __init__(self, by: Literal["time", "random"] = "time") -> None:
        if by not in ("time", "random"):
            raise ConfigError(f"by is {by!r}; expected time or random.")
        self.by = by

    def codes(self, pairs: Pairs, seed: int) -> Tensor:
        """``(E,)`` long splits."""
        if self.by == "time":
            key = pairs.times('LeaveOneOut(by="time")')
        else:
            draw = torch.Generator().manual_seed(seed)
            key = torch.rand(len(pairs), generator=draw, dtype=torch.float64)
        sizes = torch.bincount(pairs.user, minlength=pairs.user_count)
        one = torch.ones_like(sizes)
        return last_of_each(pairs.user, key, *held_out(sizes, one, one))
