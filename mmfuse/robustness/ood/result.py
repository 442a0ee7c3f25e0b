"""OODResult: what an evaluation out of distribution found, as tables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mmfuse.robustness.saved import load_tables, save_tables

Shift = Literal["near", "far"]

#: Name of the rows in distribution in ``OODResult.rows``.
IN = "in"
TABLES = ("table", "rows")


@dataclass(frozen=True)
class OODResult:
    """How well each score tells each set from the rows in distribution.

    Args:
        table: one line for each set, score and metric: ``set``, ``shift`` (``near``, ``far``, or
            "" where the caller did not say), ``score``, ``metric`` as in ``ood_metrics``,
            ``value`` with its 95 % interval ``low`` to ``high`` (NaN without bootstrap),
            ``in_rows`` and ``out_rows``, the rows that have a score, and ``higher_is_better``.
        rows: one line a row: ``set`` (``in`` for those in distribution), ``row``, its number in
            its data set, ``label`` (NaN where unknown), ``prediction``, both class numbers, and
            a column for each score, **higher meaning more out of distribution**.
        accuracy: share of the labelled rows in distribution whose class is right, NaN for none.
        target: the target of classes.
    """

    table: pd.DataFrame
    rows: pd.DataFrame
    accuracy: float
    target: str

    def wide(self) -> pd.DataFrame:
        """The values alone: one line for each set and score, one column a metric."""
        keys, metrics = ["set", "shift", "score"], self.table["metric"].unique()
        wide = self.table.pivot(index=keys, columns="metric", values="value")
        lines = self.table[keys].drop_duplicates()
        return wide.loc[list(lines.itertuples(index=False, name=None)), metrics].reset_index()

    def save(self, folder: str | Path) -> Path:
        """Writes one parquet file a table and ``meta.json``.

        Raises:
            OutputError: the folder cannot be written.
        """
        accuracy = None if math.isnan(self.accuracy) else self.accuracy  # JSON has no NaN
        meta: dict[str, Any] = {"accuracy": accuracy, "target": self.target}
        return save_tables(folder, {n: getattr(self, n) for n in TABLES}, meta)

    @classmethod
    def load(cls, folder: str | Path) -> OODResult:
        """Reads what ``save`` wrote.

        Raises:
            MissingFileError: the folder lacks a file of it.
            DataError: a file is corrupt.
        """
        tables, meta = load_tables(folder, TABLES, "result out of distribution", "OODResult.save")
        accuracy = math.nan if meta["accuracy"] is None else meta["accuracy"]
        return cls(**tables, accuracy=accuracy, target=meta["target"])
