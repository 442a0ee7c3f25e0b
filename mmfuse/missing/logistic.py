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


def logistic(quantile: Tensor, rate: float, slope: float) -> Tensor:
    """Probabilities that follow the quantile and have mean ``rate`` where it is uniform."""
    if rate in (0.0, 1.0):
        return torch.full_like(quantile, rate)
    return torch.sigmoid(intercept(rate, slope) + slope * (quantile - 0.5))
