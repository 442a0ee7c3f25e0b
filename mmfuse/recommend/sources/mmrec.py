"""MMRecFolder: the layout in which multimodal recommendation sets are shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from mmfuse.data import FusionDataModule, NpyData
from mmfuse.data.groups import find_columns
from mmfuse.errors import ConfigError, DataError, MissingFileError
from mmfuse.files import sha256
from mmfuse.recommend.sources.base import InteractionSource, RawInteractions

#: Each modality's file of features, where a folder has it; row i belongs to item i.
_FEATURES = {"image": "image_feat.npy", "text": "text_feat.npy", "audio": "audio_feat.npy"}
_OPTIONAL = {"rating": "rating", "time": "timestamp", "split": "x_label"}


class MMRecFolder(InteractionSource):
    """A folder of the MMRec toolbox: ``<name>.inter`` and features of the items.

    The table is separated by tabs and has the columns ``userID``, ``itemID`` and, where they
    are, ``rating``, ``timestamp`` and ``x_label`` (0 trains, 1 validates, 2 tests).
    ``image_feat.npy``, ``text_feat.npy`` and ``audio_feat.npy`` hold a row for each item, by
    its number; those that are there become modalities.

    Args:
        path: the folder.
        name: of the table; None for the only one there is.
        modalities: some of ``image``, ``text`` and ``audio``, whose files have to be there; None
            for those that are.

    Raises:
        ConfigError: a modality that the layout does not have.

    Reference: Zhou, "MMRec: Simplifying Multimodal Recommendation", 2023, arXiv:2302.03497.
    """

    def __init__(
        self, path: str, name: str | None = None, modalities: list[str] | None = None
    ) -> None:
        self.path, self.name, self.modalities = path, name, modalities
        if unknown := sorted(set(modalities or ()) - set(_FEATURES)):
            raise ConfigError(f"modalities has {unknown}; expected some of {list(_FEATURES)}.")

    def read(self) -> RawInteractions:
        """Reads the table.

        Raises:
            MissingFileError: there is none.
            DataError: it cannot be read, lacks a column, or there are several.
        """
        table = self._table()
        try:
            frame = pd.read_csv(table, sep="\t")
        except Exception as error:  # damaged bytes raise whatever their reader trips over
            raise DataError(f"{table} cannot be read: {error}. Is the file whole?") from error
        known = list(frame.columns)
        find_columns(["userID", "itemID"], known, str(table))
        there = {field: column for field, column in _OPTIONAL.items() if column in known}
        return RawInteractions.of_frame(frame, {"user": "userID", "item": "itemID", **there})

    def items(self) -> FusionDataModule | None:
        """The features that are there, row i of item i.

        Raises:
            MissingFileError: one that ``modalities`` names is not.
        """
        files = {m: Path(self.path) / file for m, file in _FEATURES.items()}
        for m in self.modalities or ():
            if not files[m].is_file():
                raise MissingFileError(
                    f"There is no {files[m]}. Check the path, or leave {m!r} out of modalities."
                )
        wanted = files if self.modalities is None else self.modalities
        there = {m: str(files[m]) for m in wanted if files[m].is_file()}
        return NpyData(there) if there else None

    def settings(self) -> dict[str, Any]:
        """How this is read; the table is told by a digest of its content."""
        return super().settings() | {"sha256": sha256(self._table())}

    def _table(self) -> Path:
        found = sorted(Path(self.path).glob(f"{self.name or '*'}.inter"))
        if not found:
            raise MissingFileError(
                f"There is no {self.name or '<name>'}.inter in {self.path}. Check the path."
            )
        if len(found) > 1:
            raise DataError(f"{self.path} has {[f.name for f in found]}. Say which one with name.")
        return found[0]
