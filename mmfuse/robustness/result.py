"""RobustnessResult: everything one evaluation found, as tables, and its folder on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness.masks import unpack
from mmfuse.robustness.saved import load_meta, load_tables, save_tables

FORMAT = 2

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
    "coverage": (
        "condition",
        "target",
        "coverage",
        "rows",
        "metric",
        "value",
        "low",
        "high",
        "higher_is_better",
    ),
    "masks": ("row",),
}
#: Tables that results of an earlier format lack.
_SINCE = {"coverage": 2, "masks": 2}


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
            present modalities that were taken away, for search of those that a row asks with;
            ``rows`` the labelled rows, for search those that have an item to find; ``value``
            the score with its 95 % bootstrap interval ``low`` to ``high`` (NaN without
            bootstrap). An undefined score is NaN.
        predictions: one line for each row, condition, target and output. ``label`` and
            ``prediction`` are class numbers or values, ``label`` NaN where unknown;
            ``p_<class>`` the probabilities, NaN for classes of other targets. ``output``
            is "", or for several labels at once the label, which has lines of its own
            (label and prediction 0 or 1), or for several values a row the value's number. For
            survival ``label`` is the time, ``event`` whether the event came then,
            ``prediction`` the risk and ``p_survival_<time>`` the predicted curve. For search
            ``prediction`` is the rank of the row's own item, from 1, and ``label`` 1; both NaN
            where the row has none.
        importance: each modality's ``shapley`` value in units of the target's main metric,
            with ``shapley_se``, zero where exact and else the standard error of an
            estimate; ``leave_one_out``, the score lost without it; ``alone``, the score
            with nothing else. No line when subsets were not evaluated.
        steps: for a sequential fusion the score after each step on complete data; step 0
            is the initial state, whose ``modality`` is "". No line for other fusions.
        summary: for each target, metric and family the number of ``conditions``, their
            ``mean``, the ``worst`` value with its condition, and for ``mcar`` the ``area``
            under the curve over rates from 0 (complete) to the highest, divided by it.
        coverage: for a target of one class a row the ``value`` of the ``metric`` ``risk``, the
            share of errors, when only the surest ``rows`` are answered, a share ``coverage`` of
            the labelled ones, with the 95 % Wilson interval ``low`` to ``high``. The areas under
            these curves are the metrics ``aurc`` and ``e_aurc`` of ``conditions``. No line for
            other targets, whose models tell no confidence.
        masks: one line a ``row``, and for each condition a column in which bit m is set where
            modality m of ``meta["modalities"]`` was left; read it with ``kept``.
        meta: ``format``, ``model``, ``fusion``, ``modalities``, ``targets`` (kind and
            classes of each; of kind ``search`` also the modality ``searched``, the number of its
            ``items`` and the ``chance`` of each metric), ``main_metrics``, ``rows``, ``seed``,
            ``bootstrap``, ``trained_with``, ``versions``, ``created``, ``shapley`` ("exact",
            "estimate" or "none"), ``simulators`` (what takes modalities away under each
            condition, seed included), in plain data; from ``mmfuse robustness`` also
            ``risk_thresholds``, for survival the median risk of the training rows.
    """

    conditions: pd.DataFrame
    predictions: pd.DataFrame
    importance: pd.DataFrame
    steps: pd.DataFrame
    summary: pd.DataFrame
    meta: dict[str, Any]
    coverage: pd.DataFrame = field(default_factory=lambda: empty_table("coverage"))
    masks: pd.DataFrame = field(default_factory=lambda: empty_table("masks"))

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
        """Reads what ``save`` wrote; tables that an earlier mmfuse did not write are empty.

        Raises:
            MissingFileError: the folder lacks a file of the result.
            DataError: a file is corrupt, or a later mmfuse wrote it.
        """
        what, writer = "robustness result", "RobustnessResult.save"
        meta = load_meta(folder, what, writer)
        found = meta.get("format", 0)
        if found > FORMAT:
            raise DataError(
                f"The robustness result in {folder} has format {found}, this mmfuse "
                f"reads up to {FORMAT}. Install mmfuse {meta['versions']['mmfuse']} or later."
            )
        names = [n for n in COLUMNS if found >= _SINCE.get(n, 0)]
        tables, meta = load_tables(folder, names, what, writer)
        return cls(**tables, meta=meta)

    def kept(self, condition: str) -> NDArray[np.bool_]:
        """``(N, M)`` who was left under a condition; rows as in ``masks``.

        Raises:
            ConfigError: the result has no masks of such a condition.
        """
        if condition == "row" or condition not in self.masks:
            known = [c for c in self.masks if c != "row"]
            raise ConfigError(
                f"The result has no masks of a condition {condition!r}; it has "
                f"{known or 'none, as an earlier mmfuse wrote it'}."
            )
        return unpack(self.masks[condition].to_numpy(), len(self.meta["modalities"]))

    def main(self, target: str) -> pd.DataFrame:
        """The lines of ``conditions`` for one target's main metric."""
        table = self.conditions
        wanted = (table["target"] == target) & (
            table["metric"] == self.meta["main_metrics"][target]
        )
        return table[wanted].reset_index(drop=True)
