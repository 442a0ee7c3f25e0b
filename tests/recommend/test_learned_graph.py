"""The learned item graph beside LATTICE's equations, written out densely."""

from __future__ import annotations

import pytest
import torch
from graphs_small import graph_data
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.recommend.propagation import GraphData, LearnedItemGraph


def built(**options):
    torch.manual_seed(0)
    graph = LearnedItemGraph(k=3, dim=4, **options)
    graph.build(graph_data())
    return graph.double()


def literal_graph(features, present, k):
    """The k nearest by cosine among the present, from 0 up, normalised by row sums."""
    rows = present.nonzero().squeeze(1)
    cosine = F.normalize(features, dim=1) @ F.normalize(features, dim=1).T
    kept = torch.zeros_like(cosine)
    for i in rows.tolist():
        best = sorted(rows.tolist(), key=lambda j: -cosine[i, j].item())[:k]
        kept[i, best] = 1
    graph = kept * cosine.clamp(min=0)
    scale = graph.sum(1).clamp(min=1e-6).rsqrt()
    return scale[:, None] * graph * scale


def literal(graph, x, c):
    """The blended matrix applied once."""
    data, blend = graph_data(), 0
    present = torch.stack(list(data.present.values()), dim=1)
    scores = torch.stack([graph.parts[m].score for m in data.features]).exp() * present
    share = scores / scores.sum(1, keepdim=True).clamp(min=1e-9)
    for place, (m, rows) in enumerate(data.features.items()):
        rows = torch.where(data.present[m][:, None], rows, 0).double()
        learned = graph.parts[m].project(rows)
        both = c * literal_graph(rows, data.present[m], 3)
        both = both + (1 - c) * literal_graph(learned, data.present[m], 3)
        blend = blend + share[:, place, None] * both
    return blend @ x


def test_the_blend_of_raw_and_learned_graphs():
    graph = built(frozen=0.6, layers=2, residual=True)
    with torch.no_grad():
        graph.parts["image"].score.fill_(0.7)
    x = torch.randn(9, 4).double()
    left_alone, found = graph(torch.zeros(7, 4).double(), x)
    expected = literal(graph, literal(graph, x, 0.6), 0.6)
    assert left_alone is None
    torch.testing.assert_close(found, F.normalize(expected, dim=1) + x, atol=1e-6, rtol=1e-6)


def test_features_and_weights_of_modalities_learn():
    graph = built(residual=False, unit=False)
    x = torch.randn(9, 4).double().requires_grad_()
    graph(x, x)[1].square().sum().backward()
    for part in graph.parts.values():
        assert part.project.weight.grad.abs().sum() > 0
        assert part.score.grad.abs() > 0
    weight = graph.parts["text"].project.weight
    with torch.no_grad():
        step = 1e-6 * torch.randn_like(weight)
        before = graph(x, x)[1].square().sum()
        weight += step
        after = graph(x, x)[1].square().sum()
    torch.testing.assert_close(after - before, (weight.grad * step).sum(), atol=1e-10, rtol=1e-3)


def test_neighbours_are_looked_for_anew_each_epoch():
    graph = built()
    found = graph.parts["image"].found.columns
    with torch.no_grad():
        graph.parts["image"].project.weight.normal_()
    assert torch.equal(graph.parts["image"].found.columns, found)
    graph.start_epoch(1)
    assert not torch.equal(graph.parts["image"].found.columns, found)


def test_what_stands_in_an_absent_row_is_never_read():
    data, x = graph_data(), torch.randn(9, 4)
    torch.manual_seed(0)
    first = LearnedItemGraph(k=3)
    first.build(data)
    data.features["image"][2] = torch.nan
    torch.manual_seed(0)
    second = LearnedItemGraph(k=3)
    second.build(data)
    assert torch.equal(second(x, x)[1], first(x, x)[1])
    assert torch.equal(first(x, x)[1][3], x[3])  # without any modality, no neighbours


def test_a_checkpoint_brings_features_and_graphs():
    made, again, x = built().float(), LearnedItemGraph(k=3, dim=4), torch.randn(9, 4)
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(x, x)[1], made(x, x)[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LearnedItemGraph(k=0), "k 0"),
        (lambda: LearnedItemGraph(frozen=1), "ItemGraph is all frozen"),
        (lambda: LearnedItemGraph().build(GraphData(graph_data().train)), "items have none"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
