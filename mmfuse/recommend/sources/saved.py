"""InteractionDataset: a Hugging Face data set saved to disk, an interaction a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmfuse.data.groups import find_columns
from mmfuse.data.hf import fingerprints, open_saved
from mmfuse.recommend.sources.base import ColumnSource, RawInteractions


class InteractionDataset(ColumnSource):
    """A Hugging Face data set saved to disk, an interaction a row.

    Args:
        path: a folder that ``save_to_disk`` wrote; the parts of a ``DatasetDict`` give the
            split.
        user: the column with each row's user, whole numbers or strings.
        item: the column with its item.
        time: the column with its time: numbers or dates.
        rating: the column with its rating.
        split: the column with its split, which counts before the parts; see
            ``RawInteractions``.
    """

    def read(self) -> RawInteractions:
        """Opens the data set and reads these columns alone.

        Raises:
            MissingFileError: there is none.
            DataError: it is corrupt, or lacks a column.
            ConfigError: one of its parts is no split.
        """
        data, split = open_saved(self.path)
        names = find_columns(list(self.columns.values()), data.column_names, "The configuration")
        found = RawInteractions.of_frame(data.select_columns(names).to_pandas(), self.columns)
        return found if found.split is not None else replace(found, split=split)

    def settings(self) -> dict[str, Any]:
        """How this is read; the content is told by the data set's own fingerprints."""
        return super().settings() | {"fingerprints": fingerprints(self.path)}
