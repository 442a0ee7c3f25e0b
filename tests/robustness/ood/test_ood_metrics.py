"""Metrics by hand on small arrays, and intervals beside scikit-learn's values of each resample."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional.classification import binary_specificity_at_sensitivity

from mmfuse.errors import DataError
from mmfuse.robustness.ood import metrics, ood_intervals, ood_metrics

FEW = st.lists(st.integers(0, 8), min_size=1, max_size=30)


def test_both_readings_of_the_fpr_by_hand():
    known, unknown = [1, 2, 3, 4], [2.5, 5, 6, 7, 8]
    found = ood_metrics(known, unknown)
    # To catch 95 % of five unknown rows is to catch all: from 2.5 on, which flags 3 and 4.
    assert found["fpr95_out"] == 2 / 4
    # To let 95 % of four known rows pass is to let all pass: up to 4, and 2.5 passes with them.
    assert found["fpr95_in"] == 1 / 5
    assert found["auroc"] == 18 / 20


def test_ninety_five_percent_or_more_is_enough():
    """One of twenty may be missed, and no more."""
    known, unknown = [0.5, 1.5], [0, *range(1, 20)]
    assert ood_metrics(known, unknown)["fpr95_out"] == 1 / 2  # from 1 on, 19 of 20
    assert ood_metrics(known, [0, 0.2, *range(2, 20)])["fpr95_out"] == 1.0  # 18 of 20 do not do
    assert ood_metrics(known, unknown[1:])["fpr95_out"] == 1 / 2


def test_average_precision_by_hand():
    """From the top: unknown, known, unknown."""
    found = ood_metrics([2.0], [1.0, 3.0])
    assert found["aupr_out"] == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert found["aupr_in"] == pytest.approx(1 / 2)


def test_a_perfect_score_and_its_opposite():
    assert ood_metrics([1, 2], [3, 4]) == {
        "auroc": 1, "aupr_out": 1, "aupr_in": 1, "fpr95_out": 0, "fpr95_in": 0,
    }  # fmt: skip
    worst = ood_metrics([3, 4], [1, 2])
    assert (worst["auroc"], worst["fpr95_out"], worst["fpr95_in"]) == (0, 1, 1)


def test_equal_scores_tell_nothing():
    found = ood_metrics([1, 1, 1], [1])
    assert found == {
        "auroc": 0.5, "aupr_out": 0.25, "aupr_in": 0.75, "fpr95_out": 1, "fpr95_in": 1,
    }  # fmt: skip


@given(FEW, FEW)
@settings(max_examples=60, deadline=None)
def test_only_the_order_of_scores_counts(known, unknown):
    def moved(values):
        return np.exp(np.array(values) / 3.0) - 100

    assert ood_metrics(moved(known), moved(unknown)) == ood_metrics(known, unknown)


@given(FEW, FEW)
@settings(max_examples=60, deadline=None)
def test_scores_turned_round_with_the_sides_change_places(known, unknown):
    found = ood_metrics(known, unknown)
    turned = ood_metrics(-np.array(unknown), -np.array(known))
    assert turned["auroc"] == pytest.approx(found["auroc"])
    for metric in ("aupr", "fpr95"):
        assert turned[f"{metric}_in"] == pytest.approx(found[f"{metric}_out"])
        assert turned[f"{metric}_out"] == pytest.approx(found[f"{metric}_in"])


@given(FEW, FEW)
@settings(max_examples=60, deadline=None)
def test_the_fpr_is_torchmetrics_specificity_at_sensitivity(known, unknown):
    is_out = torch.tensor([0] * len(known) + [1] * len(unknown))
    score = torch.tensor(known + unknown) / 10
    specificity, _ = binary_specificity_at_sensitivity(score, is_out, 0.95)
    assert ood_metrics(known, unknown)["fpr95_out"] == pytest.approx(1 - specificity.item())


def test_infinite_scores_are_the_furthest_and_nan_is_left_out():
    assert ood_metrics([0, -math.inf], [math.inf, 1]) == ood_metrics([0, -1], [2, 1])
    assert ood_metrics([0, math.nan], [1, math.nan, -1]) == ood_metrics([0], [1, -1])
    nothing = ood_metrics([math.nan], [1.0])
    assert all(math.isnan(v) for v in nothing.values())
    assert all(math.isnan(low) for low, _ in ood_intervals([math.nan], [1.0]).values())


def test_tensors_are_taken_in_any_precision():
    known, unknown = torch.tensor([1.0, 2.0]).bfloat16(), torch.tensor([1.5, 3.0]).half()
    assert ood_metrics(known, unknown) == ood_metrics([1, 2], [1.5, 3])


@pytest.mark.parametrize(("known", "unknown"), [([], [1.0]), ([1.0], []), ([[1.0]], [1.0])])
def test_a_side_without_rows_or_with_more_numbers_a_row_is_refused(known, unknown):
    with pytest.raises(DataError, match="expected one number a row"):
        ood_metrics(known, unknown)


def test_resamples_score_what_scikit_learn_says_of_them():
    draw = np.random.default_rng(0)
    score = draw.integers(0, 12, 60).astype(float)
    is_out = draw.random(60) < 0.4
    weight = draw.integers(0, 4, (60, 7)).astype(float)
    found = metrics._weighted(score, is_out, weight)
    for s, w in enumerate(weight.T):
        assert found["auroc"][s] == pytest.approx(sk.roc_auc_score(is_out, score, sample_weight=w))
        for name, positive, order in (("out", is_out, score), ("in", ~is_out, -score)):
            assert found[f"aupr_{name}"][s] == pytest.approx(
                sk.average_precision_score(positive, order, sample_weight=w)
            )
            fpr, tpr, _ = sk.roc_curve(positive, order, sample_weight=w, drop_intermediate=False)
            assert found[f"fpr95_{name}"][s] == pytest.approx(fpr[tpr >= 0.95].min())


def test_an_interval_holds_the_value_and_shrinks_with_more_rows():
    draw = np.random.default_rng(1)
    widths = []
    for rows in (50, 800):
        known, unknown = draw.normal(size=rows), draw.normal(1.0, size=rows)
        value = ood_metrics(known, unknown)
        spread = ood_intervals(known, unknown, 200)
        for name, (low, high) in spread.items():
            assert low <= value[name] <= high, name
        widths.append(spread["auroc"][1] - spread["auroc"][0])
    assert widths[1] < widths[0] / 2


def test_intervals_follow_the_seed_and_not_the_blocks(monkeypatch):
    known, unknown = np.arange(20.0), np.arange(10, 25.0)
    found = ood_intervals(known, unknown, 50, seed=3)
    monkeypatch.setattr(metrics, "_AT_ONCE", 100)
    assert ood_intervals(known, unknown, 50, seed=3) == found
    assert ood_intervals(known, unknown, 50, seed=4) != found


def test_no_resamples_no_intervals():
    assert all(math.isnan(low) for low, _ in ood_intervals([1.0], [2.0], 0).values())
