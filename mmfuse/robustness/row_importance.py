"""What each modality is worth row by row and on average, and what two are worth together."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfuse.errors import ConfigError
from mmfuse.robustness.metrics import affordable, resamples
from mmfuse.robustness.row_scores import RowScores
from mmfuse.robustness.shapley import Terms, interaction_terms, is_exact, pairs, shapley_terms

Array = NDArray[np.float64]


def row_importance(scores: RowScores) -> pd.DataFrame:
    """Each row's importance of each modality.

    ``mis`` is the modality importance score: the mean score over the subsets that hold the
    modality less that over the non-empty ones that do not, between -1 and 1 for ``correct``; it
    counts the modality's own subset but not the prior that it should be compared with, so that
    one that the model ignores is below zero. ``banzhaf`` counts the empty subset too.
    ``leave_one_out`` is what the full set loses without the modality, ``alone`` what it brings to
    nothing, and ``shapley`` the fair share: of two that say the same the first says 0 and the
    second all, Shapley half each. These four are zero where the model ignores the modality.

    Args:
        scores: of the rows.

    Returns:
        One line for each row and modality: ``row``, ``modality``, ``mis``, ``banzhaf``,
        ``shapley``, ``leave_one_out``, ``alone``. NaN for the first two where not every subset
        has a score, and for the ``mis`` of an only modality.

    Reference: "MIS", arXiv:2408.12763; that the families are averaged, not maximised, is our
    reading.
    """
    shapley = np.mean(list(shapley_terms(scores.value, scores.modalities, scores.orders)), axis=0)
    parts = [
        pd.DataFrame(
            {"row": scores.rows, "modality": m, **_readings(scores, m), "shapley": shapley[i]}
        )
        for i, m in enumerate(scores.modalities)
    ]
    table = pd.concat(parts, ignore_index=True)
    columns = ["row", "modality", "mis", "banzhaf", "shapley", "leave_one_out", "alone"]
    return table.sort_values(["row", "modality"], kind="stable", ignore_index=True)[columns]


def mean_importance(scores: RowScores, bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """The mean of each reading over rows, with 95 % intervals.

    Args:
        scores: of the rows.
        bootstrap: resamples of the rows, and of the orders where Shapley values are estimated.
        seed: of the resamples.

    Returns:
        One line for each modality and ``reading``: ``value``, ``low``, ``high``.
    """
    count = len(scores.rows)
    weight = resamples(count, affordable(count, bootstrap), seed) / count
    terms = shapley_terms(scores.value, scores.modalities, scores.orders)
    shapley = _averaged(terms, weight, seed)
    lines = []
    for i, m in enumerate(scores.modalities):
        for reading, rows in _readings(scores, m).items():
            lines.append((m, reading, *_interval(rows @ weight)))
        lines.append((m, "shapley", *_interval(shapley[i])))
    return pd.DataFrame(lines, columns=["modality", "reading", "value", "low", "high"])


def mean_interactions(scores: RowScores, bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """The Shapley interaction of every two modalities, with 95 % intervals.

    Args:
        scores: of the rows.
        bootstrap: resamples of the rows, and of the orders where it is estimated.
        seed: of the resamples.

    Returns:
        One line for each pair: ``first``, ``second``, ``value``, ``low``, ``high``. NaN for a pair
        that no order has joined in turn; take more orders.

    Raises:
        ConfigError: one modality only.
    """
    found = pairs(scores.modalities)
    if not found:
        raise ConfigError(f"Interactions need two modalities; found {scores.modalities}.")
    count = len(scores.rows)
    weight = resamples(count, affordable(count, bootstrap), seed) / count
    terms = interaction_terms(scores.value, scores.modalities, scores.orders)
    drawn = _averaged(terms, weight, seed)
    lines = [(*pair, *_interval(drawn[i])) for i, pair in enumerate(found)]
    return pd.DataFrame(lines, columns=["first", "second", "value", "low", "high"])


def item_types(scores: RowScores) -> pd.Series:
    """What each row needs, from ``correct`` scores.

    ``agnostic``: every subset is right. ``biased to m``: right wherever m is and nowhere else.
    ``complementary``: the full set alone is right. ``conflicting``: the full set is wrong and a
    part of it right. ``unsolved``: no subset is right. ``mixed``: right with the full set and
    with some parts of it in another pattern.

    Args:
        scores: all subsets, with score ``correct``.

    Returns:
        A type for each row number.

    Raises:
        ConfigError: scores other than 0 and 1, or some subsets left out.

    Reference: "MIS", arXiv:2408.12763.
    """
    full = frozenset(scores.modalities)
    names = [s for s in scores.value if s]
    right = np.stack([scores.value[s] for s in names])
    if not is_exact(scores.value, scores.modalities) or not np.isin(right, (0.0, 1.0)).all():
        raise ConfigError("Types of items need all subsets, scored with score='correct'.")
    right = right.astype(bool)
    whole = right[names.index(full)]
    others = right[[s != full for s in names]]
    cases = [
        ~right.any(axis=0),
        ~whole,
        right.all(axis=0),
        ~others.any(axis=0),
    ]
    types = ["unsolved", "conflicting", "agnostic", "complementary"]
    for m in scores.modalities:
        holds = np.array([m in s for s in names])[:, None]
        cases.append((right == holds).all(axis=0))
        types.append(f"biased to {m}")
    found = np.select(cases, np.array(types, dtype=object)[:, None], default="mixed")
    return pd.Series(found, index=pd.Index(scores.rows, name="row"), name="type")


def _readings(scores: RowScores, m: str) -> dict[str, Array]:
    full = frozenset(scores.modalities)
    value = scores.value
    mis = banzhaf = np.full(len(scores.rows), math.nan)
    if is_exact(value, scores.modalities):
        holding = np.mean([v for s, v in value.items() if m in s], axis=0)
        banzhaf = holding - np.mean([v for s, v in value.items() if m not in s], axis=0)
        others = [v for s, v in value.items() if s and m not in s]
        mis = holding - np.mean(others, axis=0) if others else mis
    return {
        "mis": mis,
        "banzhaf": banzhaf,
        "leave_one_out": value[full] - value[full - {m}],
        "alone": value[frozenset({m})] - value[frozenset()],
    }


def _averaged(terms: Terms, weight: Array, seed: int) -> Array:
    """``(lines, 1 + B)`` means over terms and rows: the first as they are, then resampled."""
    means = [term @ weight for term in terms]
    known = np.isfinite(np.stack(means))
    orders = resamples(len(means), weight.shape[1] - 1, seed + 1)
    total = sum(np.where(k, x, 0.0) * w for k, x, w in zip(known, means, orders, strict=True))
    count = sum(k * w for k, w in zip(known, orders, strict=True))
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count)


def _interval(drawn: Array) -> tuple[float, float, float]:
    """The first number, and the percentiles of the others that are defined."""
    others = drawn[1:][np.isfinite(drawn[1:])]
    if not len(others):
        return float(drawn[0]), math.nan, math.nan
    low, high = np.quantile(others, [0.025, 0.975])
    return float(drawn[0]), float(low), float(high)
