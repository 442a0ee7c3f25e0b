"""NPMix: what its queues hold, where its outliers lie, what they cost, and that it resumes."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from mmfuse import (
    ArrayData,
    Batch,
    DataSpec,
    FusionModel,
    ModalitySpec,
    SupervisedTask,
    TargetSpec,
    Trainer,
)
from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion
from mmfuse.objectives import A2D, NPMix, SupervisedLoss
from mmfuse.objectives.disagreement import distance
from mmfuse_encoders import MLPEncoder

WIDTHS, CLASSES = {"a": 3, "b": 2}, 4


@pytest.fixture
def model() -> FusionModel:
    torch.manual_seed(0)
    spec = DataSpec(
        {m: ModalitySpec.of(w) for m, w in WIDTHS.items()},
        {"y": TargetSpec("multiclass", tuple("wxyz"))},
    )
    encoders = {m: MLPEncoder(w, out_dim=w + 1) for m, w in WIDTHS.items()}
    fusion = ConcatFusion({m: w + 1 for m, w in WIDTHS.items()}, out_dim=6)
    return FusionModel(spec, encoders, fusion).double()


def rows(count: int, seed: int, gaps: float = 0.0, classes: int = CLASSES) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    inputs = {m: torch.randn(count, w, generator=draw).double() for m, w in WIDTHS.items()}
    label = torch.randint(-1 if gaps else 0, classes, (count,), generator=draw)
    return Batch(tuple(WIDTHS), inputs, torch.rand(count, 2, generator=draw) >= gaps, {"y": label})


def built(model: FusionModel, **options) -> NPMix:
    objective = NPMix(**options)
    objective.build(model)
    return objective.double()


def run(objective, model, batch):
    tokens = model.encode(batch)
    output = model.read(model.fuse(tokens, batch.present), batch.present)
    return objective(model, batch, tokens, output)


def embeddings(model, batch) -> torch.Tensor:
    return torch.cat([model.encode(batch)[m].pooled() for m in WIDTHS], dim=1).detach()


@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_queue_holds_the_last_complete_labelled_rows_of_its_class(model, size):
    objective = built(model, queue=size)
    expected = [deque(maxlen=size) for _ in range(CLASSES)]
    for seed in range(6):
        batch = rows(20, seed, gaps=0.3)
        run(objective, model, batch)
        for i, z in enumerate(embeddings(model, batch)):
            if batch.present[i].all() and batch.target["y"][i] >= 0:
                expected[batch.target["y"][i]].append(z.tolist())
        for k, queue in enumerate(expected):
            assert objective.filled[k] == len(queue)
            found = objective.queues[k, : len(queue)].tolist()
            assert sorted(found) == sorted(queue)


def test_outliers_lie_between_a_class_and_one_of_its_nearest(model):
    """Each class's queue is one point, so that an outlier says which two were mixed."""
    objective = built(model, queue=5, neighbours=2)
    place = torch.tensor([0.0, 1.0, 2.5, 10.0]).double()
    objective.queues.copy_(place.view(-1, 1, 1).expand_as(objective.queues))
    found = torch.stack([objective.outliers(torch.arange(4)) for _ in range(2000)])
    assert torch.equal(found, found[..., :1].expand_as(found))
    found = found[..., 0].double()
    nearest = [[1, 2], [0, 2], [1, 0], [2, 1]]
    for c, near in enumerate(nearest):
        share = [(found[:, c] - place[n]) / (place[c] - place[n]) for n in near]
        between = torch.stack([(s > 0) & (s < 1) for s in share])
        assert between.any(dim=0).all()
        if c == 1:  # its neighbours lie on either side, so that each outlier tells its own
            left = between[0].double().mean()
            assert left == pytest.approx(0.5, abs=0.06)
            lam = torch.where(between[0], share[0], share[1])
            assert lam.mean().item() == pytest.approx(0.5, abs=0.02)
            assert lam.var().item() == pytest.approx(1 / (4 * 21), rel=0.15)  # of Beta(10, 10)


def test_classes_without_a_full_queue_are_no_part_of_an_outlier(model):
    objective = built(model, queue=2, neighbours=1)
    place = torch.tensor([0.0, 1e6, 1.0, 1e6]).double()
    objective.queues.copy_(place.view(-1, 1, 1).expand_as(objective.queues))
    assert objective.outliers(torch.tensor([0, 2])).abs().max() <= 1


