"""Importance: Shapley values by their definition, what each modality costs, the summary."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest

from mmfuse.robustness.importance import modality_importance, sampled_orders
from mmfuse.robustness.shapley import prefixes
from mmfuse.robustness.tables import summary_table

Scores = Mapping[frozenset[str], float]


def random_scores(modalities: Sequence[str], seed: int = 0) -> dict[frozenset[str], float]:
    draw = random.Random(seed)
    sizes = range(len(modalities) + 1)
    return {
        frozenset(s): draw.random() for k in sizes for s in itertools.combinations(modalities, k)
    }


def shapley_by_permutations(value: Scores, modalities: Sequence[str]) -> dict[str, float]:
    """The mean contribution over every order in which the modalities can join."""
    gains: dict[str, list[float]] = {m: [] for m in modalities}
    for order in itertools.permutations(modalities):
        for k, m in enumerate(order):
            before = frozenset(order[:k])
            gains[m].append(value[before | {m}] - value[before])
    return {m: math.fsum(g) / len(g) for m, g in gains.items()}


@pytest.mark.parametrize("modalities", ["a", "ab", "abc", "abcde", "abcdef"])
def test_exact_shapley_values_are_the_mean_over_all_orders(modalities: str):
    value = random_scores(modalities, seed=len(modalities))
    wanted = shapley_by_permutations(value, modalities)
    for m, part in modality_importance(value, modalities).items():
        assert part.shapley == pytest.approx(wanted[m], abs=1e-12)
        assert part.shapley_se == 0


@pytest.mark.parametrize("modalities", ["a", "abcd", "abcdefgh"])
def test_shapley_values_add_up_to_what_all_modalities_bring(modalities: str):
    value = random_scores(modalities)
    total = sum(p.shapley for p in modality_importance(value, modalities).values())
    assert total == pytest.approx(value[frozenset(modalities)] - value[frozenset()], abs=1e-12)


def test_a_modality_that_changes_nothing_is_worth_nothing():
    inner = random_scores("abc")
    value = {s: inner[s - {"d"}] for s in random_scores("abcd")}
    parts = modality_importance(value, "abcd")
    assert parts["d"].shapley == pytest.approx(0, abs=1e-15)
    assert parts["d"].leave_one_out == 0


def test_interchangeable_modalities_are_worth_the_same():
    value = {s: len(s & {"a", "b"}) ** 2 + 3.0 * ("c" in s) for s in random_scores("abc")}
    parts = modality_importance(value, "abc")
    assert parts["a"].shapley == pytest.approx(parts["b"].shapley)


def test_leave_one_out_is_what_the_full_set_loses_and_alone_what_nothing_else_scores():
    value = random_scores("abc")
    parts = modality_importance(value, "abc")
    assert parts["b"].leave_one_out == value[frozenset("abc")] - value[frozenset("ac")]
    assert parts["b"].alone == value[frozenset("b")]


def sampled(value: Scores, modalities: Sequence[str], orders: Sequence[Sequence[str]]) -> Scores:
    wanted = {frozenset(p) for order in orders for p in prefixes(order, modalities)}
    return {s: value[s] for s in wanted | {frozenset()}}


def test_an_estimate_uses_the_orders_whose_prefixes_were_evaluated():
    modalities = "abcdef"
    value = random_scores(modalities)
    orders = sampled_orders(modalities, count=6, seed=2)
    parts = modality_importance(sampled(value, modalities, orders), modalities, orders)
    for m in modalities:
        gains = []
        for order in orders:
            before = frozenset(order[: order.index(m)])
            gains.append(value[before | {m}] - value[before])
        assert parts[m].shapley == pytest.approx(np.mean(gains), abs=1e-12)
        assert parts[m].shapley_se == pytest.approx(np.std(gains, ddof=1) / math.sqrt(6))
    total = sum(p.shapley for p in parts.values())
    assert total == pytest.approx(value[frozenset(modalities)] - value[frozenset()], abs=1e-12)


def test_an_estimate_from_many_orders_comes_near_the_exact_value():
    modalities = "abcdef"
    value = random_scores(modalities)
    exact = modality_importance(value, modalities)
    orders = sampled_orders(modalities, count=2000, seed=1)
    all_but_one = {s: v for s, v in value.items() if s != frozenset("af")}
    for m, part in modality_importance(all_but_one, modalities, orders).items():
        # Orders that pass the missing subset are left out, which biases a little.
        assert part.shapley == pytest.approx(exact[m].shapley, abs=0.05)


def test_too_few_subsets_leave_values_undefined():
    parts = modality_importance({frozenset(): 0.5, frozenset("ab"): 0.9}, "ab", [("a", "b")])
    assert math.isnan(parts["a"].shapley)
    assert math.isnan(parts["a"].leave_one_out)
    assert math.isnan(parts["a"].alone)


def test_an_undefined_score_makes_values_undefined_not_wrong():
    value = {**random_scores("ab"), frozenset(): math.nan}
    parts = modality_importance(value, "ab")
    assert math.isnan(parts["a"].shapley)
    assert math.isfinite(parts["a"].leave_one_out)


def conditions(*lines: tuple[str, str, float, float], metric: str = "accuracy") -> pd.DataFrame:
    table = pd.DataFrame(lines, columns=["condition", "family", "rate", "value"])
    up = metric == "accuracy"
    return table.assign(target="y", metric=metric, higher_is_better=up)


def test_the_area_is_that_of_trapezoids_over_the_highest_rate():
    table = conditions(
        ("complete", "complete", 0.0, 1.0),
        ("mcar 0.5", "mcar", 0.5, 0.4),  # rates in any order
        ("mcar 0.2", "mcar", 0.2, 0.8),
    )
    line = summary_table(table).query("family == 'mcar'").iloc[0]
    assert line["area"] == pytest.approx((0.2 * 0.9 + 0.3 * 0.6) / 0.5)
    assert line["mean"] == pytest.approx(0.6)
    assert line["conditions"] == 2


def test_a_flat_curve_has_its_own_height_as_area():
    lines = [(f"mcar {r}", "mcar", r, 0.7) for r in (0.1, 0.6, 0.9)]
    table = conditions(("complete", "complete", 0.0, 0.7), *lines)
    assert summary_table(table).query("family == 'mcar'")["area"].item() == pytest.approx(0.7)


def test_no_area_without_the_complete_score():
    table = conditions(("mcar 0.2", "mcar", 0.2, 0.8), ("mcar 0.5", "mcar", 0.5, 0.4))
    assert math.isnan(summary_table(table)["area"].item())


@pytest.mark.parametrize(("metric", "worst"), [("accuracy", "only b"), ("ece", "only a")])
def test_the_worst_subset_follows_the_direction_of_the_metric(metric: str, worst: str):
    table = conditions(
        ("only a", "subset", math.nan, 0.8),
        ("only b", "subset", math.nan, 0.3),
        ("only c", "subset", math.nan, math.nan),
        metric=metric,
    )
    line = summary_table(table).iloc[0]
    assert line["worst_condition"] == worst
    assert line["worst"] == table.set_index("condition").loc[worst, "value"]
    assert line["mean"] == pytest.approx(0.55)
