"""Graphs among items and among users beside slow, dense definitions."""

from __future__ import annotations

import math

import pytest
import torch
from graphs_small import dense, full, graph_data, lists
from hypothesis import given
from hypothesis import strategies as st

from mmfuse.errors import ConfigError
from mmfuse.recommend import ItemLists
from mmfuse.recommend.graphs import (
    blended,
    by_item,
    cooccurrence,
    cooccurrence_graph,
    interests,
    most_shared,
    nearest,
    similarity_graph,
)
from mmfuse.recommend.propagation import (
    CoOccurrenceGraph,
    EnhancedItemGraph,
    GraphData,
    ItemGraph,
    UserInterestGraph,
)


def literal_shared(taken, k):
    """Counts by two loops; of equal ones the lower comes first."""
    found = {}
    for a in range(len(taken)):
        numbers = {b: int((taken[a] * taken[b]).sum()) for b in range(len(taken)) if b != a}
        best = sorted((b for b in numbers if numbers[b]), key=lambda b: (-numbers[b], b))[:k]
        found |= {(a, b): numbers[b] for b in best}
    return found


@given(
    st.integers(1, 12), st.integers(1, 8), st.floats(0, 0.9), st.integers(1, 6), st.integers(0, 99)
)
def test_the_most_shared_are_those_of_a_double_loop(users, items, share, k, seed):
    train = lists(users, items, share, seed)
    source, target, number = most_shared(train, k)
    expected = literal_shared(dense(train), k)
    assert list(zip(source.tolist(), target.tolist(), strict=True)) == list(expected)
    assert number.tolist() == list(expected.values())


def test_blocks_change_nothing(monkeypatch):
    train = lists(40, 30, 0.3)
    whole = most_shared(train, 4)
    monkeypatch.setattr(cooccurrence, "_PAIRS", 50)
    assert all(map(torch.equal, most_shared(train, 4), whole))
    monkeypatch.setattr(cooccurrence, "_ROWS", 1)
    assert all(map(torch.equal, most_shared(train, 4), whole))


def test_no_list_has_no_neighbours():
    nobody = torch.zeros(0, dtype=torch.long)
    assert not len(most_shared(ItemLists.of(nobody, nobody, 0, 3), 2)[0])
    assert not len(most_shared(ItemLists.of(nobody, nobody, 3, 3), 2)[0])


@pytest.mark.parametrize("weights", ["softmax", "share"])
def test_shared_numbers_weigh_the_neighbours(weights):
    train = by_item(lists())
    found = full(cooccurrence_graph(train, 3, weights))
    expected, numbers = torch.zeros_like(found), literal_shared(dense(train), 3)
    for (i, j), n in numbers.items():
        others = [m for (a, _), m in numbers.items() if a == i]
        if weights == "softmax":
            expected[i, j] = math.exp(n) / sum(map(math.exp, others))
        else:
            expected[i, j] = n / sum(others)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert not found[-1].any()  # nobody took the last item


def test_interests_are_means_over_what_a_user_took_and_has_the_modality():
    data = graph_data()
    data.features["image"][2] = torch.nan  # absent: never read
    means, has = interests(data.train, data.features, data.present)
    for m, rows in data.features.items():
        for u in range(len(data.train)):
            _, taken = data.train.rows(torch.tensor([u]))
            own = rows[taken][data.present[m][taken]]
            assert has[m][u] == bool(len(own))
            expected = own.mean(0) if len(own) else torch.zeros(rows.shape[1])
            torch.testing.assert_close(means[m][u], expected)


def literal_similarity(features, present, k, weights, more=None):
    """Each modality's graph in full, normalised by row sums, blended over what a row has."""
    count = len(next(iter(features.values())))
    total, blend = torch.zeros(count, 1).double(), torch.zeros(count, count).double()
    for m, weight in weights.items():
        graph = torch.zeros(count, count).double()
        source, target, _ = nearest(features[m], present[m], k)
        graph[source, target] = 1
        graph += 0 if more is None else more
        degree = graph.sum(1, keepdim=True)
        scale = torch.where(degree > 0, degree, 1).rsqrt()
        blend += weight * scale * graph * scale.T
        total += weight * (degree > 0)
    return blend / total.clamp(min=1e-9)


def test_user_interest_graph():
    data, weights = graph_data(), {"image": 0.2, "text": 0.8}
    graph = UserInterestGraph(3, weights, co_weight=0.3, co_k=2)
    graph.build(data)
    means, has = interests(data.train, data.features, data.present)
    expected = 0.7 * literal_similarity(means, has, 3, weights)
    expected += 0.3 * full(cooccurrence_graph(data.train, 2))
    torch.testing.assert_close(full(graph.graph), expected, atol=1e-6, rtol=1e-6)
    assert not full(graph.graph)[-1].any()  # the last user took nothing
    users, items = torch.randn(7, 4), torch.randn(9, 4)
    found, left_alone = graph(users, items)
    assert left_alone is None
    torch.testing.assert_close(found, expected.float() @ users, atol=1e-5, rtol=1e-5)


