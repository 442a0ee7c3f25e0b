"""A task on data without a target: the other objectives train alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmfuse import ArrayData, SupervisedTask, Trainer, load
from mmfuse.errors import ConfigError
from mmfuse.objectives import CLIPLoss


def pairs() -> ArrayData:
    """Two views of the same hidden numbers."""
    source = np.random.default_rng(0)
    hidden = source.normal(size=(240, 3))
    return ArrayData({"a": hidden @ source.normal(size=(3, 5)), "b": hidden * 2.0})


def trainer(folder, **options) -> Trainer:
    return Trainer(default_root_dir=str(folder), logger=False, enable_progress_bar=False, **options)


def test_an_alignment_learns_which_rows_belong_together(tmp_path):
    torch.manual_seed(0)
    data, task = pairs(), SupervisedTask(None, "MeanFusion", [CLIPLoss()])
    fitted = trainer(tmp_path, max_epochs=30)
    fitted.fit(task, datamodule=data)
    assert [type(o).__name__ for o in task.objectives] == ["CLIPLoss"]
    assert fitted.test(task, datamodule=data, verbose=False)[0]["test/loss"] < 3  # chance is 3.9
    model = load(fitted.checkpoint_callback.best_model_path)
    batch = next(iter(data.loader("test")))
    with torch.no_grad():
        tokens = {m: t.pooled() for m, t in model.encode(batch).items()}
    found = torch.nn.functional.normalize(tokens["a"], dim=1) @ tokens["b"].T
    ranks = (found > found.diagonal().unsqueeze(1)).sum(dim=1)
    assert ranks.float().median() <= 2  # of 48; chance is 24


def test_nothing_to_learn_is_told(tmp_path):
    with pytest.raises(ConfigError, match="needs a target"):
        trainer(tmp_path, max_epochs=1).fit(SupervisedTask(), datamodule=pairs())
