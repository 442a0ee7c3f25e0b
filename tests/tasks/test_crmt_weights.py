"""CRMT's step 2 as a stage of its own."""

import numpy as np
import pytest
import torch

import mmfuse
from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.checkpoint import read
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
    second_run = trainer(tmp_path / "second", 5)
    second_run.fit(second, datamodule=rows)
    after = second.model
    assert not any(m.training for m in after.modules())
    old = before.state_dict()
    for name, value in after.state_dict().items():
        assert torch.equal(value, old[name]) == (name != "heads.kind.raw_weights")
    assert (after.heads["kind"].weights >= 0.01).all()

    batches = list(rows.train_dataloader())
    path = second_run.checkpoint_callback.last_model_path
    cap = read(path)["crmt_weights"]["cap"]
    estimate = None if kind.startswith("Lipschitz") else batches

    def capped(model):
        table = radii(model, batches, estimate_on=estimate).table
        table = table[table["attacked"] == "a + b"]
        radius = np.where(table["label"] == table["predicted"], table["radius"], 0)
        return radius.clip(max=cap).mean()

    assert capped(after) > capped(before)


def test_it_wants_the_fusion_and_a_cap_that_mean_something(tmp_path):
    with pytest.raises(ConfigError, match="cap is 0"):
        CRMTWeightsTask(cap=0)
    other = SupervisedTask(fusion="LateMeanFusion")
    run = trainer(tmp_path, 1)
    run.fit(other, datamodule=data())
    path = run.checkpoint_callback.best_model_path
    with pytest.raises(ConfigError, match="CRMTFusion"):
        run.fit(CRMTWeightsTask(fusion="LateMeanFusion"), datamodule=data(), start_from=path)


def test_it_does_not_train_the_weights_of_a_model_that_has_learned_nothing(tmp_path):
    with pytest.raises(ConfigError, match="step 1 as start_from"):
        trainer(tmp_path, 1).fit(CRMTWeightsTask(), datamodule=data())


def test_a_fresh_task_is_one_of_step_two_with_the_same_settings():
    rate = lambda p: torch.optim.SGD(p, lr=0.3)  # noqa: E731
    task = CRMTWeightsTask(encoders("MLPEncoder"), "CRMTFusion", rate, cap=2.5, target="kind")
    again = task.fresh()
    assert type(again) is CRMTWeightsTask
    assert again.settings() == task.settings()
    assert again.settings()["cap"] == 2.5
    assert task.fresh(fusion="LateMeanFusion").settings()["fusion"] == "LateMeanFusion"


@pytest.mark.parametrize("kind", ["LipschitzMLPEncoder", "ResidualMLPEncoder"])
def test_step_two_goes_on_with_its_bounds_and_cap_and_radii_choose_the_best(kind, tmp_path):
    torch.manual_seed(0)
    fusion = {"class_path": "mmfuse.fusion.CRMTFusion", "init_args": {"out_dim": 8}}
    first = trainer(tmp_path / "first", 12)
    first.fit(SupervisedTask(encoders(kind), fusion, [CRMTMargin()]), datamodule=data())

    def run(folder, epochs, **options):
        torch.manual_seed(0)
        task = CRMTWeightsTask(encoders(kind), fusion, lambda p: torch.optim.SGD(p, lr=0.3))
        made = trainer(tmp_path / folder, epochs)
        made.fit(task, datamodule=data(), **options)
        return task, made.checkpoint_callback

    begin = first.checkpoint_callback.best_model_path
    whole, kept = run("whole", 4, start_from=begin)
    _, half = run("half", 2, start_from=begin)
    rest, again = run("rest", 4, ckpt_path=half.last_model_path)
    caps = [read(c.last_model_path)["crmt_weights"]["cap"] for c in (kept, half, again)]
    assert caps[0] == caps[1] == caps[2]
    wanted = whole.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in rest.state_dict().items())
    assert 0 < -again.best_model_score <= caps[0]
