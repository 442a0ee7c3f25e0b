"""Fits of a method, stage after stage, each from the weights of the one before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
from methods import Method

from mmfuse import FusionModel, SupervisedTask, Trainer
from mmfuse.data import FusionDataModule


def fitted(
    method: Method,
    data: FusionDataModule,
    encoders: Mapping[str, Callable[..., Any]],
    seed: int,
    epochs: int,
    **options: Any,
) -> FusionModel:
    """The model of the last epoch: none is chosen.

    Args:
        method: its stages, each with a share of the epochs.
        data: to train on.
        encoders: a class or a partial of one for each modality.
        seed: of everything drawn.
        epochs: of a stage whose share is 1.
        options: the task's.
    """
    L.seed_everything(seed, verbose=False)
    with TemporaryDirectory() as folder:
        path = None
        for place, stage in enumerate(method.stages):
            task = SupervisedTask(
                {m: partial(e, frozen=True) if stage.frozen else e for m, e in encoders.items()},
                method.fusion,
                stage.objectives(),
                modality_dropout=stage.dropout,
                **options,
            )
            trainer = Trainer(
                max_epochs=ceil(stage.share * epochs),
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                enable_checkpointing=False,
                limit_val_batches=0,
                default_root_dir=folder,
            )
            trainer.fit(task, datamodule=data, **({"start_from": path} if path else {}))
            path = Path(folder) / f"stage{place}.ckpt"
            if place < len(method.stages) - 1:
                trainer.save_checkpoint(path, weights_only=True)
    assert task.model is not None
    return task.model
