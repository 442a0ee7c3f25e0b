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
#: Numbers of candidates that are compared at a time.
_PAIRS = 2**20


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
        nearness = nearness_of(keys)
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


def nearness_of(keys: Tensor) -> Tensor:
    """The nearness in keys; minus infinity for nobody."""
    bits = (keys >> 32).int()
    nearness = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return nearness.masked_fill(keys == NOBODY, -torch.inf)


def nearer(keys: Tensor, queries: Tensor, rows: Tensor, values: Tensor, metric: Metric) -> Tensor:
    """The keys of each query's neighbours after a block of values has been looked at.

    A product of matrices says who may be among them, and the definition in float64 says who is:
    in a product, equal vectors differ in the last bits with their place.

    Args:
        keys: ``(Q, k)`` before it, sorted; ``NOBODY`` where there were fewer.
        queries: ``(Q, D)``, as ``prepared`` gives them.
        rows: ``(n,)``, of the values.
        values: ``(n, D)``, prepared too.
        metric: what near means.
    """
    rough, slack = _roughly(queries, values, metric)
    least = _as_rough(nearness_of(keys[:, -1:]).double(), metric)
    k = keys.shape[1]
    if k <= len(rows) and (keys[:, -1] == NOBODY).any():
        least = torch.maximum(least, rough.topk(k, dim=1).values[:, -1:] - slack)
    # As near in float32 is a tie, which the row decides.
    of, who = (rough >= least - least.abs() * 2**-22 - slack).nonzero(as_tuple=True)
    found = torch.full((len(queries), int(of.bincount().max()) if len(of) else 0), NOBODY)
    starts = torch.searchsorted(of, torch.arange(len(queries)))
    place = torch.arange(len(of)) - starts[of]
    for some in torch.arange(len(of)).split(max(1, _PAIRS // queries.shape[1])):
        near = _nearness(queries[of[some]], values[who[some]], metric)
        found[of[some], place[some]] = keys_of(near, rows[who[some]])
    return torch.cat([keys, found], dim=1).topk(k, dim=1).values


def prepared(values: Tensor, metric: Metric) -> Tensor:
    """In float64, and of length one for the cosine; a zero vector stays."""
    values = values.double()
    if metric != "cosine":
        return values
    length = values.norm(dim=1, keepdim=True)
    return values / length.where(length > 0, 1)


def _nearness(a: Tensor, b: Tensor, metric: Metric) -> Tensor:
    """Row by row, in float32; the negative distance for l2."""
    if metric == "l2":
        return -(a - b).norm(dim=1).float()
    return (a * b).sum(dim=1).float()


def _as_rough(nearness: Tensor, metric: Metric) -> Tensor:
    return -nearness.square() if metric == "l2" else nearness


def _roughly(queries: Tensor, values: Tensor, metric: Metric) -> tuple[Tensor, Tensor]:
    """Nearness (Q, n), squared for l2, and for each query (Q, 1) how far off it may be."""
    product = queries @ values.T
    a, b = (x.square().sum(dim=1) for x in (queries, values))
    # Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1, and some more.
    slack = (a.sqrt() + b.max().sqrt()).square() * ((queries.shape[1] + 8) * 2.0**-52)
    if metric == "l2":
        product = product.mul_(2).sub_(b).sub_(a.unsqueeze(1))
    return product, slack.unsqueeze(1)
