"""Study: the results of one or several models on the same rows, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness.findings import Findings
from mmfuse.robustness.result import RobustnessResult
from mmfuse.survival.plot import risk_group

#: Columns of a table of baselines. ``modalities`` names those a baseline reads, joined by
#: commas, as ``present`` does in ``RobustnessResult.conditions``: "left", "left,right".
BASELINE_COLUMNS = ("model", "modalities", "target", "metric", "value", "low", "high")

#: Families of complete data, fixed patterns and independent draws at one rate.
_PLAIN = ("complete", "subset", "empty", "mcar")


#: What a report is of: absence alone, or all that a study found.
Reportable = RobustnessResult | Findings


@dataclass(frozen=True)
class Study:
    """The tables of every model in one, with a column ``model``.

    Args:
        conditions: as in ``RobustnessResult``, with ``model`` first.
        importance: the same.
        steps: the same.
        summary: the same.
        baselines: ``BASELINE_COLUMNS``.
        outcomes: for survival targets every row's ``target``, ``time``, ``event`` and risk
            ``group`` on complete data, with ``model`` first.
        metas: each model's ``meta``.
        findings: what else is known of each model.
    """

    conditions: pd.DataFrame
    importance: pd.DataFrame
    steps: pd.DataFrame
    summary: pd.DataFrame
    baselines: pd.DataFrame
    outcomes: pd.DataFrame
    metas: Mapping[str, Mapping[str, Any]]
    findings: Mapping[str, Findings]

    @property
    def models(self) -> list[str]:
        """Their names, in the order given."""
        return list(self.metas)

    @property
    def targets(self) -> list[str]:
        """The targets' names, in the order of the first model that has them."""
        return list(dict.fromkeys(t for meta in self.metas.values() for t in meta["main_metrics"]))

    @property
    def modalities(self) -> list[str]:
        """The modalities' names, in the order of the first model that has them."""
        return list(dict.fromkeys(m for meta in self.metas.values() for m in meta["modalities"]))

    def main_metric(self, target: str) -> str:
        """The metric that stands for the target."""
        found = (meta["main_metrics"].get(target) for meta in self.metas.values())
        return next(metric for metric in found if metric)

    def scores(
        self,
        target: str,
        *families: str,
        model: str | None = None,
        metric: str | None = None,
    ) -> pd.DataFrame:
        """The lines of ``conditions`` for one target and metric (the main one for None).

        Args:
            target: its name.
            families: those wanted; all for none.
            model: one model's lines; all for None.
            metric: the metric; the target's main one for None.
        """
        table = self.conditions
        wanted = (table["target"] == target) & (
            table["metric"] == (metric or self.main_metric(target))
        )
        if families:
            wanted &= table["family"].isin(families)
        if model is not None:
            wanted &= table["model"] == model
        return table[wanted].reset_index(drop=True)

    def shifts(self, target: str) -> pd.DataFrame:
        """The main scores where absence has a reason or a structure, or is the caller's own."""
        table = self.scores(target)
        return table[~table["family"].isin(_PLAIN)].reset_index(drop=True)

    def area(self, target: str, model: str) -> float:
        """The area under the model's MCAR curve; NaN without one."""
        table = self.summary
        line = table[
            (table["target"] == target)
            & (table["metric"] == self.main_metric(target))
            & (table["family"] == "mcar")
            & (table["model"] == model)
        ]
        return float(line["area"].iloc[0]) if len(line) else float("nan")

    def of_target(self, table: pd.DataFrame, target: str) -> pd.DataFrame:
        """The lines of one target's main metric in another of the study's tables."""
        wanted = (table["target"] == target) & (table["metric"] == self.main_metric(target))
        return table[wanted].reset_index(drop=True)


def risk_groups(result: RobustnessResult) -> pd.DataFrame:
    """Which rows a model calls at risk of the event, under complete data.

    The groups part at ``meta["risk_thresholds"]`` where the run has them of its training
    rows, otherwise at the median risk of the rows themselves.

    Returns:
        columns target, time, event, group (0 for the lower risk); without rows where no
        target is survival or complete data were not evaluated
    """
    table, parts = result.predictions, []
    for target, facts in result.meta["targets"].items():
        if facts["kind"] != "survival":
            continue
        lines = table[(table["target"] == target) & (table["condition"] == "complete")]
        lines = lines.dropna(subset=["label", "event"])
        if lines.empty:
            continue
        known = result.meta.get("risk_thresholds", {}).get(target)
        cuts = [float(lines["prediction"].median())] if known is None else known
        parts.append(
            pd.DataFrame(
                {
                    "target": target,
                    "time": lines["label"].astype(float),
                    "event": lines["event"].astype(float),
                    "group": risk_group(lines["prediction"], cuts),
                }
            )
        )
    empty = pd.DataFrame({"target": [], "time": [], "event": [], "group": []})
    return pd.concat(parts, ignore_index=True) if parts else empty


def gather(
    results: Reportable | Mapping[str, Reportable],
    baselines: pd.DataFrame | None = None,
) -> Study:
    """Puts the results of several models into one study.

    Args:
        results: one result, which is called by its fusion, or several by name.
        baselines: a table with ``BASELINE_COLUMNS``; None for those of the findings, each once.

    Raises:
        ConfigError: no result at all.
        DataError: a column that ``baselines`` lacks.
    """
    if isinstance(results, RobustnessResult | Findings):
        results = {str(_found(results).absence.meta["fusion"]): results}
    if not results:
        raise ConfigError("A report needs at least one RobustnessResult; found none.")
    findings = {model: _found(result) for model, result in results.items()}
    if baselines is None:
        known = [f.baselines for f in findings.values() if f.baselines is not None]
        empty = pd.DataFrame(columns=list(BASELINE_COLUMNS))
        keys = ["model", "modalities", "target", "metric"]
        baselines = pd.concat(known).drop_duplicates(keys) if known else empty
    lacking = [column for column in BASELINE_COLUMNS if column not in baselines]
    if lacking:
        raise DataError(
            f"The table of baselines has columns {list(baselines)}; {lacking} missing. "
            f"Give {list(BASELINE_COLUMNS)}."
        )

    def joined(name: str) -> pd.DataFrame:
        parts = []
        for model, found in findings.items():
            part = getattr(found.absence, name).copy()
            part.insert(0, "model", model)
            parts.append(part)
        filled = [part for part in parts if len(part)]
        return pd.concat(filled or parts[:1], ignore_index=True)

    return Study(
        conditions=joined("conditions"),
        importance=joined("importance"),
        steps=joined("steps"),
        summary=joined("summary"),
        baselines=baselines[list(BASELINE_COLUMNS)].reset_index(drop=True),
        outcomes=pd.concat(
            [risk_groups(f.absence).assign(model=model) for model, f in findings.items()],
            ignore_index=True,
        ),
        metas={model: f.absence.meta for model, f in findings.items()},
        findings=findings,
    )


def _found(result: Reportable) -> Findings:
    return result if isinstance(result, Findings) else Findings(result)
