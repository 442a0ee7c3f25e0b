"""Bounds on synergy: published numbers, truths that they never cross, tables that do not fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mmfuse.errors import DataError
from mmfuse.robustness.interactions import SynergyBounds, pid, synergy_bounds


def of(p: np.ndarray, disagreement: float | None = None) -> SynergyBounds:
    tables = p.sum(1), p.sum(0), p.sum(2)
    return (
        synergy_bounds(*tables) if disagreement is None else synergy_bounds(*tables, disagreement)
    )


def gate(rule: Callable[[int, int], int]) -> np.ndarray:
    p = np.zeros((2, 2, 2))
    for x1 in range(2):
        for x2 in range(2):
            p[x1, x2, rule(x1, x2)] = 0.25
    return p


def random_joint(seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    shape = draw.integers(2, 5, 3)
    p = draw.dirichlet(np.full(shape.prod(), 0.4)).reshape(shape) + 1e-4
    return p / p.sum()


@pytest.mark.parametrize(
    ("rule", "by_redundancy", "by_disagreement", "upper"),
    [(lambda a, b: a & b, 0.3113, 0.25, 0.5), (lambda a, b: a ^ b, 0, 0, 1)],
    ids=["and", "xor"],
)
def test_gates_have_the_published_bounds(rule, by_redundancy, by_disagreement, upper):
    found = of(gate(rule), 1.0)
    assert found.lower_redundancy == pytest.approx(by_redundancy, abs=1e-4)
    assert found.lower_disagreement == pytest.approx(by_disagreement, abs=1e-4)
    assert found.upper == pytest.approx(upper, abs=1e-4)


def test_and_is_known_from_its_margins():
    found = of(gate(lambda a, b: a & b))
    assert found.lower == pytest.approx(0.5, abs=2e-3)
    assert found.upper == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(("rule", "first"), [(lambda a, b: a, True), (lambda a, b: b, False)])
def test_the_unique_part_is_that_of_the_modality_that_has_it(rule, first: bool):
    found = of(gate(rule), 1.0)
    assert (found.unique1, found.unique2) == pytest.approx((1, 0) if first else (0, 1), abs=1e-6)
    assert found.lower == pytest.approx(0, abs=1e-6)  # swapped, it would be 1 bit
    assert found.upper == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("seed", range(25))
def test_the_true_synergy_lies_between_the_bounds(seed: int):
    p = random_joint(seed)
    truth, found = pid(p), of(p)
    assert found.lower <= truth.synergy + 1e-6
    assert truth.synergy <= found.upper + 1e-6
    assert found.lower_redundancy <= found.lower_margins
    known = (found.redundancy, found.unique1, found.unique2)
    assert known == pytest.approx(truth.parts[:3], abs=1e-6)


def test_counts_of_other_rows_are_brought_together():
    draw = np.random.default_rng(0)
    p = draw.dirichlet(np.ones(27)).reshape(3, 3, 3)
    counts = [
        draw.multinomial(5000, t.ravel()).reshape(3, 3) for t in (p.sum(1), p.sum(0), p.sum(2))
    ]
    assert synergy_bounds(*counts).upper == pytest.approx(of(p).upper, abs=0.1)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ((np.ones((2, 2)), np.ones((2, 3)), np.ones((2, 2))), "shapes"),
        ((np.ones((2, 2)), np.ones((2, 2)), np.ones((3, 2))), "shapes"),
        ((-np.ones((2, 2)), np.ones((2, 2)), np.ones((2, 2))), "shapes"),
        (([[1, 0], [1, 0]], np.ones((2, 2)), np.ones((2, 2))), "class"),
        (([[1, 1], [0, 0]], np.ones((2, 2)), np.ones((2, 2))), "no labelled row"),
        ((np.ones((2, 2)), [[1, 1], [3, 3]], np.eye(2)), "never"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tables, message: str):
    with pytest.raises(DataError, match=message):
        synergy_bounds(*tables)


def test_the_authors_constant_is_no_bound_where_ours_is():
    p = np.array([[[43, 14], [6, 12]], [[0, 0], [0, 25]]]) / 100
    assert of(p, 1.0).lower_disagreement > pid(p).synergy + 0.03
    assert of(p).lower_disagreement <= pid(p).synergy + 1e-6


def test_margins_that_no_distribution_has_together_bound_by_two_of_them():
    # Each of the two is the label, so that they could not be independent of each other.
    copy = np.eye(2) / 2
    found = synergy_bounds(copy, copy, np.full((2, 2), 0.25))
    assert found.lower_margins == found.lower_redundancy
    assert np.isfinite(found.lower_margins)
    # In all that they can be, they are the same.
    assert synergy_bounds(copy, copy, copy).lower_margins == pytest.approx(0, abs=1e-6)
