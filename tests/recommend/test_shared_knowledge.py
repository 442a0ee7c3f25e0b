"""SharedKnowledge beside its equations, one user and one item at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import prelu

from mmfuse.errors import ConfigError
from mmfuse.recommend.propagation import SharedKnowledge


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
        SharedKnowledge(dim=4).alone(torch.zeros(3, 8))
