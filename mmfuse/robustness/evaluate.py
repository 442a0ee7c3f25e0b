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
from mmfuse.robustness import tables
from mmfuse.robustness.conditions import (
    Condition,
    check_names,
    label_groups,
    standard_conditions,
)
from mmfuse.robustness.masks import masks_table, simulators
from mmfuse.robustness.metrics import MAIN_METRIC, score
from mmfuse.robustness.passes import Facts, predict_under
from mmfuse.robustness.result import FORMAT, RobustnessResult, empty_table

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

    Args:
        model: read in eval mode; its mode is restored.
        batches: the rows, with targets.
        facts: of all these rows, found by ``Batch.index``; or a function from a batch.
        conditions: None for ``standard_conditions`` with this seed.
        device: where to compute; the model moves there. None leaves it where it is.
        bootstrap: resamples of rows behind each 95 % interval; 0 for no intervals.
        importance: tell each modality's part in the score, from the fixed patterns among
            the conditions. Shapley values are exact when all are there. Otherwise they
            are estimated if ``conditions`` are the standard ones of the same seed.
        seed: of the bootstrap and, for None, of the conditions.
        trained_with: plain data on absence in training, kept in ``meta``.
        progress: called after each batch with the number of batches done.

    Raises:
        ConfigError: the model has no target, or conditions share a name.
        DataError: no rows, no targets in the batches, or rows that ``facts`` lacks.
        UnknownModalityError: a condition or a batch names a modality the model lacks.
    """
    targets = model.spec.targets
    if not model.heads:
        raise ConfigError("A robustness evaluation needs a target; the model predicts none.")
    if conditions is None:
        conditions = standard_conditions(model.modalities, label_groups(model.spec), seed)
    check_names(conditions)
    if device is not None:
        model.to(device)
    found = predict_under(model, batches, facts, conditions, progress)
    scores = {
        t: score(spec, found.values[t], found.labels[t], bootstrap, seed)
        for t, spec in targets.items()
    }
    step_scores = {
        t: score(targets[t], values, found.labels[t], bootstrap, seed)
        for t, values in found.steps.items()
    }
    parts, shapley = empty_table("importance"), "none"
    if importance:
        parts, shapley = tables.importance_table(
            conditions, model.modalities, targets, scores, seed
        )
    table = tables.conditions_table(conditions, found, targets, scores)
    return RobustnessResult(
        conditions=table,
        predictions=tables.predictions_table(conditions, found, targets),
        importance=parts,
        steps=tables.steps_table(found.step_names, step_scores),
        summary=tables.summary_table(table),
        coverage=tables.coverage_table(conditions, found, targets),
        masks=masks_table(conditions, found.rows, found.kept),
        meta={
            "format": FORMAT,
            "model": type(model).__name__,
            "fusion": type(model.fusion).__name__,
            "modalities": list(model.modalities),
            "targets": {
                t: {"kind": s.kind, "classes": list(tables.class_names(s))}
                for t, s in targets.items()
            },
            "main_metrics": {t: MAIN_METRIC[s.kind] for t, s in targets.items()},
            "rows": len(found.rows),
            "seed": seed,
            "bootstrap": bootstrap,
            "shapley": shapley,
            "trained_with": dict(trained_with or {}),
            "simulators": simulators(conditions),
            "versions": {"mmfuse": mmfuse.__version__} | {n: version(n) for n in _LIBRARIES},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
