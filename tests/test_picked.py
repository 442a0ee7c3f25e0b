"""Rows picked from a table: the same numbers and gradients as those of copied rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mmfuse import Batch, DataSpec, ModalitySpec, Tokens
from mmfuse import picked as module
from mmfuse.model import Towers
from mmfuse.picked import PickedInputs, PickedRows
from mmfuse_encoders import LinearEncoder, MLPEncoder

ROWS, WIDTH = 9, 5
DRAW = torch.Generator().manual_seed(0)
TABLE = torch.randn(ROWS, WIDTH, generator=DRAW, dtype=torch.float64) * 3 + 20
MEAN, STD = TABLE.mean(dim=0), TABLE.std(dim=0)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows at a time, so that nine of them are several blocks and a rest."""
    monkeypatch.setattr(module, "_BLOCK_BYTES", 2 * WIDTH * 8)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("is_standardised", [True, False])
@pytest.mark.parametrize("index", [[], [4], [8, 0, 3, 3, 1], list(range(ROWS))])
def test_a_map_of_picked_rows_is_that_of_copied_ones(
    index: list[int], is_standardised: bool, bias: bool
) -> None:
    picked = PickedRows(TABLE, torch.tensor(index, dtype=torch.long))
    rows = TABLE[picked.index]
    if is_standardised:
        picked, rows = picked.standardised(MEAN, 1 / STD), (rows - MEAN) / STD
    torch.testing.assert_close(picked.copied(), rows)
    linear = nn.Linear(WIDTH, 3, bias=bias).double()
    weights, found = list(linear.parameters()), picked.mapped(linear)
    expected = linear(rows)
    torch.testing.assert_close(found, expected)
    towards = torch.randn(expected.shape, generator=DRAW, dtype=torch.float64)
    ours = torch.autograd.grad((found * towards).sum(), weights)
    torch.testing.assert_close(ours, torch.autograd.grad((expected * towards).sum(), weights))


def test_far_means_cost_no_more_than_the_numbers_themselves() -> None:
    exact = torch.randn(200, 64, generator=DRAW, dtype=torch.float64) * 0.5 + 2000
    table, linear = exact.float(), nn.Linear(64, 8)
    mean, scale = table.mean(dim=0), 1 / table.std(dim=0)
    picked = PickedRows(table, torch.arange(200)).standardised(mean, scale)
    expected = F.linear((table.double() - mean) * scale, *(p.double() for p in linear.parameters()))
    # One part in 2^24 of 2,000, in deviations, over 64 columns: what storing them costs as well.
    assert (picked.mapped(linear) - expected).abs().max() < 2000 / 0.5 * 2**-24 * 8


def test_under_autocast_the_map_is_torch_s_own() -> None:
    linear = nn.Linear(WIDTH, 3)
    picked = PickedRows(TABLE.float(), torch.tensor([1, 5]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = picked.mapped(linear)
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, linear(picked.copied()))
    found.sum().backward()
    assert linear.weight.grad is not None


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=6), st.lists(st.integers(0, 5), max_size=4))
def test_a_view_is_the_rows(first: list[int], second: list[int]) -> None:
    second = [i for i in second if i < len(first)]
    inputs = {
        "a": torch.arange(8.0).view(4, 2),
        "b": Tokens(torch.arange(12.0).view(4, 3, 1), torch.ones(4, 3).bool()),
    }
    present = torch.tensor([[True, False], [True, True], [False, False], [False, True]])
    batch = Batch(("a", "b"), inputs, present, torch.arange(4), torch.arange(4) + 10)
    one, two = (torch.tensor(i, dtype=torch.long) for i in (first, second))
    for view, rows in (
        (batch.view(one), batch.rows(one)),
        (batch.view(one).view(two), batch.rows(one).rows(two)),
        (batch.view(one).rows(two), batch.rows(one).rows(two)),
        (batch.view(one).to("cpu"), batch.rows(one)),
    ):
        assert set(view.inputs) == {"a", "b"}
        assert torch.equal(view.inputs["a"], rows.inputs["a"])
        assert torch.equal(view.inputs["b"].values, rows.inputs["b"].values)
        assert torch.equal(view.present, rows.present)
        assert torch.equal(view.index, rows.index)
        assert torch.equal(view.target, rows.target)


@pytest.mark.parametrize("encoder", [LinearEncoder, MLPEncoder])
def test_towers_encode_a_view_as_its_rows(encoder: type[LinearEncoder | MLPEncoder]) -> None:
    table = TABLE.float()
    table[4] = float("nan")  # absent, so that nothing of it may come through
    spec = ModalitySpec("vector", (WIDTH,), mean=tuple(MEAN.tolist()), std=tuple(STD.tolist()))
    towers = Towers(DataSpec({"a": spec}), {"a": encoder(spec, out_dim=3)})
    present = torch.arange(ROWS).ne(4).unsqueeze(1)
    batch, index = Batch(("a",), {"a": table}, present), torch.tensor([4, 8, 0])
    ours = towers.encode(batch.view(index))["a"].values
    theirs = towers.encode(batch.rows(index))["a"].values
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(ours[0], torch.zeros(1, 3))
    weights = list(towers.parameters())
    found, expected = (torch.autograd.grad(x.square().sum(), weights) for x in (ours, theirs))
    torch.testing.assert_close(found, expected)


def test_an_encoder_that_takes_picked_rows_is_given_no_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def copy(*_: object) -> None:
        raise AssertionError("copied")

    monkeypatch.setattr(PickedRows, "copied", copy)
    monkeypatch.setattr(PickedInputs, "__getitem__", copy)
    spec = ModalitySpec("vector", (WIDTH,), mean=tuple(MEAN.tolist()), std=tuple(STD.tolist()))
    towers = Towers(DataSpec({"a": spec}), {"a": LinearEncoder(spec, out_dim=3)})
    view = Batch(("a",), {"a": TABLE.float()}, torch.ones(ROWS, 1).bool()).view(
        torch.tensor([3, 1])
    )
    some = view.keep(torch.tensor([[False], [True]]))
    assert towers.encode(view)["a"].values.shape == (2, 1, 3)
    assert torch.equal(towers.encode(some)["a"].values[1], towers.encode(view)["a"].values[1])
