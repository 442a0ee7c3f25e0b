"""TimeSplit: two moments part all users' pairs."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.recommend.splits.base import Pairs, SplitRule, check_shares


class TimeSplit(SplitRule):
    """All pairs before one moment train, those from another one on test.

    ::

        train: time < val_from      val: val_from <= time < test_from      test: the rest

    No training pair is later than the cut, whoever's it is. Users who come late have nothing
    to train on; they are kept, and evaluated.

    Args:
        val: share of all pairs that validates, where ``val_from`` does not say.
        test: share of all pairs that tests, where ``test_from`` does not say; pairs of one
            moment stay together, in the later split.
        val_from: the moment from which pairs validate, in the source's own numbers, or a date.
        test_from: the moment from which they test.

    Raises:
        ConfigError: shares that leave nothing to train on; moments in the wrong order.
        DataError: at set-up, when the source has no times.
    """

    def __init__(
        self,
        val: float = 0.1,
        test: float = 0.1,
        val_from: float | str | None = None,
        test_from: float | str | None = None,
    ) -> None:
        check_shares(val, test)
        self.val, self.test = val, test
        self.val_from, self.test_from = _moment(val_from), _moment(test_from)
        if None not in (self.val_from, self.test_from) and self.val_from > self.test_from:  # type: ignore[operator]
            raise ConfigError(
                f"val_from is {val_from} and test_from {test_from}; expected the first to be "
                "the earlier one."
            )

    def codes(self, pairs: Pairs, seed: int) -> Tensor:
        """``(E,)`` long splits; nothing is drawn."""
        # In double: beside a fraction, torch would compare whole numbers in single precision.
        time = pairs.times("TimeSplit").double()
        ordered = time.sort().values
        late = _cut(ordered, self.test) if self.test_from is None else self.test_from
        early = _cut(ordered, self.val + self.test) if self.val_from is None else self.val_from
        return (time >= min(early, late)).long() + (time >= late).long()


def _cut(ordered: Tensor, share: float) -> float:
    """The moment from which on the last share of pairs lies."""
    first = round((1 - share) * len(ordered))
    return torch.inf if first >= len(ordered) else ordered[first].item()


def _moment(value: float | str | None) -> float | None:
    if not isinstance(value, str):
        return value
    try:
        stamp = pd.Timestamp(value)
    except ValueError as error:
        raise ConfigError(f"{value!r} is neither a number nor a date: {error}.") from error
    return (stamp.tz_localize("UTC") if stamp.tz is None else stamp).timestamp()
