"""Baselines that train nothing: what is popular, and what the same users take."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.recommend.graphs import SparseMatrix
from mmfuse.recommend.graphs.cooccurrence import by_item, cooccurrence_cosine
from mmfuse.recommend.interactions import Interactions
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.ranking import KS, RankingEvaluation, evaluate_ranking
from mmfuse.recommend.ranking.exposure import popularity_of


class RankingBaseline(ABC):
    """Base of rankings without vectors: a user and an item are known by their codes.

    Args:
        train: what each user took in training.
    """

    def __init__(self, train: ItemLists) -> None:
        self.train = train

    @abstractmethod
    def score(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of some users and items, as ``top_items`` wants them.

        Shape:
            users (n, 1), items (m, 1), codes as float64 -> (n, m)
        """

    def evaluate(
        self, interactions: Interactions, split: str = "test", ks: tuple[int, ...] = KS
    ) -> RankingEvaluation:
        """Ranks as ``RecommendationTask`` does: training pairs left out, for test also validation.

        Args:
            interactions: those that ``train`` is of.
            split: ``val`` or ``test``.
            ks: where to measure.
        """
        seen = ("train",) if split == "val" else ("train", "val")
        users, items = (torch.arange(n).double()[:, None] for n in (len(self.train), self.count))
        return evaluate_ranking(
            users, items, self.score, interactions.lists(split), interactions.lists(*seen), ks=ks
        )

    @property
    def count(self) -> int:
        """Number of items."""
        return self.train.count


class Popularity(RankingBaseline):
    """The same for everyone: how many users took an item in training.

    Example:
        >>> train = ItemLists.of(torch.tensor([0, 1, 1]), torch.tensor([2, 2, 0]), 2, 3)
        >>> Popularity(train).score(torch.tensor([[0.0]]), torch.arange(3.0)[:, None]).tolist()
        [[1.0, 0.0, 2.0]]
    """

    def __init__(self, train: ItemLists) -> None:
        super().__init__(train)
        self.taken = popularity_of(train).double()

    def score(self, users: Tensor, items: Tensor) -> Tensor:
        """How many took each item, for each user."""
        return self.taken[items[:, 0].long()].expand(len(users), -1)


class ItemKNN(RankingBaseline):
    """Items that the users of a user's items took, too.

    ::

        s_ui = sum_{j in N(u)} c_ji,   c_ji = n_ji / sqrt(n_j n_i) for the k items i that share the
                                       most users with j

    Args:
        train: what each user took in training.
        k: neighbours of an item.

    Raises:
        ConfigError: k below 1.

    Reference: Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW
        2001; as a baseline that tuned networks should beat, Ferrari Dacrema et al., RecSys 2019,
        arXiv:1907.06902.
    """

    def __init__(self, train: ItemLists, k: int = 50) -> None:
        super().__init__(train)
        if k < 1:
            raise ConfigError(f"ItemKNN: k is {k}; expected 1 up.")
        source, target, cosine = cooccurrence_cosine(by_item(train), k)
        shape = (train.count, train.count)
        self.alike = SparseMatrix.of(source, target, cosine.double(), shape)

    def score(self, users: Tensor, items: Tensor) -> Tensor:
        """Sums over what each user took."""
        codes = users[:, 0].long()
        place, taken = self.train.rows(codes)
        history = torch.zeros(self.count, len(codes), dtype=torch.float64)
        history[taken, place] = 1
        return self.alike.transposed(history).T[:, items[:, 0].long()]
