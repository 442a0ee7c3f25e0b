"""Evaluation of a ranking: overall, on slices of items and users, and besides accuracy."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend import ItemLists
from mmfuse.recommend.ranking import (
    Exposure,
    dot,
    evaluate_ranking,
    intra_list_similarity,
    item_slices,
    popularity_of,
    ranking_metrics,
    restricted,
    top_items,
    user_slices,
)
from mmfuse.recommend.ranking import evaluation as module

USERS, ITEMS = 30, 40


def drawn(seed: int = 0, rate: float = 0.1) -> ItemLists:
    draw = torch.Generator().manual_seed(seed)
    pairs = torch.rand(USERS, ITEMS, generator=draw) < rate
    return ItemLists.of(*pairs.nonzero(as_tuple=True), USERS, ITEMS)


@pytest.fixture
def world():
    draw = torch.Generator().manual_seed(3)
    users = torch.randn(USERS, 5, generator=draw)
    items = torch.randn(ITEMS, 5, generator=draw)
    return users, items, drawn(1), drawn(2)


def test_an_evaluation_is_the_metrics_of_the_top_items(world, monkeypatch):
    users, items, train, relevant = world
    monkeypatch.setattr(module, "_TOGETHER", 7)  # several blocks of users
    found = evaluate_ranking(users, items, dot, relevant, train, ks=[3, 5])
    codes = relevant.sizes().nonzero().squeeze(1)
    assert torch.equal(found.codes, codes)
    top = top_items(users[codes], items, dot, 5, train, codes).items
    wanted = ranking_metrics(top, relevant, codes, [3, 5])
    for name, values in wanted.items():
        assert torch.equal(found.per_user[name], values)
        assert found.means()[name] == pytest.approx(values.mean().item())
    assert torch.equal(found.exposure.counts, torch.bincount(top.flatten(), minlength=ITEMS))
    assert found.exposure.lists == len(codes)


def test_a_slice_counts_its_own_relevant_items_alone(world):
    users, items, train, relevant = world
    which = torch.arange(ITEMS) < 7
    found = evaluate_ranking(users, items, dot, relevant, train, ks=[5], slices={"low": which})
    sliced = found.sliced["low"]["recall_at_5"]
    top = top_items(users[found.codes], items, dot, 5, train, found.codes).items
    for code, row, value in zip(found.codes.tolist(), top.tolist(), sliced, strict=True):
        mine = relevant.items[relevant.offsets[code] : relevant.offsets[code + 1]].tolist()
        wanted = {i for i in mine if i < 7}
        if not wanted:
            assert value.isnan()
        else:
            assert value.item() == pytest.approx(len(wanted & set(row)) / len(wanted))
    told = found.means_of_items()["low"]
    assert told["recall_at_5"] == pytest.approx(sliced.nanmean().item())
    assert told["users"] == (~sliced.isnan()).sum()


def test_a_slice_alone_is_ranked_without_other_candidates(world, monkeypatch):
    users, items, train, relevant = world
    monkeypatch.setattr(module, "_TOGETHER", 7)
    which = torch.arange(ITEMS) >= 30
    options = {"ks": [2, 4], "slices": {"late": which}}
    found = evaluate_ranking(users, items, dot, relevant, train, alone=["late"], **options)
    seen, sought = (restricted(lists, which) for lists in (train, relevant))
    scores = users @ items.T
    scores[seen.rows(torch.arange(USERS))] = -torch.inf
    order = scores[:, 30:].argsort(dim=1, descending=True)[:, :2] + 30
    for code, value in zip(found.codes, found.sliced["late_alone"]["recall_at_2"], strict=True):
        mine = sought.items[sought.offsets[code] : sought.offsets[code + 1]].tolist()
        if not mine:
            assert value.isnan()
        else:
            hits = len(set(mine) & set(order[code].tolist()))
            assert value.item() == pytest.approx(hits / len(mine))
    plain = evaluate_ranking(users, items, dot, relevant, train, **options)
    assert torch.equal(found.exposure.counts, plain.exposure.counts)
    assert found.sliced.keys() - plain.sliced.keys() == {"late_alone"}


def test_means_of_some_users_are_of_those_alone(world):
    users, items, train, relevant = world
    codes = torch.tensor([4, 2, 9, 0])
    found = evaluate_ranking(users, items, dot, relevant, train, codes, ks=[5])
    told = found.means_of_users({"even": torch.arange(USERS) % 2 == 0})["even"]
    mine = found.per_user["ndcg_at_5"][[0, 1, 3]]
    assert told["ndcg_at_5"] == pytest.approx(mine.nanmean().item())
    assert told["users"] == (~mine.isnan()).sum()


@given(st.integers(0, 50))
def test_restricted_lists_hold_what_both_have(seed):
    lists = drawn(seed, rate=0.2)
    keep = torch.rand(ITEMS, generator=torch.Generator().manual_seed(seed)) < 0.5
    users, items = restricted(lists, keep).pairs()
    before = zip(*(t.tolist() for t in lists.pairs()), strict=True)
    after = zip(users.tolist(), items.tolist(), strict=True)
    assert list(after) == [(u, i) for u, i in before if keep[i]]


@given(st.integers(0, 30), st.integers(1, 4))
def test_slices_of_popularity_share_out_the_items_that_have_any(seed, bins):
    train = drawn(seed, rate=0.05)
    count = popularity_of(train)
    found = item_slices(train, bins=bins)
    assert torch.equal(sum(w.int() for w in found.values()), torch.ones(ITEMS, dtype=torch.int))
    assert torch.equal(found.get("cold", torch.zeros(ITEMS).bool()), count == 0)
    of = [w for name, w in found.items() if name != "cold"]
    for low, high in pairwise(of):
        assert count[low].max() < count[high].min()


def test_each_slice_of_popularity_has_a_like_share_of_the_interactions():
    # Items 0 to 39 are taken by 40, 39, ... users.
    pairs = [(u, i) for i in range(ITEMS) for u in range(ITEMS - i)]
    train = ItemLists.of(*torch.tensor(pairs).T, ITEMS, ITEMS)
    shares = [popularity_of(train)[w].sum() / len(pairs) for w in item_slices(train).values()]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.05)


def test_items_that_lack_a_modality_are_a_slice():
    present = torch.ones(ITEMS, 3, dtype=torch.bool)
    present[5, 1] = present[6, 2] = False
    found = item_slices(drawn(), present, ["image", "text", "audio"])
    assert "lacks_image" not in found  # no item
    assert found["lacks_text"].nonzero().tolist() == [[5]]
    assert found["lacks_audio"].nonzero().tolist() == [[6]]


def test_users_are_sliced_by_what_they_took():
    sizes = [0, 1, 1, 2, 3, 5, 8]
    pairs = [(u, i) for u, size in enumerate(sizes) for i in range(size)]
    found = user_slices(ItemLists.of(*torch.tensor(pairs).T, len(sizes), ITEMS))
    assert {name: which.nonzero().flatten().tolist() for name, which in found.items()} == {
        "new": [0],
        "activity_1": [1, 2],
        "activity_2": [3, 4],
        "activity_3": [5, 6],
    }


def test_exposure_scores_are_those_of_their_definitions(world):
    users, items, train, _ = world
    top = top_items(users, items, dot, 4, train).items
    top[3, 2:] = -1
    shown = Exposure.of(top[:11], ITEMS) + Exposure.of(top[11:], ITEMS)
    found = shown.scores(train)
    places = [i for row in top.tolist() for i in row if i >= 0]
    taken = train.items.tolist()
    times = [places.count(i) for i in range(ITEMS)]
    popular = [taken.count(i) for i in range(ITEMS)]
    mean = sum(popular[i] for i in places) / len(places)
    pairs = sum(abs(a - b) for a in times for b in times)
    surprise = [-math.log2(max(popular[i], 1) / USERS) for i in places]
    assert shown.lists == USERS
    assert found["coverage"] == pytest.approx(len(set(places)) / ITEMS)
    assert found["gini"] == pytest.approx(pairs / (2 * ITEMS * len(places)))
    assert found["popularity"] == pytest.approx(mean)
    before = sum(popular[i] for i in taken) / len(taken)
    assert found["popularity_lift"] == pytest.approx((mean - before) / before)
    assert found["novelty"] == pytest.approx(sum(surprise) / len(surprise))


def test_similarity_within_lists_is_the_mean_cosine_of_pairs(world, monkeypatch):
    _, items, _, _ = world
    monkeypatch.setattr("mmfuse.recommend.ranking.exposure._BLOCK", 1)
    top = torch.tensor([[3, 8, 1, 20], [5, 6, -1, -1], [7, -1, -1, -1]])
    found = intra_list_similarity(top, items)
    cosine = torch.cosine_similarity(items[:, None].double(), items[None].double(), dim=2)
    for row, value in zip(top.tolist()[:2], found, strict=False):
        pairs = [cosine[i, j].item() for i, j in combinations([i for i in row if i >= 0], 2)]
        assert value.item() == pytest.approx(sum(pairs) / len(pairs))
    assert found[2].isnan()


def test_what_does_not_agree_is_refused():
    lists = drawn()
    with pytest.raises(DataError, match="slice of items has shape"):
        restricted(lists, torch.ones(3).bool())
    with pytest.raises(ConfigError, match="bins is 0"):
        item_slices(lists, bins=0)
    with pytest.raises(DataError, match="present has shape"):
        item_slices(lists, torch.ones(ITEMS, 1).bool(), ["image", "text"])
    with pytest.raises(DataError, match="the exposure of 3"):
        Exposure(torch.ones(3).long(), 1).scores(lists)
