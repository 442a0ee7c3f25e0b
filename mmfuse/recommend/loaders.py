"""RankingLoaders: the loaders of interactions, for training and for rankings."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from mmfuse.data import RunData
from mmfuse.data.loader import BatchOrder, InOrder, ResumableLoader
from mmfuse.errors import DataError
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.catalogue import ItemCatalogue
from mmfuse.recommend.interactions import Interactions
from mmfuse.recommend.loader import (
    PairDataset,
    PairOrder,
    RankingDataset,
    SequenceDataset,
    UserDataset,
)
from mmfuse.recommend.negatives import NegativeSampler, sampler_of


class RankingLoaders(RunData):
    """Base of ``RecommendationData``: batches of what it holds, and the users to rank for."""

    batch_size: int
    eval_batch_size: int
    workers: int
    negatives: int
    popularity: float
    leaky_negatives: bool
    seed: int
    #: How many of a user's items a training batch tells of, in the order of time; 0 for none.
    length = 0

    def remember(self, length: int) -> None:
        """Takes from a model how many of a user's items it looks at, in the order of time.

        Above 0, training batches hold whole users, ``batch_size`` of them, and all pairs of their
        last items.

        Args:
            length: at most; 0 where order counts for nothing.
        """
        self.length = length

    @property
    @abstractmethod
    def interactions(self) -> Interactions:
        """Who took what, in which split."""

    @property
    @abstractmethod
    def catalogue(self) -> ItemCatalogue | None:
        """The items' modalities; None if they have none."""

    def users(self, split: Literal["train", "val", "test"]) -> Tensor:
        """Codes of the users who have a pair in a split, ascending."""
        return torch.unique(self.interactions.pairs(split)[0])

    @property
    def is_validated(self) -> bool:
        """Whether anyone has something to find in validation."""
        return len(self.users("val")) > 0

    def train_dataloader(self) -> ResumableLoader[RankingBatch]:
        """Training pairs with negatives, shuffled; whole users for a model of sequences.

        Raises:
            DataError: a user has taken every item that could be a negative, if any are drawn; or
                there are no times and order counts.
        """
        known, rank, world = self.interactions, *self._processes()
        catalogue = self.catalogue
        content = None if catalogue is None or catalogue.resident else catalogue
        sampler = self.sampler() if self.negatives else None
        options = (sampler, self.negatives, self.seed, content)
        dataset: RankingDataset
        if self.length:
            rows = self.users("train")
            dataset = SequenceDataset(known.histories("train"), self.length, *options)
        else:
            users, items = known.pairs("train")
            rows = torch.arange(len(users))
            dataset = PairDataset(users, items, *options)
        order = PairOrder(rows, self.batch_size, True, self.seed, rank, world, is_even=True)
        return ResumableLoader(dataset, order, self.workers)

    def sampler(self) -> NegativeSampler:
        """Draws items that a user has not taken in training.

        Raises:
            DataError: a user with a training pair has nothing left to draw.
        """
        return sampler_of(self.interactions, self.popularity, self.leaky_negatives)

    def _users_of(self, split: Literal["train", "val", "test"]) -> ResumableLoader[Tensor]:
        users = self.users(split)
        if not len(users):
            raise DataError(
                f"The {split} split is empty. Give it a share, or rows in the split column."
            )
        return self._blocks(users)

    def val_dataloader(self) -> ResumableLoader[Tensor] | list[ResumableLoader[Tensor]]:
        """Blocks of users who have something to find in validation; none if nobody has.

        Raises:
            DataError: the split is empty, and ``Trainer.validate`` is to score it.
        """
        is_asked_for = self.trainer is not None and self.trainer.state.fn == "validate"
        return self._users_of("val") if is_asked_for or self.is_validated else []

    def test_dataloader(self) -> ResumableLoader[Tensor]:
        """Blocks of users who have something to find in test.

        Raises:
            DataError: the split is empty.
        """
        return self._users_of("test")

    def predict_dataloader(self) -> InOrder:
        """Blocks of all users."""
        return InOrder(self._blocks(torch.arange(self.interactions.user_count)))

    def _blocks(self, users: Tensor) -> ResumableLoader[Tensor]:
        rank, world = self._processes()
        order = BatchOrder(users, self.eval_batch_size, rank=rank, world=world)
        return ResumableLoader(UserDataset(), order)

    def _processes(self) -> tuple[int, int]:
        """This process and how many there are."""
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

    def transfer_batch_to_device(
        self, batch: RankingBatch | Tensor, device: torch.device, dataloader_idx: int
    ) -> RankingBatch | Tensor:
        """Moves a batch; on a CPU there is nothing to move, and steps are short."""
        here = batch.device if isinstance(batch, Tensor) else batch.users.device
        return batch if here == device else batch.to(device, non_blocking=True)
