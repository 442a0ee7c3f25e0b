"""RunData: what a run needs of its data, whatever a batch of them is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import lightning as L

from mmfuse.data.reading import Preprocess
from mmfuse.recorded import Recorded
from mmfuse.spec import DataSpec


class RunData(L.LightningDataModule, Recorded, ABC):
    """Base of all data that ``mmfuse fit`` trains on: rows, or interactions."""

    @property
    @abstractmethod
    def is_validated(self) -> bool:
        """Whether the validation split holds anything."""

    @abstractmethod
    def adopt(self, spec: DataSpec) -> None:
        """Takes a trained model's statistics for its own."""

    @abstractmethod
    def attach(self, preprocess: Mapping[str, Preprocess]) -> None:
        """Takes the encoders' preprocessing."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """How this data is made, in plain data."""

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """What decides what the data hold, in plain data."""

    @abstractmethod
    def reseeded(self, seed: int) -> Self:
        """The same data with another seed."""

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Writes what a run keeps of its data."""
