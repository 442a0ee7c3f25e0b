"""sigmoid_loss, multi_positive and pairs_of against their equations."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.objectives.contrastive import info_nce, multi_positive, pairs_of, sigmoid_loss

CHUNKS = pytest.mark.parametrize("chunk", [None, 1, 4])


def sides(rows=11, width=5):
    draw = torch.Generator().manual_seed(0)
    raw = torch.randn(2, rows, width, generator=draw, dtype=torch.float64)
    x, y = F.normalize(raw, dim=-1)
    return x.clone().requires_grad_(), y.clone().requires_grad_()


def assert_same(found, expected, *inputs):
    torch.testing.assert_close(found, expected)
    ours, theirs = (torch.autograd.grad(v, inputs, retain_graph=True) for v in (found, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


@CHUNKS
@pytest.mark.parametrize("grouped", [False, True])
def test_the_sigmoid_loss_is_its_equation(chunk, grouped):
    x, y = sides()
    scale, bias = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (6.0, -2.0))
    valid = torch.arange(11) % 4 != 1
    group = torch.arange(11) % 2 if grouped else None
    found = sigmoid_loss(x, y, scale, bias, valid=valid, group=group, chunk=chunk)
    a, b = x[valid], y[valid]
    z = 2 * torch.eye(len(a), dtype=torch.float64) - 1
    every = F.logsigmoid(z * (scale * a @ b.T + bias))
    if grouped:
        every = every * (group[valid] == group[valid].unsqueeze(1))
    assert_same(found, -every.sum() / len(a), x, y, scale, bias)


def test_the_sigmoid_loss_of_no_row_is_zero_and_of_one_row_is_not():
    x, y = sides(3)
    none = sigmoid_loss(x, y, 5.0, -1.0, valid=torch.zeros(3, dtype=torch.bool))
    assert none.item() == 0
    assert not torch.autograd.grad(none, x)[0].any()
    one = sigmoid_loss(x[:1], y[:1], 5.0, -1.0)
    torch.testing.assert_close(one, -F.logsigmoid(5 * (x[0] @ y[0]) - 1))


def labelled(labels):
    """Which rows are positives: of one label, and of no label the row itself."""
    same = labels == labels.unsqueeze(1)
    return (same & (labels >= 0)) | torch.eye(len(labels), dtype=torch.bool)


def plain(scores, positives):
    log_p = scores.log_softmax(1)
    rows = [-log_p[i, p].mean() for i, p in enumerate(positives) if p.any()]
    return torch.stack(rows).mean()


@CHUNKS
@pytest.mark.parametrize("by", ["labels", "positives"])
def test_several_positives_between_two_sides_share_the_target(chunk, by):
    x, y = sides()
    labels = torch.tensor([0, 1, 2, 0, -1, 1, 0, -1, 3, 2, 0])
    valid = torch.arange(11) != 3
    wanted = labelled(labels)
    answers = {"labels": labels} if by == "labels" else {"positives": wanted}
    found = multi_positive(x, y, 4.0, valid=valid, directions=(2, 1), chunk=chunk, **answers)
    scores = 4 * x[valid] @ y[valid].T
    wanted = wanted[valid][:, valid]
    assert_same(found, (2 * plain(scores, wanted) + plain(scores.T, wanted)) / 3, x, y)


@CHUNKS
@pytest.mark.parametrize("by", ["labels", "positives"])
def test_on_one_side_no_row_is_compared_with_itself(chunk, by):
    x, _ = sides()
    labels = torch.tensor([0, 1, 2, 0, -1, 1, 0, -1, 3, 2, 0])
    itself = torch.eye(11, dtype=torch.bool)
    wanted = labelled(labels)
    answers = {"labels": labels} if by == "labels" else {"positives": wanted}
    found = multi_positive(x, None, 4.0, chunk=chunk, **answers)
    scores = (4 * x @ x.T).masked_fill(itself, -torch.inf)
    assert_same(found, plain(scores, wanted & ~itself), x)
    assert wanted.diagonal().all()  # the caller's own matrix stays as it was


def test_without_any_label_several_positives_are_info_nce():
    x, y = sides()
    found = multi_positive(x, y, 4.0, labels=torch.full((11,), -1))
    assert_same(found, info_nce(x, y, 4.0), x, y)


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows_without_a_positive_cost_nothing(rows):
    x, y = sides(4)
    valid = torch.arange(4) < rows
    labels = torch.zeros(4, dtype=torch.long)
    for other in (None, y):
        loss = multi_positive(x, other, 4.0, labels=labels, valid=valid)
        assert loss.item() == pytest.approx(0, abs=1e-12)
        assert torch.autograd.grad(loss, x)[0].abs().max() < 1e-12


def test_positives_are_told_in_one_way():
    x, y = sides()
    with pytest.raises(ConfigError, match="either labels or positives"):
        multi_positive(x, y, 4.0)


def test_words_for_pairs():
    names = ("a", "b", "c")
    assert pairs_of(names) == pairs_of(names, "all") == [("a", "b"), ("a", "c"), ("b", "c")]
    assert len(pairs_of(names, "all", ordered=True)) == 6
    assert pairs_of(names, "ring", ordered=True) == [("a", "b"), ("b", "c"), ("c", "a")]
    assert pairs_of(names[:2], "ring") == [("a", "b")]
    assert pairs_of(names[:2], "ring", ordered=True) == [("a", "b"), ("b", "a")]
    assert pairs_of(names, [["c", "a"], ["a", "c"]]) == [("c", "a")]
    assert pairs_of(names, "anchor:b", ordered=True) == [("b", "a"), ("b", "c")]


@pytest.mark.slow
def test_a_large_batch_needs_no_square_matrix():
    # One matrix of 16,384 rows would hold 1,024 MiB; a process of its own tells its peak.
    code = """
import resource, torch
from torch.nn import functional as F
from mmfuse.objectives.contrastive import SimilarTargets, info_nce, sigmoid_loss
x, y = F.normalize(torch.randn(2, 16384, 4), dim=-1).requires_grad_()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
losses = [info_nce(x, y, 10.0), sigmoid_loss(x, y, 10.0, -10.0)]
losses.append(info_nce(x, y, 8.0, targets=SimilarTargets(y, scale=8.0)))
torch.stack(losses).sum().backward()
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 400
