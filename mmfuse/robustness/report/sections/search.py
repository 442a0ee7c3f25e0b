"""The page on search: what is asked, among how many items, and what chance would find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmfuse.robustness.report import blocks
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import metric_name, number, score_of
from mmfuse.robustness.search.space import KIND


def section(study: Study, target: str) -> str:
    """Every metric on complete data beside chance; nothing for what is predicted."""
    facts = _facts(study, target)
    if facts is None:
        return ""
    metrics = list(facts["chance"])
    lines = [
        [model, *(_complete(study, target, model, metric) for metric in metrics)]
        for model in study.models
    ]
    chance = ["random order", *(number(facts["chance"][metric]) for metric in metrics)]
    return blocks.section(
        f"Search among {facts['items']:,} items",
        blocks.paragraph(
            f"Each row that has {facts['searched']} asks for its own with the fused vector of what "
            "is left of its other modalities, among those of all rows. Absence takes what a row "
            "asks with, never what it looks for. A row with nothing left to ask with scores as a "
            "random order would. R@k is the share of rows whose own item is among the first k, "
            "MRR the mean of 1 / rank."
        ),
        blocks.table(["complete data", *map(metric_name, metrics)], [*lines, chance]),
    )


def sentences(study: Study, target: str, model: str) -> list[str]:
    """What the summary says of chance."""
    facts = study.metas[model]["targets"].get(target, {})
    if facts.get("kind") != KIND:
        return []
    metric = study.main_metric(target)
    return [
        f"A random order of the {facts['items']:,} items: {metric_name(metric)} "
        f"{number(facts['chance'][metric])}."
    ]


def _facts(study: Study, target: str) -> Mapping[str, Any] | None:
    """The facts of the target where it is a search."""
    every = (meta["targets"].get(target, {}) for meta in study.metas.values())
    return next((facts for facts in every if facts.get("kind") == KIND), None)


def _complete(study: Study, target: str, model: str, metric: str) -> str:
    lines = study.scores(target, "complete", model=model, metric=metric)
    return score_of(lines.iloc[0]) if len(lines) else ""
