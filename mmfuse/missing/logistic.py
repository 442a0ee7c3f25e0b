"""The logistic curve with a wanted mean, which the value-driven simulators share."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mmfuse.errors import ConfigError


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


def solve(rate: float, mean: Callable[[float], float], slope: float) -> float:
    """The intercept at which a mean of logistic curves is ``rate``, by bisection.

    Args:
        rate: strictly between 0 and 1.
        mean: of the curves, as a growing function of their common intercept.
        slope: the steepest curve's.

    Raises:
        ConfigError: no intercept gives so high a mean.
    """
    bound = 40 + abs(slope)  # beyond it every curve is within 1e-17 of 0 or of 1
    low, high = -bound, bound
    most = mean(high)
    if most < rate - 1e-9:
        raise ConfigError(
            f"No probabilities take the share {rate:g} away: where rows keep one modality it is "
            f"at most {most:.4g}. Ask for less, or set keep_one=False."
        )
    while high - low > 1e-12 * bound:
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < rate else (low, middle)
    return high


def expected_share(probability: Tensor, present: Tensor, at_risk: Tensor, keep_one: bool) -> float:
    """The share of what is at risk that independent losses take on average.

    A row that would lose everything gets one modality back::

        sum over rows (sum_m p_m - [keep_one] prod_m p_m) / number at risk

    with sums and products over the modalities of the row.

    Shape:
        probability, present, at_risk (B, M); what is at risk is present
    """
    p = probability.double()
    lost = torch.where(present, p, 0.0).sum(dim=1)
    if keep_one:
        everything = torch.where(present, p, 1.0).prod(dim=1)
        lost = lost - torch.where(present.any(dim=1), everything, 0.0)
    return float(lost.sum() / at_risk.sum())
