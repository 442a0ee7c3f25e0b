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

# About a second of multiplications, under which resamples are counted as drawn.
_PRODUCTS_AT_MOST = 2**33
# Rows that are compared in pairs.
_CHUNK = 512


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

    Each resample is counted as drawn while that takes at most 2^33 products (a thousand
    resamples of 300 rows under 100 conditions). Beyond it weights other than equal ones enter to
    first order, as in ``weighted.auroc``: with A_i the sum over all pairs that hold row i, the
    sum under weights is ``w @ A - sum of all pairs``, which leaves out a term of order 1/N.

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
    counts = event.astype(np.float64)
    if is_ipcw:
        # An event at t is seen by whoever is not censored before t.
        counts[event] = censoring(time, event).before(time[event]) ** -2.0
    products = event.sum() * len(time) * weight.shape[1] * len(risk)
    is_drawn = weight.shape[1] > 1 and products <= _PRODUCTS_AT_MOST
    hits, total = (_as_drawn if is_drawn else _to_first_order)(risk, time, event, weight, counts)
    shape = np.broadcast_shapes(hits.shape, total.shape)
    found = np.divide(hits, total, out=np.full(shape, np.nan), where=total > 1e-9)
    return np.clip(found, 0, 1)


def _as_drawn(
    risk: NDArray[np.floating], time: Array, event: NDArray[np.bool_], weight: Array, counts: Array
) -> tuple[Array, Array]:
    """Weighted sums of concordant pairs ``(C, S)``, and of all pairs ``(S,)``."""
    early = np.flatnonzero(event)
    first = weight[early] * counts[early, None]
    pairs = (time > time[early, None]) | ((time == time[early, None]) & ~event)
    hits = np.empty((len(risk), weight.shape[1]))
    for line, row in zip(hits, risk, strict=True):
        more = row[early, None]
        line[:] = (first * ((pairs * ((more > row) + 0.5 * (more == row))) @ weight)).sum(axis=0)
    return hits, (first * (pairs @ weight)).sum(axis=0)


def _to_first_order(
    risk: NDArray[np.floating], time: Array, event: NDArray[np.bool_], weight: Array, counts: Array
) -> tuple[Array, Array]:
    # Events of one time share a place, and stand before its censorings.
    moment = np.unique(time, return_inverse=True)[1]
    place = np.unique(2 * moment + ~event, return_inverse=True)[1]

    def sums(rank: NDArray[np.intp]) -> Array:
        """For each row the sum over its pairs, whichever of the two it is."""
        later = _dominated(-place, -rank, np.ones(len(time)))
        return counts * later + _dominated(place, rank, counts)

    every = 2 * sums(np.zeros(len(time), np.intp))  # all risks equal: each pair counts one half
    right = np.stack([sums(np.unique(row, return_inverse=True)[1]) for row in risk])
    hits = right @ weight - right.sum(axis=1, keepdims=True) / 2
    return hits, every @ weight - every.sum() / 2


def _dominated(
    place: NDArray[np.intp], rank: NDArray[np.intp], value: Array
) -> NDArray[np.float64]:
    """For each row j the sum of ``value`` over rows of lower place and higher rank.

    Equal ranks count one half. A chunk of places at a time: earlier chunks are known by a
    cumulative sum over ranks, and rows of one chunk are compared in pairs, so that time grows
    far slower than with the square of the rows.
    """
    found = np.zeros(len(place))
    if not len(place):
        return found
    order = np.argsort(place, kind="stable")
    place, rank, value = place[order], rank[order] - rank.min(), value[order]
    cuts = np.unique(np.searchsorted(place, place[::_CHUNK], side="left"))
    seen = np.zeros(rank.max() + 2)
    for start, stop in zip(cuts, [*cuts[1:], len(place)], strict=True):
        here = slice(start, stop)
        above = seen[::-1].cumsum()[::-1]
        found[order[here]] = (above[rank[here]] + above[rank[here] + 1]) / 2
        is_lower = place[here, None] < place[None, here]
        is_more = rank[here, None] > rank[None, here]
        is_equal = rank[here, None] == rank[None, here]
        found[order[here]] += value[here] @ (is_lower * (is_more + 0.5 * is_equal))
        seen += np.bincount(rank[here], value[here], minlength=len(seen))
    return found


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
