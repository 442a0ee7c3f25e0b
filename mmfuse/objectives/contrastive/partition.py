"""log_partition: the log-sums of exp(x y') along rows and columns, in memory linear in the rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Scores that are held at a time when nobody says how many: 16 MiB in float32.
SCORES_AT_A_TIME = 1 << 22
#: As large as a score may be, of either sign, to be raised as it is: sums of a million times
#: e^40 are far from what float32 cannot hold, and so are their inverses.
_NARROW = 40.0


def rows_at_a_time(columns: int, chunk: int | None) -> int:
    """How many rows of scores to hold at a time."""
    return chunk or max(1, SCORES_AT_A_TIME // max(1, columns))


def is_one_block(x: Tensor, y: Tensor, chunk: int | None) -> bool:
    """Whether all scores are held at a time."""
    return len(x) <= rows_at_a_time(len(y), chunk)


def blocks(rows: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most ``size`` that cover ``rows``; one, and empty, for none.

    A process without rows thus has the same graph as the others, which wait for its part.
    """
    return (slice(start, min(start + size, rows)) for start in range(0, max(rows, 1), size))


def log_partition(
    x: Tensor,
    y: Tensor,
    group: tuple[Tensor, Tensor] | None = None,
    left_out: int | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-sums of the scores S = x y', along each row and each column, from one product::

        r_i = log sum_j exp S_ij,   c_j = log sum_i exp S_ij

    over the pairs (i, j) of one group. A block of rows is computed, read in both directions and
    dropped; the backward pass computes it again, unless one block is all there is.

    Args:
        x: the rows, already multiplied by the scale.
        y: the columns.
        group: the groups of the rows and of the columns; None for one group.
        left_out: leave out the pairs (i, i + left_out), each row's pair with itself.
        chunk: rows at a time; None takes as many as fill 16 MiB.

    Shape:
        x (N, D), y (M, D), group (N,) and (M,) -> (N,), (M,); minus infinity where no pair is
    """
    rows, columns = group if group is not None else (None, None)
    way = _NarrowLogPartition if _is_narrow(x, y) else _LogPartition
    found: tuple[Tensor, Tensor] = way.apply(
        x, y, rows, columns, left_out, rows_at_a_time(len(y), chunk)
    )
    return found


def _is_narrow(x: Tensor, y: Tensor) -> bool:
    """Whether no score can be too large to be raised without its maximum taken away.

    Of vectors of unit length it is so from a temperature of 1/40 up. A GPU would have to be waited
    for to learn it, which costs more than is saved.
    """
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return False
    longest = [torch.linalg.vector_norm(v, dim=1).max() for v in (x, y) if len(v)]
    return len(longest) == 2 and bool(longest[0] * longest[1] < _NARROW)


def _scores(ctx: Any, x: Tensor, y: Tensor, block: slice) -> Tensor:
    scores = x[block] @ y.T
    if ctx.rows is not None:
        scores.masked_fill_(ctx.rows[block].unsqueeze(1) != ctx.columns, -torch.inf)
    if ctx.left_out is not None:
        scores.diagonal(block.start + ctx.left_out).fill_(-torch.inf)
    return scores


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        rows: Tensor | None,
        columns: Tensor | None,
        left_out: int | None,
        size: int,
    ) -> tuple[Tensor, Tensor]:
        ctx.rows, ctx.columns, ctx.left_out, ctx.size = rows, columns, left_out, size
        along_rows = x.new_empty(len(x))
        along_columns = x.new_full((len(y),), -torch.inf)
        for block in blocks(len(x), size):
            scores = _scores(ctx, x, y, block)
            along_rows[block] = scores.logsumexp(dim=1)
            along_columns = torch.logaddexp(along_columns, scores.logsumexp(dim=0))
        kept = (scores,) if len(x) <= size else ()
        ctx.save_for_backward(x, y, along_rows, along_columns, *kept)
        return along_rows, along_columns

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_rows: Tensor, of_columns: Tensor
    ) -> tuple[Tensor, Tensor | None, None, None, None, None]:
        x, y, along_rows, along_columns, *kept = ctx.saved_tensors
        lowest = torch.finfo(x.dtype).min  # a row or column without a pair has no share
        along_rows, along_columns = along_rows.clamp(min=lowest), along_columns.clamp(min=lowest)
        for_x = torch.empty_like(x)
        for_y = torch.zeros_like(y) if ctx.needs_input_grad[1] else None
        for block in blocks(len(x), ctx.size):
            scores = kept[0] if kept else _scores(ctx, x, y, block)
            shares = (scores - along_rows[block].unsqueeze(1)).exp_()
            shares.mul_(of_rows[block].unsqueeze(1))
            # The scores are ours: of one block they serve once.
            shares.addcmul_((scores - along_columns).exp_(), of_columns.expand_as(shares))
            for_x[block] = shares @ y
            if for_y is not None:  # a fixed anchor asks for none
                for_y.addmm_(shares.T, x[block])
        return for_x, for_y, None, None, None, None


class _NarrowLogPartition(torch.autograd.Function):
    """The same of narrow scores, each raised once for both directions, forward and back."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        rows: Tensor | None,
        columns: Tensor | None,
        left_out: int | None,
        size: int,
    ) -> tuple[Tensor, Tensor]:
        ctx.rows, ctx.columns, ctx.left_out, ctx.size = rows, columns, left_out, size
        of_rows, of_columns = x.new_empty(len(x)), x.new_zeros(len(y))
        for block in blocks(len(x), size):
            powers = _scores(ctx, x, y, block).exp_()
            of_rows[block] = powers.sum(dim=1)
            of_columns += powers.sum(dim=0)
        kept = (powers,) if len(x) <= size else ()
        ctx.save_for_backward(x, y, of_rows, of_columns, *kept)
        return of_rows.log(), of_columns.log()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_rows: Tensor, of_columns: Tensor
    ) -> tuple[Tensor, Tensor | None, None, None, None, None]:
        x, y, rows, columns, *kept = ctx.saved_tensors
        # A row or column without a pair has no share.
        left = (of_rows / rows).masked_fill(rows == 0, 0).unsqueeze(1)
        above = (of_columns / columns).masked_fill(columns == 0, 0)
        for_x = torch.empty_like(x)
        for_y = torch.zeros_like(y) if ctx.needs_input_grad[1] else None
        for block in blocks(len(x), ctx.size):
            powers = kept[0] if kept else _scores(ctx, x, y, block).exp_()
            shares = (left[block] + above).mul_(powers)
            for_x[block] = shares @ y
            if for_y is not None:  # a fixed anchor asks for none
                for_y.addmm_(shares.T, x[block])
        return for_x, for_y, None, None, None, None
