"""CorruptionResult: what corruptions leave of a model's scores, as tables and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from mmfuse.robustness.saved import SavedTables

#: Columns of each table, in order.
COLUMNS: dict[str, tuple[str, ...]] = {
    "scores": (
        *("target", "metric", "modality", "corruption", "severity", "rows", "exposed"),
        *("value", "low", "high", "higher_is_better"),
    ),
    "summary": (
        *("target", "metric", "modality", "corruption", "measure"),
        *("value", "low", "high", "higher_is_better"),
    ),
}
#: ``modality`` of the curve in which every modality is corrupted at once.
EVERY = ""
#: ``corruption`` of that curve: each row's modalities each by one of their own.
MIXED = "mixed"
#: ``corruption`` of a modality's mean over its corruptions, in ``summary``.
MEAN = "mean"


@dataclass(frozen=True)
class CorruptionResult(SavedTables):
    """A model's scores by modality, corruption and severity.

    Args:
        scores: one line for each target, metric, ``modality``, ``corruption`` and ``severity``
            from 0 (clean, the same for every curve) to 5: the labelled ``rows``, the share of
            them ``exposed`` (that have the modality), the ``value`` with its 95 % bootstrap
            interval ``low`` to ``high`` (NaN without bootstrap), ``higher_is_better``. In the
            curve whose modality is "" and whose corruption is ``mixed`` every modality is
            corrupted at once, in each row by one of its own corruptions, drawn by the row; it
            is there when more than one modality is corrupted.
        summary: for each curve, and for the mean curve of each modality (corruption ``mean``),
            one line for each ``measure`` as ``measures`` defines them: ``clean``, ``mean``,
            ``area``, ``relative_area``, ``retained``; intervals by the same resamples.
        meta: ``modalities`` (those corrupted, with their kinds), ``corruptions`` (of each
            modality, how they were built and their levels), ``main_metrics``, ``rows``,
            ``seed``, ``bootstrap``, ``model``, ``fusion``, in plain data.
    """

    what = "corruption result"

    scores: pd.DataFrame
    summary: pd.DataFrame
    meta: dict[str, Any]

    def main(self, target: str) -> pd.DataFrame:
        """The lines of ``summary`` for one target's main metric."""
        table = self.summary
        wanted = (table["target"] == target) & (
            table["metric"] == self.meta["main_metrics"][target]
        )
        return table[wanted].reset_index(drop=True)

    @property
    def sentences(self) -> list[str]:
        """What a reader must know: the worst corruption of each modality, and all at once."""
        found = []
        for target, metric in self.meta["main_metrics"].items():
            table = self.scores.query("target == @target and metric == @metric")
            clean = table.loc[table["severity"] == 0, "value"].iloc[0]
            for modality, group in table[table["severity"] == 5].groupby("modality", sort=False):
                group = group.dropna(subset="value")
                if not len(group):
                    continue
                # A main metric is higher for the better model.
                worst = group.iloc[int(group["value"].to_numpy(float).argmin())]
                what = "every modality" if modality == EVERY else str(modality)
                by = "one of its own corruptions" if modality == EVERY else str(worst["corruption"])
                found.append(
                    f"{target}: with {what} under {by} at severity 5, {metric} goes from "
                    f"{clean:.3f} to {worst['value']:.3f}."
                )
        return found
