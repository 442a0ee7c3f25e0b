"""Bounds on synergy without a row that has both modalities and a label."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.sparse import coo_array, vstack

from mmfuse.errors import DataError
from mmfuse.robustness.interactions.exact import PID, decomposed
from mmfuse.robustness.interactions.information import Table, entropy, information
from mmfuse.robustness.interactions.least import least_informative

#: ``E |p(y | x1) - p(y | x2)|^2 <= 4 ln 2 (S + max(U1, U2))``, by Pinsker and Minkowski.
PROVEN = 1 / (4 * math.log(2))
_ROUNDS = 2000


@dataclass(frozen=True)
class SynergyBounds:
    """What can be said of synergy from p(x1, y), p(x2, y) and p(x1, x2), in bits.

    Args:
        redundancy: R, exact.
        unique1: U1 of the first modality, exact.
        unique2: U2 of the second, exact.
        lower_redundancy: at least this much synergy, since modalities that share more of the
            label than they share at all must add to it.
        lower_margins: the same from all three margins at once; never lower. Where no distribution
            has all three, as may be of margins that were counted in different rows, it is that of
            two.
        lower_disagreement: at least this much, since modalities that predict different labels
            cannot both be right.
        upper: at most this much.
    """

    redundancy: float
    unique1: float
    unique2: float
    lower_redundancy: float
    lower_margins: float
    lower_disagreement: float
    upper: float

    @property
    def lower(self) -> float:
        """The highest of the lower bounds."""
        return max(self.lower_redundancy, self.lower_margins, self.lower_disagreement)


def synergy_bounds(
    first: ArrayLike,
    second: ArrayLike,
    pairs: ArrayLike,
    disagreement: float = PROVEN,
    tolerance: float = 1e-7,
) -> SynergyBounds:
    """Bounds on synergy from labelled rows of each modality and unlabelled rows of both.

    R, U1 and U2 follow from the two labelled margins. Of synergy is known::

        S >= R - I(X1; X2) + min_r I_r(X1; X2 | Y)
        S >= c E |p(y | x1) - p(y | x2)|^2 - max(U1, U2)
        S <= H(X1, X2) + H(Y) - min_r H_r(X1, X2, Y) - R - U1 - U2

    over distributions r with the margins. ``lower_redundancy`` keeps two of the three margins,
    which makes its minimum a unique information: of X1 about X2 beside Y, or of X2 about X1.
    ``lower_margins`` keeps them all: there the minimum is at the r of largest entropy, found by
    iterative scaling, whose multipliers bound it even before they converge. The minimum in
    ``upper`` is bounded by the greatest lower bound of each margin and the variable left over
    in the order of majorisation. None of them is below zero.

    Args:
        first: p(x1, y) or counts, ``(C1, K)``.
        second: p(x2, y) or counts, ``(C2, K)``; where its classes are distributed otherwise,
            both are brought to the mean.
        pairs: p(x1, x2) or counts, ``(C1, C2)``; brought to the distributions of x1 and x2 in
            the labelled rows.
        disagreement: c. ``PROVEN`` is a bound always; the authors take 1,
            which is none in some cases.
        tolerance: of R, U1 and U2.

    Raises:
        DataError: tables that do not fit each other.
        ConfigError: a tolerance that is not above zero.

    Reference: Liang et al., "Multimodal learning without labeled multimodal data", ICLR 2024,
    arXiv:2306.04539. Departs from the authors' code: U1 and U2 are not swapped, which there
    makes a bound of 1 bit where there is no synergy; ``lower_margins`` and ``PROVEN`` are ours.

    Example:
        AND of two fair bits has 0.5 bits of synergy::

            >>> margin = [[0.5, 0.0], [0.25, 0.25]]
            >>> found = synergy_bounds(margin, margin, [[0.25, 0.25], [0.25, 0.25]], 1.0)
            >>> round(found.lower_redundancy, 3), round(found.lower_disagreement, 3)
            (0.311, 0.25)
            >>> round(found.lower_margins, 2), round(found.upper, 3)
            (0.5, 0.5)
    """
    p1, p2, p12 = _fitting(first, second, pairs)
    y = p1.sum(0)
    known = _parts(p1, p2, tolerance)
    met = information(p12)
    # Over q with the margins (x1, x2) and (y, x2), I_q(X1; X2 | Y) is least at a unique part.
    beside = max(
        _parts(p12, p2.T, tolerance).unique1 - tolerance,
        _parts(p12.T, p1.T, tolerance).unique1 - tolerance,
        0.0,
    )
    apart = -math.inf
    if _is_of_one(p1, p2, p12):
        apart = float(entropy(p1) + entropy(p2) - entropy(y)) - _largest_entropy(p1, p2, p12)
    smallest = max(
        _least_joint_entropy(*two) for two in ((p12, y), (p1, p2.sum(1)), (p2, p1.sum(1)))
    )
    share1, share2 = (p / p.sum(1, keepdims=True) for p in (p1, p2))
    distance = ((share1[:, None] - share2[None]) ** 2).sum(2)
    unique = max(known.unique1, known.unique2)
    least = known.redundancy + known.unique1 + known.unique2
    by_two = known.redundancy - met + beside
    by_three = known.redundancy - met + apart
    by_difference = disagreement * float((p12 * distance).sum()) - unique
    upper = float(entropy(p12) + entropy(y)) - smallest - least
    return SynergyBounds(
        known.redundancy,
        known.unique1,
        known.unique2,
        lower_redundancy=max(by_two, 0.0),
        lower_margins=max(by_two, by_three, 0.0),
        lower_disagreement=max(by_difference, 0.0),
        upper=max(upper, 0.0),
    )


def _parts(first: Table, second: Table, tolerance: float) -> PID:
    """R, U1 and U2 of two margins with the same target; what synergy says depends on p."""
    found = least_informative(first, second, tolerance)
    return decomposed(found.coupling, found)


def _is_of_one(p1: Table, p2: Table, p12: Table) -> bool:
    """Whether there is a distribution with all three margins."""
    cells = np.nonzero((p12[..., None] > 0) & (p1[:, None] > 0) & (p2[None] > 0))
    x1, x2, y = cells
    if not len(y):
        return False
    columns = np.arange(len(y))
    wanted, sums = [], []
    for margin, place in ((p12, (x1, x2)), (p1, (x1, y)), (p2, (x2, y))):
        line = np.ravel_multi_index(place, margin.shape)
        shape = (margin.size, len(columns))
        sums.append(coo_array((np.ones(len(columns)), (line, columns)), shape))
        wanted.append(margin.ravel())
    # In units of a cell of the mean size, which is what the solver's tolerance is for.
    scale = len(columns)
    found = linprog(np.zeros(len(columns)), A_eq=vstack(sums), b_eq=scale * np.concatenate(wanted))
    return bool(found.status == 0)


def _largest_entropy(p1: Table, p2: Table, p12: Table) -> float:
    """No distribution with the three margins has more bits of entropy.

    Iterative scaling finds ``r = f(x1, x2) g(x1, y) h(x2, y)``; the cross-entropy of any such r,
    normalised, is the same for all distributions with the margins, so at least their entropy.
    """
    f, g, h = np.ones_like(p12), np.ones_like(p1), np.ones_like(p2)
    best = math.inf
    for done in range(_ROUNDS):
        f = _over(p12, (g[:, None] * h[None]).sum(2))
        g = _over(p1, (f[..., None] * h[None]).sum(1))
        h = _over(p2, (f[..., None] * g[:, None]).sum(0))
        if done % 10 == 9:
            mass = (f[..., None] * g[:, None] * h[None]).sum()
            crossed = sum(_crossed(p, x) for p, x in ((p12, f), (p1, g), (p2, h)))
            bits = crossed + float(np.log2(mass))
            if best - bits < 1e-9:
                return min(best, bits)
            best = bits
    return best


def _crossed(p: Table, x: Table) -> float:
    return -float((p * np.log2(x, out=np.zeros_like(p), where=p > 0)).sum())


def _least_joint_entropy(one: Table, other: Table) -> float:
    """No joint distribution of two variables has fewer bits of entropy.

    Reference: Cicalese, Gargano and Vaccaro, "Minimum-entropy couplings and their
    applications", IEEE Transactions on Information Theory, 2019.
    """
    size = max(one.size, other.size)
    sums = [
        np.cumsum(np.sort(np.r_[t.ravel(), np.zeros(size - t.size)])[::-1]) for t in (one, other)
    ]
    return float(entropy(np.maximum(np.diff(np.minimum(*sums), prepend=0.0), 0.0)))


def _fitting(first: ArrayLike, second: ArrayLike, pairs: ArrayLike) -> tuple[Table, Table, Table]:
    """The three tables as probabilities that agree on x1, x2 and y."""
    tables = [np.asarray(t, dtype=np.float64) for t in (first, second, pairs)]
    shapes = [t.shape for t in tables]
    fit = all(
        t.ndim == 2 and np.isfinite(t).all() and (t >= 0).all() and t.sum() > 0 for t in tables
    )
    if not fit or shapes[0][1] != shapes[1][1] or shapes[2] != (shapes[0][0], shapes[1][0]):
        raise DataError(
            f"Tables of shapes {shapes} do not fit, or hold negative or undefined cells; expected "
            "(C1, K), (C2, K) and (C1, C2), probabilities or counts."
        )
    p1, p2, p12 = (t / t.sum() for t in tables)
    if (p1.any(0) != p2.any(0)).any() or not (p1.any(1).all() and p2.any(1).all()):
        raise DataError(
            "A class has rows of one modality alone, or a value has no labelled row. Leave it out "
            "of all three tables."
        )
    y = (p1.sum(0) + p2.sum(0)) / 2
    p1, p2 = (p * _over(y, p.sum(0)) for p in (p1, p2))
    x1, x2 = p1.sum(1), p2.sum(1)
    for _ in range(_ROUNDS):
        if np.abs(p12.sum(1) - x1).sum() + np.abs(p12.sum(0) - x2).sum() < 1e-12:
            break
        p12 = p12 * _over(x1, p12.sum(1))[:, None]
        p12 = p12 * _over(x2, p12.sum(0))[None]
    if np.abs(p12.sum(1) - x1).sum() + np.abs(p12.sum(0) - x2).sum() > 1e-8:
        raise DataError(
            "The pairs cannot have the values that the labelled rows have: too many of them never "
            "meet. Take fewer clusters or more pairs."
        )
    return p1, p2, p12


def _over(top: Table, bottom: Table) -> Table:
    """Their ratio, 0 where both are 0."""
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
