"""The interior-point method behind the exact decomposition."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from mmfuse.robustness.interactions.information import Table

# How much of the way to where a mass or a slack would be zero is taken.
_SHORT = 0.995
# Shares of each unknown's own equation added to it, tried in turn where rounding has left the
# equations indefinite.
_RIDGES = (1e-15, 1e-13, 1e-11, 1e-9)


class Point:
    """Multipliers ``a``, ``b`` and, of each (x1, x2), a mass and a slack above zero.

    The problem and its dual, in nats, with ``g(x1, x2) = log sum_y exp(a(x1, y) + b(x2, y))``::

        min_q   sum q(x1, x2, y) log q(y | x1, x2)     q(x1, y) = p(x1, y), q(x2, y) = p(x2, y)
        max_ab  sum p(x1, y) a(x1, y) + sum p(x2, y) b(x2, y)     g <= 0

    At the optimum ``q = mass exp(a + b - g)`` has the margins, ``g + slack = 0`` and
    ``mass slack = 0``. Cells that the margins forbid are left out, not floored.

    Args:
        first: p(x1, y), ``(C1, K)``, every row with some mass.
        second: p(x2, y), ``(C2, K)``, likewise, with the same p(y), all above zero.
    """

    def __init__(self, first: Table, second: Table) -> None:
        self.first, self.second = first, second
        # Independent given y: the margins hold there, and g = log(mass) - 1 < 0.
        given = second / second.sum(0)
        self.mass = first @ given.T
        self.live = self.mass > 0
        with np.errstate(divide="ignore"):
            self.a, self.b = np.log(first) - 1.0, np.log(given)
        self.g, self.ratio = log_sum(self.a, self.b, self.live)
        self.slack = np.where(self.live, -self.g, 1.0)
        # No pair starts far nearer to zero than the others: steps would end there at once.
        fair = 0.1 * self.slackness / self.live.sum() / self.slack
        self.mass = np.where(self.live, np.maximum(self.mass, fair), 0.0)

    @property
    def slackness(self) -> float:
        """What the gap will be once the equations hold, in nats."""
        return float((self.slack * self.mass).sum())

    def step(self, far: float) -> None:
        """One predictor-corrector step, in which no log share grows by more than ``far``.

        The equations know how g bends near the point alone.

        Reference: Mehrotra, "On the implementation of a primal-dual interior point method",
        SIAM Journal on Optimization, 1992.
        """
        system = _system(self)
        mean = self.slackness / self.live.sum()
        _, _, dmass, dslack = system.solve(np.zeros_like(self.mass), exactly=False)
        reach = min(_room(self.mass, dmass), _room(self.slack, dslack))
        left = (self.mass + reach * dmass) * (self.slack + reach * dslack)
        target = mean * (left.sum() / self.live.sum() / mean) ** 3
        bent = np.where(self.live, target - dmass * dslack, 0.0)
        da, db, dmass, dslack = system.solve(bent, exactly=True)
        size = min(_room(self.mass, dmass), _room(self.slack, dslack))
        size = 1.0 if size > 1 else _SHORT * size
        size = min(size, far / max((da[:, None] + db[None]).max(), far))
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
    for ridge in _RIDGES[:-1]:
        with suppress(np.linalg.LinAlgError):
            return _System(point, ridge)
    return _System(point, _RIDGES[-1])


class _System:
    """The Newton equations of one point, factored once and solved for several right sides.

    ``[A M; M' B] (da, db) = right`` with blocks of K x K. B has blocks on its diagonal alone, so
    it is eliminated: C1 K unknowns remain, and all of it costs C2 K (C1 K)^2 operations instead
    of the (C1 C2 K)^3 of a solver that does not know the problem.
    """

    def __init__(self, point: Point, ridge: float) -> None:
        self.point = point
        (c1, k), c2 = point.first.shape, len(point.second)
        label = np.arange(k)
        r, mass = point.ratio, point.mass
        # Of one pair: diag(own) + rank r r'.
        own, rank = mass[..., None] * r, (mass / point.slack - mass)[..., None]
        alone = own + rank * r * r
        # Unknowns in units in which each one's own equation has weight 1. Cells without mass have
        # no multiplier: their equation is 1 x = 0.
        self.unit_a = np.sqrt(alone.sum(1) + (point.first == 0))
        self.unit_b = np.sqrt(alone.sum(0) + (point.second == 0))
        ra, rb = r / self.unit_a[:, None], r / self.unit_b[None]
        block_a = (rank * ra).swapaxes(1, 2) @ ra
        block_b = (rank * rb).transpose(1, 2, 0) @ rb.swapaxes(0, 1)
        block_a[:, label, label] = 1.0
        block_b[:, label, label] = 1.0
        side = (rank * rb).transpose(1, 2, 0)[..., None] * ra.swapaxes(0, 1)[:, None]
        met = own / (self.unit_a[:, None] * self.unit_b[None])
        side[:, label, :, label] += met.transpose(2, 1, 0)
        side = side.reshape(c2, k, c1 * k)
        self.block_a, self.block_b = block_a, block_b
        # The inverse of a Cholesky factor, not of B, keeps the elimination stable.
        self.root = np.linalg.inv(np.linalg.cholesky(block_b + ridge * np.eye(k)))
        self.side = side.reshape(c2 * k, c1 * k)
        self.seen = (self.root @ side).reshape(c2 * k, c1 * k)
        reduced = self.seen.T @ self.seen
        np.negative(reduced, out=reduced)
        view = reduced.reshape(c1, k, c1, k)
        row = np.arange(c1)
        view[row, :, row, :] += block_a
        # Moving a(., y) up and b(., y) down by as much changes nothing: held at zero.
        level = np.where(point.first > 0, self.unit_a, 0.0)
        level = (level / np.linalg.norm(level, axis=0)).T
        view[:, label, :, label] += level[:, :, None] * level[:, None]
        reduced.flat[:: c1 * k + 1] += ridge
        self.factor = cho_factor(reduced, overwrite_a=True, check_finite=False)

    def solve(self, product: Table, exactly: bool) -> tuple[Table, Table, Table, Table]:
        """Steps of a, b, mass and slack after which mass times slack is ``product``."""
        point, slack = self.point, self.point.slack
        above = np.where(point.live, point.g + slack, 0.0)
        wanted = (product + point.mass * above) / slack
        aim = wanted[..., None] * point.ratio
        right_a = (point.first - aim.sum(1)) / self.unit_a
        right_b = (point.second - aim.sum(0)) / self.unit_b
        da, db = self._eliminated(right_a, right_b)
        if exactly:  # once more with what rounding and the ridge have left
            there, back = self.side @ da.ravel(), self.side.T @ db.ravel()
            left_a = right_a - _times(self.block_a, da) - back.reshape(da.shape)
            left_b = right_b - _times(self.block_b, db) - there.reshape(db.shape)
            more_a, more_b = self._eliminated(left_a, left_b)
            da, db = da + more_a, db + more_b
        da, db = da / self.unit_a, db / self.unit_b
        rise = (point.ratio * (da[:, None] + db[None])).sum(2)
        return da, db, wanted - point.mass + point.mass / slack * rise, -rise - above

    def _eliminated(self, right_a: Table, right_b: Table) -> tuple[Table, Table]:
        half = _times(self.root, right_b)
        right = right_a.ravel() - self.seen.T @ half.ravel()
        da = cho_solve(self.factor, right, check_finite=False)
        rest = half - (self.seen @ da).reshape(half.shape)
        return da.reshape(right_a.shape), _times(self.root.swapaxes(1, 2), rest)


def _times(blocks: Table, vectors: Table) -> Table:
    return (blocks @ vectors[..., None])[..., 0]


def _room(x: Table, dx: Table) -> float:
    """How far along ``dx`` a positive ``x`` meets zero; 2 for not before that."""
    falling = dx < 0
    return float((x[falling] / -dx[falling]).min(initial=2.0))


def log_sum(a: Table, b: Table, live: NDArray[np.bool_]) -> tuple[Table, Table]:
    """Log-sum-exp over y of a + b where ``live``, else 0; and the softmax, else 0."""
    total = a[:, None] + b[None]
    top = np.where(live, total.max(2), 0.0)
    power = np.exp(total - top[..., None])
    mass = np.where(live, power.sum(2), 1.0)
    return top + np.log(mass), power / mass[..., None]
