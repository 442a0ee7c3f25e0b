"""MST-Distill's three stages, and plain distillation, under the Trainer."""

import functools

import numpy as np
import pytest
import torch
from distilled_rows import planted, quiet

import mmfuse
from mmfuse import ArrayData, SupervisedTask
from mmfuse.distillation import (
    FeatureDistillation,
    HardRoutedDistillation,
    RelationalDistillation,
    SoftTargets,
    Team,
    WeightedRoutedDistillation,
)
from mmfuse.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingFileError,
    UnknownModalityError,
)
from mmfuse.tasks import CoTrainingTask, DistillationTask, Peer, SpecialisationTask


def encoder(**options):
    return {"class_path": "MLPEncoder", "init_args": {"hidden": [8], "out_dim": 6, **options}}


def fusion(name="ConcatFusion"):
    return {"class_path": name, "init_args": {"out_dim": 6, "hidden": 8}}


def co_training(**options):
    student = Peer(["a"], {"a": encoder()}, fusion())
    auxiliary = Peer(["b"], {"b": encoder()}, fusion())
    both = {"a": encoder(), "b": encoder()}
    return CoTrainingTask(student, auxiliary, both, fusion(), **options)


def distilling(path, *terms, **options):
    return DistillationTask(str(path), {"a": encoder()}, fusion(), list(terms) or None, **options)


