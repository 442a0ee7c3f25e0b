"""Distances between predictions beside scipy's, and their gradients where predictions agree."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from mmfuse.objectives.disagreement import distance

NAMES = ("hellinger", "l1", "l2", "wasserstein")
SCORES = st.lists(st.floats(-30, 30), min_size=4, max_size=4)


def literal(name: str, p: list[float], q: list[float]) -> float:
    if name == "hellinger":
        squares = sum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in zip(p, q, strict=True))
        return math.sqrt(squares) / math.sqrt(2)
    if name == "wasserstein":
        return wasserstein_distance(range(4), range(4), p, q)
    gaps = [abs(a - b) for a, b in zip(p, q, strict=True)]
    return sum(gaps) if name == "l1" else math.sqrt(sum(g**2 for g in gaps))


@pytest.mark.parametrize("name", NAMES)
@given(x=SCORES, y=SCORES)
@settings(max_examples=40, deadline=None)
def test_a_distance_is_what_it_says_of_two_distributions(name, x, y):
    x, y = torch.tensor([x, y], dtype=torch.float64)
    found = distance(x, y, name).item()
    assert found == pytest.approx(
        literal(name, x.softmax(0).tolist(), y.softmax(0).tolist()), abs=1e-7
    )
    assert found == distance(y, x, name).item()
    assert found <= {"hellinger": 1, "l1": 2, "l2": 2**0.5, "wasserstein": 3}[name] + 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_finite_where_predictions_agree_or_are_certain(name):
    for scores in ([0.0, 0.0, 0.0], [0.0, 200.0, -200.0]):
        x = torch.tensor(scores, requires_grad=True)
        distance(x, torch.tensor(scores), name).backward()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_widened(name):
    x, y = torch.tensor([[1.0, 2.0, 3.0], [2.0, 0.0, 1.0]]).bfloat16()
    found = distance(x, y, name)
    assert found.dtype == torch.float32
    assert torch.equal(found, distance(x.float(), y.float(), name))
