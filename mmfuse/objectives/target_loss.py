"""TargetLoss: the loss of one target, row by row, unlabelled rows left out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.objectives.survival_loss import cox_loss, hazard_loss
from mmfuse.spec import TargetSpec


class TargetLoss(nn.Module):
    """Loss of every row and the weight with which it counts.

    Cross-entropy for classes (binary: on one logit), its mean over labels for several
    labels at once, squared error in units of the training deviation for regression. A row
    without a label (-1, or NaN) weighs nothing.

    For survival the negative log-likelihood of discrete hazards, or under Cox's model the
    terms of the partial likelihood. Those are the events' alone: a censored row weighs
    nothing and counts in the risk sets. **A risk set is made of the batch's own rows**, so
    that the loss depends on who shares a batch; take batches that hold a score of events,
    or all rows in one.

    Args:
        spec: the target.

    Shape:
        logits (B, ..., out_dim), target (B, ...) or (B, ..., values), counted (B, ...) ->
        losses (B, ...), weights (B, ...)
    """

    class_weights: Tensor | None
    mean: Tensor
    std: Tensor
    cuts: Tensor

    def __init__(self, spec: TargetSpec) -> None:
        super().__init__()
        self.spec = spec
        # Buffers, so that a step copies nothing from the host.
        weights = torch.tensor(spec.weights) if spec.weights else None
        self.register_buffer("class_weights", weights, persistent=False)
        self.register_buffer("mean", torch.tensor(spec.mean or (0.0,)), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std or (1.0,)), persistent=False)
        self.register_buffer("cuts", torch.tensor(spec.cuts), persistent=False)

    def forward(
        self, logits: Tensor, target: Tensor, counted: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Losses and weights of a batch.

        Args:
            logits: the scores.
            target: labels or values as in ``Batch``.
            counted: bool, False for rows (or steps of rows) to leave out: they weigh nothing,
                and no other row's loss knows of them. None counts all.
        """
        if self.spec.kind == "survival":
            return self._survival(logits, target, counted)
        loss, weight = self._row_by_row(logits, target)
        return loss, weight if counted is None else weight * counted

    def _survival(
        self, logits: Tensor, target: Tensor, counted: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        target = target.to(logits.dtype)
        known = target.isfinite().all(dim=-1)
        counted = known if counted is None else known & counted
        target = torch.where(counted.unsqueeze(-1), target, 0)
        if self.spec.cuts:
            loss = hazard_loss(logits, target, self.cuts.to(logits.dtype))
            return loss.masked_fill(~counted, 0), counted.to(logits.dtype)
        loss = cox_loss(logits.squeeze(-1), target, counted)
        return loss, (counted & (target[..., 1] == 1)).to(logits.dtype)

    def _row_by_row(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
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
