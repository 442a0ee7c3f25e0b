"""NpyData: a NumPy file for each modality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmfuse.data.datamodule import FusionDataModule
from mmfuse.data.source import Source, gather
from mmfuse.errors import DataError, MissingFileError
from mmfuse.files import sha256
from mmfuse.spec import Kind


class NpyData(FusionDataModule):
    """A NumPy file for each modality, one row a line, such as features that others extracted.

    Numbers become float32, half precision among them.

    Args:
        files: each modality's ``.npy`` file, without pickled objects; a row that is all NaN is
            absent.
        kinds: what a modality is, where its axes do not tell: see ``NpzData``.
        **kwargs: as ``FusionDataModule``.
    """

    def __init__(
        self, files: dict[str, str], kinds: dict[str, Kind] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.files, self.kinds = files, kinds

    def read(self) -> Source:
        """Reads the files.

        Raises:
            MissingFileError: one of them is not there.
            DataError: one is corrupt, holds pickled objects, or has another number of rows.
        """
        return gather({m: _read(file) for m, file in self.files.items()}, kinds=self.kinds)

    def settings(self) -> dict[str, Any]:
        """How this data is made; each file is told by a digest of its content."""
        return super().settings() | {"sha256": {m: sha256(f) for m, f in self.files.items()}}


def _read(file: str) -> np.ndarray:
    path = Path(file)
    if not path.is_file():
        raise MissingFileError(f"There is no file at {path}. Check the path.")
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        raise DataError(
            f"{path} cannot be read as a plain array: {error}. Is the file whole?"
        ) from error
