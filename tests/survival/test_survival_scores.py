"""Concordance and Brier scores: written out slowly, and against scikit-survival."""

from __future__ import annotations

import numpy as np
import pytest

from mmfuse.robustness.metrics import resamples
from mmfuse.survival import censoring, concordance, integrated_brier
from mmfuse.survival.scores import brier

ROWS = 70


@pytest.fixture(params=[1, 1000], ids=["many ties", "few ties"])
def cohort(request):
    """Times, events, risks of three models (of which one ties often) and curves at three times."""
    draw = np.random.default_rng(0)
    hidden = draw.normal(size=ROWS)
    time = np.ceil(draw.exponential(4 * np.exp(-hidden)) * request.param) / request.param
    event = draw.random(ROWS) < 0.6
    risk = hidden + draw.normal(size=(3, ROWS))
    risk[2] = risk[2].round()
    curve = np.sort(draw.random((3, ROWS, 3)))[:, :, ::-1]
    return time, event, risk.astype(np.float32), curve.astype(np.float32)


def literal_concordance(risk, time, event, weight, counts):
    hits = total = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            later = time[i] < time[j] or (time[i] == time[j] and not event[j])
            if event[i] and later and i != j:
                share = weight[i] * weight[j] * counts[i]
                total += share
                hits += share * (risk[i] > risk[j]) + share * 0.5 * (risk[i] == risk[j])
    return hits / total


@pytest.mark.parametrize("is_ipcw", [False, True])
def test_the_index_is_the_share_of_concordant_pairs(cohort, is_ipcw):
    time, event, risk, _ = cohort
    counts = censoring(time, event).before(time) ** -2.0 if is_ipcw else np.ones(ROWS)
    found = concordance(risk, time, event, np.ones((ROWS, 1)), is_ipcw)
    for line, row in zip(found[:, 0], risk, strict=True):
        expected = literal_concordance(row, time, event, np.ones(ROWS), counts)
        assert line == pytest.approx(expected, abs=1e-12)


def test_the_indices_are_scikit_survivals(cohort):
    metrics = pytest.importorskip("sksurv.metrics")
    from sksurv.util import Surv

    time, event, risk, _ = cohort
    found = concordance(risk, time, event, np.ones((ROWS, 1)))[:, 0]
    expected = [metrics.concordance_index_censored(event, time, row)[0] for row in risk]
    assert found == pytest.approx(expected)
    if len(np.unique(time)) < ROWS:
        return  # of one time it takes the events' weight after the censorings
    outcome = Surv.from_arrays(event, time)
    last = np.sort(time)[-1]
    found = concordance(risk, time, event, np.ones((ROWS, 1)), is_ipcw=True)[:, 0]
    expected = [
        metrics.concordance_index_ipcw(outcome, outcome[time < last], row[time < last])[0]
        for row in risk
    ]
    # Its last row of all has no weight where it is an event, and no pair where it is not.
    assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("is_ipcw", [False, True])
@pytest.mark.parametrize("most", [2**33, 0], ids=["as drawn", "to first order"])
def test_resamples_are_scored_as_if_drawn(cohort, is_ipcw, most, monkeypatch):
    monkeypatch.setattr("mmfuse.survival.scores._PRODUCTS_AT_MOST", most)
    time, event, risk, _ = cohort
    weight = resamples(ROWS, 300)
    counts = censoring(time, event).before(time) ** -2.0 if is_ipcw else np.ones(ROWS)
    pairs = event[:, None] & ((time[:, None] < time) | ((time[:, None] == time) & ~event))
    hits = pairs * ((risk[2][:, None] > risk[2]) + 0.5 * (risk[2][:, None] == risk[2]))
    exact = np.array([(w * counts) @ hits @ w / ((w * counts) @ pairs @ w) for w in weight.T])
    found = concordance(risk[2:], time, event, weight, is_ipcw)[0]
    assert found[0] == pytest.approx(exact[0], abs=1e-12)
    if most:
        assert found == pytest.approx(exact, abs=1e-12)
    ends = np.percentile(exact, [2.5, 97.5])
    assert np.percentile(found, [2.5, 97.5]) == pytest.approx(ends, abs=0.03)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("is_ipcw", [False, True])
