"""Models trained once for all tests of suites."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
from suite_models import QUIET, Trained, paired, planted

from mmfuse import AlignmentTask, SupervisedTask, Trainer
from mmfuse.objectives import SupervisedLoss, UnimodalLoss


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    L.seed_everything(0, verbose=False)
    task = SupervisedTask(fusion="ConcatFusion", objectives=[SupervisedLoss(), UnimodalLoss()])
    trainer = Trainer(max_epochs=8, default_root_dir=tmp_path_factory.mktemp("run"), **QUIET)
    trainer.fit(task, datamodule=planted())
    return Trained(task, trainer, Path(trainer.checkpoint_callback.best_model_path))


@pytest.fixture(scope="session")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of modalities in one space."""
    return _aligned(tmp_path_factory.mktemp("aligned"), seed=0)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another training on the same data."""
    return _aligned(tmp_path_factory.mktemp("other"), seed=1)


def _aligned(folder: Path, seed: int) -> Path:
    L.seed_everything(seed, verbose=False)
    options = {"monitor": "val/r_at_1", "monitor_mode": "max", "default_root_dir": folder}
    trainer = Trainer(max_epochs=10, **options, **QUIET)
    trainer.fit(AlignmentTask(), datamodule=paired())
    return Path(trainer.checkpoint_callback.best_model_path)
