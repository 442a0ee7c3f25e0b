"""M3CoL on ROSMAP: the model of the paper, its losses one by one, and how it is trained."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import nn

from mmfuse import CatalogueData, SupervisedTask, Trainer
from mmfuse.objectives import CLIPLoss, M3CoLoss, MultiSClipLoss, Objective, UnimodalLoss

#: The published setting. It is 500 epochs long in the paper.
PAPER: dict[str, Any] = {
    "width": 1000,
    "dropout": 0.0,
    "weight_decay": 1e-4,
    "lr": 2e-3,
    "batch_size": 245,
    "phase": 0.33,
    "weight": 0.1,
}


class XavierInit(L.Callback):
    """Xavier-normal weights and zero biases for every linear map, as the authors start."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Sets the weights of the model and of the objectives' heads, once they are there."""
        for module in pl_module.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)


def contrast(weight: float, phase: float) -> dict[str, list[Objective]]:
    """The ablation: each line's objectives beside the supervised ones."""
    # Phases alone have the whole of the training, so that weights compare.
    return {
        "no contrast": [],
        "CLIP": [CLIPLoss(weight, pairs="ring", temperature=0.1, learnable=False)],
        "M3Co": [M3CoLoss(weight, schedule=[0.0, 1.0])],
        "soft-CLIP": [MultiSClipLoss(weight, schedule=[0.0, 1.0])],
        "M3CoL": [
            M3CoLoss(weight, schedule=[0.0, phase]),
            MultiSClipLoss(weight, schedule=[phase, 1.0]),
        ],
    }


def adam(
    parameters: Iterable[nn.Parameter], lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The authors' optimizer, in one kernel for all parameters."""
    return torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)


def task(losses: list[Objective], setting: dict[str, Any]) -> SupervisedTask:
    """Linear, ReLU, Linear for each omics; the same for all side by side, and for each alone."""
    width = setting["width"]
    encoder = {
        "class_path": "MLPEncoder",
        "init_args": {"hidden": [width], "out_dim": width, "dropout": setting["dropout"]},
    }
    # The fusion's perceptron ends in two units, which the head turns into one score.
    fusion = {
        "class_path": "ConcatFusion",
        "init_args": {"hidden": width, "out_dim": 2, "dropout": setting["dropout"]},
    }
    return SupervisedTask(
        dict.fromkeys(("mrna", "meth", "mirna"), encoder),
        fusion,
        [UnimodalLoss(hidden=width), *losses],
        functools.partial(adam, lr=setting["lr"], weight_decay=setting["weight_decay"]),
    )


def data(setting: dict[str, Any], val: float = 0.2, seed: int = 0) -> CatalogueData:
    """ROSMAP from 0 to 1, in batches of up to all training rows."""
    return CatalogueData(
        "rosmap", batch_size=setting["batch_size"], scale="range", val=val, seed=seed
    )


def trainer(epochs: int, folder: Path, monitor: str = "val/auroc") -> Trainer:
    """A quiet trainer that keeps the epoch with the highest value on the validation rows."""
    return Trainer(
        max_epochs=epochs,
        default_root_dir=str(folder),
        logger=False,
        callbacks=[XavierInit()],
        monitor=monitor,
        monitor_mode="max",
    )
