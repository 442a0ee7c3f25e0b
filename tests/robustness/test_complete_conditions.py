"""The complete conditions: the standard ones and those with a structure."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmfuse.errors import ConfigError
from mmfuse.missing import MAR, BlockMCAR, RowFacts, ValueMNAR
from mmfuse.robustness import Condition, complete_conditions, evaluate, standard_conditions
from mmfuse.robustness.conditions import check_names


def of_family(conditions: list[Condition], family: str) -> list[Condition]:
    return [c for c in conditions if c.family == family]


@pytest.fixture
def many() -> RowFacts:
    generator = torch.Generator().manual_seed(0)
    return RowFacts(
        ("a", "b", "c"),
        torch.arange(4000),
        torch.ones(4000, 3, dtype=torch.bool),
        torch.randint(0, 3, (4000,), generator=generator),
        torch.rand(4000, 3, generator=generator) ** 3,
        torch.arange(4000) // 10,
    )


def share(condition: Condition, facts: RowFacts) -> torch.Tensor:
    """The share of each modality that is taken away."""
    return (~condition.missing.keep(facts)).double().mean(dim=0)


def test_they_hold_the_standard_ones_as_they_are():
    names = {c.name for c in complete_conditions("abc")}
    assert names > {c.name for c in standard_conditions("abc")}
    check_names(complete_conditions([f"m{i}" for i in range(6)]))


def test_every_family_is_there(many):
    wanted = {"one_lost", "imbalanced_mcar", "block", "bursts"}
    plain = {c.family for c in complete_conditions("abc")}
    assert wanted <= plain
    assert "cluster" not in plain
    assert {c.family for c in complete_conditions("abc", many)} == plain | {"cluster"}
    without = replace(many, cluster=None)
    assert {c.family for c in complete_conditions("abc", without)} == plain


def test_imbalanced_rates_have_the_mean_of_the_shared_one(many):
    conditions = complete_conditions("abc", keep_one=False)
    found = of_family(conditions, "imbalanced_mcar")
    assert [c.name for c in found] == [f"imbalanced 0.5, most of {m}" for m in "abc"]
    for k, condition in enumerate(found):
        lost = share(condition, many)
        assert lost.mean().item() == pytest.approx(0.5, abs=0.02)
        assert lost.argmax() == k
        assert lost.max().item() == pytest.approx(0.9, abs=0.03)


def test_one_is_lost_of_any_or_always_the_same(many):
    found = {c.name: share(c, many) for c in of_family(complete_conditions("abc"), "one_lost")}
    assert list(found) == ["one lost 0.5", "one lost 1", "a lost 0.5", "b lost 0.5", "c lost 0.5"]
    assert found["one lost 1"].tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert found["b lost 0.5"].tolist() == pytest.approx([0, 0.5, 0], abs=0.03)


def test_facts_calibrate_what_values_decide(many):
    for condition in complete_conditions("abc", many, keep_one=False):
        if isinstance(condition.missing, MAR):
            lost = share(condition, many)
            at_risk = torch.tensor([m not in condition.missing.weights for m in "abc"])
            assert lost[at_risk].mean().item() == pytest.approx(condition.rate, abs=0.03)
            assert not lost[~at_risk].any()
        if isinstance(condition.missing, ValueMNAR):
            assert share(condition, many).mean().item() == pytest.approx(condition.rate, abs=0.03)


def test_each_modality_is_lost_by_what_the_others_say():
    names = [c.name for c in complete_conditions("abc") if "by the rest" in c.name]
    assert names == [f"mar 0.5 of {m} by the rest" for m in "abc"]
    assert not [c for c in complete_conditions("ab") if "by the rest" in c.name]


def test_options_reach_the_simulators_and_the_standard_conditions():
    conditions = complete_conditions(
        "abc",
        mcar_rates=[0.25],
        blocks=[["a", "b"]],
        correlations=[0.3],
        burst_rates=[],
        one_lost_rates=[],
    )
    assert [c.name for c in of_family(conditions, "mcar")] == ["mcar 0.25"]
    (block,) = of_family(conditions, "block")
    assert isinstance(block.missing, BlockMCAR)
    assert (block.missing.blocks, block.missing.correlation) == ([["a", "b"]], 0.3)
    assert not of_family(conditions, "bursts")
    assert not of_family(conditions, "one_lost")


def test_one_modality_has_no_simulators_since_rows_keep_one():
    assert {c.family for c in complete_conditions("a")} == {"complete", "subset", "empty"}
    alone = {c.family for c in complete_conditions("a", keep_one=False)}
    assert alone >= {"mcar", "bursts"}


def test_rates_out_of_range_are_refused():
    with pytest.raises(ConfigError, match=r"mean \+ spread"):
        complete_conditions("abc", mean_rate=0.8)
    with pytest.raises(ConfigError, match="length of Bursts"):
        complete_conditions("abc", burst_length=1.0)


def test_a_model_is_evaluated_under_all_of_them(model, facts, batches):
    facts = replace(facts, cluster=facts.index % 5)
    conditions = complete_conditions("abc", facts, [2])
    result = evaluate(model, batches, facts, conditions, bootstrap=5)
    assert result.main("kind")["condition"].tolist() == [c.name for c in conditions]
    assert result.meta["shapley"] == "exact"
    order = facts.index.argsort()
    for condition in of_family(conditions, "cluster"):
        kept = (facts.present & condition.missing.keep(facts))[order]
        assert result.kept(condition.name).tolist() == kept.tolist()
