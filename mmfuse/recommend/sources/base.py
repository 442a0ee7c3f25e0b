"""The contract of sources: what a reader of some format hands over, before anything is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmfuse.data import FusionDataModule
from mmfuse.data.groups import find_columns
from mmfuse.errors import DataError
from mmfuse.recorded import Recorded, describe


@dataclass(frozen=True)
class RawInteractions:
    """Interactions as their source has them, one a row.

    Args:
        user: ``(N,)`` whole numbers or strings.
        item: ``(N,)`` whole numbers or strings.
        time: ``(N,)`` numbers, dates, or strings that are dates; or None.
        rating: ``(N,)`` numbers, or None.
        split: ``(N,)`` ``train``, ``val`` (or ``valid``, ``validation``) or ``test``, or their
            places 0, 1, 2; empty for a row that is in none. None where the source tells no
            split.

    Raises:
        DataError: columns of unequal length.
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray | None = None
    rating: np.ndarray | None = None
    split: np.ndarray | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(c) for name, c in vars(self).items() if c is not None}
        if len(set(lengths.values())) != 1:
            raise DataError(f"Columns of interactions have {lengths} rows; expected one number.")

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def of_frame(cls, frame: pd.DataFrame, columns: Mapping[str, str]) -> RawInteractions:
        """Picks columns of a table.

        Args:
            frame: the table.
            columns: for some of the fields above, the column.

        Raises:
            DataError: a column that is not there; with the nearest match.
        """
        known = list(frame.columns)
        return cls(
            **{
                field: frame[find_columns(name, known, f"Interactions: {field}")[0]].to_numpy()
                for field, name in columns.items()
            }
        )


class InteractionSource(Recorded, ABC):
    """Base of all sources of interactions; a subclass reads one format."""

    @abstractmethod
    def read(self) -> RawInteractions:
        """Reads the source; called once, at set-up."""

    def items(self) -> FusionDataModule | None:
        """The items' modalities that come with the source, a row an item; None for none."""
        return None

    def settings(self) -> dict[str, Any]:
        """What decides the content, in plain data."""
        return describe(self)


class ColumnSource(InteractionSource):
    """Base of sources that have an interaction a row, and a column for each thing that it tells.

    Args:
        path: where it is.
        user: the column with each row's user, whole numbers or strings.
        item: the column with its item.
        time: the column with its time: numbers or dates.
        rating: the column with its rating.
        split: the column with its split; see ``RawInteractions``.
    """

    def __init__(
        self,
        path: str,
        user: str = "user",
        item: str = "item",
        time: str | None = None,
        rating: str | None = None,
        split: str | None = None,
    ) -> None:
        self.path = path
        columns = {"user": user, "item": item, "time": time, "rating": rating, "split": split}
        #: For each thing that is told, the column that tells it.
        self.columns = {field: name for field, name in columns.items() if name is not None}
