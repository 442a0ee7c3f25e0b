"""Splits of interactions: which of a user's pairs train, validate and test."""

from mmfuse.recommend.splits.base import Pairs, SplitRule, time_travels
from mmfuse.recommend.splits.cold_start import ColdStartSplit
from mmfuse.recommend.splits.given import GivenSplit
from mmfuse.recommend.splits.leave_one_out import LeaveOneOut
from mmfuse.recommend.splits.shares import RandomSplit, UserTimeSplit
from mmfuse.recommend.splits.time_cut import TimeSplit

__all__ = [
    "ColdStartSplit",
    "GivenSplit",
    "LeaveOneOut",
    "Pairs",
    "RandomSplit",
    "SplitRule",
    "TimeSplit",
    "UserTimeSplit",
    "time_travels",
]