def test_the_losses_on_outliers_are_what_their_equations_say(model, monkeypatch):
    objective = built(model, queue=1, ratio_entropy=0.3, ratio_outlier=0.6)
    batch = rows(40, seed=1)
    monkeypatch.setattr(NPMix, "outliers", lambda self, ready: self.queues[ready, 0] + 0.25)
    found = run(objective.train(), model, batch)
    entropies, gaps = [], []
    for o in objective.queues[:, 0] + 0.25:
        said = [
            objective.heads[m]["y"](part) for m, part in zip(WIDTHS, o.split([4, 3]), strict=True)
        ]
        for z in said:
            p = z.softmax(dim=0).tolist()
            entropies.append(-sum(x * math.log(x) for x in p) / math.log(CLASSES))
        gaps.append(distance(*said, "hellinger").item())
    assert found["np_mix_entropy"].item() == pytest.approx(-0.3 * np.mean(entropies), rel=1e-9)
    assert found["np_mix_outlier"].item() == pytest.approx(-0.6 * np.mean(gaps), rel=1e-9)


def test_outliers_teach_the_heads_alone(model):
    objective = built(model, queue=2).train()
    run(objective, model, rows(60, seed=1))
    found = run(objective, model, rows(60, seed=2))
    (found["np_mix_entropy"] + found["np_mix_outlier"]).backward()
    assert all(p.grad is not None and p.grad.any() for p in objective.parameters())
    assert all(p.grad is None for p in model.parameters())


def test_nothing_is_generated_before_enough_queues_are_full_or_the_warm_up_is_over(model):
    lacking = built(model, queue=3, neighbours=2).train()
    for seed in range(5):  # two classes alone fill their queues: one neighbour too few
        found = run(lacking, model, rows(30, seed, classes=2))
        assert found["np_mix_entropy"].item() == found["np_mix_outlier"].item() == 0
    assert run(lacking, model, rows(60, 9))["np_mix_entropy"].item() < 0
    waiting = built(model, queue=2, warmup=3).train()
    told = [run(waiting, model, rows(60, s))["np_mix_entropy"].item() < 0 for s in range(5)]
    assert told == [False, False, False, True, True]


def test_in_evaluation_it_is_a2d(model):
    objective = built(model, queue=1)
    run(objective.train(), model, rows(60, seed=1))
    before = {n: v.clone() for n, v in objective.state_dict().items()}
    batch = rows(30, seed=2, gaps=0.2)
    found = run(objective.eval(), model, batch)
    plain = A2D(ratio=0.5)
    plain.build(model)
    plain.double().load_state_dict({n: v for n, v in before.items() if n.startswith("heads")})
    expected = run(plain, model, batch)
    assert {n: v.item() for n, v in found.items() if not n.startswith("np_mix")} == {
        n: v.item() for n, v in expected.items()
    }
    assert found["np_mix_entropy"].item() == found["np_mix_outlier"].item() == 0
    assert all(torch.equal(v, before[n]) for n, v in objective.state_dict().items())


class _Seen(Callback):
    def on_train_start(self, trainer, task):
        self.state = {n: v.clone() for n, v in task.objectives[1].state_dict().items()}


def test_a_run_that_was_cut_off_goes_on_with_its_queues(tmp_path):
    draw = np.random.default_rng(0)
    inputs = {m: draw.normal(size=(80, w)).astype(np.float32) for m, w in WIDTHS.items()}
    data = ArrayData(inputs, draw.integers(0, 4, 80))

    def trainer(epochs, *callbacks):
        return Trainer(
            max_epochs=epochs, logger=False, enable_progress_bar=False,
            enable_checkpointing=False, callbacks=list(callbacks),
        )  # fmt: skip

    def fresh():
        return SupervisedTask(fusion="ConcatFusion", objectives=[SupervisedLoss(), NPMix(queue=4)])

    task = fresh()
    first = trainer(1)
    first.fit(task, datamodule=data)
    first.save_checkpoint(tmp_path / "cut.ckpt")
    state = task.objectives[1].state_dict()
    assert state["filled"].tolist() == [4] * 4
    again, seen = fresh(), _Seen()
    trainer(2, seen).fit(again, datamodule=data, ckpt_path=tmp_path / "cut.ckpt")
    assert seen.state.keys() == state.keys()
    assert all(torch.equal(v, state[n]) for n, v in seen.state.items())
    assert again.objectives[1].step > state["step"]


@pytest.mark.parametrize("options", [{"queue": 0}, {"neighbours": 0}, {"alpha": 0}, {"warmup": -1}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ConfigError, match="NPMix: queue="):
        NPMix(**options)


def test_ratios_and_neighbours_beyond_the_classes_are_refused(model):
    with pytest.raises(ConfigError, match=r"NPMix: \{'ratio_outlier': -1\}"):
        NPMix(ratio_outlier=-1)
    with pytest.raises(ConfigError, match="neighbours is 4; target 'y' has 4 classes, so give 3"):
        built(model, neighbours=4)
