import itertools

import numpy as np
import pytest
import torch
from attack_models import THREE, WIDTHS, curved_model, linear_model, rows

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion import CRMTFusion
from mmfuse.objectives import CRMTMargin, SupervisedLoss
from mmfuse.robustness import radii
from mmfuse.robustness.attacks import PGD, AutoPGD, Threat, attack_curves, strike
from mmfuse.robustness.steepness import (
    class_weights,
    estimated_steepness,
    proven_steepness,
    squared_steepness,
    steepness_alone,
    summed_gram,
)
from mmfuse_encoders import IdentityEncoder, LipschitzMLPEncoder, MLPEncoder

BOTH = ("a", "b")


def crmt_model(encoder=IdentityEncoder, target=THREE, out_dim=4):
    torch.manual_seed(0)
    spec = DataSpec({m: ModalitySpec.of(w) for m, w in WIDTHS.items()}, {"y": target})
    encoders = {m: encoder(w) for m, w in WIDTHS.items()}
    dims = {m: e.out_dim for m, e in encoders.items()}
    model = FusionModel(spec, encoders, CRMTFusion(dims, out_dim=out_dim)).double().eval()
    with torch.no_grad():
        model.heads["y"].raw_weights.normal_()
        model.heads["y"].bias.normal_()
    return model


def joint(found):
    return found.table[found.table["attacked"] == "a + b"].sort_values("row")["radius"].to_numpy()


@pytest.mark.parametrize("target", [THREE, TargetSpec("binary", ("no", "yes"))])
def test_on_a_linear_model_the_radius_is_the_distance_to_the_nearest_class(target):
    model, batch = crmt_model(target=target), rows(20, torch.float64, gaps=False)
    classes = model.spec.targets["y"].class_scores

    def scores(x):
        a, b = x[:, :3], x[:, 3:]
        return classes(model(Batch(BOTH, {"a": a, "b": b}, batch.present)).logits["y"])

    x = torch.cat([batch.inputs["a"], batch.inputs["b"]], dim=1)
    slope = torch.autograd.functional.jacobian(lambda v: scores(v).sum(dim=0), x)[:, 0]
    found, value = radii(model, [batch]), scores(x).detach()
    assert found.kind == "certified"
    for name, part in (("a", slope[:, :3]), ("b", slope[:, 3:]), ("a + b", slope)):
        mine = found.table[found.table["attacked"] == name].sort_values("row")["radius"]
        for row, radius in zip(value, mine, strict=True):
            y = int(row.argmax())
            expected = min(
                float((row[y] - row[j]) / (part[y] - part[j]).norm())
                for j in range(len(row))
                if j != y
            )
            assert radius == pytest.approx(expected)


def test_on_a_linear_model_an_attack_wins_just_beyond_the_radius_and_never_within():
    model, batch = crmt_model(), rows(8, torch.float64, gaps=False)
    with torch.no_grad():
        label = model(batch).logits["y"].argmax(dim=1)
    batch = Batch(BOTH, batch.inputs, batch.present, label)
    for i, radius in enumerate(joint(radii(model, [batch]))):
        row = batch.rows(torch.tensor([i]))
        budgets = [radius * 0.999, radius * 1.1]
        fooled = strike(model, row, PGD(steps=30, targets=2), Threat(BOTH), budgets).fooled
        assert fooled.tolist() == [[False], [True]]


def test_a_constant_in_a_modalitys_scores_counts_in_the_margin_and_in_no_bound():
    model, batch = crmt_model(), rows(8, torch.float64, gaps=False)
    before = proven_steepness(model, "y").detach()
    with torch.no_grad():
        model.fusion.vote["a"].bias.normal_(std=3.0)
        scores = model(batch).logits["y"]
    assert torch.equal(proven_steepness(model, "y"), before)
    label = scores.argmax(dim=1)
    batch = Batch(BOTH, batch.inputs, batch.present, label)
    steep = before.square().sum(dim=0).sqrt()
    for i, radius in enumerate(joint(radii(model, [batch]))):
        y = int(label[i])
        others = [j for j in range(3) if j != y]
        assert radius == pytest.approx(
            min(float((scores[i, y] - scores[i, j]) / steep[y, j]) for j in others)
        )
        row, budgets = batch.rows(torch.tensor([i])), [radius * 0.999, radius * 1.1]
        fooled = strike(model, row, PGD(steps=30, targets=2), Threat(BOTH), budgets).fooled
        assert fooled.tolist() == [[False], [True]]


@pytest.fixture(scope="module")
def trained():
    """A small model with Lipschitz encoders, trained on blobs, and its rows, some with gaps."""
    torch.manual_seed(0)
    label = torch.arange(90) % 3
    middle = {m: torch.randn(3, w) * 2 for m, w in WIDTHS.items()}
    inputs = {m: middle[m][label] + torch.randn(90, w) for m, w in WIDTHS.items()}
    batch = Batch(BOTH, inputs, torch.rand(90, 2) < 0.8, label)
    spec = DataSpec({m: ModalitySpec.of(w) for m, w in WIDTHS.items()}, {"y": THREE})
    encoders = {m: LipschitzMLPEncoder(w, 8, hidden=(8,), bound=2.0) for m, w in WIDTHS.items()}
    model = FusionModel(spec, encoders, CRMTFusion({"a": 8, "b": 8}, out_dim=8))
    terms = [SupervisedLoss(), CRMTMargin()]
    for term in terms:
        term.build(model)
    step = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        step.zero_grad()
        tokens, output = model.encode(batch), model(batch)
        sum(
            t.weight * v for t in terms for v in t(model, batch, tokens, output).values()
        ).backward()
        step.step()
    return model.eval(), batch


