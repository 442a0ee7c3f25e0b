"""Wikipedia: which contrastive loss makes pictures and texts find their category.

Settings are drawn at random, the same draws for every loss, and chosen by the mean average
precision on validation rows of the training rows. The chosen ones train on all training rows,
over five seeds, and the test rows are read once. A run that was killed goes on where it stopped.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import torch
from baselines import BASELINES, baseline

from mmfuse import AlignmentTask, CatalogueData, Trainer
from mmfuse.compare.table import interval
from mmfuse.objectives import (
    CLIPLoss,
    CyCLIPLoss,
    M3CoLoss,
    MultiSClipLoss,
    Objective,
    SigLIPLoss,
    SupConLoss,
)

DRAWS, SPLITS, SEEDS = 9, (0, 1), range(5)
SPACE = {
    "width": [32, 64, 128],
    "hidden": [128, 256, 512],
    "dropout": [0.2, 0.5],
    "learning_rate": [1e-3, 3e-3],
    "weight_decay": [1e-2, 1e-1],
    "batch_size": [128, 512],
    "epochs": [10, 20, 40],
    "temperature": [0.07, 0.15, 0.3],
}
Settings = dict[str, float]


def losses(name: str, temperature: float) -> list[Objective]:
    """A method's objectives."""
    if name == "CLIP":
        return [CLIPLoss(temperature=temperature)]
    if name == "SigLIP":
        return [SigLIPLoss(temperature=temperature)]
    if name == "CyCLIP":
        return [CyCLIPLoss(temperature=temperature)]
    if name == "M3CoL's two phases":
        return [
            M3CoLoss(1.0, (0.0, 0.33), pairs="all", temperature=temperature),
            MultiSClipLoss(1.0, (0.33, 1.0), pairs="all", temperature=temperature),
        ]
    if name == "SupCon (labels)":
        return [SupConLoss(temperature=temperature)]
    return [CLIPLoss(0.5, temperature=temperature), SupConLoss(temperature=temperature)]


METHODS = (
    "CLIP",
    "SigLIP",
    "CyCLIP",
    "M3CoL's two phases",
    "SupCon (labels)",
    "CLIP + SupCon (labels)",
)


def draws() -> list[Settings]:
    """The settings that every method tries."""
    source = np.random.default_rng(0)
    return [{k: source.choice(v).item() for k, v in SPACE.items()} for _ in range(DRAWS)]


def trained(name: str, given: Settings, data: CatalogueData, seed: int) -> dict[str, float]:
    """Scores of the validation rows, or of the test rows where there are none."""
    L.seed_everything(seed, verbose=False)
    encoder = {
        "class_path": "MLPEncoder",
        "init_args": {
            "hidden": [int(given["hidden"])],
            "dropout": given["dropout"],
            "out_dim": int(given["width"]),
        },
    }
    epochs = int(given["epochs"])
    task = AlignmentTask(
        {"image": encoder, "text": encoder},
        losses(name, given["temperature"]),
        optimizer=functools.partial(
            torch.optim.AdamW, lr=given["learning_rate"], weight_decay=given["weight_decay"]
        ),
        scheduler=functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=epochs),
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_epochs=epochs,
            default_root_dir=folder,
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            limit_val_batches=0,  # asked for once, below
            num_sanity_val_steps=0,
        )
        trainer.fit(task, datamodule=data)
        split = "val" if len(data.rows("val")) else "test"
        judge = Trainer(logger=False, enable_progress_bar=False, default_root_dir=folder)
        run = judge.validate if split == "val" else judge.test
        found = run(task, datamodule=data, verbose=False)[0]
    names = {
        "image_to_text": f"{split}/image_to_text/map",
        "text_to_image": f"{split}/text_to_image/map",
        "own_text_in_10": f"{split}/image_to_text/r_at_10",
    }
    return {name: float(found[key]) for name, key in names.items()}


@functools.cache
def rows(val: float, seed: int, batch_size: int = 512) -> CatalogueData:
    """The data, with validation rows drawn by ``seed``."""
    return CatalogueData("wikipedia", val=val, seed=seed, batch_size=batch_size)


def appended(path: Path, line: dict[str, object]) -> None:
    """Writes one more line of a table."""
    pd.DataFrame([line]).to_csv(path, mode="a", index=False, header=not path.exists())


def done(path: Path, **keys: object) -> bool:
    """Whether a table has a line."""
    if not path.exists():
        return False
    table = pd.read_csv(path)
    return bool(np.logical_and.reduce([table[k] == v for k, v in keys.items()]).any())


def search(path: Path) -> None:
    """Every method with every draw, on two draws of validation rows."""
    for k, given in enumerate(draws()):
        for split in SPLITS:
            for name in METHODS:
                if done(path, method=name, draw=k, split=split):
                    continue
                data = rows(0.2, split, int(given["batch_size"]))
                found = trained(name, given, data, seed=split)
                appended(path, {"method": name, "draw": k, "split": split, **found})


def chosen(path: Path) -> dict[str, int]:
    """For each method the draw that validated best."""
    table = pd.read_csv(path)
    table["mean"] = (table["image_to_text"] + table["text_to_image"]) / 2
    mean = table.groupby(["method", "draw"])["mean"].mean().unstack()
    return {name: int(mean.loc[name].idxmax()) for name in METHODS}


def final(path: Path, of: dict[str, int]) -> None:
    """The chosen settings on all training rows, and the test rows."""
    every = draws()
    for name, k in of.items():
        for seed in SEEDS:
            if not done(path, method=name, seed=seed):
                data = rows(0.0, seed, int(every[k]["batch_size"]))
                found = trained(name, every[k], data, seed)
                appended(path, {"method": name, "seed": seed, "draw": k, **found})
    for name in BASELINES:
        if not done(path, method=name, seed=0):
            found = baseline(name, [rows(0.2, s) for s in SPLITS], rows(0.0, 0))
            appended(path, {"method": name, "seed": 0, "draw": -1, **found})


def table(path: Path) -> str:
    """Mean and half-width of the 95 % interval over seeds, in Markdown."""
    scores = pd.read_csv(path)
    scores["mean"] = (scores["image_to_text"] + scores["text_to_image"]) / 2
    lines = ["| method | image → text | text → image | mean |", "|---|---|---|---|"]
    for name, of in scores.groupby("method", sort=False):
        cells = []
        for column in ("image_to_text", "text_to_image", "mean"):
            mean, half = interval(of[column].to_numpy())
            cells.append(f"{mean:.3f}" if np.isnan(half) else f"{mean:.3f} ± {half:.3f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Search, then the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="of the tables")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    search(given.out / "search.csv")
    of = chosen(given.out / "search.csv")
    settings = {name: draws()[k] for name, k in of.items()}
    (given.out / "chosen.json").write_text(json.dumps(settings, indent=2) + "\n")
    final(given.out / "test.csv", of)
    (given.out / "table.md").write_text(table(given.out / "test.csv"))
    print(table(given.out / "test.csv"))


if __name__ == "__main__":
    main()
