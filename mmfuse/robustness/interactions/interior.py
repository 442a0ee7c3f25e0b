"""The interior-point method behind the exact decomposition."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from mmfuse.robustness.interactions.information import Table

# How much of the way to where a mass or a slack would be zero is taken.
_SHORT = 0.995
# Shares of each unknown's own equation added to it, tried in turn where rounding has left the
# equations indefinite.
_RIDGES = (1e-15, 1e-13, 1e-11, 1e-9)
# The gap, in nats, above which single precision is enough for the equations.
_COARSE = 1e-5
_CHOLESKY = {
    np.float32: (lapack.spotrf, lapack.spotrs),
    np.float64: (lapack.dpotrf, lapack.dpotrs),
}
# Nats by which every pair lies inside the dual's bounds at the start, and the share of the mean
# product of mass and slack that no pair starts below: steps would end there at once.
_INSIDE = 0.02
_FAIR = 0.3


class Point:
    """Multipliers ``a``, ``b`` and, of each (x1, x2), a mass and a slack above zero.

    The problem and its dual, in nats, with ``g(x1, x2) = log sum_y exp(a(y, x1) + b(y, x2))``::

        min_q   sum q(y, x1, x2) log q(y | x1, x2)     q(y, x1) = p(y, x1), q(y, x2) = p(y, x2)
        max_ab  sum p(y, x1) a(y, x1) + sum p(y, x2) b(y, x2)     g <= 0

    At the optimum ``q = mass exp(a + b - g)`` has the margins, ``g + slack = 0`` and
    ``mass slack = 0``. Cells that the margins forbid are left out, not floored. The label is the
    first axis of all, over which sums are fastest.

    Args:
        first: p(y, x1), ``(K, C1)``, every column with some mass.
        second: p(y, x2), ``(K, C2)``, likewise, with the same p(y), all above zero.
    """

    def __init__(self, first: Table, second: Table) -> None:
        self.first, self.second = first, second
        # Independent given y: the margins hold there. What each modality alone says of y is near
        # the best multipliers, once it is moved into the bounds.
        given = second / second.sum(1, keepdims=True)
        self.mass = first.T @ given
        self.live = self.mass > 0
        with np.errstate(divide="ignore"):
            a, b = np.log(first / first.sum(0)), np.log(given / second.sum(0))
        a, b = bounded(a, b, self.live)
        self.a, self.b = a - _INSIDE, b
        self.g, self.ratio = log_sum(self.a, self.b, self.live)
        self.slack = np.where(self.live, -self.g, 1.0)
        fair = _FAIR * self.slackness / self.live.sum() / self.slack
        self.mass = np.where(self.live, np.maximum(self.mass, fair), 0.0)

    @property
    def slackness(self) -> float:
        """What the gap will be once the equations hold, in nats."""
        return float(np.vdot(self.slack, self.mass))

    def step(self, far: float) -> None:
        """One predictor-corrector step, in which no log share grows by more than ``far``.

        The equations know how g bends near the point alone.

        Reference: Mehrotra, "On the implementation of a primal-dual interior point method",
        SIAM Journal on Optimization, 1992.
        """
        system = _system(self)
        mean = self.slackness / self.live.sum()
        _, _, dmass, dslack = system.solve(np.zeros_like(self.mass), exactly=False)
        reach = min(_room(self.mass, dmass, self.live), _room(self.slack, dslack, self.live))
        left = np.vdot(self.mass + reach * dmass, self.slack + reach * dslack)
        target = mean * (left / self.live.sum() / mean) ** 3
        bent = np.where(self.live, target - dmass * dslack, 0.0)
        da, db, dmass, dslack = system.solve(bent, exactly=system.precision is np.float64)
        size = min(_room(self.mass, dmass, self.live), _room(self.slack, dslack, self.live))
        size = 1.0 if size > 1 else _SHORT * size
        size = min(size, far / max((da[:, :, None] + db[:, None]).max(), far))
        self.a, self.b = self.a + size * da, self.b + size * db
        self.mass, self.slack = self.mass + size * dmass, self.slack + size * dslack
        self.g, self.ratio = log_sum(self.a, self.b, self.live)


def path(first: Table, second: Table, rounds: int, far: float) -> Iterator[Point]:
    """Points ever nearer to the optimum, at most ``rounds``; fewer where rounding forbids more."""
    point = Point(first, second)
    for _ in range(rounds):
        yield point
        try:
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                point.step(far)
        except np.linalg.LinAlgError:
            return
        if not np.isfinite(point.slackness):
            return


def _system(point: Point) -> _System:
    if point.slackness > _COARSE:
        with suppress(np.linalg.LinAlgError):
            return _System(point, 0.0, np.float32)
    for ridge in _RIDGES[:-1]:
        with suppress(np.linalg.LinAlgError):
            return _System(point, ridge, np.float64)
    return _System(point, _RIDGES[-1], np.float64)


class _System:
    """The Newton equations of one point, factored once and solved for several right sides.

    ``[A M'; M B] (da, db) = right`` with blocks of K x K. B has blocks on its diagonal alone, so
    it is eliminated: C1 K unknowns remain, and all of it costs C2 K (C1 K)^2 operations instead
    of the (C1 C2 K)^3 of a solver that does not know the problem.

    Args:
        point: where.
        ridge: share of each unknown's own equation added to it.
        precision: ``float32`` takes half the time, and little of the way is lost far from the end.
    """

    def __init__(self, point: Point, ridge: float, precision: type[np.floating[Any]]) -> None:
        self.point, self.precision = point, precision
        (k, c1), c2 = point.first.shape, point.second.shape[1]
        # Of one pair: diag(own) + rank r r'.
        r, mass = point.ratio.astype(precision), point.mass.astype(precision)
        own, rank = mass * r, (point.mass / point.slack).astype(precision) - mass
        alone = own + rank * r * r
        # Unknowns in units in which each one's own equation has weight 1. Cells without mass have
        # no multiplier: their equation is 1 x = 0.
        self.unit_a = np.sqrt(alone.sum(2) + (point.first == 0))
        self.unit_b = np.sqrt(alone.sum(1) + (point.second == 0))
        ra, rb = r / self.unit_a[:, :, None], r / self.unit_b[:, None]
        # By x2, so that products run along memory.
        by_a, by_b = (np.ascontiguousarray(x.transpose(2, 0, 1)) for x in (ra, rank * rb))
        self.block_a = (rank * ra).transpose(1, 0, 2) @ ra.transpose(1, 2, 0)
        self.block_b = by_b @ rb.transpose(2, 1, 0)
        for block in (self.block_a, self.block_b):
            _diagonal("xyy->xy", block)[:] = 1.0
        side = by_b[:, :, None] * by_a[:, None]
        met = own / (self.unit_a[:, :, None] * self.unit_b[:, None])
        _diagonal("xyyi->yix", side)[:] += met
        self.side = side.reshape(c2 * k, k * c1)
        # The inverse of a Cholesky factor, not of B, keeps the elimination stable.
        self.root = np.linalg.inv(
            np.linalg.cholesky(self.block_b + np.eye(k, dtype=precision) * precision(ridge))
        )
        self.seen = (self.root @ side.reshape(c2, k, -1)).reshape(self.side.shape)
        reduced = self.seen.T @ self.seen
        np.negative(reduced, out=reduced)
        view = reduced.reshape(k, c1, k, c1)
        _diagonal("yizi->iyz", view)[:] += self.block_a
        # Moving a(y, .) up and b(y, .) down by as much changes nothing: held at zero.
        level = np.where(point.first > 0, self.unit_a, 0.0)
        level /= np.linalg.norm(level, axis=1, keepdims=True)
        _diagonal("yiyj->yij", view)[:] += level[:, :, None] * level[:, None]
        reduced.flat[:: k * c1 + 1] += ridge
        factor, self._solve = _CHOLESKY[precision]
        self.factor, failed = factor(reduced.T, lower=True, clean=False, overwrite_a=True)
        if failed:
            raise np.linalg.LinAlgError("The reduced equations are indefinite.")

    def solve(self, product: Table, exactly: bool) -> tuple[Table, Table, Table, Table]:
        """Steps of a, b, mass and slack after which mass times slack is ``product``."""
        point, slack = self.point, self.point.slack
        above = np.where(point.live, point.g + slack, 0.0)
        wanted = (product + point.mass * above) / slack
        aim = wanted * point.ratio
        right_a = ((point.first - aim.sum(2)) / self.unit_a).astype(self.precision)
        right_b = ((point.second - aim.sum(1)) / self.unit_b).T.astype(self.precision)
        da, db = self._eliminated(right_a, right_b)
        if exactly:  # once more with what rounding and the ridge have left
            there, back = self.side @ da.ravel(), self.side.T @ db.ravel()
            left_a = right_a - _times(self.block_a, da.T).T - back.reshape(da.shape)
            left_b = right_b - _times(self.block_b, db) - there.reshape(db.shape)
            more_a, more_b = self._eliminated(left_a, left_b)
            da, db = da + more_a, db + more_b
        da, db = da / self.unit_a, db.T / self.unit_b
        rise = (point.ratio * (da[:, :, None] + db[:, None])).sum(0)
        return da, db, wanted - point.mass + point.mass / slack * rise, -rise - above

    def _eliminated(self, right_a: Table, right_b: Table) -> tuple[Table, Table]:
        half = _times(self.root, right_b)
        right = right_a.ravel() - self.seen.T @ half.ravel()
        da = self._solve(self.factor, right, lower=True)[0].reshape(right_a.shape)
        rest = half - (self.seen @ da.ravel()).reshape(half.shape)
        return da, _times(self.root.swapaxes(1, 2), rest)


def _diagonal(axes: str, x: Table) -> Table:
    """A view of the cells whose named axes agree."""
    return np.einsum(axes, x)


def _times(blocks: Table, vectors: Table) -> Table:
    return (blocks @ vectors[..., None])[..., 0]


def _room(x: Table, dx: Table, live: NDArray[np.bool_]) -> float:
    """How far along ``dx`` a positive ``x`` meets zero; 2 for not before that."""
    fastest = -float(np.divide(dx, x, out=np.zeros_like(x), where=live).min())
    return 1 / max(fastest, 0.5)


def bounded(a: Table, b: Table, live: NDArray[np.bool_]) -> tuple[Table, Table]:
    """Multipliers moved until g <= 0 everywhere, with equality for a pair of each x1 and x2."""
    a = a - np.where(live, log_sum(a, b, live)[0], -np.inf).max(1)
    b = b - np.where(live, log_sum(a, b, live)[0], -np.inf).max(0)
    return a, b


def log_sum(a: Table, b: Table, live: NDArray[np.bool_]) -> tuple[Table, Table]:
    """Log-sum-exp over y of a + b where ``live``, else 0; and the softmax, else 0."""
    total = a[:, :, None] + b[:, None]
    top = np.where(live, total.max(0), 0.0)
    power = np.exp(total - top)
    mass = np.where(live, power.sum(0), 1.0)
    return top + np.log(mass), power / mass
