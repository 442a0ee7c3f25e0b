"""The four small specialist spaces: their encoders, their training, and their features."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from items import Rows
from torch import nn

from mmfuse import ArrayData, Extractor, ModalitySpec, SupervisedTask, Trainer, load
from mmfuse.files import replacing
from mmfuse.objectives import CLIPLoss
from mmfuse_encoders import ImageCNNEncoder, LogMelCNNEncoder

STEP = 0.004
TEXT: dict[str, Any] = {
    "class_path": "HashedNgramEncoder",
    "init_args": {"words": 1, "characters": [3, 5], "dropout": 0.2},
}


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
        batch: pairs a batch.
    """

    modality: str
    encoder: dict[str, Any]
    width: int
    epochs: int
    batch: int


def _sound(**options: Any) -> dict[str, Any]:
    fixed = {"window": 0.032, "hop": 0.02, "hidden": 8, "frequency_mask": 6, "time_mask": 0.2}
    return {"class_path": "CentredLogMelCNNEncoder", "init_args": fixed | options}


def _image(**options: Any) -> dict[str, Any]:
    return {"class_path": "CentredImageCNNEncoder", "init_args": options}


SPACES = {
    "written": Space("image", _image(size=28, hidden=8, layers=5), 32, 16, 64),
    "spoken": Space("sound", _sound(rate=8000, mels=32, layers=3, max_seconds=1.0), 32, 20, 64),
    "natural": Space("sound", _sound(rate=16_000, mels=40, layers=4, max_seconds=5.0), 64, 25, 32),
    "emoji": Space("image", _image(size=24, hidden=16, layers=4), 64, 25, 64),
}


def train(space: str, rows: Rows, seed: int, file: Path, passes: float = 1.0) -> None:
    """Trains one space on its pairs of items and captions; the last epoch's weights go to a file.

    Args:
        space: its name.
        rows: of the seed.
        seed: of weights and batches.
        file: the checkpoint.
        passes: factor of the number of epochs.
    """
    how, (items, captions) = SPACES[space], rows.trained[space]
    L.seed_everything(seed, verbose=False)
    epochs = max(1, round(how.epochs * passes))
    data = ArrayData(
        {how.modality: items.rows, "text": captions},
        val=0.0,
        test=0.0,
        seed=seed,
        batch_size=how.batch,
    )
    width = {"out_dim": how.width}
    encoder = how.encoder | {"init_args": how.encoder["init_args"] | width}
    task = SupervisedTask(
        {how.modality: encoder, "text": {**TEXT, "init_args": TEXT["init_args"] | width}},
        "MeanFusion",
        objectives=[CLIPLoss()],
        optimizer=partial(torch.optim.AdamW, lr=STEP, weight_decay=0.05, fused=True),
        scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs),
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=epochs,
            default_root_dir=folder,
            logger=False,
            enable_progress_bar=False,
        )
        trainer.fit(task, datamodule=data)
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part:
            shutil.copyfile(trainer.checkpoint_callback.last_model_path, part)


def extract(space: str, rows: Rows, file: Path, folder: Path) -> None:
    """What a trained space says of every corpus of its modalities: a folder of features for each.

    A tenth of the pooled rows is held out, as the validation split.
    """
    model = load(file)
    for corpus, pooled in rows.pooled.items():
        modality, test = pooled.modality, rows.test[corpus]
        if modality not in ("text", SPACES[space].modality):
            continue
        split = np.full(len(pooled), "train", dtype=object)
        split[9::10] = "val"
        data = ArrayData(
            {modality: [*pooled.rows, *test.rows]},
            split=[*split, *["test"] * len(test)],
            on_duplicates="allow",
        )
        extractor = Extractor(model.only([modality]))
        extractor.extract(data, folder / corpus / space, what=[modality])
