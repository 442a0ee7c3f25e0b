"""The standard conditions: which there are, and that their masks are honest."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from mmfuse import Batch, DataSpec, TargetSpec
from mmfuse.errors import ConfigError
from mmfuse.missing import MAR, MCAR, LabelMNAR, RowFacts, ValueMNAR, subsets
from mmfuse.robustness import Condition, complete, label_groups, standard_conditions
from mmfuse.robustness.conditions import check_names
from mmfuse.robustness.importance import sampled_orders


def names(count: int) -> list[str]:
    return [f"m{i}" for i in range(count)]


def of_family(conditions: list[Condition], family: str) -> list[Condition]:
    return [c for c in conditions if c.family == family]


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_up_to_eight_modalities_every_subset_is_evaluated(count: int):
    conditions = standard_conditions(names(count))
    kept = [c.kept for c in of_family(conditions, "subset")]
    assert kept == subsets(names(count))
    assert len(kept) == 2**count - 1
    assert [c.kept for c in of_family(conditions, "empty")] == [()]


def test_beyond_eight_modalities_subsets_are_sampled_for_an_estimate():
    modalities = names(12)
    kept = {frozenset(c.kept) for c in of_family(standard_conditions(modalities, seed=3), "subset")}
    everything = frozenset(modalities)
    assert kept >= {frozenset({m}) for m in modalities}
    assert kept >= {everything - {m} for m in modalities} | {everything}
    for order in sampled_orders(modalities, seed=3):
        assert kept >= {frozenset(order[:k]) for k in range(1, 13)}
    assert len(kept) < 250
    again = {
        frozenset(c.kept) for c in of_family(standard_conditions(modalities, seed=3), "subset")
    }
    assert kept == again


def test_the_standard_rates_and_mechanisms():
    conditions = standard_conditions("abc", groups=[2], seed=6)
    assert conditions[0] == complete()
    mcar = [c.missing for c in of_family(conditions, "mcar")]
    assert [m.rate for m in mcar] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert all(isinstance(m, MCAR) and m.seed == 6 and m.keep_one for m in mcar)
    mar = [c.missing for c in of_family(conditions, "mar")]
    assert all(isinstance(m, MAR) for m in mar)
    assert {(m.driver, m.rate) for m in mar} == {(d, r) for d in "abc" for r in (0.3, 0.6)}
    (label,), (flipped,) = (of_family(conditions, f) for f in ("mnar", "mnar_flipped"))
    assert isinstance(label.missing, LabelMNAR)
    assert label.missing.groups == flipped.missing.groups == [2]
    assert (label.missing.rate, label.missing.other_rate) == (0.8, 0.0)
    assert (flipped.missing.rate, flipped.missing.other_rate) == (0.0, 0.8)
    (value,), (other,) = (of_family(conditions, f) for f in ("value_mnar", "value_mnar_flipped"))
    assert isinstance(value.missing, ValueMNAR)
    assert value.missing.slope == -other.missing.slope > 0


def test_rates_and_drivers_can_be_chosen():
    conditions = standard_conditions("abc", mcar_rates=[0.25], mar_rates=[0.5], drivers=["b"])
    assert [c.name for c in of_family(conditions, "mcar")] == ["mcar 0.25"]
    assert [c.name for c in of_family(conditions, "mar")] == ["mar 0.5 by b"]


def test_one_modality_has_no_simulators_since_rows_keep_one():
    families = {c.family for c in standard_conditions("a")}
    assert families == {"complete", "subset", "empty"}


def test_names_are_distinct():
    check_names(standard_conditions(names(12)))


def taken(condition: Condition, facts: RowFacts) -> torch.Tensor:
    """``(B, M)`` True where the condition takes away what was there."""
    return facts.present & ~condition.missing.keep(facts)


@pytest.fixture
def many() -> RowFacts:
    generator = torch.Generator().manual_seed(0)
    count = 4000
    return RowFacts(
        ("a", "b", "c"),
        torch.randperm(count, generator=generator),
        torch.ones(count, 3, dtype=torch.bool),
        torch.randint(0, 3, (count,), generator=generator),
        torch.rand(count, 3, generator=generator),
    )


def test_mcar_loses_its_rate_less_what_rows_keep(many: RowFacts):
    for condition in of_family(standard_conditions("abc"), "mcar"):
        rate = condition.rate
        share = taken(condition, many).double().mean().item()
        assert share == pytest.approx(rate - rate**3 / 3, abs=0.02)


def test_mar_follows_the_driver_which_stays(many: RowFacts):
    for condition in of_family(standard_conditions("abc"), "mar"):
        lost, driver = taken(condition, many), "abc".index(condition.missing.driver)
        high = many.value[:, driver] > 0.5
        others = [i for i in range(3) if i != driver]
        assert not lost[:, driver].any()
        assert lost[:, others][high].double().mean() > lost[:, others][~high].double().mean() + 0.2


def test_mnar_by_label_strikes_its_groups_and_its_flip_the_others(many: RowFacts):
    conditions = standard_conditions("abc", groups=[1, 2])
    chosen = many.group >= 1
    lost = taken(of_family(conditions, "mnar")[0], many)
    assert lost[chosen].double().mean() > 0.6
    assert not lost[~chosen].any()
    lost = taken(of_family(conditions, "mnar_flipped")[0], many)
    assert lost[~chosen].double().mean() > 0.6
    assert not lost[chosen].any()


def test_mnar_by_value_takes_large_values_and_its_flip_small_ones(many: RowFacts):
    conditions = standard_conditions("abc")
    for family, is_larger in (("value_mnar", True), ("value_mnar_flipped", False)):
        lost = taken(of_family(conditions, family)[0], many)
        assert (many.value[lost].mean() > many.value[~lost].mean() + 0.1) == is_larger


def test_no_simulator_empties_a_row(many: RowFacts):
    for condition in standard_conditions("abc"):
        if condition.family not in ("complete", "subset", "empty"):
            assert condition.missing.keep(many).any(dim=1).all()


def test_masks_depend_neither_on_batch_size_nor_on_order(rows: Batch, facts: RowFacts):
    for condition in standard_conditions("abc", groups=[1, 2], seed=4)[1:]:
        whole = condition.missing.keep(facts)
        order = torch.randperm(len(facts), generator=torch.Generator().manual_seed(5))
        for size in (1, 7):
            parts = [condition.missing.keep(facts.rows(part)) for part in order.split(size)]
            assert torch.equal(torch.cat(parts), whole[order]), condition.name


def test_another_seed_takes_others_away(many: RowFacts):
    one, other = (of_family(standard_conditions("abc", seed=s), "mcar")[4] for s in (0, 1))
    assert not torch.equal(taken(one, many), taken(other, many))


def test_a_higher_rate_takes_all_that_a_lower_one_takes(many: RowFacts):
    lost = [taken(c, many) for c in of_family(standard_conditions("abc"), "mcar")]
    for lower, higher in itertools.pairwise(lost):
        assert (higher | ~lower).all()


@pytest.mark.parametrize(
    ("target", "groups"),
    [
        (TargetSpec("multiclass", classes=tuple("abcde")), [3, 4]),
        (TargetSpec("binary"), [1]),
        (TargetSpec("regression"), [1]),
    ],
)
def test_mnar_strikes_the_upper_half_of_the_classes(target: TargetSpec, groups: list[int]):
    assert label_groups(DataSpec({}, {"y": target, "z": TargetSpec("binary")})) == groups


def test_a_name_twice_is_refused():
    twice = [complete(), Condition("complete", "own", math.nan, MCAR(0.5))]
    with pytest.raises(ConfigError, match="complete"):
        check_names(twice)
    with pytest.raises(ConfigError, match="none"):
        check_names([])
