"""Ties: what a ranking is worth when the order among equally similar items is left to chance."""

from __future__ import annotations

import torch
from torch import Tensor

_EULER = 0.5772156649015329


def hit_rate(above: Tensor, tied: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Probability that one of the first ``k`` is relevant, ties in random order.

    ``above`` irrelevant items come first, then ``tied`` equal ones of which ``relevant`` are
    relevant; with m = k - above places left for them::

        1 - C(tied - relevant, m) / C(tied, m)

    Shape:
        (Q,) float64 each -> (Q,)
    """
    places = (k - above).clamp(min=0)
    places = torch.minimum(places, tied)
    misses = tied - relevant
    log_rate = _log_choose(misses, torch.minimum(places, misses)) - _log_choose(tied, places)
    rate = torch.where(places > misses, 1.0, -torch.expm1(log_rate))
    return torch.where(relevant == 1, places / tied, rate)  # exact where there is one, as in pairs


def first_rank(above: Tensor, tied: Tensor, relevant: Tensor) -> Tensor:
    """Mean position, from 1, of the first relevant one; arguments as ``hit_rate``."""
    return above + (tied + 1) / (relevant + 1)


def precision_of_ties(above: Tensor, hits: Tensor, tied: Tensor, relevant: Tensor) -> Tensor:
    """What a group of equally similar items adds to the sum of precisions, on average.

    With i = ``above`` items before the group, h = ``hits`` relevant ones among them, and n
    items in the group of which r are relevant, position j of the group adds
    r/n (h + 1 + (j - 1)(r - 1)/(n - 1)) / (i + j); the sum over j has a closed form in harmonic
    numbers.

    Shape:
        (G,) float64 each -> (G,)

    Reference: McSherry and Najork, "Computing Information Retrieval Performance Measures
        Efficiently in the Presence of Tied Scores", ECIR 2008.
    """
    slope = (relevant - 1) / (tied - 1).clamp(min=1)
    between = harmonic(above + tied) - harmonic(above)
    return relevant / tied * ((hits + 1 - slope * (above + 1)) * between + slope * tied)


def harmonic(n: Tensor) -> Tensor:
    """The n-th harmonic number, 0 for 0."""
    return torch.special.digamma(n + 1) + _EULER


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
