"""InteractionTable: CSV and Parquet files, an interaction a row."""

from __future__ import annotations

from typing import Any

from mmfuse.data.tables import read_table
from mmfuse.files import sha256
from mmfuse.recommend.sources.base import ColumnSource, RawInteractions


class InteractionTable(ColumnSource):
    """A CSV or Parquet file with an interaction a row.

    Args:
        path: a ``.csv``, ``.tsv`` or ``.parquet`` file; the first two may be packed (``.gz``).
        user: the column with each row's user, whole numbers or strings.
        item: the column with its item.
        time: the column with its time: numbers or dates.
        rating: the column with its rating.
        split: the column with its split; see ``RawInteractions``.
    """

    def read(self) -> RawInteractions:
        """Reads these columns of the file.

        Raises:
            MissingFileError: there is none.
            DataError: it is corrupt, or lacks a column.
        """
        frame = read_table(self.path, list(self.columns.values()))
        return RawInteractions.of_frame(frame, self.columns)

    def settings(self) -> dict[str, Any]:
        """How this is read; the file is told by a digest of its content."""
        return super().settings() | {"sha256": sha256(self.path)}
