"""BPR and VBPR beside Cornac: seconds of an epoch and of an evaluation, and Recall@20 of both.

Cornac goes into a folder of its own, which PYTHONPATH then names:

    pip install --no-deps --target FOLDER cornac==3.0.1 powerlaw mpmath

Each side trains anew for every number of epochs that is asked for, and what it is at its best in
validation, by Recall@20, is what is printed of the test; seconds of an epoch are those of that
training. Equal on both sides: splits, width, users and items that are ranked (those without
training too), standardised features, and what is masked: training pairs in validation, those of
validation too in test. VBPR has equal batches, Adam and learning rate, but Cornac's has biases of
items and features as well. BPR is without biases on both sides; Cornac's is compiled code that
learns from a pair at a time by SGD with a rate of its own, ours takes batches with Adam. Ours runs
under the Trainer, and its evaluation measures cold items, coverage and novelty besides. Cornac's
LightGCN needs dgl, which is not asked for here. Needs MMFUSE_DATA.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
import time
import warnings
from dataclasses import asdict, dataclass
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
#: Numbers of epochs that are tried: an epoch of VBPR takes Cornac a hundred times as long.
EPOCHS = {"bpr": [50, 100, 200, 400], "vbpr": [10, 40]}


@dataclass(frozen=True)
class Trained:
    """A side after some epochs.

    Args:
        epochs: how many.
        epoch: seconds of one.
        test: seconds of a test evaluation.
        val_recall: Recall@20 in validation.
        test_recall: Recall@20 in test.
    """

    epochs: int
    epoch: float
    test: float
    val_recall: float
    test_recall: float


class Epochs(L.Callback):
    """Seconds of all epochs, without set-up."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts."""
        self.start = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops."""
        self.took = time.perf_counter() - self.start


def ours(name: str, data: RecommendationData, features: dict[str, Tensor], epochs: int) -> Trained:
    """What ours is after so many epochs."""
    L.seed_everything(0, verbose=False)
    watch = Epochs()
    quiet: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    task = RecommendationTask() if name == "bpr" else task_of(name, features)
    trainer = Trainer(max_epochs=epochs, limit_val_batches=0, callbacks=[watch], **quiet)
    trainer.fit(task, datamodule=data)
    (val,) = Trainer(**quiet).validate(task, datamodule=data, verbose=False)
    start = time.perf_counter()
    (test,) = trainer.test(task, datamodule=data, verbose=False)
    took = time.perf_counter() - start
    recalls = val["val/recall_at_20"], test["test/recall_at_20"]
    return Trained(epochs, watch.took / epochs, took, *recalls)


def theirs(
    name: str, data: RecommendationData, features: dict[str, Tensor], epochs: int
) -> Trained:
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
    joined = torch.cat(list(features.values()), dim=1)
    standard = ((joined - joined.mean(dim=0)) / joined.std(dim=0).clamp(min=1e-6)).numpy()
    image = ImageModality(features=standard, ids=list(range(len(standard))), normalized=False)
    options: dict[str, Any] = {} if name == "bpr" else {"item_image": image}
    method = BaseMethod.from_splits(train, test, val, seed=0, exclude_unknowns=False, **options)
    model = (
        BPR(
            k=WIDTH,
            max_iter=epochs,
            learning_rate=0.05,
            lambda_reg=0.001,
            use_bias=False,
            num_threads=1,
            seed=0,
        )
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
    epoch = (time.perf_counter() - start) / epochs

    def recall(*splits: object) -> float:
        (found,), _ = ranking_eval(model, [Recall(k=20)], *splits, exclude_unknowns=False)
        return float(found)

    val_recall = recall(method.train_set, method.val_set)
    start = time.perf_counter()
    test_recall = recall(method.train_set, method.test_set, method.val_set)
    return Trained(epochs, epoch, time.perf_counter() - start, val_recall, test_recall)


def main() -> None:
    """Prints both sides of every model on every set."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--data", nargs="+", default=["tiktok"])
    parser.add_argument("--models", nargs="+", default=list(EPOCHS), choices=EPOCHS)
    parser.add_argument("--epochs", type=int, nargs="+", help="numbers that are tried")
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
                counts = options.epochs or EPOCHS[model]
                tried = [run(model, data, features, n) for n in counts]
                best = max(tried, key=lambda t: t.val_recall)
                lines.append({"data": name, "model": model, "side": side, **asdict(best)})
                print(
                    f"{name}, {model}, {side}: an epoch {best.epoch:.3f} s, an evaluation "
                    f"{best.test:.2f} s; best in validation after {best.epochs} of "
                    f"{counts} epochs, Recall@20 {best.val_recall:.4f}, in test "
                    f"{best.test_recall:.4f}",
                    flush=True,
                )
    table = pd.DataFrame(lines)
    wide = table.pivot(index=["data", "model"], columns="side")
    for what in ("epoch", "test"):
        ratio = wide[what]["mmfuse"] / wide[what]["Cornac"]
        print(f"\nmmfuse / Cornac, {what}:\n{ratio.round(2).to_string()}")


if __name__ == "__main__":
    main()
