"""Training and test of recommenders in two processes beside one, with one thread and with two.

Two processes take the same pairs at each step as one: each has half of its batch, and gradients
are averaged. Negatives are drawn anew for each half, so that scores agree as those of two draws do;
the evaluation itself is that of one process to the digit, which each run checks on its weights. The
same again with a whole batch for each process takes half the steps, of twice the pairs. Every run
is a program of its own; rounds differ by seed, sides of a round do not. Needs MMFUSE_DATA.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

import lightning as L
import torch
from ratio import compare
from recommend_epoch import EPOCHS, Stopwatch, task_of, timed
from recommend_literal import Log, features_of

from mmfuse import ArrayData
from mmfuse.recommend import CatalogueInteractions, RecommendationData
from mmfuse.recommend.ranking import dot, evaluate_ranking

BATCH = 2048
#: Processes, threads of each, and pairs of each process's batch.
SIDES = {
    "two processes": (2, 1, BATCH // 2),
    "two, whole batches": (2, 1, BATCH),
    "one process, two threads": (1, 2, BATCH),
    "one process, one thread": (1, 1, BATCH),
}


def run(name: str, model: str, seed: int, processes: int, threads: int, batch: int) -> None:
    """Trains and tests, and prints seconds and scores in JSON."""
    torch.set_num_threads(threads)
    L.seed_everything(seed, verbose=False)
    features = features_of(name, Log.named(name))
    items = None if model == "lightgcn" else ArrayData(features)
    data = RecommendationData(CatalogueInteractions(name), items, batch_size=batch, seed=seed)
    task, watch = task_of(model, features), Stopwatch()
    strategy = "ddp" if processes > 1 else "auto"
    trainer = timed(watch, accelerator="cpu", devices=processes, strategy=strategy)
    trainer.fit(task, datamodule=data)
    (scores,) = trainer.test(task, datamodule=data, verbose=False)
    if not trainer.is_global_zero:
        return
    vectors, lists = task.model.represent(split="test"), data.interactions.lists
    seen = lists("train", "val")
    alone = evaluate_ranking(vectors.users, vectors.items, dot, lists("test"), seen).means()
    for metric, value in alone.items():
        assert abs(scores[f"test/{metric}"] - value) < 1e-6, metric
    print(json.dumps({"epoch": watch.epoch, "test": watch.test, "scores": alone}))


class Side:
    """Runs of one side, each with the next seed."""

    def __init__(self, name: str, model: str, side: str) -> None:
        self.words = [name, model]
        self.options = SIDES[side]
        self.found: list[dict[str, Any]] = []

    def epoch(self) -> float:
        """Seconds of an epoch of the next run."""
        words = [*self.words, str(len(self.found)), *map(str, self.options)]
        done = subprocess.run(
            [sys.executable, __file__, "--run", *words],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": str(self.options[1])},
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        self.found.append(json.loads(lines[-1]))
        self.told = iter(self.found)
        return self.found[-1]["epoch"]

    def test(self) -> float:
        """Seconds of the test of the runs so far, one after the other."""
        return next(self.told)["test"]


def main() -> None:
    """Prints times, ratios and scores of every model on every set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["tiktok"])
    parser.add_argument("--models", nargs="+", default=["lightgcn", "vbpr"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run(*given.run[:2], *map(int, given.run[2:]))
        return
    for name in given.data:
        for model in given.models:
            sides = {side: Side(name, model, side) for side in SIDES}
            for what, title in (("epoch", "an epoch"), ("test", "a test evaluation")):
                works = {side: getattr(it, what) for side, it in sides.items()}
                ratios = compare(f"{name}, {model}: {title}", works, given.rounds)
                ups = sorted(1 / r for r in ratios)
                print(
                    f"two processes are {statistics.median(ups):.2f} times as fast as one of one "
                    f"thread ({ups[0]:.2f} to {ups[-1]:.2f})\n"
                )
            for side, it in sides.items():
                recall = [run["scores"]["recall_at_20"] for run in it.found]
                print(
                    f"{side}: recall at 20 after {EPOCHS} epochs {statistics.mean(recall):.4f}, of "
                    f"each seed {', '.join(f'{r:.4f}' for r in recall)}"
                )
            print(flush=True)


if __name__ == "__main__":
    main()
