"""One of several processes that share their rows; test_contrastive_processes.py starts it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from mmfuse.objectives.contrastive import (
    SimilarTargets,
    SparseTargets,
    info_nce,
    multi_positive,
    sigmoid_loss,
)

#: Rows of each process that take part, case by case: unequal, one without any, one row in all.
VALID = ((3, 5), (6, 0), (0, 2), (1, 0), (0, 0))
ROWS, WIDTH = 6, 4
LOSSES = ("plain", "groups", "sparse", "similar", "sigmoid", "labels", "alone")


def parameters() -> tuple[Tensor, Tensor]:
    """An encoder's weights and the log of the scale."""
    torch.manual_seed(0)
    weight = torch.randn(WIDTH, WIDTH, dtype=torch.float64, requires_grad=True)
    return weight, torch.tensor(1.5, dtype=torch.float64, requires_grad=True)


def rows(rank: int) -> dict[str, Tensor]:
    """A process's rows."""
    draw = torch.Generator().manual_seed(rank + 1)
    raw = torch.randn(2, ROWS, WIDTH, generator=draw, dtype=torch.float64)
    columns = torch.randint(0, ROWS, (ROWS, 2), generator=draw)
    return {
        "x": raw[0],
        "y": raw[1],
        "group": torch.arange(ROWS) % 2,
        "labels": torch.tensor([0, 1, -1, 0, 2, -1]),
        "columns": columns,
        "weights": torch.rand(ROWS, 2, generator=draw, dtype=torch.float64),
    }


def loss_of(name: str, data: dict[str, Tensor], valid: Tensor) -> tuple[Tensor, list[Tensor]]:
    """One of the losses and its gradients for the parameters."""
    weight, log_scale = parameters()
    scale = log_scale.exp()
    x, y = (F.normalize(data[side] @ weight, dim=1) for side in "xy")
    if name == "sigmoid":
        loss = sigmoid_loss(x, y, scale, log_scale - 2, valid=valid, chunk=2)
    elif name in ("labels", "alone"):
        loss = multi_positive(
            x, None if name == "alone" else y, scale, labels=data["labels"], valid=valid, chunk=2
        )
    else:
        targets = {
            "sparse": SparseTargets(data["columns"], data["weights"]),
            "similar": SimilarTargets(y, x, 2.0),
        }
        group = data["group"] if name == "groups" else None
        loss = info_nce(x, y, scale, valid=valid, group=group, targets=targets.get(name), chunk=2)
    return loss, list(torch.autograd.grad(loss, (weight, log_scale)))


def main(rank: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(VALID[0])
    )
    found = {}
    for case, counts in enumerate(VALID):
        valid = torch.arange(ROWS) < counts[rank]
        for name in LOSSES:
            loss, gradients = loss_of(name, rows(rank), valid)
            found[f"{case} {name}"] = [loss.detach(), *gradients]
    if rank == 0:  # in evaluation nobody waits for the other process
        x, y = (F.normalize(rows(0)[side], dim=1) for side in "xy")
        with torch.no_grad():
            found["evaluation"] = [info_nce(x, y, 5.0)]
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
