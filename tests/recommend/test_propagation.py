"""Propagation beside its equations, on dense matrices in float64."""

from __future__ import annotations

import pytest
import torch
from graphs_small import dense, graph_data

from mmfuse.errors import ConfigError
from mmfuse.recommend.propagation import Chain, GraphData, ItemGraph, LightGCN, SumOf


def start():
    draw = torch.Generator().manual_seed(5)
    return [torch.randn(n, 4, generator=draw, dtype=torch.float64) for n in (7, 9)]


def built(propagation, data=None):
    propagation.build(data or graph_data())
    return propagation.double().eval()


def literal_lightgcn(taken, users, items, layers):
    """The whole adjacency of users and items, normalised and applied again and again."""
    adjacency = torch.zeros(16, 16, dtype=torch.float64)
    adjacency[:7, 7:], adjacency[7:, :7] = taken, taken.T
    degree = adjacency.sum(1)
    scale = torch.where(degree > 0, degree.clamp(min=1).rsqrt(), 0)
    adjacency = scale[:, None] * adjacency * scale
    x = torch.cat([users, items])
    layer, total = x, x
    for _ in range(layers):
        layer = adjacency @ layer
        total = total + layer
    mean = total / (layers + 1)
    return mean[:7], mean[7:]


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("residual", ["none", "item", "both"])
def test_lightgcn(layers, residual):
    users, items = start()
    found = built(LightGCN(layers, residual))(users, items)
    expected_users, expected_items = literal_lightgcn(
        dense(graph_data().train), users, items, layers
    )
    expected_users += users if residual == "both" else 0
    expected_items += items if residual != "none" else 0
    torch.testing.assert_close(found[0], expected_users, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found[1], expected_items, atol=1e-6, rtol=1e-6)


def test_pruning_is_drawn_anew_each_epoch_and_evaluation_sees_everything():
    users, items = start()
    pruned, whole = built(LightGCN(1, keep=0.5)), built(LightGCN(1))
    outputs = []
    for epoch in (0, 1, 0):
        pruned.train().start_epoch(epoch)
        outputs.append(pruned(users, items)[0])
    assert torch.equal(outputs[0], outputs[2])  # a resumed run draws what the first one drew
    assert not torch.equal(outputs[0], outputs[1])
    assert torch.equal(pruned.eval()(users, items)[0], whole(users, items)[0])
    assert not torch.equal(outputs[0], whole(users, items)[0])


@pytest.mark.parametrize("residual", [True, False])
def test_item_graph(residual):
    users, items = start()
    graph = built(ItemGraph(k=3, layers=2, residual=residual))
    matrix = torch.zeros(9, 9, dtype=torch.float64)
    rows, columns, values = graph.graph.entries()
    matrix[rows, columns] = values
    left_alone, found = graph(users, items)
    assert left_alone is None
    torch.testing.assert_close(found, matrix @ matrix @ items + (items if residual else 0))


def test_a_sum_adds_up_and_a_chain_passes_on():
    users, items = start()
    gcn, graph = built(LightGCN(1)), built(ItemGraph(k=3))
    y_u, y_i = gcn(users, items)
    summed = built(SumOf([LightGCN(1), ItemGraph(k=3)]))(users, items)
    assert torch.equal(summed[0], y_u)
    torch.testing.assert_close(summed[1], y_i + graph(users, items)[1])
    chained = built(Chain([LightGCN(1), ItemGraph(k=3)]))(users, items)
    assert torch.equal(chained[0], y_u)
    torch.testing.assert_close(chained[1], graph(y_u, y_i)[1])
    alone = built(SumOf([ItemGraph(k=3)]))(users, items)
    assert alone[0] is None


@pytest.mark.parametrize("make", [lambda: LightGCN(2), lambda: SumOf([ItemGraph(k=3)])])
def test_some_rows_are_those_of_all(make):
    """Of a side that is left alone they are the start."""
    propagation, (users, items) = built(make()), start()
    rows = torch.tensor([3, 3, 0]), torch.tensor([[1], [8]])
    found, every = propagation.at(users, items, *rows), propagation(users, items)
    for x, y, z, r in zip(found, every, (users, items), rows, strict=True):
        assert torch.equal(x, (z if y is None else y)[r])


def test_a_checkpoint_brings_the_graphs():
    users, items = (x.float() for x in start())
    made = Chain([LightGCN(2, keep=0.5), SumOf([LightGCN(1), ItemGraph(k=2)])])
    made.build(graph_data())
    again = Chain([LightGCN(2, keep=0.5), SumOf([LightGCN(1), ItemGraph(k=2)])])
    again.load_state_dict(made.state_dict())
    for found, expected in zip(again.eval()(users, items), made.eval()(users, items), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LightGCN(0), "layers 0"),
        (lambda: LightGCN(keep=0), "keep 0"),
        (lambda: ItemGraph(k=0), "k 0"),
        (lambda: ItemGraph(weights={"image": -1.0}), "weights"),
        (lambda: Chain([]), "Chain has no parts"),
        (lambda: SumOf([]), "SumOf has no parts"),
        (lambda: ItemGraph(weights={"sound": 1.0}).build(graph_data()), "sound"),
        (lambda: ItemGraph().build(GraphData(graph_data().train)), "items have none"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
