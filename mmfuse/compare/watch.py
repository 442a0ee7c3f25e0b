"""Callbacks of a study: how long an epoch takes, and what the test rows said after each."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any, cast

import lightning as L
import pandas as pd

from mmfuse.data import FusionDataModule
from mmfuse.model import FusionModel
from mmfuse.robustness import complete, evaluate
from mmfuse.robustness.metrics import HIGHER_IS_BETTER


class EpochClock(L.Callback):
    """Seconds of every training epoch, validation left out."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._start = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Stops the clock after the last batch, before validation."""
        if trainer.is_last_batch:
            self._times.append(time.perf_counter() - self._start)

    @property
    def seconds_per_epoch(self) -> float:
        """The median epoch."""
        return statistics.median(self._times) if self._times else float("nan")


class BestTestEpoch(L.Callback):
    """Scores the complete test rows after every epoch and keeps the best: the dishonest protocol.

    The best epoch is the one with the highest accuracy of the first target (lowest RMSE for
    regression, highest AUROC for several labels, highest C-index for survival). Nothing of it
    reaches training.
    """

    def __init__(self) -> None:
        self._epochs: list[pd.DataFrame] = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Scores the test rows with the weights of this moment."""
        model = cast(FusionModel, pl_module.model)
        data = cast(FusionDataModule, trainer.datamodule)  # type: ignore[attr-defined]
        found = evaluate(
            model,
            data.loader("test"),
            data.facts("test"),
            [complete()],
            bootstrap=0,
            importance=False,
        )
        self._epochs.append(found.conditions[["condition", "target", "metric", "value"]])

    def best(self) -> pd.DataFrame:
        """The best epoch's scores: condition, target, metric, value."""
        return max(self._epochs, key=_standing)


def _standing(epoch: pd.DataFrame) -> float:
    first = epoch[epoch["target"] == epoch["target"].iloc[0]].set_index("metric")["value"]
    metric = next(m for m in ("accuracy", "rmse", "auroc", "c_index") if m in first)
    value = float(first[metric])
    if math.isnan(value):
        return -math.inf
    return value if HIGHER_IS_BETTER[metric] else -value
