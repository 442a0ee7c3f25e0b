"""Partial information decomposition of a joint distribution on discrete supports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mmfuse.robustness.interactions.information import Table, as_joint, entropy, information
from mmfuse.robustness.interactions.least import Least, least_informative


@dataclass(frozen=True)
class PID:
    """What two modalities say of a label, in bits: each part is at least zero.

    Args:
        redundancy: R, what either of them says.
        unique1: U1, what the first alone says.
        unique2: U2, what the second alone says.
        synergy: S, what only both together say.
        gap: how much more redundancy and synergy, and less of each unique part, could be at most.
    """

    redundancy: float
    unique1: float
    unique2: float
    synergy: float
    gap: float = 0.0

    @property
    def total(self) -> float:
        """I(X1, X2; Y)."""
        return self.redundancy + self.unique1 + self.unique2 + self.synergy

    @property
    def parts(self) -> tuple[float, float, float, float]:
        """R, U1, U2 and S."""
        return self.redundancy, self.unique1, self.unique2, self.synergy


def pid(joint: ArrayLike, tolerance: float = 1e-7) -> PID:
    """Redundancy, unique parts and synergy of a joint distribution p(x1, x2, y).

    With q* the least informative of all q that share the margins q(x1, y) and q(x2, y) with p::

        R  = I(X1; Y) + I(X2; Y) - I_q*(X1, X2; Y)
        U1 = I_q*(X1; Y | X2)          U2 = I_q*(X2; Y | X1)
        S  = I_p(X1, X2; Y) - I_q*(X1, X2; Y)

    so that R + U1 = I(X1; Y), R + U2 = I(X2; Y) and R + U1 + U2 + S = I(X1, X2; Y). They are
    exact to ``tolerance``, which the gap to a dual bound certifies. Shares of a margin below
    1e-12 count as zero.

    Args:
        joint: ``(C1, C2, K)`` probabilities or counts, a tensor or an array.
        tolerance: of q*, in bits.

    Raises:
        ConfigError: a tolerance that is not above zero.
        DataError: what is no joint distribution.
        MmfuseError: rounding forbids the tolerance.

    Reference: Bertschinger et al., "Quantifying unique information", Entropy 2014; Liang et
    al., "Quantifying & modeling multimodal interactions", NeurIPS 2023, arXiv:2302.12247. The
    solver is an interior-point method of our own, see ``interior``.

    Example:
        Gates of two fair bits: XOR is synergy, a copy of the first bit is unique to it, AND and
        OR mix redundancy and synergy, and two equal bits are redundant::

            >>> import torch
            >>> def gate(rule):
            ...     joint = torch.zeros(2, 2, 2)
            ...     for x1, x2 in ((0, 0), (0, 1), (1, 0), (1, 1)):
            ...         joint[x1, x2, rule(x1, x2)] = 1 / 4
            ...     return [round(part, 4) for part in pid(joint).parts]
            >>> gate(lambda x1, x2: x1 ^ x2)
            [0.0, 0.0, 0.0, 1.0]
            >>> gate(lambda x1, x2: x1 & x2)
            [0.3113, 0.0, 0.0, 0.5]
            >>> gate(lambda x1, x2: x1 | x2)
            [0.3113, 0.0, 0.0, 0.5]
            >>> gate(lambda x1, x2: x1)
            [0.0, 1.0, 0.0, 0.0]
            >>> same = torch.zeros(2, 2, 2)
            >>> same[0, 0, 0] = same[1, 1, 1] = 1 / 2
            >>> pid(same).parts
            (1.0, 0.0, 0.0, 0.0)
    """
    p = as_joint(joint)
    return decomposed(p, least_of(p, tolerance))


def least_of(p: Table, tolerance: float) -> Least:
    """The least informative coupling of a joint distribution's margins with the label."""
    return least_informative(p.sum(1), p.sum(0), tolerance)


def decomposed(p: Table, least: Least) -> PID:
    """The decomposition of ``p`` from the least informative coupling of its margins."""
    i1, i2 = information(p.sum(1)), information(p.sum(0))
    both = max(information(p.reshape(-1, p.shape[2])), i1, i2)
    # q* says no less than either margin, and no more than p or than the two margins together.
    shared = float(entropy(p.sum((0, 1)))) - least.uncertainty
    shared = min(max(shared, i1, i2), both, i1 + i2)
    return PID(i1 + i2 - shared, shared - i2, shared - i1, both - shared, least.gap)


def pointwise(joint: ArrayLike, tolerance: float = 1e-7) -> Table:
    """What each cell (x1, x2, y) adds to R, U1, U2 and S, in bits; either sign.

    At q* the log share of a label is a sum ``log2 q*(y | x1, x2) = a(x1, y) + b(x2, y)`` of the
    multipliers of the two margins that p and q* have in common, so that its mean over p is that
    over q*. Hence with i(x; y) = log2 p(y | x) / p(y)::

        u1 = a + b - log2 p(y | x2)      u2 = a + b - log2 p(y | x1)
        r  = i(x1; y) - u1               s  = log2 p(y | x1, x2) - (a + b)

    and their means over p are the parts of ``pid``, to its tolerance. For a row, look up the cell
    of its values: a row-level table beside modality importance.

    Args:
        joint: ``(C1, C2, K)`` probabilities or counts.
        tolerance: of q*, in bits.

    Returns:
        ``(4, C1, C2, K)``, NaN in cells without mass.

    Raises:
        DataError: what is no joint distribution.

    Example:
        >>> xor = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]])
        >>> r, u1, u2, s = pointwise(xor)[:, 0, 0, 0].round(4) + 0.0
        >>> float(r), float(u1), float(u2), float(s)
        (0.0, 0.0, 0.0, 1.0)
    """
    p = as_joint(joint)
    found = least_of(p, tolerance)
    with np.errstate(divide="ignore", invalid="ignore"):
        given1, given2 = (np.log2(m / m.sum(1, keepdims=True)) for m in (p.sum(1), p.sum(0)))
        both = np.log2(p / p.sum(2, keepdims=True))
        shared = found.first[:, None] + found.second[None]
        # A share below those that count has no multiplier: at most what either margin says.
        shared = np.where(np.isneginf(shared), np.minimum(given1[:, None], given2[None]), shared)
        u1, u2 = shared - given2[None], shared - given1[:, None]
        parts = np.stack([given1[:, None] - np.log2(p.sum((0, 1))) - u1, u1, u2, both - shared])
    return np.where(p > 0, parts, np.nan)
