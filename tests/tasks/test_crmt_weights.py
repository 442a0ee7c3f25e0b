"""CRMT's step 2 as a stage of its own."""

import copy

import numpy as np
import pytest
import torch

import mmfuse
from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.errors import ConfigError
from mmfuse.objectives import CRMTMargin
from mmfuse.robustness import radii
from mmfuse.tasks import CRMTWeightsTask

ROWS = 120


def data():
    draw = np.random.default_rng(0)
    label = np.arange(ROWS) % 3
    inputs = {
        "a": draw.normal(size=(3, 4))[label] * 2 + draw.normal(size=(ROWS, 4)),
        "b": draw.normal(size=(3, 3))[label] + draw.normal(size=(ROWS, 3)),
    }
    return ArrayData(inputs, {"kind": label}, batch_size=64)


def trainer(folder, epochs):
    return Trainer(
        default_root_dir=str(folder),
        max_epochs=epochs,
        enable_progress_bar=False,
        logger=False,
        enable_checkpointing=epochs == 3,
    )


def encoders(kind):
    return {"*": {"class_path": f"mmfuse_encoders.{kind}", "init_args": {"out_dim": 8}}}


@pytest.mark.parametrize("kind", ["LipschitzMLPEncoder", "ResidualMLPEncoder"])
def test_step_two_moves_the_weights_alone_and_widens_capped_radii(kind, tmp_path):
    torch.manual_seed(0)
    fusion = {"class_path": "mmfuse.fusion.CRMTFusion", "init_args": {"out_dim": 8}}
    first = SupervisedTask(encoders(kind), fusion, [CRMTMargin()])
    run = trainer(tmp_path, 3)
    run.fit(first, datamodule=data())
    path = run.checkpoint_callback.best_model_path
    before = mmfuse.load(path)

    rate = lambda p: torch.optim.SGD(p, lr=0.3)  # noqa: E731
    second, rows = CRMTWeightsTask(encoders(kind), fusion, rate), data()
    assert second.start_from(path, rows) == []
    assert [n for n, p in second.named_parameters() if p.requires_grad] == [
        "model.heads.kind.raw_weights"
    ]
    trainer(tmp_path, 5).fit(second, datamodule=rows)
    after = second.model
    assert not any(m.training for m in after.modules())
    old = before.state_dict()
    for name, value in after.state_dict().items():
        assert torch.equal(value, old[name]) == (name != "heads.kind.raw_weights")
    assert (after.heads["kind"].weights >= 0.01).all()

    batches = list(rows.train_dataloader())
    estimate = None if kind.startswith("Lipschitz") else batches

    def capped(model):
        table = radii(model, batches, estimate_on=estimate).table
        table = table[table["attacked"] == "a + b"]
        radius = np.where(table["label"] == table["predicted"], table["radius"], 0)
        return radius.clip(max=second.cap).mean()

    assert capped(after) > capped(before)


def test_it_wants_the_fusion_and_a_cap_that_mean_something(tmp_path):
    with pytest.raises(ConfigError, match="cap is 0"):
        CRMTWeightsTask(cap=0)
    task = CRMTWeightsTask(fusion="LateMeanFusion")
    with pytest.raises(ConfigError, match="CRMTFusion"):
        trainer(tmp_path, 1).fit(task, datamodule=data())


def test_the_cap_of_a_task_can_be_given():
    assert copy.deepcopy(CRMTWeightsTask(cap=2.5)).cap == 2.5


@pytest.mark.parametrize("kind", ["LipschitzMLPEncoder", "ResidualMLPEncoder"])
def test_step_two_goes_on_with_the_bounds_and_the_cap_it_began_with(kind, tmp_path):
    def run(folder, epochs, path=None):
        torch.manual_seed(0)
        fusion = {"class_path": "mmfuse.fusion.CRMTFusion", "init_args": {"out_dim": 8}}
        task = CRMTWeightsTask(encoders(kind), fusion, lambda p: torch.optim.SGD(p, lr=0.3))
        made = Trainer(
            default_root_dir=str(folder),
            max_epochs=epochs,
            enable_progress_bar=False,
            logger=False,
        )
        made.fit(task, datamodule=data(), ckpt_path=path)
        return task, made.checkpoint_callback.last_model_path

    whole, _ = run(tmp_path / "whole", 4)
    _, path = run(tmp_path / "half", 2)
    rest, _ = run(tmp_path / "rest", 4, path)
    assert rest.cap == whole.cap
    wanted = whole.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in rest.state_dict().items())
