"""Exposure: which items are shown, and how often."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mmfuse.errors import DataError
from mmfuse.recommend.lists import ItemLists

#: Numbers that are held at a time, of the vectors of lists.
_BLOCK = 2**22


@dataclass(frozen=True)
class Exposure:
    """How often each item stands in a list of top items. Those of parts of the users add up.

    Args:
        counts: ``(I,)`` long.
        lists: number of lists that are counted.

    Example:
        >>> shown = Exposure.of(torch.tensor([[0, 1], [0, -1]]), item_count=4)
        >>> shown.coverage(), round(shown.gini(), 3)
        (0.5, 0.583)
    """

    counts: Tensor
    lists: int

    @classmethod
    def of(cls, top: Tensor, item_count: int) -> Exposure:
        """Counts the items of lists.

        Args:
            top: ``(n, k)`` long item codes; -1 for an empty place.
            item_count: number of items there are.
        """
        # Empty places count before the first item.
        return cls(torch.bincount(top.flatten() + 1, minlength=item_count + 1)[1:], len(top))

    def __add__(self, other: Exposure) -> Exposure:
        return Exposure(self.counts + other.counts, self.lists + other.lists)

    def coverage(self) -> float:
        """The share of all items that anyone is shown, from 0 to 1."""
        return (self.counts > 0).double().mean().item()

    def gini(self) -> float:
        """How unequally items are shown: 0 where all are as often, 1 - 1/I where it is one alone.

        With c_1 <= ... <= c_I the sorted counts::

            sum_j (2 j - I - 1) c_j  over  I sum_j c_j

        NaN where nothing is shown.
        """
        count = self.counts.sort().values.double()
        place = torch.arange(1, len(count) + 1, dtype=torch.float64, device=count.device)
        weighted = ((2 * place - len(count) - 1) * count).sum()
        return (weighted / (len(count) * count.sum())).item()

    def popularity(self, popularity: Tensor) -> float:
        """The mean popularity of what is shown, an item as often as it is shown.

        Args:
            popularity: ``(I,)``, such as the number of training interactions of each item.
        """
        return _mean(self.counts, popularity)

    def novelty(self, popularity: Tensor, users: int) -> float:
        """The mean self-information of what is shown, in bits: how surprising it is::

            -log2(popularity_i / users)

        An item that nobody has taken counts as if one user had.

        Args:
            popularity: ``(I,)`` number of users that took each item in training.
            users: number of users there are.

        Reference: Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender
            systems", PNAS 2010, arXiv:0808.2670.
        """
        return _mean(self.counts, -(popularity.double().clamp(min=1) / users).log2())

    def scores(self, train: ItemLists) -> dict[str, float]:
        """All of these, by name, against the training interactions.

        ``popularity_lift`` is by how much the mean popularity of what is shown exceeds that of
        what was taken in training, as a share of it: 0 where users are shown what is as popular
        as what they took.

        Args:
            train: what each user took.

        Raises:
            DataError: the lists are of another number of items.

        Reference: Abdollahpouri et al., "The unfairness of popularity bias in recommendation",
            2019, arXiv:1907.13286, for the lift; ours weighs each shown item alike, not each user.
        """
        if train.count != len(self.counts):
            raise DataError(
                f"The training lists are of {train.count} items, the exposure of "
                f"{len(self.counts)}. Give those that the recommender was trained on."
            )
        popularity = popularity_of(train)
        shown, taken = self.popularity(popularity), _mean(popularity, popularity)
        return {
            "coverage": self.coverage(),
            "gini": self.gini(),
            "popularity": shown,
            "popularity_lift": shown / taken - 1,
            "novelty": self.novelty(popularity, len(train)),
        }


def _mean(weights: Tensor, values: Tensor) -> float:
    weights = weights.double()
    return ((weights * values.double()).sum() / weights.sum()).item()


def popularity_of(train: ItemLists) -> Tensor:
    """How many users took each item, ``(I,)`` long."""
    return torch.bincount(train.items, minlength=train.count)


def intra_list_similarity(top: Tensor, vectors: Tensor) -> Tensor:
    """The mean cosine between the items of each list, from -1 to 1: how alike they are.

    Args:
        top: ``(n, k)`` long item codes; -1 for an empty place.
        vectors: ``(I, D)``, such as the items' features. A zero vector is like nothing.

    Returns:
        ``(n,)`` float64; NaN for a list of fewer than two items.

    Reference: Ziegler et al., "Improving recommendation lists through topic diversification",
        WWW 2005.
    """
    units = F.normalize(vectors.double(), dim=1)
    found = torch.empty(len(top), dtype=torch.float64, device=top.device)
    rows = max(1, _BLOCK // max(1, top.shape[1] * units.shape[1]))
    for start in range(0, len(top), rows):
        some = top[start : start + rows]
        here = units[some.clamp(min=0)] * (some >= 0).unsqueeze(2)
        # The sum over pairs is what the square of the sum has besides the squares.
        pairs = here.sum(dim=1).square().sum(dim=1) - here.square().sum(dim=(1, 2))
        count = (some >= 0).sum(dim=1).double()
        found[start : start + rows] = pairs / (count * (count - 1))
    return found.masked_fill(((top >= 0).sum(dim=1)) < 2, torch.nan)
