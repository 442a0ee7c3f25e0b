from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse import Batch, Tokens
from mmfuse.batch import Problem
from mmfuse.errors import UnknownModalityError


@st.composite
def batches(draw):
    """Batches with a dense and a ragged modality and two targets."""
    size = draw(st.integers(1, 6))
    bits = draw(st.lists(st.booleans(), min_size=2 * size, max_size=2 * size))
    inputs = {
        "a": torch.arange(size * 3.0).view(size, 3),
        "b": Tokens(torch.arange(size * 2.0).view(size, 2, 1), torch.ones(size, 2).bool()),
    }
    target = {"y": torch.arange(size), "z": torch.arange(size) * 0.5}
    present = torch.tensor(bits).view(size, 2)
    return Batch(("a", "b"), inputs, present, target, torch.arange(size) + 100)


@settings(deadline=None)
@given(batches(), st.data())
def test_rows_selects_the_same_rows_of_everything(batch, data):
    chosen = data.draw(st.lists(st.integers(0, len(batch) - 1), max_size=8))
    index = torch.tensor(chosen, dtype=torch.long)
    some = batch.rows(index)
    assert len(some) == len(chosen)
    assert some.index.tolist() == [100 + i for i in chosen]
    assert some.target["y"].tolist() == chosen
    assert some.target["z"].tolist() == [i / 2 for i in chosen]
    assert torch.equal(some.inputs["a"], batch.inputs["a"][index])
    assert torch.equal(some.inputs["b"].values, batch.inputs["b"].values[index])
    assert torch.equal(some.present, batch.present[index])


@settings(deadline=None)
@given(batches(), st.data())
def test_present_rows_always_agree_with_present(batch, data):
    chosen = [data.draw(st.booleans()) for _ in range(len(batch))]
    mask = torch.tensor([[data.draw(st.booleans()) for _ in "ab"] for _ in chosen])
    for each in (batch, batch.rows(torch.tensor(chosen)), batch.keep(mask), batch.to("cpu")):
        for m, column in zip(each.modalities, each.present.unbind(dim=1), strict=True):
            assert each.present_rows[m].tolist() == [i for i, here in enumerate(column) if here]


def test_keep_takes_modalities_away_and_never_gives_one():
    present = torch.tensor([[True, False], [True, True]])
    batch = Batch(("a", "b"), {"a": torch.zeros(2, 1), "b": torch.zeros(2, 1)}, present)
    kept = batch.keep(torch.tensor([[False, True], [True, False]]))
    assert kept.present.tolist() == [[False, False], [True, False]]
    assert kept.inputs is batch.inputs
    assert batch.present.tolist() == present.tolist()


def test_a_batch_without_an_index_counts_its_rows():
    assert Batch(("a",), {}, torch.zeros(3, 1).bool()).index.tolist() == [0, 1, 2]


def test_an_input_that_modalities_do_not_name_is_refused():
    with pytest.raises(UnknownModalityError, match=r"hold \['c'\].*\('a',\).*drop the inputs"):
        Batch(("a",), {"a": torch.zeros(1, 1), "c": torch.zeros(1, 1)}, torch.ones(1, 1).bool())


def test_present_with_another_number_of_columns_is_refused():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        Batch(("a", "b"), {}, torch.ones(1, 1).bool())


@pytest.mark.parametrize("target", [None, torch.zeros(2), {"y": torch.zeros(2)}])
def test_everything_moves_to_the_device(target):
    inputs = {"a": torch.zeros(2, 1), "b": Tokens(torch.zeros(2, 1, 1), torch.ones(2, 1).bool())}
    moved = Batch(("a", "b"), inputs, torch.ones(2, 2).bool(), target).to("meta")

    def devices(value):
        if isinstance(value, torch.Tensor):
            yield value.device.type
        elif isinstance(value, Tokens):
            yield from (value.values.device.type, value.mask.device.type)
        elif isinstance(value, dict):
            for each in value.values():
                yield from devices(each)

    found = {d for f in fields(moved) for d in devices(getattr(moved, f.name))}
    assert found == {"meta"}


@pytest.mark.parametrize("is_view", [False, True])
def test_only_keeps_the_rows_for_a_model_of_fewer_modalities(is_view):
    present = torch.tensor([[True, True, False], [False, True, True], [False, False, True]])
    inputs = {m: torch.arange(6.0).reshape(3, 2) + i for i, m in enumerate("abc")}
    problems = (Problem(0, "c", "torn"), Problem(1, "a", "empty"))
    batch = Batch(("a", "b", "c"), inputs, present, torch.tensor([4, 5, 6]), problems=problems)
    if is_view:
        batch = batch.view(torch.arange(3))
    found = batch.only(["c", "a", "z"])
    assert found.modalities == ("c", "a")
    assert found.present.tolist() == present[:, [2, 0]].tolist()
    assert found.present_rows["c"].tolist() == [1, 2]
    assert torch.equal(found.inputs["c"], inputs["c"])
    assert set(found.inputs) == {"a", "c"}
    assert found.problems == problems
    assert batch.only("b").problems == ()
    assert found.target.tolist() == [4, 5, 6]
