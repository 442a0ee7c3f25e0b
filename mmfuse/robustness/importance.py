"""Importance: what each modality adds to the score, from the scores of subsets."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Subset = frozenset[str]


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

    With v(S) the score when the modalities S are present, v(empty) that of the prior::

        phi_m = sum_{S without m}  |S|! (M - |S| - 1)! / M!  (v(S + m) - v(S))

    The values add up to v(all) - v(empty). Where not every subset has a score, phi is the
    mean contribution over those of ``orders`` whose every prefix has one: an estimate.

    Args:
        value: scores of subsets, the empty one included.
        modalities: their names.
        orders: sampled permutations of them, for the estimate.

    Returns:
        NaN stands for what the scores do not tell.

    Reference: Shapley, "A value for n-person games", 1953; the estimate: Castro, Gomez and
    Tejada, "Polynomial calculation of the Shapley value based on sampling", 2009.

    Example:
        >>> value = {frozenset(s): float(len(s)) for s in ("", "a", "b", "ab")}
        >>> modality_importance(value, ["a", "b"])["a"]
        Importance(shapley=1.0, shapley_se=0.0, leave_one_out=1.0, alone=1.0)
    """
    full = frozenset(modalities)
    if len(value) >= 2 ** len(modalities):
        shapley = {m: (_exact(value, m, full), 0.0) for m in modalities}
    else:
        shapley = _estimated(value, modalities, orders)

    def score(subset: Subset) -> float:
        return value.get(subset, math.nan)

    return {
        m: Importance(*shapley[m], score(full) - score(full - {m}), score(frozenset({m})))
        for m in modalities
    }


def _exact(value: Mapping[Subset, float], m: str, full: Subset) -> float:
    count = len(full)
    # 1 / (M C(M-1, |S|)) is the weight |S|! (M-|S|-1)! / M! without large factorials.
    return math.fsum(
        (value[subset | {m}] - score) / (count * math.comb(count - 1, len(subset)))
        for subset, score in value.items()
        if m not in subset
    )


def _estimated(
    value: Mapping[Subset, float], modalities: Sequence[str], orders: Sequence[Sequence[str]]
) -> dict[str, tuple[float, float]]:
    gains: dict[str, list[float]] = {m: [] for m in modalities}
    for order in orders:
        chain = [frozenset(order[:k]) for k in range(len(order) + 1)]
        if not all(subset in value for subset in chain):
            continue
        for m, before, after in zip(order, chain, chain[1:], strict=False):
            gains[m].append(value[after] - value[before])
    count = len(gains[modalities[0]])
    if count < 2:
        return dict.fromkeys(modalities, (math.nan, math.nan))
    return {
        m: (float(np.mean(g)), float(np.std(g, ddof=1) / math.sqrt(count)))
        for m, g in gains.items()
    }


def sampled_orders(
    modalities: Sequence[str], count: int = 16, seed: int = 0
) -> list[tuple[str, ...]]:
    """Random permutations of the modalities, the same for the same seed."""
    draw = random.Random(seed)
    return [tuple(draw.sample(list(modalities), len(modalities))) for _ in range(count)]


def prefixes(order: Sequence[str], modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """The non-empty subsets that joining in ``order`` passes, each in the usual order."""
    return [tuple(m for m in modalities if m in order[:size]) for size in range(1, len(order) + 1)]
