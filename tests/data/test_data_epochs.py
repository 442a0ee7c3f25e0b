"""Epochs under Lightning: each has an order of its own, which the seed decides."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from mmfuse.batch import Batch
from mmfuse.data import ArrayData

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.* is deprecated")


class Watch(L.LightningModule):
    """Trains nothing, and remembers which rows each epoch showed."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []

    def on_train_epoch_start(self) -> None:
        self.seen.append([])

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        self.seen[-1] += batch.index.tolist()
        return self.scale

    def validation_step(self, batch: Batch, _: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_each_epoch_of_a_run_has_an_order_of_its_own(tmp_path: Path) -> None:
    task = Watch()
    rows = np.arange(40.0)[:, None]
    data = ArrayData({"a": rows}, split=["train"] * 30 + ["val"] * 10, batch_size=8)
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(task, datamodule=data)
    assert [sorted(order) for order in task.seen] == [list(range(30))] * 3
    assert len({tuple(order) for order in task.seen}) == 3
