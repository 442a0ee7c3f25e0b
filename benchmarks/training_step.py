"""A training step through Lightning, beside a bare torch loop of the same modules."""

from __future__ import annotations

import time
from collections.abc import Iterable

import lightning as L
import torch
import torch.nn.functional as F
from ratio import compare

from mmfuse import ArrayData, Batch, SupervisedTask, Trainer, build_model
from mmfuse.tasks.optimizer import adamw

EPOCHS = 3


class Stopwatch(L.Callback):
    """Seconds of training between the start of the second epoch and the end of the last."""

    def on_train_epoch_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Starts after one epoch that warms up."""
        if trainer.current_epoch == 1:
            self.start = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        """Stops."""
        self.seconds = time.perf_counter() - self.start


def measure(title: str, modalities: int, width: int, batch: int, steps: int, target: str) -> None:
    """Prints the times of one step and their ratios."""
    torch.manual_seed(0)
    rows = batch * steps
    inputs = {f"m{i}": torch.randn(rows, width) for i in range(modalities)}
    split = ["train"] * rows
    data = ArrayData(inputs, torch.randint(0, 3, (rows,)), split=split, batch_size=batch, val=0.0)
    encoder = {"class_path": "MLPEncoder", "init_args": {"hidden": [width], "out_dim": width}}
    fusion = {"class_path": "ConcatFusion", "init_args": {"hidden": width, "out_dim": width}}

    def task() -> SupervisedTask:
        return SupervisedTask(dict.fromkeys(inputs, encoder), fusion)

    def ours() -> float:
        watch = Stopwatch()
        trainer = Trainer(
            max_epochs=EPOCHS,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            callbacks=[watch],
        )
        trainer.fit(task(), datamodule=data)
        return watch.seconds / ((EPOCHS - 1) * steps)

    model = build_model(data.spec, dict.fromkeys(inputs, encoder), fusion)

    def bare(epoch: Iterable[Batch]) -> float:
        model.train()
        optimizer = adamw(model.parameters())
        start = time.perf_counter()
        for _ in range(EPOCHS - 1):
            for b in epoch:
                optimizer.zero_grad()
                F.cross_entropy(model(b).logits["y"], b.target["y"]).backward()
                optimizer.step()
        return (time.perf_counter() - start) / ((EPOCHS - 1) * steps)

    loaded = list(data.train_dataloader())
    compare(
        f"{title}: {modalities} modalities, width {width}, batch {batch}",
        {
            "mmfuse under Lightning": ours,
            "bare loop, batches already in memory": lambda: bare(loaded),
            "bare loop": lambda: bare(data.train_dataloader()),
        },
        target=target,
    )


if __name__ == "__main__":
    measure("Realistic step", 6, 256, 256, steps=30, target="at most 1.10")
    measure("Tiny step", 2, 16, 32, steps=200, target="at most 1.5")
