"""Coverage-risk curves and the areas under them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mmfuse.robustness.metrics import resamples
from mmfuse.robustness.selective import areas, risk_at, wilson


def drawn(rows: int, seed: int, ties: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, with ties where asked, and errors that fall as they rise."""
    draw = np.random.default_rng(seed)
    sure = draw.random(rows)
    wrong = draw.random(rows) > 0.4 + 0.6 * sure
    return (sure * ties).round() / ties if ties else sure, wrong


def literal(sure: np.ndarray, wrong: np.ndarray) -> float:
    """The mean over the rows' own thresholds of the error of the rows that pass."""
    total = 0.0
    for threshold in sure:
        errors = answered = 0
        for confidence, error in zip(sure, wrong, strict=True):
            if confidence >= threshold:
                answered += 1
                errors += int(error)
        total += errors / answered
    return total / len(sure)


@given(rows=st.integers(1, 40), seed=st.integers(0, 10_000), ties=st.sampled_from([0, 1, 4]))
@settings(max_examples=60, deadline=None)
def test_areas_are_those_of_a_loop_over_thresholds(rows, seed, ties):
    parts = [drawn(rows, seed + i, ties) for i in range(2)]
    sure, wrong = (np.stack(p) for p in zip(*parts, strict=True))
    aurc, excess = areas(sure, wrong, np.ones((rows, 1)))
    for c in range(2):
        assert aurc[c, 0] == pytest.approx(literal(sure[c], wrong[c]), abs=1e-12)
        best = literal(-np.arange(rows, dtype=float), np.sort(wrong[c]))
        assert excess[c, 0] == pytest.approx(aurc[c, 0] - best, abs=1e-12)


def test_areas_of_resamples_are_right_to_first_order():
    sure, wrong = drawn(400, seed=3, ties=60)
    weight = resamples(400, 300, seed=1)
    ours = areas(sure[None], wrong[None], weight)[0][0]
    exact = [literal_fast(np.repeat(sure, w), np.repeat(wrong, w)) for w in weight.astype(int).T]
    spread = np.std(exact)
    assert np.abs(ours - exact).max() < 0.35 * spread
    for share in (2.5, 97.5):
        assert np.percentile(ours, share) == pytest.approx(
            np.percentile(exact, share), abs=0.15 * spread
        )


def literal_fast(sure: np.ndarray, wrong: np.ndarray) -> float:
    passes = sure[None, :] >= sure[:, None]
    return float(((passes * wrong).sum(axis=1) / passes.sum(axis=1)).mean())


def test_the_excess_is_none_where_the_errors_are_the_least_sure():
    sure = np.linspace(1, 0, 50)
    wrong = np.arange(50) >= 40
    weight = np.ones((50, 1))
    assert areas(sure[None], wrong[None], weight)[1][0, 0] == pytest.approx(0, abs=1e-12)
    assert areas(-sure[None], wrong[None], weight)[1][0, 0] > 0.3
    for all_alike in (np.zeros(50, bool), np.ones(50, bool)):
        aurc, excess = areas(sure[None], all_alike[None], weight)
        assert aurc[0, 0] == pytest.approx(float(all_alike[0]))
        assert excess[0, 0] == pytest.approx(0, abs=1e-12)


def test_a_model_that_is_equally_sure_of_all_has_its_error_everywhere():
    wrong = np.arange(20) < 5
    sure = np.full((1, 20), 0.5)
    assert areas(sure, wrong[None], np.ones((20, 1)))[0][0, 0] == pytest.approx(0.25)
    risk, rows = risk_at(sure, wrong[None], np.array([0.1, 0.5, 1.0]))
    assert risk[0] == pytest.approx([0.25, 0.25, 0.25])
    assert rows.tolist() == [2, 10, 20]


@given(rows=st.integers(1, 50), seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_risk_is_the_error_of_the_surest(rows, seed):
    sure, wrong = drawn(rows, seed)
    grid = np.array([0.05, 0.3, 0.65, 1.0])
    risk, taken = risk_at(sure[None], wrong[None], grid)
    order = sorted(range(rows), key=lambda i: -sure[i])
    for value, count in zip(risk[0], taken.astype(int), strict=True):
        assert value == pytest.approx(np.mean([wrong[i] for i in order[:count]]))


def test_ties_at_the_threshold_count_in_part():
    sure = np.array([[0.9, 0.7, 0.7, 0.7, 0.7]])
    wrong = np.array([[False, True, True, False, False]])
    risk, taken = risk_at(sure, wrong, np.array([0.6]))
    assert taken.tolist() == [3]
    assert risk[0, 0] == pytest.approx((0 + 2 * 2 / 4) / 3)


def test_a_share_of_rows_that_is_whole_is_not_rounded_up():
    sure, wrong = drawn(20, 0)
    taken = risk_at(sure[None], wrong[None], np.linspace(0.05, 1, 20))[1]
    assert taken.tolist() == list(range(1, 21))


@pytest.mark.parametrize(("errors", "rows"), [(0, 10), (3, 10), (10, 10), (40, 1000)])
def test_the_interval_is_wilson_s(errors: int, rows: int):
    low, high = wilson(np.array([errors / rows]), np.array([float(rows)]))
    wanted = stats.binomtest(errors, rows).proportion_ci(method="wilson")
    assert [low[0], high[0]] == pytest.approx([wanted.low, wanted.high], abs=1e-12)
