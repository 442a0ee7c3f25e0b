"""Which torchmetrics metrics describe each kind of target."""

from __future__ import annotations

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


def metrics_for(spec: TargetSpec, prefix: str = "") -> MetricCollection:
    """The metrics logged for one target.

    Binary: accuracy, F1 of the positive class, AUROC. Multiclass: accuracy, macro F1,
    macro AUROC. Multilabel: mean accuracy, macro F1, macro AUROC over the labels.
    Regression: MAE, RMSE, R2 (uniform average over several values).

    Args:
        spec: the target.
        prefix: put before each name.

    Shape:
        update(predictions, target): binary (B,) probabilities, multiclass (B, K),
        multilabel (B, L), regression (B, width); targets as in ``Batch``
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
            "accuracy": MultilabelAccuracy(labels),
            "f1": MultilabelF1Score(labels),
            "auroc": MultilabelAUROC(labels),
        }
    else:
        metrics = {
            "mae": MeanAbsoluteError(),
            "rmse": MeanSquaredError(squared=False, num_outputs=1),
            "r2": R2Score(),
        }
    return MetricCollection(metrics, prefix=prefix)
