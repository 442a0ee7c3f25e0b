"""Evaluation: every user's metrics, overall, on slices, and besides accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.ranking.exposure import Exposure
from mmfuse.recommend.ranking.metrics import hits_among, hits_of, metrics_of
from mmfuse.recommend.ranking.slices import restricted
from mmfuse.recommend.ranking.top import Scoring, top_items

#: Where rankings are measured unless a caller says otherwise.
KS = (5, 10, 20, 50)
#: Users whose metrics are computed together.
_TOGETHER = 8192


@dataclass(frozen=True)
class RankingEvaluation:
    """What a ranking of all items is worth.

    Args:
        codes: ``(n,)`` long, the users that were ranked for.
        per_user: each metric of each of them, ``(n,)`` float64; NaN for who had nothing to find.
        sliced: for each slice of items likewise, relevant items of the slice alone counting.
        exposure: of the first ``k`` items of every list.
        k: the largest of the ks.
    """

    codes: Tensor
    per_user: Mapping[str, Tensor]
    sliced: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    exposure: Exposure | None = None
    k: int = max(KS)

    def means(self) -> dict[str, float]:
        """Each metric's mean over the users that have something to find."""
        return {name: values.nanmean().item() for name, values in self.per_user.items()}

    def means_of_items(self) -> dict[str, dict[str, float]]:
        """For each slice of items the means, and ``users``, over how many they go."""
        found = {}
        for name, metrics in self.sliced.items():
            means = {metric: values.nanmean().item() for metric, values in metrics.items()}
            found[name] = {**means, "users": _counted(metrics)}
        return found

    def means_of_users(self, slices: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
        """The means for some users alone, and ``users``, over how many they go.

        Args:
            slices: ``(U,)`` bool each.
        """
        found = {}
        for name, which in slices.items():
            here = which[self.codes]
            metrics = {metric: values[here] for metric, values in self.per_user.items()}
            means = {metric: values.nanmean().item() for metric, values in metrics.items()}
            found[name] = {**means, "users": _counted(metrics)}
        return found


def joined(parts: Sequence[RankingEvaluation]) -> RankingEvaluation:
    """One evaluation of the users of several, which share no user; the order is by code.

    Args:
        parts: one or more, measured at the same ks on the same slices.
    """
    codes = torch.cat([part.codes for part in parts])
    order = codes.argsort()
    first, exposure = parts[0], parts[0].exposure
    for part in parts[1:]:
        exposure = None if exposure is None or part.exposure is None else exposure + part.exposure

    def cat(found: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {m: torch.cat([f[m] for f in found])[order] for m in found[0]}

    sliced = {name: cat([p.sliced[name] for p in parts]) for name in first.sliced}
    per_user = cat([p.per_user for p in parts])
    return RankingEvaluation(codes[order], per_user, sliced, exposure, first.k)


def _counted(metrics: Mapping[str, Tensor]) -> float:
    return float((~next(iter(metrics.values())).isnan()).sum())


@torch.no_grad()
def evaluate_ranking(
    users: Tensor,
    items: Tensor,
    score: Scoring,
    relevant: ItemLists,
    seen: ItemLists | None = None,
    codes: Tensor | None = None,
    ks: Sequence[int] = KS,
    slices: Mapping[str, Tensor] | None = None,
    alone: Sequence[str] = (),
) -> RankingEvaluation:
    """Ranks all items for each user and measures what comes first.

    Args:
        users: ``(U, D)`` vectors of every user.
        items: ``(I, D)`` vectors of every item.
        score: as ``top_items``.
        relevant: what each user should be recommended, such as the pairs of a split.
        seen: what is left out of each user's ranking: the pairs of training, and for the test
            those of validation too.
        codes: ``(n,)`` long, the users; None for those with something to find.
        ks: where to measure.
        slices: kinds of items, ``(I,)`` bool each, to measure apart. All items are ranked; of the
            relevant ones those of the slice alone count.
        alone: slices among which to rank once more, with no other candidates; they are named
            ``<slice>_alone``. Cold items are often measured so: whether the right one of them
            comes first, whatever the others would take.

    Raises:
        ConfigError, DataError: as ``top_items`` and ``ranking_metrics``.

    Example:
        >>> from mmfuse.recommend.ranking import dot
        >>> relevant = ItemLists.of(torch.tensor([0, 1]), torch.tensor([0, 0]), 2, 3)
        >>> items = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
        >>> found = evaluate_ranking(torch.eye(2), items, dot, relevant, ks=[1, 3])
        >>> found.means()["recall_at_1"], found.means()["recall_at_3"]
        (0.5, 1.0)
    """
    if codes is None:
        codes = relevant.sizes().nonzero().squeeze(1)
    kinds = slices or {}
    counts = {"": relevant.sizes()}
    counts |= {name: restricted(relevant, which).sizes() for name, which in kinds.items()}
    k = max(ks)
    shown = Exposure.of(codes.new_empty(0, k), len(items))
    names = [*counts, *(f"{name}_alone" for name in alone)]
    parts: dict[str, list[dict[str, Tensor]]] = {name: [] for name in names}
    for some in codes.split(_TOGETHER):
        top = top_items(users[some], items, score, k, seen, some).items
        shown += Exposure.of(top, len(items))
        hits = hits_of(top, relevant, some)
        for name, count in counts.items():
            here = hits_among(hits, top, kinds[name]) if name else hits
            parts[name].append(metrics_of(here, count[some], ks))
        for name in alone:
            count, found = counts[name][some], torch.zeros_like(hits)
            seek = count.nonzero().squeeze(1)  # the others have nothing to find
            own = some[seek]
            first = top_items(users[own], items, score, k, seen, own, kinds[name]).items
            found[seek] = hits_of(first, relevant, own)
            parts[f"{name}_alone"].append(metrics_of(found, count, ks))
    joined = {
        name: {m: torch.cat([part[m] for part in found]) for m in found[0]}
        for name, found in parts.items()
    }
    overall = joined.pop("")
    return RankingEvaluation(codes, overall, joined, shown, k)
