"""The graph of users and items that interactions make, normalised by degrees; and its pruning."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.recommend.graphs.sparse import SparseMatrix
from mmfuse.recommend.lists import ItemLists


def user_item_graph(train: ItemLists, kept: Tensor | None = None) -> SparseMatrix:
    """``D_u^-1/2 R D_i^-1/2``, the block of the normalised adjacency that users and items make.

    Args:
        train: the interactions R, ``(U, I)``.
        kept: ``(E,)`` bool, the edges of a pruned graph in the order of ``train.pairs()``; degrees
            are those that it leaves.

    Reference: He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for
        Recommendation", SIGIR 2020, arXiv:2002.02126, equation 9.
    """
    users, items = train.pairs()
    if kept is not None:
        users, items = users[kept], items[kept]
    values = edge_weights(users, items, len(train), train.count)
    return SparseMatrix.of(users, items, values, (len(train), train.count))


def edge_weights(users: Tensor, items: Tensor, user_count: int, item_count: int) -> Tensor:
    """``1 / sqrt(d_u d_i)`` of each edge, by the degrees that these edges make."""
    of_user = torch.bincount(users, minlength=user_count)
    of_item = torch.bincount(items, minlength=item_count)
    return (of_user[users] * of_item[items]).float().rsqrt()


def sampled_edges(train: ItemLists, share: float, generator: torch.Generator) -> Tensor:
    """A share of the edges, drawn without repeats in proportion to ``1 / sqrt(d_u d_i)``.

    Edges between those that have many are the first to go.

    Args:
        train: the interactions.
        share: of the edges to keep, above 0 and up to 1.
        generator: of the draw.

    Returns:
        ``(E,)`` bool, in the order of ``train.pairs()``.

    Reference: Zhou and Shen, "A Tale of Two Graphs: Freezing and Denoising Graph Structures for
        Multimodal Recommendation" (FREEDOM), 2023, arXiv:2211.06924, section 3.3.
    """
    users, items = train.pairs()
    weights = edge_weights(users, items, len(train), train.count)
    # The largest of Gumbel-perturbed logarithms: a draw without repeats, of any number of edges.
    noise = -torch.empty_like(weights).exponential_(generator=generator).log()
    kept = torch.zeros(len(weights), dtype=torch.bool)
    kept[(weights.log() + noise).topk(round(share * len(weights))).indices] = True
    return kept
