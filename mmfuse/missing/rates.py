"""Effective rates, when every row keeps at least one modality; and unequal rates of one mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmfuse.errors import ConfigError
from mmfuse.missing.drop import checked_rate


def put_back_rate(rate: float, modalities: int) -> float:
    """The share lost under MCAR when a row that lost everything gets one modality back.

    ::

        r - r^M / M

    which is what ``MCAR`` takes of rows that have all M modalities.

    Args:
        rate: nominal probability r with which each modality goes.
        modalities: how many, M.

    Raises:
        ConfigError: a rate outside [0, 1], or no modality.

    Example:
        >>> put_back_rate(0.5, 2)
        0.375
    """
    rate, count = checked_rate(rate), _checked(modalities)
    return rate - rate**count / count


def redrawn_rate(rate: float, modalities: int) -> float:
    """The share lost under MCAR when a row that lost everything is drawn again.

    ::

        (r - r^M) / (1 - r^M),    (M - 1) / M for r = 1

    Several published simulators do so. Our ``MCAR`` at ``nominal_rate`` of this share takes as
    much away.

    Args:
        rate: nominal probability r with which each modality goes.
        modalities: how many, M.

    Raises:
        ConfigError: a rate outside [0, 1], or no modality.
    """
    rate, count = checked_rate(rate), _checked(modalities)
    most = (count - 1) / count
    if rate == 1:
        return most
    return min((rate - rate**count) / (1 - rate**count), most)  # rounding may exceed it


def nominal_rate(effective: float, modalities: int) -> float:
    """The rate at which ``MCAR`` takes a wanted share: the inverse of ``put_back_rate``.

    Args:
        effective: share to be lost, at most ``(M - 1) / M``.
        modalities: how many, M.

    Raises:
        ConfigError: no rate takes so much, or no modality.
    """
    count = _checked(modalities)
    most = put_back_rate(1.0, count)
    if not 0 <= effective <= most:
        raise ConfigError(
            f"The effective rate is {effective!r}; where each row keeps one of {count} modalities "
            f"it is between 0 and {most:g}."
        )
    low, high = 0.0, 1.0
    for _ in range(60):  # put_back_rate grows with the rate; 60 halvings exhaust a float
        middle = (low + high) / 2
        low, high = (low, middle) if put_back_rate(middle, count) > effective else (middle, high)
    return high


def imbalanced_rates(
    modalities: Sequence[str], mean: float = 0.5, spread: float = 0.4
) -> dict[str, dict[str, float]]:
    """Unequal rates for ``MCAR`` whose mean is that of one rate for all.

    They lie evenly from ``mean - spread`` to ``mean + spread``. Each modality is once the one
    that is lost most; the others follow it in their order, and then from the first.

    Args:
        modalities: their names, two or more.
        mean: the mean rate.
        spread: how far the ends lie from it.

    Returns:
        by the name of the modality that is lost most, the rates.

    Raises:
        ConfigError: rates outside [0, 1], or fewer than two modalities.

    Reference: shared against imbalanced rates as in MissBench; models that serve modalities
    evenly under the one do not under the other.

    Example:
        >>> imbalanced_rates(["a", "b", "c"])["b"]
        {'b': 0.9, 'c': 0.5, 'a': 0.1}
    """
    count = len(modalities)
    if count < 2:
        raise ConfigError(f"Rates can be unequal from two modalities up; found {list(modalities)}.")
    checked_rate(mean - spread, "mean - spread")
    checked_rate(mean + spread, "mean + spread")
    rates = np.linspace(mean + spread, mean - spread, count).round(12).tolist()
    return {
        m: dict(zip([*modalities[k:], *modalities[:k]], rates, strict=True))
        for k, m in enumerate(modalities)
    }


def _checked(modalities: int) -> int:
    if modalities < 1:
        raise ConfigError(f"Rates need a number of modalities from 1 up; found {modalities!r}.")
    return modalities
