"""An epoch of training and a test evaluation of recommenders, beside the literal version.

The tasks are those of the presets with the literal version's layers and weights. amazon_baby has
no features here: random ones of the published widths, 4,096 and 384, serve for timing. An epoch of
ours is one under the Trainer; its evaluation also measures cold items, coverage and novelty. Needs
MMFUSE_DATA.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
import warnings
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from ratio import compare, seconds
from recommend_literal import LITERAL, Log, evaluate, features_of, train
from torch import Tensor

from mmfuse import ArrayData, Trainer
from mmfuse.recommend import CatalogueInteractions, RecommendationData
from mmfuse.recommend.items import ItemVectors
from mmfuse.recommend.objectives import BootstrapLoss, BPRLoss, EmbeddingL2, ModalityBPR
from mmfuse.recommend.propagation import ItemGraph, LightGCN, SumOf
from mmfuse.tasks import RecommendationTask

EPOCHS, WARM_UP = 3, 1
LINEAR = {"*": {"class_path": "LinearEncoder", "init_args": {"out_dim": 64}}}
#: By how much an epoch is to be faster. Of the last two with features as wide as amazon_baby's.
TARGETS = {"lightgcn": 2, "vbpr": 2, "bm3": 5, "freedom": 5}
WIDE = ("bm3", "freedom")


def task_of(name: str, features: dict[str, Tensor]) -> RecommendationTask:
    """The task of a model, as the literal version has it."""
    if name == "lightgcn":
        return RecommendationTask(backbone=LightGCN(2))
    if name == "vbpr":
        return RecommendationTask(
            ItemVectors(content="concat"),
            encoders=LINEAR,
            fusion={"class_path": "SumFusion", "init_args": {"out_dim": 64, "project": False}},
        )
    if name == "bm3":
        return RecommendationTask(
            backbone=LightGCN(1, residual="item"),
            encoders=LINEAR,
            objectives=[BootstrapLoss(), EmbeddingL2()],
        )
    blend = dict(zip(features, (0.1, 0.9), strict=True))
    return RecommendationTask(
        backbone=SumOf([LightGCN(2, keep=0.2), ItemGraph(10, blend)]),
        encoders=LINEAR,
        objectives=[BPRLoss(), ModalityBPR(1e-3)],
    )


class Stopwatch(L.Callback):
    """Seconds an epoch after the warm-up, and seconds of a test."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts after the warm-up."""
        if trainer.current_epoch == WARM_UP:
            self.start = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops."""
        self.epoch = (time.perf_counter() - self.start) / (EPOCHS - WARM_UP)

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts before vectors are made."""
        self.start = time.perf_counter()

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops after the metrics are logged."""
        self.test = time.perf_counter() - self.start


def timed(watch: Stopwatch, **options: Any) -> L.Trainer:
    """A trainer that does nothing but what the stopwatch times."""
    return Trainer(
        max_epochs=EPOCHS,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[watch],
        **options,
    )


def ours(name: str, data: RecommendationData, features: dict[str, Tensor]) -> dict[str, Callable]:
    """What measures an epoch, and what measures an evaluation."""
    task, watch = task_of(name, features), Stopwatch()

    def epoch() -> float:
        timed(watch).fit(task, datamodule=data)
        return watch.epoch

    def test() -> float:
        timed(watch).test(task, datamodule=data, verbose=False)
        return watch.test

    return {"epoch": epoch, "test": test}


def literal(name: str, log: Log, features: dict[str, Tensor]) -> dict[str, Callable]:
    """The same of the literal version."""
    model = LITERAL[name](log, features)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return {
        "epoch": lambda: seconds(lambda: train(model, log, optimizer)),
        "test": lambda: seconds(lambda: evaluate(model, log)),
    }


def main() -> None:
    """Prints times and ratios of every model on every set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["tiktok", "amazon_baby"])
    parser.add_argument("--models", nargs="+", choices=LITERAL, default=list(LITERAL))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name, threads in itertools.product(options.data, options.threads):
        torch.set_num_threads(threads)
        log = Log.named(name)
        features = features_of(name, log)
        data = RecommendationData(CatalogueInteractions(name), ArrayData(features))
        for model in options.models:
            torch.manual_seed(0)
            random.seed(0)
            plain = RecommendationData(CatalogueInteractions(name))
            sides = {
                "mmfuse": ours(model, plain if model == "lightgcn" else data, features),
                "literal": literal(model, log, features),
            }
            for what in ("epoch", "test"):
                factor = TARGETS[model] if what == "epoch" else 3
                has_target = what == "test" or model not in WIDE or name == "amazon_baby"
                done = "an epoch" if what == "epoch" else "a test evaluation"
                compare(
                    f"{name}, {model}, {threads} thread(s): {done}",
                    {side: measures[what] for side, measures in sides.items()},
                    rounds=options.rounds,
                    target=f"at most {1 / factor:.2f}" if has_target else "",
                )


if __name__ == "__main__":
    main()
