"""Callbacks of a study: how long an epoch takes, and what the test rows said after each."""

from __future__ import annotations

import statistics
import time
from typing import Any, cast

import lightning as L
import pandas as pd
import torch

from mmfuse.tasks import SupervisedTask
from mmfuse.tasks.scores import SplitScores


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
    """Scores the test rows after every epoch and keeps the best: the dishonest protocol.

    The best epoch is the one with the highest accuracy (lowest RMSE for regression) of the
    first target. Nothing of it reaches training.
    """

    def __init__(self) -> None:
        self._epochs: list[dict[str, float]] = []

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Scores the test rows with the weights of this moment."""
        if trainer.sanity_checking:
            return
        task = cast(SupervisedTask, pl_module)
        assert task.model is not None
        scores = SplitScores(task.model.spec, "test")
        with torch.no_grad():
            for batch in trainer.datamodule.loader("test"):  # type: ignore[attr-defined]
                batch = batch.to(task.device)
                total, output, _ = task.losses(batch)
                scores.update(output, batch, total)
        found = scores.compute(task.device)
        self._epochs.append({name: float(value) for name, value in found.items()})
        self._targets = list(scores.spec.targets)

    def best(self) -> pd.DataFrame:
        """The best epoch's scores: condition, target, metric, value."""
        first = self._targets[0]

        def standing(epoch: dict[str, float]) -> float:
            named = {self._split(name): value for name, value in epoch.items()}
            if (first, "accuracy") in named:
                return named[first, "accuracy"]
            return -named[first, "rmse"]

        epoch = max(self._epochs, key=standing)
        rows = [
            {"condition": "complete", "target": t, "metric": m, "value": value}
            for (t, m), value in ((self._split(n), v) for n, v in epoch.items())
            if m != "loss"
        ]
        return pd.DataFrame(rows)

    def _split(self, name: str) -> tuple[str, str]:
        parts = name.split("/")[1:]
        return (parts[0], parts[1]) if len(parts) == 2 else (self._targets[0], parts[0])
