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
    if len(top) != len(codes):
        raise DataError(f"There are {len(top)} lists of top items and {len(codes)} users.")
    return metrics_of(hits_of(top, relevant, codes), relevant.sizes()[codes], ks)


def hits_of(top: Tensor, relevant: ItemLists, codes: Tensor) -> Tensor:
    """Whether each item of each list is relevant, ``(n, k)`` bool; arguments as above."""
    return relevant.contains(codes.unsqueeze(1), top.clamp(min=0)) & (top >= 0)


def hits_among(hits: Tensor, top: Tensor, kind: Tensor) -> Tensor:
    """The hits on one kind of items alone, ``(n, k)`` bool.

    Args:
        hits: ``(n, k)`` bool, as ``hits_of``.
        top: ``(n, k)`` long item codes.
        kind: ``(I,)`` bool, those that count.
    """
    row, place = hits.nonzero(as_tuple=True)
    found = torch.zeros_like(hits)
    found[row, place] = kind[top[row, place]]
    return found


def metrics_of(hits: Tensor, count: Tensor, ks: Sequence[int]) -> dict[str, Tensor]:
    """Each user's metrics by where the hits are, as ``ranking_metrics``.

    Args:
        hits: ``(n, k)`` bool.
        count: ``(n,)`` long, how many items are relevant; those without any have no hit.
        ks: where to measure.

    Raises:
        ConfigError: as ``ranking_metrics``.
    """
    if wrong := [k for k in ks if not 1 <= k <= hits.shape[1]]:
        raise ConfigError(
            f"k is {wrong[0]}; lists have {hits.shape[1]} places. Give a k up to that."
        )
    # Most lists have no hit, and nothing is to be counted in those.
    some = hits.any(dim=1).nonzero().squeeze(1)
    hit, count_some = hits[some].double(), count[some].unsqueeze(1)
    place = torch.arange(1, hits.shape[1] + 1, dtype=torch.float64, device=hits.device)
    k = torch.tensor(ks, device=hits.device)
    among, discount = hit.cumsum(dim=1), 1 / (place + 1).log2()
    n, most = among[:, k - 1], torch.minimum(count_some, k)
    values = {
        "recall": n / count_some,
        "ndcg": (hit * discount).cumsum(dim=1)[:, k - 1] / discount.cumsum(dim=0)[most - 1],
        "precision": n / k,
        "map": (hit * among / place).cumsum(dim=1)[:, k - 1] / most,
        "mrr": (hit / place).amax(dim=1, keepdim=True) * (n > 0),
        "hit_rate": (n > 0).double(),
    }
    found: dict[str, Tensor] = {}
    blank = torch.where(count > 0, 0.0, torch.nan).double()
    for name in METRICS:
        for column, at in enumerate(ks):
            found[f"{name}_at_{at}"] = blank.index_copy(0, some, values[name][:, column])
    return found
