"""Training of LightGCN and VBPR as interactions, users and items grow tenfold, twice.

Ten interactions a user, ten users an item, items with 64 numbers each. A step along a graph costs
what the whole graph costs, and a step of Adam what the tables cost, whatever the batch; the batch
therefore grows along (49 steps an epoch), and an epoch should cost the same for each interaction.
Steps are timed, and the epoch is as many as it has. Each size runs in a process of its own, whose
most memory is told: after the data is ready, and at the end.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
import warnings

import lightning as L
import torch
from recommend_epoch import task_of

from mmfuse import ArrayData, Trainer
from mmfuse.recommend import InteractionArrays, RecommendationData

SIZES = (100_000, 1_000_000, 10_000_000)
EACH, WIDTH, SHARE, WARM_UP = 10, 64, 2048 / 100_000, 1


class Steps(L.Callback):
    """Wall-clock and CPU seconds of a step, after the first ones."""

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        """Starts after the warm-up."""
        if trainer.global_step == WARM_UP:
            self.start = time.perf_counter(), time.process_time()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops."""
        count = trainer.global_step - WARM_UP
        now = time.perf_counter(), time.process_time()
        self.wall, self.cpu = ((b - a) / count for a, b in zip(self.start, now, strict=True))


def peak() -> float:
    """The most memory that this process has held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def one(name: str, count: int, steps: int) -> None:
    """One model at one size, in this process."""
    users, items = count // EACH, count // EACH**2
    draw = torch.Generator().manual_seed(0)
    user = torch.arange(users).repeat_interleave(EACH)
    # Squares: some items are more popular than others. Each item once, so that all are there.
    item = (items * torch.rand(count, generator=draw).square()).long()
    item[torch.randperm(count, generator=draw)[:items]] = torch.arange(items)
    features = {"image": torch.randn(items, WIDTH, generator=draw)}
    start = time.perf_counter()
    data = RecommendationData(
        InteractionArrays(user, item),
        None if name == "lightgcn" else ArrayData(features),
        batch_size=round(count * SHARE),
    )
    data.setup("fit")
    made, ready = time.perf_counter() - start, peak()
    watch = Steps()
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=WARM_UP + steps,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[watch],
    )
    trainer.fit(task_of(name, features), datamodule=data)
    pairs = len(data.interactions.pairs("train")[0])
    epoch = pairs / round(count * SHARE)
    print(
        f"{name}, {count / 1e6:g} M interactions, {users:,} users, {items:,} items: data in "
        f"{made:.1f} s; a step {watch.wall:.3f} s ({watch.cpu:.3f} of CPU), an epoch "
        f"{epoch * watch.wall:.1f} s, {1e6 * epoch * watch.cpu / pairs:.2f} us of CPU an "
        f"interaction; most memory {ready:.2f} GiB with the data, {peak():.2f} GiB at the end",
        flush=True,
    )


def main() -> None:
    """Every model at every size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--models", nargs="+", default=["lightgcn", "vbpr"])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--steps", type=int, default=3, help="timed, after one that is not")
    parser.add_argument("--here", action="store_true", help="in this process, for one size")
    options = parser.parse_args()
    if options.here:
        warnings.filterwarnings("ignore")
        one(options.models[0], options.sizes[0], options.steps)
        return
    for name in options.models:
        for size in options.sizes:
            words = ["--here", "--models", name, "--sizes", str(size)]
            words += ["--steps", str(options.steps)]
            subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()
