"""The data under Lightning's Trainer and with extracted features."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from mmfuse.data import ArrayData, FeatureData
from mmfuse.features import Extractor
from mmfuse.recommend import InteractionArrays, RankingBatch, RecommendationData
from mmfuse_encoders import MLPEncoder

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.* is deprecated")


class Watch(L.LightningModule):
    """Trains nothing, and remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[int, list[int]]] = []
        self.blocks: list[int] = []

    def training_step(self, batch: RankingBatch, _: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, batch.negatives.flatten().tolist()))
        return self.scale

    def validation_step(self, users: torch.Tensor, _: int) -> None:
        self.blocks.append(len(users))

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def make(**options: object) -> RecommendationData:
    rng = np.random.default_rng(0)
    source = InteractionArrays(rng.integers(0, 20, 200), rng.integers(0, 40, 200))
    return RecommendationData(source, **{"batch_size": 32, "eval_batch_size": 8, **options})


def trainer(folder: Path, **options: object) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **options,
    )


def test_a_run_sees_the_batches_of_each_epoch(tmp_path: Path) -> None:
    task = Watch()
    runs = trainer(tmp_path, max_epochs=2, enable_checkpointing=False)
    runs.fit(task, datamodule=make())
    loader = make().train_dataloader()
    expected = []
    for epoch in range(2):
        loader.order.set_epoch(epoch)
        expected += [(epoch, b.negatives.flatten().tolist()) for b in loader]
    assert task.seen == expected
    assert task.blocks == [8, 8, 4] * 2
    runs.test(task, datamodule=make())
    assert task.blocks[6:] == [8, 8, 4]


class SaveAt(L.Callback):
    """Keeps a checkpoint after the second step of the second epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        if (trainer.current_epoch, trainer.fit_loop.batch_idx) == (1, 1):
            trainer.save_checkpoint(self.path)


def test_a_run_that_stopped_goes_on_in_mid_epoch(tmp_path: Path) -> None:
    whole, resumed = Watch(), Watch()
    options = {"max_epochs": 3, "enable_checkpointing": False}
    saving = trainer(tmp_path, callbacks=[SaveAt(tmp_path / "half.ckpt")], **options)
    saving.fit(whole, datamodule=make())
    trainer(tmp_path, **options).fit(
        resumed, datamodule=make(), ckpt_path=tmp_path / "half.ckpt", weights_only=True
    )
    assert resumed.seen == whole.seen[len(whole.seen) // 3 + 2 :]


@pytest.mark.parametrize("kind", ["parquet", "safetensors"])
def test_items_may_be_features_that_were_extracted(tmp_path: Path, kind: str) -> None:
    titles = np.arange(12.0).reshape(6, 2)
    titles[4] = np.nan
    raw = ArrayData({"title": titles}, val=0.2, test=0.2)
    Extractor({"title": MLPEncoder(2, out_dim=3)}).extract(
        raw, tmp_path / "features", ["title"], format=kind
    )
    items = FeatureData(str(tmp_path / "features"), ["title"])
    source = InteractionArrays([0, 0, 1, 1, 2], [0, 1, 2, 4, 3])
    for item_id in (None, "row"):
        data = RecommendationData(source, items, item_id)
        assert data.interactions.item_count == 6
        assert data.catalogue.present[:, 0].tolist() == [True] * 4 + [False, True]
        assert data.catalogue.features()["title"].shape == (6, 3)
