"""Shapley values and interactions of arrays of scores, by their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mmfuse.robustness.importance import sampled_orders
from mmfuse.robustness.shapley import detours, interaction_terms, pairs, prefixes, shapley_terms


def random_scores(
    modalities: str, rows: int = 4, seed: int = 0
) -> dict[frozenset[str], np.ndarray]:
    draw = np.random.default_rng(seed)
    sizes = range(len(modalities) + 1)
    return {
        frozenset(s): draw.normal(size=rows)
        for k in sizes
        for s in itertools.combinations(modalities, k)
    }


@pytest.mark.parametrize("modalities", ["a", "ab", "abcd"])
def test_values_are_mean_gains_over_all_orders(modalities: str):
    value = random_scores(modalities)
    wanted = {m: [] for m in modalities}
    for order in itertools.permutations(modalities):
        for k, m in enumerate(order):
            wanted[m].append(value[frozenset(order[: k + 1])] - value[frozenset(order[:k])])
    found = next(shapley_terms(value, modalities))
    np.testing.assert_allclose(found, [np.mean(wanted[m], axis=0) for m in modalities])


@pytest.mark.parametrize("modalities", ["ab", "abc", "abcde"])
def test_interactions_are_those_of_the_definition(modalities: str):
    value = random_scores(modalities)
    found = next(interaction_terms(value, modalities))
    count = len(modalities)
    for line, (i, j) in zip(found, pairs(modalities), strict=True):
        total = np.zeros(4)
        rest = [m for m in modalities if m not in (i, j)]
        for size in range(len(rest) + 1):
            weight = math.factorial(size) * math.factorial(count - size - 2)
            for s in map(frozenset, itertools.combinations(rest, size)):
                change = value[s | {i, j}] - value[s | {i}] - value[s | {j}] + value[s]
                total += weight / math.factorial(count - 1) * change
        np.testing.assert_allclose(line, total, atol=1e-12)


def test_all_orders_together_give_the_exact_values_and_interactions():
    value = random_scores("abcd")
    orders = list(itertools.permutations("abcd"))
    # With a name that never joins, not every subset is there.
    shapley = list(shapley_terms(value, "abcdx", orders))
    assert len(shapley) == 24
    np.testing.assert_allclose(np.mean(shapley, axis=0), next(shapley_terms(value, "abcd")))
    terms = np.stack(list(interaction_terms(value, "abcdx", orders)))
    kept = [k for k, pair in enumerate(pairs("abcdx")) if "x" not in pair]
    np.testing.assert_allclose(
        np.nanmean(terms[:, kept], axis=0), next(interaction_terms(value, "abcd")), atol=1e-12
    )


def test_additive_scores_have_no_interactions():
    value = {s: np.array([len(s) + 2.0 * ("a" in s)]) for s in random_scores("abcd")}
    np.testing.assert_allclose(next(interaction_terms(value, "abcd")), 0, atol=1e-12)


def test_redundant_modalities_interact_below_zero_and_complements_above():
    either = {s: float(bool(s & {"a", "b"})) for s in random_scores("abc")}
    both = {s: float(s >= {"a", "b"}) for s in random_scores("abc")}
    assert next(interaction_terms(either, "abc")) == pytest.approx([-1, 0, 0])
    assert next(interaction_terms(both, "abc")) == pytest.approx([1, 0, 0])


def test_an_order_has_what_its_pairs_need():
    modalities = "abcdefghij"
    order = sampled_orders(modalities, 1, seed=4)[0]
    asked = {frozenset(s) for s in [*prefixes(order, modalities), *detours(order, modalities)]}
    value = dict.fromkeys(asked | {frozenset()}, 1.0)
    (term,) = interaction_terms(value, modalities, [order])
    joined = {frozenset(order[k : k + 2]) for k in range(9)}
    for known, pair in zip(np.isfinite(term), pairs(modalities), strict=True):
        assert known == (frozenset(pair) in joined)
