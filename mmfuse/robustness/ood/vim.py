"""ViM: a virtual logit for what of the fused vector lies outside the training rows' subspace."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness.ood.base import OODScore


class ViM(OODScore):
    """Residual of the features, matched in scale with the logits; higher is more out.

    With the origin o = -W^+ b of the head, and R the residual of h - o outside the ``width``
    directions in which training rows vary most about o::

        alpha |R| - log sum_k exp(f_k),   alpha = mean max_k f_k / mean |R| over training rows

    Args:
        head: the linear head; see ``class_head``.
        width: number of directions; None for the authors' choice, 1,000 of 2,048 or more
            features, 512 of 768 or more, else half.

    Shape:
        features (n, D), logits (n, K) -> (n,), without bounds

    Raises:
        ConfigError: a head that is not linear, or a width that leaves no residual.
        DataError: at ``fit``, features of another width than the head's, or training rows
            without any residual.

    Reference: Wang et al., "ViM: Out-of-distribution with virtual-logit matching", CVPR 2022,
        arXiv:2203.10807.
    """

    def __init__(self, head: nn.Module, width: int | None = None) -> None:
        if not isinstance(head, nn.Linear):
            raise ConfigError(
                f"ViM needs a linear head; found {type(head).__name__}. Leave it out."
            )
        size = head.in_features
        if width is None:
            width = 1000 if size >= 2048 else 512 if size >= 768 else size // 2
        if not 0 <= width < size:
            raise ConfigError(
                f"ViM: width is {width}; expected 0 to {size - 1}, of {size} features."
            )
        weight = head.weight.detach().double()
        bias = weight.new_zeros(len(weight)) if head.bias is None else head.bias.detach().double()
        self.origin, self.width = -torch.linalg.pinv(weight) @ bias, width

    def learn(self, features: Tensor, logits: Tensor, labels: Tensor) -> None:
        """The subspace, and alpha."""
        if features.shape[1] != len(self.origin):
            raise DataError(
                f"ViM: the head reads {len(self.origin)} features; these have {features.shape[1]}."
            )
        about = features - self.origin
        values, vectors = torch.linalg.eigh(about.T @ about / len(about))
        self.outside = vectors[:, : len(values) - self.width]
        residual = (about @ self.outside).norm(dim=1).mean()
        if residual <= values[-1].clamp(min=0).sqrt() * torch.finfo(values.dtype).eps ** 0.5:
            raise DataError(
                f"ViM: the training rows leave no residual outside {self.width} directions. Give "
                "a smaller width."
            )
        self.alpha = float(logits.amax(dim=1).mean() / residual)

    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The virtual logit against all others."""
        residual = ((features - self.origin) @ self.outside).norm(dim=1)
        return self.alpha * residual - logits.logsumexp(dim=1)
