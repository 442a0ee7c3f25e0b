"""Ratatouille and fusing: what is tuned on what, and where the average is taken."""

import numpy as np
import pytest
import torch
from merge_samples import made

from mmfuse import ArrayData, DataSpec, FusionModel, SupervisedTask, TargetSpec, Trainer
from mmfuse.errors import ConfigError
from mmfuse.merging import fusing, ratatouille, with_heads


def bias(model):
    return round(float(model.heads["y"].bias[0].detach()), 4)


def tuner(calls):
    """Tuning that adds a task's number to the bias, and keeps a record."""

    def tune(model, task):
        calls.append((bias(model), task))
        tuned = FusionModel.rebuild(model.describe())
        tuned.load_state_dict(model.state_dict())
        with torch.no_grad():
            tuned.heads["y"].bias += task
        return tuned.eval()

    return tune


def start():
    model = made(0)
    with torch.no_grad():
        model.heads["y"].bias.zero_()
    return model


def test_ratatouille_tunes_each_detour_on_the_target_and_averages():
    calls = []
    found = ratatouille(start(), [1, 2, 6], 10, tuner(calls), weights=[0.5, 0.5, 0.0])
    assert calls == [(0, 1), (1, 10), (0, 2), (2, 10), (0, 6), (6, 10)]
    assert bias(found) == 11.5


def test_fusing_averages_first_and_tunes_once():
    calls = []
    found = fusing(start(), [1, 2, 6], 10, tuner(calls))
    assert calls == [(0, 1), (0, 2), (0, 6), (3, 10)]
    assert bias(found) == 13


def test_fusing_leaves_heads_of_other_targets_behind():
    seen = []

    def tune(model, task):
        seen.append(list(model.spec.targets))
        if task == "end":
            return model
        spec = DataSpec(model.spec.modalities, {task: TargetSpec("binary")})
        return FusionModel.rebuild(model.describe() | {"spec": spec.to_dict()})

    fusing(start(), ["one", "two"], "end", tune)
    assert seen == [["y"], ["y"], []]


def test_a_model_without_some_heads_has_the_same_trunk():
    model = made(0)
    trunk = with_heads(model, [])
    assert not trunk.spec.targets
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in trunk.state_dict().items())
    with pytest.raises(ConfigError, match="does not predict"):
        with_heads(model, ["z"])


def test_the_recipes_run_on_real_training(tmp_path):
    draw = np.random.default_rng(0)
    label = np.arange(60) % 3
    inputs = {"a": draw.normal(label[:, None], 1, (60, 3)), "b": draw.normal(size=(60, 2))}
    main = ArrayData(inputs, {"y": label})
    detours = [ArrayData(inputs, {"even": label % 2}), ArrayData(inputs, {"first": label == 0})]

    def tune(model, data):
        task = SupervisedTask(fusion="MeanFusion")
        trainer = Trainer(
            max_epochs=1,
            default_root_dir=str(tmp_path),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
        )
        if model is not None:
            task.start_from(model, data)
        trainer.fit(task, datamodule=data)
        return task.model.eval()

    begin = tune(None, main)
    for recipe in (ratatouille, fusing):
        merged = recipe(begin, detours, main, tune)
        assert list(merged.spec.targets) == ["y"]
        assert merged.spec.modalities == begin.spec.modalities
