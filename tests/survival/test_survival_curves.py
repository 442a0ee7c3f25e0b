"""Curves of survival and censoring, and the log-rank test, against slow and other people's code."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mmfuse.errors import DataError
from mmfuse.survival import censoring, kaplan_meier, log_rank

sksurv = pytest.importorskip("sksurv")


def outcomes(rows=80, seed=0, grid=4):
    draw = np.random.default_rng(seed)
    time = np.ceil(draw.exponential(4, rows) * grid) / grid
    return time, (draw.random(rows) < 0.6).astype(float)


def literal_censoring(time, event, at, is_before):
    """The chance to be uncensored at a time; of one time, events come before censorings."""
    probability = 1.0
    for u in np.unique(time[event == 0]):
        if u < at or (u == at and not is_before):
            at_risk = ((time > u) | ((time == u) & (event == 0))).sum()
            probability *= 1 - ((time == u) & (event == 0)).sum() / at_risk
    return probability


@pytest.mark.parametrize("grid", [1, 1000])
def test_the_curve_is_scikit_survivals(grid):
    from sksurv.nonparametric import kaplan_meier_estimator

    time, event = outcomes(grid=grid)
    x, y = kaplan_meier_estimator(event == 1, time)
    found = kaplan_meier(time, event)
    assert found.at(x) == pytest.approx(y, abs=1e-12)
    assert found.at([0.0]) == [1.0]
    assert found.before(found.times)[1:] == pytest.approx(found.survival[:-1])


def test_the_curve_and_its_deviation_are_scipys():
    time, event = outcomes()
    sample = stats.CensoredData(uncensored=time[event == 1], right=time[event == 0])
    expected = stats.ecdf(sample).sf
    found = kaplan_meier(time, event)
    assert found.at(expected.quantiles) == pytest.approx(expected.probabilities)
    interval = expected.confidence_interval(0.95)
    half = 1.959964 * found.deviation
    place = np.searchsorted(expected.quantiles, found.times)
    shown = np.clip(found.survival - half, 0, 1)
    inner = slice(0, -1)
    assert shown[inner] == pytest.approx(interval.low.probabilities[place][inner], abs=1e-6)


@pytest.mark.parametrize("grid", [1, 1000])
def test_the_curve_of_censoring_is_its_definition(grid):
    time, event = outcomes(grid=grid)
    curve = censoring(time, event)
    for t in [0.0, *np.unique(time)]:
        assert curve.at(t) == pytest.approx(literal_censoring(time, event, t, False))
        assert curve.before(t) == pytest.approx(literal_censoring(time, event, t, True))


@pytest.mark.parametrize("groups", [2, 3])
@pytest.mark.parametrize("grid", [1, 1000])
def test_the_log_rank_test_is_scikit_survivals(groups, grid):
    from sksurv.compare import compare_survival
    from sksurv.util import Surv

    time, event = outcomes(grid=grid)
    group = np.random.default_rng(1).integers(0, groups, len(time))
    time = np.ceil(time * (1 + group))
    statistic, p = compare_survival(Surv.from_arrays(event == 1, time), group)
    assert log_rank(time, event, group) == pytest.approx((statistic, p))


def test_rows_without_an_outcome_are_left_out():
    time, event = outcomes()
    more = np.append(time, [np.nan, np.nan]), np.append(event, [np.nan, np.nan])
    assert np.array_equal(kaplan_meier(*more).survival, kaplan_meier(time, event).survival)
    group = np.arange(len(time) + 2) % 2
    assert log_rank(*more, group) == log_rank(time, event, group[:-2])


def test_one_group_or_no_event_has_no_test():
    time, event = outcomes(10)
    assert np.isnan(log_rank(time, event, np.zeros(10))).all()
    assert np.isnan(log_rank(time, 0 * event, np.arange(10) % 2)).all()


def test_a_group_without_known_rows_is_no_group():
    time, event = outcomes(10)
    time[5:], event[5:] = np.nan, np.nan
    assert np.isnan(log_rank(time, event, ["a"] * 5 + ["b"] * 5)).all()


def test_unequal_lengths_are_told():
    with pytest.raises(DataError, match=r"Times have shape \(3,\) and events \(2,\)"):
        kaplan_meier([1, 2, 3], [1, 0])
