"""Scores that reshape the fused vector before the head reads it again: ReAct and ASH."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.robustness.ood.base import OODScore
from mmfuse.robustness.ood.from_logits import energy

Head = Callable[[Tensor], Tensor]


class ReAct(OODScore):
    """Energy after features are cut off above; higher is more out of distribution.

    With c the ``percentile`` of all entries of the training rows' features::

        energy(head(min(h, c)))

    Args:
        head: from features to logits in float64; see ``class_head``.
        percentile: of the training entries, from 0 to 100.

    Shape:
        features (n, D) -> (n,), without bounds

    Raises:
        ConfigError: a percentile outside 0 to 100.

    Reference: Sun, Guo and Li, "ReAct: Out-of-distribution detection with rectified
        activations", NeurIPS 2021, arXiv:2111.12797.

    Departs from the paper: features are fused vectors, which may be negative; they are cut off
    above alone, as in the paper.
    """

    def __init__(self, head: Head, percentile: float = 90.0) -> None:
        _check("ReAct", percentile)
        self.head, self.percentile = head, percentile

    def learn(self, features: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Finds where to cut off."""
        # numpy's, as torch.quantile takes no more than 16 million numbers.
        self.ceiling = float(np.percentile(features.cpu().numpy(), self.percentile))

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The energy of what the head says of the cut features."""
        return energy(self.head(features.clamp(max=self.ceiling)))


class ASH(OODScore):
    """Energy of features that are pruned and scaled up (ASH-S); higher is more out.

    The ``percentile`` entries of smallest magnitude become zero; the rest is scaled, with sums
    of magnitudes before and after::

        h' = prune(h) exp(sum |h| / sum |prune(h)|),   energy(head(h'))

    Args:
        head: from features to logits in float64; see ``class_head``.
        percentile: share of a row's entries that are pruned, from 0 to 100; at least one stays.

    Shape:
        features (n, D) -> (n,), without bounds

    Raises:
        ConfigError: a percentile outside 0 to 100.

    Reference: Djurisic et al., "Extremely simple activation shaping for out-of-distribution
        detection", ICLR 2023, arXiv:2209.09858.

    Departs from the paper: features are fused vectors, which may be negative, so that magnitudes
    are pruned and summed; of features without a sign it is the paper's.
    """

    def __init__(self, head: Head, percentile: float = 90.0) -> None:
        _check("ASH", percentile)
        self.head, self.percentile = head, percentile

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The energy of what the head says of the shaped features."""
        width = features.shape[1]
        kept = max(width - int(self.percentile / 100 * width), 1)
        size = features.abs()
        top = size.topk(kept, dim=1)
        pruned = torch.zeros_like(features).scatter(1, top.indices, features.gather(1, top.indices))
        after = top.values.sum(dim=1, keepdim=True)
        # A row of zeros stays one.
        grown = size.sum(dim=1, keepdim=True) / after.where(after > 0, torch.ones_like(after))
        return energy(self.head(pruned * grown.exp()))


def _check(score: str, percentile: float) -> None:
    if not 0 <= percentile <= 100:
        raise ConfigError(f"{score}: percentile is {percentile}; expected a number from 0 to 100.")
