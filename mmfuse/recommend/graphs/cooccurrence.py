"""Graphs of those that occur together: items that users share, users that items share."""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from mmfuse.recommend.graphs.sparse import SparseMatrix
from mmfuse.recommend.lists import ItemLists

#: How a neighbour counts: by the softmax over a row's numbers, or by its share of their sum.
CoWeights = Literal["softmax", "share"]

#: Pairs and rows that are counted at a time.
_PAIRS, _ROWS = 2**24, 2**16


def by_item(train: ItemLists) -> ItemLists:
    """The users of each item, from the items of each user."""
    users, items = train.pairs()
    return ItemLists.of(items, users, train.count, len(train))


def most_shared(lists: ItemLists, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each list the k others that share the most with it.

    The numbers are the entries of the sparse product ``A A'``, of which a block of rows is made
    at a time; no list is its own neighbour, nor is one that shares nothing. Of equal ones the
    lower comes first. Costs what the lists of all entries of all lists hold together.

    Args:
        lists: A, each user's items; or each item's users (``by_item``).
        k: how many; fewer where not as many share anything.

    Returns:
        list, neighbour and number that both hold, ``(E,)`` long each, ascending by list, the
        largest number first.

    Example:
        >>> lists = ItemLists.of(torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 0, 1, 0]), 3, 2)
        >>> [x.tolist() for x in most_shared(lists, 1)]
        [[0, 1, 2], [1, 0, 0], [2, 2, 1]]
    """
    offsets, items = lists.offsets.cpu().numpy(), lists.items.cpu().numpy()
    shape = (len(lists), lists.count)
    matrix = scipy.sparse.csr_matrix((np.ones(len(items), np.int32), items, offsets), shape)
    turned = matrix.T.tocsr()
    pairs = np.concatenate([[0], np.diff(turned.indptr)[items].cumsum(dtype=np.int64)])[offsets]
    found, start = [], 0
    while start < len(lists):
        end = int(np.searchsorted(pairs, pairs[start] + _PAIRS, side="right")) - 1
        end = min(max(end, start + 1), start + _ROWS, len(lists))
        found.append(_largest((matrix[start:end] @ turned).tocoo(), start, k))
        start = end
    joined = np.concatenate(found, axis=1) if found else np.zeros((3, 0), np.int64)
    source, target, number = torch.from_numpy(joined).to(lists.items.device)
    return source, target, number


def _largest(product: scipy.sparse.coo_matrix, start: int, k: int) -> np.ndarray:
    """Row, column and number ``(3, E)`` of the k largest of each row that are off the diagonal."""
    off = product.row + start != product.col
    row, column, number = (
        x[off].astype(np.int64) for x in (product.row, product.col, product.data)
    )
    most, width = int(number.max(initial=0)) + 1, product.shape[1]
    # One number that sorts by row, then by falling number, then by column.
    key = np.sort((row * most + (most - 1 - number)) * width + column)
    ends = np.bincount(row, minlength=product.shape[0]).cumsum()
    before = np.concatenate([[0], ends])
    place = np.arange(len(key)) - np.repeat(before[:-1], np.diff(before))
    key = key[place < k]
    rest, column = np.divmod(key, width)
    row, fallen = np.divmod(rest, most)
    return np.stack([row + start, column, most - 1 - fallen])


def cooccurrence_graph(lists: ItemLists, k: int, weights: CoWeights = "softmax") -> SparseMatrix:
    """The k others that share the most with each, in rows that sum to one.

    Args:
        lists: each user's items for the graph of users, ``by_item`` of them for that of items.
        k: neighbours.
        weights: ``softmax`` of a row's numbers, or each number's ``share`` of their sum.

    Reference: REARM, arXiv:2508.13745.
    """
    source, target, number = most_shared(lists, k)
    value = number.float()
    if weights == "softmax":
        most = value.new_zeros(len(lists)).scatter_reduce_(0, source, value, "amax")
        value = (value - most[source]).exp()
    total = value.new_zeros(len(lists)).index_add_(0, source, value)
    return SparseMatrix.of(source, target, value / total[source], (len(lists),) * 2)


def cooccurrence_cosine(lists: ItemLists, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k others that share the most with each, and the cosine of the two as bags of entries.

    Returns:
        list, neighbour and cosine, ``(E,)`` each.
    """
    source, target, number = most_shared(lists, k)
    sizes = lists.sizes().float()
    return source, target, number * (sizes[source] * sizes[target]).rsqrt()
