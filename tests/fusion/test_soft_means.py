"""soft_means beside the softmax that it stands for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse.fusion import soft_means as module
from mmfuse.fusion.soft_means import soft_means


def literal(t, y):
    return ((t.unsqueeze(2) * y.unsqueeze(1)).softmax(dim=2) * y.unsqueeze(1)).sum(dim=2)


def sides(rows=5, queries=4, width=6, scale=1.0, shift=0.0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(rows)
    t = torch.randn(rows, queries, generator=draw, dtype=torch.float64) * scale
    y = torch.randn(rows, width, generator=draw, dtype=torch.float64) + shift
    return t.to(dtype).requires_grad_(), y.to(dtype).requires_grad_()


def slopes(function, t, y):
    weight = torch.linspace(-1, 1, t.numel(), dtype=torch.float64).view_as(t).to(t.dtype)
    found = function(t, y)
    return (found.detach(), *torch.autograd.grad((found * weight).sum(), (t, y)))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 7),
    st.floats(0, 200),
    st.floats(-50, 50),
)
def test_values_and_gradients_are_those_of_the_softmax(rows, queries, width, scale, shift):
    """Of any number of numbers, wherever they lie, also where exponents are too large to expand."""
    t, y = sides(rows, queries, width, scale, shift)
    for found, expected in zip(slopes(soft_means, t, y), slopes(literal, t, y), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * (1 + scale))


def test_single_precision_is_as_good_as_the_softmax_itself():
    t, y = sides(200, 64, 64, scale=1.5)
    exact = slopes(literal, t, y)
    single = [x.detach().float().requires_grad_() for x in (t, y)]
    ours, plain = slopes(soft_means, *single), slopes(literal, *single)
    for a, b, true in zip(ours, plain, exact, strict=True):
        assert (a - true).abs().max() < 10 * (b - true).abs().max() + 1e-6


def test_rows_of_one_number_repeated():
    t, _ = sides()
    y = torch.full((5, 6), 3.0, dtype=torch.float64, requires_grad=True)
    for found, expected in zip(slopes(soft_means, t, y), slopes(literal, t, y), strict=True):
        torch.testing.assert_close(found, expected)


def test_blocks_and_far_rows_do_not_touch_their_neighbours(monkeypatch):
    t, y = sides(rows=9)
    with torch.no_grad():
        t[4] *= 1e4
    expected = slopes(literal, t, y)
    monkeypatch.setattr(module, "_ROWS", 2)
    for found, wanted in zip(slopes(soft_means, t, y), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-8)


def test_what_is_not_a_number_stays_where_it_is():
    t, y = sides()
    with torch.no_grad():
        y[1, 2], y[3, 0] = torch.nan, torch.inf
    found = soft_means(t, y)
    bad = torch.tensor([1, 3])
    assert not found[bad].isfinite().any()
    good = torch.tensor([0, 2, 4])
    torch.testing.assert_close(found[good], literal(t, y)[good])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_answers_in_kind(dtype):
    t, y = sides(dtype=dtype)
    found = soft_means(t, y)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.double(), literal(t.double(), y.double()), rtol=0.01, atol=0.01
    )


def test_no_rows():
    assert soft_means(torch.zeros(0, 4), torch.zeros(0, 6)).shape == (0, 4)