def best(trainer):
    return trainer.checkpoint_callback.best_model_path


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The checkpoints of the first two stages."""
    folder = tmp_path_factory.mktemp("stages")
    torch.manual_seed(0)
    first = quiet(folder / "1")
    first.fit(co_training(), datamodule=planted())
    second = quiet(folder / "2")
    second.fit(SpecialisationTask(best(first)), datamodule=planted())
    return best(first), best(second)


def test_co_training_scores_every_model_and_keeps_them(stages, tmp_path):
    task, data, trainer = co_training(), planted(), quiet(tmp_path)
    trainer.fit(task, datamodule=data)
    found = trainer.callback_metrics
    for name in ("val/accuracy", "val/student/accuracy", "val/auxiliary/accuracy"):
        assert 0 <= found[name] <= 1
    assert {"train/mutual", "train/student/kind"} <= set(found)
    team = Team.read(trainer.checkpoint_callback.last_model_path)
    batch = next(iter(data.test_dataloader()))
    task.eval()
    with torch.no_grad():
        assert torch.equal(team.teacher(batch).logits["kind"], task.model(batch).logits["kind"])
        own = batch.only(["a"])
        mine = task.peers["student"](own).logits["kind"]
        assert torch.equal(team.student(own).logits["kind"], mine)
    assert not any(p.requires_grad for m in team.modules() for p in m.parameters())
    assert mmfuse.load(stages[0]).modalities == ("a", "b")


def test_the_mutual_loss_moves_both_sides_and_only_by_rows_of_both(tmp_path):
    task, data, trainer = co_training(), planted(), quiet(tmp_path, 1)
    trainer.fit(task, datamodule=data)
    batch = next(iter(data.train_dataloader()))
    task.train()
    grads = torch.autograd.grad(
        task.losses(batch).named["mutual"], list(task.parameters()), allow_unused=True
    )
    names = [n.split(".")[0] for n, _ in task.named_parameters()]
    moved = {n for n, g in zip(names, grads, strict=True) if g is not None}
    assert moved == {"model", "peers"}
    alone = batch.keep(torch.tensor([[True, False]]))
    assert task.losses(alone).named["mutual"] == 0


def test_specialisation_trains_masks_alone_each_by_itself(stages, tmp_path):
    data, trainer = planted(), quiet(tmp_path)
    task = SpecialisationTask(stages[0])
    trainer.fit(task, datamodule=data)
    names = ["teacher_a", "teacher_b", "teacher_fused", "auxiliary_b", "auxiliary_fused"]
    assert [m.name for m in task.masks] == names
    assert {n.split(".")[0] for n, p in task.named_parameters() if p.requires_grad} == {"masks"}
    before, after = Team.read(stages[0]), Team.read(best(trainer))
    for one, two in ((before.teacher, after.teacher), (before.student, after.student)):
        assert _same(one.parameters(), two.parameters())
    assert after.pool == names
    # The gradient of a mask is that of its own divergence.
    batch = next(iter(data.train_dataloader()))
    step = task.losses(batch)
    for i, name in enumerate(names):
        own = list(task.masks[i].parameters())
        whole = torch.autograd.grad(step.total, own, retain_graph=True)
        alone = torch.autograd.grad(step.named[name], own, retain_graph=True)
        assert _same(whole, alone)
        assert any(g.abs().sum() > 0 for g in alone)


def test_masks_bring_teachers_nearer_to_the_student(stages, tmp_path):
    data, task = (
        planted(),
        SpecialisationTask(stages[0], optimizer=functools.partial(torch.optim.Adam, lr=0.02)),
    )
    trainer = quiet(tmp_path, 15)
    trainer.validate(task, datamodule=data)
    before = {n: trainer.callback_metrics[n].item() for n in trainer.callback_metrics}
    trainer.fit(task, datamodule=data)
    assert trainer.callback_metrics["val/loss"] < before["val/loss"]


def _accuracy(model, data):
    with torch.no_grad():
        pairs = [(model(b).logits["kind"].argmax(1), b.target["kind"]) for b in data.loader("test")]
    said, wanted = map(torch.cat, zip(*pairs, strict=True))
    return (said == wanted).float().mean().item()


def _same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    "term",
    [
        SoftTargets,
        functools.partial(FeatureDistillation, student="a", teacher="b"),
        RelationalDistillation,
        HardRoutedDistillation,
        WeightedRoutedDistillation,
    ],
)
def test_a_distilled_student_is_a_plain_model_that_needs_no_teacher(stages, tmp_path, term):
    data, trainer, task = planted(), quiet(tmp_path), distilling(stages[1], term())
    trainer.fit(task, datamodule=data)
    name = type(task.distillation[0]).__name__
    assert any(k.startswith(f"train/{name}/") for k in trainer.callback_metrics)
    scores = trainer.test(task, datamodule=data, verbose=False)[0]
    path = best(trainer)
    student = mmfuse.load(path)
    assert student.modalities == ("a",)
    content = torch.load(path, weights_only=True)
    told = {k.split(".")[0] for k in content["state_dict"]}
    assert told <= {"model", "distillation"}
    held = sum(v.numel() for k, v in content["state_dict"].items() if k.startswith("model."))
    assert held == sum(v.numel() for v in student.state_dict().values())
    assert "teacher" not in str(content["mmfuse"]["model"])
    # Another task tests the checkpoint on the student's modality alone, without any teacher.
    alone = planted(only=["a"])
    other = distilling("nowhere.ckpt", term())
    again = quiet(tmp_path / "b").test(other, datamodule=alone, ckpt_path=path, verbose=False)[0]
    assert again["test/accuracy"] == pytest.approx(_accuracy(student, alone))
    assert 0 <= scores["test/accuracy"] <= 1
    found = quiet(tmp_path / "d").predict(other, datamodule=planted(), ckpt_path=path)
    assert found[0]["kind"].shape[1] == 3


def test_the_third_stage_starts_from_the_co_trained_student(stages, tmp_path):
    task, data = distilling(stages[1], WeightedRoutedDistillation()), planted()
    assert task.start_from(stages[1], data) == []
    wanted = Team.read(stages[1]).student.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in task.model.state_dict().items())
    quiet(tmp_path, 1).fit(task, datamodule=data)
    other = DistillationTask(stages[1], {"a": encoder(out_dim=5)}, fusion())
    with pytest.raises(CheckpointError, match="is of another model"):
        other.start_from(stages[1], planted())


def test_without_weight_it_is_the_student_alone_bit_for_bit(stages, tmp_path):
    torch.manual_seed(0)
    alone = SupervisedTask({"a": encoder(dropout=0.2)}, fusion())
    quiet(tmp_path / "a").fit(alone, datamodule=planted(only=["a"]))
    torch.manual_seed(0)
    terms = [FeatureDistillation(weight=0), WeightedRoutedDistillation(weight=0)]
    task = DistillationTask(stages[1], {"a": encoder(dropout=0.2)}, fusion(), terms)
    quiet(tmp_path / "b").fit(task, datamodule=planted())
    assert _same(alone.model.parameters(), task.model.parameters())


def test_teachers_stay_frozen_and_rows_without_them_train_by_the_task_alone(stages, tmp_path):
    task, data = distilling(stages[1], SoftTargets(), WeightedRoutedDistillation()), planted()
    quiet(tmp_path, 1).fit(task, datamodule=data)
    task.train()
    assert not any(m.training for t in task._team[0].modules() for m in t.modules())
    fresh = Team.read(stages[1])
    for one, two in zip(task._team[0].modules(), fresh.modules(), strict=True):
        assert _same(one.parameters(), two.parameters())
    batch = next(iter(data.train_dataloader())).keep(torch.tensor([[True, False]]))
    step = task.losses(batch)
    assert step.named["SoftTargets/soft"] == 0
    assert step.named["WeightedRoutedDistillation/routed"] == 0
    assert step.total.item() == pytest.approx(step.named["SupervisedLoss/kind"].item())


def test_a_killed_run_goes_on_as_one_that_was_not(stages, tmp_path):
    def run(folder, epochs, path=None):
        torch.manual_seed(0)
        trainer = quiet(folder, epochs)
        task = distilling(stages[1], FeatureDistillation(), WeightedRoutedDistillation())
        trainer.fit(task, datamodule=planted(), ckpt_path=path)
        return trainer, task

    _, whole = run(tmp_path / "whole", 4)
    half, _ = run(tmp_path / "half", 2)
    _, rest = run(tmp_path / "rest", 4, half.checkpoint_callback.last_model_path)
    wanted = whole.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in rest.state_dict().items())


@pytest.mark.parametrize("stage", [1, 2])
def test_earlier_stages_resume_and_refuse_others(stages, tmp_path, stage):
    make = co_training if stage == 1 else lambda: SpecialisationTask(stages[0])
    first = quiet(tmp_path / "a", 1)
    first.fit(make(), datamodule=planted())
    path = first.checkpoint_callback.last_model_path
    second = quiet(tmp_path / "b", 2)
    second.fit(make(), datamodule=planted(), ckpt_path=path)
    assert second.current_epoch == 2
    wrong = (
        CoTrainingTask(Peer(["a"], {"a": encoder()}, fusion()), None, None, fusion())
        if stage == 1
        else SpecialisationTask(stages[0], bottleneck=3)
    )
    with pytest.raises(CheckpointError):
        quiet(tmp_path / "c", 2).fit(wrong, datamodule=planted(), ckpt_path=path)


def test_any_checkpoint_teaches_and_a_student_may_read_what_its_teacher_lacks(tmp_path):
    """A teacher of one modality, a student of another: cross-modal distillation."""
    trainer = quiet(tmp_path / "teacher")
    trainer.fit(SupervisedTask({"b": encoder()}, fusion()), datamodule=planted(only=["b"]))
    task = distilling(best(trainer))
    run = quiet(tmp_path / "student")
    run.fit(task, datamodule=planted())
    assert mmfuse.load(best(run)).modalities == ("a",)


def test_values_are_distilled_too(tmp_path):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(80, 3))
    inputs, y = {"a": x + draw.normal(size=x.shape), "b": x}, x.sum(1) * 10 + 100
    data = lambda: ArrayData(inputs, {"y": y}, target_kinds={"y": "regression"})  # noqa: E731
    teacher = quiet(tmp_path / "t")
    teacher.fit(SupervisedTask(fusion=fusion()), datamodule=data())
    run = quiet(tmp_path / "s")
    run.fit(distilling(best(teacher), SoftTargets(), RelationalDistillation()), datamodule=data())
    assert run.callback_metrics["train/SoftTargets/soft"] > 0


def test_mistakes_are_told(stages, tmp_path):
    fit = lambda task, data=None: quiet(tmp_path, 1).fit(task, datamodule=data or planted())  # noqa: E731
    with pytest.raises(ConfigError, match="teacher predicts multiclass"):
        fit(distilling(stages[1]), planted(classes=4))
    with pytest.raises(MissingFileError):
        fit(distilling("nowhere.ckpt"))
    with pytest.raises(UnknownModalityError, match="smell"):
        fit(DistillationTask(stages[1], {"smell": encoder()}))
    with pytest.raises(UnknownModalityError, match=r"reads \['b'\]"):
        fit(distilling(stages[1]), planted(only=["a"]))
    with pytest.raises(ConfigError, match="distillation is empty"):
        DistillationTask(stages[1], {"a": encoder()}, None, [])
    plain = quiet(tmp_path / "p", 1)
    plain.fit(SupervisedTask(fusion=fusion()), datamodule=planted())
    with pytest.raises(ConfigError, match="top is 2, the teachers"):
        fit(distilling(best(plain), WeightedRoutedDistillation()))
    with pytest.raises(ConfigError, match="holds no student"):
        fit(SpecialisationTask(best(plain)))
    with pytest.raises(ConfigError, match="no vector 'z'"):
        fit(SpecialisationTask(stages[0], {"teacher": ["z"]}))
    with pytest.raises(ConfigError, match="sites names 'pupil'"):
        fit(SpecialisationTask(stages[0], {"pupil": ["a"]}))
    with pytest.raises(ConfigError, match="mutual is -1"):
        co_training(mutual=-1)
    with pytest.raises(UnknownModalityError, match="smell"):
        fit(CoTrainingTask(Peer(["smell"])))


def test_rows_that_never_pair_are_told(stages, tmp_path):
    data = planted(absent=False)
    inputs, target = data._given["inputs"], data._given["targets"]
    inputs["a"][::2], inputs["b"][1::2] = np.nan, np.nan
    apart = ArrayData(inputs, target)
    with pytest.raises(DataError, match="No training row has both"):
        quiet(tmp_path, 1).fit(distilling(stages[1]), datamodule=apart)


def test_a_late_fusion_has_no_fused_vector_to_mask(tmp_path):
    task = CoTrainingTask(Peer(["a"]), None, None, fusion("LateMeanFusion"))
    trainer = quiet(tmp_path, 1)
    trainer.fit(task, datamodule=planted())
    made = SpecialisationTask(best(trainer))
    quiet(tmp_path / "b", 1).fit(made, datamodule=planted())
    assert [m.name for m in made.masks] == ["teacher_a", "teacher_b"]
    with pytest.raises(ConfigError, match="reads each modality's vote"):
        quiet(tmp_path / "c", 1).fit(
            SpecialisationTask(best(trainer), {"teacher": ["fused"]}), datamodule=planted()
        )


def test_tasks_are_made_afresh_and_tell_their_settings(stages):
    for task in (co_training(mutual=0.5), distilling(stages[1], HardRoutedDistillation())):
        again = task.fresh()
        assert type(again) is type(task)
        assert again.settings() == task.settings()
    assert SpecialisationTask(stages[0]).settings()["team"] == stages[0]
