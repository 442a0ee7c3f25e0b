"""LeakResult: what a model that reads the masks alone can tell of the targets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmfuse.robustness.saved import load_tables, save_tables


@dataclass(frozen=True)
class LeakResult:
    """Scores of classical models that are shown who is absent, and nothing else.

    Args:
        table: one line for each condition, target and model, as ``mask_leaks`` gives them.
        meta: ``split``, ``conditions`` (those asked for), ``bootstrap``, ``seed``, in plain data.
    """

    table: pd.DataFrame
    meta: dict[str, Any]

    def save(self, folder: str | Path) -> Path:
        """Writes ``table.parquet`` and ``meta.json``.

        Raises:
            OutputError: the folder cannot be written.
        """
        return save_tables(folder, {"table": self.table}, self.meta)

    @classmethod
    def load(cls, folder: str | Path) -> LeakResult:
        """Reads what ``save`` wrote.

        Raises:
            MissingFileError: the folder lacks a file of it.
            DataError: a file is corrupt.
        """
        tables, meta = load_tables(folder, ("table",), "leak check", "LeakResult.save")
        return cls(**tables, meta=meta)
