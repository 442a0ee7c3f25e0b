"""Retrieval scores: against literal rankings, sklearn and torchmetrics; ties, labels, mistakes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.functional.retrieval import retrieval_hit_rate, retrieval_reciprocal_rank

from mmfuse.errors import ConfigError, DataError
from mmfuse.retrieval import RetrievalScores, retrieval_scores


def drawn(queries: int = 23, items: int = 31, width: int = 6, seed: int = 0) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    return (
        torch.randn(queries, width, generator=draw),
        torch.randn(items, width, generator=draw),
    )


def cosines(queries: Tensor, items: Tensor) -> Tensor:
    return F.normalize(queries.double(), dim=1) @ F.normalize(items.double(), dim=1).T


def over_all_orders(similarity: Tensor, relevant: Tensor, ks: tuple[int, ...]) -> dict[str, float]:
    """Every order of the items that the similarities allow, literally; the mean of the scores."""
    items = range(len(similarity))
    orders = [
        o
        for o in itertools.permutations(items)
        if all(similarity[a] >= similarity[b] - 1e-9 for a, b in itertools.pairwise(o))
    ]
    found: dict[str, list[float]] = {}
    for order in orders:
        hits = relevant[list(order)].tolist()
        places = [i + 1 for i, hit in enumerate(hits) if hit]
        for k in ks:
            found.setdefault(f"r_at_{k}", []).append(float(places[0] <= k))
        found.setdefault("mean_rank", []).append(places[0])
        precision = [(n + 1) / place for n, place in enumerate(places)]
        found.setdefault("map", []).append(float(np.mean(precision)))
    return {name: float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize("block", [1, 7, 2048])
def test_pairs_agree_with_torchmetrics_whatever_the_block(block: int) -> None:
    queries, items = drawn()
    truth = torch.randint(0, 31, (23,), generator=torch.Generator().manual_seed(1))
    scores = retrieval_scores(queries, items, truth=truth, ks=(1, 3, 31), block=block)
    hits, reciprocal = {1: [], 3: [], 31: []}, []
    # torchmetrics counts no item of negative score as relevant.
    for row, own in zip(cosines(queries, items) + 2, truth, strict=True):
        target = torch.zeros(31, dtype=torch.bool)
        target[own] = True
        reciprocal.append(retrieval_reciprocal_rank(row, target).item())
        for k, found in hits.items():
            found.append(retrieval_hit_rate(row, target, top_k=k).item())
    assert scores.recall == pytest.approx({k: np.mean(found) for k, found in hits.items()})
    assert scores.mean_average_precision == pytest.approx(np.mean(reciprocal))
    ranks = 1 + (cosines(queries, items) > cosines(queries, items).gather(1, truth[:, None])).sum(1)
    assert scores.median_rank == np.median(ranks)
    assert scores.mean_rank == pytest.approx(ranks.double().mean().item())


@pytest.mark.parametrize("block", [1, 7, 2048])
def test_labels_agree_with_sklearn_whatever_the_block(block: int) -> None:
    queries, items = drawn()
    draw = torch.Generator().manual_seed(2)
    of_queries = torch.randint(0, 4, (23,), generator=draw)
    of_items = torch.randint(0, 4, (31,), generator=draw)
    scores = retrieval_scores(
        queries, items, query_labels=of_queries, item_labels=of_items, ks=(1, 5), block=block
    )
    near = cosines(queries, items)
    relevant = of_queries[:, None] == of_items
    expected = [average_precision_score(r, s) for r, s in zip(relevant, near, strict=True)]
    assert scores.mean_average_precision == pytest.approx(np.mean(expected))
    hits = [r[s.topk(5).indices].any().item() for r, s in zip(relevant, near, strict=True)]
    assert scores.recall[5] == pytest.approx(np.mean(hits))
    first = [(s > s[r].max()).sum().item() + 1 for r, s in zip(relevant, near, strict=True)]
    assert scores.median_rank == np.median(first)


@pytest.mark.parametrize("copies", [[0, 0, 1, 2, 1, 3], [0, 0, 0, 0, 0, 0]])
def test_ties_count_as_the_mean_over_all_orders(copies: list[int]) -> None:
    queries, points = drawn(5, 4)
    items, labels = points[copies], torch.tensor([0, 1, 1, 0, 1, 1])
    wanted = torch.tensor([0, 1, 0, 1, 1])
    by_label = retrieval_scores(
        queries, items, query_labels=wanted, item_labels=labels, ks=(1, 2, 5)
    )
    paired = retrieval_scores(queries, items, truth=torch.arange(5), ks=(1, 2, 5))
    near = cosines(queries, items)
    for scores, relevant in (
        (by_label, wanted[:, None] == labels),
        (paired, torch.arange(5)[:, None] == torch.arange(6)),
    ):
        each = [over_all_orders(s, r, (1, 2, 5)) for s, r in zip(near, relevant, strict=True)]
        expected = {name: np.mean([e[name] for e in each]) for name in each[0]}
        found = scores.named()
        assert {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("noise", [0.0, 1e-8])
@pytest.mark.parametrize("vector", [torch.ones(6), torch.zeros(6)])
def test_a_collapsed_embedding_scores_chance(noise: float, vector: Tensor) -> None:
    draw = torch.Generator().manual_seed(3)
    items = vector + noise * torch.randn(50, 6, generator=draw) * vector
    labels = torch.arange(50) % 5
    for scores in (
        retrieval_scores(items, items, block=16),
        retrieval_scores(items, items, query_labels=labels, item_labels=labels, block=16),
    ):
        chance = dict(scores.chance)
        assert scores.mean_average_precision == pytest.approx(chance.pop(None))
        assert scores.recall == pytest.approx(chance)
    assert retrieval_scores(items, items).median_rank == 25.5
    assert retrieval_scores(items, items).recall[5] == pytest.approx(0.1)


def test_opposite_and_equal_vectors_of_neighbouring_queries_keep_apart() -> None:
    queries, items = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])
    labels = torch.zeros(2, dtype=torch.long)
    scores = retrieval_scores(queries, items, query_labels=labels, item_labels=labels[:1], ks=[1])
    assert (scores.recall[1], scores.mean_average_precision) == pytest.approx((1, 1))


def test_chance_is_what_random_vectors_score() -> None:
    queries, items = drawn(4000, 200, 8)
    labels = torch.arange(200) % 7
    scores = retrieval_scores(
        queries, items, query_labels=torch.arange(4000) % 7, item_labels=labels
    )
    assert scores.mean_average_precision == pytest.approx(scores.chance[None], abs=0.01)
    assert scores.recall[5] == pytest.approx(scores.chance[5], abs=0.03)


def test_a_perfect_embedding_is_perfect_and_length_does_not_matter() -> None:
    items = torch.eye(12) * torch.logspace(-30, 30, 12)[:, None]
    scores = retrieval_scores(torch.eye(12), items)
    assert scores.named() == pytest.approx(
        {"r_at_1": 1, "r_at_5": 1, "r_at_10": 1, "median_rank": 1, "mean_rank": 1, "map": 1}
    )


def test_rows_of_unknown_label_do_not_count() -> None:
    queries, items = drawn(6, 8)
    of_queries, of_items = (
        torch.tensor([0, 1, -1, 2, 0, 1]),
        torch.tensor([0, 1, 1, 0, -1, 1, 0, 0]),
    )
    scores = retrieval_scores(queries, items, query_labels=of_queries, item_labels=of_items)
    kept, there = torch.tensor([0, 1, 4, 5]), of_items >= 0
    alone = retrieval_scores(
        queries[kept], items[there], query_labels=of_queries[kept], item_labels=of_items[there]
    )
    assert scores == alone
    assert (scores.queries, scores.items) == (4, 7)


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation makes."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        made = result if isinstance(result, tuple | list) else [result]
        self.size = max([self.size, *(t.numel() for t in made if isinstance(t, Tensor))])
        return result


def test_similarities_are_never_whole_in_memory() -> None:
    vectors, labels = torch.randn(1500, 8), torch.arange(1500) % 10
    with Largest() as largest:
        retrieval_scores(vectors, vectors, block=100)
        retrieval_scores(vectors, vectors, query_labels=labels, item_labels=labels, block=100)
    assert largest.size == len(vectors) * 8


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ks": ()}, ConfigError, "expected whole numbers from 1"),
        ({"ks": (0, 1)}, ConfigError, "expected whole numbers from 1"),
        ({"block": 0}, ConfigError, "expected whole numbers from 1"),
        ({"query_labels": torch.zeros(4).long()}, ConfigError, "of one side"),
        ({"truth": torch.tensor([0, 1, 2, 5])}, DataError, "from 0 to 5"),
        ({"truth": torch.tensor([0, 1, 2])}, DataError, r"has the shape \(3,\)"),
        ({"truth": torch.ones(4)}, DataError, "float32"),
        ({"items": torch.ones(3, 2)}, DataError, "4 queries and 3 items"),
        ({"items": torch.ones(4, 3)}, DataError, "width 2, items 3"),
        ({"items": torch.ones(0, 2)}, DataError, "at least one"),
        ({"items": torch.ones(4)}, DataError, r"shape \(4,\)"),
        ({"items": torch.tensor([[1.0, 1], [1, torch.nan]])}, DataError, "Row 1 of the items"),
        (
            {"query_labels": torch.zeros(4).long(), "item_labels": torch.ones(4).long()},
            DataError,
            "nothing is relevant",
        ),
        (
            {"query_labels": torch.zeros(3).long(), "item_labels": torch.ones(4).long()},
            DataError,
            "query_labels have the shape",
        ),
        (
            {
                "truth": torch.arange(4),
                "query_labels": torch.zeros(4).long(),
                "item_labels": torch.zeros(4).long(),
            },
            ConfigError,
            "not both",
        ),
    ],
)
def test_a_mistake_is_told(options: dict, error: type[Exception], message: str) -> None:
    given = {"queries": torch.ones(4, 2), "items": torch.ones(4, 2)} | options
    with pytest.raises(error, match=message):
        retrieval_scores(given.pop("queries"), given.pop("items"), **given)


def test_half_precision_is_read() -> None:
    queries, items = drawn(20, 20)
    scores: RetrievalScores = retrieval_scores(queries.half(), items.half())
    assert scores.recall == retrieval_scores(queries.half().float(), items.half().float()).recall
