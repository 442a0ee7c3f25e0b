"""A2D beside its equation row by row, and its ablation: the unimodal heads alone."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion
from mmfuse.objectives import A2D, UnimodalLoss
from mmfuse_encoders import MLPEncoder


def run(objective, model, batch):
    torch.manual_seed(7)  # the same heads for whoever builds them
    objective.build(model)
    objective.double()
    tokens = model.encode(batch)
    output = model.read(model.fuse(tokens, batch.present), batch.present)
    return objective(model, batch, tokens, output)


def softmax_without(scores: list[float], y: int) -> list[float]:
    kept = [math.exp(z) for k, z in enumerate(scores) if k != y]
    return [e / sum(kept) for e in kept]


def hellinger(p: list[float], q: list[float]) -> float:
    return math.sqrt(sum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in zip(p, q, strict=True)) / 2)


def test_the_loss_is_the_mean_distance_without_the_true_class_over_rows_with_a_pair(
    make_model, batch
):
    model, objective = make_model(targets=("kind",)), A2D(ratio=0.7)
    batch = Batch(batch.modalities, batch.inputs, batch.present, {"kind": batch.target["kind"]})
    found = run(objective, model, batch)
    tokens, rows = model.encode(batch), []
    for i, y in enumerate(batch.target["kind"].tolist()):
        there = [m for k, m in enumerate(model.modalities) if batch.present[i, k]]
        if y < 0 or len(there) < 2:
            continue
        said = {
            m: softmax_without(objective.heads[m]["kind"](tokens[m].values[i, 0]).tolist(), y)
            for m in there
        }
        gaps = [hellinger(said[m], said[n]) for m, n in itertools.combinations(there, 2)]
        rows.append(sum(gaps) / len(gaps))
    assert len(rows) >= 4
    assert found["a2d"].item() == pytest.approx(-0.7 * sum(rows) / len(rows), rel=1e-9)


def test_the_heads_losses_are_those_of_the_heads_alone(make_model, batch):
    """UnimodalLoss in its place is the ablation, on the same heads."""
    model = make_model()
    alone = run(UnimodalLoss(), model, batch)
    both = run(A2D(target="kind"), model, batch)
    assert {n: v.item() for n, v in both.items() if n != "a2d"} == {
        n: v.item() for n, v in alone.items()
    }


def test_a_ratio_of_zero_trains_as_the_heads_alone(make_model, batch):
    found = []
    for objective in (UnimodalLoss(), A2D(ratio=0, target="kind")):
        model = make_model()
        sum(run(objective, model, batch).values()).backward()
        parts = [*model.encoders.parameters(), *objective.parameters()]
        found.append(torch.cat([p.grad.flatten() for p in parts]))
    assert torch.equal(*found)


def test_training_drives_the_modalities_apart_on_the_other_classes_alone(make_model, batch):
    """The true class stays the likeliest of every modality."""
    model, objective = make_model(targets=("kind",)), A2D(ratio=1.0, hidden=8)
    every = torch.ones_like(batch.present)
    batch = Batch(
        batch.modalities, batch.inputs, every, {"kind": batch.target["kind"].clamp(min=0)}
    )
    before = run(objective, model, batch)["a2d"].item()
    optimizer = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=0.02)
    for _ in range(150):
        tokens = model.encode(batch)
        output = model.read(model.fuse(tokens, every), every)
        losses = objective(model, batch, tokens, output)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert losses["a2d"].item() < min(before - 0.2, -0.6)
    for m, head in objective.heads.items():
        said = head["kind"](model.encode(batch)[m].pooled()).argmax(dim=1)
        assert (said == batch.target["kind"]).double().mean() > 0.8


def test_rows_without_a_pair_or_a_label_cost_nothing(make_model, batch):
    model = make_model(targets=("kind",))
    one = Batch(batch.modalities, batch.inputs, torch.eye(3)[torch.arange(12) % 3].bool(),
                {"kind": batch.target["kind"]})  # fmt: skip
    unlabelled = Batch(
        batch.modalities, batch.inputs, torch.ones_like(batch.present),
        {"kind": torch.full_like(batch.target["kind"], -1)},
    )  # fmt: skip
    for case in (one, unlabelled):
        assert run(A2D(), model, case)["a2d"].item() == 0


def test_one_of_several_targets_must_be_named_and_have_three_classes(make_model):
    with pytest.raises(ConfigError, match=r"A2D needs a target of classes; of .* Name one"):
        A2D().build(make_model())
    with pytest.raises(ConfigError, match="A2D reads classes from the target 'size'"):
        A2D(target="size").build(make_model())
    with pytest.raises(ConfigError, match="three classes and two modalities or more; target 'ill'"):
        A2D(target="ill").build(make_model())


def test_one_modality_is_refused():
    spec = DataSpec({"a": ModalitySpec.of(3)}, {"y": TargetSpec("multiclass", tuple("xyz"))})
    model = FusionModel(spec, {"a": MLPEncoder(3, out_dim=4)}, ConcatFusion({"a": 4}))
    with pytest.raises(ConfigError, match=r"the model reads \['a'\]\. Take UnimodalLoss"):
        A2D().build(model)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"distance": "cosine"}, "A2D: distance is 'cosine'"),
        ({"ratio": -1}, "A2D: {'ratio': -1}"),
        ({"ratio": math.inf}, "A2D: {'ratio': inf}"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        A2D(**options)
