"""The coupling of two margins with the label that says least of it, with its certificate."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import chain

import numpy as np
from threadpoolctl import ThreadpoolController

from mmfuse.errors import ConfigError, MmfuseError
from mmfuse.robustness.interactions.information import Table
from mmfuse.robustness.interactions.interior import Point, bounded, path

_ROUNDS = 300
# How far a step may go, tried in turn: quickly, then with care where shares differ by many orders.
_FAR = (6.0, 3.0, 1.5)
_BITS = 1 / np.log(2)
# A margin's cells below it count as zero: each is worth less than 4e-11 bits.
_TRACE = 1e-12


@dataclass(frozen=True)
class Least:
    """Of all q with q(x1, y) = p(x1, y) and q(x2, y) = p(x2, y) the one that says least of y.

    Args:
        coupling: q, ``(C1, C2, K)``.
        first: the multiplier a of each (x1, y), ``(C1, K)`` in bits, -inf without mass. Wherever
            q has mass, ``log2 q(y | x1, x2) = a(x1, y) + b(x2, y)``; elsewhere it is at most that
            of a distribution.
        second: the multiplier b of each (x2, y), ``(C2, K)``.
        uncertainty: H_q(Y | X1, X2) in bits.
        gap: no coupling leaves more than ``uncertainty + gap`` bits.
        rounds: Newton steps taken.
    """

    coupling: Table
    first: Table
    second: Table
    uncertainty: float
    gap: float
    rounds: int


def least_informative(first: Table, second: Table, tolerance: float = 1e-7) -> Least:
    """The coupling, to a duality gap below ``tolerance`` bits.

    Args:
        first: p(x1, y), ``(C1, K)``, summing to one.
        second: p(x2, y), ``(C2, K)``, with the same p(y).
        tolerance: of the gap, in bits.

    Raises:
        ConfigError: a tolerance that is not above zero.
        MmfuseError: rounding keeps the gap above ``tolerance``; 1e-9 can be had as a rule.
    """
    if not tolerance > 0:
        raise ConfigError(f"A tolerance of {tolerance} bits; expected one above 0, as 1e-7.")
    # The matrices are so small that a second thread makes each product ten times as slow.
    with _libraries().limit(limits=1, user_api="blas"):
        return _searched(first, second, tolerance)


@functools.cache
def _libraries() -> ThreadpoolController:
    """The loaded libraries of linear algebra, which take a while to find."""
    return ThreadpoolController()


def _searched(first: Table, second: Table, tolerance: float) -> Least:
    if len(first) > len(second):  # what is eliminated should be the longer of the two
        found = _searched(second, first, tolerance)
        turned = np.ascontiguousarray(found.coupling.swapaxes(0, 1))
        return Least(turned, found.second, found.first, found.uncertainty, found.gap, found.rounds)
    first, second = _without_traces(first, second)
    x1, x2, y = first.any(1), second.any(1), first.any(0)
    best = np.inf
    margins = first.T[np.ix_(y, x1)], second.T[np.ix_(y, x2)]
    points = chain.from_iterable(path(*margins, _ROUNDS, far) for far in _FAR)
    for rounds, point in enumerate(points):
        # A feasible coupling and its bound are often nearer than the point itself.
        if not point.slackness * _BITS < 3 * tolerance:
            continue
        coupling, a, b = _feasible(point)
        uncertainty = _uncertainty(coupling)
        gap = _bound(point, a, b) - uncertainty
        best = min(best, gap)
        if gap < tolerance:
            q = np.zeros((*x1.shape, *second.shape))
            q[np.ix_(x1, x2, y)] = coupling.transpose(1, 2, 0)
            every_a, every_b = np.full(first.shape, -np.inf), np.full(second.shape, -np.inf)
            every_a[np.ix_(x1, y)], every_b[np.ix_(x2, y)] = a.T * _BITS, b.T * _BITS
            return Least(q, every_a, every_b, uncertainty, max(gap, 0.0), rounds)
    raise MmfuseError(
        f"The decomposition stopped at a gap of {best:.1e} bits, above the tolerance "
        f"{tolerance:.1e}. Give a higher tolerance."
    )


def _without_traces(first: Table, second: Table) -> tuple[Table, Table]:
    """Both margins without cells that are next to nothing, over one p(y)."""
    first, second = (np.where(margin < _TRACE, 0.0, margin) for margin in (first, second))
    total = np.where(first.any(0) & second.any(0), first.sum(0), 0.0)
    total /= total.sum()
    kept = [
        margin * (total / np.where(margin.any(0), margin.sum(0), 1.0)) for margin in (first, second)
    ]
    return kept[0], kept[1]


def _feasible(point: Point) -> tuple[Table, Table, Table]:
    """A coupling that has the margins, and multipliers with g <= 0, both next to the point."""
    first, second = point.first, point.second
    q = point.mass * point.ratio
    for _ in range(4):
        q = q * _over(first, q.sum(2))[:, :, None]
        q = q * _over(second, q.sum(1))[:, None]
    # What scaling leaves of x1's margin is spread over x2, and so much of the coupling that is
    # independent given y is mixed in as takes the last cell out of the negative.
    given = (second / second.sum(1, keepdims=True))[:, None]
    q = q + (first - q.sum(2))[:, :, None] * given
    plain = first[:, :, None] * given
    below = q < 0
    share = (q[below] / (q[below] - plain[below])).max(initial=0.0)
    q = np.maximum(q + share * (plain - q), 0.0)
    return q, *bounded(point.a, point.b, point.live)


def _uncertainty(q: Table) -> float:
    share = _over(q, q.sum(0))
    return -float((q * np.log2(share, out=np.zeros_like(q), where=share > 0)).sum())


def _bound(point: Point, a: Table, b: Table) -> float:
    """What no coupling's uncertainty exceeds, from multipliers with g <= 0."""
    pairs = ((point.first, a), (point.second, b))
    return -_BITS * sum(float((p * np.where(p > 0, v, 0.0)).sum()) for p, v in pairs)


def _over(top: Table, bottom: Table) -> Table:
    """Their ratio, 0 where both are 0."""
    bottom = np.broadcast_to(bottom, top.shape)
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
