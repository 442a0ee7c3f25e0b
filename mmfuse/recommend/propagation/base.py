"""The propagation contract: vectors of all users and items -> the same, by way of graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.recommend.lists import ItemLists
from mmfuse.recorded import Recorded

#: Vectors of users (U, D) and of items (I, D); None for a side that a propagation leaves alone.
Sides = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class GraphData:
    """All that a propagation may look at when it builds its graphs.

    Args:
        train: each user's items, of training alone.
        features: for each modality of the items ``(I, w_m)``, as the data has them.
        present: for each modality ``(I,)`` bool.
        seed: of what is drawn.
        width: of the vectors that are passed along; None where it is not known.
    """

    train: ItemLists
    features: Mapping[str, Tensor] = field(default_factory=dict)
    present: Mapping[str, Tensor] = field(default_factory=dict)
    seed: int = 0
    width: int | None = None


class Propagation(nn.Module, Recorded, ABC):
    """Base of all that passes vectors along graphs.

    Built from plain options; the graphs come with ``build``, when the data is known, and are part
    of a checkpoint, which needs no data to go on.
    """

    def build(self, data: GraphData) -> None:
        """Makes the graphs, once, before training.

        Raises:
            ConfigError: the data lacks what the graphs are made of.
        """

    def start_epoch(self, epoch: int) -> None:
        """Told before each epoch of training, for what is drawn anew."""

    @abstractmethod
    def forward(self, users: Tensor, items: Tensor) -> Sides:
        """Passes the vectors along.

        Shape:
            users (U, D), items (I, D) -> the same, or None for a side that is left alone
        """

    def at(
        self, users: Tensor, items: Tensor, user_rows: Tensor, item_rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What ``forward`` gives to some rows, which is all that a training step looks at.

        One whose rows do not need each other makes these alone.

        Args:
            users: ``(U, D)``.
            items: ``(I, D)``.
            user_rows: long, of any shape; may repeat.
            item_rows: likewise.

        Shape:
            -> (*user_rows.shape, D), (*item_rows.shape, D); the start of a side left alone
        """
        y_u, y_i = self(users, items)
        y_u, y_i = users if y_u is None else y_u, items if y_i is None else y_i
        return F.embedding(user_rows, y_u), F.embedding(item_rows, y_i)

    @abstractmethod
    def alone(self, items: Tensor) -> Tensor:
        """What items get that nothing is joined to, such as new ones.

        Shape:
            items (n, D) -> the same
        """


class _Several(Propagation):
    """What a chain and a sum share: parts that are built and told of epochs together."""

    def __init__(self, parts: Sequence[Propagation]) -> None:
        super().__init__()
        if not parts:
            raise ConfigError(f"{type(self).__name__} has no parts. Name one propagation or more.")
        self.parts = nn.ModuleList(parts)

    def _each(self) -> list[Propagation]:
        return cast(list[Propagation], list(self.parts))

    def build(self, data: GraphData) -> None:
        """Builds every part."""
        for part in self._each():
            part.build(data)

    def start_epoch(self, epoch: int) -> None:
        """Tells every part."""
        for part in self._each():
            part.start_epoch(epoch)


class Chain(_Several):
    """One propagation after the other.

    Args:
        parts: in this order.

    Raises:
        ConfigError: no part.
    """

    def __init__(self, parts: Sequence[Propagation]) -> None:
        super().__init__(parts)

    def forward(self, users: Tensor, items: Tensor) -> Sides:
        """What the last part makes of what the others made."""
        return self._through(self._each(), users, items)

    def at(
        self, users: Tensor, items: Tensor, user_rows: Tensor, item_rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the last part makes of these rows."""
        *others, last = self._each()
        return last.at(*self._through(others, users, items), user_rows, item_rows)

    def _through(
        self, parts: list[Propagation], users: Tensor, items: Tensor
    ) -> tuple[Tensor, Tensor]:
        for part in parts:
            new_users, new_items = part(users, items)
            users = users if new_users is None else new_users
            items = items if new_items is None else new_items
        return users, items

    def alone(self, items: Tensor) -> Tensor:
        """What the last part makes of what the others made."""
        for part in self._each():
            items = part.alone(items)
        return items


class SumOf(_Several):
    """The sum of what several propagations make of the same vectors.

    Args:
        parts: those to add up; one that leaves a side alone adds nothing to it.

    Raises:
        ConfigError: no part.
    """

    def __init__(self, parts: Sequence[Propagation]) -> None:
        super().__init__(parts)

    def forward(self, users: Tensor, items: Tensor) -> Sides:
        """Adds up, side by side."""
        made = [part(users, items) for part in self._each()]
        return _total([m[0] for m in made]), _total([m[1] for m in made])

    def alone(self, items: Tensor) -> Tensor:
        """Adds up."""
        return torch.stack([part.alone(items) for part in self._each()]).sum(dim=0)


def _total(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [p for p in parts if p is not None]
    return sum(there[1:], there[0]) if there else None
