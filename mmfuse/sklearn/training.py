"""Training: one quiet fit in memory that leaves no file and no random state behind."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.utilities.seed import isolate_rng

from mmfuse.data import FusionDataModule
from mmfuse.data.split import split_rows
from mmfuse.runs import hush
from mmfuse.spec import DataSpec
from mmfuse.tasks import SupervisedTask, build_model

_MONITOR = "val/loss"


class KeepBest(Callback):
    """Keeps the weights of the epoch with the lowest validation loss, and gives them back."""

    def __init__(self) -> None:
        self.lowest = float("inf")
        self._weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keeps the weights if the epoch was the best so far."""
        loss = float(trainer.callback_metrics[_MONITOR])
        if loss < self.lowest:
            self.lowest = loss
            self._weights = {k: v.detach().clone() for k, v in pl_module.state_dict().items()}

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gives the best weights back."""
        if self._weights:
            pl_module.load_state_dict(self._weights)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences Lightning, and puts its loggers and the warning filters back."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            hush()
            warnings.filterwarnings("ignore", category=PossibleUserWarning)
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def train(
    data: FusionDataModule,
    spec: DataSpec,
    task: dict[str, Any],
    seed: int,
    patience: int,
    **options: Any,
) -> tuple[SupervisedTask, int]:
    """Trains a task; with validation rows, until they no longer improve.

    Args:
        data: the rows.
        spec: what the model is built for: the data's own, with the classes' names.
        task: the arguments of ``SupervisedTask``.
        seed: of the first weights, the order of rows and modality dropout.
        patience: epochs without a better validation loss before training ends.
        **options: of Lightning's Trainer.

    Returns:
        the trained task on the CPU, and how many epochs it ran.
    """
    has_validation = len(data.rows("val")) > 0
    callbacks = [KeepBest(), EarlyStopping(_MONITOR, patience=patience)] if has_validation else []
    with isolate_rng(), quiet():
        torch.manual_seed(seed)
        made = SupervisedTask(**task, dropout_seed=seed)
        made.build(build_model(spec, task["encoders"], task["fusion"]))
        trainer = L.Trainer(
            devices=1,
            logger=False,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if has_validation else 0,
            use_distributed_sampler=False,
            **options,
        )
        trainer.fit(made, datamodule=data)
    return made.cpu(), trainer.current_epoch


def draw_split(strata: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """``train`` or ``val`` for each row; one row of every stratum always trains.

    Args:
        strata: ``(N,)`` whole numbers: the classes, or what stands for them.
        fraction: share of the rows that validate; 0 for none.
        seed: of the draw.
    """
    split = np.full(len(strata), "train", dtype="<U5")
    order = np.random.default_rng(seed).permutation(len(strata))
    first = np.unique(strata[order], return_index=True)[1]
    free = np.sort(np.delete(order, first))
    size = round(fraction * len(strata))
    if 0 < size < len(free):
        parts = split_rows(
            len(free), labels=strata[free], val=size / len(free), test=0.0, seed=seed
        )
        split[free[parts["val"]]] = "val"
    return split
