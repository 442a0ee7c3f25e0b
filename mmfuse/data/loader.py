"""Loading: a deterministic order of batches, and a loader that goes on in mid-epoch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

#: What a batch is: rows as ``Batch``, pairs of users and items, or users.
T = TypeVar("T")


class BatchOrder(Sampler[list[int]]):
    """Batches of rows in an order that the seed and the epoch alone decide.

    Each process takes every ``world``-th batch of one common order, so that processes
    neither overlap nor leave a gap, and all have the same number of batches, as they wait for
    each other at every one. For training, batches repeat from the start until they have. Elsewhere
    no row may count twice: batches are smaller. There, processes beyond the number of rows have
    no batch.

    Args:
        rows: the rows to go through.
        batch_size: rows a batch.
        shuffle: draw a new order every epoch.
        seed: of that draw.
        rank: this process.
        world: number of processes.
        is_even: even out by repeating batches, as in training.
    """

    def __init__(
        self,
        rows: Tensor,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        is_even: bool = False,
    ) -> None:
        self.rows, self.batch_size, self.shuffle, self.seed = rows, batch_size, shuffle, seed
        self.rank, self.world, self.is_even = rank, world, is_even
        self.epoch = 0
        self.done = 0  # batches of this epoch that an interrupted run has already seen

    @property
    def sampler(self) -> BatchOrder:
        """Itself: Lightning tells the epoch to a batch sampler's sampler, and not to the former."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Lightning tells the epoch before each one."""
        self.epoch = epoch

    def batches(self) -> list[Tensor]:
        """The rows of each batch of this process, in this epoch's order."""
        order = self.rows
        if self.shuffle:
            draw = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = order[torch.randperm(len(order), generator=draw)]
        batches = list(order.split(self.batch_size))
        short = -len(batches) % self.world
        if short and self.is_even:
            batches += islice(cycle(batches), short)
        elif short:
            batches = list(order.tensor_split(min(len(batches) + short, len(order))))
        return batches[self.rank :: self.world]

    def __iter__(self) -> Iterator[list[int]]:
        skip, self.done = self.done, 0
        for batch in self.batches()[skip:]:
            yield batch.tolist()

    def __len__(self) -> int:
        each = -(-len(self.rows) // (self.batch_size * self.world))
        total = each * self.world
        return len(
            range(self.rank, total if self.is_even else min(total, len(self.rows)), self.world)
        )


def _whole(batch: Any) -> Any:
    return batch


class ResumableLoader(DataLoader[T]):
    """A DataLoader whose place in the epoch is part of a checkpoint.

    Lightning keeps ``state_dict`` of a loader that has one, so a run resumed after step k
    sees the batches that it would have seen.

    Args:
        dataset: the data, which makes a batch of whatever ``order`` yields.
        order: which rows, in which batches.
        workers: processes that fetch ahead.
    """

    def __init__(self, dataset: Dataset[T], order: BatchOrder, workers: int = 0) -> None:
        super().__init__(
            dataset,
            batch_sampler=order,
            num_workers=workers,
            collate_fn=_whole,
            persistent_workers=workers > 0,
            # A generator of its own: making an iterator must not move the global one.
            generator=torch.Generator().manual_seed(order.seed),
            pin_memory=torch.cuda.is_available(),
        )
        self.order = order
        self._given = 0

    def __iter__(self) -> Iterator[T]:  # type: ignore[override]
        self._given = self.order.done
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """How many batches of the epoch were handed out."""
        return {"epoch": self.order.epoch, "batches": self._given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next pass leaves out the batches that were handed out before."""
        self.order.set_epoch(state["epoch"])
        self.order.done = state["batches"]


class InOrder:
    """A loader's batches as a plain iterable, for prediction.

    Lightning takes a DataLoader apart to predict, and puts it together with a sampler of its
    own; rows carry their numbers here, so that no one needs to.

    Args:
        loader: whose batches.
    """

    def __init__(self, loader: ResumableLoader[Any]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.loader)
