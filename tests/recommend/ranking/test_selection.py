"""Selection by numpy agrees with plain sorting, equals and both zeros among the values."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfuse.recommend.ranking.selection import best_first, kth_highest, reaching

SPECIAL = [0.0, -0.0, 1.0, -1.0, -1.5, 2.0**-149, -(2.0**-149), math.inf, -math.inf]
NUMBERS = st.sampled_from(SPECIAL) | st.floats(allow_nan=False, width=32)
DTYPES = st.sampled_from([torch.float32, torch.float64])


@st.composite
def rows(draw):
    width = draw(st.integers(1, 12))
    some = st.lists(NUMBERS, min_size=width, max_size=width)
    values = torch.tensor(draw(st.lists(some, min_size=1, max_size=4)), dtype=draw(DTYPES))
    return values, draw(st.integers(1, width))


@given(rows())
def test_the_best_come_first_and_of_equals_the_earlier(case):
    values, k = case
    items = 100 + torch.arange(values.numel()).view(values.shape).flip(1)
    best, whose = best_first(values, items, k)
    for row, codes, got, who in zip(values, items, best, whose, strict=True):
        order = sorted(range(len(row)), key=lambda i: -row[i].item())[:k]  # sorting is stable
        assert got.tolist() == row[order].tolist()
        assert who.tolist() == codes[order].tolist()


@given(rows())
def test_the_kth_highest_is_where_sorting_puts_it(case):
    values, k = case
    assert torch.equal(
        kth_highest(values, k), values.sort(1, descending=True).values[:, k - 1, None]
    )


@given(rows())
def test_places_that_reach_the_least_go_row_by_row(case):
    values, k = case
    least = kth_highest(values, k)
    wanted = [
        i for i, v in enumerate(values.flatten().tolist()) if v >= least[i // values.shape[1], 0]
    ]
    assert reaching(values, least).tolist() == wanted


@pytest.mark.parametrize("columns", [0, 3])
def test_no_row_has_no_place(columns):
    assert reaching(torch.ones(0, columns), torch.ones(0, 1)).tolist() == []
