"""Selective prediction: the error of a classifier that answers only where it is sure.

Reference: Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural
classifiers", ICLR 2019, arXiv:1805.08206, for both areas. Rows of equal confidence are answered
together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Ordered:
    """Rows of one condition, surest first.

    ``order`` (N,) says which row stands where, ``wrong`` (1 + N,) how many errors stand before
    each place, ``first`` and ``last`` (N,) how many rows are surer, and at least as sure.
    """

    order: NDArray[np.int64]
    wrong: Array
    first: NDArray[np.int64]
    last: NDArray[np.int64]


def _ordered(confidence: Array, wrong: NDArray[np.bool_]) -> Iterator[_Ordered]:
    for sure, error in zip(confidence, wrong, strict=True):
        order = np.argsort(-sure, kind="stable")
        descending = -sure[order]
        yield _Ordered(
            order,
            np.concatenate([[0.0], np.cumsum(error[order], dtype=np.float64)]),
            np.searchsorted(descending, descending, "left"),
            np.searchsorted(descending, descending, "right"),
        )


def areas(confidence: Array, wrong: NDArray[np.bool_], weight: Array) -> tuple[Array, Array]:
    """The area under the curve of risk against coverage, and its excess over the best order's.

    With R(i) the share of errors among the rows at least as sure as row i::

        AURC = mean_i R(i)
        E-AURC = AURC - AURC of the same errors, had they been the least sure rows

    AURC of other than equal weights is taken to first order, as that of ``auroc`` is::

        AURC(w) = AURC + sum_j (w_j / sum(w) - 1/N) I(j)
        I(j) = R(j) + sum over rows i no surer than j of (e_j - R(i)) / n(i)

    where e is 1 for an error and n(i) the number of rows at least as sure as i.

    Shape:
        confidence, wrong (C, N), weight (N, S) -> two of (C, S)
    """
    count = confidence.shape[1]
    total = weight.sum(axis=0)
    influence, area = np.empty(confidence.shape), np.empty((len(confidence), 1))
    for line, at in zip(range(len(area)), _ordered(confidence, wrong), strict=True):
        risk = at.wrong[at.last] / at.last
        error = np.diff(at.wrong)
        # Sums over the rows from a place to the end.
        share = np.cumsum((1 / at.last)[::-1])[::-1][at.first]
        risks = np.cumsum((risk / at.last)[::-1])[::-1][at.first]
        found = risk + error * share - risks
        area[line] = risk.mean()
        influence[line, at.order] = found - found.mean()
    aurc = area + influence @ weight / total
    errors = wrong @ weight
    excess = aurc - _best(errors, total)
    if count:
        aurc, excess = np.clip(aurc, 0, 1), np.maximum(excess, 0)
    return aurc, excess


def _best(errors: Array, total: Array) -> Array:
    """AURC of so many errors at the end of so many rows: mean over errors i of i / (n - e + i)."""
    right = total - errors
    found: Array = (errors - right * (digamma(total + 1) - digamma(right + 1))) / total
    return found


def risk_at(confidence: Array, wrong: NDArray[np.bool_], coverage: Array) -> tuple[Array, Array]:
    """Share of errors among the surest rows, and how many these are.

    Of rows that are equally sure as the last one taken, an equal part of each is.

    Shape:
        confidence, wrong (C, N), coverage (G,) in (0, 1] -> (C, G), (G,)
    """
    rows = confidence.shape[1]
    # 1e-9: a share such as 0.15 of 20 rows is 3 of them, whatever floats say.
    taken = np.ceil(coverage * rows - 1e-9).astype(np.int64)
    risk = np.empty((len(confidence), len(taken)))
    for line, at in zip(risk, _ordered(confidence, wrong), strict=True):
        first, last = at.first[taken - 1], at.last[taken - 1]
        tied = at.wrong[last] - at.wrong[first]
        line[:] = (at.wrong[first] + tied * (taken - first) / (last - first)) / taken
    return risk, taken.astype(np.float64)


def wilson(share: Array, rows: Array) -> tuple[Array, Array]:
    """The 95 % interval of a share of so many rows.

    Reference: Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22, 1927.
    """
    z = 1.959963984540054
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)
