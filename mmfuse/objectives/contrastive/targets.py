"""What a contrastive loss asks of each pair of rows, in forms that need no square matrix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmfuse.objectives.contrastive.gather import Peers
from mmfuse.objectives.contrastive.partition import blocks, rows_at_a_time


@dataclass(frozen=True)
class Asked:
    """What the targets P ask of one direction.

    Args:
        mass: sum of each row's targets, ``(B,)``.
        score: their mean of the cosines, ``sum_j P_ij <x_i, y_j>``, ``(B,)``.
    """

    mass: Tensor
    score: Tensor


class Targets(ABC):
    """Base of the forms: the targets P of finding columns, and Q of finding rows."""

    @abstractmethod
    def rows(self, index: Tensor, size: int) -> Targets:
        """The same of the rows ``index`` out of ``size`` alone."""

    @abstractmethod
    def ask(
        self, x: Tensor, y: Tensor, group: Tensor | None, peers: Peers, chunk: int | None
    ) -> tuple[Asked, Asked]:
        """What is asked of each x_i among the columns, and of each y_j among the rows."""


@dataclass(frozen=True)
class Partners(Targets):
    """Each row's one target is its partner: P and Q are the identity."""

    def rows(self, index: Tensor, size: int) -> Targets:
        """Itself."""
        return self

    def ask(
        self, x: Tensor, y: Tensor, group: Tensor | None, peers: Peers, chunk: int | None
    ) -> tuple[Asked, Asked]:
        """The cosine of each pair."""
        both = Asked(x.new_ones(len(x)), (x * y).sum(dim=1))
        return both, both


@dataclass(frozen=True)
class SparseTargets(Targets):
    """K targets a row, as mixing rows makes them.

    P[i, columns[i, k]] is the sum of ``weights[i, k]`` over equal columns; Q is its transpose.
    A target that does not take part in the loss, or is of another group, counts for nothing.

    Args:
        columns: positions in the batch, ``(B, K)`` long.
        weights: their shares, ``(B, K)``.
        normalised: divide each row of Q by its sum, which the transpose of P need not have 1.
    """

    columns: Tensor
    weights: Tensor
    normalised: bool = True

    def rows(self, index: Tensor, size: int) -> Targets:
        """The same of some rows; targets among the others are lost."""
        place = self.columns.new_full((size,), -1)
        place[index] = torch.arange(len(index), device=index.device)
        columns, weights = place[self.columns[index]], self.weights[index]
        weights = weights.masked_fill(columns < 0, 0)
        return SparseTargets(columns.clamp(min=0), weights, self.normalised)

    def ask(
        self, x: Tensor, y: Tensor, group: Tensor | None, peers: Peers, chunk: int | None
    ) -> tuple[Asked, Asked]:
        """The cosines with the targets alone."""
        weights = self.weights.to(x.dtype)
        if group is not None:
            weights = weights * (group[self.columns] == group.unsqueeze(1))
        cosines = torch.stack([(x * y[c]).sum(dim=1) for c in self.columns.unbind(dim=1)], dim=1)
        flat = self.columns.flatten()

        def transposed(values: Tensor) -> Tensor:
            return x.new_zeros(len(y)).index_add(0, flat, values.flatten())

        mass, score = transposed(weights), transposed(weights * cosines)
        if self.normalised:
            asked = mass > 0
            divisor = torch.where(asked, mass, 1)
            mass, score = asked.to(x.dtype), score / divisor
        return Asked(weights.sum(dim=1), (weights * cosines).sum(dim=1)), Asked(mass, score)


