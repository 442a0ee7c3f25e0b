"""Scores of the logits alone: MSP, Energy, MaxLogit and GEN. Nothing is fitted."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.robustness.ood.base import OODScore


def doubts(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Class probabilities p in descending order, and 1 - p, exact where p is near 1.

    Shape:
        logits (n, K) -> (n, K), (n, K)
    """
    p = logits.softmax(dim=-1).sort(dim=-1, descending=True).values
    # A sure row's 1 - max p would round to zero, and all sure rows would tie.
    rest = p[:, 1:].sum(dim=-1, keepdim=True)
    return p, torch.cat([rest, 1 - p[:, 1:]], dim=-1)


class MSP(OODScore):
    """One minus the maximum softmax probability; higher is more out of distribution.

    ::

        1 - max_k softmax(f)_k

    Shape:
        logits (n, K) -> (n,), from 0 to 1 - 1/K

    Reference: Hendrycks and Gimpel, "A baseline for detecting misclassified and
        out-of-distribution examples in neural networks", ICLR 2017, arXiv:1610.02136.

    Example:
        >>> MSP()(torch.zeros(1, 3), torch.tensor([[0.0, 0.0]]))
        tensor([0.5000], dtype=torch.float64)
    """

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The other classes' probabilities together."""
        return doubts(logits)[1][:, 0]


class Energy(OODScore):
    """Free energy of the logits; higher is more out of distribution.

    ::

        -T log sum_k exp(f_k / T)

    Of logits that are log-probabilities it is 0 for every row at T = 1, and ranks nothing:
    ``LateProductFusion`` is read by ``ProductEnergy``, and for ``LateConfidenceFusion``, which
    mixes probabilities, there is none.

    Args:
        temperature: T.

    Shape:
        logits (n, K) -> (n,), without bounds

    Raises:
        ConfigError: a temperature that is not above 0.

    Reference: Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020,
        arXiv:2010.03759.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise ConfigError(f"Energy: temperature is {temperature}; expected a number above 0.")
        self.temperature = temperature

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The energy."""
        return energy(logits, self.temperature)


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """``-T log sum_k exp(f_k / T)``, ``(n, K) -> (n,)``."""
    return -temperature * (logits / temperature).logsumexp(dim=-1)


class MaxLogit(OODScore):
    """Minus the greatest logit; higher is more out of distribution.

    Shape:
        logits (n, K) -> (n,), without bounds

    Reference: Hendrycks et al., "Scaling out-of-distribution detection for real-world
        settings", ICML 2022, arXiv:1911.11132.
    """

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The greatest logit, negated."""
        return -logits.max(dim=-1).values


class GEN(OODScore):
    """Generalised entropy of the greatest probabilities; higher is more out of distribution.

    ::

        sum_{k of the ``top`` greatest} p_k^gamma (1 - p_k)^gamma

    Args:
        gamma: a small one makes much of small doubts.
        top: how many classes count; all where there are fewer.

    Shape:
        logits (n, K) -> (n,), 0 or more

    Raises:
        ConfigError: a gamma outside 0 to 1, or a top below 1.

    Reference: Liu, Lochman and Zach, "GEN: Pushing the limits of softmax-based
        out-of-distribution detection", CVPR 2023.

    Departs from the paper: the score is not negated, so that higher is further out.
    """

    def __init__(self, gamma: float = 0.1, top: int = 100) -> None:
        if not 0 < gamma <= 1 or top < 1:
            raise ConfigError(
                f"GEN: gamma={gamma}, top={top}; expected a gamma above 0 and up to 1, and a top "
                "of 1 or more."
            )
        self.gamma, self.top = gamma, top

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The sum over the greatest probabilities."""
        p, rest = doubts(logits)
        return (p * rest)[:, : self.top].pow(self.gamma).sum(dim=-1)
