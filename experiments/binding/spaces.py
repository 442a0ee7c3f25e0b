"""The four small specialist spaces: their encoders, their training, and their features."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from items import Items
from torch import nn

from mmfuse import ArrayData, ModalitySpec, SupervisedTask, Trainer
from mmfuse.objectives import CLIPLoss
from mmfuse_encoders import ImageCNNEncoder, LogMelCNNEncoder


class CentredImageCNNEncoder(ImageCNNEncoder):
    """ImageCNNEncoder whose output has mean zero and variance one over the training batches.

    Maps that GroupNorm has passed differ little from picture to picture once they are averaged.
    Their common part keeps all cosines near one, and InfoNCE stays at its plateau, the logarithm
    of the batch size, for as long as these spaces are trained.
    """

    default_for = frozenset()

    def __init__(self, spec: ModalitySpec, **options: Any) -> None:
        super().__init__(spec, **options)
        self.readout.append(nn.BatchNorm1d(self.out_dim, affine=False))


class CentredLogMelCNNEncoder(LogMelCNNEncoder):
    """LogMelCNNEncoder with the same addition."""

    default_for = frozenset()

    def __init__(self, spec: ModalitySpec, **options: Any) -> None:
        super().__init__(spec, **options)
        self.readout.append(nn.BatchNorm1d(self.out_dim, affine=False))


@dataclass(frozen=True)
class Space:
    """How one space is trained.

    Args:
        modality: what it embeds beside text.
        encoder: of that modality.
        width: of the space.
        epochs: passes over its pairs.
        step: largest learning rate.
        batch: pairs a batch.
    """

    modality: str
    encoder: dict[str, Any]
    width: int
    epochs: int
    step: float
    batch: int


def _sound(**options: Any) -> dict[str, Any]:
    fixed = {"window": 0.032, "hop": 0.02, "hidden": 8, "frequency_mask": 6, "time_mask": 0.2}
    return {"class_path": "CentredLogMelCNNEncoder", "init_args": fixed | options}


def _image(**options: Any) -> dict[str, Any]:
    return {"class_path": "CentredImageCNNEncoder", "init_args": options}


SPACES = {
    "written": Space("image", _image(size=28, hidden=8, layers=4), 32, 8, 0.003, 64),
    "spoken": Space(
        "sound", _sound(rate=8000, mels=32, layers=3, max_seconds=1.0), 32, 12, 0.003, 64
    ),
    "natural": Space(
        "sound", _sound(rate=16_000, mels=40, layers=4, max_seconds=5.0), 64, 30, 0.003, 32
    ),
    "emoji": Space("image", _image(size=36, hidden=16, layers=4), 64, 20, 0.003, 64),
}


def train(space: str, items: Items, captions: list[str], seed: int, file: Path, epochs: float) -> None:
    """Trains one space on its pairs of items and captions, after the last epoch to ``file``."""
    how = SPACES[space]
    L.seed_everything(seed, verbose=False)
    passes = max(1, round(how.epochs * epochs))
    data = ArrayData(
        {how.modality: items.rows, "text": captions},
        split=["train"] * len(captions),
        seed=seed,
        batch_size=how.batch,
    )
    text = {"out_dim": how.width, "characters": [3, 5], "words": 1, "dropout": 0.2}
    encoder = how.encoder | {"init_args": how.encoder["init_args"] | {"out_dim": how.width}}
    task = SupervisedTask(
        {
            how.modality: encoder,
            "text": {"class_path": "HashedNgramEncoder", "init_args": text},
        },
        "MeanFusion",
        objectives=[CLIPLoss()],
        optimizer=partial(torch.optim.AdamW, lr=how.step, weight_decay=0.05, fused=True),
        scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=passes),
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=passes,
            default_root_dir=folder,
            logger=False,
            enable_progress_bar=False,
        )
        trainer.fit(task, datamodule=data)
        file.parent.mkdir(parents=True, exist_ok=True)
        Path(trainer.checkpoint_callback.last_model_path).replace(file)