@dataclass(frozen=True)
class SimilarTargets(Targets):
    """Each row's targets are as large as the rows are like each other::

        P = softmax(scale U U'),   Q = softmax(scale V V')

    both along rows, over the pairs of one group. Gradients flow into U, V and the scale; detach
    them where the targets should stand still.

    Args:
        of_columns: unit vectors U ``(B, D)`` that say how alike two columns are.
        of_rows: unit vectors V ``(B, D)`` that say how alike two rows are; U by default.
        scale: one over the targets' temperature.
    """

    of_columns: Tensor
    of_rows: Tensor | None = None
    scale: Tensor | float = 8.0

    def rows(self, index: Tensor, size: int) -> Targets:
        """The same of some rows."""
        other = None if self.of_rows is None else self.of_rows[index]
        return SimilarTargets(self.of_columns[index], other, self.scale)

    def ask(
        self, x: Tensor, y: Tensor, group: Tensor | None, peers: Peers, chunk: int | None
    ) -> tuple[Asked, Asked]:
        """Means of the other side under P and Q, a block of rows at a time."""
        of_rows = self.of_columns if self.of_rows is None else self.of_rows
        mass = x.new_ones(len(x))
        for_x = self._mean(self.of_columns.to(x.dtype), y, group, peers, chunk)
        for_y = self._mean(of_rows.to(x.dtype), x, group, peers, chunk)
        return Asked(mass, (x * for_x).sum(dim=1)), Asked(mass, (y * for_y).sum(dim=1))

    def ask_square(self, cosines: Tensor, others: Tensor | None) -> tuple[Asked, Asked]:
        """The same from all cosines at once; ``others`` marks pairs of different groups."""
        mass = cosines.new_ones(len(cosines))
        columns = self.of_columns.to(cosines.dtype)
        for_x = for_y = self._shares(columns, columns, others)
        if self.of_rows is not None:
            rows = self.of_rows.to(cosines.dtype)
            for_y = self._shares(rows, rows, others)
        return Asked(mass, (for_x * cosines).sum(dim=1)), Asked(
            mass, (for_y * cosines.T).sum(dim=1)
        )

    def _shares(self, some: Tensor, every: Tensor, others: Tensor | None) -> Tensor:
        scores = (some * self.scale) @ every.T
        if others is not None:
            scores = scores.masked_fill(others, -torch.inf)
        return scores.softmax(dim=1)

    def _mean(
        self, u: Tensor, values: Tensor, group: Tensor | None, peers: Peers, chunk: int | None
    ) -> Tensor:
        every = peers.gather(u)
        groups = None if group is None else peers.gather(group)
        size = rows_at_a_time(len(every), chunk)
        found: Tensor = _SoftMean.apply(
            u * self.scale, every, peers.gather(values), group, groups, size
        )
        return found


class _SoftMean(torch.autograd.Function):
    """softmax(u e') v over the pairs of one group, a block of rows at a time, in both passes."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        every: Tensor,
        values: Tensor,
        rows: Tensor | None,
        columns: Tensor | None,
        size: int,
    ) -> Tensor:
        ctx.rows, ctx.columns, ctx.size = rows, columns, size
        means = u.new_empty(len(u), values.shape[1])
        for block in blocks(len(u), size):
            means[block] = _shares(ctx, u, every, block) @ values
        ctx.save_for_backward(u, every, values, means)
        return means

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        u, every, values, means = ctx.saved_tensors
        for_u, for_every, for_values = map(torch.zeros_like, (u, every, values))
        mean = (gradient * means).sum(dim=1, keepdim=True)
        for block in blocks(len(u), ctx.size):
            shares = _shares(ctx, u, every, block)
            for_values.addmm_(shares.T, gradient[block])
            of_scores = (gradient[block] @ values.T).sub_(mean[block]).mul_(shares)
            for_u[block] = of_scores @ every
            for_every.addmm_(of_scores.T, u[block])
        return for_u, for_every, for_values, None, None, None


def _shares(ctx: Any, u: Tensor, every: Tensor, block: slice) -> Tensor:
    scores = u[block] @ every.T
    others = differ(None if ctx.rows is None else ctx.rows[block], ctx.columns)
    return (scores if others is None else scores.masked_fill_(others, -torch.inf)).softmax(dim=1)


def differ(rows: Tensor | None, columns: Tensor | None) -> Tensor | None:
    """Which pairs are of different groups, ``(N, M)`` bool; None where there are no groups."""
    if rows is None or columns is None:
        return None
    return rows.unsqueeze(1) != columns
