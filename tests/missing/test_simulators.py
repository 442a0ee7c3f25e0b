"""MCAR, MAR, MNAR and modality dropout do what their definitions say."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.missing import (
    MAR,
    MCAR,
    BlockMCAR,
    Bursts,
    ClusterMCAR,
    FixedPattern,
    LabelMNAR,
    Missingness,
    ModalityDropout,
    OneLost,
    RowFacts,
    ValueMNAR,
)
from mmfuse.missing.logistic import intercept
from mmfuse.recorded import describe, rebuild

MODALITIES = ("image", "sound", "text")


def make_facts(rows: int = 20_000, natural: float = 1.0, seed: int = 0) -> RowFacts:
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand(rows, 3, generator=generator) < natural
    value = torch.rand(rows, 3, generator=generator)
    return RowFacts(
        MODALITIES,
        torch.randperm(10 * rows, generator=generator)[:rows],
        present,
        torch.randint(0, 4, (rows,), generator=generator),
        torch.where(present, value, 0.5),
        torch.randint(-1, rows // 10, (rows,), generator=generator),
    )


FACTS = make_facts()
EVERY = [
    MCAR(0.4, seed=3),
    MCAR({"image": 0.9, "text": 0.2}, keep_one=False),
    MAR(0.5, "sound", seed=1),
    LabelMNAR(0.8, 0.1, groups=[2, 3], modalities=["image", "text"]),
    MAR(0.5, {"sound": 2.0, "text": -1.0}, intercept=0.3),
    ValueMNAR(0.3, seed=2),
    OneLost(0.7, {"image": 3.0, "text": 1.0}, seed=1),
    BlockMCAR(0.4, [["image", "text"]], correlation=0.6, seed=2),
    ClusterMCAR({"image": 0.5, "sound": 0.8}),
    Bursts(0.4, length=7, seed=3),
    FixedPattern(["text"]),
    ModalityDropout(0.5),
]


def name_of(simulator: Missingness) -> str:
    return type(simulator).__name__


def assert_share(lost: torch.Tensor, rate: float) -> None:
    """The share of True is within four binomial standard errors of ``rate``."""
    error = math.sqrt(max(rate * (1 - rate), 1e-9) / lost.numel())
    assert abs(lost.double().mean().item() - rate) <= 4 * error


@pytest.mark.parametrize("simulator", EVERY, ids=name_of)
def test_a_mask_depends_on_the_seed_and_the_row_alone(simulator):
    whole = simulator.keep(FACTS, epoch=2)
    shuffled = torch.randperm(len(FACTS), generator=torch.Generator().manual_seed(5))
    assert torch.equal(simulator.keep(FACTS.rows(shuffled), epoch=2), whole[shuffled])
    parts = [
        simulator.keep(FACTS.rows(p), epoch=2)
        for p in torch.arange(len(FACTS)).split([1, 19_000, 999])
    ]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("simulator", EVERY, ids=name_of)
def test_a_mask_does_not_depend_on_the_order_of_modalities(simulator):
    order = [2, 0, 1]
    turned = replace(
        FACTS,
        modalities=tuple(MODALITIES[i] for i in order),
        present=FACTS.present[:, order],
        value=FACTS.value[:, order],
    )
    assert torch.equal(simulator.keep(turned), simulator.keep(FACTS)[:, order])


@pytest.mark.parametrize("simulator", EVERY, ids=name_of)
def test_a_simulator_is_rebuilt_from_its_description(simulator):
    again = rebuild(describe(simulator), base=Missingness)
    assert torch.equal(again.keep(FACTS), simulator.keep(FACTS))


@pytest.mark.parametrize("simulator", EVERY, ids=name_of)
def test_no_rows_give_an_empty_mask(simulator):
    nobody = FACTS.rows(torch.zeros(0, dtype=torch.long))
    assert simulator.keep(nobody).shape == (0, 3)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_mcar_takes_its_rate_of_each_modality(rate):
    lost = ~MCAR(rate, keep_one=False).keep(FACTS)
    for column in lost.unbind(dim=1):
        assert_share(column, rate)


def test_mcar_takes_each_modality_at_its_own_rate_and_leaves_the_unnamed():
    lost = ~MCAR({"image": 0.7, "sound": 0.2}, keep_one=False).keep(FACTS)
    assert_share(lost[:, 0], 0.7)
    assert_share(lost[:, 1], 0.2)
    assert not lost[:, 2].any()


def test_mcar_loses_modalities_independently_of_each_other():
    lost = (~MCAR(0.5, keep_one=False).keep(FACTS)).double().numpy()
    assert np.abs(np.corrcoef(lost.T) - np.eye(3)).max() < 4 / math.sqrt(len(FACTS))


@pytest.mark.parametrize("rate", [0.3, 0.8, 1.0])
def test_keeping_one_lowers_the_rate_as_documented_and_favours_no_modality(rate):
    lost = ~MCAR(rate).keep(FACTS)
    for column in lost.unbind(dim=1):
        assert_share(column, rate - rate**3 / 3)


def test_a_higher_rate_takes_all_that_a_lower_one_takes():
    facts = make_facts(natural=0.6)
    kept = [facts.present & MCAR(r).keep(facts) for r in (0.9, 0.6, 0.3, 0.0)]
    for fewer, more in itertools.pairwise(kept):
        assert not (fewer & ~more).any()


def test_another_seed_gives_another_mask():
    assert not torch.equal(MCAR(0.5, seed=0).keep(FACTS), MCAR(0.5, seed=1).keep(FACTS))


@given(
    rate=st.floats(0, 1),
    slope=st.floats(-20, 20),
    natural=st.floats(0.1, 1),
    seed=st.integers(-(2**40), 2**40),
)
@settings(max_examples=40, deadline=None)
def test_a_row_never_loses_its_last_modality(rate, slope, natural, seed):
    facts = make_facts(200, natural, seed=abs(seed) % 1000)
    simulators = [
        MCAR(rate, seed=seed),
        MAR(rate, "text", slope=slope, seed=seed),
        LabelMNAR(rate, 1 - rate, groups=[0, 1], seed=seed),
        ValueMNAR(rate, slope=slope, seed=seed),
        OneLost(rate, seed=seed),
        BlockMCAR(rate, correlation=natural, seed=seed),
        ClusterMCAR(rate, seed=seed),
        Bursts(min(rate, 0.99), length=100, seed=seed),
        ModalityDropout(rate, seed=seed),
    ]
    for simulator in simulators:
        left = facts.present & simulator.keep(facts, epoch=4)
        assert torch.equal(left.any(dim=1), facts.present.any(dim=1))


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("slope", [-40.0, -6.0, 0.0, 1e-12, 6.0, 300.0])
def test_the_logistic_curve_has_the_wanted_mean(rate, slope):
    a = intercept(rate, slope)
    curve = lambda q: 1 / (1 + math.exp(-(a + slope * (q - 0.5))))  # noqa: E731
    middle = min(max(0.5 - a / slope, 0), 1) if slope else 0.5
    assert integrate.quad(curve, 0, 1, points=[middle])[0] == pytest.approx(rate, abs=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.6, 1.0])
def test_mar_keeps_the_driver_and_takes_its_rate_of_the_others(rate):
    lost = ~MAR(rate, "sound").keep(FACTS)
    assert not lost[:, 1].any()
    assert_share(lost[:, [0, 2]], rate)


def test_mar_depends_on_the_driver_and_on_nothing_else():
    simulator = MAR(0.5, "sound", slope=8)
    others = torch.rand(len(FACTS), 3)
    others[:, 1] = FACTS.value[:, 1]
    changed = replace(FACTS, value=others, group=torch.zeros_like(FACTS.group))
    assert torch.equal(simulator.keep(changed), simulator.keep(FACTS))
    lost = ~simulator.keep(FACTS)[:, 0]
    high = FACTS.value[:, 1] > 0.5
    assert lost[high].double().mean() > lost[~high].double().mean() + 0.5


def test_mar_takes_an_absent_driver_for_its_median():
    present = torch.ones_like(FACTS.present)
    present[:, 1] = False
    facts = replace(FACTS, present=present, value=torch.full_like(FACTS.value, 0.99))
    lost = ~MAR(0.5, "sound", keep_one=False).keep(facts)
    assert_share(lost[:, [0, 2]], 0.5)


def test_label_mnar_takes_from_its_groups_and_flipped_from_the_others():
    simulator = LabelMNAR(0.8, 0.1, groups=[2, 3], modalities=["image", "text"], keep_one=False)
    chosen = FACTS.group >= 2
    for mechanism, groups in ((simulator, chosen), (simulator.flipped(), ~chosen)):
        lost = ~mechanism.keep(FACTS)
        assert_share(lost[groups][:, [0, 2]], 0.8)
        assert_share(lost[~groups][:, [0, 2]], 0.1)
        assert not lost[:, 1].any()
    assert torch.equal(simulator.flipped().flipped().keep(FACTS), simulator.keep(FACTS))


def test_label_mnar_leaves_a_row_of_unknown_label_alone():
    unknown = replace(FACTS, group=torch.full_like(FACTS.group, -1))
    for mechanism in (LabelMNAR(0.9, 0.9), LabelMNAR(0.9).flipped()):
        assert mechanism.keep(unknown).all()


def test_label_mnar_reveals_the_label_where_mcar_does_not():
    binary = replace(FACTS, group=FACTS.group % 2)

    def association(simulator: Missingness) -> float:
        lost = (~simulator.keep(binary)).sum(dim=1).double()
        return float(np.corrcoef(lost, binary.group.double())[0, 1])

    assert association(LabelMNAR(0.8)) > 0.5
    assert abs(association(MCAR(0.4))) < 4 / math.sqrt(len(FACTS))


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_value_mnar_takes_large_values_and_flipped_small_ones(rate):
    simulator = ValueMNAR(rate, modalities=["image", "sound"], keep_one=False)
    for mechanism, sign in ((simulator, 1), (simulator.flipped(), -1)):
        lost = ~mechanism.keep(FACTS)
        assert_share(lost[:, :2], rate)
        assert not lost[:, 2].any()
        for column in (0, 1):
            value = FACTS.value[:, column]
            gone, left = value[lost[:, column]].mean(), value[~lost[:, column]].mean()
            assert sign * (gone - left) > 0.2


def test_modality_dropout_draws_anew_every_epoch_and_the_others_do_not():
    for simulator in EVERY:
        same = torch.equal(simulator.keep(FACTS, epoch=0), simulator.keep(FACTS, epoch=1))
        assert same != isinstance(simulator, ModalityDropout)


def test_modality_dropout_treats_every_epoch_alike():
    lost = torch.stack([~ModalityDropout(0.4, keep_one=False).keep(FACTS, e) for e in range(5)])
    for epoch in lost:
        assert_share(epoch, 0.4)
    assert_share(lost[0] & lost[1], 0.16)


def test_a_modality_that_was_never_there_stays_absent_and_does_not_count_as_the_kept_one():
    present = torch.zeros_like(FACTS.present)
    present[:, 2] = True
    facts = replace(FACTS, present=present)
    left = facts.present & MCAR(1.0).keep(facts)
    assert torch.equal(left, present)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_that_is_no_probability_is_refused(rate):
    for make in (
        lambda: MCAR(rate),
        lambda: MCAR({"image": rate}),
        lambda: MAR(rate, "image"),
        lambda: LabelMNAR(rate),
        lambda: LabelMNAR(0.5, rate),
        lambda: ValueMNAR(rate),
        lambda: OneLost(rate),
        lambda: BlockMCAR(rate),
        lambda: BlockMCAR(0.5, correlation=rate),
        lambda: ClusterMCAR(rate),
        lambda: Bursts(rate),
        lambda: ModalityDropout(rate),
    ):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            make()


@pytest.mark.parametrize(
    "simulator",
    [
        MCAR({"smell": 0.5}),
        MAR(0.5, "smell"),
        LabelMNAR(modalities=["smell"]),
        MAR(0.5, {"smell": 1.0, "image": 1.0}),
        ValueMNAR(0.5, modalities=["smell"]),
        OneLost(0.5, {"smell": 1.0}),
        BlockMCAR(0.5, [["smell"]]),
        ClusterMCAR({"smell": 0.5}),
        Bursts(0.5, modalities=["smell"]),
        FixedPattern(["smell"]),
        ModalityDropout({"smell": 0.5}),
    ],
    ids=name_of,
)
def test_an_unknown_modality_is_named_beside_the_known_ones(simulator):
    with pytest.raises(UnknownModalityError, match=r"smell.*image"):
        simulator.keep(FACTS)
