"""Neighbours: who is near, how near, and in which order when several are as near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Metric = Literal["cosine", "dot", "l2"]
METRICS: tuple[Metric, ...] = ("cosine", "dot", "l2")

#: The key of nobody.
NOBODY = torch.iinfo(torch.int64).min
_LOW = 2**32 - 1


@dataclass(frozen=True)
class Neighbours:
    """The rows nearest to each query, the nearest first; of equally near ones the lower row.

    Args:
        rows: ``(Q, k)`` long; -1 where an approximate index found fewer.
        scores: ``(Q, k)``: the cosine from -1 to 1, the dot product, or the Euclidean
            distance from 0 up; NaN where there is no row.
    """

    rows: Tensor
    scores: Tensor

    @classmethod
    def of(cls, keys: Tensor, metric: Metric) -> Neighbours:
        """From sorted keys ``(Q, k)``."""
        nobody = keys == NOBODY
        rows = (_LOW - (keys & _LOW)).masked_fill(nobody, -1)
        bits = (keys >> 32).int()
        nearness = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)
        scores = nearness.abs() if metric == "l2" else nearness
        return cls(rows, scores.masked_fill(nobody, torch.nan))

    def without(self, rows: Tensor) -> Neighbours:
        """One neighbour fewer for each query: not its own row (Q,), or else not the last."""
        is_own = self.rows == rows.unsqueeze(1)
        order = is_own.int().argsort(dim=1, stable=True)[:, :-1]
        return Neighbours(self.rows.gather(1, order), self.scores.gather(1, order))


def keys_of(nearness: Tensor, rows: Tensor) -> Tensor:
    """Nearness (float32) and row in one integer, larger for whom to name first.

    So that ``topk`` is never free to choose. Rows stay below 2**32.

    Shape:
        nearness (Q, n), rows (n,) or (Q, n) -> (Q, n) long
    """
    bits = (nearness + 0.0).view(torch.int32)  # -0 is 0
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.long() << 32) | (_LOW - rows)


def nearness(queries: Tensor, values: Tensor, metric: Metric) -> Tensor:
    """How near each value is to each query, more for nearer ones: the negative distance for l2.

    Computed in float64, and the same for equal vectors wherever they stand: a matrix product
    differs in its last bits with the place in the block, so these are rounded off.

    Shape:
        (Q, D), (n, D) in float64 -> (Q, n) in float32
    """
    if metric == "l2":
        direct = "donot_use_mm_for_euclid_dist"
        return -torch.cdist(queries, values, compute_mode=direct).float()
    lengths = [x.norm(dim=1, keepdim=True) for x in (queries, values)]
    a, b = (x / n.where(n > 0, 1) for x, n in zip((queries, values), lengths, strict=True))
    cosine = (a @ b.T).mul_(2.0**40).round_().mul_(2.0**-40).clamp_(-1, 1)
    if metric == "dot":
        cosine = cosine * lengths[0] * lengths[1].T
    return cosine.float()
