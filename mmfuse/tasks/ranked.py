"""RankedSplit: all items ranked for the users of a split, a block of users at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from mmfuse.recommend.data import RecommendationData
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.negatives import NegativeSampler
from mmfuse.recommend.objectives.pairs import pairwise
from mmfuse.recommend.outputs import Represented
from mmfuse.recommend.ranking import RankingEvaluation, evaluate_ranking, item_slices
from mmfuse.recommend.ranking.evaluation import joined

#: Pairs whose loss is computed together.
_TOGETHER = 65536


class RankedSplit:
    """One pass over the users of a split, for vectors that are made once.

    Training pairs are left out of the rankings, and for test those of validation too. Test also
    measures kinds of items apart: cold ones, by popularity, and those that lack a modality; cold
    ones are ranked among themselves as well.

    Args:
        model: as trained so far.
        data: whose users and items.
        split: ``val`` or ``test``, whose pairs are to be found.
        ks: where to measure.
        vectors: what the model says of all in this split; None to ask it.
    """

    def __init__(
        self,
        model: RecommendationModel,
        data: RecommendationData,
        split: Literal["val", "test"],
        ks: Sequence[int],
        vectors: Represented | None = None,
    ) -> None:
        self.model, self.data, self.split, self.ks = model, data, split, ks
        self.vectors = model.represent(split=split) if vectors is None else vectors
        device = self.vectors.items.device
        lists, seen = data.interactions.lists, ("train",) if split == "val" else ("train", "val")
        self.relevant, self.seen = lists(split).to(device), lists(*seen).to(device)
        self.slices: dict[str, Tensor] = {}
        if split == "test":
            shown: Tensor | None = None
            names: tuple[str, ...] = ()
            if data.catalogue is not None:
                shown, names = data.catalogue.presence("test"), data.catalogue.modalities
            kinds = item_slices(lists("train"), shown, names)
            self.slices = {name: which.to(device) for name, which in kinds.items()}
        self._parts: list[RankingEvaluation] = []

    def add(self, codes: Tensor) -> None:
        """Ranks for some users ``(n,)``."""
        users, items = self.vectors.users, self.vectors.items
        score, kinds = self.model.score.matrix, self.slices
        alone = [name for name in ("cold",) if name in kinds]
        self._parts.append(
            evaluate_ranking(
                users, items, score, self.relevant, self.seen, codes, self.ks, kinds, alone
            )
        )

    def evaluation(self, processes: int = 1) -> RankingEvaluation:
        """That of all users, those of other processes among them."""
        parts = self._parts
        if processes > 1:
            others: list[Any] = [None] * processes
            torch.distributed.all_gather_object(others, parts)
            parts = [part for process in others for part in process]
        return joined(parts)

    def loss(self) -> float:
        """The BPR loss of the split's pairs against uniform negatives that stay the same."""
        users, items = self.data.interactions.pairs(self.split)
        sampler = NegativeSampler(self.data.interactions.lists("train"))
        negatives = sampler.draw(users, 1, torch.Generator().manual_seed(0))
        device, total = self.vectors.items.device, 0.0
        for some in torch.arange(len(users)).split(_TOGETHER):
            both = torch.cat([items[some, None], negatives[some]], dim=1).to(device)
            x_u = self.vectors.users[users[some].to(device)]
            scores = self.model.score.pairs(x_u, self.vectors.items[both])
            total += pairwise(scores).double().sum().item()
        return total / len(users)
