"""How right a model is about each row, with every subset of its modalities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, DataError
from mmfuse.missing import FixedPattern, RowFacts, subsets
from mmfuse.model import FusionModel
from mmfuse.robustness.conditions import Condition
from mmfuse.robustness.importance import sampled_orders
from mmfuse.robustness.metrics import is_labelled
from mmfuse.robustness.passes import predict_under
from mmfuse.robustness.shapley import Subset, detours, prefixes
from mmfuse.spec import TargetSpec

Score = Literal["probability", "correct", "log_likelihood", "squared_error"]
_CLASSES, _VALUES = ("probability", "correct", "log_likelihood"), ("squared_error",)
# A class that a model rules out costs this many nats, not infinitely many.
_FLOOR = 1e-12


@dataclass(frozen=True)
class RowScores:
    """A score of each row for each subset of the modalities, higher for better.

    Args:
        modalities: their names, in the model's order.
        rows: ``(N,)`` row numbers of the rows with a label, in ascending order.
        value: for each subset ``(N,)``, the empty one included.
        orders: the sampled permutations that Shapley values are estimated from; empty where
            ``value`` has every subset.
    """

    modalities: tuple[str, ...]
    rows: NDArray[np.int64]
    value: dict[Subset, NDArray[np.float64]]
    orders: tuple[tuple[str, ...], ...] = ()


def row_scores(
    model: FusionModel,
    batches: Iterable[Batch],
    score: Score | None = None,
    target: str | None = None,
    *,
    limit: int = 6,
    orders: int = 32,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> RowScores:
    """Scores each row under every subset of its modalities, at the cost of encoding once.

    A modality outside the subset is declared absent, which measures the model with its way of
    handling that; ``permutation_importance`` measures its reliance instead.

    Args:
        model: read in eval mode; its mode is restored.
        batches: rows with targets that trained nothing.
        score: ``probability`` of the true class (None for classes), whether the class is
            ``correct``, its ``log_likelihood`` in nats; each averaged over a row's labels where
            it has several. Or the negative ``squared_error`` in target units (None for
            regression).
        target: which one; None for the first.
        limit: up to this many modalities every subset is taken; beyond it those that leave one
            out, the single ones, and what ``orders`` pass.
        orders: sampled permutations of the modalities, beyond the limit.
        seed: of the orders.
        progress: called after each batch with the number of batches done.

    Raises:
        ConfigError: a target or score that the model does not have.
        DataError: no rows, or none with a label.
    """
    name, spec, score = chosen(model, target, score)
    names = model.modalities
    drawn: list[tuple[str, ...]] = []
    wanted = set(subsets(names, limit, sample=0))
    if len(names) > limit:
        drawn = sampled_orders(names, orders, seed)
        for order in drawn:
            wanted.update([*prefixes(order, names), *detours(order, names)])
    kept = [(), *sorted(wanted, key=lambda s: (len(s), s))]
    conditions = [Condition("", "subset", math.nan, FixedPattern(list(s))) for s in kept]
    found = predict_under(model, batches, _no_facts, conditions, progress)
    label = found.labels[name]
    known = labelled(spec, label)
    right = scored(spec, found.values[name][:, known], label[known], score)
    value = {frozenset(s): right[c] for c, s in enumerate(kept)}
    return RowScores(tuple(names), found.rows[known], value, tuple(drawn))


def chosen(
    model: FusionModel, target: str | None, score: Score | None
) -> tuple[str, TargetSpec, Score]:
    """The target's name, its spec and the score to take.

    Raises:
        ConfigError: a target or score that the model does not have.
    """
    specs = model.spec.targets
    name = next(iter(specs), None) if target is None else target
    if name is None or name not in specs:
        raise ConfigError(f"The model predicts {sorted(specs)}; found no target {name!r}.")
    spec = specs[name]
    if spec.kind == "survival":
        raise ConfigError(
            f"Target {name!r} is survival, whose scores compare rows with each other. Choose a "
            "target of classes or values, or read `evaluate`'s importance."
        )
    fitting: Sequence[str] = _CLASSES if spec.is_classification else _VALUES
    if score is not None and score not in fitting:
        raise ConfigError(f"Target {name!r} is {spec.kind}; its scores are {', '.join(fitting)}.")
    plain: Score = "probability" if spec.is_classification else "squared_error"
    return name, spec, score or plain


def labelled(spec: TargetSpec, label: NDArray[np.float64]) -> NDArray[np.bool_]:
    """``(N,)`` whose labels are known.

    Raises:
        DataError: nobody's.
    """
    known = is_labelled(spec, label)
    if not known.any():
        raise DataError("No row has a label. Give rows whose target is known.")
    return known


def scored(
    spec: TargetSpec, predicted: NDArray[np.float32], label: NDArray[np.float64], score: Score
) -> NDArray[np.float64]:
    """``(C, N)`` scores of predictions ``(C, N, K)`` for labels ``(N,)`` or ``(N, K)``."""
    values = predicted.astype(np.float64)
    if spec.kind in ("binary", "multiclass"):
        true = label.astype(np.int64)
        if score == "correct":
            return (values.argmax(2) == true).astype(np.float64)
        share = values[:, np.arange(len(true)), true]
        return share if score == "probability" else np.log(np.maximum(share, _FLOOR))
    label = label.reshape(len(label), -1)
    if score == "squared_error":
        each = -((values - label) ** 2)
    else:
        each = np.where(label > 0.5, values, 1 - values)
        if score == "correct":
            each = ((values > 0.5) == (label > 0.5)).astype(np.float64)
        elif score == "log_likelihood":
            each = np.log(np.maximum(each, _FLOOR))
    found: NDArray[np.float64] = np.nanmean(np.where(np.isnan(label), np.nan, each), axis=2)
    return found


def _no_facts(batch: Batch) -> RowFacts:
    """Facts that fixed patterns do not read."""
    return RowFacts(
        batch.modalities,
        batch.index,
        batch.present,
        torch.full_like(batch.index, -1),
        torch.full(batch.present.shape, 0.5, device=batch.present.device),
    )
