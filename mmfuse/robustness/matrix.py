"""The absence of training against the absence of testing: several models, one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.robustness.conditions import Condition, label_groups, standard_conditions
from mmfuse.robustness.evaluate import evaluate
from mmfuse.robustness.passes import Facts
from mmfuse.robustness.saved import SavedTables

COLUMNS = (
    "trained_with",
    "condition",
    "family",
    "rate",
    "realised_rate",
    "target",
    "metric",
    "value",
    "low",
    "high",
    "higher_is_better",
)


@dataclass(frozen=True)
class AbsenceMatrix(SavedTables):
    """How models that were trained with one absence do under another.

    Args:
        table: one line for each model (``trained_with``), condition, target and metric:
            ``family``, ``rate`` and ``realised_rate`` of the condition, the ``value`` with its
            95 % bootstrap interval ``low`` to ``high``, and ``higher_is_better``. Models share
            their rows, masks and resamples.
        meta: ``models``, ``main_metrics``, ``rows``, ``simulators``, ``bootstrap``, ``seed``,
            in plain data.
    """

    what = "absence matrix"

    table: pd.DataFrame
    meta: dict[str, Any]

    def wide(self, target: str, metric: str | None = None) -> pd.DataFrame:
        """The values alone: a line for each model, a column for each condition.

        Args:
            target: its name.
            metric: None for the target's main one.

        Raises:
            ConfigError: the matrix has no such target or metric.
        """
        metric = self.meta["main_metrics"].get(target) if metric is None else metric
        table = self.table
        lines = table[(table["target"] == target) & (table["metric"] == metric)]
        if lines.empty:
            known = {t: sorted(set(g["metric"])) for t, g in table.groupby("target")}
            raise ConfigError(f"The matrix has no {metric!r} of {target!r}; it has {known}.")
        wide = lines.pivot(index="trained_with", columns="condition", values="value")
        wide = wide.loc[lines["trained_with"].unique(), lines["condition"].unique()]
        return wide.rename_axis(columns=None).reset_index()


def absence_matrix(
    models: Mapping[str, FusionModel],
    batches: Iterable[Batch],
    facts: Facts,
    conditions: Sequence[Condition] | None = None,
    *,
    device: torch.device | str | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[str, int], None] | None = None,
) -> AbsenceMatrix:
    """Evaluates several models under the same conditions, each at the cost of encoding once.

    Args:
        models: by what they were trained with, such as ``models_by_training`` gives them; they
            read the same batches.
        batches: the rows, with targets, as a list or a loader, which is read once a model.
        facts: of all these rows, see ``evaluate``.
        conditions: None for ``standard_conditions`` of the first model, with this seed.
        device: where to compute; the models move there. None leaves them where they are.
        bootstrap: resamples of rows behind each interval; 0 for no intervals.
        seed: of the bootstrap and, for None, of the conditions.
        progress: called after each batch with the model's name and the batches done.

    Raises:
        ConfigError: no model, one without a target, batches that can be read only once, or
            conditions that share a name.
        DataError: no rows, no targets in the batches, or rows that ``facts`` lacks.
        UnknownModalityError: a condition or a batch names a modality that a model lacks.
    """
    if not models:
        raise ConfigError("A matrix needs at least one model; found none.")
    if isinstance(batches, Iterator):
        raise ConfigError(
            "batches can be read only once, and each model reads them. Give a list or a loader."
        )
    if conditions is None:
        first = next(iter(models.values()))
        groups, keep_one = label_groups(first.spec), bool(first.heads)
        conditions = standard_conditions(first.modalities, groups, seed, keep_one=keep_one)
    main_metrics: dict[str, str] = {}
    parts, rows = [], 0
    for name, model in models.items():

        def tell(done: int, name: str = name) -> None:
            if progress is not None:
                progress(name, done)

        found = evaluate(
            model,
            batches,
            facts,
            conditions,
            device=device,
            bootstrap=bootstrap,
            importance=False,
            seed=seed,
            progress=tell,
        )
        main_metrics |= found.meta["main_metrics"]
        rows, simulators = found.meta["rows"], found.meta["simulators"]
        parts.append(found.conditions.assign(trained_with=name)[list(COLUMNS)])
    meta = {
        "models": list(models),
        "main_metrics": main_metrics,
        "rows": rows,
        "simulators": simulators,
        "bootstrap": bootstrap,
        "seed": seed,
    }
    return AbsenceMatrix(pd.concat(parts, ignore_index=True), meta)
