"""ESC-10 without a label: sounds aligned with their titles, then told apart by class names.

Training sees pairs of sound and title (CLIPLoss), never a class. A test sound gets the class
whose name, written in a few templates, lies nearest. Five folds, as in folds.py.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
from folds import FOLDS, decoded, split_of, table
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn import functional as F

from mmfuse import ArrayData, CatalogueData, SupervisedTask, Trainer, load
from mmfuse.media import Sound
from mmfuse.model import FusionModel
from mmfuse.objectives import CLIPLoss

TEMPLATES = ("{}", "{}.wav", "the sound of a {}", "{} recording")
RATE, SECONDS, EPOCHS = 16_000, 5.0, 30
SOUND = {
    "class_path": "LogMelCNNEncoder",
    "init_args": {
        "rate": RATE,
        "mels": 40,
        "window": 0.032,
        "hop": 0.02,
        "hidden": 8,
        "layers": 4,
        "out_dim": 64,
        "dropout": 0.3,
        "max_seconds": SECONDS,
        "frequency_mask": 8,
        "time_mask": 0.3,
    },
}
TITLE = {"class_path": "HashedNgramEncoder", "init_args": {"out_dim": 64, "characters": [3, 5]}}


def titles() -> list[str]:
    """Every clip's title."""
    return CatalogueData(FOLDS[5]).dataset("train").columns["title"].take(np.arange(400))


def aligned(
    sounds: list[Sound], texts: list[str], parts: np.ndarray, seed: int, epochs: int
) -> tuple[FusionModel, ArrayData]:
    """The encoders in one space, after the last epoch."""
    L.seed_everything(seed, verbose=False)
    kept = np.flatnonzero(parts != "")  # a double has left the earlier part
    data = ArrayData(
        {"sound": [sounds[i] for i in kept], "title": [texts[i] for i in kept]},
        split=parts[kept],
        seed=seed,
        batch_size=64,
        eval_batch_size=128,
    )
    task = SupervisedTask(
        {"sound": SOUND, "title": TITLE},
        "MeanFusion",
        objectives=[CLIPLoss()],
        optimizer=partial(torch.optim.AdamW, lr=0.003, weight_decay=0.05),
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
        return load(trainer.checkpoint_callback.last_model_path).eval(), data


def embedded(model: FusionModel, texts: list[str]) -> Tensor:
    """Texts in the shared space, each of unit length."""
    encoder = model.encoders["title"]
    return F.normalize(encoder(encoder.preprocess(texts)), dim=-1)


@torch.no_grad()
def nearest_class(model: FusionModel, data: ArrayData, classes: list[str]) -> np.ndarray:
    """The class of each test sound."""
    names = [c.replace("_", " ") for c in classes]
    space = torch.stack([embedded(model, [t.format(n) for t in TEMPLATES]).mean(0) for n in names])
    sounds = [model.encode(batch)["sound"].pooled() for batch in data.loader("test")]
    found = (F.normalize(torch.cat(sounds), dim=-1) @ F.normalize(space, dim=-1).T).argmax(dim=1)
    return np.array(classes)[found.numpy()]


def main() -> None:
    """Every fold: a line each in zero_shot.csv, and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="of the tables")
    parser.add_argument("--folds", type=int, nargs="+", default=list(FOLDS), choices=FOLDS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    sounds, texts = decoded(RATE, SECONDS), titles()
    lines = []
    for fold in given.folds:
        parts, label = split_of(fold)
        test, classes = parts == "test", sorted(set(label))
        model, data = aligned(sounds, texts, parts, fold, given.epochs)
        ways = {
            "sound, by the nearest class name": nearest_class(model, data, classes),
            "the most frequent class": np.full(test.sum(), classes[0]),
        }
        for name, predicted in ways.items():
            scores = {
                "accuracy": float(np.mean(predicted == label[test])),
                "macro_f1": float(f1_score(label[test], predicted, average="macro")),
            }
            lines.append({"model": name, "fold": fold, "rows": int(test.sum()), **scores})
        print(f"fold {fold}: {lines[-2]['accuracy']:.3f}", flush=True)
    scores = pd.DataFrame(lines)
    given.out.mkdir(parents=True, exist_ok=True)
    scores.to_csv(given.out / "zero_shot.csv", index=False)
    (given.out / "zero_shot.md").write_text(table(scores))
    print(table(scores))


if __name__ == "__main__":
    main()
