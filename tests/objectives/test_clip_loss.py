"""CLIPLoss against its equation, and rows that lack a modality."""

from __future__ import annotations

import math

import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.fusion import MeanFusion
from mmfuse.objectives import CLIPLoss
from mmfuse.objectives.contrastive import info_nce
from mmfuse_encoders import LinearEncoder


def model_of(widths: dict[str, int]) -> FusionModel:
    spec = DataSpec({m: ModalitySpec.of(3) for m in widths}, {"y": TargetSpec("regression")})
    encoders = {m: LinearEncoder(3, out_dim=w) for m, w in widths.items()}
    return FusionModel(spec, encoders, MeanFusion(widths)).double()


def losses_of(model, objective, present):
    inputs = {m: torch.randn(len(present), 3).double() for m in model.modalities}
    batch = Batch(model.modalities, inputs, present)
    tokens = model.encode(batch)
    return objective(model, batch, tokens, model(batch)), tokens


def test_the_loss_is_its_equation_over_rows_that_have_both():
    torch.manual_seed(0)
    model = model_of({"a": 4, "b": 4, "c": 4})
    objective = CLIPLoss(temperature=0.5).double()
    objective.build(model)
    present = torch.rand(9, 3) < 0.7
    with torch.no_grad():
        losses, tokens = losses_of(model, objective, present)
    assert set(losses) == {"a_b", "a_c", "b_c"}
    for name, loss in losses.items():
        a, b = name.split("_")
        rows = [i for i in range(9) if present[i, "abc".index(a)] and present[i, "abc".index(b)]]
        total = 0.0
        for i in rows:
            for one, other in ((a, b), (b, a)):
                x = tokens[one].pooled()[i]
                scores = [
                    math.exp(
                        2 * float(torch.cosine_similarity(x, tokens[other].pooled()[j], dim=0))
                    )
                    for j in rows
                ]
                total -= math.log(scores[rows.index(i)] / sum(scores)) / 2
        assert loss.item() == pytest.approx(total / len(rows) / 3, rel=1e-9)


def test_chosen_pairs_leave_the_third_modality_alone():
    model = model_of({"a": 4, "b": 4, "c": 7})
    objective = CLIPLoss(pairs=[["b", "a"]]).double()
    objective.build(model)
    losses, _ = losses_of(model, objective, torch.ones(5, 3, dtype=torch.bool))
    assert set(losses) == {"b_a"}


def test_the_scale_is_capped():
    objective = CLIPLoss()
    torch.nn.init.constant_(objective.temperature.log_scale, 50.0)
    model = model_of({"a": 4, "b": 4})
    objective.double().build(model)
    losses, tokens = losses_of(model, objective, torch.ones(5, 2, dtype=torch.bool))
    x, y = (torch.nn.functional.normalize(tokens[m].pooled(), dim=-1) for m in "ab")
    expected = info_nce(x, y, 100.0)
    torch.testing.assert_close(losses["a_b"], expected)


def test_aligned_rows_cost_less_than_shuffled_ones():
    x = torch.nn.functional.normalize(torch.randn(16, 8), dim=-1)
    scale = torch.tensor(10.0)
    assert info_nce(x, x, scale) < info_nce(x, x.roll(1, 0), scale)


def test_a_scale_at_its_cap_can_fall_again():
    objective = CLIPLoss()
    torch.nn.init.constant_(objective.temperature.log_scale, 50.0)
    model = model_of({"a": 4, "b": 4})
    objective.double().build(model)
    for _ in range(2):
        losses, _ = losses_of(model, objective, torch.ones(5, 2, dtype=torch.bool))
        losses["a_b"].backward()
    assert objective.temperature.log_scale.exp().item() == pytest.approx(100)
    assert objective.temperature.log_scale.grad != 0


def test_a_fixed_scale_is_not_learned():
    assert not CLIPLoss(learnable=False).temperature.log_scale.requires_grad


def test_each_direction_has_its_weight():
    model = model_of({"a": 4, "b": 4})
    found = []
    for directions in ((1, 0), (0, 1), (3, 1)):
        torch.manual_seed(0)
        objective = CLIPLoss(directions=directions).double()
        objective.build(model)
        losses, _ = losses_of(model, objective, torch.ones(5, 2, dtype=torch.bool))
        found.append(losses["a_b"])
    torch.testing.assert_close(found[2], 0.75 * found[0] + 0.25 * found[1])


def test_an_anchor_is_in_every_pair():
    model = model_of({"a": 4, "b": 4, "c": 4})
    objective = CLIPLoss(pairs="anchor:b").double()
    objective.build(model)
    losses, _ = losses_of(model, objective, torch.ones(5, 3, dtype=torch.bool))
    assert set(losses) == {"b_a", "b_c"}


def test_a_batch_without_a_complete_pair_costs_nothing():
    model = model_of({"a": 4, "b": 4})
    objective = CLIPLoss().double()
    objective.build(model)
    for present in ([[1, 0], [0, 1], [0, 0]], [[1, 0]] * 3, [[1, 1], [0, 1], [1, 0]]):
        model.zero_grad()
        losses, _ = losses_of(model, objective, torch.tensor(present).bool())
        assert losses["a_b"] == 0
        losses["a_b"].backward()
        assert not any(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(
    ("widths", "pairs", "told"),
    [
        ({"a": 4, "b": 5}, None, "of one width"),
        ({"a": 4}, None, "two different modalities"),
        ({"a": 4, "b": 4}, "rings", r"'all', 'ring', 'anchor:NAME' with one of \['a', 'b'\]"),
        ({"a": 4, "b": 4}, [["a", "a"]], "two different modalities"),
        ({"a": 4, "b": 4}, [["a"]], "two different modalities"),
        ({"a": 4, "b": 4}, [], "two different modalities"),
    ],
)
def test_models_that_cannot_be_aligned_are_refused(widths, pairs, told):
    with pytest.raises(ConfigError, match=told):
        CLIPLoss(pairs=pairs).build(model_of(widths))


@pytest.mark.parametrize("temperature", [0.0, 0.009, -1.0, 2.0, float("nan")])
def test_a_temperature_outside_its_range_is_refused(temperature):
    with pytest.raises(ConfigError, match="temperature"):
        CLIPLoss(temperature=temperature)


@pytest.mark.parametrize("pairs", [[["a", "x"]], "anchor:x"])
def test_a_pair_of_unknown_modalities_lists_the_known_ones(pairs):
    with pytest.raises(UnknownModalityError, match=r"\['x'\]; the modalities are \['a', 'b'\]"):
        CLIPLoss(pairs=pairs).build(model_of({"a": 4, "b": 4}))
