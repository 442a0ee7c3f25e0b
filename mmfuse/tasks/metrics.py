"""Which torchmetrics metrics describe each kind of target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryF1Score,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassF1Score,
    MultilabelAccuracy,
    MultilabelAUROC,
    MultilabelF1Score,
)
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from mmfuse.spec import TargetSpec
from mmfuse.tasks.survival_metrics import ConcordanceIndex, IntegratedBrierScore


class CentredR2(R2Score):
    """R2 of values taken relative to the training mean; NaN for fewer than two rows.

    torchmetrics finds the variance as a difference of sums of squares, which for values far
    from zero (years, say) float32 cannot tell from rounding.

    Args:
        centre: the training mean of each value.
    """

    centre: Tensor

    def __init__(self, centre: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(centre), persistent=False)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds rows."""
        super().update(preds - self.centre, target - self.centre)

    def compute(self) -> Tensor:
        """R2 of all rows so far."""
        return super().compute() if self.total > 1 else torch.full_like(self.centre[0], torch.nan)


def metrics_for(spec: TargetSpec, prefix: str = "") -> MetricCollection:
    """The metrics logged for one target.

    Binary: accuracy, F1 of the positive class, AUROC. Multiclass: accuracy, macro F1,
    macro AUROC. Multilabel: mean accuracy, macro F1, macro AUROC over the labels.
    Regression: MAE, RMSE, R2 (uniform average over several values). Survival: Harrell's
    C-index and, unless the model is Cox's, the integrated Brier score.

    Args:
        spec: the target.
        prefix: put before each name.

    Shape:
        update(predictions, target): binary (B,) probabilities, multiclass (B, K),
        multilabel (B, L), regression (B, width), survival (B, 1 + cuts); targets as in
        ``Batch``
    """
    metrics: dict[str, Metric | MetricCollection]
    if spec.kind == "binary":
        metrics = {"accuracy": BinaryAccuracy(), "f1": BinaryF1Score(), "auroc": BinaryAUROC()}
    elif spec.kind == "multiclass":
        k = len(spec.classes)
        metrics = {
            "accuracy": MulticlassAccuracy(k, average="micro"),
            "f1": MulticlassF1Score(k, average="macro"),
            "auroc": MulticlassAUROC(k),
        }
    elif spec.kind == "multilabel":
        labels = len(spec.classes)
        metrics = {
            "accuracy": MultilabelAccuracy(labels, ignore_index=-1),
            "f1": MultilabelF1Score(labels, ignore_index=-1),
            "auroc": MultilabelAUROC(labels, ignore_index=-1),
        }
    elif spec.kind == "survival":
        metrics = {"c_index": ConcordanceIndex()}
        if spec.cuts:
            metrics["ibs"] = IntegratedBrierScore(spec.cuts[:-1] or spec.cuts)
    else:
        metrics = {
            "mae": MeanAbsoluteError(),
            "rmse": MeanSquaredError(squared=False, num_outputs=1),
            "r2": CentredR2(spec.mean or (0.0,)),
        }
    return MetricCollection(metrics, prefix=prefix)
