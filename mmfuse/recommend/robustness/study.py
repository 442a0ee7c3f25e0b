"""Study: one model's rankings with complete items, and what each condition takes from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from mmfuse.recommend.data import RecommendationData
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.ranking import RankingEvaluation, evaluate_ranking, popularity_of
from mmfuse.recommend.ranking.per_user import drawn_means
from mmfuse.recommend.robustness.encoded import EncodedItems
from mmfuse.recommend.robustness.fills import Fill, fills_of
from mmfuse.robustness import Condition

RankedSplit = Literal["val", "test"]
#: Whose pairs are left out of each split's rankings.
SEEN: Mapping[str, tuple[str, ...]] = {"val": ("train",), "test": ("train", "val")}
_KINDS = ("recall", "ndcg")
_TAIL = torch.tensor([0.025, 0.975], dtype=torch.float64)


class Study:
    """Encodes and ranks the complete items; ``lines`` then costs a fusion and a ranking.

    Args:
        model: in eval mode, with content in its items' vectors.
        data: what it was trained on.
        conditions: those that will be asked for.
        split: whose pairs are to be found.
        ks: where to measure.
    """

    def __init__(
        self,
        model: RecommendationModel,
        data: RecommendationData,
        conditions: Sequence[Condition],
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
        # What a condition takes from some items is told by these items' complete ranking.
        self._kept = {c.name: self._left(c) for c in conditions}
        affected = {name: self._affected(kept) for name, kept in self._kept.items()}
        self._complete = {
            fill: self._ranked(self.natural, fill, {"cold": self.cold, **_prefixed(affected)})
            for fill in self.fills
        }

    def _left(self, condition: Condition) -> Tensor:
        """``(I, M)`` bool in fusion order, who is there under a condition."""
        shown = self.catalogue.presence(self.split, condition.missing)
        columns = dict(zip(self.catalogue.modalities, shown.unbind(dim=1), strict=True))
        kept = torch.stack([columns[m] for m in self.encoded.tower.modalities], dim=1)
        return kept.to(self.natural.device) & self.natural

    def _affected(self, kept: Tensor) -> Tensor:
        return (self.natural & ~kept).any(dim=1).cpu()

    def _ranked(self, kept: Tensor, fill: Fill, slices: Mapping[str, Tensor]) -> RankingEvaluation:
        vectors = self.model.represent(self.encoded.fused(kept, self.fills[fill]))
        return evaluate_ranking(
            vectors.users,
            vectors.items,
            self.model.score.matrix,
            self.relevant,
            self.seen,
            self.codes,
            self.ks,
            {name: which for name, which in slices.items() if which.any()},
        )

    def lines(self, condition: Condition, bootstrap: int, seed: int) -> list[tuple[Any, ...]]:
        """The table's lines of one condition; see ``RankingRobustness``."""
        kept = self._kept[condition.name]
        affected = self._affected(kept)
        realised = 1 - kept.sum().item() / max(int(self.natural.sum()), 1)
        about = (
            condition.name,
            condition.family,
            ",".join(condition.kept or ()),
            float(condition.rate),
            realised,
        )
        now = {fill: self._complete[fill] for fill in self.fills}
        if affected.any():
            slices = {"cold": self.cold, "affected": affected}
            now = {fill: self._ranked(kept, fill, slices) for fill in self.fills}
        found = []
        for name, whole in (
            ("all", ""),
            ("cold", "cold"),
            ("affected", f"affected {condition.name}"),
        ):
            one = {f: _metrics(e, "" if name == "all" else name, self.ks) for f, e in now.items()}
            two = {f: _metrics(e, whole, self.ks) for f, e in self._complete.items()}
            if all(one.values()):
                found += _lines(about, name, one, two, bootstrap, seed)
        return found


def _prefixed(affected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"affected {name}": which for name, which in affected.items()}


def _metrics(evaluation: RankingEvaluation, slice: str, ks: Sequence[int]) -> dict[str, Tensor]:
    """Each user's metrics of a slice, "" for all; nothing where no item is of the slice."""
    found = evaluation.sliced.get(slice, {}) if slice else evaluation.per_user
    names = [f"{kind}_at_{k}" for kind in _KINDS for k in ks]
    return {name: found[name].cpu() for name in names if name in found}


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
