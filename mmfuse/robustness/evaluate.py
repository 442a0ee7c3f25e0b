"""Evaluation: a model, rows and conditions -> everything the robustness tables say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

import mmfuse
from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.robustness.conditions import (
    Condition,
    check_names,
    label_groups,
    standard_conditions,
)
from mmfuse.robustness.masks import masks_table, simulators
from mmfuse.robustness.passes import Facts
from mmfuse.robustness.predicted import predicted
from mmfuse.robustness.result import FORMAT, RobustnessResult
from mmfuse.robustness.search.evaluate import searched
from mmfuse.robustness.tables import summary_table
from mmfuse.robustness.told import Asks

_LIBRARIES = ("torch", "numpy", "pandas")


def evaluate(
    model: FusionModel,
    batches: Iterable[Batch],
    facts: Facts,
    conditions: Sequence[Condition] | None = None,
    *,
    device: torch.device | str | None = None,
    bootstrap: int = 1000,
    importance: bool = True,
    seed: int = 0,
    trained_with: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] | None = None,
) -> RobustnessResult:
    """Scores a model under every missingness condition, at the cost of encoding once.

    Each batch is encoded with the modalities its rows have, then fused under every
    condition, which gives what the same simulators would give when applied to the data.
    The order and the size of the batches change nothing, to float rounding.

    A model that predicts no target is measured by search, if its vectors lie in one space: each
    modality m is a target ``→ m``. The rows that have an item m ask for it with the fused vector
    of what is left of their *other* modalities, among all items m of these rows; what a row has
    of m itself never counts. Scores are recall at 1, 5 and 10 (``r_at_1``, ...), the mean
    reciprocal rank ``mrr`` and, where the data have classes, ``map``, for which every item of the
    row's class is right. Ties are in no order, as in ``retrieval_scores``, and a row with nothing
    left to ask with gets what a random order would give. Subsets of the modalities that differ
    by m alone say the same, and have one line.

    Args:
        model: read in eval mode; its mode is restored.
        batches: the rows, with the model's targets.
        facts: of all these rows, found by ``Batch.index``; or a function from a batch.
        conditions: None for ``standard_conditions`` with this seed; for search those that may
            take all a row asks with, as what it looks for stays.
        device: where to compute; the model moves there. None leaves it where it is.
        bootstrap: resamples of rows behind each 95 % interval; 0 for no intervals.
        importance: tell each modality's part in the score, from the fixed patterns among
            the conditions. Shapley values are exact when all are there. Otherwise they
            are estimated if ``conditions`` are the standard ones of the same seed.
        seed: of the bootstrap and, for None, of the conditions.
        trained_with: plain data on absence in training, kept in ``meta``.
        progress: called after each batch with the number of batches done.

    Raises:
        ConfigError: the model has neither a target nor one space, conditions share a name, or
            ``bootstrap`` is below 0.
        DataError: no rows, none with a label, none of the model's targets in the batches, or rows
            that ``facts`` lacks.
        UnknownModalityError: a condition or a batch names a modality the model lacks.
    """
    if bootstrap < 0:
        raise ConfigError(f"bootstrap is {bootstrap}; expected a number of resamples, or 0.")
    if conditions is None:
        groups, keep_one = label_groups(model.spec), bool(model.heads)
        conditions = standard_conditions(model.modalities, groups, seed, keep_one=keep_one)
    check_names(conditions)
    if device is not None:
        model.to(device)
    asks = Asks(batches, facts, conditions, bootstrap, importance, seed, progress)
    told = predicted(model, asks) if model.heads else searched(model, asks)
    return RobustnessResult(
        conditions=told.conditions,
        predictions=told.predictions,
        importance=told.importance,
        steps=told.steps,
        summary=summary_table(told.conditions),
        coverage=told.coverage,
        masks=masks_table(conditions, told.rows, told.kept),
        meta={
            "format": FORMAT,
            "model": type(model).__name__,
            "fusion": type(model.fusion).__name__,
            "modalities": list(model.modalities),
            "targets": told.targets,
            "main_metrics": told.main_metrics,
            "rows": len(told.rows),
            "seed": seed,
            "bootstrap": bootstrap,
            "shapley": told.shapley,
            "trained_with": dict(trained_with or {}),
            "simulators": simulators(conditions),
            "versions": {"mmfuse": mmfuse.__version__} | {n: version(n) for n in _LIBRARIES},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
