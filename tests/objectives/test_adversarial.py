"""Adversarial training: one step by hand, the ball, what may move, and what is refused."""

from dataclasses import replace

import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion, CRMTFusion
from mmfuse.objectives import AdversarialLoss, CRMTMargin, SupervisedLoss
from mmfuse.testing import check_objective
from mmfuse_encoders import HashedNgramEncoder, MLPEncoder, TableMLPEncoder

either = pytest.mark.parametrize("on", ["tokens", "inputs"])


def run(objective, model, batch, is_training):
    objective.build(model)
    objective.double().train(is_training)
    torch.manual_seed(0)
    return objective(model, batch, model.encode(batch), model(batch))


@either
def test_the_worst_of_the_ball_costs_more_than_what_is_given(make_model, batch, on):
    model = make_model(ConcatFusion)
    clean = run(SupervisedLoss(), model, batch, True)
    small, large = (run(AdversarialLoss(radius=r, on=on), model, batch, True) for r in (0.1, 1.0))
    assert sum(clean.values()) < sum(small.values()) < sum(large.values())
    still = run(AdversarialLoss(radius=1.0, on=on), model, batch, False)
    for name, value in clean.items():
        torch.testing.assert_close(still[name], value)


@pytest.fixture
def moved():
    """A model that standardises, with codes of categories, and rows with gaps."""
    spec = DataSpec(
        {
            "a": ModalitySpec("vector", (3,), mean=(5.0, 0.0, -1.0), std=(10.0, 0.1, 2.0)),
            "b": ModalitySpec("table", (3,), mean=(1.0, 2.0), std=(4.0, 0.5), categories=(4,)),
        },
        {"y": TargetSpec("multiclass", ("x", "y", "z"))},
    )
    torch.manual_seed(0)
    a, b = spec.modalities["a"], spec.modalities["b"]
    encoders = {"a": MLPEncoder(a, out_dim=5), "b": TableMLPEncoder(b, out_dim=5)}
    model = FusionModel(spec, encoders, ConcatFusion({"a": 5, "b": 5})).double().eval()
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.randn(8, 3, generator=draw).double() * 3 for _ in range(2))
    b[:, 2] = torch.arange(8) % 4
    present = torch.rand(8, 2, generator=draw) < 0.7
    return model, Batch(("a", "b"), {"a": a, "b": b}, present, torch.arange(8) % 3)


def test_one_step_on_inputs_is_the_gradient_in_training_deviations(moved):
    model, batch = moved
    found = run(AdversarialLoss(radius=0.5, steps=1, on="inputs"), model, batch, True)
    std = {"a": torch.tensor([10.0, 0.1, 2.0]), "b": torch.tensor([4.0, 0.5, 0.0])}
    leaves = {m: x.clone().requires_grad_() for m, x in batch.inputs.items()}
    loss = run(SupervisedLoss(), model, replace(batch, inputs=leaves), True)["y"]
    slopes = torch.autograd.grad(loss, [*leaves.values()])
    slope = {m: g * std[m] for m, g in zip(leaves, slopes, strict=True)}
    length = sum(g.square().sum(1) for g in slope.values()).sqrt().clamp(min=1e-300)
    there = {m: x + 0.5 * slope[m] / length[:, None] * std[m] for m, x in batch.inputs.items()}
    worst = run(SupervisedLoss(), model, replace(batch, inputs=there), True)
    torch.testing.assert_close(found["y"], worst["y"])
    assert found["y"] > loss


@either
def test_it_moves_what_is_present_alone_within_one_ball(make_model, batch, on):
    model = make_model(ConcatFusion)
    objective = AdversarialLoss(radius=0.7, on=on)
    objective.build(model)
    movable = objective._of_batch(model, batch, model.encode(batch)).searched()
    moves = objective._found(model, movable, movable.still(), batch.target)
    length = sum(v.flatten(1).square().sum(dim=1) for v in moves.values()).sqrt()
    assert (length <= 0.7 * (1 + 1e-9)).all()
    assert length.max() > 0.69
    for i, m in enumerate(batch.modalities):
        assert not moves[m][~batch.present[:, i]].any()
    assert all(p.grad is None for p in model.parameters())


def test_codes_of_categories_are_not_moved(moved):
    model, batch = moved
    objective = AdversarialLoss(radius=3.0, on="inputs")
    objective.build(model)
    movable = objective._of_batch(model, batch, {})
    moves = objective._found(model, movable, movable.still(), {"y": batch.target})
    assert moves["b"][..., :2].any()
    assert not moves["b"][..., 2].any()


@either
def test_the_search_leaves_modes_as_they_were(make_model, batch, on):
    model = make_model(ConcatFusion).train()
    model.encoders["a"].eval()
    run(AdversarialLoss(on=on), model, batch, True)
    assert model.fusion.training
    assert not model.encoders["a"].training


@either
def test_its_gradient_reaches_the_encoders(make_model, batch, on):
    model = make_model(ConcatFusion)
    sum(run(AdversarialLoss(on=on), model, batch, True).values()).backward()
    assert all(any(p.grad.any() for p in e.parameters()) for e in model.encoders.values())


def test_crmts_margin_can_count_at_what_is_moved(make_model, batch):
    model = make_model(CRMTFusion, ("kind", "size"))
    found = run(AdversarialLoss(margin=2.0), model, batch, False)
    plain = run(CRMTMargin(), model, batch, False)
    torch.testing.assert_close(found["kind_margin"], 2 * plain["kind"])
    with pytest.raises(ConfigError, match="late fusion"):
        AdversarialLoss(margin=1.0).build(make_model(ConcatFusion))


def test_on_inputs_it_keeps_the_promises_of_an_objective():
    check_objective(AdversarialLoss, on="inputs")


def test_texts_and_inputs_of_frozen_encoders_stay():
    spec = DataSpec(
        {"text": ModalitySpec("text", ()), "a": ModalitySpec.of(3)},
        {"y": TargetSpec("binary", ("no", "yes"))},
    )
    text = HashedNgramEncoder(spec.modalities["text"], out_dim=4)
    for frozen in (False, True):
        encoders = {"text": text, "a": MLPEncoder(spec.modalities["a"], out_dim=4)}
        encoders["a"].frozen = frozen
        model = FusionModel(spec, encoders, ConcatFusion({"text": 4, "a": 4}))
        objective = AdversarialLoss(on="inputs")
        if frozen:
            with pytest.raises(ConfigError, match="on='tokens'"):
                objective.build(model)
        else:
            objective.build(model)
            assert objective._movable == {"a"}


def test_impossible_attacks_are_refused():
    for options in ({"radius": 0.0}, {"steps": 0}, {"margin": -1.0}, {"on": "words"}):
        with pytest.raises(ConfigError, match="AdversarialLoss"):
            AdversarialLoss(**options)
