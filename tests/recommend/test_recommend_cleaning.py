"""Cleaning: ids, repeats, ratings, cores, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfuse.errors import DataError
from mmfuse.recommend import RawInteractions
from mmfuse.recommend.cleaning import Cleaned, clean
from mmfuse.recommend.coding import coded, places
from mmfuse.recommend.cores import core


def cleaned(user, item, is_given: bool = False, **other) -> Cleaned:
    options = {k: other.pop(k) for k in ("rating_from", "user_core", "item_core") if k in other}
    columns = {k: np.asarray(v) for k, v in other.items()}
    raw = RawInteractions(np.asarray(user), np.asarray(item), **columns)
    return clean(raw, is_given, **options)


def test_ids_with_gaps_get_codes_without() -> None:
    found = cleaned([90, 7, 90], ["z", "a", "a"])
    assert found.user_ids.tolist() == [7, 90]
    assert found.item_ids.tolist() == ["a", "z"]
    assert (found.pairs.user.tolist(), found.pairs.item.tolist()) == ([1, 0, 1], [1, 0, 0])


@pytest.mark.parametrize(
    "values",
    [
        np.array([3, 1, 3], np.int32),
        np.array([3.0, 1.0, 3.0]),
        np.array([3, 1, 3], object),
        pd.array([3, 1, 3], dtype="Int64"),
        pd.Categorical([3, 1, 3]),
    ],
    ids=lambda v: str(v.dtype),
)
def test_whole_numbers_are_numbers_whatever_holds_them(values) -> None:
    codes, ids = coded(np.asarray(values), "Users")
    assert (codes.tolist(), ids.tolist(), ids.dtype) == ([1, 0, 1], [1, 3], np.int64)


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
def test_an_empty_id_is_refused_by_its_row(gap) -> None:
    with pytest.raises(DataError, match=r"Items: 1 row.s. have no id, the first is row 1"):
        cleaned([1, 2], np.array(["a", gap], object))


@pytest.mark.parametrize("ids", [[0.5, 1.0], ["1", 1], [(1,), (2,)], [True, 2.5]])
def test_ids_that_are_neither_numbers_nor_strings_are_refused(ids) -> None:
    values = np.empty(2, object)
    values[:] = ids
    with pytest.raises(DataError, match="neither whole numbers nor strings"):
        cleaned(values, [1, 2])


def test_strings_are_not_looked_for_among_numbers() -> None:
    with pytest.raises(DataError, match="strings on one side"):
        places(np.array(["1"]), np.array([1]))


# Repeats.


def test_of_repeats_the_earliest_time_stays() -> None:
    found = cleaned([1, 1, 2, 1], [5, 6, 5, 5], time=[30, 20, 10, 5], rating=[4, 3, 2, 1])
    assert found.counts["repeats"] == 1
    pairs = found.pairs
    columns = (pairs.user, pairs.item, pairs.time, pairs.rating)
    rows = list(zip(*(c.tolist() for c in columns), strict=True))
    assert rows == [(0, 0, 5, 4), (0, 1, 20, 3), (1, 0, 10, 2)]


def test_a_pair_in_two_splits_trains_with_the_earliest_time() -> None:
    found = cleaned([1, 1, 1], [5, 6, 5], True, time=[1, 2, 3], split=["test", "val", "train"])
    assert found.pairs.given.tolist() == [0, 1]
    assert found.pairs.time.tolist() == [1, 2]
    assert (found.counts["repeats"], found.counts["in_two_splits"]) == (1, 1)


def test_rows_of_no_split_are_left_out_where_the_split_counts() -> None:
    columns = {"user": [1, 2, 3], "item": [5, 5, 6]}
    split = np.array(["train", None, "test"], object)
    assert cleaned(**columns, is_given=True, split=split).counts["in_no_split"] == 1
    assert len(cleaned(**columns, split=split).pairs) == 3


@pytest.mark.parametrize("split", [[0, 1, 2], [0.0, 1.0, 2.0], ["train", "valid", "test"]])
def test_splits_are_names_or_places(split) -> None:
    assert cleaned([1, 1, 1], [1, 2, 3], True, split=split).pairs.given.tolist() == [0, 1, 2]


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match="'holdout'"):
        cleaned([1, 1], [1, 2], True, split=["train", "holdout"])
    with pytest.raises(DataError, match="has none"):
        cleaned([1, 1], [1, 2], True)


# Ratings and times.


def test_ratings_below_the_threshold_do_not_count() -> None:
    found = cleaned([1, 1, 2], [5, 6, 5], rating=[4, 3, 5], rating_from=4)
    assert found.counts["below_rating"] == 1
    assert found.item_ids.tolist() == [5]
    assert found.left_ids.tolist() == [6]
    with pytest.raises(DataError, match="has no ratings"):
        cleaned([1], [5], rating_from=4)
    with pytest.raises(DataError, match="No interaction is left of 1"):
        cleaned([1], [5], rating=[3], rating_from=4)
    with pytest.raises(DataError, match="no rating, the first is row 1"):
        cleaned([1, 1], [5, 6], rating=[3, np.nan])


def test_dates_become_seconds() -> None:
    for dates in (
        ["1970-01-02", "1970-01-01 00:00:00.5"],
        np.array(["1970-01-02", "1970-01-01T00:00:00.5"], "datetime64[ms]"),
        np.array([86400, 0.5], object),
    ):
        assert cleaned([1, 2], [5, 5], time=dates).pairs.time.tolist() == [86400, 0.5]
    with pytest.raises(DataError, match="neither numbers nor dates"):
        cleaned([1], [5], time=["soon"])


@pytest.mark.parametrize("gap", [np.nan, None, pd.NA, pd.NaT])
def test_an_empty_time_is_refused_by_its_row(gap) -> None:
    with pytest.raises(DataError, match="no time, the first is row 1"):
        cleaned([1, 2], [5, 5], time=np.array([3, gap], object))


# Cores.

PAIRS = st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=40)
LEAST = st.integers(1, 4)


@given(PAIRS, LEAST, LEAST)
def test_a_core_is_the_largest_set_that_keeps_its_promise(pairs, user_core, item_core) -> None:
    kept = sorted(pairs)
    while True:  # one pair at a time, in another order than ours
        users, items = Counter(u for u, _ in kept), Counter(i for _, i in kept)
        rare = [p for p in kept if users[p[0]] < user_core or items[p[1]] < item_core]
        if not rare:
            break
        kept.remove(rare[-1])
    users, items = torch.tensor(sorted(pairs)).unbind(1)
    mask = core(users, items, user_core, item_core)
    assert [p for p, stays in zip(sorted(pairs), mask.tolist(), strict=True) if stays] == kept
    again = core(users[mask], items[mask], user_core, item_core)
    assert again.all()


def test_a_core_may_unravel_to_nothing() -> None:
    chain = [(i, i + d) for i in range(50) for d in (0, 1)]
    users, items = torch.tensor(chain).unbind(1)
    assert not core(users, items, 2, 2).any()
    with pytest.raises(DataError, match="No interaction is left"):
        cleaned(users.numpy(), items.numpy(), user_core=2, item_core=2)
