"""ESC-10 over its five folds: the network of config.yaml beside classical models on MFCC.

Sounds alone; titles often name the class. Each fold tests once, so the five runs have the folds
where other studies have seeds. Sounds are decoded and resampled once and kept in memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
import yaml
from lightning.pytorch.cli import instantiate_class
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torchaudio.functional import compute_deltas
from torchaudio.transforms import MFCC

from mmfuse import ArrayData, CatalogueData, SupervisedTask, Trainer, load
from mmfuse.compare.table import interval
from mmfuse.media import Sound
from mmfuse_encoders.waveform import Waveforms

RECIPE = Path(__file__).parent / "config.yaml"
FOLDS = {1: "esc10_fold1", 2: "esc10_fold2", 3: "esc10_fold3", 4: "esc10_fold4", 5: "esc10"}
NETWORK = "log-mel CNN"


def classical(seed: int) -> dict[str, Any]:
    """The models that stand beside the network, with scikit-learn's defaults but for C."""
    return {
        "SVM on MFCC (scikit-learn)": make_pipeline(StandardScaler(), SVC(C=10)),
        "random forest on MFCC (scikit-learn)": RandomForestClassifier(500, random_state=seed),
    }


def mfcc(sound: Sound) -> np.ndarray:
    """Mean and deviation over time of 20 coefficients and of their first differences."""
    settings = {"n_fft": 512, "hop_length": 256, "n_mels": 40}
    found = MFCC(sound.rate, n_mfcc=20, melkwargs=settings)(torch.from_numpy(sound.samples[0]))
    steps = torch.cat([found, compute_deltas(found)])
    return torch.cat([steps.mean(dim=1), steps.std(dim=1)]).numpy()


def decoded(rate: int, max_seconds: float) -> list[Sound]:
    """Every clip, at the network's rate."""
    column = CatalogueData(FOLDS[5]).dataset("train").columns["sound"]
    waveforms = Waveforms(rate, max_seconds)
    return [
        Sound(waveforms([column.read(i)]).values.numpy(), rate) for i in range(len(column.present))
    ]


def split_of(fold: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row its part and its class, as the catalogue has them for this fold."""
    data = CatalogueData(FOLDS[fold])
    target = data.dataset("train").targets["class"]
    parts = np.full(len(target), "", dtype=object)
    for split in ("train", "val", "test"):
        parts[data.rows(split).numpy()] = split
    return parts, np.array(data.spec.targets["class"].classes)[target.numpy()]


def network(
    recipe: dict[str, Any], sounds: list[Sound], parts: np.ndarray, label: np.ndarray, seed: int
) -> np.ndarray:
    """The network's classes for the test rows; validation rows chose the epoch."""
    L.seed_everything(seed, verbose=False)
    model, given = recipe["model"], recipe["data"]["init_args"]
    kept = np.flatnonzero(parts != "")  # a double has left the earlier part
    data = ArrayData(
        {"sound": [sounds[i] for i in kept]},
        label[kept],
        split=parts[kept],
        seed=seed,
        batch_size=given["batch_size"],
        eval_batch_size=given["eval_batch_size"],
    )
    task = SupervisedTask(
        {"sound": model["encoders"]["sound"]},
        model["fusion"],
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
        best = load(trainer.checkpoint_callback.best_model_path).eval()
    with torch.no_grad():
        found = torch.cat([best(batch).logits["y"] for batch in data.loader("test")]).argmax(dim=1)
    return np.array(data.spec.targets["y"].classes)[found.numpy()]


def main() -> None:
    """Every model on every fold: a line each in folds.csv, and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="of the tables")
    parser.add_argument("--folds", type=int, nargs="+", default=list(FOLDS), choices=FOLDS)
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    given = parser.parse_args()
    recipe = yaml.safe_load(RECIPE.read_text())
    if given.epochs:
        recipe["trainer"]["max_epochs"] = given.epochs
    options = recipe["model"]["encoders"]["sound"]["init_args"]
    sounds = decoded(options["rate"], options["max_seconds"])
    features = np.stack([mfcc(sound) for sound in sounds])
    lines = []
    for fold in given.folds:
        parts, label = split_of(fold)
        test, rest = parts == "test", np.isin(parts, ["train", "val"])
        found = {
            name: model.fit(features[rest], label[rest]).predict(features[test])
            for name, model in classical(fold).items()
        }
        started = time.perf_counter()
        found = {NETWORK: network(recipe, sounds, parts, label, fold), **found}
        seconds = time.perf_counter() - started
        for name, predicted in found.items():
            scores = {
                "accuracy": accuracy_score(label[test], predicted),
                "macro_f1": f1_score(label[test], predicted, average="macro"),
            }
            lines.append({"model": name, "fold": fold, "rows": int(test.sum()), **scores})
        print(
            f"fold {fold}: {lines[-len(found)]['accuracy']:.3f} after {seconds:.0f} s", flush=True
        )
    scores = pd.DataFrame(lines)
    given.out.mkdir(parents=True, exist_ok=True)
    scores.to_csv(given.out / "folds.csv", index=False)
    told = table(scores)
    (given.out / "table.md").write_text(told)
    print(told)


def table(scores: pd.DataFrame) -> str:
    """Mean and interval over the folds."""
    lines = ["| model | accuracy | macro_f1 | each fold's accuracy |", "|---|---|---|---|"]
    for name, own in scores.groupby("model", sort=False):
        cells = [
            "{:.3f} ± {:.3f}".format(*interval(own[m].to_numpy())) for m in ("accuracy", "macro_f1")
        ]
        each = " ".join(f"{value:.3f}" for value in own["accuracy"])
        lines.append(f"| {name} | {cells[0]} | {cells[1]} | {each} |")
    count = scores["fold"].nunique()
    note = f"Mean ± half-width of the 95 % Student interval over {count} folds."
    return "\n".join([*lines, "", note, ""])


if __name__ == "__main__":
    main()
