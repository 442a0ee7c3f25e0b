"""RetrievalScores: recall at k, ranks and mean average precision of one direction of search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mmfuse.errors import ConfigError, DataError
from mmfuse.retrieval.ranks import Ranks, labelled_ranks, paired_ranks
from mmfuse.retrieval.ties import first_rank, hit_rate, precision_of_ties


@dataclass(frozen=True)
class RetrievalScores:
    """How well queries find what is relevant to them.

    Args:
        queries: how many of them count.
        items: how many they search among.
        recall: for each k the share of queries with something relevant among their first k.
        median_rank: of the first relevant item, from 1; of an even number of queries the mean
            of the middle two.
        mean_rank: likewise.
        mean_average_precision: over the whole ranking; with one relevant item a query it is
            the mean reciprocal rank.
        chance: the same of a random order: ``recall`` by its k, and ``None`` for the mean
            average precision.
    """

    queries: int
    items: int
    recall: Mapping[int, float]
    median_rank: float
    mean_rank: float
    mean_average_precision: float
    chance: Mapping[int | None, float]

    def named(self) -> dict[str, float]:
        """The scores by the names under which they are logged: ``r_at_1``, ``map``, ..."""
        return {
            **{f"r_at_{k}": value for k, value in self.recall.items()},
            "median_rank": self.median_rank,
            "mean_rank": self.mean_rank,
            "map": self.mean_average_precision,
        }


def retrieval_scores(
    queries: Tensor,
    items: Tensor,
    *,
    truth: Tensor | None = None,
    query_labels: Tensor | None = None,
    item_labels: Tensor | None = None,
    ks: Sequence[int] = (1, 5, 10),
    block: int = 2048,
) -> RetrievalScores:
    """Ranks all items for each query by cosine, and scores the rankings.

    Relevant to query i is item ``truth[i]``, item i by default; or, with labels, every item of
    the query's label. The matrix of similarities is never whole in memory: ``block`` times
    ``block`` numbers are there at a time.

    Items that are equally similar to a query (cosines within 1e-6) have no order; every score
    is its mean over all their orders. So copies share their rank, and an embedding that has
    collapsed to one point scores exactly chance, not perfect. A vector of zeros has cosine 0
    with everything.

    Args:
        queries: ``(Q, D)``, of any length; they are scaled to unit length.
        items: ``(N, D)``.
        truth: ``(Q,)`` long, each query's item; several queries may name the same.
        query_labels: ``(Q,)`` whole numbers. Queries whose label is negative (unknown), or is
            no item's, do not count.
        item_labels: ``(N,)``; items of unknown label are left out.
        ks: where to measure recall.
        block: rows of each side that meet at a time.

    Raises:
        DataError: vectors that are not two matrices of one width, hold NaN or infinity, or are
            none; a truth that names no item; labels that do not fit, or that no query shares
            with an item.
        ConfigError: truth and labels together, labels of one side only, or a k or block below 1.

    Example:
        >>> pictures = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> texts = torch.tensor([[2.0, 0.1], [0.1, 3.0], [2.0, 0.1]])  # a copy
        >>> scores = retrieval_scores(pictures, texts, ks=[1])
        >>> f"{scores.recall[1]:.2f}", scores.median_rank
        ('0.67', 1.5)
    """
    if min([block, *ks], default=0) < 1 or not ks:
        raise ConfigError(f"ks is {list(ks)} and block {block}; expected whole numbers from 1 up.")
    if (query_labels is None) != (item_labels is None):
        raise ConfigError("Labels are given of one side; give query_labels and item_labels.")
    if truth is not None and query_labels is not None:
        raise ConfigError("Give truth or labels, not both: they say differently what is relevant.")
    queries, items = unit_rows(queries, "queries"), unit_rows(items, "items")
    if queries.shape[1] != items.shape[1]:
        raise DataError(
            f"Queries have width {queries.shape[1]}, items {items.shape[1]}: they do not share "
            "a space."
        )
    if query_labels is not None and item_labels is not None:
        wanted, there = _labels(query_labels, queries, "query"), _labels(item_labels, items, "item")
        items, there = items[there >= 0], there[there >= 0]
        counts = torch.isin(wanted, there)
        if not counts.any():
            raise DataError("No query has a label that an item has; nothing is relevant.")
        queries, wanted = queries[counts], wanted[counts]
        ranks = labelled_ranks(queries, items, wanted, there, block)
        labels, each = there.unique(return_counts=True)
        relevant = each[torch.searchsorted(labels, wanted)].double()
    else:
        ranks = paired_ranks(queries, items, _truth(truth, queries, items), block)
        relevant = torch.ones_like(ranks.above)
    return _scores(ranks, relevant, len(items), ks)


def _scores(ranks: Ranks, relevant: Tensor, items: int, ks: Sequence[int]) -> RetrievalScores:
    rank = first_rank(ranks.above, ranks.tied, ranks.relevant)
    none, everything = torch.zeros_like(relevant), torch.full_like(relevant, items)
    chance: dict[int | None, float] = {
        k: hit_rate(none, everything, relevant, k).mean().item() for k in ks
    }
    by_chance = precision_of_ties(none, none, everything, relevant) / relevant
    return RetrievalScores(
        queries=len(rank),
        items=items,
        recall={k: hit_rate(ranks.above, ranks.tied, ranks.relevant, k).mean().item() for k in ks},
        median_rank=_median(rank),
        mean_rank=rank.mean().item(),
        mean_average_precision=ranks.precision.mean().item(),
        chance=chance | {None: by_chance.mean().item()},
    )


def _median(values: Tensor) -> float:
    # torch's own takes the lower of the middle two, and its quantile no more than 2**24 values.
    ordered, middle = values.sort().values, len(values) // 2
    return ((ordered[middle] + ordered[-1 - middle]) / 2).item()


def unit_rows(vectors: Tensor, what: str) -> Tensor:
    """Vectors ``(rows, width)`` scaled to unit length, those of zeros as they are.

    Args:
        vectors: of any length.
        what: they are, in an error's words.

    Raises:
        DataError: no matrix, no row, or one that holds NaN or infinity.
    """
    if vectors.ndim != 2 or not len(vectors):
        raise DataError(
            f"The {what} have the shape {tuple(vectors.shape)}; expected vectors (rows, width), "
            "at least one."
        )
    vectors = vectors.detach().float()
    if not (finite := vectors.isfinite().all(dim=1)).all():
        first = int((~finite).nonzero()[0])
        raise DataError(f"Row {first} of the {what} holds NaN or infinity, near to nothing.")
    # Twice: a vector so short that its squares vanish is first brought to where they do not.
    largest = vectors.abs().amax(dim=1, keepdim=True)
    return F.normalize(vectors / largest.masked_fill(largest == 0, 1), dim=1)


def _truth(truth: Tensor | None, queries: Tensor, items: Tensor) -> Tensor:
    if truth is None:
        if len(queries) != len(items):
            raise DataError(
                f"There are {len(queries)} queries and {len(items)} items, so they are no pairs. "
                "Say with truth which item belongs to which query."
            )
        return torch.arange(len(queries), device=queries.device)
    if truth.shape != (len(queries),) or truth.is_floating_point():
        raise DataError(
            f"truth has the shape {tuple(truth.shape)} and is {truth.dtype}; expected the number "
            f"of an item for each of {len(queries)} queries."
        )
    if not ((truth >= 0) & (truth < len(items))).all():
        raise DataError(
            f"truth goes from {int(truth.min())} to {int(truth.max())}; items are numbered from "
            f"0 to {len(items) - 1}."
        )
    return truth.to(queries.device, torch.long)


def _labels(labels: Tensor, vectors: Tensor, what: str) -> Tensor:
    if labels.shape != (len(vectors),) or labels.is_floating_point():
        raise DataError(
            f"{what}_labels have the shape {tuple(labels.shape)} and are {labels.dtype}; expected "
            f"a whole number for each of {len(vectors)} rows."
        )
    return labels.to(vectors.device, torch.long)
