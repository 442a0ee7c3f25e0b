"""Scores: losses and metrics gathered over an epoch without a copy to the host in a step."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection

from mmfuse.batch import Batch
from mmfuse.model import Output
from mmfuse.spec import DataSpec, TargetSpec
from mmfuse.tasks.metrics import metrics_for


class Scores:
    """Running means of named losses, each over the batches that gave it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._rows: Counter[str] = Counter()

    def add(self, losses: Mapping[str, Tensor], rows: int) -> None:
        """Adds a batch's mean losses."""
        for name, value in losses.items():
            weighted = value.detach() * rows
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted
            self._rows[name] += rows

    def mean(self, prefix: str) -> dict[str, Tensor]:
        """The mean over rows of each loss, and an empty start for the next epoch."""
        means = {prefix + n: total / max(self._rows[n], 1) for n, total in self._sums.items()}
        self._sums, self._rows = {}, Counter()
        return means

    @staticmethod
    def metrics(spec: DataSpec, split: str) -> SplitScores:
        """The loss and the metrics of one split."""
        return SplitScores(spec, split)


class SplitScores:
    """The loss and every target's metrics over one split.

    Args:
        spec: the data's targets. With one target a metric is called ``val/accuracy``, with
            several ``val/<target>/accuracy``.
        split: the prefix, ``val`` or ``test``.
    """

    def __init__(self, spec: DataSpec, split: str) -> None:
        self.spec = spec
        one = len(spec.targets) == 1
        self.loss = MeanMetric()
        self.loss_name = f"{split}/loss"
        self.metrics: dict[str, MetricCollection] = {
            name: metrics_for(target, prefix=f"{split}/" if one else f"{split}/{name}/")
            for name, target in spec.targets.items()
        }

    def update(self, output: Output, batch: Batch, loss: Tensor) -> None:
        """Adds a batch; rows without a label count in no metric."""
        self.loss.to(loss.device).update(loss.detach(), len(batch))
        for name, metrics in self.metrics.items():
            target = (
                batch.target if isinstance(batch.target, Tensor) else (batch.target or {})[name]
            )
            predicted, wanted = comparable(
                self.spec.targets[name], output.logits[name].detach(), target
            )
            if len(wanted):
                metrics.to(loss.device).update(predicted, wanted)

    def compute(self, device: torch.device) -> dict[str, Tensor]:
        """All scores of the split, and an empty start for the next pass."""
        scores = {self.loss_name: self.loss.to(device).compute()}
        self.loss.reset()
        for metrics in self.metrics.values():
            if not any(m.update_called for m in metrics.values()):
                continue
            with warnings.catch_warnings():
                # A class that a small split lacks leaves its AUROC undefined; the value says so.
                warnings.filterwarnings("ignore", category=UserWarning, module="torchmetrics")
                warnings.filterwarnings("ignore", message=".*samples in target.*")
                warnings.filterwarnings("ignore", message=".*had 0 observations.*")
                scores |= metrics.compute()
            metrics.reset()
        return scores


def comparable(spec: TargetSpec, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Predictions and labels as torchmetrics takes them, rows without a label left out.

    Of several labels an unknown one is -1, which the metrics leave out by itself; of several
    values to regress a row counts when all are known, as does one with its time and event.
    """
    predicted = spec.predict(logits)
    if spec.kind in ("binary", "multiclass"):
        known = target >= 0
        predicted = predicted[:, 1] if spec.kind == "binary" else predicted
        return predicted[known], target[known]
    if spec.kind == "survival":
        known = target.isfinite().all(dim=-1)
        return predicted[known], target[known]
    target = target.unsqueeze(-1) if target.dim() < predicted.dim() else target
    finite = target.isfinite()
    if spec.kind == "multilabel":
        known = finite.any(dim=-1)
        return predicted[known], torch.where(finite, target, -1)[known].long()
    known = finite.all(dim=-1)
    wanted = target[known]
    # The regression metrics want (rows,) for one value a row.
    return predicted[known].squeeze(-1), wanted.to(predicted.dtype).squeeze(-1)
