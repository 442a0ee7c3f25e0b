"""An imputed fit that a test runs as two processes: prints what its imputer keeps, in JSON.

One of the modalities is absent in some rows, so that the processes see other patterns.
"""

from __future__ import annotations

import json
import sys

import lightning as L
import numpy as np
import torch

from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.fusion.imputers import KNNImputer
from mmfuse.imputing import fit_imputer


def data() -> ArrayData:
    draw = np.random.default_rng(0)
    hidden = draw.normal(size=(101, 3))
    b = hidden * 2.0
    b[::3] = np.nan
    inputs = {"a": hidden @ draw.normal(size=(3, 4)), "b": b}
    return ArrayData(inputs, np.arange(101) % 4, batch_size=8, eval_batch_size=5)


def main(folder: str, processes: int) -> None:
    L.seed_everything(0, verbose=False)
    trainer = Trainer(
        max_epochs=2,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
    )
    task = SupervisedTask(
        {"*": {"class_path": "mmfuse_encoders.MLPEncoder", "init_args": {"out_dim": 4}}},
        {
            "class_path": "mmfuse.fusion.ImputedFusion",
            "init_args": {"options": {"out_dim": 4, "hidden": 4}, "imputer": KNNImputer(limit=50)},
        },
        modality_dropout=0.3,
    )
    trainer.fit(task, datamodule=data())
    model = task.model
    assert model is not None
    state = torch.cat([v.flatten().float() for v in model.state_dict().values()])
    every = trainer.strategy.all_gather(state).view(processes, -1)
    assert (every == every[0]).all()
    if trainer.is_global_zero:
        kept = model.fusion.imputer.rows.tolist()
        alone = data()
        alone.setup("fit")
        alone.attach(model.preprocess)
        fit_imputer(model, alone.loader("train"))
        print(json.dumps({"together": kept, "alone": model.fusion.imputer.rows.tolist()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
