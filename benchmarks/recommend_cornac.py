"""BPR and VBPR beside Cornac: seconds of an epoch and of an evaluation, and Recall@20 of both.

Cornac goes into a folder of its own, which PYTHONPATH then names:

    pip install --no-deps --target FOLDER cornac==3.0.1 powerlaw mpmath

Widths, batches and epochs are equal. Cornac's BPR is compiled code that learns from a pair at a
time by SGD, with a rate of its own; ours takes batches with Adam, under the Trainer, so that
Recall@20 after so many epochs compares what an epoch is worth too. Cornac's LightGCN needs dgl,
which is not asked for here. Cornac ranks its test users without its validation pairs masked unless
told of them; it is. Needs MMFUSE_DATA.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
import time
import warnings
from typing import Any

import lightning as L
import pandas as pd
import torch
from recommend_epoch import task_of
from recommend_literal import Log, features_of
from torch import Tensor

from mmfuse import ArrayData, Trainer
from mmfuse.recommend import CatalogueInteractions, RecommendationData
from mmfuse.tasks import RecommendationTask

WIDTH, BATCH, SPLITS = 64, 2048, ("train", "val", "test")
Found = tuple[float, float, float]


class Epochs(L.Callback):
    """Seconds of all epochs, without set-up."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts."""
        self.start = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops."""
        self.took = time.perf_counter() - self.start


def ours(name: str, data: RecommendationData, features: dict[str, Tensor], epochs: int) -> Found:
    """Seconds of an epoch, of an evaluation, and Recall@20."""
    L.seed_everything(0, verbose=False)
    watch = Epochs()
    trainer = Trainer(
        max_epochs=epochs,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[watch],
    )
    task = RecommendationTask() if name == "bpr" else task_of(name, features)
    trainer.fit(task, datamodule=data)
    start = time.perf_counter()
    (scores,) = trainer.test(task, datamodule=data, verbose=False)
    return watch.took / epochs, time.perf_counter() - start, scores["test/recall_at_20"]


def theirs(name: str, data: RecommendationData, features: dict[str, Tensor], epochs: int) -> Found:
    """The same of Cornac, on the same split."""
    from cornac.data import ImageModality
    from cornac.eval_methods import BaseMethod
    from cornac.eval_methods.base_method import ranking_eval
    from cornac.metrics import Recall
    from cornac.models import BPR, VBPR

    made: list[list[tuple[int, int, float]]] = []
    for split in SPLITS:
        users, items = (x.tolist() for x in data.interactions.pairs(split))
        made.append([(u, i, 1.0) for u, i in zip(users, items, strict=True)])
    train, val, test = made
    joined = torch.cat(list(features.values()), dim=1).numpy()
    image = ImageModality(features=joined, ids=list(range(len(joined))), normalized=False)
    options: dict[str, Any] = {} if name == "bpr" else {"item_image": image}
    method = BaseMethod.from_splits(train, test, val, seed=0, exclude_unknowns=True, **options)
    model = (
        BPR(WIDTH, max_iter=epochs, learning_rate=0.05, lambda_reg=0.001, num_threads=0, seed=0)
        if name == "bpr"
        else VBPR(
            k=WIDTH,
            k2=WIDTH,
            n_epochs=epochs,
            batch_size=BATCH,
            learning_rate=1e-3,
            lambda_w=1e-4,
            lambda_b=1e-4,
            lambda_e=0.0,
            verbose=False,
            seed=0,
        )
    )
    start = time.perf_counter()
    model.fit(method.train_set)
    took = (time.perf_counter() - start) / epochs
    start = time.perf_counter()
    (recall,), _ = ranking_eval(
        model, [Recall(k=20)], method.train_set, method.test_set, method.val_set
    )
    return took, time.perf_counter() - start, recall


def main() -> None:
    """Prints both sides of every model on every set."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--data", nargs="+", default=["tiktok", "amazon_baby"])
    parser.add_argument("--models", nargs="+", default=["bpr", "vbpr"], choices=["bpr", "vbpr"])
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    if importlib.util.find_spec("cornac") is None:
        command = "pip install --no-deps --target FOLDER cornac==3.0.1 powerlaw mpmath"
        sys.exit(f"Cornac is not installed. Run {command}, and add FOLDER to PYTHONPATH.")
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    lines = []
    for name in options.data:
        features = features_of(name, Log.named(name))
        for model in options.models:
            items = None if model == "bpr" else ArrayData(features)
            data = RecommendationData(CatalogueInteractions(name), items, batch_size=BATCH)
            data.setup("fit")
            for side, run in (("mmfuse", ours), ("Cornac", theirs)):
                found = run(model, data, features, options.epochs)
                lines.append([name, model, side, *found])
                print(
                    "{}, {}, {}: an epoch {:.3f} s, an evaluation {:.2f} s, Recall@20 "
                    "{:.4f}".format(*lines[-1]),
                    flush=True,
                )
    table = pd.DataFrame(lines, columns=["data", "model", "side", "epoch", "test", "recall"])
    wide = table.pivot(index=["data", "model"], columns="side")
    for what in ("epoch", "test"):
        ratio = wide[what]["mmfuse"] / wide[what]["Cornac"]
        print(f"\nmmfuse / Cornac, {what}:\n{ratio.round(2).to_string()}")


if __name__ == "__main__":
    main()
