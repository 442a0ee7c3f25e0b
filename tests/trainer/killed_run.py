"""A training run that kills itself without a warning at a given step; for test_resume.py."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import ModelCheckpoint

from mmfuse.data import ArrayData
from mmfuse.missing import MCAR
from mmfuse.tasks import SupervisedTask
from mmfuse.trainer import Trainer

STEPS_AN_EPOCH, EPOCHS = 4, 3


class KillAt(L.Callback):
    """Ends the process as an operator or the kernel would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def data() -> ArrayData:
    draw = np.random.default_rng(0)
    inputs = {m: draw.normal(size=(80, 3)) for m in "ab"}
    label = (inputs["a"][:, 0] + inputs["b"][:, 0] > 0).astype(int)
    return ArrayData(inputs, label, batch_size=12, val=0.2, test=0.2, missing=MCAR(0.3))


def run(folder: str, kill_at: int, every: int, ckpt_path: str | None = None) -> SupervisedTask:
    """Trains in ``folder``, saving every few steps; drawing at random wherever that is done."""
    L.seed_everything(1, verbose=False)
    encoder = {"class_path": "MLPEncoder", "init_args": {"hidden": [8], "dropout": 0.3}}
    task = SupervisedTask(
        {"a": encoder, "b": encoder},
        {"class_path": "SequentialFusion", "init_args": {"order": "random"}},
        modality_dropout=0.3,
    )
    saver = ModelCheckpoint(save_last=True, every_n_train_steps=every, save_top_k=0)
    trainer = Trainer(
        max_epochs=EPOCHS,
        default_root_dir=folder,
        enable_progress_bar=False,
        callbacks=[saver, KillAt(kill_at)],
    )
    trainer.fit(task, datamodule=data(), ckpt_path=ckpt_path)
    return task


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
