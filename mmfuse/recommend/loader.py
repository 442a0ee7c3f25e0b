"""Loading: pairs with negatives that depend on seed, epoch and batch alone; blocks of users."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmfuse.data.loader import BatchOrder
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.catalogue import ItemCatalogue
from mmfuse.recommend.histories import Histories, Sequences
from mmfuse.recommend.negatives import NegativeSampler


@dataclass(frozen=True, slots=True)
class Draw:
    """What decides a training batch.

    Args:
        epoch: the epoch.
        number: the batch's place among all processes' batches of the epoch.
        places: ``(B,)`` long, which training pairs.
    """

    epoch: int
    number: int
    places: Tensor

    def __len__(self) -> int:
        return len(self.places)


class PairOrder(BatchOrder):
    """The order of ``BatchOrder``, which tells of each batch what its negatives depend on."""

    def __iter__(self) -> Iterator[Draw]:  # type: ignore[override]
        skip, self.done = self.done, 0
        for at, places in enumerate(self.batches()):
            if at >= skip:
                yield Draw(self.epoch, self.rank + at * self.world, places)


class RankingDataset(Dataset[RankingBatch], ABC):
    """Base of what makes training batches, each in one go.

    Args:
        sampler: draws the negatives; None for none.
        negatives: how many for each pair.
        seed: of the draws, beside epoch and batch.
        catalogue: where the items' rows are read, or None if a batch carries none.
    """

    def __init__(
        self,
        sampler: NegativeSampler | None,
        negatives: int,
        seed: int,
        catalogue: ItemCatalogue | None = None,
    ) -> None:
        self.sampler, self.negatives = sampler, negatives
        self.seed, self.catalogue = seed, catalogue

    @abstractmethod
    def pairs(self, places: Tensor) -> tuple[Tensor, Tensor, Sequences | None]:
        """Users and items ``(B,)`` of a batch, and what comes before them if that counts.

        Args:
            places: ``(n,)`` long, as the order gives them.
        """

    def __getitem__(self, draw: Draw) -> RankingBatch:
        return self.__getitems__(draw)

    def __getitems__(self, draw: Draw) -> RankingBatch:
        """The batch; the same whoever makes it."""
        users, items, sequences = self.pairs(draw.places)
        batch = RankingBatch(users, items, self._negatives(users, draw), None, sequences)
        if self.catalogue is None:
            return batch
        return replace(batch, content=self.catalogue.batch(batch.distinct_items()))

    def _negatives(self, users: Tensor, draw: Draw) -> Tensor:
        if self.sampler is None:
            return users.new_empty((len(users), 0))
        generator = torch.Generator().manual_seed(_seed(self.seed, draw.epoch, draw.number))
        return self.sampler.draw(users, self.negatives, generator)


class PairDataset(RankingDataset):
    """Training pairs, by their number.

    Args:
        users: ``(E,)`` long.
        items: ``(E,)`` long.
        options: as ``RankingDataset``.
    """

    def __init__(self, users: Tensor, items: Tensor, *options: Any) -> None:
        super().__init__(*options)
        self.users, self.items = users, items

    def pairs(self, places: Tensor) -> tuple[Tensor, Tensor, None]:
        """The pairs of these numbers."""
        return self.users[places], self.items[places], None


class SequenceDataset(RankingDataset):
    """Users by their codes: all pairs of their last items, each after what comes before it.

    Args:
        histories: of training.
        length: how many items are looked at, at most.
        options: as ``RankingDataset``.
    """

    def __init__(self, histories: Histories, length: int, *options: Any) -> None:
        super().__init__(*options)
        self.histories, self.length = histories, length

    def pairs(self, places: Tensor) -> tuple[Tensor, Tensor, Sequences]:
        """The pairs of these users."""
        return self.histories.pairs(places, self.length)


def _seed(*parts: int) -> int:
    """One seed of several, neighbours of which have nothing in common."""
    words = ",".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest()) >> 1


class UserDataset(Dataset[Tensor]):
    """Users as blocks of their codes ``(n,)``."""

    def __getitem__(self, user: int) -> Tensor:
        return torch.tensor([user])

    def __getitems__(self, users: Sequence[int]) -> Tensor:
        """A block."""
        return torch.tensor(users)
