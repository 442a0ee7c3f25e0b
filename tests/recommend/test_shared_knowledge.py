"""SharedKnowledge beside its equations, one user and one item at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from graphs_small import graph_data
from recommenders_small import small_model
from torch.nn.functional import prelu

from mmfuse.errors import ConfigError
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.propagation import Chain, LightGCN, SharedKnowledge


def literal(transform, row, dim, rank):
    e, content = row[:dim], row[dim:]
    h = transform.compress(content)
    p = transform.first(h).reshape(dim, rank)
    p = p.exp() / p.exp().sum(dim=0)
    q = transform.second(h).reshape(rank, dim)
    q = q.exp() / q.exp().sum(dim=0)
    parts = [*content.split(dim), e @ p @ q]
    acts = [act.weight for act in transform.acts]
    return torch.cat([prelu(m, w) + e for m, w in zip(parts, acts, strict=True)])


def test_the_equations():
    propagation = SharedKnowledge(dim=4, modalities=2, rank=3).double()
    users, items = torch.randn(5, 12).double(), torch.randn(6, 12).double()
    found = propagation(users, items)
    for side, x, y in zip(("user", "item"), (users, items), found, strict=True):
        expected = [literal(getattr(propagation, side), row, 4, 3) for row in x]
        torch.testing.assert_close(y, torch.stack(expected))
    assert torch.equal(propagation.alone(items), found[1])


def test_the_transform_leaves_the_modalities_alone_and_learns_itself():
    propagation = SharedKnowledge(dim=4, modalities=1, rank=2)
    items = torch.randn(6, 8, requires_grad=True)
    shared = propagation.alone(items)[:, 4:] - items[:, :4]  # PReLU(shared)
    shared.square().sum().backward()
    assert not items.grad[:, 4:].any()
    assert items.grad[:, :4].any()
    assert propagation.item.compress.weight.grad.any()


def test_wrong_widths_are_refused():
    with pytest.raises(ConfigError, match="rank 0"):
        SharedKnowledge(rank=0)
    with pytest.raises(ConfigError, match="width 8; expected an id and 2 modalities of width 4"):
        SharedKnowledge(dim=4, modalities=2).alone(torch.zeros(3, 8))


@pytest.mark.parametrize("width", [None, 4, 10])
def test_vectors_that_are_no_id_and_modalities_are_refused_when_built(width):
    with pytest.raises(ConfigError, match=f"width {width}; expected an id of width 4"):
        SharedKnowledge(dim=4).build(replace(graph_data(), width=width))


def test_it_takes_as_many_modalities_as_the_vectors_hold():
    model = small_model("concat", backbone=SharedKnowledge(dim=4), dim=4)
    assert model.backbone.modalities == 1
    assert model.represent().items.shape == (9, 8)


@pytest.mark.parametrize("modalities", [None, 1])
def test_a_checkpoint_brings_them(modalities):
    """One that was told their number, as older ones were, too."""
    model = small_model("concat", backbone=SharedKnowledge(4, modalities), dim=4)
    twin = RecommendationModel.rebuild(model.describe())
    twin.load_state_dict(model.state_dict())
    twin = twin.double()
    x = torch.randn(3, 8).double()
    torch.testing.assert_close(
        twin.backbone.alone(x), model.backbone.alone(x), rtol=1e-6, atol=1e-6
    )


def test_some_rows_alone():
    """Repeated ones, too, and their gradients."""
    chain = Chain([LightGCN(2), SharedKnowledge(4, 1)])
    chain.build(graph_data())
    chain = chain.double()
    starts = [torch.randn(n, 8).double().requires_grad_() for n in (7, 9)]
    rows = torch.tensor([3, 0, 3]), torch.tensor([[1, 8], [2, 1]])
    weights = [torch.randn(*r.shape, 8).double() for r in rows]
    found, every = chain.at(*starts, *rows), chain(*starts)
    expected = [y[r] for y, r in zip(every, rows, strict=True)]
    slopes = []
    for made in (found, expected):
        loss = sum((m * w).sum() for m, w in zip(made, weights, strict=True))
        slopes.append(torch.autograd.grad(loss, [*starts, *chain.parameters()]))
    for a, b in zip([*found, *slopes[0]], [*expected, *slopes[1]], strict=True):
        torch.testing.assert_close(a, b)
