"""info_nce against the plain square matrix in float64, and what drops out of it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mmfuse.errors import ConfigError, DataError
from mmfuse.objectives.contrastive import SimilarTargets, SparseTargets, info_nce, unit

NAN = float("nan")


def sides(rows=13, width=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    raw = torch.randn(2, rows, width, generator=draw, dtype=torch.float64)
    return (
        F.normalize(raw, dim=-1)[0].requires_grad_(),
        F.normalize(raw, dim=-1)[1].requires_grad_(),
    )


def plain(x, y, scale, p, q, directions=(1, 1), allowed=None):
    """The loss as its equation says, from the whole matrix of scores."""
    scores = scale * x @ y.T
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    n, (a, b) = len(x), directions
    forth = -(p * scores.log_softmax(1).masked_fill(p == 0, 0)).sum() / n
    back = -(q * scores.T.log_softmax(1).masked_fill(q == 0, 0)).sum() / n
    return (a * forth + b * back) / (a + b)


def gradients(loss, *inputs):
    return torch.autograd.grad(loss, inputs, retain_graph=True)


def mixed(rows):
    draw = torch.Generator().manual_seed(3)
    columns = torch.stack([torch.arange(rows), torch.randperm(rows, generator=draw)], dim=1)
    columns[4, 1] = 4  # a row mixed with itself
    share = torch.rand(rows, 1, generator=draw, dtype=torch.float64)
    weights = torch.cat([share, 1 - share], dim=1)
    p = torch.zeros(rows, rows, dtype=torch.float64)
    for i in range(rows):
        for k in range(2):
            p[i, columns[i, k]] += weights[i, k]
    return columns, weights, p


@pytest.mark.parametrize("chunk", [None, 1, 4, 13, 50])
@pytest.mark.parametrize("directions", [(1, 1), (3, 1), (1, 0), (0, 2.0)])
def test_the_loss_and_its_gradients_are_those_of_the_plain_one(chunk, directions):
    x, y = sides()
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    eye = torch.eye(13, dtype=torch.float64)
    expected = plain(x, y, scale, eye, eye, directions)
    found = info_nce(x, y, scale, directions=directions, chunk=chunk)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    for ours, theirs in zip(
        gradients(found, x, y, scale), gradients(expected, x, y, scale), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("normalised", [True, False])
def test_sparse_targets_are_the_square_matrix_of_their_weights(chunk, normalised):
    x, y = sides()
    columns, weights, p = mixed(13)
    q = p.T / p.T.sum(1, keepdim=True).clamp(min=1e-300) if normalised else p.T
    expected = plain(x, y, 7.0, p, q)
    found = info_nce(x, y, 7.0, targets=SparseTargets(columns, weights, normalised), chunk=chunk)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(gradients(found, x, y), gradients(expected, x, y), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("two", [False, True])
def test_similar_targets_are_the_softmax_of_the_similarities(chunk, two):
    x, y = sides()
    tau = torch.tensor(8.0, dtype=torch.float64, requires_grad=True)
    p = (tau * y @ y.T).softmax(1)
    q = (tau * x @ x.T).softmax(1) if two else p
    expected = plain(x, y, 7.0, p, q)
    targets = SimilarTargets(y, x if two else None, tau)
    found = info_nce(x, y, 7.0, targets=targets, chunk=chunk)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        gradients(found, x, y, tau), gradients(expected, x, y, tau), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("kind", ["partners", "sparse", "similar"])
def test_rows_of_other_groups_are_no_negatives(chunk, kind):
    x, y = sides()
    group = torch.arange(13) % 3
    allowed = group == group.unsqueeze(1)
    eye = torch.eye(13, dtype=torch.float64)
    columns, weights, p = mixed(13)
    p = p * allowed
    if kind == "partners":
        targets, p, q = None, eye, eye
    elif kind == "sparse":
        targets, q = SparseTargets(columns, weights, normalised=False), p.T
    else:
        targets = SimilarTargets(y, scale=8.0)
        p = q = (8 * y @ y.T).masked_fill(~allowed, -torch.inf).softmax(1)
    expected = plain(x, y, 7.0, p, q, allowed=allowed)
    found = info_nce(x, y, 7.0, group=group, targets=targets, chunk=chunk)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(gradients(found, x, y), gradients(expected, x, y), strict=True):
        torch.testing.assert_close(ours, theirs)
    (to_y,) = gradients(found, y)
    (x_alone,) = gradients(info_nce(x[group == 0], y[group == 0], 7.0, chunk=chunk), y)
    if kind == "partners":  # a group is a batch of its own
        torch.testing.assert_close(to_y[group == 0] * 13, x_alone[group == 0] * 5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 4))
def test_the_order_of_rows_means_nothing(seed, rows, chunk):
    x, y = sides(rows, seed=seed)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    group = torch.arange(rows) % 2
    columns, weights, _ = mixed(max(rows, 5))
    columns, weights = columns[:rows].clamp(max=rows - 1), weights[:rows]
    place = torch.empty_like(order).scatter_(0, order, torch.arange(rows))
    for targets, moved in (
        (None, None),
        (SparseTargets(columns, weights), SparseTargets(place[columns[order]], weights[order])),
        (SimilarTargets(y), SimilarTargets(y[order])),
    ):
        one = info_nce(x, y, 5.0, group=group, targets=targets, chunk=chunk)
        other = info_nce(x[order], y[order], 5.0, group=group[order], targets=moved)
        torch.testing.assert_close(one, other)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=9), st.integers(0, 10_000))
def test_a_row_that_does_not_take_part_might_as_well_not_be_there(valid, seed):
    valid = torch.tensor(valid)
    x, y = sides(len(valid), seed=seed)
    group = torch.arange(len(valid)) % 2
    spoilt_x, spoilt_y = (
        v.detach().masked_fill(~valid.unsqueeze(1), NAN).requires_grad_() for v in (x, y)
    )
    for similar in (False, True):
        found = info_nce(
            spoilt_x,
            spoilt_y,
            5.0,
            valid=valid,
            group=group,
            targets=SimilarTargets(spoilt_y) if similar else None,
            chunk=2,
        )
        kept = (x[valid], y[valid])
        expected = info_nce(
            *kept, 5.0, group=group[valid], targets=SimilarTargets(kept[1]) if similar else None
        )
        torch.testing.assert_close(found, expected)
        for ours, theirs in zip(
            gradients(found, spoilt_x, spoilt_y), gradients(expected, x, y), strict=True
        ):
            torch.testing.assert_close(ours, theirs)


def test_a_target_that_does_not_take_part_counts_for_nothing():
    x, y = sides(3)
    columns = torch.tensor([[0, 2], [1, 0], [2, 1]])
    weights = torch.full((3, 2), 0.5)
    valid = torch.tensor([True, True, False])
    found = info_nce(x, y, 5.0, valid=valid, targets=SparseTargets(columns, weights, False))
    p = torch.tensor([[0.5, 0.0], [0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(found, plain(x[:2], y[:2], 5.0, p, p.T))


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_rows_cost_nothing_and_teach_nothing(rows):
    x, y = sides(3)
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    for targets in (None, SimilarTargets(y), SparseTargets(*mixed(5)[:2])):
        if isinstance(targets, SparseTargets):
            x, y = sides(5)
        loss = info_nce(x, y, scale, valid=torch.arange(len(x)) < rows, targets=targets)
        assert loss.item() == 0
        assert not any(g.any() for g in gradients(loss, x, y, scale))


def test_rows_that_are_all_alike_are_told_apart_by_chance():
    x = F.normalize(torch.ones(8, 4), dim=1).requires_grad_()
    loss = info_nce(x, x, 100.0)
    assert loss.item() == pytest.approx(math.log(8), rel=1e-5)
    loss.backward()
    assert x.grad.isfinite().all()


def test_a_row_of_nan_that_takes_part_shows_in_the_loss():
    x, y = sides()
    with torch.no_grad():
        x[3] = NAN
    assert info_nce(x, y, 5.0, chunk=4).isnan()


def test_vectors_of_length_zero_have_finite_gradients():
    raw = torch.randn(6, 4)
    raw[2] = 0
    raw.requires_grad_()
    info_nce(unit(raw), unit(torch.randn(6, 4)), 100.0).backward()
    assert raw.grad.isfinite().all()
    assert raw.grad.abs().max() < 1e3


def test_half_precision_is_widened():
    x, y = (v.detach().to(torch.bfloat16) for v in sides(40, 16))
    found = info_nce(x, y, 100.0)
    assert found.dtype == torch.float32
    assert found == info_nce(x.float(), y.float(), 100.0)


def test_autocast_leaves_the_scores_in_full_precision():
    x, y = (v.detach().float() for v in sides(40, 16))
    expected = info_nce(x, y, 100.0, targets=SimilarTargets(y))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = info_nce(x, y, 100.0, targets=SimilarTargets(y))
    assert found == expected


def test_the_gradient_is_right_numerically():
    x, y = sides(6, 3)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    columns, weights, _ = mixed(6)

    def loss(x, y, scale):
        return (
            info_nce(x, y, scale, group=torch.tensor([0, 0, 1, 1, 1, 0]), chunk=2)
            + info_nce(x, y, scale, targets=SparseTargets(columns, weights), chunk=4)
            + info_nce(x, y, scale, targets=SimilarTargets(y, x, scale), chunk=4)
        )

    assert torch.autograd.gradcheck(loss, (x, y, scale))


def test_sides_of_unequal_shape_are_refused():
    with pytest.raises(DataError, match=r"found \(3, 4\) and \(3, 5\)"):
        info_nce(torch.zeros(3, 4), torch.zeros(3, 5), 1.0)


@pytest.mark.parametrize("directions", [(0, 0), (-1, 1), (1,), (NAN, 1)])
def test_directions_without_a_weight_are_refused(directions):
    with pytest.raises(ConfigError, match="expected two weights"):
        info_nce(torch.zeros(3, 4), torch.zeros(3, 4), 1.0, directions=directions)
