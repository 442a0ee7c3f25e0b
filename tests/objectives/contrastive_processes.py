"""One of several processes that share their rows; test_contrastive_processes.py starts it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import MeanFusion
from mmfuse.objectives import CLIPLoss, CyCLIPLoss, GoalAlignmentLoss, SigLIPLoss, SupConLoss
from mmfuse.objectives.contrastive import (
    SimilarTargets,
    SparseTargets,
    info_nce,
    multi_positive,
    sigmoid_loss,
)
from mmfuse_encoders import LinearEncoder

#: Rows of each process that take part, case by case: unequal, one without any, one row in all.
VALID = ((3, 5), (6, 0), (0, 2), (1, 0), (0, 0))
ROWS, WIDTH = 6, 4
OBJECTIVES = (CLIPLoss, CyCLIPLoss, SigLIPLoss, SupConLoss, GoalAlignmentLoss)
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


def batch_of(rank: int) -> Batch:
    """A process's batch of two modalities; of the second process no row has b."""
    data = rows(rank)
    present = torch.ones(ROWS, 2, dtype=torch.bool)
    present[:, 1] = rank == 0
    present[0] = False
    return Batch(
        ("a", "b"),
        {"a": data["x"], "b": data["y"]},
        present,
        data["labels"],
        torch.arange(ROWS) + rank * ROWS,
    )


def of_objective(cls: type, batch: Batch) -> list[Tensor]:
    """An objective's loss and the gradients of the model that it was built for."""
    torch.manual_seed(0)
    names = ("a", "b")
    spec = DataSpec(
        dict.fromkeys(names, ModalitySpec.of(WIDTH)),
        {"y": TargetSpec("multiclass", ("p", "q", "r"))},
    )
    encoders = {m: LinearEncoder(WIDTH, out_dim=3) for m in names}
    model = FusionModel(spec, encoders, MeanFusion(dict.fromkeys(names, 3))).double()
    objective = cls().double()
    objective.build(model)
    losses = objective(model, batch, model.encode(batch), None)
    total = torch.stack(list(losses.values())).sum()
    learned = [*model.encoders.parameters(), *objective.parameters()]
    learned = [p for p in learned if p.requires_grad]
    total.backward()
    return [total.detach(), *(torch.zeros_like(p) if p.grad is None else p.grad for p in learned)]


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
    for cls in OBJECTIVES:
        found[cls.__name__] = of_objective(cls, batch_of(rank))
    if rank == 0:  # in evaluation nobody waits for the other process
        x, y = (F.normalize(rows(0)[side], dim=1) for side in "xy")
        with torch.no_grad():
            found["evaluation"] = [info_nce(x, y, 5.0)]
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
