"""Ranking: where each row's own item stands among all, under every condition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfuse.retrieval.ranks import labelled_ranks, paired_ranks
from mmfuse.retrieval.scores import unit_rows
from mmfuse.retrieval.ties import first_rank, hit_rate, precision_of_ties
from mmfuse.robustness.search.passes import Asked
from mmfuse.robustness.search.space import MAIN

KS = (1, 5, 10)
_BLOCK = 2048


@dataclass(frozen=True)
class Found:
    """How the rows that have an item of one modality find it.

    Args:
        searched: the modality.
        asks: ``(N,)`` bool, these rows: n of them, as many as there are items.
        scores: for each metric ``(C, n)``, or for ``map`` the rows of known class alone.
        chance: the mean of each metric for a random order.
        rank: ``(C, n)`` from 1, the mean of places that are tied.
    """

    searched: str
    asks: NDArray[np.bool_]
    scores: dict[str, NDArray[np.float64]]
    chance: dict[str, float]
    rank: NDArray[np.float64]


def ranked(asked: Asked, searched: str, device: torch.device | str = "cpu") -> Found:
    """Ranks all items of one modality for every row that has one.

    Similarity is the cosine, ties are in no order: every score is its mean over all orders, as in
    ``retrieval_scores``. A row with nothing to ask with is as near to every item, and so gets
    what a random order would give.

    Args:
        asked: of all rows.
        searched: the modality; some row has it.
        device: where to compare.

    Raises:
        DataError: a vector holds NaN or infinity.
    """
    place = asked.modalities.index(searched)
    asks = asked.present[:, place]
    here = torch.from_numpy(asks)
    items = unit_rows(asked.items[searched][here].to(device), f"items of {searched!r}")
    which = asked.which[place][:, here]
    used, way = which.unique(return_inverse=True)
    owner = torch.zeros(len(used), dtype=torch.long)
    owner[way.flatten()] = torch.arange(len(items)).repeat(len(which))
    owner = owner.to(device)
    queries = unit_rows(asked.queries[used].to(device), "fused vectors")
    found = _own(queries, items, owner)
    nobody = torch.zeros_like(items[:1])  # as near to every item, and finds what chance finds
    chance = {name: float(v) for name, v in _own(nobody, items, owner[:1]).items()}
    classes = None if asked.classes is None else asked.classes[here].to(device)
    if classes is not None and (classes >= 0).any():
        found["map"] = _by_class(queries, items, classes[owner], classes)
        chance["map"] = _chance_by_class(classes[classes >= 0])
    lines = {name: value.cpu()[way].numpy() for name, value in found.items()}
    if classes is not None and "map" in lines:
        lines["map"] = lines["map"][:, (classes >= 0).cpu().numpy()]
    rank = lines.pop("rank")
    del chance["rank"]
    return Found(searched, asks, lines, chance, rank)


def _own(queries: Tensor, items: Tensor, owner: Tensor) -> dict[str, Tensor]:
    """Each metric ``(Q,)`` where the item ``owner`` alone is right, and its ``rank``."""
    ranks = paired_ranks(queries, items, owner, _BLOCK)
    place = ranks.above, ranks.tied, ranks.relevant
    return {
        **{f"r_at_{k}": hit_rate(*place, k) for k in KS},
        MAIN: ranks.precision,
        "rank": first_rank(*place),
    }


def _by_class(queries: Tensor, items: Tensor, wanted: Tensor, classes: Tensor) -> Tensor:
    """Average precision ``(Q,)`` where every item of the query's class is right; NaN unknown."""
    known, asks = classes >= 0, wanted >= 0
    found = torch.full((len(queries),), torch.nan, dtype=torch.float64, device=queries.device)
    ranks = labelled_ranks(queries[asks], items[known], wanted[asks], classes[known], _BLOCK)
    found[asks] = ranks.precision
    return found


def _chance_by_class(classes: Tensor) -> float:
    _, each = classes.unique(return_counts=True)
    relevant = each.double().cpu()
    none = torch.zeros_like(relevant)
    total = relevant.sum()
    precision = precision_of_ties(none, none, total.expand_as(relevant), relevant) / relevant
    return float((precision * relevant).sum() / total)