def test_enhanced_item_graph_joins_behaviour_to_every_modality():
    data, weights = graph_data(), {"image": 0.4, "text": 0.6}
    graph = EnhancedItemGraph(3, weights, strength=0.5, co_k=2)
    graph.build(data)
    taken = dense(data.train).T
    behaviour = torch.zeros(9, 9).double()
    for (i, j), n in literal_shared(taken, 2).items():
        behaviour[i, j] = 0.5 * n / (taken[i].sum() * taken[j].sum()).sqrt()
    expected = literal_similarity(data.features, data.present, 3, weights, behaviour)
    torch.testing.assert_close(full(graph.graph), expected, atol=1e-6, rtol=1e-6)
    assert full(graph.graph)[3].any()  # has no modality, but users
    torch.testing.assert_close(
        full(similarity_graph(data.features, data.present, 3, weights)),
        literal_similarity(data.features, data.present, 3, weights),
        atol=1e-6,
        rtol=1e-6,
    )


def test_an_item_graph_takes_a_share_of_what_is_taken_together():
    data = graph_data()
    graph, alike, together = ItemGraph(3, co_weight=0.4, co_k=2), ItemGraph(3), None
    graph.build(data)
    alike.build(data)
    together = cooccurrence_graph(by_item(data.train), 2)
    expected = blended([(0.6, alike.graph), (0.4, together)])
    torch.testing.assert_close(full(graph.graph), full(expected))
    torch.testing.assert_close(full(expected), 0.6 * full(alike.graph) + 0.4 * full(together))


@pytest.mark.parametrize("of", ["items", "users"])
@pytest.mark.parametrize("unit", [True, False])
def test_cooccurrence_passes_one_side_along(of, unit):
    data = graph_data()
    graph = CoOccurrenceGraph(of, 3, layers=2, residual=True, unit=unit)
    graph.build(data)
    sides = {"users": torch.randn(7, 4), "items": torch.randn(9, 4)}
    found = dict(zip(sides, graph(sides["users"], sides["items"]), strict=True))
    lists_of = data.train if of == "users" else by_item(data.train)
    matrix = full(cooccurrence_graph(lists_of, 3)).float()
    expected = matrix @ matrix @ sides[of]
    if unit:
        expected = expected / expected.norm(dim=1, keepdim=True).clamp(min=1e-12)
    torch.testing.assert_close(found[of], expected + sides[of], atol=1e-5, rtol=1e-5)
    other = "items" if of == "users" else "users"
    assert found[other] is None


@pytest.mark.parametrize("make", [UserInterestGraph, EnhancedItemGraph, ItemGraph])
def test_a_checkpoint_brings_graphs_of_one_side(make):
    users, items = torch.randn(7, 4), torch.randn(9, 4)
    made, again = make(k=3), make(k=3)
    made.build(graph_data())
    again.load_state_dict(made.state_dict())
    for found, expected in zip(again(users, items), made(users, items), strict=True):
        assert (found is None and expected is None) or torch.equal(found, expected)


@pytest.mark.parametrize("make", [ItemGraph, EnhancedItemGraph, UserInterestGraph])
def test_an_item_that_nothing_is_joined_to(make):
    """What a new item gets is what an item without edges gets."""
    users, items = torch.randn(7, 4), torch.randn(9, 4)
    for residual in (True, False):
        graph = make(residual=residual)
        none = {m: torch.zeros_like(p) for m, p in graph_data().present.items()}
        nobody = torch.zeros(0, dtype=torch.long)
        graph.build(GraphData(ItemLists.of(nobody, nobody, 7, 9), graph_data().features, none))
        _, found = graph(users, items)
        assert torch.equal(graph.alone(items), items if found is None else found)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CoOccurrenceGraph("all"), "of 'all'"),
        (lambda: CoOccurrenceGraph("items", weighting="max"), "weighting 'max'"),
        (lambda: CoOccurrenceGraph("items", k=0), "k 0"),
        (lambda: CoOccurrenceGraph("items", layers=0), "layers 0"),
        (lambda: UserInterestGraph(co_weight=1), "CoOccurrenceGraph is"),
        (lambda: ItemGraph(co_k=0), "co_k 0"),
        (lambda: EnhancedItemGraph(strength=0), "strength 0"),
        (lambda: UserInterestGraph(weights={"sound": 1.0}).build(graph_data()), "sound"),
        (lambda: UserInterestGraph().build(GraphData(graph_data().train)), "items have none"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
