"""TrainedTask: what every task shares, whatever its model and data: terms, optimizer, records."""

from __future__ import annotations

from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from mmfuse.objectives.base import Term
from mmfuse.tasks.scores import Scores


class TrainedTask(L.LightningModule):
    """Base of all LightningModules: a sum of terms that training lowers.

    In training each term counts by its ``factor`` at this moment's progress, and one whose
    factor is zero is not computed. In validation and test each counts by its whole ``weight``,
    whatever its schedule, so that the losses of two epochs compare.

    Args:
        terms: what training lowers the sum of.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes a learning-rate scheduler from the optimizer, stepped every epoch.
    """

    #: The logged value that chooses the best checkpoint where nobody names one, and its mode.
    best: tuple[str, str] = ("val/loss", "min")

    def __init__(
        self,
        terms: list[Any],
        optimizer: OptimizerCallable,
        scheduler: LRSchedulerCallable | None,
    ) -> None:
        super().__init__()
        self._optimizer, self._scheduler = optimizer, scheduler
        self.objectives = nn.ModuleList(terms)
        self._losses = Scores()

    def _counting(self) -> list[tuple[Term, float]]:
        """The terms that count now, and by how much."""
        progress = self._progress() if self.training else 0.0
        terms = cast(list[Term], list(self.objectives))
        factors = [t.factor(progress) if self.training else t.weight for t in terms]
        return [(t, f) for t, f in zip(terms, factors, strict=True) if f]

    def _progress(self) -> float:
        if all(cast(Term, t).schedule == "constant" for t in self.objectives):
            return 0.0
        return min(self.global_step / self.trainer.estimated_stepping_batches, 1.0)

    def _nothing(self) -> Tensor:
        """Zero, with a gradient of zeros for everything that learns."""
        parts = [p.flatten()[:1].sum() * 0.0 for p in self.parameters() if p.requires_grad]
        return torch.stack(parts).sum()

    def configure_optimizers(self) -> Any:
        """The optimizer over everything that learns, and the scheduler if there is one."""
        optimizer = self._optimizer(p for p in self.parameters() if p.requires_grad)
        if self._scheduler is None:
            return optimizer
        scheduler = self._scheduler(optimizer)
        # Only a scheduler that waits for a plateau looks at it.
        monitor = getattr(scheduler, "monitor", self.best[0])
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": monitor},
        }

    def on_train_epoch_end(self) -> None:
        """Logs the epoch's mean losses."""
        means = self._losses.mean("train/")
        if self.trainer.world_size > 1:
            reduce = self.trainer.strategy.reduce
            means = {n: cast(Tensor, reduce(v, reduce_op="mean")) for n, v in means.items()}
        # Straight to where ``log_dict`` would bring them, which makes a metric of each first: of
        # a short epoch, such as one batch of all rows, that is a tenth.
        self.trainer.callback_metrics.update(means)
        if self.loggers:
            values = {n: v.item() for n, v in means.items()} | {"epoch": self.current_epoch}
            for logger in self.loggers:
                logger.log_metrics(values, step=self.global_step - 1)
