"""sigmoid_loss: every pair of rows judged on its own, partners or not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmfuse.objectives.contrastive.gather import Peers
from mmfuse.objectives.contrastive.nce import taking_part
from mmfuse.objectives.contrastive.partition import blocks, rows_at_a_time


def sigmoid_loss(
    x: Tensor,
    y: Tensor,
    scale: Tensor | float,
    bias: Tensor | float = 0.0,
    *,
    valid: Tensor | None = None,
    group: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Sigmoid loss of all pairs of one group, divided by the number n of rows (SigLIP).

    With z_ij = 1 for partners and -1 for others::

        L = -1/n sum_ij log sigmoid(z_ij (s x_i . y_j + b))

    Unlike ``info_nce`` it compares no pair with another, so that a single row has a loss too.
    Memory grows linearly with the rows. Rows of all processes meet, as in ``info_nce``.

    Args:
        x: one side's vectors, of unit length.
        y: their partners' vectors, of unit length.
        scale: s, one over the temperature.
        bias: b; the authors start at -10, as most pairs are no partners.
        valid: rows that take part; the others drop out.
        group: pairs of rows of different groups are not judged.
        chunk: rows at a time; None takes as many as fill 16 MiB.

    Shape:
        x (B, D), y (B, D), valid (B,) bool, group (B,) long -> (); zero without any row

    Raises:
        DataError: x and y of unequal shape.

    Reference: Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023,
        arXiv:2303.15343.
    """
    x, y, group, _ = taking_part(x, y, valid, group)
    peers = Peers(len(x), x.device)
    with torch.autocast(x.device.type, enabled=False):
        bias = torch.as_tensor(bias, dtype=x.dtype, device=x.device)
        others = None if group is None else peers.gather(group)
        scaled = x * scale
        every: Tensor = _SumSoftplus.apply(scaled, peers.gather(y), bias, group, others, chunk)
        partners = (scaled * y).sum() + bias * len(x)  # softplus(-u) is softplus(u) - u
        return (every - partners) * (peers.world / max(peers.total, 1))


class _SumSoftplus(torch.autograd.Function):
    """sum_ij softplus(x_i . y_j + b), whose gradient is made on the way forward."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        bias: Tensor,
        rows: Tensor | None,
        columns: Tensor | None,
        chunk: int | None,
    ) -> Tensor:
        learns = any(ctx.needs_input_grad[:3])
        total = x.new_zeros(())
        for_x, for_y, for_bias = torch.empty_like(x), torch.zeros_like(y), x.new_zeros(())
        for block in blocks(len(x), rows_at_a_time(len(y), chunk)):
            scores = torch.addmm(bias, x[block], y.T)
            if rows is not None:
                assert columns is not None
                scores.masked_fill_(rows[block].unsqueeze(1) != columns, -torch.inf)
            total += F.softplus(scores).sum()
            if learns:
                slope = scores.sigmoid_()
                for_bias += slope.sum()
                for_x[block] = slope @ y
                for_y.addmm_(slope.T, x[block])
        if learns:
            ctx.save_for_backward(for_x, for_y, for_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        for_x, for_y, for_bias = ctx.saved_tensors
        return gradient * for_x, gradient * for_y, gradient * for_bias, None, None, None
