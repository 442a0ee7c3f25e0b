"""Graphs of what is alike: nearest neighbours by cosine, a block at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mmfuse.recommend.graphs.sparse import SparseMatrix
from mmfuse.recommend.ranking import dot, top_items

#: Row, neighbour and weight of each edge, ``(E,)``.
Edges = tuple[Tensor, Tensor, Tensor]


def nearest(vectors: Tensor, present: Tensor, k: int) -> Edges:
    """The k nearest of each row by cosine, among the rows that are present; itself is one.

    Of equally near rows the one of the lower number comes first.

    Args:
        vectors: ``(n, w)``.
        present: ``(n,)`` bool.
        k: how many; fewer where there are not as many.

    Returns:
        row, neighbour and cosine of each pair, ``(E,)``.
    """
    rows = present.nonzero().squeeze(1)
    if not len(rows):
        return rows, rows, torch.zeros(0, device=rows.device)
    unit = F.normalize(vectors[rows].float(), dim=1)
    found = top_items(unit, unit, dot, min(k, len(rows)))
    source = torch.arange(len(rows), device=rows.device).unsqueeze(1).expand_as(found.items)
    return rows[source.flatten()], rows[found.items.flatten()], found.scores.flatten()


def similarity_graph(
    features: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    k: int,
    weights: Mapping[str, float],
    more: Edges | None = None,
) -> SparseMatrix:
    """``sum_m w_m D_m^-1/2 A_m D_m^-1/2`` with A_m the unweighted graph of the k nearest.

    D_m holds A_m's row sums. A row that lacks a modality has no edge there, and what its other
    modalities say counts in full: weights are scaled to sum to one over those it has edges in.

    Args:
        features: for each modality ``(n, w_m)``.
        present: for each modality ``(n,)`` bool.
        k: neighbours, the row itself among them.
        weights: of each modality.
        more: edges of weights above 0 that join every A_m, for rows that lack m too. Every
            neighbour among them has an edge of its own.

    Reference: Zhou and Shen, "A Tale of Two Graphs" (FREEDOM), 2023, arXiv:2211.06924, section 3.2.
    """
    count = len(next(iter(features.values())))
    parts, total = [], torch.zeros(count, device=next(iter(present.values())).device)
    for m, weight in weights.items():
        source, target, cosine = nearest(features[m], present[m], k)
        value = torch.ones_like(cosine)
        if more is not None:
            source, target, value = _joined([(source, target, value), more])
        degree = total.new_zeros(count).index_add_(0, source, value)
        parts.append((source, target, weight * value * (degree[source] * degree[target]).rsqrt()))
        total += weight * (degree > 0)
    source, target, value = _joined(parts)
    return SparseMatrix.of(source, target, value / total[source], (count, count))


def blended(graphs: Sequence[tuple[float, SparseMatrix]]) -> SparseMatrix:
    """The weighted sum of graphs of one shape."""
    parts = []
    for weight, graph in graphs:
        source, target, value = graph.entries()
        parts.append((source, target, weight * value))
    return SparseMatrix.of(*_joined(parts), graphs[0][1].shape)


def _joined(parts: Sequence[Edges]) -> Edges:
    source, target, value = (torch.cat(p) for p in zip(*parts, strict=True))
    return source, target, value
