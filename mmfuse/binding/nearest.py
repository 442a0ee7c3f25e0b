"""The nearest items of one bank to those of another, through the spaces that both are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mmfuse.binding.banks import Bank
from mmfuse.errors import ConfigError

Backend = Literal["exact", "faiss-ivf"]

#: Numbers of similarities that are held at a time, and the most queries and items of a block.
_HELD, _QUERIES, _ITEMS = 2**24, 2048, 16384
#: An index of clusters searches this share of them, and is built on this many vectors a cluster.
_SEARCHED, _SHOWN = 16, 40


def nearest(
    queries: Bank,
    rows: Tensor,
    bank: Bank,
    candidates: Tensor,
    spaces: Sequence[str],
    k: int = 1,
    backend: Backend = "exact",
) -> Tensor:
    """For each query the k candidates nearest to it: by the mean cosine over their common spaces.

    Args:
        queries: the bank of the queries.
        rows: ``(Q,)``, which of its rows ask; -1 asks nothing.
        bank: the bank that is searched.
        candidates: ``(n,)``, which of its rows may be found.
        spaces: those to compare in.
        k: how many.
        backend: ``exact``, a block at a time; or ``faiss-ivf``, which looks at the nearest
            sixteenth of the clusters and may miss some.

    Returns:
        ``(Q, k)`` rows of the bank, the nearest first; -1 where there is none.

    Raises:
        ConfigError: faiss is not installed, or is asked for more than one space at a time.
    """
    found = torch.full((len(rows), k), -1)
    here = torch.stack([queries.present[s] for s in spaces]).any(dim=0)
    there = torch.stack([bank.present[s] for s in spaces]).any(dim=0)
    candidates = candidates[there[candidates]]
    asking = ((rows >= 0) & here[rows.clamp(min=0)]).nonzero().squeeze(1)
    if not len(candidates) or not len(asking):
        return found
    # The same query need not be asked twice.
    distinct, place = rows[asking].unique(return_inverse=True)
    search = _exact if backend == "exact" else _clusters
    answers = search(queries, distinct, bank, candidates, spaces, min(k, len(candidates)))
    found[asking, : answers.shape[1]] = answers[place]
    return found


def _exact(
    queries: Bank, rows: Tensor, bank: Bank, candidates: Tensor, spaces: Sequence[str], k: int
) -> Tensor:
    block = min(_ITEMS, len(candidates))
    parts = []
    for some in rows.split(max(1, min(_QUERIES, _HELD // block))):
        best = torch.full((len(some), k), -torch.inf)
        who = torch.full((len(some), k), -1)
        for those in candidates.split(block):
            near = _similarity(queries, some, bank, those, spaces)
            top = near.topk(min(k, len(those)), dim=1)
            scores = torch.cat([best, top.values], dim=1)
            names = torch.cat([who, those[top.indices]], dim=1)
            best, order = scores.topk(k, dim=1)
            who = names.gather(1, order)
        parts.append(who.masked_fill(best == -torch.inf, -1))
    return torch.cat(parts)


def _similarity(
    queries: Bank, rows: Tensor, bank: Bank, those: Tensor, spaces: Sequence[str]
) -> Tensor:
    """Mean cosine over the common spaces, minus infinity where there is none."""
    if len(spaces) == 1:  # everyone left in the search has it
        (s,) = spaces
        return queries.vectors[s][rows] @ bank.vectors[s][those].T
    total = torch.zeros(len(rows), len(those))
    count = torch.zeros(len(rows), len(those))
    for s in spaces:
        total.addmm_(queries.vectors[s][rows], bank.vectors[s][those].T)  # zero where absent
        here, there = queries.present[s][rows].float(), bank.present[s][those].float()
        count.addr_(here, there)
    return total.div_(count).masked_fill_(count == 0, -torch.inf)


def _clusters(
    queries: Bank, rows: Tensor, bank: Bank, candidates: Tensor, spaces: Sequence[str], k: int
) -> Tensor:
    if len(spaces) > 1:
        raise ConfigError(
            f"faiss compares in one space at a time; {', '.join(spaces)} share these modalities. "
            "Choose one with through, or search with the exact backend."
        )
    from mmfuse.features.faiss_index import load_faiss  # which needs it installed

    faiss, (s,) = load_faiss(), spaces
    width, lists = bank.vectors[s].shape[1], max(1, int(4 * len(candidates) ** 0.5))
    lists = max(1, min(lists, len(candidates) // _SHOWN))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = max(8, lists // _SEARCHED)
    values = bank.vectors[s][candidates].numpy()
    index.cp.max_points_per_centroid = _SHOWN
    index.train(values)
    index.add(values)
    found = [
        torch.from_numpy(index.search(queries.vectors[s][some].numpy(), k)[1])
        for some in rows.split(_QUERIES)
    ]
    places = torch.cat(found)
    return torch.where(places >= 0, candidates[places.clamp(min=0)], -1)
