"""Scores of how far the fused vector lies from those of training rows: KNN and Mahalanobis."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness.ood.base import OODScore
from mmfuse.unit import unit

# Distances at a time: 128 MB of float64.
_AT_ONCE = 2**24


class KNN(OODScore):
    """Distance to the k-th nearest training row; higher is more out of distribution.

    Between vectors of unit length, exactly, in blocks::

        |h / |h| - h_(k) / |h_(k)||

    Args:
        k: which neighbour.

    Shape:
        features (n, D) -> (n,), from 0 to 2

    Raises:
        ConfigError: a k below 1.
        DataError: at ``fit``, fewer training rows than k.

    Reference: Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML
        2022, arXiv:2204.06507.

    Departs from the authors' code: no small number is added to a length; a vector of zeros stays.
    """

    def __init__(self, k: int = 50) -> None:
        if k < 1:
            raise ConfigError(f"KNN: k is {k}; expected 1 or more.")
        self.k = k

    def learn(self, features: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Keeps the training rows' directions."""
        if len(features) < self.k:
            raise DataError(
                f"KNN looks for neighbour {self.k} among {len(features)} training rows. Give a "
                f"k of {len(features)} or less."
            )
        self.known = unit(features)

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The distance, a block of rows at a time."""
        parts = []
        for part in unit(features).split(max(_AT_ONCE // len(self.known), 1)):
            parts.append(torch.cdist(part, self.known).kthvalue(self.k, dim=1).values)
        return torch.cat(parts) if parts else features.new_zeros(0)


class Mahalanobis(OODScore):
    """Squared Mahalanobis distance to the nearest class; higher is more out of distribution.

    With the class means m_c of the labelled training rows and one covariance S about them::

        min_c (h - m_c)' S^+ (h - m_c)

    S^+ is the pseudo-inverse, so that directions in which no training row varies do not count.

    Shape:
        features (n, D) -> (n,), 0 or more

    Raises:
        DataError: at ``fit``, no training row has a label.

    Reference: Lee et al., "A simple unified framework for detecting out-of-distribution samples
        and adversarial attacks", NeurIPS 2018, arXiv:1807.03888.

    Departs from the paper: the last layer alone, without perturbed inputs and the logistic
    regression over layers, which is fitted on out-of-distribution rows.
    """

    def learn(self, features: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Class means and the shared covariance; a class without rows has no mean."""
        features, labels = features[labels >= 0], labels[labels >= 0]
        if not len(labels):
            raise DataError("Mahalanobis: no training row has a label, so no class has a mean.")
        place = labels.unique(return_inverse=True)[1]
        count = place.bincount()
        total = features.new_zeros(len(count), features.shape[1]).index_add(0, place, features)
        self.means = total / count.unsqueeze(1)
        about = features - self.means[place]
        values, vectors = torch.linalg.eigh(about.T @ about / len(about))
        # As a pseudo-inverse has it: what rounding leaves of no variance counts as none.
        varies = values > values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
        self.whiten = vectors[:, varies] / values[varies].sqrt()

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The least distance, in coordinates in which the covariance is the identity."""
        return torch.cdist(features @ self.whiten, self.means @ self.whiten).square().amin(dim=1)
