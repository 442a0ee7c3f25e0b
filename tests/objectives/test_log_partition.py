"""Log-sums of scores along rows and columns, of narrow scores and of wide ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmfuse.objectives.contrastive import log_partition
from mmfuse.objectives.contrastive import partition as module

#: Factors of the rows with which scores stay within what is raised as it is, and leave it.
NARROW, WIDE = 1.0, 400.0


def sides(factor: float, rows: int = 9, columns: int = 11) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    x, y = (torch.randn(n, 4, generator=draw, dtype=torch.float64) for n in (rows, columns))
    return (factor * x).requires_grad_(), y.requires_grad_()


def plain(scores: Tensor) -> tuple[Tensor, Tensor]:
    return scores.logsumexp(dim=1), scores.logsumexp(dim=0)


@pytest.mark.parametrize("factor", [NARROW, WIDE])
@pytest.mark.parametrize("chunk", [None, 1, 4])
@pytest.mark.parametrize("left_out", [None, 0, 2])
@pytest.mark.parametrize("grouped", [False, True])
def test_log_sums_and_their_gradients_are_those_of_the_whole_matrix(
    factor: float, chunk: int | None, left_out: int | None, grouped: bool
) -> None:
    x, y = sides(factor)
    assert module._is_narrow(x, y) == (factor == NARROW)
    scores, group = x @ y.T, None
    if grouped:
        group = torch.arange(9) % 3, torch.arange(11) % 3
        scores = scores.masked_fill(group[0][:, None] != group[1], -torch.inf)
    if left_out is not None:
        own = torch.arange(9)[:, None] + left_out == torch.arange(11)
        scores = scores.masked_fill(own, -torch.inf)
    found, expected = log_partition(x, y, group, left_out, chunk), plain(scores)
    torch.testing.assert_close(found, expected)
    weights = torch.linspace(-1, 2, 9).double(), torch.linspace(3, -1, 11).double()
    ours, theirs = (
        torch.autograd.grad(sum((v * w).sum() for v, w in zip(made, weights, strict=True)), (x, y))
        for made in (found, expected)
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("factor", [NARROW, WIDE])
def test_who_has_no_pair_has_no_sum_and_no_gradient(factor: float) -> None:
    x, y = sides(factor)
    group = torch.tensor([7, *[0] * 8]), torch.tensor([8, *[0] * 10])
    along_rows, along_columns = log_partition(x, y, group)
    assert (along_rows[0], along_columns[0]) == (-torch.inf, -torch.inf)
    for_x, for_y = torch.autograd.grad(along_rows[1:].sum() + along_columns[1:].sum(), (x, y))
    assert for_x[0].abs().sum() == for_y[0].abs().sum() == 0
    assert for_x.isfinite().all()
    assert for_y.isfinite().all()


@pytest.mark.parametrize("rows", [0, 3])
def test_no_rows_or_no_columns_have_no_sums(rows: int) -> None:
    x, y = sides(NARROW, rows, 3 - rows)
    along_rows, along_columns = log_partition(x, y)
    assert along_rows.tolist() == [-torch.inf] * rows
    assert along_columns.tolist() == [-torch.inf] * (3 - rows)


@pytest.mark.parametrize("bound", [0.999, 1.001])
def test_single_precision_is_exact_on_either_side_of_the_bound(bound: float) -> None:
    draw = torch.Generator().manual_seed(2)
    unit = torch.nn.functional.normalize(torch.randn(50, 8, generator=draw))
    x, y = unit * module._NARROW * bound, torch.cat([unit, -unit])
    assert module._is_narrow(x, y) == (bound < 1)
    x.requires_grad_()
    found = log_partition(x, y)
    torch.testing.assert_close(found, tuple(t.float() for t in plain(x.double() @ y.double().T)))
    (gradient,) = torch.autograd.grad(found[0].sum(), x)
    expected = torch.autograd.grad(plain(x.double() @ y.double().T)[0].sum(), x)
    torch.testing.assert_close(gradient, expected[0], rtol=1e-4, atol=1e-5)


def test_what_is_no_number_shows() -> None:
    x, y = sides(NARROW)
    with torch.no_grad():
        x[2] = torch.nan
    along_rows, along_columns = log_partition(x, y)
    assert along_rows[2].isnan()
    assert along_columns.isnan().all()


@pytest.mark.parametrize("factor", [NARROW, WIDE])
def test_fixed_columns_change_nothing_for_the_rows(factor: float) -> None:
    x, y = sides(factor)
    fixed, learned = (torch.cat(log_partition(x, v)).sum() for v in (y.detach(), y))
    ours, theirs = torch.autograd.grad(fixed, x), torch.autograd.grad(learned, x)
    assert torch.equal(ours[0], theirs[0])
