"""CRMT's step 2 as a test runs it, in one or two processes: prints what it found, in JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import lightning as L
import numpy as np
import torch

from mmfuse import ArrayData, FusionModel, Trainer
from mmfuse.checkpoint import save
from mmfuse.tasks import CRMTWeightsTask
from mmfuse.tasks.build import build_model

#: Without a proven bound, so that radii are estimated.
ENCODERS = {"*": {"class_path": "ResidualMLPEncoder", "init_args": {"hidden": 8, "out_dim": 8}}}


def data() -> ArrayData:
    draw = np.random.default_rng(0)
    label = np.arange(101) % 3
    inputs = {
        "a": draw.normal(size=(3, 4))[label] * 2 + draw.normal(size=(101, 4)),
        "b": draw.normal(size=(3, 3))[label] + draw.normal(size=(101, 3)),
    }
    return ArrayData(inputs, {"kind": label}, batch_size=16, eval_batch_size=10)


def begun() -> FusionModel:
    """A model that gets many rows right, without a training."""
    torch.manual_seed(0)
    fusion = {"class_path": "CRMTFusion", "init_args": {"out_dim": 8}}
    rows = data()
    model = build_model(rows.spec, ENCODERS, fusion)
    rows.attach(model.preprocess)
    batch = next(iter(rows.loader("train", is_training=True)))
    step = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        step.zero_grad()
        scores = model(batch).logits["kind"]
        torch.nn.functional.cross_entropy(scores, batch.target["kind"]).backward()
        step.step()
    return model


def main(folder: str, processes: int) -> None:
    L.seed_everything(0, verbose=False)
    path = save(begun(), Path(folder) / f"begun-{os.getpid()}.ckpt")  # each process its own
    trainer = Trainer(
        max_epochs=2,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
    )
    fusion = {"class_path": "CRMTFusion", "init_args": {"out_dim": 8}}
    task = CRMTWeightsTask(ENCODERS, fusion)
    trainer.fit(task, datamodule=data(), start_from=path)
    assert task.model is not None
    found = torch.cat([task._gram.flatten(), torch.tensor([task._found_cap])])
    learned = torch.cat([found, task.model.heads["kind"].raw_weights.detach().flatten()])
    every = trainer.strategy.all_gather(learned).view(processes, -1)
    assert (every == every[0]).all()
    if trainer.is_global_zero:
        print(json.dumps(found.tolist()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