def test_rows_compared_in_chunks_are_the_same(cohort, chunk, is_ipcw, monkeypatch):
    monkeypatch.setattr("mmfuse.survival.scores._CHUNK", chunk)
    time, event, risk, _ = cohort
    counts = censoring(time, event).before(time) ** -2.0 if is_ipcw else np.ones(ROWS)
    found = concordance(risk, time, event, np.ones((ROWS, 1)), is_ipcw)[:, 0]
    expected = [literal_concordance(row, time, event, np.ones(ROWS), counts) for row in risk]
    assert found == pytest.approx(expected, abs=1e-12)


def test_without_a_comparable_pair_the_index_is_undefined():
    time, weight = np.array([1.0, 2.0]), np.ones((2, 1))
    for event in ([False, False], [False, True]):
        assert np.isnan(concordance(np.zeros((1, 2)), time, np.array(event), weight)).all()
    assert np.isnan(concordance(np.zeros((1, 0)), time[:0], np.zeros(0, bool), weight[:0])).all()


def literal_brier(survival, t, time, event):
    curve, total = censoring(time, event), 0.0
    for s, u, e in zip(survival, time, event, strict=True):
        if u <= t and e:
            total += s**2 / curve.before(u)
        elif u > t:
            total += (1 - s) ** 2 / curve.at(t)
    return total / len(time)


def test_the_brier_score_is_its_equation(cohort):
    time, event, _, curve = cohort
    at = np.quantile(time, [0.2, 0.5, 0.8])
    found = brier(curve, at, time, event).mean(axis=1)
    for c in range(3):
        for k, t in enumerate(at):
            assert found[c, k] == pytest.approx(literal_brier(curve[c, :, k], t, time, event))


def test_the_integrated_score_is_the_area_from_zero(cohort):
    time, event, _, curve = cohort
    at = np.quantile(time, [0.2, 0.5, 0.8])
    scores = brier(curve, at, time, event).mean(axis=1)
    found = integrated_brier(curve, at, time, event, np.ones((ROWS, 1)))[:, 0]
    for c in range(3):
        area = np.trapezoid([0, *scores[c]], [0, *at]) / at[-1]
        assert found[c] == pytest.approx(area)


def test_the_brier_scores_are_scikit_survivals():
    metrics = pytest.importorskip("sksurv.metrics")
    from sksurv.util import Surv

    draw = np.random.default_rng(3)
    time, event = draw.exponential(4, ROWS), draw.random(ROWS) < 0.6
    event[time.argmax()] = False
    curve = np.sort(draw.random((1, ROWS, 3)))[:, :, ::-1]
    at = np.quantile(time, [0.2, 0.5, 0.8])
    outcome = Surv.from_arrays(event, time)
    _, expected = metrics.brier_score(outcome, outcome, curve[0], at)
    assert brier(curve, at, time, event).mean(axis=1)[0] == pytest.approx(expected)


def test_times_that_no_row_outlasts_are_left_out(cohort):
    time, event, _, curve = cohort
    at = np.array([*np.quantile(time, [0.3, 0.6]), time.max() + 1])
    weight = np.ones((ROWS, 1))
    found = integrated_brier(curve, at, time, event, weight)
    assert found == pytest.approx(integrated_brier(curve[:, :, :2], at[:2], time, event, weight))
    beyond = np.full(1, time.max())
    assert np.isnan(integrated_brier(curve[:, :, :1], beyond, time, event, weight)).all()


def test_a_better_curve_has_a_lower_score():
    draw = np.random.default_rng(1)
    hidden = draw.normal(size=2000)
    time = draw.exponential(np.exp(-hidden))
    seen = draw.exponential(2.0, 2000)
    event, time = time <= seen, np.minimum(time, seen)
    at = np.array([0.2, 0.5, 1.0])
    truth = np.exp(-np.exp(hidden)[:, None] * at)
    noise = np.clip(truth + draw.normal(size=truth.shape) * 0.2, 0, 1)
    same = np.broadcast_to(truth.mean(axis=0), truth.shape)
    found = integrated_brier(np.stack([truth, noise, same]), at, time, event, np.ones((2000, 1)))[
        :, 0
    ]
    assert found[0] < found[1]
    assert found[0] < found[2]
