"""Ranking metrics: how well each user's top items meet what the user took, on tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend.lists import ItemLists

#: The metrics, each of which is measured at every k.
METRICS = ("recall", "ndcg", "precision", "map", "mrr", "hit_rate")


def ranking_metrics(
    top: Tensor, relevant: ItemLists, codes: Tensor, ks: Sequence[int]
) -> dict[str, Tensor]:
    """Each user's metrics at each k, named ``recall_at_20`` and so on.

    With R the number of relevant items, h_j whether the j-th item is relevant, and n_j the
    relevant ones among the first j::

        recall     n_k / R
        precision  n_k / k
        ndcg       sum_j h_j / log2(j + 1)  over  the same with min(k, R) hits in front
        map        sum_j h_j n_j / j  over  min(k, R)
        mrr        1 / j of the first hit, 0 without one
        hit_rate   whether n_k > 0

    An empty place in a list is a miss, so that a list shorter than k gains nothing by it. A user
    for whom nothing is relevant has NaN.

    Args:
        top: ``(n, k)`` long item codes, the best first; -1 for an empty place.
        relevant: what each user should be recommended.
        codes: ``(n,)`` long, which list of ``relevant`` is each user's.
        ks: where to measure, up to the width of ``top``.

    Returns:
        ``(n,)`` float64 each, from 0 to 1.

    Raises:
        ConfigError: a k that is below 1 or above the width of ``top``.
        DataError: one row of ``top`` is needed for each code.

    Reference: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", 2002;
        recall and MAP as in the public code of multimodal recommenders.

    Example:
        >>> relevant = ItemLists.of(torch.tensor([0, 0]), torch.tensor([4, 7]), 1, 9)
        >>> found = ranking_metrics(torch.tensor([[7, 1, 2]]), relevant, torch.tensor([0]), [1, 3])
        >>> found["recall_at_3"].item(), found["mrr_at_3"].item(), found["map_at_1"].item()
        (0.5, 1.0, 1.0)
    """
    if wrong := [k for k in ks if not 1 <= k <= top.shape[1]]:
        raise ConfigError(
            f"k is {wrong[0]}; lists have {top.shape[1]} places. Give a k up to that."
        )
    if len(top) != len(codes):
        raise DataError(f"There are {len(top)} lists of top items and {len(codes)} users.")
    hits = (relevant.contains(codes.unsqueeze(1), top.clamp(min=0)) & (top >= 0)).double()
    count = relevant.sizes()[codes]
    place = torch.arange(1, top.shape[1] + 1, dtype=torch.float64, device=top.device)
    among = hits.cumsum(1)
    gain = (hits / (place + 1).log2()).cumsum(1)
    ideal = (1 / (place + 1).log2()).cumsum(0)
    precision = (hits * among / place).cumsum(1)
    first = (hits / place).amax(1)
    found: dict[str, Tensor] = {}
    for k in ks:
        n = among[:, k - 1]
        most = count.clamp(max=k)
        nothing = torch.where(count > 0, 0.0, torch.nan)
        found |= {
            f"recall_at_{k}": n / count,
            f"ndcg_at_{k}": gain[:, k - 1] / ideal[most.clamp(min=1) - 1] + nothing,
            f"precision_at_{k}": n / k + nothing,
            f"map_at_{k}": precision[:, k - 1] / most,
            f"mrr_at_{k}": torch.where(n > 0, first, 0.0) + nothing,
            f"hit_rate_at_{k}": (n > 0).double() + nothing,
        }
    order = [f"{name}_at_{k}" for name in METRICS for k in ks]
    return {name: found[name] for name in order}
