"""The decomposition: gates, identities, the certificate, and conic solvers that agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conic import largest_by_cvxpy, largest_by_ecos
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.optimize import minimize

from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness.interactions import interior, pid, pointwise
from mmfuse.robustness.interactions.information import information
from mmfuse.robustness.interactions.least import least_informative

counts = arrays(
    np.int64, array_shapes(min_dims=3, max_dims=3, max_side=4), elements=st.integers(0, 9)
)


def gate(rule: Callable[[int, int], int], labels: int = 2) -> torch.Tensor:
    joint = torch.zeros(2, 2, labels)
    for x1 in range(2):
        for x2 in range(2):
            joint[x1, x2, rule(x1, x2)] = 0.25
    return joint


def random_joint(seed: int, evenness: float = 1.0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    shape = draw.integers(2, 6, 3)
    return draw.dirichlet(np.full(shape.prod(), evenness)).reshape(shape)


@pytest.mark.parametrize(
    ("rule", "labels", "parts"),
    [
        (lambda a, b: a ^ b, 2, (0, 0, 0, 1)),
        (lambda a, b: a & b, 2, (0.311278, 0, 0, 0.5)),
        (lambda a, b: a | b, 2, (0.311278, 0, 0, 0.5)),
        (lambda a, b: a, 2, (0, 1, 0, 0)),
        (lambda a, b: b, 2, (0, 0, 1, 0)),
        (lambda a, b: 2 * a + b, 4, (0, 1, 1, 0)),
        (lambda a, b: 0, 2, (0, 0, 0, 0)),
    ],
    ids=["xor", "and", "or", "first", "second", "both", "constant"],
)
def test_gates_have_their_known_parts_in_bits(rule, labels: int, parts: tuple[float, ...]):
    assert pid(gate(rule, labels)).parts == pytest.approx(parts, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(counts)
def test_parts_add_up_to_the_informations_and_are_not_negative(table: np.ndarray):
    if not table.sum():
        return
    p = table / table.sum()
    found = pid(table)
    assert min(found.parts) >= 0
    assert 0 <= found.gap < 1e-7
    assert found.redundancy + found.unique1 == pytest.approx(information(p.sum(1)), abs=1e-12)
    assert found.redundancy + found.unique2 == pytest.approx(information(p.sum(0)), abs=1e-12)
    whole = information(p.reshape(-1, p.shape[2]))
    assert found.total == pytest.approx(whole, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(counts)
def test_the_coupling_has_the_margins_and_zeros_where_they_do(table: np.ndarray):
    if not table.sum():
        return
    p = table / table.sum()
    q = least_informative(p.sum(1), p.sum(0)).coupling
    np.testing.assert_allclose(q.sum(1), p.sum(1), atol=1e-15)
    np.testing.assert_allclose(q.sum(0), p.sum(0), atol=1e-15)
    forbidden = (p.sum(1)[:, None] == 0) | (p.sum(0)[None] == 0)
    assert (q[forbidden] == 0).all()
    assert (q >= 0).all()


@pytest.mark.parametrize("evenness", [1.0, 0.1])
@pytest.mark.parametrize("seed", range(6))
def test_a_conic_solver_finds_the_same_optimum(seed: int, evenness: float):
    p = random_joint(seed, evenness)
    found = least_informative(p.sum(1), p.sum(0), 1e-9)
    assert found.uncertainty == pytest.approx(largest_by_ecos(p), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_cvxpy_finds_the_same_optimum(seed: int):
    p = random_joint(seed)
    assert least_informative(p.sum(1), p.sum(0)).uncertainty == pytest.approx(
        largest_by_cvxpy(p), abs=1e-6
    )


def test_a_search_over_the_free_cells_finds_the_same_optimum():
    # With two values each, q is p moved by one number for each label.
    p = np.random.default_rng(5).dirichlet(np.ones(12)).reshape(2, 2, 3)
    sign = np.array([[1, -1], [-1, 1]])[..., None]

    def says(move: np.ndarray) -> float:
        q = np.maximum(p + sign * move, 0)
        return information(q.reshape(-1, 3))

    room = [(-min(p[0, 0, y], p[1, 1, y]), min(p[0, 1, y], p[1, 0, y])) for y in range(3)]
    starts = np.random.default_rng(0).uniform(*np.array(room).T, size=(5, 3))
    least = min(minimize(says, s, bounds=room, method="Powell").fun for s in starts)
    found = pid(p)
    shared = information(p.sum(1)) + information(p.sum(0)) - found.redundancy
    assert shared == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_nearly_empty_cells_are_solved_to_the_same_gap(seed: int):
    p = random_joint(seed, evenness=0.02)
    assert 0 <= least_informative(p.sum(1), p.sum(0)).gap < 1e-7


@pytest.mark.parametrize("evenness", [1.0, 0.1])
def test_single_precision_on_the_way_changes_nothing_at_the_end(
    evenness: float, monkeypatch: pytest.MonkeyPatch
):
    p = np.random.default_rng(3).dirichlet(np.full(600, evenness)).reshape(10, 12, 5)
    in_single_at_first = pid(p, 1e-9)
    monkeypatch.setattr(interior, "_COARSE", np.inf)
    assert pid(p, 1e-9).parts == pytest.approx(in_single_at_first.parts, abs=1e-8)


def test_swapping_the_modalities_swaps_their_unique_parts():
    p = np.random.default_rng(1).dirichlet(np.ones(60)).reshape(5, 4, 3)
    one, two = pid(p), pid(p.swapaxes(0, 1))
    assert two.parts == pytest.approx(
        (one.redundancy, one.unique2, one.unique1, one.synergy), abs=1e-6
    )


def test_a_lower_tolerance_gives_a_smaller_gap():
    p = np.random.default_rng(1).dirichlet(np.ones(60)).reshape(5, 4, 3)
    assert pid(p, 1e-11).gap < 1e-11 < pid(p, 1e-3).gap < 1e-3


def test_counts_and_their_shares_are_the_same():
    table = np.random.default_rng(2).integers(0, 5, (3, 4, 2))
    assert pid(table).parts == pytest.approx(pid(table / table.sum()).parts, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_pointwise_parts_average_to_the_parts(seed: int):
    p = random_joint(seed, 0.3)
    found = np.nansum(pointwise(p, 1e-9) * p, axis=(1, 2, 3))
    assert found == pytest.approx(pid(p, 1e-9).parts, abs=1e-8)


def test_pointwise_parts_add_up_in_every_cell():
    p = random_joint(3)
    r, u1, u2, s = pointwise(p)
    y = p.sum((0, 1))
    given1 = p.sum(1) / p.sum(1).sum(1, keepdims=True) / y
    both = p / p.sum(2, keepdims=True) / y
    np.testing.assert_allclose(r + u1, np.broadcast_to(np.log2(given1)[:, None], p.shape))
    np.testing.assert_allclose(r + u1 + u2 + s, np.log2(both))


def test_pointwise_is_undefined_where_nothing_happens():
    assert np.isnan(pointwise(gate(lambda a, b: a & b))[:, 0, 0, 1]).all()


@pytest.mark.parametrize(
    "bad",
    [np.ones((2, 2)), np.full((2, 2, 2), np.nan), -np.ones((2, 2, 2)), np.zeros((2, 2, 2))],
    ids=["two axes", "nan", "negative", "empty"],
)
def test_what_is_no_joint_distribution_is_refused(bad: np.ndarray):
    with pytest.raises(DataError, match="joint distribution"):
        pid(bad)


def test_a_tolerance_of_zero_is_refused():
    with pytest.raises(ConfigError, match="tolerance"):
        pid(np.ones((2, 2, 2)), 0)
