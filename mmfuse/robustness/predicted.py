"""Predicted: what a model with targets says under every condition, as tables."""

from __future__ import annotations

from mmfuse.errors import DataError
from mmfuse.model import FusionModel
from mmfuse.robustness import tables
from mmfuse.robustness.metrics import MAIN_METRIC, is_labelled, score
from mmfuse.robustness.passes import predict_under
from mmfuse.robustness.result import empty_table
from mmfuse.robustness.told import Asks, Told


def predicted(model: FusionModel, asks: Asks) -> Told:
    """Scores of every target; errors as ``evaluate``."""
    targets, conditions = model.spec.targets, asks.conditions
    found = predict_under(model, asks.batches, asks.facts, conditions, asks.progress)
    if not any(is_labelled(spec, found.labels[t]).any() for t, spec in targets.items()):
        raise DataError(
            f"None of the {len(found.rows)} rows has a label of {list(targets)}, so that there is "
            "nothing to score. Give labelled rows, or another split."
        )
    scores = {
        t: score(spec, found.values[t], found.labels[t], asks.bootstrap, asks.seed)
        for t, spec in targets.items()
    }
    step_scores = {
        t: score(targets[t], values, found.labels[t], asks.bootstrap, asks.seed)
        for t, values in found.steps.items()
    }
    main_metrics = {t: MAIN_METRIC[s.kind] for t, s in targets.items()}
    parts, shapley = empty_table("importance"), "none"
    if asks.importance:
        read = dict.fromkeys(targets, model.modalities)
        parts, shapley = tables.importance_table(
            conditions, model.modalities, read, main_metrics, scores, asks.seed
        )
    realised = tables.realised_rate(found.present, found.kept)
    return Told(
        conditions=tables.conditions_table(conditions, scores, dict.fromkeys(targets, realised)),
        predictions=tables.predictions_table(conditions, found, targets),
        importance=parts,
        steps=tables.steps_table(found.step_names, step_scores),
        coverage=tables.coverage_table(conditions, found, targets),
        targets={
            t: {"kind": s.kind, "classes": list(tables.class_names(s))} for t, s in targets.items()
        },
        main_metrics=main_metrics,
        shapley=shapley,
        rows=found.rows,
        kept=found.kept,
    )
