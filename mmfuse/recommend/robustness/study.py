"""Study: one model's rankings with complete items, and what each condition takes from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mmfuse.recommend.data import RecommendationData
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.ranking import popularity_of, ranking_metrics, restricted, top_items
from mmfuse.recommend.ranking.per_user import drawn_means
from mmfuse.recommend.robustness.encoded import EncodedItems
from mmfuse.recommend.robustness.fills import Fill, fills_of
from mmfuse.robustness import Condition

RankedSplit = Literal["val", "test"]
#: Whose pairs are left out of each split's rankings.
SEEN: Mapping[str, tuple[str, ...]] = {"val": ("train",), "test": ("train", "val")}
_KINDS = ("recall", "ndcg")
#: Users who are ranked for and measured together.
_TOGETHER = 8192
_TAIL = torch.tensor([0.025, 0.975], dtype=torch.float64)


class Tops(NamedTuple):
    """The first items of every user.

    Args:
        every: ``(n, k)`` of all items.
        alone: ``(n, k)`` of cold items alone, for those who have one to find; -1 else.
    """

    every: Tensor
    alone: Tensor


class Study:
    """Encodes and ranks the complete items; ``lines`` then costs a fusion and a ranking.

    Args:
        model: in eval mode, with content in its items' vectors.
        data: what it was trained on.
        split: whose pairs are to be found.
        ks: where to measure.
    """

    def __init__(
        self,
        model: RecommendationModel,
        data: RecommendationData,
        split: RankedSplit,
        ks: Sequence[int],
    ) -> None:
        assert model.tower is not None
        assert data.catalogue is not None
        self.model, self.catalogue, self.split, self.ks = model, data.catalogue, split, list(ks)
        self.encoded = EncodedItems.of(model.tower, data.catalogue)
        self.natural = torch.cat(self.encoded.present)
        self.fills = fills_of(model.tower)
        self.codes = data.users(split)
        self.relevant = data.interactions.lists(split)
        self.seen = data.interactions.lists(*SEEN[split])
        self.cold = popularity_of(data.interactions.lists("train")) == 0
        sought = restricted(self.relevant, self.cold).sizes()[self.codes]
        #: ``(n,)`` bool, the users who have a cold item to find.
        self.seeks_cold = sought.bool()
        self._complete = {fill: self._ranked(self.natural, fill) for fill in self.fills}

    def _left(self, condition: Condition) -> Tensor:
        """``(I, M)`` bool in fusion order, who is there under a condition."""
        shown = self.catalogue.presence(self.split, condition.missing)
        columns = dict(zip(self.catalogue.modalities, shown.unbind(dim=1), strict=True))
        kept = torch.stack([columns[m] for m in self.encoded.tower.modalities], dim=1)
        return kept.to(self.natural.device) & self.natural

    def _ranked(self, kept: Tensor, fill: Fill) -> Tops:
        """The first items of every user."""
        fused = self.encoded.fused(kept, self.fills[fill])
        vectors = self.model.represent(fused, self.split)
        score, k = self.model.score.matrix, max(self.ks)

        def first(codes: Tensor, allowed: Tensor | None) -> Tensor:
            parts = [
                top_items(vectors.users[some], vectors.items, score, k, self.seen, some, allowed)
                for some in codes.split(_TOGETHER)
            ]
            return torch.cat([part.items for part in parts])

        every = first(self.codes, None)
        alone = torch.full_like(every, -1)
        if self.seeks_cold.any():
            alone[self.seeks_cold] = first(self.codes[self.seeks_cold], self.cold)
        return Tops(every, alone)

    def _measured(
        self, ranked: Mapping[Fill, Tops], is_alone: bool, which: Tensor | None
    ) -> dict[Fill, dict[str, Tensor]]:
        """Each user's metrics ``(n,)``, of all relevant items or of some alone."""
        relevant = self.relevant if which is None else restricted(self.relevant, which)
        names = [f"{kind}_at_{k}" for kind in _KINDS for k in self.ks]
        found = {}
        for fill, tops in ranked.items():
            top = tops.alone if is_alone else tops.every
            blocks = zip(top.split(_TOGETHER), self.codes.split(_TOGETHER), strict=True)
            parts = [ranking_metrics(some, relevant, codes, self.ks) for some, codes in blocks]
            found[fill] = {name: torch.cat([part[name] for part in parts]).cpu() for name in names}
        return found

    def lines(self, condition: Condition, bootstrap: int, seed: int) -> list[tuple[Any, ...]]:
        """The table's lines of one condition; see ``RankingRobustness``."""
        kept = self._left(condition)
        affected = (self.natural & ~kept).any(dim=1).cpu()
        realised = 1 - kept.sum().item() / max(int(self.natural.sum()), 1)
        about = (
            condition.name,
            condition.family,
            ",".join(condition.kept or ()),
            float(condition.rate),
            realised,
        )
        tops = self._complete
        if affected.any():
            tops = {fill: self._ranked(kept, fill) for fill in self.fills}
        found = []
        slices = {"all": None, "cold": self.cold, "cold_alone": self.cold, "affected": affected}
        for name, which in slices.items():
            if which is not None and not which.any():
                continue
            is_alone = name == "cold_alone"
            now = self._measured(tops, is_alone, which)
            # What goes from some items is told by these same items' complete ranking.
            whole = self._measured(self._complete, is_alone, which)
            found += _lines(about, name, now, whole, bootstrap, seed)
        return found


def _lines(
    about: tuple[Any, ...],
    slice: str,
    now: Mapping[Fill, Mapping[str, Tensor]],
    complete: Mapping[Fill, Mapping[str, Tensor]],
    bootstrap: int,
    seed: int,
) -> list[tuple[Any, ...]]:
    names = [(fill, metric) for fill, metrics in now.items() for metric in metrics]
    value = torch.stack([now[f][m] for f, m in names], dim=1)
    drop = torch.stack([complete[f][m] for f, m in names], dim=1) - value
    # All columns have the same users: those who have something of the slice to find.
    there = ~value[:, 0].isnan()
    users = int(there.sum())
    value, drop = value[there], drop[there]
    ends = torch.full((2, 2 * len(names)), math.nan, dtype=torch.float64)
    if bootstrap and users:
        both = torch.cat([value, drop], dim=1)
        drawn = drawn_means(both, both.new_ones(users, 1), bootstrap, seed)
        ends = drawn.quantile(_TAIL, dim=0)
    told = torch.stack(
        [value.mean(dim=0), *ends[:, : len(names)], drop.mean(dim=0), *ends[:, len(names) :]]
    )
    return [
        (*about, fill, slice, users, metric, *numbers)
        for (fill, metric), numbers in zip(names, told.T.tolist(), strict=True)
    ]
