"""A new run that starts at the weights of an earlier one."""

import numpy as np
import pytest
import torch

import mmfuse
from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.errors import CheckpointError, ConfigError, MissingFileError
from mmfuse.objectives import UnimodalLoss

ROWS = 80


def data(target, seed=0, **kwargs):
    draw = np.random.default_rng(0)
    inputs = {"a": draw.normal(size=(ROWS, 3)), "b": draw.normal(size=(ROWS, 2))}
    return ArrayData(inputs, target, seed=seed, **kwargs)


def labels(classes, seed=0):
    return np.random.default_rng(seed).permutation(np.arange(ROWS) % classes)


def trainer(folder, **kwargs):
    options = {"max_epochs": 1, "enable_progress_bar": False, "logger": False}
    return Trainer(default_root_dir=str(folder), **options | kwargs)


@pytest.fixture
def first(tmp_path):
    """The checkpoint of a first run, on three classes."""
    task = SupervisedTask(fusion="ConcatFusion")
    run = trainer(tmp_path)
    run.fit(task, datamodule=data({"kind": labels(3)}))
    return run.checkpoint_callback.best_model_path


def test_training_starts_at_the_weights_and_statistics_of_the_checkpoint(first):
    other = data({"kind": labels(3, seed=1)}, seed=5)
    before = other.spec.modalities["a"].mean
    task = SupervisedTask(fusion="ConcatFusion")
    assert task.start_from(first, other) == []
    started = mmfuse.load(first)
    assert other.spec.modalities["a"].mean == started.spec.modalities["a"].mean != before
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, started.state_dict()[name])
    assert task.model.training


def test_a_head_for_another_target_starts_afresh_and_the_old_one_stays_behind(first):
    other = data({"size": np.linspace(0, 1, ROWS)})
    task = SupervisedTask(fusion="ConcatFusion")
    assert task.start_from(first, other) == ["size"]
    assert list(task.model.spec.targets) == ["size"]
    assert task.model.spec.targets["size"].mean == other.spec.targets["size"].mean
    old = mmfuse.load(first).state_dict()
    new = task.model.state_dict()
    assert all(torch.equal(new[k], old[k]) for k in new if not k.startswith("heads."))


def test_other_classes_under_the_same_name_get_a_new_head(first):
    task = SupervisedTask(fusion="ConcatFusion")
    assert task.start_from(first, data({"kind": labels(4)})) == ["kind"]
    assert task.model.spec.targets["kind"].out_dim == 4


def test_a_head_keeps_its_units_and_takes_the_class_weights_of_the_data(tmp_path):
    values = np.linspace(100, 200, ROWS)
    run, task = trainer(tmp_path), SupervisedTask(fusion="MeanFusion")
    run.fit(task, datamodule=data({"size": values, "kind": labels(2)}))
    uneven = np.where(np.arange(ROWS) % 4 == 0, 1, 0)
    other = data({"size": values - 100, "kind": uneven}, is_class_weighted=True)
    weights, shares = other.spec.targets["kind"].weights, other.spec.targets["kind"].shares
    again = SupervisedTask(fusion="MeanFusion")
    assert again.start_from(run.checkpoint_callback.best_model_path, other) == []
    assert again.model.spec.targets["size"].mean == task.model.spec.targets["size"].mean
    assert again.model.spec.targets["kind"].weights == weights != ()
    assert again.model.spec.targets["kind"].shares == shares
    assert shares == pytest.approx((0.75, 0.25), abs=0.1)


def test_a_model_starts_a_run_as_its_checkpoint_does(first):
    tasks = [SupervisedTask(fusion="ConcatFusion") for _ in range(2)]
    for task, source in zip(tasks, (first, mmfuse.load(first)), strict=True):
        task.start_from(source, data({"kind": labels(3)}))
    states = [task.model.state_dict() for task in tasks]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_training_options_may_change(first):
    options = {"class_path": "ConcatFusion", "init_args": {"dropout": 0.5}}
    frozen = {"class_path": "MLPEncoder", "init_args": {"frozen": True}}
    task = SupervisedTask({"a": frozen, "b": "MLPEncoder"}, fusion=options)
    other = data({"kind": labels(3)})
    task.start_from(first, other)
    assert torch.equal(
        task.model.state_dict()["fusion.mix.0.weight"],
        mmfuse.load(first).state_dict()["fusion.mix.0.weight"],
    )
    assert not any(p.requires_grad for p in task.model.encoders["a"].parameters())


def test_another_architecture_is_refused_with_what_differs(first):
    with pytest.raises(CheckpointError, match=r"of another model: fusion\.class_path"):
        SupervisedTask(fusion="GatedFusion").start_from(first, data({"kind": labels(3)}))
    with pytest.raises(MissingFileError, match=r"nowhere\.ckpt"):
        SupervisedTask().start_from("nowhere.ckpt", data({"kind": labels(3)}))


def test_the_trainer_starts_and_trains(first, tmp_path):
    task, run = SupervisedTask(fusion="ConcatFusion"), trainer(tmp_path / "second")
    run.fit(task, datamodule=data({"kind": labels(3)}), start_from=first)
    assert run.current_epoch == 1
    with pytest.raises(ConfigError, match="needs a task of mmfuse"):
        run.fit(task, start_from=first)


def test_weights_alone_are_tested_but_not_gone_on_with(first, tmp_path):
    path = mmfuse.save(mmfuse.load(first), tmp_path / "weights.ckpt")
    # An objective with weights of its own, which the file lacks.
    task = SupervisedTask(fusion="ConcatFusion", objectives=[UnimodalLoss()])
    found = trainer(tmp_path).test(task, datamodule=data({"kind": labels(3)}), ckpt_path=path)
    assert "test/accuracy" in found[0]
    with pytest.raises(CheckpointError, match="start_from in place of ckpt_path"):
        trainer(tmp_path).fit(task, datamodule=data({"kind": labels(3)}), ckpt_path=path)
