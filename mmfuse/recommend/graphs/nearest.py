"""The graph of items that are alike: nearest neighbours by cosine, a block at a time."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from mmfuse.recommend.graphs.sparse import SparseMatrix
from mmfuse.recommend.ranking import dot, top_items


def nearest(vectors: Tensor, present: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
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
        return rows, rows, vectors.new_zeros(0)
    unit = F.normalize(vectors[rows].float(), dim=1)
    found = top_items(unit, unit, dot, min(k, len(rows)))
    source = torch.arange(len(rows)).unsqueeze(1).expand_as(found.items)
    return rows[source.flatten()], rows[found.items.flatten()], found.scores.flatten()


def item_graph(
    features: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    k: int,
    weights: Mapping[str, float],
) -> SparseMatrix:
    """``sum_m w_m D_m^-1/2 A_m D_m^-1/2`` with A_m the unweighted graph of the k nearest.

    D_m holds A_m's row sums. An item that lacks a modality has no edge there, and what its other
    modalities say counts in full: weights are scaled to sum to one over those it has.

    Args:
        features: for each modality ``(I, w_m)``.
        present: for each modality ``(I,)`` bool.
        k: neighbours, the item itself among them.
        weights: of each modality.

    Reference: Zhou and Shen, "A Tale of Two Graphs" (FREEDOM), 2023, arXiv:2211.06924, section 3.2.
    """
    count = len(next(iter(features.values())))
    total = sum(present[m] * w for m, w in weights.items())
    assert isinstance(total, Tensor)
    parts = []
    for m, weight in weights.items():
        source, target, _ = nearest(features[m], present[m], k)
        degree = torch.bincount(source, minlength=count).float()
        values = (degree[source] * degree[target]).rsqrt() * weight / total[source]
        parts.append((source, target, values))
    source, target, values = (torch.cat(p) for p in zip(*parts, strict=True))
    return SparseMatrix.of(source, target, values, (count, count))
