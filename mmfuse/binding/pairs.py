"""Pseudo pairs: from unpaired items, tuples of several modalities that should mean the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from mmfuse.binding.banks import Banks
from mmfuse.binding.drawn import Drawn
from mmfuse.recorded import Recorded


class Tuples(ABC):
    """All pseudo pairs of a kind, drawn some at a time."""

    @abstractmethod
    def __len__(self) -> int:
        """How many."""

    @abstractmethod
    def draw(self, index: Tensor, generator: torch.Generator) -> Drawn:
        """Those that ``index`` (B,) selects."""


class Pairs(Recorded, ABC):
    """A way to make pseudo pairs."""

    @abstractmethod
    def find(self, banks: Banks, held_out: bool = False) -> dict[str, Tensor]:
        """The work, as tensors that a stage can keep.

        Args:
            banks: the items.
            held_out: pair those that are held out, instead of the others.

        Raises:
            ConfigError: nothing can be paired.
        """

    @abstractmethod
    def tuples(self, banks: Banks, found: Mapping[str, Tensor]) -> Tuples:
        """The tuples, from what ``find`` gave."""
