"""Ideal points and prototypes: the sign, the forms, and users known after a few pairs."""

from __future__ import annotations

import pytest
import torch
from planted import planted, planted_model
from torch.nn import functional as F

from mmfuse.errors import DataError
from mmfuse.recommend.ideal_point import IdealPointScore
from mmfuse.recommend.items import ItemVectors
from mmfuse.recommend.objectives import HingeLoss
from mmfuse.recommend.prototypes import PrototypeUsers
from mmfuse.recommend.scores import DotScore

FORMS = [IdealPointScore("distance"), IdealPointScore("angle"), DotScore()]


def vectors(users=3, items=5, width=4):
    draw = torch.Generator().manual_seed(0)
    return torch.randn(users, width, generator=draw), torch.randn(items, width, generator=draw)


@pytest.mark.parametrize("score", FORMS, ids=str)
def test_pairs_are_entries_of_the_matrix(score):
    users, items = vectors()
    own = items.expand(3, -1, -1)
    torch.testing.assert_close(score.pairs(users, own), score.matrix(users, items))


@pytest.mark.parametrize("form", ["distance", "angle"])
def test_the_nearer_the_better(form):
    point = torch.tensor([[1.0, 1.0]])
    items = torch.tensor([[[1.1, 1.0], [4.0, 0.5], [-1.0, -3.0]]])
    near, further, furthest = IdealPointScore(form).pairs(point, items)[0].tolist()
    assert near > further > furthest


def test_a_preferred_item_lowers_the_loss_when_it_comes_nearer():
    """The paper's d = |x_l - a| - |x_r - a| is below zero where the left is preferred."""
    point = torch.zeros(1, 2)
    left = torch.tensor([[0.5, 0.0]], requires_grad=True)
    right = torch.tensor([[2.0, 0.0]])
    items = torch.stack([left, right], dim=1)
    scores = IdealPointScore().pairs(point, items)
    distance = left.norm() - right.norm()
    assert (scores[:, 0] - scores[:, 1]).item() == pytest.approx(-distance.item())
    assert distance.item() < 0
    loss = F.relu(3 - (scores[:, 0] - scores[:, 1])).sum()
    (slope,) = torch.autograd.grad(loss, left)
    assert slope[0, 0] > 0  # lower loss by moving towards the point


def test_a_difference_changes_its_sign_with_the_order():
    users, items = vectors()
    for score in FORMS:
        s = score.pairs(users, items[:2].expand(3, -1, -1))
        t = score.pairs(users, items[:2].flip(0).expand(3, -1, -1))
        torch.testing.assert_close(s[:, 0] - s[:, 1], t[:, 1] - t[:, 0])


def test_the_angle_ignores_length_and_its_scale_learns():
    users, items = vectors()
    score = IdealPointScore("angle")
    torch.testing.assert_close(score.matrix(users * 3, items), score.matrix(users, items * 7))
    assert score.matrix(users, users).diagonal().tolist() == pytest.approx([1 / 0.07] * 3)
    assert [p.requires_grad for p in score.parameters()] == [True]


def test_a_user_at_an_item_has_a_gradient():
    user = torch.zeros(1, 2, requires_grad=True)
    IdealPointScore().pairs(user, torch.zeros(1, 1, 2)).sum().backward()
    assert torch.isfinite(user.grad).all()


def test_with_one_prototype_all_users_are_one():
    model = planted_model(planted(content=False), ItemVectors(5), PrototypeUsers(1))
    users = model.represent().users
    torch.testing.assert_close(users, users[:1].expand_as(users))


def test_users_lie_among_the_prototypes():
    model = planted_model(planted(content=False), ItemVectors(5), PrototypeUsers(3))
    shares = model.user.weights.weight.softmax(dim=1)
    expected = sum(shares[:, k, None] * model.user.prototypes[k] for k in range(3))
    torch.testing.assert_close(model.user(None, None), expected)


@pytest.mark.parametrize("form", ["distance", "angle"])
def test_a_new_user_is_found_by_a_few_pairs_and_nothing_else_moves(form):
    score = IdealPointScore(form)
    model = planted_model(planted(content=False), ItemVectors(2), PrototypeUsers(2), score=score)
    with torch.no_grad():
        model.user.prototypes.copy_(torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    better = torch.tensor([[0.1, 1.9], [0.3, 2.2], [-0.1, 1.0]])
    worse = torch.tensor([[2.0, 0.2], [1.5, 0.1], [1.0, -0.3]])
    weights = model.user.adapted(score, better, worse)
    assert weights.softmax(0)[1] > 0.75
    scores = score.pairs(model.user.at(weights).expand(3, -1), torch.stack([better, worse], dim=1))
    assert (scores[:, 0] > scores[:, 1]).all()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("sides", [(0, 0), (2, 3)])
def test_pairs_without_a_partner_are_refused(sides):
    model = planted_model(planted(content=False), ItemVectors(4), PrototypeUsers(2))
    better, worse = (torch.zeros(n, 4) for n in sides)
    with pytest.raises(DataError, match="one shape"):
        model.user.adapted(DotScore(), better, worse)


def test_prototypes_learn_the_planted_tastes():
    data = planted(users=60, each=8, loyalty=0.98, content=False, batch_size=512)
    model = planted_model(data, ItemVectors(8), PrototypeUsers(3), score=IdealPointScore())
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=0.05), HingeLoss()
    loader = data.train_dataloader()
    for epoch in range(60):
        loader.order.set_epoch(epoch)
        for batch in loader:
            optimizer.zero_grad()
            loss(model, batch, model(batch))["hinge"].backward()
            optimizer.step()
    kind = model.user.weights.weight.argmax(dim=1)
    tastes = torch.arange(60) % 3
    common = [torch.bincount(kind[tastes == taste]).max() for taste in range(3)]
    assert sum(common) >= 45  # a third of 60 by chance
