"""Ranking metrics agree with their definitions and with torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.retrieval import (
    retrieval_hit_rate,
    retrieval_normalized_dcg,
    retrieval_precision,
    retrieval_recall,
    retrieval_reciprocal_rank,
)

from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend import ItemLists
from mmfuse.recommend.ranking import METRICS, ranking_metrics

ITEMS = 12
LISTS = st.lists(st.integers(0, ITEMS - 1), unique=True, max_size=6)
WANTED = st.sets(st.integers(0, ITEMS - 1), min_size=1)


def literal(ranking: list[int], wanted: set[int], k: int) -> dict[str, float]:
    hits = [item in wanted for item in ranking[:k]]
    best = min(k, len(wanted))
    dcg = sum(1 / math.log2(j + 1) for j, hit in enumerate(hits, start=1) if hit)
    precisions = [sum(hits[:j]) / j for j, hit in enumerate(hits, start=1) if hit]
    return {
        "recall": sum(hits) / len(wanted),
        "ndcg": dcg / sum(1 / math.log2(j + 1) for j in range(1, best + 1)),
        "precision": sum(hits) / k,
        "map": sum(precisions) / best,
        "mrr": 1 / (hits.index(True) + 1) if any(hits) else 0.0,
        "hit_rate": float(any(hits)),
    }


@given(st.lists(st.tuples(LISTS, WANTED), min_size=1, max_size=5))
def test_metrics_are_those_of_their_definition(cases):
    width, ks = 6, (1, 3, 6)
    top = torch.tensor([r + [-1] * (width - len(r)) for r, _ in cases])
    pairs = [(u, i) for u, (_, wanted) in enumerate(cases) for i in wanted]
    users, items = zip(*pairs, strict=True)
    # Lists in reverse order, and a user besides: codes are not positions.
    last = len(cases)
    codes = last - torch.arange(len(cases))
    relevant = ItemLists.of(last - torch.tensor(users), torch.tensor(items), last + 1, ITEMS)
    found = ranking_metrics(top, relevant, codes, ks)
    assert list(found) == [f"{m}_at_{k}" for m in METRICS for k in ks]
    for k in ks:
        for row, (ranking, wanted) in enumerate(cases):
            for name, value in literal(ranking, wanted, k).items():
                assert found[f"{name}_at_{k}"][row].item() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_torchmetrics_agrees_where_it_means_the_same(seed):
    draw = torch.Generator().manual_seed(seed)
    scores, target = torch.rand(30, generator=draw), torch.rand(30, generator=draw) < 0.2
    target[3] = True
    relevant = ItemLists.of(torch.zeros(int(target.sum())).long(), target.nonzero()[:, 0], 1, 30)
    top = scores.argsort(descending=True)[:20].unsqueeze(0)
    found = ranking_metrics(top, relevant, torch.tensor([0]), [5, 20])
    theirs = {
        "recall": retrieval_recall,
        "ndcg": retrieval_normalized_dcg,
        "precision": retrieval_precision,
        "mrr": retrieval_reciprocal_rank,
        "hit_rate": retrieval_hit_rate,
    }
    for k in (5, 20):
        for name, metric in theirs.items():
            wanted = metric(scores, target, top_k=k).item()
            assert found[f"{name}_at_{k}"].item() == pytest.approx(wanted, abs=1e-6)


def test_an_empty_place_is_no_hit_on_another_users_item():
    # The key of (user 1, item -1) is that of (user 0, last item).
    relevant = ItemLists.of(torch.tensor([0, 1]), torch.tensor([ITEMS - 1, 0]), 2, ITEMS)
    found = ranking_metrics(torch.tensor([[-1, -1]]), relevant, torch.tensor([1]), [2])
    assert all(value.item() == 0 for value in found.values())


def test_a_user_without_anything_to_find_has_no_metric():
    relevant = ItemLists.of(torch.tensor([0]), torch.tensor([1]), 2, ITEMS)
    found = ranking_metrics(torch.tensor([[1], [1]]), relevant, torch.tensor([0, 1]), [1])
    assert all(value[0] == 1 and value[1].isnan() for value in found.values())


def test_a_k_beyond_the_lists_is_refused():
    relevant = ItemLists.of(torch.tensor([0]), torch.tensor([1]), 1, ITEMS)
    with pytest.raises(ConfigError, match="k is 5; lists have 2 places"):
        ranking_metrics(torch.tensor([[1, 2]]), relevant, torch.tensor([0]), [1, 5])
    with pytest.raises(DataError, match="1 lists of top items and 2 users"):
        ranking_metrics(torch.tensor([[1, 2]]), relevant, torch.tensor([0, 0]), [1])
