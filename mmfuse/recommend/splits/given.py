"""GivenSplit: the source's own split."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend.splits.base import Pairs, SplitRule, time_travels


class GivenSplit(SplitRule):
    """The source's own split.

    Args:
        on_time_travel: a held-out pair earlier than one of the same user's that trains is an
            ``error``, or is counted (``allow``): the public 8:1:1 splits are drawn at random,
            and hold many.

    Raises:
        ConfigError: ``on_time_travel`` is neither.
        DataError: at set-up, when the source has no split, or times go backwards and may not.
    """

    def __init__(self, on_time_travel: Literal["error", "allow"] = "allow") -> None:
        if on_time_travel not in ("error", "allow"):
            raise ConfigError(f"on_time_travel is {on_time_travel!r}; expected error or allow.")
        self.on_time_travel = on_time_travel

    def codes(self, pairs: Pairs, seed: int) -> Tensor:
        """``(E,)`` long splits; nothing is drawn."""
        assert pairs.given is not None  # cleaning has refused a source without
        if self.on_time_travel == "error":
            time = pairs.times('GivenSplit(on_time_travel="error")')
            if found := time_travels(pairs.user, pairs.given, time, pairs.user_count):
                raise DataError(
                    f"{found} held-out interaction(s) of the given split come before one of the "
                    "same user's in an earlier split. Split by time (UserTimeSplit), or set "
                    'on_time_travel to "allow".'
                )
        return pairs.given
