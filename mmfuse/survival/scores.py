"""Scores of predicted risks and survival curves, under row weights, for many models at once.

As in ``mmfuse.robustness.weighted`` a bootstrap resample is a weighting of the rows, and one
matrix product scores all of them.

Shapes: predictions (C, N, ...), outcomes (N,), weights (N, S) -> scores (C, S), NaN where the
weighted rows leave a score undefined.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmfuse.survival.curves import Array, censoring

# Pairs of rows compared in one go (32 MB of bool).
_PAIRS_AT_ONCE = 2**25


def concordance(
    risk: NDArray[np.floating],
    time: Array,
    event: NDArray[np.bool_],
    weight: Array,
    is_ipcw: bool = False,
) -> Array:
    """Concordance index: the share of comparable pairs in which the earlier event has more risk.

    A pair is comparable if the earlier of the two is an event; of an event and a censoring at
    one time the event is the earlier. Equal risks count one half. Harrell's index counts
    every such pair once; its value depends on how censoring fell. With ``is_ipcw`` it is
    Uno's, in which the pair counts 1 / G(t)^2, where G(t) is the probability to be still
    under observation at the event's time, estimated on these rows::

        C = sum_{i event, t_i < t_j} G(t_i)^-2 [r_i > r_j] / sum_{i event, t_i < t_j} G(t_i)^-2

    Other than equal weights enter to first order, as in ``weighted.auroc``: with A_i the sum
    over all pairs that hold row i, the sum under weights is ``w @ A - sum of all pairs``.

    Args:
        risk: ``(C, N)``, higher for those whose event comes earlier.
        time: ``(N,)``.
        event: ``(N,)``.
        weight: ``(N, S)``.
        is_ipcw: Uno's index.

    Reference: Harrell et al., "Multivariable prognostic models", Statistics in Medicine 15,
    1996; Uno et al., "On the C-statistics for evaluating overall adequacy of risk prediction
    procedures with censored survival data", Statistics in Medicine 30, 2011.
    """
    counts = np.ones(len(time))
    if is_ipcw:
        # An event at t is seen by whoever is not censored before t.
        counts = censoring(time, event).before(time) ** -2.0
    right, every = np.zeros(risk.shape), np.zeros(len(time))
    events = np.flatnonzero(event)
    size = max(_PAIRS_AT_ONCE // max(len(time), 1), 1)
    for start in range(0, len(events), size):
        early = events[start : start + size]
        pairs = (time > time[early, None]) | ((time == time[early, None]) & ~event)
        factor = counts[early]
        every[early] += factor * pairs.sum(axis=1)
        every += factor @ pairs
        for line, row in zip(right, risk, strict=True):
            more = row[early, None]
            hit = pairs * ((more > row) + 0.5 * (more == row))
            line[early] += factor * hit.sum(axis=1)
            line += factor @ hit
    total = every @ weight - every.sum() / 2
    hits = right @ weight - right.sum(axis=1, keepdims=True) / 2
    shape = np.broadcast_shapes(hits.shape, total.shape)
    found = np.divide(hits, total, out=np.full(shape, np.nan), where=total > 1e-9)
    return np.clip(found, 0, 1)


def brier(
    survival: NDArray[np.floating], at: Array, time: Array, event: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Each row's squared error of the survival curve at some times, censoring weighed out.

    ::

        S(t)^2 / G(t_i-)         for a row with its event at t_i <= t
        (1 - S(t))^2 / G(t)      for a row seen without the event after t
        0                        for a row censored before t

    with G the probability to be uncensored, estimated on these rows. The mean over rows is
    the Brier score at t.

    Args:
        survival: ``(C, N, K)`` the predicted probability to be without the event.
        at: ``(K,)`` at these times, before the last time of any row.
        time: ``(N,)``.
        event: ``(N,)``.

    Returns:
        ``(C, N, K)``

    Reference: Graf et al., "Assessment and comparison of prognostic classification schemes
    for survival data", Statistics in Medicine 18, 1999.
    """
    curve = censoring(time, event)
    gone = (time[:, None] <= at) & event[:, None]
    here = time[:, None] > at
    died = np.divide(1.0, curve.before(time), out=np.zeros(len(time)), where=event)
    alive = np.where(here.any(axis=0), 1.0, 0.0) / np.maximum(curve.at(at), 1e-300)
    wanted = np.where(here, alive, gone * died[:, None])
    return wanted * (here - survival.astype(np.float64)) ** 2


def integrated_brier(
    survival: NDArray[np.floating],
    at: Array,
    time: Array,
    event: NDArray[np.bool_],
    weight: Array,
) -> Array:
    """Brier score integrated over time, from zero to the last of ``at`` that rows reach.

    By trapezoids between the times, divided by the last of them; at time zero everyone is
    without the event and the score is 0. Times that no row outlasts are left out. Censoring
    is estimated on all rows, whatever the weights.

    Args:
        survival: ``(C, N, K)``.
        at: ``(K,)`` ascending, above zero.
        time: ``(N,)``.
        event: ``(N,)``.
        weight: ``(N, S)``.

    Reference: as ``brier``.
    """
    reached = at < time.max(initial=0)
    if not reached.any():
        return np.full((len(survival), weight.shape[1]), np.nan)
    at = at[reached]
    ends = np.append(0.0, at)
    widths = np.diff(ends)
    # What a trapezoid rule makes each time count; time zero, whose score is 0, falls away.
    share = (widths + np.append(widths[1:], 0.0)) / (2 * ends[-1])
    error = brier(survival[..., reached], at, time, event) @ share
    total = np.broadcast_to(weight.sum(axis=0), (len(survival), weight.shape[1]))
    return np.divide(error @ weight, total, out=np.full(total.shape, np.nan), where=total > 0)
