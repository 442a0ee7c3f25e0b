"""Directions: every modality searches every other, by pairs and by labels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from mmfuse.retrieval.scores import RetrievalScores, retrieval_scores


@dataclass(frozen=True)
class Direction:
    """How one modality finds another.

    Args:
        query: the modality that searches.
        item: the modality that is found.
        pairs: over the rows that have both, where a row's own item alone is relevant; None if
            there are none.
        labels: over all rows with a known label, where every item of the query's label is
            relevant; None without labels.
    """

    query: str
    item: str
    pairs: RetrievalScores | None
    labels: RetrievalScores | None

    @property
    def name(self) -> str:
        """Such as ``image_to_text``."""
        return f"{self.query}_to_{self.item}"

    def named(self) -> dict[str, float]:
        """Recall, ranks and mean reciprocal rank (``mrr``) of the pairs; ``map`` of the labels."""
        found: dict[str, float] = {}
        if self.pairs is not None:
            found |= self.pairs.named()
            found["mrr"] = found.pop("map")
        if self.labels is not None:
            found["map"] = self.labels.mean_average_precision
        return found


def every_direction(
    vectors: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    labels: Tensor | None = None,
    ks: Sequence[int] = (1, 5, 10),
    block: int = 2048,
) -> list[Direction]:
    """Every ordered pair of modalities for which something can be said.

    Args:
        vectors: each modality's, in one space, a line a row.
        present: which rows have the modality.
        labels: of every row, negative where unknown.
        ks: where to measure recall.
        block: see ``retrieval_scores``.

    Shape:
        vectors[m] (N, D), present[m] (N,) bool, labels (N,) long

    Raises:
        DataError, ConfigError: as ``retrieval_scores``.
    """
    found = []
    for query, item in itertools.permutations(vectors, 2):
        both = present[query] & present[item]
        pairs = by_label = None
        if both.any():
            pairs = retrieval_scores(vectors[query][both], vectors[item][both], ks=ks, block=block)
        if labels is not None:
            q, i = (present[m] & (labels >= 0) for m in (query, item))
            if torch.isin(labels[q], labels[i]).any():
                by_label = retrieval_scores(
                    vectors[query][q],
                    vectors[item][i],
                    query_labels=labels[q],
                    item_labels=labels[i],
                    ks=ks,
                    block=block,
                )
        if pairs is not None or by_label is not None:
            found.append(Direction(query, item, pairs, by_label))
    return found


def mean_scores(directions: Sequence[Direction]) -> dict[str, float]:
    """Each score's mean over the directions that have it."""
    every = [d.named() for d in directions]
    names = dict.fromkeys(name for scores in every for name in scores)
    return {name: fmean(s[name] for s in every if name in s) for name in names}
