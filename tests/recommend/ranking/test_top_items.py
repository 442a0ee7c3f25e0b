"""Top items in blocks agree with a literal search, with ties, seen items and short catalogues."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend import ItemLists
from mmfuse.recommend.ranking import dot, top_items


def literal(scores, k, seen, codes, allowed):
    """Sorts each user's candidates by score, then code."""
    found = []
    for code, row in zip(codes.tolist(), scores.tolist(), strict=True):
        out = set(seen.items[seen.offsets[code] : seen.offsets[code + 1]].tolist())
        able = [i for i in range(len(row)) if i not in out and allowed[i] and row[i] != -torch.inf]
        best = sorted(able, key=lambda i: (-row[i], i))[:k]
        found.append(best + [-1] * (k - len(best)))
    return torch.tensor(found)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_blocks_agree_with_a_literal_search(data):
    users = data.draw(st.integers(1, 7), "users")
    items = data.draw(st.integers(1, 700), "items")
    k = data.draw(st.integers(1, 12), "k")
    block = data.draw(st.sampled_from([1, 300, 600, 2**21]), "block")
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 99), "seed"))
    levels = data.draw(st.sampled_from([1, 3, 1000]), "levels")  # few levels: many ties
    scores = torch.randint(0, levels, (9, items), generator=draw).float()
    scores[:, torch.rand(items, generator=draw) < 0.1] = -torch.inf
    pairs = torch.rand(9, items, generator=draw) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    seen = ItemLists.of(*pairs.nonzero(as_tuple=True), 9, items)
    codes = torch.randperm(9, generator=draw)[:users]
    allowed = torch.rand(items, generator=draw) < data.draw(st.sampled_from([0.2, 1.0]))
    order = torch.arange(items).unsqueeze(1)

    def score(some, part):  # vectors are numbers of rows and columns of the matrix
        return scores[some.long().squeeze(1)][:, part.long().squeeze(1)]

    found = top_items(
        codes.unsqueeze(1).float(), order.float(), score, k, seen, codes, allowed, block
    )
    wanted = literal(scores[codes], k, seen, codes, allowed)
    assert torch.equal(found.items, wanted)
    told = scores[codes].gather(1, wanted.clamp(min=0)).masked_fill(wanted < 0, -torch.inf)
    assert torch.equal(found.scores, told)


@pytest.mark.parametrize("order", [1, -1])
def test_sorted_scores_are_no_special_case(order):
    scores = order * torch.arange(5000.0)
    found = top_items(torch.ones(3, 1), scores.unsqueeze(1), dot, k=4, block=3 * 256)
    assert torch.equal(found.items, scores.topk(4).indices.expand(3, 4))


def test_a_score_keeps_what_it_gives_a_view_of():
    popularity = torch.arange(64.0)
    seen = ItemLists.of(torch.tensor([0]), torch.tensor([63]), 1, 64)
    found = top_items(
        torch.ones(1, 1), torch.ones(64, 1), lambda u, i: popularity.expand(1, 64), 2, seen
    )
    assert found.items.tolist() == [[62, 61]]
    assert torch.equal(popularity, torch.arange(64.0))


def test_more_places_than_items_stay_empty():
    found = top_items(torch.ones(2, 1), torch.tensor([[1.0], [2.0]]), dot, k=4)
    assert found.items.tolist() == [[1, 0, -1, -1]] * 2
    assert torch.equal(found.first(1).items, torch.ones(2, 1).long())


def test_no_user_and_no_item_give_empty_lists():
    assert top_items(torch.ones(0, 2), torch.ones(3, 2), dot, k=2).items.shape == (0, 2)
    assert top_items(torch.ones(2, 2), torch.ones(0, 2), dot, k=2).items.tolist() == [[-1, -1]] * 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_scores_count_in_a_full_precision(dtype):
    items = torch.arange(-9.0, 9).unsqueeze(1).to(dtype)
    found = top_items(torch.ones(1, 1, dtype=dtype), items, dot, k=2)
    assert found.items.tolist() == [[17, 16]]
    assert found.scores.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_counts_are_scores_too():
    taken = torch.tensor([3, 9, 9])
    found = top_items(torch.ones(2, 1), torch.ones(3, 1), lambda u, i: taken.expand(2, 3), k=2)
    assert found.items.tolist() == [[1, 2]] * 2


def test_wrong_arguments_are_named():
    users, items = torch.ones(2, 1), torch.ones(3, 1)
    seen = ItemLists.of(torch.tensor([0]), torch.tensor([0]), 1, 3)
    with pytest.raises(ConfigError, match="k is 0"):
        top_items(users, items, dot, k=0)
    with pytest.raises(ConfigError, match="block is 0"):
        top_items(users, items, dot, k=1, block=0)
    with pytest.raises(DataError, match="1 seen lists for 2 users"):
        top_items(users, items, dot, k=1, seen=seen)
    with pytest.raises(DataError, match="lists are of 3 items; there are 2"):
        top_items(users, items[:2], dot, k=1, seen=seen, codes=torch.tensor([0, 0]))
    with pytest.raises(DataError, match="codes has shape"):
        top_items(users, items, dot, k=1, codes=torch.tensor([0]))
    with pytest.raises(DataError, match="allowed has shape"):
        top_items(users, items, dot, k=1, allowed=torch.tensor([True]))
    with pytest.raises(DataError, match=r"gave \(3, 2\) for 2 users and 3 items"):
        top_items(users, items, lambda u, i: i @ u.T, k=1)
    with pytest.raises(DataError, match="NaN"):
        top_items(users, items * torch.nan, dot, k=1)
