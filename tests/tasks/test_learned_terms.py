"""Checkpoints of runs with other objectives than the task that reads them."""

import numpy as np
import pytest
import torch

from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.errors import CheckpointError
from mmfuse.objectives import MaskedModalityLoss, UnimodalLoss

ROWS = 60


def data():
    draw = np.random.default_rng(0)
    inputs = {"a": draw.normal(size=(ROWS, 3)), "b": draw.normal(size=(ROWS, 2))}
    return ArrayData(inputs, {"kind": np.arange(ROWS) % 3})


def trainer(folder):
    return Trainer(
        default_root_dir=str(folder), max_epochs=1, enable_progress_bar=False, logger=False
    )


def task(*objectives):
    return SupervisedTask(fusion="ConcatFusion", objectives=list(objectives))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A task whose objectives learn, its test scores, and its checkpoint."""
    torch.manual_seed(0)
    trained = task(MaskedModalityLoss(), UnimodalLoss())
    made = trainer(tmp_path_factory.mktemp("run"))
    made.fit(trained, datamodule=data())
    path = made.checkpoint_callback.best_model_path
    scores = made.test(trained, datamodule=data(), ckpt_path=path, verbose=False)[0]
    return trained, scores, path


def test_a_task_without_its_objectives_scores_and_predicts_a_checkpoint(run, tmp_path):
    _, scores, path = run
    plain = task()
    found = trainer(tmp_path).test(plain, datamodule=data(), ckpt_path=path, verbose=False)[0]
    for name in ("test/accuracy", "test/auroc"):
        assert found[name] == scores[name]
    assert found["test/loss"] < scores["test/loss"]  # the supervised loss alone
    rows = trainer(tmp_path).predict(task(), datamodule=data(), ckpt_path=path)
    assert torch.cat([r["kind"] for r in rows]).shape[1] == 3


def test_an_objective_takes_what_its_namesake_learned_wherever_that_stands(run, tmp_path):
    trained, _, path = run
    other = task(UnimodalLoss())
    trainer(tmp_path).test(other, datamodule=data(), ckpt_path=path, verbose=False)
    before, after = (t.objectives[-1].state_dict() for t in (trained, other))
    assert before.keys() == after.keys()
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_an_objective_of_another_shape_starts_afresh(run, tmp_path):
    other = task(UnimodalLoss(hidden=4))
    found = trainer(tmp_path).test(other, datamodule=data(), ckpt_path=run[2], verbose=False)[0]
    assert found["test/accuracy"] == run[1]["test/accuracy"]


def test_a_run_does_not_go_on_with_objectives_that_learn_other_things(run, tmp_path):
    with pytest.raises(CheckpointError, match=r"MaskedModalityLoss.*start_from"):
        trainer(tmp_path).fit(task(UnimodalLoss()), datamodule=data(), ckpt_path=run[2])
