"""An epoch of M3CoL in one batch, beside a literal version in plain torch.

The size of ROSMAP: 245 rows of three times 200 features, all layers 1000 wide. Neither side
validates or writes checkpoints. The literal version makes its square of scores and targets as the
authors' code does.
"""

from __future__ import annotations

import functools
import time

import lightning as L
import torch
import torch.nn.functional as F
from ratio import compare
from torch import Tensor, nn

from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.objectives import M3CoLoss, MultiSClipLoss, UnimodalLoss

EPOCHS, WARM_UP, ROWS, FEATURES = 12, 2, 245, 200
PHASES = {"mixed rows": (1.0, 0.0), "soft targets": (0.0, 1.0)}


class Stopwatch(L.Callback):
    """Seconds an epoch between the end of the warm-up and the end of training."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts after the warm-up."""
        if trainer.current_epoch == WARM_UP:
            self.start = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops."""
        self.seconds = (time.perf_counter() - self.start) / (EPOCHS - WARM_UP)


def chain(width: int, hidden: int, out_dim: int) -> nn.Sequential:
    """Linear, ReLU, Linear."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out_dim))


def mixed(z: Tensor, other: Tensor) -> Tensor:
    """The mixup contrast of one pair, in a square."""
    size = len(z)
    order = torch.randperm(size)
    share = torch.distributions.Beta(0.15, 0.15).sample((size,))
    share = torch.where(torch.rand(size) < 0.5, share, 1.0)
    blend = share[:, None] * z + (1 - share)[:, None] * z[order]
    targets = torch.diag(share)
    targets[torch.arange(size), order] += 1 - share
    scores = F.normalize(blend, dim=1) @ F.normalize(other, dim=1).T / 0.1
    forth = -(targets * scores.log_softmax(dim=1)).sum(dim=1).mean()
    return (forth - (targets.T * scores.T.log_softmax(dim=1)).sum(dim=1).mean()) / 2


def soft(z: Tensor, other: Tensor) -> Tensor:
    """The soft contrast of one pair, in a square."""
    z, other = F.normalize(z, dim=1), F.normalize(other, dim=1)
    targets = (other @ other.T / 0.125).softmax(dim=1)
    scores = z @ other.T / 0.125
    forth = -(targets * scores.log_softmax(dim=1)).sum(dim=1).mean()
    return (forth - (targets * scores.T.log_softmax(dim=1)).sum(dim=1).mean()) / 2


def literal(inputs: list[Tensor], label: Tensor, phase: str, width: int) -> float:
    """Seconds an epoch of the plain loop."""
    encoders = nn.ModuleList(chain(FEATURES, width, width) for _ in inputs)
    heads = nn.ModuleList(chain(width, width, 2) for _ in inputs)
    fusion = chain(len(inputs) * width, width, 2)
    parameters = [*encoders.parameters(), *heads.parameters(), *fusion.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2e-3, weight_decay=1e-4, fused=True)
    contrast = mixed if phase == "mixed rows" else soft
    start = 0.0
    for epoch in range(EPOCHS):
        if epoch == WARM_UP:
            start = time.perf_counter()
        z = [encoder(x) for encoder, x in zip(encoders, inputs, strict=True)]
        loss = F.cross_entropy(fusion(torch.cat(z, dim=1)), label)
        for i, head in enumerate(heads):
            loss = loss + F.cross_entropy(head(z[i]), label)
            loss = loss + 0.1 / 3 * contrast(z[i], z[(i + 1) % 3])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - start) / (EPOCHS - WARM_UP)


def ours(data: ArrayData, phase: str, width: int) -> float:
    """Seconds an epoch under the Trainer."""
    encoder = {"class_path": "MLPEncoder", "init_args": {"hidden": [width], "out_dim": width}}
    first, second = PHASES[phase]
    task = SupervisedTask(
        dict.fromkeys(data.spec.modalities, encoder),
        {"class_path": "ConcatFusion", "init_args": {"hidden": width, "out_dim": 2}},
        [
            UnimodalLoss(hidden=width),
            M3CoLoss(0.1 * first, schedule="constant"),
            MultiSClipLoss(0.1 * second, schedule="constant"),
        ],
        functools.partial(torch.optim.Adam, lr=2e-3, weight_decay=1e-4, fused=True),
    )
    watch = Stopwatch()
    trainer = Trainer(
        max_epochs=EPOCHS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[watch],
    )
    trainer.fit(task, datamodule=data)
    return watch.seconds


def measure(width: int, target: str) -> None:
    """Prints the times of an epoch in either phase and their ratios."""
    torch.manual_seed(0)
    inputs = {m: torch.rand(ROWS, FEATURES) for m in ("mrna", "meth", "mirna")}
    label = torch.randint(0, 2, (ROWS,))
    data = ArrayData(inputs, label, split=["train"] * ROWS, batch_size=ROWS, val=0.0, scale="range")
    for phase in PHASES:
        compare(
            f"M3CoL, {phase}: {ROWS} rows in one batch, width {width}",
            {
                "mmfuse under Lightning": functools.partial(ours, data, phase, width),
                "literal loop": functools.partial(
                    literal, list(inputs.values()), label, phase, width
                ),
            },
            rounds=5,
            target=target,
        )


if __name__ == "__main__":
    measure(1000, "at most 1.10")
