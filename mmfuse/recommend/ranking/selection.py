"""Selection: which of many scores are high, where numpy is several times faster than torch.

On a CPU its partition and its search of a sparse mask use wide instructions; elsewhere torch does
the same.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def kth_highest(values: Tensor, k: int) -> Tensor:
    """The k-th highest of each row, ``(n, 1)``.

    Args:
        values: ``(n, m)`` without NaN, m at least k.
        k: from 1 up.

    Example:
        >>> kth_highest(torch.tensor([[3.0, 1.0, 2.0], [5.0, 5.0, 4.0]]), 2).tolist()
        [[2.0], [5.0]]
    """
    if values.device.type != "cpu":
        return values.topk(k, dim=1).values[:, -1:]
    place = values.shape[1] - k
    return torch.from_numpy(np.partition(values.numpy(), place, axis=1)[:, place, None])


def reaching(values: Tensor, least: Tensor) -> Tensor:
    """Every value that reaches its row's least: its place among all, row after row, ascending.

    Args:
        values: ``(n, m)``.
        least: ``(n, 1)``.

    Example:
        >>> reaching(torch.tensor([[3.0, 1.0], [0.0, 2.0]]), torch.tensor([[1.0], [2.0]])).tolist()
        [0, 1, 3]
    """
    if values.device.type != "cpu":
        return (values >= least).flatten().nonzero().squeeze(1)
    return torch.from_numpy(np.flatnonzero(values.numpy() >= least.numpy()))


def best_first(values: Tensor, items: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The first k of each row when sorted from the highest down; of equals the earlier comes first.

    Args:
        values: ``(n, m)`` float without NaN, m at least k.
        items: ``(n, m)``, what the values are of.
        k: how many.

    Returns:
        values and items, ``(n, k)`` each.

    Example:
        >>> scores, codes = torch.tensor([[1.0, 3.0, 3.0]]), torch.tensor([[7, 8, 9]])
        >>> values, items = best_first(scores, codes, 2)
        >>> values.tolist(), items.tolist()
        ([[3.0, 3.0]], [[8, 9]])
    """
    if values.device.type != "cpu" or values.dtype != torch.float32:
        order = values.sort(dim=1, descending=True, stable=True).indices[:, :k]
        return values.gather(1, order), items.gather(1, order)
    # Whole numbers in the order of the values, which numpy sorts ten times as fast: a float's bits
    # are, but for negative ones, whose order is the reverse. The column stands behind them.
    bits = (values + 0.0).view(torch.int32).long()  # makes -0.0 the 0.0 that it equals
    bits ^= (bits >> 31) & 0x7FFFFFFF
    keys = (~bits << 32) + torch.arange(values.shape[1])
    keys.numpy().sort(axis=1)
    order = keys[:, :k] & 0xFFFFFFFF
    return values.gather(1, order), items.gather(1, order)
