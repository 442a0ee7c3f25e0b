"""Importance: what each modality adds to the score, from the scores of subsets."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmfuse.robustness.shapley import Subset, is_exact, shapley_terms


@dataclass(frozen=True)
class Importance:
    """One modality's part in a score.

    Args:
        shapley: its mean contribution over all orders in which modalities can join.
        shapley_se: zero where ``shapley`` is exact, else the standard error of the estimate.
        leave_one_out: what the full set loses without it.
        alone: the score with nothing else.
    """

    shapley: float
    shapley_se: float
    leave_one_out: float
    alone: float


def modality_importance(
    value: Mapping[Subset, float],
    modalities: Sequence[str],
    orders: Sequence[Sequence[str]] = (),
) -> dict[str, Importance]:
    """Each modality's Shapley value, leave-one-out loss and score alone.

    The Shapley values add up to v(all) - v(empty), the latter the score of the prior. Where not
    every subset has a score they are an estimate from ``orders``, see ``shapley_terms``.

    Args:
        value: scores of subsets, the empty one included.
        modalities: their names.
        orders: sampled permutations of them, for the estimate.

    Returns:
        NaN stands for what the scores do not tell.

    Example:
        >>> value = {frozenset(s): float(len(s)) for s in ("", "a", "b", "ab")}
        >>> modality_importance(value, ["a", "b"])["a"]
        Importance(shapley=1.0, shapley_se=0.0, leave_one_out=1.0, alone=1.0)
    """
    full = frozenset(modalities)
    terms = list(shapley_terms(value, modalities, orders))
    mean = error = np.full(len(modalities), math.nan)
    if is_exact(value, modalities):
        mean, error = terms[0], np.zeros(len(modalities))
    elif len(terms) > 1:
        mean = np.mean(terms, axis=0)
        error = np.std(terms, axis=0, ddof=1) / math.sqrt(len(terms))

    def score(subset: Subset) -> float:
        return value.get(subset, math.nan)

    return {
        m: Importance(
            float(mean[i]),
            float(error[i]),
            score(full) - score(full - {m}),
            score(frozenset({m})),
        )
        for i, m in enumerate(modalities)
    }


def sampled_orders(
    modalities: Sequence[str], count: int = 16, seed: int = 0
) -> list[tuple[str, ...]]:
    """Random permutations of the modalities, the same for the same seed."""
    draw = random.Random(seed)
    return [tuple(draw.sample(list(modalities), len(modalities))) for _ in range(count)]
