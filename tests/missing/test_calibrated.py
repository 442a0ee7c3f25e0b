"""Calibrated mechanisms take their rate of the rows at hand; several drivers; effective rates."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmfuse.errors import ConfigError, DataError
from mmfuse.missing import (
    MAR,
    MCAR,
    Missingness,
    RowFacts,
    ValueMNAR,
    imbalanced_rates,
    nominal_rate,
    put_back_rate,
    redrawn_rate,
)
from mmfuse.recorded import describe, rebuild


@pytest.fixture(scope="session")
def skewed(make_rows):
    """Makes rows whose quantiles are far from uniform, as those of a shifted test set."""

    def make(rows: int = 20_000, natural: float = 0.7) -> RowFacts:
        facts = make_rows(rows, natural)
        return replace(facts, value=torch.where(facts.present, facts.value**4, 0.5))

    return make


def share_lost(simulator: Missingness, facts: RowFacts, drivers: list[int]) -> float:
    at_risk = facts.present.clone()
    at_risk[:, drivers] = False
    return ((~simulator.keep(facts)) & at_risk).sum().item() / at_risk.sum().item()


@given(rate=st.floats(0.05, 0.95), slope=st.floats(-15, 15), natural=st.floats(0.4, 1))
@settings(max_examples=25, deadline=None)
def test_a_calibrated_mechanism_takes_its_rate_of_rows_with_gaps_and_ties(
    skewed, rate, slope, natural
):
    facts = skewed(natural=natural)
    facts = replace(facts, value=(facts.value * 8).round() / 8)
    for simulator, drivers in (
        (MAR(rate, "sound", slope, keep_one=False), [1]),
        (MAR(rate, {"sound": 1.0, "text": -2.0}, slope, keep_one=False), [1, 2]),
        (ValueMNAR(rate, slope, keep_one=False), []),
    ):
        found = share_lost(simulator.calibrated(facts), facts, drivers)
        # Binomial errors, of some 8,000 decisions at least.
        assert found == pytest.approx(rate, abs=4 * math.sqrt(rate / 8000))


def test_rows_that_have_the_driver_lose_the_rate_though_they_keep_one(skewed):
    facts = skewed(natural=1.0)
    for rate in (0.2, 0.9):
        found = share_lost(MAR(rate, "sound").calibrated(facts), facts, [1])
        assert found == pytest.approx(rate, abs=0.01)


def test_uncalibrated_the_rate_of_such_rows_is_another(skewed):
    facts = skewed(natural=1.0)
    assert share_lost(MAR(0.3, "sound"), facts, [1]) < 0.2
    assert share_lost(MAR(0.3, "sound").calibrated(facts), facts, [1]) == pytest.approx(
        0.3, abs=0.01
    )


def test_uniform_quantiles_need_no_calibration(make_rows):
    facts = replace(make_rows(), value=torch.arange(20_000)[:, None].expand(-1, 3) / 20_000)
    for simulator in (MAR(0.3, "text"), ValueMNAR(0.3, keep_one=False)):
        found = describe(simulator.calibrated(facts))["init_args"]["intercept"]
        offset = np.linspace(0, 1, 20_001)[:-1] - 0.5
        assert (1 / (1 + np.exp(-(found + 6 * offset)))).mean() == pytest.approx(0.3, abs=1e-9)
        same = (simulator.calibrated(facts).keep(facts) == simulator.keep(facts)).double().mean()
        assert same > 0.9999


def test_a_calibrated_mechanism_is_rebuilt_from_its_description(skewed):
    facts = skewed(500)
    for simulator in (MAR(0.4, {"sound": 1.0, "image": 1.0}), ValueMNAR(0.4, modalities=["text"])):
        calibrated = simulator.calibrated(facts)
        again = rebuild(describe(calibrated), base=Missingness)
        assert torch.equal(again.keep(facts), calibrated.keep(facts))
        other = calibrated.reseeded(7)
        assert describe(other)["init_args"]["intercept"] == calibrated.intercept


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_certain_rate_needs_no_calibration(skewed, rate):
    facts = skewed(100)
    for simulator in (MAR(rate, "text"), ValueMNAR(rate)):
        assert simulator.calibrated(facts) is simulator


def test_rows_that_have_nothing_to_lose_are_refused(make_rows):
    facts = make_rows(50)
    only_sound = replace(facts, present=torch.tensor([[False, True, False]]).expand(50, -1))
    with pytest.raises(DataError, match="MAR cannot be calibrated: none of the 50 rows"):
        MAR(0.5, "sound").calibrated(only_sound)
    with pytest.raises(DataError, match="ValueMNAR cannot be calibrated"):
        ValueMNAR(0.5, modalities=["text"]).calibrated(only_sound)


# Several drivers.


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_several_drivers_take_their_rate_where_quantiles_are_independent(make_rows, rate):
    facts = make_rows()
    simulator = MAR(rate, {"sound": 2.0, "text": -1.0}, slope=10)
    assert not (~simulator.keep(facts))[:, 1:].any()
    assert share_lost(simulator, facts, [1, 2]) == pytest.approx(rate, abs=0.02)


def test_weights_say_how_much_a_driver_decides_and_which_way(make_rows):
    facts = make_rows()
    lost = (~MAR(0.5, {"sound": 2.0, "text": -1.0}, slope=10).keep(facts))[:, 0].double()
    sound, text = (float(np.corrcoef(lost, facts.value[:, i])[0, 1]) for i in (1, 2))
    assert sound > 0.4
    assert text < -0.2
    assert sound > -text


def test_what_is_lost_depends_on_the_drivers_alone(make_rows):
    facts = make_rows()
    simulator = MAR(0.5, {"sound": 1.0, "text": 1.0}, slope=10)
    changed = facts.value.clone()
    changed[:, 0] = changed[:, 0].flip(0)
    other = replace(facts, value=changed, group=facts.group.flip(0))
    assert torch.equal(simulator.keep(other), simulator.keep(facts))


def test_given_the_driver_the_lost_value_tells_nothing(make_rows):
    facts = make_rows(60_000)
    # The image's value follows the driver's, so that it is associated with its own loss ...
    value = facts.value.clone()
    value[:, 0] = (value[:, 0] + value[:, 1]) / 2
    facts = replace(facts, value=value)
    lost = ~MAR(0.5, "sound", slope=8).keep(facts)[:, 0]
    assert float(np.corrcoef(lost, value[:, 0])[0, 1]) > 0.3
    # ... but not among rows whose drivers are alike.
    for low in (0.3, 0.45, 0.6):
        alike = (value[:, 1] > low) & (value[:, 1] < low + 0.02)
        residual = value[alike, 0] - value[alike, 1] / 2
        found = float(np.corrcoef(lost[alike], residual)[0, 1])
        assert abs(found) < 4 / math.sqrt(int(alike.sum()))


def test_one_driver_by_name_or_by_weight_is_the_same(make_rows):
    facts = make_rows(2000)
    by_weight = MAR(0.4, {"text": 3.0}).keep(facts)
    assert torch.equal(by_weight, MAR(0.4, "text").keep(facts))


@pytest.mark.parametrize("driver", [{}, {"sound": 0.0}, {"sound": math.nan}])
def test_weights_without_a_driver_are_refused(driver):
    with pytest.raises(ConfigError, match="driver of MAR"):
        MAR(0.5, driver)


# Effective rates.


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_mcar_loses_what_the_closed_form_says(make_rows, assert_share, rate):
    assert_share(~MCAR(rate).keep(make_rows()), put_back_rate(rate, 3))


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_rows_drawn_again_lose_what_the_closed_form_says(rate):
    draw = np.random.default_rng(0)
    lost = draw.random((40_000, 3)) < rate
    while (everything := lost.all(axis=1)).any():
        lost[everything] = draw.random((everything.sum(), 3)) < rate
    wanted = redrawn_rate(rate, 3)
    assert lost.mean() == pytest.approx(wanted, abs=4 * math.sqrt(wanted / lost.size))


def test_effective_rates_at_the_ends():
    assert redrawn_rate(1.0, 4) == put_back_rate(1.0, 4) == 0.75
    assert redrawn_rate(1 - 1e-9, 4) == pytest.approx(0.75)
    assert redrawn_rate(0.0, 3) == put_back_rate(0.0, 3) == 0
    assert put_back_rate(0.4, 1) == 0


@given(rate=st.floats(0, 1), modalities=st.integers(2, 12))
@example(rate=1 - 2**-53, modalities=3)
def test_the_nominal_rate_undoes_the_closed_form(rate, modalities):
    effective = put_back_rate(rate, modalities)
    assert put_back_rate(nominal_rate(effective, modalities), modalities) == pytest.approx(
        effective
    )


def test_rates_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"between 0 and 0\.5"):
        nominal_rate(0.6, 2)
    for function in (put_back_rate, redrawn_rate, nominal_rate):
        with pytest.raises(ConfigError, match="from 1 up"):
            function(0.5, 0)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        redrawn_rate(1.5, 2)


@given(count=st.integers(2, 9), mean=st.floats(0, 1), part=st.floats(0, 1))
def test_imbalanced_rates_have_the_wanted_mean_and_each_modality_once_the_highest(
    count, mean, part
):
    names = [f"m{i}" for i in range(count)]
    spread = part * min(mean, 1 - mean)
    for most, rates in imbalanced_rates(names, mean, spread).items():
        assert sorted(rates) == sorted(names)
        assert np.mean(list(rates.values())) == pytest.approx(mean)
        assert rates[most] == pytest.approx(max(rates.values()))
        MCAR(rates)


def test_unequal_rates_need_two_modalities_and_must_be_rates():
    with pytest.raises(ConfigError, match="from two modalities up"):
        imbalanced_rates(["a"])
    with pytest.raises(ConfigError, match="mean - spread"):
        imbalanced_rates(["a", "b"], 0.3, 0.4)
