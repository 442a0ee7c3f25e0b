"""Fixed patterns, and the subsets that a study walks through."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfuse.errors import ConfigError
from mmfuse.missing import FixedPattern, RowFacts, subsets

NAMES = [f"m{i}" for i in range(12)]


def test_only_the_named_modalities_stay():
    facts = RowFacts(
        ("a", "b", "c"),
        torch.arange(2),
        torch.ones(2, 3).bool(),
        torch.zeros(2).long(),
        torch.zeros(2, 3),
    )
    assert FixedPattern(["c", "a"]).keep(facts).tolist() == [[True, False, True]] * 2
    assert not FixedPattern([]).keep(facts).any()


@given(st.integers(1, 8))
def test_every_subset_of_few_modalities_comes_once(count):
    found = subsets(NAMES[:count])
    assert len(found) == len(set(found)) == 2**count - 1
    assert found[-1] == tuple(NAMES[:count])


def test_beyond_the_limit_single_modalities_leave_one_outs_and_the_full_set_are_there():
    found = subsets(NAMES, sample=20)
    assert len(found) == len(set(found)) == 12 + 12 + 1 + 20
    assert {(m,) for m in NAMES} <= set(found)
    assert {tuple(n for n in NAMES if n != m) for m in NAMES} <= set(found)
    assert found == subsets(NAMES, sample=20)
    assert found != subsets(NAMES, sample=20, seed=1)


def test_a_sample_larger_than_what_there_is_gives_everything():
    assert len(subsets(NAMES[:3], limit=2, sample=99)) == 7


def test_repeated_or_no_names_are_refused():
    for names in ([], ["a", "a"]):
        with pytest.raises(ConfigError, match="distinct"):
            subsets(names)