def test_no_attack_breaks_a_certified_radius(trained):
    model, batch = trained
    found = radii(model, [batch])
    table = found.table
    assert found.kind == "certified"
    budgets = [0.25, 0.5, 1.0, 2.0]
    attacks = [PGD(steps=20), AutoPGD(steps=20, targets=2)]
    curves = attack_curves(model, [batch], budgets, attacks, bootstrap=0)
    both = table.merge(curves.rows, on=["row", "attacked"])
    right = both[both["label_x"] == both["predicted"]]
    assert len(right) > 150
    assert (right["broken_at"] >= right["radius"] * (1 - 1e-5)).all()
    assert np.isfinite(right["broken_at"]).any()
    for attacked in ("a", "b", "a + b"):
        worst = curves.worst(attacked)
        for budget, accuracy in zip(worst["budget"], worst["accuracy"], strict=True):
            assert accuracy >= found.accuracy(budget, attacked) - 1e-9
    assert found.accuracy(0.25, "a + b") > 0.3


def test_radii_of_one_modality_are_no_smaller_and_infinite_where_it_is_absent(trained):
    model, batch = trained
    table = radii(model, [batch]).table.pivot(index="row", columns="attacked", values="radius")
    for i, m in enumerate(BOTH):
        assert (table[m] >= table["a + b"] - 1e-9).all()
        absent = ~batch.present[:, i].numpy()
        assert np.isinf(table[m][absent]).all()
        assert np.isfinite(table[m][~absent]).all()


def test_an_estimated_radius_uses_the_largest_gradient_of_each_difference():
    model, batch = curved_model(), rows(10)
    steep = estimated_steepness(model, [batch], "y")
    expected = torch.zeros(2, 3, 3)
    standardise = model.standardise["a"]
    for i in range(10):
        for m, modality in enumerate(BOTH):
            if not batch.present[i, m]:
                continue
            for j, k in itertools.combinations(range(3), 2):
                x = {n: v[[i]].clone() for n, v in batch.inputs.items()}
                x[modality].requires_grad_()
                row = model.eval()(Batch(BOTH, x, batch.present[[i]])).logits["y"][0]
                (slope,) = torch.autograd.grad(row[j] - row[k], x[modality])
                if modality == "a":
                    slope = slope / standardise.scale
                length = slope.norm()
                expected[m, j, k] = expected[m, k, j] = torch.maximum(expected[m, j, k], length)
    torch.testing.assert_close(steep, expected, rtol=1e-4, atol=1e-6)
    found = radii(model, [batch], estimate_on=[batch])
    assert found.kind == "estimated"
    assert all(p.grad is None for p in model.parameters())


def test_on_a_linear_model_estimated_and_proven_bounds_agree():
    model = crmt_model()
    batch = rows(6, torch.float64, gaps=False)
    estimated = estimated_steepness(model, [batch], "y")
    torch.testing.assert_close(estimated, proven_steepness(model, "y"))
    gram = summed_gram(steepness_alone(model, [batch], "y"))
    loose = squared_steepness(gram, class_weights(model, "y"))
    off = ~torch.eye(3, dtype=torch.bool).expand(2, -1, -1)
    assert (loose.sqrt()[off] >= estimated[off] - 1e-9).all()


def test_the_minimum_is_over_all_classes_not_the_runner_up():
    model = crmt_model()
    batch = rows(200, torch.float64, gaps=False)
    with torch.no_grad():
        value = model(batch).logits["y"]
    steep = (proven_steepness(model, "y") ** 2).sum(dim=0).sqrt()
    order = value.argsort(dim=1, descending=True)
    y, second = order[:, 0], order[:, 1]
    runner_up = (value.gather(1, y[:, None]) - value.gather(1, second[:, None]))[:, 0] / steep[
        y, second
    ]
    found = joint(radii(model, [batch]))
    assert (found <= runner_up.detach().numpy() + 1e-9).all()
    assert (found < runner_up.detach().numpy() - 1e-6).any()


def test_tokens_have_radii_of_their_own():
    model = crmt_model(lambda w: MLPEncoder(w, 4))
    found = radii(model, [rows(6, torch.float64)], on="tokens")
    assert found.kind == "certified"
    assert found.on == "tokens"


def test_what_cannot_be_certified_is_named():
    batch = [rows(6, torch.float64)]

    class Unknown(IdentityEncoder):
        lipschitz = None

    with pytest.raises(ConfigError, match=r"'a'.*Unknown.*LipschitzMLPEncoder.*estimate_on"):
        radii(crmt_model(Unknown), batch)
    with pytest.raises(ConfigError, match=r"needs CRMTFusion.*ConcatFusion.*estimate_on"):
        radii(linear_model(), batch)
    with pytest.raises(DataError, match="no rows"):
        radii(crmt_model(), [])
    with pytest.raises(DataError, match="no rows to estimate"):
        radii(crmt_model(), batch, estimate_on=[])
    with pytest.raises(ConfigError, match=r"'c'.*'a'"):
        radii(crmt_model(), batch).accuracy(1.0, "c")
