"""Scores of the classical models, under conditions of absence and on each modality alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from mmfuse.baselines.features import Features, readable
from mmfuse.baselines.models import BASELINES, BOOSTING, Predict, fit_baseline
from mmfuse.data import FusionDataModule
from mmfuse.robustness import Condition
from mmfuse.robustness.metrics import is_labelled, score

Split = Literal["train", "val", "test"]


def baseline_scores(
    variant: str, data: FusionDataModule, conditions: Sequence[Condition], seed: int = 0
) -> pd.DataFrame:
    """Fits a classical model on the joined features, and scores the test rows.

    It sees the training rows as a fusion does, simulated absence included.

    Args:
        variant: one of ``BASELINES``.
        data: the data set.
        conditions: test-time absence, on top of natural gaps.
        seed: of the model.

    Returns:
        columns condition, target, metric, value
    """
    features = Features(data, for_trees=variant == BOOSTING, seed=seed)
    facts, rows = data.facts("test"), data.rows("test").numpy()
    masks = {
        c.name: (facts.present & c.missing.keep(facts) if c.missing else facts.present).numpy()
        for c in conditions
    }
    lines = []
    for name, spec in data.spec.targets.items():
        predict = _fitted(variant, data, features, name, None, seed)
        values = np.stack([predict(features.of(rows, mask)) for mask in masks.values()])
        label = data.dataset("test").targets[name][rows].numpy().astype(float)
        for found in score(spec, values.astype(np.float32), label, bootstrap=0):
            lines += [
                {"condition": c, "target": name, "metric": found.metric, "value": float(v)}
                for c, v in zip(masks, found.value, strict=True)
            ]
    return pd.DataFrame(lines)


def modality_scores(
    data: FusionDataModule,
    split: Split = "test",
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """What each modality alone, and all of them joined, tell a classical model.

    Raw pictures, sounds and videos are passed over: no classical model reads them.

    Args:
        data: the data set.
        split: the rows to score.
        bootstrap: resamples behind each interval.
        seed: of models and resamples.
        progress: called before each model with what it is.

    Returns:
        columns model, modalities (names joined by commas), target, metric, value, low, high
    """
    facts, rows = data.facts(split), data.rows(split).numpy()
    names = readable(data)
    sets = [*([m] for m in names), *([names] if len(names) > 1 else [])]
    lines = []
    for variant in BASELINES:
        features = Features(data, for_trees=variant == BOOSTING, seed=seed, modalities=names)
        for used in sets:
            shown = ",".join(used)
            if progress:
                progress(f"{variant}, {shown}")
            x = features.of(rows, facts.present.numpy(), used)
            for name, spec in data.spec.targets.items():
                predict = _fitted(variant, data, features, name, used, seed)
                values = predict(x)[None].astype(np.float32)
                label = data.dataset(split).targets[name][rows].numpy().astype(float)
                lines += [
                    {
                        "model": variant,
                        "modalities": shown,
                        "target": name,
                        "metric": found.metric,
                        "value": float(found.value[0]),
                        "low": float(found.low[0]),
                        "high": float(found.high[0]),
                    }
                    for found in score(spec, values, label, bootstrap, seed)
                ]
    return pd.DataFrame(lines)


def _fitted(
    variant: str,
    data: FusionDataModule,
    features: Features,
    target: str,
    modalities: Sequence[str] | None,
    seed: int,
) -> Predict:
    spec, facts, rows = data.spec.targets[target], data.facts("train"), data.rows("train").numpy()
    kept = facts.present
    if data.missing is not None:
        kept = kept & data.missing.keep(facts)
    label = data.dataset("train").targets[target][rows].numpy()
    known = is_labelled(spec, label.astype(float))
    x = features.of(rows, kept.numpy(), modalities)
    return fit_baseline(variant, spec, x[known], label[known], seed)
