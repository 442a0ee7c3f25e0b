"""Objectives with a schedule: what counts when, in training and in validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.objectives import CLIPLoss, SupervisedLoss


class Counted(CLIPLoss):
    """Notes at which progress it was computed, and whether in training."""

    def forward(self, model, batch, tokens, output):  # type: ignore[no-untyped-def]
        task = self.task[0]
        self.seen.append((model.training, task._progress()))
        return super().forward(model, batch, tokens, output)


def fitted(folder, schedule, weight: float = 1.0) -> tuple[Counted, Trainer]:
    draw = np.random.default_rng(0)
    data = ArrayData({m: draw.normal(size=(60, 3)) for m in "ab"}, [0, 1] * 30, batch_size=10)
    objective = Counted(weight, schedule)
    task = SupervisedTask(objectives=[SupervisedLoss(), objective])
    objective.seen, objective.task = [], [task]  # in a list, so that it is no submodule
    trainer = Trainer(
        max_epochs=3, default_root_dir=str(folder), logger=False, enable_progress_bar=False
    )
    torch.manual_seed(0)
    trainer.fit(task, datamodule=data)
    return objective, trainer


def test_an_objective_is_not_computed_outside_its_phase(tmp_path):
    objective, _ = fitted(tmp_path, [0.5, 1.0])
    in_training = [progress for training, progress in objective.seen if training]
    assert len(in_training) == 6  # of 12 steps
    assert min(in_training) >= 0.5


@pytest.mark.parametrize("schedule", [[0.0, 0.5], "linear_up", "linear_down"])
def test_validation_counts_every_objective_by_its_whole_weight(tmp_path, schedule):
    objective, trainer = fitted(tmp_path, schedule, weight=3.0)
    assert sum(not training for training, _ in objective.seen) == 4  # and the check before
    task, data = objective.task[0], trainer.datamodule
    batch = next(iter(data.loader("val")))
    task.eval()
    with torch.no_grad():
        step = task.losses(batch)
    named = step.named
    expected = named["SupervisedLoss/y"] + 3.0 * named["Counted/a_b"]
    torch.testing.assert_close(step.total, expected)


def test_an_objective_without_weight_is_never_computed(tmp_path):
    assert fitted(tmp_path, "constant", weight=0.0)[0].seen == []
