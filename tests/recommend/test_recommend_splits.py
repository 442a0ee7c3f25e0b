"""Split rules: they partition, keep their shares and never look back."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend import (
    ColdStartSplit,
    GivenSplit,
    LeaveOneOut,
    RandomSplit,
    SplitRule,
    TimeSplit,
    UserTimeSplit,
)
from mmfuse.recommend.splits import Pairs, time_travels
from mmfuse.recorded import describe, rebuild

SIZES = st.lists(st.integers(1, 25), min_size=1, max_size=8)


def pairs_of(sizes: list[int], seed: int = 0, times: int = 40) -> Pairs:
    """Users with so many pairs each, shuffled, at times some of which are equal."""
    draw = torch.Generator().manual_seed(seed)
    user = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    user = user[torch.randperm(len(user), generator=draw)]
    item = torch.empty_like(user)
    for u, n in enumerate(sizes):
        item[user == u] = torch.randperm(25, generator=draw)[:n]
    time = torch.randint(times, (len(user),), generator=draw)
    return Pairs(user, item, len(sizes), 25, time)


def counts(pairs: Pairs, split: torch.Tensor) -> list[list[int]]:
    """Train, val, test of each user."""
    return [
        torch.bincount(split[pairs.user == u], minlength=3).tolist()
        for u in range(pairs.user_count)
    ]


@given(SIZES, st.integers(0, 3))
@pytest.mark.parametrize(
    "rule", [RandomSplit(), UserTimeSplit(0.25, 0.2), RandomSplit(0, 0.5), UserTimeSplit(0.3, 0)]
)
def test_each_user_has_its_share(rule: SplitRule, sizes: list[int], seed: int) -> None:
    pairs = pairs_of(sizes, seed)
    for n, found in zip(sizes, counts(pairs, rule.codes(pairs, seed)), strict=True):
        test = min(max(1, int(rule.test * n + 1e-9)), n - 1) if rule.test else 0
        val = min(max(1, int(rule.val * n + 1e-9)), n - 1 - test) if rule.val else 0
        assert found == [n - val - test, val, test]


@given(SIZES, st.integers(0, 3))
@pytest.mark.parametrize("rule", [UserTimeSplit(), LeaveOneOut(), TimeSplit()])
def test_splits_by_time_never_look_back(rule: SplitRule, sizes: list[int], seed: int) -> None:
    pairs = pairs_of(sizes, seed)
    split = rule.codes(pairs, 0)
    assert time_travels(pairs.user, split, pairs.time, pairs.user_count) == 0


@given(SIZES, st.integers(0, 3))
def test_no_training_pair_is_later_than_the_cut(sizes: list[int], seed: int) -> None:
    pairs = pairs_of(sizes, seed)
    split = TimeSplit(0.2, 0.2).codes(pairs, 0)
    groups = [pairs.time[split == code] for code in range(3)]
    there = [g for g in groups if len(g)]
    for before, after in pairwise(there):
        assert before.max() < after.min()


def test_a_cut_may_be_a_moment_or_a_date() -> None:
    time = torch.tensor([0, 86_399, 86_400, 2_000_000_000])
    pairs = Pairs(torch.zeros(4).long(), torch.arange(4), 1, 4, time)
    dated = TimeSplit(val_from="1970-01-02", test_from=2e9)
    assert dated.codes(pairs, 0).tolist() == [0, 0, 1, 2]
    # One below the moment, which single precision cannot tell from it.
    assert TimeSplit(val_from=86_399.5, test_from=2_000_000_001).codes(pairs, 0).max() == 1
    assert TimeSplit(0, 0.25).codes(pairs, 0).tolist() == [0, 0, 0, 2]
    with pytest.raises(ConfigError, match="the earlier one"):
        TimeSplit(val_from=3, test_from=2)
    with pytest.raises(ConfigError, match="'soon' is neither"):
        TimeSplit(test_from="soon")


@pytest.mark.parametrize("by", ["time", "random"])
def test_leave_one_out_leaves_one_to_train(by: str) -> None:
    pairs = pairs_of([1, 2, 3, 9])
    split = LeaveOneOut(by).codes(pairs, 0)
    assert counts(pairs, split) == [[1, 0, 0], [1, 0, 1], [1, 1, 1], [7, 1, 1]]
    if by == "time":
        last = pairs.time[pairs.user == 3].max()
        assert pairs.time[(pairs.user == 3) & (split == 2)].item() == last


@pytest.mark.parametrize("rule", [RandomSplit(), LeaveOneOut("random"), ColdStartSplit()])
def test_draws_follow_the_seed_alone(rule: SplitRule) -> None:
    pairs = pairs_of([20, 20, 20])
    first = rule.codes(pairs, 1)
    assert torch.equal(first, rebuild(describe(rule)).codes(pairs, 1))
    assert not torch.equal(first, rule.codes(pairs, 2))


@given(SIZES, st.integers(0, 3))
def test_a_cold_item_is_in_one_split(sizes: list[int], seed: int) -> None:
    pairs = pairs_of(sizes, seed)
    split = ColdStartSplit(0.2, 0.2).codes(pairs, seed)
    homes = [set(pairs.item[split == code].tolist()) for code in range(3)]
    assert len(set.union(*homes)) == sum(map(len, homes))
    with pytest.raises(DataError, match=r"too few to hold out a share of 0\.01"):
        ColdStartSplit(0.01, 0.2).codes(pairs, seed)


def given_pairs() -> Pairs:
    user = torch.tensor([0, 0, 0, 1, 1])
    split = torch.tensor([0, 1, 2, 0, 2])
    return Pairs(user, torch.arange(5), 2, 5, torch.tensor([5, 4, 6, 1, 1]), split)


def test_a_given_split_stays_and_may_be_held_to_time() -> None:
    pairs = given_pairs()
    assert GivenSplit().codes(pairs, 0).tolist() == [0, 1, 2, 0, 2]
    with pytest.raises(DataError, match="1 held-out interaction"):
        GivenSplit("error").codes(pairs, 0)
    ordered = Pairs(pairs.user, pairs.item, 2, 5, torch.tensor([1, 1, 2, 9, 9]), pairs.given)
    assert torch.equal(GivenSplit("error").codes(ordered, 0), pairs.given)


@pytest.mark.parametrize(
    "rule",
    [UserTimeSplit(), TimeSplit(), LeaveOneOut(), GivenSplit("error")],
    ids=lambda rule: type(rule).__name__,
)
def test_a_rule_of_time_says_that_it_needs_times(rule: SplitRule) -> None:
    pairs = given_pairs()
    timeless = Pairs(pairs.user, pairs.item, 2, 5, None, pairs.given)
    with pytest.raises(DataError, match=f"{type(rule).__name__}.* needs the time"):
        rule.codes(timeless, 0)


@pytest.mark.parametrize("rule", [RandomSplit, UserTimeSplit, TimeSplit, ColdStartSplit])
@pytest.mark.parametrize("shares", [(-0.1, 0.2), (0.5, 0.5)])
def test_shares_must_leave_something_to_train_on(rule, shares) -> None:
    with pytest.raises(ConfigError, match="sum is below 1"):
        rule(*shares)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected time or random"):
        LeaveOneOut("date")
    with pytest.raises(ConfigError, match="expected error or allow"):
        GivenSplit("drop")
