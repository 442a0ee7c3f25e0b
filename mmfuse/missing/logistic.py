"""The logistic curve with a wanted mean, which the value-driven simulators share."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def intercept(rate: float, slope: float) -> float:
    """The a for which sigmoid(a + slope (q - 1/2)) has mean ``rate`` over q in [0, 1].

    The integral of the logistic curve is a difference of two softplus values; solving it
    for a gives, with s the slope's size::

        a = s (rate - 1/2) + log((1 - e^{-s rate}) / (1 - e^{-s (1 - rate)}))

    Args:
        rate: strictly between 0 and 1.
        slope: any number.
    """
    size = abs(slope)
    if size < 1e-9:  # the limit; below this the quotient loses its digits
        return math.log(rate / (1 - rate))
    ratio = math.expm1(-size * rate) / math.expm1(-size * (1 - rate))
    return size * (rate - 0.5) + math.log(ratio)


def logistic(quantile: Tensor, rate: float, slope: float, constant: float | None = None) -> Tensor:
    """Probabilities that follow the quantile.

    Args:
        quantile: in [0, 1].
        rate: their mean where quantiles are uniform; at 0 and 1 nothing else counts.
        slope: how strongly they follow.
        constant: another intercept, for quantiles that are not.
    """
    if rate in (0.0, 1.0):
        return torch.full_like(quantile, rate)
    a = intercept(rate, slope) if constant is None else constant
    return torch.sigmoid(a + slope * (quantile - 0.5))


def solve(rate: float, quantile: Tensor, slope: float) -> float:
    """The intercept at which the curve has mean ``rate`` over these quantiles, by bisection.

    Args:
        rate: strictly between 0 and 1.
        quantile: any shape, at least one.
        slope: how strongly the curve follows.
    """
    offset = slope * (quantile.double() - 0.5)
    bound = 40 + abs(slope)  # beyond it every probability is within 1e-17 of 0 or of 1
    low, high = -bound, bound
    while high - low > 1e-12 * bound:
        middle = (low + high) / 2
        is_low = float(torch.sigmoid(middle + offset).mean()) < rate
        low, high = (middle, high) if is_low else (low, middle)
    return high
