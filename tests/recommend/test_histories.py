"""Histories by time, and the pairs of a batch with what comes before each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfuse.errors import DataError
from mmfuse.recommend import Histories, Interactions, RankingBatch

USERS, ITEMS = 4, 9
#: A user, an item and a time; many at one time.
ROWS = st.lists(
    st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.integers(0, 3)), max_size=30
)


def histories_of(rows: list[tuple[int, int, int]]) -> Histories:
    users, items, time = torch.tensor(rows, dtype=torch.long).reshape(-1, 3).unbind(1)
    return Histories.of(users, items, time, USERS)


def literal(rows: list[tuple[int, int, int]], user: int) -> list[int]:
    """``sorted`` leaves what is equal in its order."""
    return [i for _, i, _ in sorted((r for r in rows if r[0] == user), key=lambda r: r[2])]


@given(ROWS, st.lists(st.integers(0, USERS - 1), max_size=5), st.integers(1, 6))
def test_the_last_items_stand_in_the_order_of_time(rows, users, length) -> None:
    found = histories_of(rows).last(torch.tensor(users, dtype=torch.long), length)
    wanted = [literal(rows, u)[-length:] for u in users]
    longest = max(map(len, wanted), default=0)
    assert found.shape == (len(users), longest)
    assert found.tolist() == [w + [-1] * (longest - len(w)) for w in wanted]


@given(ROWS, st.integers(1, 6))
def test_every_pair_has_what_comes_before_it_and_nothing_else(rows, length) -> None:
    users = sorted({r[0] for r in rows}, reverse=True)
    if not users:
        return
    owners, items, sequences = histories_of(rows).pairs(torch.tensor(users), length)
    # What comes before each slot, line after line.
    lines = [line for block in sequences.blocks for line in block.tolist()]
    slots = [(line, t) for line in lines for t in range(1 + len(line))]
    found = []
    for user, item, slot in zip(owners.tolist(), items.tolist(), sequences.at, strict=True):
        line, place = slots[slot]
        assert min(line[:place], default=0) >= 0
        found.append((user, line[:place], item))
    wanted, shown = [], []
    for user in users:
        window = literal(rows, user)[-length - 1 :]
        is_whole = len(window) == len(literal(rows, user))
        for place in range(0 if is_whole else 1, len(window)):
            wanted.append((user, window[:place], window[place]))
        shown.append(window[:-1])  # the last item is to be found, and stands before nothing
    assert sorted(found) == sorted(wanted)
    assert sorted([i for i in line if i >= 0] for line in lines) == sorted(shown)
    filled = [sum(i < 0 for i in line) for line in lines]
    assert all(2 * count <= len(line) for count, line in zip(filled, lines, strict=True))


def interactions(**columns: torch.Tensor) -> Interactions:
    users, items = torch.tensor([0, 0, 0, 0, 1]), torch.tensor([4, 3, 2, 1, 0])
    split = torch.tensor([0, 2, 1, 0, 1])
    return Interactions(users, items, split, np.arange(2), np.arange(5), **columns)


def test_splits_are_joined_by_time() -> None:
    known = interactions(time=torch.tensor([5.0, 1.0, 4.0, 3.0, 0.0]))
    every = torch.arange(2)
    assert known.histories("train").last(every, 9).tolist() == [[1, 4], [-1, -1]]
    assert known.histories("train", "val").last(every, 9).tolist() == [[1, 2, 4], [0, -1, -1]]
    assert known.histories("val", "train") is known.histories("train", "val")


def test_without_times_there_is_no_order() -> None:
    with pytest.raises(DataError, match="no times"):
        interactions().histories("train")
    with pytest.raises(DataError, match="one of each for each pair"):
        Histories.of(torch.tensor([0]), torch.tensor([0]), torch.tensor([1, 2]), 1)


def test_a_batch_names_the_items_of_its_sequences_and_moves_with_them() -> None:
    rows = [(0, 5, 0), (0, 7, 1), (1, 2, 0)]
    users, items, sequences = histories_of(rows).pairs(torch.tensor([0, 1]), 3)
    assert users.tolist() == [1, 0, 0]  # the shortest first
    batch = RankingBatch(users, items, torch.tensor([[8]] * 3), None, sequences)
    assert batch.distinct_items().tolist() == [2, 5, 7, 8]
    among = sequences.among(batch.distinct_items())
    assert [block.tolist() for block in among.blocks] == [[[]], [[1]]]
    moved = batch.to("meta").sequences
    assert {x.device.type for x in (*moved.blocks, moved.at)} == {"meta"}
