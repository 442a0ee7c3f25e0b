"""A recommender that a test trains in one or two processes: prints what it scored, in JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1] / "recommend"))

from planted import planted

from mmfuse import Trainer
from mmfuse.recommend import ItemVectors, SASRecUsers, UserVectors
from mmfuse.recommend.objectives import BPRLoss, ModalityBPR
from mmfuse.recommend.propagation import LightGCN
from mmfuse.recommend.ranking import dot, evaluate_ranking
from mmfuse.tasks import RecommendationTask

#: What stands for users, and the graph.
KINDS = {
    "graph": lambda: (UserVectors(), LightGCN(1, keep=0.5)),
    "sequences": lambda: (SASRecUsers(3, heads=2), None),
}


def main(folder: str, processes: int, kind: str) -> None:
    torch.manual_seed(0)
    # Two processes see two batches of 32 pairs, or 8 users, where one sees one of 64, or 16.
    size = 64 if kind == "graph" else 16
    data = planted(batch_size=size // processes, eval_batch_size=7)
    trainer = Trainer(
        max_epochs=3,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
    )
    item, (user, backbone) = ItemVectors(8, content="add"), KINDS[kind]()
    task = RecommendationTask(item, user, backbone, objectives=[BPRLoss(), ModalityBPR()], ks=[5])
    trainer.fit(task, datamodule=data)
    weights = torch.cat([p.detach().flatten() for p in task.model.parameters()])
    every = trainer.strategy.all_gather(weights).view(processes, -1)
    assert (every == every[0]).all()  # the processes have learned the same
    if not trainer.is_global_zero:
        return
    vectors, lists = task.model.represent(split="val"), data.interactions.lists
    alone = evaluate_ranking(
        vectors.users, vectors.items, dot, lists("val"), lists("train"), ks=[5]
    )
    scores = {k: v.item() for k, v in trainer.callback_metrics.items()}
    print(json.dumps({"together": scores, "alone": alone.means()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
