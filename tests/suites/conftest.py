"""A classifier trained once for all tests of suites."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
from suite_models import QUIET, Trained, planted

from mmfuse import SupervisedTask, Trainer
from mmfuse.objectives import SupervisedLoss, UnimodalLoss


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    L.seed_everything(0, verbose=False)
    task = SupervisedTask(fusion="ConcatFusion", objectives=[SupervisedLoss(), UnimodalLoss()])
    trainer = Trainer(max_epochs=8, default_root_dir=tmp_path_factory.mktemp("run"), **QUIET)
    trainer.fit(task, datamodule=planted())
    return Trained(task, trainer, Path(trainer.checkpoint_callback.best_model_path))
