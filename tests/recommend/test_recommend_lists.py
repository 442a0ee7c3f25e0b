"""Values of recommendation: lists of items, interactions, batches."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend import Interactions, ItemLists, RankingBatch

USERS, ITEMS = 5, 7
PAIRS = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1)), max_size=30)


def lists_of(pairs: list[tuple[int, int]]) -> ItemLists:
    users, items = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).unbind(1)
    return ItemLists.of(users, items, USERS, ITEMS)


@given(PAIRS)
def test_lists_hold_each_pair_once_and_ascend(pairs: list[tuple[int, int]]) -> None:
    lists = lists_of(pairs)
    wanted = [sorted({i for u, i in pairs if u == user}) for user in range(USERS)]
    ends = lists.offsets.tolist()
    found = [lists.items[a:b].tolist() for a, b in pairwise(ends)]
    assert found == wanted
    assert lists.sizes().tolist() == [len(w) for w in wanted]
    assert list(zip(*(t.tolist() for t in lists.pairs()), strict=True)) == sorted(set(pairs))


@given(PAIRS)
def test_membership_is_that_of_the_pairs(pairs: list[tuple[int, int]]) -> None:
    found = lists_of(pairs).contains(torch.arange(USERS)[:, None], torch.arange(ITEMS))
    assert found.shape == (USERS, ITEMS)
    assert {tuple(p) for p in found.nonzero().tolist()} == set(pairs)


@given(PAIRS, st.lists(st.integers(0, USERS - 1), max_size=6))
def test_rows_of_some_users_in_any_order(pairs: list[tuple[int, int]], users: list[int]) -> None:
    place, items = lists_of(pairs).rows(torch.tensor(users, dtype=torch.long))
    wanted = [
        (at, item)
        for at, user in enumerate(users)
        for item in sorted({i for u, i in pairs if u == user})
    ]
    assert list(zip(place.tolist(), items.tolist(), strict=True)) == wanted


@pytest.mark.parametrize("pair", [(-1, 0), (0, -1), (USERS, 0), (0, ITEMS)])
def test_a_code_outside_its_range_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="not its raw id"):
        lists_of([pair])


def test_lists_of_nobody_are_empty() -> None:
    none = torch.zeros(0, dtype=torch.long)
    lists = ItemLists.of(none, none, 0, 0)
    assert len(lists) == 0
    assert lists.contains(none, none).shape == (0,)


def interactions(**other: object) -> Interactions:
    columns = {
        "user": torch.tensor([0, 1, 0, 1]),
        "item": torch.tensor([2, 0, 1, 2]),
        "split": torch.tensor([0, 0, 1, 2]),
        "user_ids": np.array(["ann", "bob", "eve"]),
        "item_ids": np.array([10, 30, 20]),
    }
    return Interactions(**{**columns, **other})


def test_lists_of_several_splits_are_their_union() -> None:
    found = interactions()
    assert found.lists("train").sizes().tolist() == [1, 1, 0]
    assert found.lists("train", "val").rows(torch.tensor([0]))[1].tolist() == [1, 2]
    assert [t.tolist() for t in found.pairs("test")] == [[1], [2]]
    with pytest.raises(ConfigError, match="valid"):
        found.lists("valid")


def test_keep_takes_times_along_and_leaves_users() -> None:
    found = interactions(time=torch.tensor([4, 3, 2, 1])).keep(torch.tensor([3, 0]))
    assert found.time.tolist() == [1, 4]
    assert (len(found), found.user_count, found.item_count) == (2, 3, 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"user": torch.tensor([0, 1, 0, 3])}, "user has codes from 0 to 3"),
        ({"split": torch.tensor([0, 0, 1, 3])}, "split has codes from 0 to 3"),
        ({"time": torch.tensor([0])}, "one length"),
        ({"item_ids": np.array([10, 10, 20])}, "item_ids holds an id twice"),
    ],
)
def test_interactions_that_do_not_fit_are_refused(wrong: dict, words: str) -> None:
    with pytest.raises(DataError, match=words):
        interactions(**wrong)


def test_a_batch_moves_with_its_content() -> None:
    content = Batch(("a",), {"a": torch.zeros(3, 1)}, torch.ones(3, 1, dtype=torch.bool))
    batch = RankingBatch(torch.tensor([0]), torch.tensor([1]), torch.tensor([[2, 0]]), content)
    moved = batch.to("meta")
    assert {moved.users.device.type, moved.negatives.device.type} == {"meta"}
    assert moved.content.present.device.type == "meta"
    assert batch.distinct_items().tolist() == [0, 1, 2]
