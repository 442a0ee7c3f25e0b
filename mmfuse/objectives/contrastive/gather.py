"""Peers: the rows that all processes hold together, gathered with their gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable


class Peers:
    """The processes that train together, and which rows of all are this one's.

    Made from the number of this process's rows, which may differ between processes and be zero;
    every process must make one at the same place. It is alone, and nothing is exchanged, where
    ``torch.distributed`` does not run, and where no gradient is recorded: processes validate
    different numbers of batches, so that none may wait for another there. Every process must run
    the backward pass through the whole loss, as ``backward()`` does; ``torch.autograd.grad`` for
    some parameters leaves out what these do not need, which others may wait for.

    A loss is a sum over this process's rows, divided by ``total`` and multiplied by ``world``;
    the mean of the processes' losses and that of their gradients, which data-parallel training
    takes, are then those of one process with all rows.

    Args:
        rows: how many rows this process has.
        device: where they are.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.world = 1
        if torch.is_grad_enabled() and dist.is_available() and dist.is_initialized():
            self.world = dist.get_world_size()
        self._counts, self._rank = [rows], 0
        if self.world > 1:
            mine = torch.tensor([rows], device=device)
            found = [torch.empty_like(mine) for _ in range(self.world)]
            dist.all_gather(found, mine)
            self._counts, self._rank = [int(n) for n in found], dist.get_rank()
        self.total = sum(self._counts)
        start = sum(self._counts[: self._rank])
        self.mine = slice(start, start + rows)

    @classmethod
    def alone(cls, rows: int) -> Peers:
        """This process for itself."""
        with torch.no_grad():
            return cls(rows, torch.device("cpu"))

    def gather(self, rows: Tensor) -> Tensor:
        """Every process's rows in the order of the ranks; each process gets its gradient back.

        Shape:
            (rows, ...) -> (total, ...)
        """
        if self.world == 1:
            return rows
        if rows.is_floating_point() and not rows.requires_grad:
            # Another process may wait for this one in its backward pass.
            rows = rows.detach().requires_grad_()
        return _Gather.apply(rows, self._counts, self._rank)

    def logsumexp(self, partial: Tensor) -> Tensor:
        """For this process's rows the log-sum over processes of what each holds for them.

        Shape:
            (total,) -> (rows,)
        """
        if self.world == 1:
            return partial
        every = _Gather.apply(partial.unsqueeze(0), [1] * self.world, self._rank)
        return every[:, self.mine].logsumexp(dim=0)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], rank: int) -> Tensor:
        start = sum(counts[:rank])
        ctx.mine = slice(start, start + counts[rank])
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        every = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(every, padded)
        return torch.cat([part[:count] for part, count in zip(every, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[ctx.mine], None, None
