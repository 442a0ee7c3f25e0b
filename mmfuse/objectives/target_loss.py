"""TargetLoss: the loss of one target, row by row, unlabelled rows left out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.spec import TargetSpec


class TargetLoss(nn.Module):
    """Loss of every row and the weight with which it counts.

    Cross-entropy for classes (binary: on one logit), its mean over labels for several
    labels at once, squared error in units of the training deviation for regression. A row
    without a label (-1, or NaN) weighs nothing.

    Args:
        spec: the target.

    Shape:
        logits (..., out_dim), target (...) or (..., out_dim) -> losses (...), weights (...)
    """

    class_weights: Tensor | None
    mean: Tensor
    std: Tensor

    def __init__(self, spec: TargetSpec) -> None:
        super().__init__()
        self.spec = spec
        # Buffers, so that a step copies nothing from the host.
        weights = torch.tensor(spec.weights) if spec.weights else None
        self.register_buffer("class_weights", weights, persistent=False)
        self.register_buffer("mean", torch.tensor(spec.mean or (0.0,)), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std or (1.0,)), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Losses and weights of a batch."""
        if self.spec.kind in ("binary", "multiclass"):
            return self._classes(logits, target)
        # At least float32: a year or a price rounded to bfloat16 would be another one.
        target = target.to(torch.promote_types(logits.dtype, torch.float32))
        if target.dim() < logits.dim():
            target = target.unsqueeze(-1)
        known = target.isfinite()
        target = torch.where(known, target, 0)
        if self.spec.kind == "multilabel":
            loss = F.binary_cross_entropy_with_logits(
                logits, target, pos_weight=self.class_weights, reduction="none"
            )
        else:
            loss = (logits - (target - self.mean) / self.std) ** 2
        count = known.sum(dim=-1)
        loss = loss.masked_fill(~known, 0).sum(dim=-1) / count.clamp(min=1)
        return loss, (count > 0).to(loss.dtype)

    def _classes(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        label = target.clamp(min=0)
        weight = (target >= 0).to(logits.dtype)
        if self.class_weights is not None:
            weight = weight * self.class_weights[label]
        if self.spec.kind == "binary":
            score = logits.squeeze(-1)
            loss = F.binary_cross_entropy_with_logits(
                score, label.to(score.dtype), reduction="none"
            )
        else:
            loss = F.cross_entropy(logits.flatten(0, -2), label.flatten(), reduction="none")
        return loss.view(target.shape), weight


def weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``loss`` under ``weight``; zero when nothing weighs anything."""
    return (loss * weight).sum() / weight.sum().clamp(min=torch.finfo(loss.dtype).tiny)
