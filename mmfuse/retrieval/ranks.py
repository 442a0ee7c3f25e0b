"""Ranks: where the relevant items stand for each query, a block of similarities at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmfuse.retrieval.ties import precision_of_ties

#: Cosines no further apart than this are equal: float32 tells no more of them.
TIE = 1e-6


@dataclass(frozen=True)
class Ranks:
    """For each query the first relevant item, and the average precision.

    Args:
        above: ``(Q,)`` items before the group of equals that holds the first relevant one.
        tied: ``(Q,)`` items in that group.
        relevant: ``(Q,)`` relevant ones in it.
        precision: ``(Q,)`` average precision over the whole ranking.
    """

    above: Tensor
    tied: Tensor
    relevant: Tensor
    precision: Tensor


def paired_ranks(queries: Tensor, items: Tensor, truth: Tensor, block: int) -> Ranks:
    """One relevant item a query; counts of nearer and of equal items are all it takes.

    Shape:
        queries (Q, D), items (N, D) of unit length, truth (Q,) long
    """
    above = queries.new_zeros(len(queries), dtype=torch.float64)
    level = torch.zeros_like(above)
    # Sums of float32 ones: several times as quick as sums of bool, and exact within a block.
    buffer = queries.new_empty(min(block, len(queries)), min(block, len(items)))
    for start in range(0, len(queries), block):
        some = queries[start : start + block]
        own = (some * items[truth[start : start + block]]).sum(dim=1, keepdim=True)
        for part in items.split(block):
            near = some @ part.T
            flags = buffer[: len(some), : len(part)]
            above[start : start + block] += torch.gt(near, own + TIE, out=flags).sum(dim=1)
            level[start : start + block] += torch.ge(near, own - TIE, out=flags).sum(dim=1)
    tied = (level - above).clamp(min=1)
    one = torch.ones_like(above)
    return Ranks(above, tied, one, precision_of_ties(above, torch.zeros_like(one), tied, one))


def labelled_ranks(
    queries: Tensor, items: Tensor, query_labels: Tensor, item_labels: Tensor, block: int
) -> Ranks:
    """Relevant is every item with the query's label, and there is at least one.

    Each block of queries is sorted whole. A similarity becomes an integer, in steps of
    ``TIE``, whose lowest bit says whether the item is relevant: so only numbers are sorted,
    never pairs.

    Shape:
        queries (Q, D), items (N, D) of unit length, query_labels (Q,) and item_labels (N,) long
    """
    count = len(items)
    rows = max(1, block * block // (4 * count))  # a sorted block needs more beside it
    # Made first: small results that outlive a block's large ones would scatter the heap.
    ranks = queries.new_zeros(4, len(queries), dtype=torch.float64)
    for start in range(0, len(queries), rows):
        some, wanted = queries[start : start + rows], query_labels[start : start + rows]
        # From the most similar, 0, to the least, 2 / TIE; relevant ones first among equals.
        steps = (some @ items.T).mul_(-1 / TIE).add_(1 / TIE).round_().clamp_(0, 2 / TIE)
        keys = steps.mul_(2).add_(item_labels != wanted.unsqueeze(1)).int()
        found = _of_sorted(_sorted(keys).flatten(), count)
        for column, part in zip(ranks, found, strict=True):
            column[start : start + rows] = part
    return Ranks(*ranks)


def _sorted(keys: Tensor) -> Tensor:
    if keys.device.type == "cpu":
        keys.numpy().sort(axis=1)  # in place, and several times as quick as torch's
        return keys
    return keys.sort(dim=1).values


def _of_sorted(keys: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Groups of equals that hold something relevant, over all rows of a block at once.

    Args:
        keys: a block's, row after row.
        count: keys a row.
    """
    found = (keys & 1 == 0).nonzero().squeeze(1)
    row = found // count
    # A key is at most 2 (2 / TIE) + 1, so that rows keep apart.
    _, relevant = torch.unique_consecutive(
        row * (5 * round(1 / TIE)) + keys[found], return_counts=True
    )
    before = relevant.cumsum(0) - relevant  # relevant ones of all groups and rows before
    start, row = found[before], row[before]
    tied = _ends(keys, keys[start] + 1, start + relevant, (row + 1) * count) - start
    first = torch.searchsorted(row, torch.arange(len(keys) // count, device=keys.device))
    above, hits = start - row * count, before - before[first][row]
    above, hits, tied, relevant = (x.double() for x in (above, hits, tied, relevant))
    total = torch.zeros(len(first), dtype=torch.float64, device=keys.device)
    total.index_add_(0, row, precision_of_ties(above, hits, tied, relevant))
    wanted = torch.zeros_like(total).index_add_(0, row, relevant)
    return above[first], tied[first], relevant[first], total / wanted


def _ends(keys: Tensor, value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Where keys above ``value`` begin, between ``low`` and ``high``; most often at ``low``."""
    end = low.clone()
    here = low.clamp(max=len(keys) - 1)
    left = ((low < high) & (keys[here] <= value)).nonzero().squeeze(1)
    low, high, value = low[left], high[left], value[left]
    while len(low) and (low < high).any():
        middle = (low + high) // 2
        is_below = keys[middle.clamp(max=len(keys) - 1)] <= value
        going = low < high
        low = torch.where(going & is_below, middle + 1, low)
        high = torch.where(going & ~is_below, middle, high)
    end[left] = low
    return end
