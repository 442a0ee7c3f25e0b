"""RobustnessResult: everything one evaluation found, as tables, and its folder on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmfuse.errors import DataError
from mmfuse.robustness.saved import load_tables, save_tables

FORMAT = 1

#: Columns of each table, in order. ``predictions`` has ``p_<class>`` columns besides.
COLUMNS: dict[str, tuple[str, ...]] = {
    "conditions": (
        "condition",
        "family",
        "present",
        "rate",
        "realised_rate",
        "rows",
        "target",
        "metric",
        "value",
        "low",
        "high",
        "higher_is_better",
    ),
    "predictions": ("row", "condition", "target", "output", "label", "prediction"),
    "importance": (
        "target",
        "metric",
        "modality",
        "shapley",
        "shapley_se",
        "leave_one_out",
        "alone",
    ),
    "steps": ("step", "modality", "target", "metric", "value", "low", "high"),
    "summary": (
        "target",
        "metric",
        "family",
        "conditions",
        "mean",
        "worst",
        "worst_condition",
        "area",
    ),
}


def empty_table(name: str) -> pd.DataFrame:
    """A table of the result without a line."""
    return pd.DataFrame({column: [] for column in COLUMNS[name]})


@dataclass(frozen=True)
class RobustnessResult:
    """What a model did under each missingness condition.

    Args:
        conditions: one line for each condition, target and metric. ``family`` is
            ``complete``, ``subset``, ``mcar``, ``mar``, ``mnar``, ``mnar_flipped``,
            ``value_mnar``, ``value_mnar_flipped``, ``empty`` or a name of the caller's;
            ``present`` the modalities that a subset keeps, joined by commas, else "";
            ``rate`` the nominal rate (NaN for subsets) and ``realised_rate`` the share of
            present modalities that were taken away; ``rows`` the labelled rows; ``value``
            the score with its 95 % bootstrap interval ``low`` to ``high`` (NaN without
            bootstrap). An undefined score is NaN.
        predictions: one line for each row, condition, target and output. ``label`` and
            ``prediction`` are class numbers or values, ``label`` NaN where unknown;
            ``p_<class>`` the probabilities, NaN for classes of other targets. ``output``
            is "", or for several labels at once the label, which has lines of its own
            (label and prediction 0 or 1), or for several values a row the value's number. For
            survival ``label`` is the time, ``event`` whether the event came then,
            ``prediction`` the risk and ``p_survival_<time>`` the predicted curve.
        importance: each modality's ``shapley`` value in units of the target's main metric,
            with ``shapley_se``, zero where exact and else the standard error of an
            estimate; ``leave_one_out``, the score lost without it; ``alone``, the score
            with nothing else. No line when subsets were not evaluated.
        steps: for a sequential fusion the score after each step on complete data; step 0
            is the initial state, whose ``modality`` is "". No line for other fusions.
        summary: for each target, metric and family the number of ``conditions``, their
            ``mean``, the ``worst`` value with its condition, and for ``mcar`` the ``area``
            under the curve over rates from 0 (complete) to the highest, divided by it.
        meta: ``format``, ``model``, ``fusion``, ``modalities``, ``targets`` (kind and
            classes of each), ``main_metrics``, ``rows``, ``seed``, ``bootstrap``,
            ``trained_with``, ``versions``, ``created``, ``shapley`` ("exact", "estimate"
            or "none"), in plain data; from ``mmfuse robustness`` also ``risk_thresholds``,
            for survival the median risk of the training rows.
    """

    conditions: pd.DataFrame
    predictions: pd.DataFrame
    importance: pd.DataFrame
    steps: pd.DataFrame
    summary: pd.DataFrame
    meta: dict[str, Any]

    def save(self, folder: str | Path) -> Path:
        """Writes one parquet file a table and ``meta.json``.

        Every file is written beside its place before the first one takes it, so that an
        interruption leaves the old result.

        Raises:
            OutputError: the folder cannot be written.
        """
        return save_tables(folder, {n: getattr(self, n) for n in COLUMNS}, self.meta)

    @classmethod
    def load(cls, folder: str | Path) -> RobustnessResult:
        """Reads what ``save`` wrote.

        Raises:
            MissingFileError: the folder lacks a file of the result.
            DataError: a file is corrupt, or a later mmfuse wrote it.
        """
        tables, meta = load_tables(
            folder, tuple(COLUMNS), "robustness result", "RobustnessResult.save"
        )
        if meta.get("format", 0) > FORMAT:
            raise DataError(
                f"The robustness result in {folder} has format {meta['format']}, this mmfuse "
                f"reads up to {FORMAT}. Install mmfuse {meta['versions']['mmfuse']} or later."
            )
        return cls(**tables, meta=meta)

    def main(self, target: str) -> pd.DataFrame:
        """The lines of ``conditions`` for one target's main metric."""
        table = self.conditions
        wanted = (table["target"] == target) & (
            table["metric"] == self.meta["main_metrics"][target]
        )
        return table[wanted].reset_index(drop=True)
