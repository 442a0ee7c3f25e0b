"""An alignment that a test runs as two processes: prints what rank 0 scored, in JSON.

Its texts are absent from whole batches of one process, so that one rank's text encoder sees
nothing while the other's learns.
"""

from __future__ import annotations

import json
import sys

import lightning as L
import numpy as np
import torch

from mmfuse import AlignmentTask, ArrayData, Trainer


def data() -> ArrayData:
    draw = np.random.default_rng(0)
    hidden = draw.normal(size=(101, 3))
    text = [f"word{i % 7}" if i % 25 == 0 else None for i in range(101)]
    split = np.where(np.arange(101) % 3 == 0, "val", "train")
    split[:2] = "test"
    inputs = {"a": hidden @ draw.normal(size=(3, 4)), "b": hidden * 2.0, "text": text}
    return ArrayData(inputs, np.arange(101) % 4, split=split, batch_size=8, eval_batch_size=5)


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
    task = AlignmentTask()
    trainer.fit(task, datamodule=data())
    weights = torch.cat([p.detach().flatten() for p in task.model.parameters()])
    # Two processes have learned the same, and one alone scores the same of these weights.
    every = trainer.strategy.all_gather(weights).view(processes, -1)
    assert (every == every[0]).all()
    scores = {k: v.item() for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
    if trainer.is_global_zero:
        alone = AlignmentTask()
        alone.build(task.model)
        found = _alone(alone, task)
        print(json.dumps({"together": scores, "alone": found}))


def _alone(alone: AlignmentTask, task: AlignmentTask) -> dict[str, float]:
    """The scores of the same weights, of all validation rows in one process."""
    from mmfuse.tasks.alignment_scores import AlignmentScores

    module = data()
    module.attach(task.model.preprocess)
    gathered = AlignmentScores(task.model.eval(), alone.labels)
    with torch.no_grad():
        for batch in module.loader("val"):
            gathered.add(batch, task.model.encode(batch))
    parts = gathered._parts
    rows = torch.cat([p["row"] for p in parts]).tolist()
    assert rows == module.rows("val").tolist()
    whole = {
        name: torch.cat([p[name] for p in parts]) for name in parts[0] if not name.endswith("text")
    }
    directions = gathered.directions(whole)
    return {f"val/{d.name}/{n}": v for d in directions for n, v in d.named().items()}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
