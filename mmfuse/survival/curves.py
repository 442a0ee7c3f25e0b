"""Curves: Kaplan and Meier's estimate of survival, that of censoring, and the log-rank test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from mmfuse.errors import DataError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Steps:
    """A survival curve as steps that fall from 1.

    Args:
        times: ``(K,)`` where it falls, ascending.
        survival: ``(K,)`` the probability to be without the event after each of them.
        deviation: ``(K,)`` its standard error by Greenwood's formula.
    """

    times: Array
    survival: Array
    deviation: Array

    def at(self, time: ArrayLike) -> Array:
        """The probability that the event comes after each time: P(T > t)."""
        return self._read(np.searchsorted(self.times, time, side="right"))

    def before(self, time: ArrayLike) -> Array:
        """The probability that it has not come before each time: P(T >= t)."""
        return self._read(np.searchsorted(self.times, time, side="left"))

    def _read(self, place: NDArray[np.intp]) -> Array:
        return np.append(1.0, self.survival)[place]


def kaplan_meier(time: ArrayLike, event: ArrayLike) -> Steps:
    """The product-limit estimate of survival; rows without an outcome (NaN) are left out.

    ::

        S(t) = prod_{u <= t} (1 - d_u / n_u)

    over the times u of events, with d_u events among the n_u rows seen up to u.

    Args:
        time: ``(N,)`` until the event, or until the row was last seen.
        event: ``(N,)`` 1 where the event came then, 0 where not.

    Raises:
        DataError: arrays of unequal length.

    Reference: Kaplan and Meier, "Nonparametric estimation from incomplete observations",
    J. Am. Stat. Assoc. 53, 1958.

    Example:
        >>> kaplan_meier([1, 2, 3, 4], [1, 0, 1, 0]).survival
        array([0.75 , 0.375])
    """
    time, event = outcomes(time, event)
    times = np.unique(time[event])
    died, at_risk = _counts(time, event, times)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(died / (at_risk * (at_risk - died)))
    survival = np.cumprod(1 - died / at_risk)
    # Once the last row at risk has its event the curve is zero, and its formula 0 times infinity.
    deviation = survival * np.sqrt(np.where(np.isfinite(greenwood), greenwood, 0.0))
    return Steps(times, survival.astype(np.float64), deviation.astype(np.float64))


def censoring(time: ArrayLike, event: ArrayLike) -> Steps:
    """The curve of being censored: events end a row's chance to be.

    Where rows of one time have events and censorings, events come first: they are no longer
    at risk to be censored.
    """
    time, event = outcomes(time, event)
    times = np.unique(time[~event])
    censored, at_risk = _counts(time, ~event, times)
    ends = np.sort(time[event])
    at_risk -= np.searchsorted(ends, times, "right") - np.searchsorted(ends, times, "left")
    survival = np.cumprod(1 - censored / at_risk)
    return Steps(times, survival.astype(np.float64), np.full(len(times), np.nan))


def log_rank(time: ArrayLike, event: ArrayLike, group: ArrayLike) -> tuple[float, float]:
    """Whether groups differ in survival: the log-rank test.

    At each time of an event, the events of a group are compared with its share of those at
    risk; the sums over time of the differences, with their hypergeometric covariance, give a
    chi-squared statistic.

    Args:
        time: ``(N,)``.
        event: ``(N,)``.
        group: ``(N,)`` labels.

    Returns:
        the statistic and its p-value, NaN for fewer than two groups or no event

    Raises:
        DataError: arrays of unequal length.

    Reference: Mantel, "Evaluation of survival data and two new rank order statistics arising
    in its consideration", Cancer Chemotherapy Reports 50, 1966.

    Example:
        >>> _, p = log_rank([1, 2, 3, 7, 8, 9], [1] * 6, list("aaabbb"))
        >>> round(p, 3)
        0.025
    """
    labels, member = np.unique(np.asarray(group), return_inverse=True)
    known = np.isfinite(np.asarray(time, float)) & np.isfinite(np.asarray(event, float))
    time, event = outcomes(time, event)
    if len(member) != len(known):
        raise DataError(f"There are {len(known)} times and {len(member)} group labels.")
    member = member[known]
    times = np.unique(time[event])
    if len(np.unique(member)) < 2 or not len(times):
        return float("nan"), float("nan")
    died, at_risk = np.zeros((2, len(labels), len(times)))
    for k in range(len(labels)):
        here = member == k
        died[k], at_risk[k] = _counts(time[here], event[here], times)
    d, n = died.sum(axis=0), at_risk.sum(axis=0)
    share = at_risk / n
    difference = (died - d * share).sum(axis=1)
    spread = d * (n - d) / np.maximum(n - 1, 1)
    covariance = np.diag((spread * share).sum(axis=1)) - (spread * share) @ share.T
    # The differences add up to zero, so that one group tells nothing of its own.
    statistic = float(difference @ np.linalg.pinv(covariance) @ difference)
    return statistic, float(chi2.sf(statistic, len(np.unique(member)) - 1))


def outcomes(time: ArrayLike, event: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    """Times and events of the rows whose outcome is known.

    Raises:
        DataError: arrays of unequal length.
    """
    time, event = np.asarray(time, float), np.asarray(event, float)
    if time.shape != event.shape or time.ndim != 1:
        raise DataError(
            f"Times have shape {time.shape} and events {event.shape}; expected one of each a row."
        )
    known = np.isfinite(time) & np.isfinite(event)
    return time[known], event[known] == 1


def _counts(time: Array, event: NDArray[np.bool_], times: Array) -> tuple[Array, Array]:
    """Events at each of ``times``, and rows seen up to it."""
    at_risk = len(time) - np.searchsorted(np.sort(time), times, side="left")
    died = np.bincount(np.searchsorted(times, time[event]), minlength=len(times))
    return died.astype(np.float64), at_risk.astype(np.float64)
