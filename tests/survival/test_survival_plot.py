"""Pictures of survival: groups by risk, what is drawn, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from mmfuse.errors import DataError
from mmfuse.survival import kaplan_meier, kaplan_meier_plot, log_rank
from mmfuse.survival.plot import risk_group

ROWS = 90


@pytest.fixture
def cohort():
    draw = np.random.default_rng(0)
    risk = draw.normal(size=ROWS)
    time = draw.exponential(np.exp(-risk))
    return time, (draw.random(ROWS) < 0.7).astype(float), risk


def test_a_group_is_the_number_of_thresholds_below():
    assert risk_group([0.1, 0.5, 0.7, 2.0], [1.0, 0.5]).tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_each_group_has_its_curve(cohort, count):
    time, event, risk = cohort
    cuts = np.quantile(risk, np.arange(1, count) / count)
    axes = kaplan_meier_plot(time, event, risk, cuts).axes[0]
    drawn = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert len(drawn) == count
    lowest = risk_group(risk, cuts) == 0
    curve = kaplan_meier(time[lowest], event[lowest])
    assert drawn[0].get_ydata()[1:-1] == pytest.approx(curve.survival)
    _, p = log_rank(time, event, risk_group(risk, cuts))
    told = float(axes.get_title(loc="left").removeprefix("log-rank p = "))
    assert told == pytest.approx(p, rel=0.05)


def test_rows_without_an_outcome_are_left_out(cohort):
    time, event, risk = cohort
    time[:10], event[:10] = np.nan, np.nan
    axes = kaplan_meier_plot(time, event, risk, unit="months").axes[0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [
        "lower risk (40)",
        "higher risk (40)",
    ]
    assert axes.get_xlabel() == "time (months)"


def test_a_group_without_events_or_rows_is_drawn_without_a_fault(cohort):
    time, event, risk = cohort
    event[risk > 0] = 0
    assert kaplan_meier_plot(time, event, risk, [0.0, 100.0]).axes[0].get_title(loc="left")
    told = kaplan_meier_plot(time, 0 * event, risk).axes[0].get_title(loc="left")
    assert told == "log-rank test undefined: one group, or no event"


def test_unequal_lengths_are_told(cohort):
    time, event, risk = cohort
    with pytest.raises(DataError, match="90 times and 89 risks"):
        kaplan_meier_plot(time, event, risk[:-1])
