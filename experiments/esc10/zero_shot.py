"""ESC-10 without a label: sounds aligned with their titles, then told apart by class names.

Training sees pairs of sound and title (CLIPLoss), never a class. A test sound gets the class
whose name, written in a few templates, lies nearest. Five folds, as in folds.py.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
import yaml
from folds import FOLDS, RECIPE, decoded, split_of, table
from lightning.pytorch.cli import instantiate_class
from torch import Tensor
from torch.nn import functional as F

from mmfuse import ArrayData, CatalogueData, SupervisedTask, Trainer, load
from mmfuse.model import FusionModel
from mmfuse.objectives import CLIPLoss

TEMPLATES = ("{}", "{}.wav", "the sound of a {}", "{} recording")
TITLE = {"class_path": "HashedNgramEncoder", "init_args": {"out_dim": 64, "characters": [3, 5]}}


def titles() -> list[str]:
    """Every clip's title."""
    return CatalogueData(FOLDS[5]).dataset("train").columns["title"].take(np.arange(400))


def aligned(
    recipe: dict[str, Any], sounds: list[Any], texts: list[str], parts: np.ndarray, seed: int
) -> tuple[FusionModel, ArrayData]:
    """The encoders in one space; validation pairs chose the epoch."""
    L.seed_everything(seed, verbose=False)
    model, kept = recipe["model"], np.flatnonzero(parts != "")
    data = ArrayData(
        {"sound": [sounds[i] for i in kept], "title": [texts[i] for i in kept]},
        split=parts[kept],
        seed=seed,
        batch_size=64,
        eval_batch_size=128,
    )
    task = SupervisedTask(
        {"sound": model["encoders"]["sound"], "title": TITLE},
        model["fusion"],
        objectives=[CLIPLoss()],
        optimizer=lambda parameters: instantiate_class((parameters,), model["optimizer"]),
        scheduler=lambda optimizer: instantiate_class((optimizer,), model["scheduler"]),
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=recipe["trainer"]["max_epochs"],
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
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    given = parser.parse_args()
    recipe = yaml.safe_load(RECIPE.read_text())
    if given.epochs:
        recipe["trainer"]["max_epochs"] = given.epochs
    options = recipe["model"]["encoders"]["sound"]["init_args"]
    sounds, texts = decoded(options["rate"], options["max_seconds"]), titles()
    lines = []
    for fold in given.folds:
        parts, label = split_of(fold)
        test, classes = parts == "test", sorted(set(label))
        model, data = aligned(recipe, sounds, texts, parts, fold)
        ways = {
            "sound, by the nearest class name": nearest_class(model, data, classes),
            "the most frequent class": np.full(test.sum(), classes[0]),
        }
        for name, predicted in ways.items():
            scores = {
                "accuracy": float(np.mean(predicted == label[test])),
                "macro_f1": float(macro_f1(label[test], predicted)),
            }
            lines.append({"model": name, "fold": fold, "rows": int(test.sum()), **scores})
        print(f"fold {fold}: {lines[-2]['accuracy']:.3f}", flush=True)
    scores = pd.DataFrame(lines)
    given.out.mkdir(parents=True, exist_ok=True)
    scores.to_csv(given.out / "zero_shot.csv", index=False)
    (given.out / "zero_shot.md").write_text(table(scores))
    print(table(scores))


def macro_f1(label: np.ndarray, predicted: np.ndarray) -> float:
    """scikit-learn's, without a warning for a class that nobody predicted."""
    from sklearn.metrics import f1_score

    return float(f1_score(label, predicted, average="macro", zero_division=0))


if __name__ == "__main__":
    main()
