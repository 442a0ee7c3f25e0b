"""Negatives: never a training positive, and each other item in proportion to its weight."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfuse.errors import DataError
from mmfuse.recommend import ItemLists, NegativeSampler

USERS, ITEMS = 4, 8
PAIRS = st.sets(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1)), max_size=25)
WEIGHTS = st.none() | st.lists(
    st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=ITEMS, max_size=ITEMS
)


def lists_of(pairs) -> ItemLists:
    users, items = torch.tensor(sorted(pairs), dtype=torch.long).reshape(-1, 2).unbind(1)
    return ItemLists.of(users, items, USERS, ITEMS)


def draws(sampler: NegativeSampler, user: int, count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return sampler.draw(torch.tensor([user]), count, generator)[0]


@given(PAIRS, WEIGHTS, st.integers(0, 5))
def test_what_is_drawn_is_untaken_and_has_a_weight(pairs, weights, seed) -> None:
    taken = lists_of(pairs)
    if weights is not None and not any(weights):
        return
    sampler = NegativeSampler(taken, None if weights is None else torch.tensor(weights))
    allowed = [
        {i for i in range(ITEMS) if (u, i) not in pairs and (weights is None or weights[i])}
        for u in range(USERS)
    ]
    assert (sampler.left > 0).tolist() == [bool(a) for a in allowed]
    users = torch.tensor([u for u in range(USERS) if allowed[u]] * 3, dtype=torch.long)
    found = sampler.draw(users, 50, torch.Generator().manual_seed(seed))
    assert not taken.contains(users[:, None], found).any()
    for u, items in zip(users.tolist(), found.tolist(), strict=True):
        assert set(items) <= allowed[u]


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.0, 4.0, 1.0, 2.0, 3.0, 0.5]])
def test_each_untaken_item_comes_in_proportion(weights) -> None:
    taken = lists_of({(1, 0), (1, 3), (1, 4)})
    sampler = NegativeSampler(taken, None if weights is None else torch.tensor(weights))
    expected = torch.ones(ITEMS) if weights is None else torch.tensor(weights)
    expected[[0, 3, 4]] = 0
    expected /= expected.sum()
    count = 40_000
    shares = torch.bincount(draws(sampler, 1, count), minlength=ITEMS) / count
    error = (expected * (1 - expected) / count).sqrt()
    assert ((shares - expected).abs() <= 4.5 * error).all()


def test_the_one_untaken_item_is_found_at_once() -> None:
    items = 100_000
    taken = torch.arange(items)[torch.arange(items) != 777]
    lists = ItemLists.of(torch.zeros_like(taken), taken, 1, items)
    for weights in (None, torch.rand(items, generator=torch.Generator().manual_seed(0)) + 0.1):
        assert draws(NegativeSampler(lists, weights), 0, 20).unique().tolist() == [777]


def test_draws_follow_the_generator() -> None:
    sampler = NegativeSampler(lists_of({(0, 1)}))
    assert torch.equal(draws(sampler, 0, 30, 1), draws(sampler, 0, 30, 1))
    assert not torch.equal(draws(sampler, 0, 30, 1), draws(sampler, 0, 30, 2))


@pytest.mark.parametrize("weights", [[1.0], [1.0] * 7 + [-1.0], [0.0] * 8])
def test_weights_that_do_not_fit_are_refused(weights) -> None:
    with pytest.raises(DataError, match="Weights of negatives"):
        NegativeSampler(lists_of(set()), torch.tensor(weights))
