"""ITHP against its equations, one row, one token and one level at a time."""

from __future__ import annotations

import math

import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError
from mmfuse.fusion import ITHPFusion, ITHPResidualFusion
from mmfuse.fusion.information_chain import RunningScale
from mmfuse.tokens import Tokens
from mmfuse_encoders import IdentityEncoder

ORDER = ["b", "c", "a"]  # the prime, then the detectors
BETAS, LAMBDAS = [8.0, 32.0], [1.0, 0.3]


def mlp(layers, x):
    first, last = layers[0], layers[3]
    return last.weight @ (first.weight @ x + first.bias).clamp(min=0) + last.bias


def walk(fusion, leader, x, aims):
    """One token through the chain: the last mean, each level's KL, each detector's error."""
    chain, start = fusion.chain, min(ORDER.index(leader), 1)
    state, kl, error = x, {}, {}
    for level in range(start, 2):
        layers = chain.enter[leader] if level == start else chain.carry[level - 1]
        stats = mlp(layers, state)
        width = len(stats) // 2
        mean, log_variance = stats[:width].tolist(), stats[width:].tolist()
        terms = [
            -0.5 * (1 + v - m**2 - math.exp(v)) for m, v in zip(mean, log_variance, strict=True)
        ]
        kl[level] = sum(terms) / width
        state = stats[:width]
        detector = ORDER[level + 1]
        if detector in aims and detector != leader:
            gap = mlp(chain.detect[detector], state) - aims[detector]
            error[detector] = (gap**2).mean().item()
    return state, kl, error


def scaled(fusion, m, x):
    moments = fusion.standardise[m]
    return (x - moments.mean) / (moments.variance + 1e-5).sqrt()


def expected_losses(walks):
    losses = {}
    for level in range(2):
        kls = [kl[level] for _, kl, _ in walks if level in kl]
        m = ORDER[level + 1]
        errors = [error[m] for *_, error in walks if m in error]
        factor = 2 / sum(BETAS) * LAMBDAS[level]
        losses[f"kl_{level}"] = factor * sum(kls) / len(kls)
        losses[f"detect_{m}"] = factor * BETAS[level] * sum(errors) / len(errors)
    return losses


def leader_of(row):
    return next((m for m in ORDER if m in row), None)


def moved(fusion, sample, shake):
    """The fusion with moments of its own and no parameter at its first value."""
    shake(fusion).train()
    fusion(sample.tokens, sample.present)
    return fusion.eval()


def check_losses(found, walks):
    expected = expected_losses(walks)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-9), name


def test_a_chain_is_its_equations(sample, shake):
    fusion = ITHPFusion(sample.dims, out_dim=4, order=ORDER, bottleneck=6, hidden=7)
    fused = moved(fusion, sample, shake)(sample.tokens, sample.present)
    walks = []
    for i in range(8):
        row = {m: t.mean(dim=0) for m, t in sample.row(i).items()}
        leader = leader_of(row)
        if leader is None:
            torch.testing.assert_close(fused.vector[i], fusion.prior)
            continue
        aims = {m: scaled(fusion, m, row[m]) for m in ORDER[1:] if m in row}
        walks.append(walk(fusion, leader, row[leader], aims))
        torch.testing.assert_close(fused.vector[i], walks[-1][0])
    check_losses(fused.losses, walks)


@pytest.mark.parametrize("is_aligned", [False, True])
def test_the_residual_form_is_its_equations(sample, shake, is_aligned):
    fusion = ITHPResidualFusion(
        sample.dims,
        order=ORDER,
        is_aligned=is_aligned,
        bottleneck=6,
        code_dim=4,
        hidden=7,
        scale=0.5,
    )
    fused = moved(fusion, sample, shake)(sample.tokens, sample.present)
    walks = []
    for i in range(8):
        row = sample.row(i)
        leader = leader_of(row)
        if leader is None:
            continue
        means = {m: scaled(fusion, m, t).mean(dim=0) for m, t in row.items() if m in ORDER[1:]}
        leads = row[leader] if leader == "b" else row[leader].mean(dim=0, keepdim=True)
        outputs = []
        for step, x in enumerate(leads):
            aims = means
            if is_aligned and leader == "b":
                # The sample is ragged: its tokens stand first, so positions are counts.
                aims = {
                    m: scaled(fusion, m, t[step])
                    for m, t in row.items()
                    if m in means and step < len(t)
                }
            walks.append(walk(fusion, leader, x, aims))
            base = x if leader == "b" else fusion.lift[leader](x)
            outputs.append(fusion.norm(0.5 * fusion.expand(walks[-1][0]) + base))
        torch.testing.assert_close(fused.vector[i], torch.stack(outputs).mean(dim=0))
    check_losses(fused.losses, walks)


def test_training_draws_from_the_bottleneck_and_evaluation_takes_its_mean(sample, shake):
    dims = {"a": 5, "c": 4}
    fusion = shake(ITHPFusion(dims, out_dim=3, hidden=7, dropout=0.0))
    tokens = {m: Tokens(sample.tokens[m].values[7:], sample.tokens[m].mask[7:]) for m in dims}
    present = torch.ones(1, 2, dtype=torch.bool)
    stats = fusion.chain.enter["a"](tokens["a"].pooled())
    mean, log_variance = stats.chunk(2, dim=1)
    torch.testing.assert_close(fusion(tokens, present).vector, mean)
    fusion.train()
    torch.manual_seed(3)
    drawn = fusion(tokens, present).vector
    torch.manual_seed(3)
    noise = torch.randn(1, 1, 3, dtype=torch.float64)[0]
    torch.testing.assert_close(drawn, mean + noise * (log_variance / 2).exp())


def test_absent_detectors_change_nothing_in_evaluation(sample, shake):
    for cls in (ITHPFusion, ITHPResidualFusion):
        fusion = moved(cls(sample.dims, hidden=7), sample, shake)
        whole = torch.ones(8, 3, dtype=torch.bool)
        with_all = fusion(
            {m: t.rows(torch.tensor([7])) for m, t in sample.tokens.items()}, whole[:1]
        )
        alone = fusion({"a": sample.tokens["a"].rows(torch.tensor([7]))}, whole[:1])
        torch.testing.assert_close(with_all.vector, alone.vector)


def test_an_entrance_that_never_learnt_says_nothing(sample):
    fusion = ITHPFusion(sample.dims, out_dim=4, hidden=7).double().eval()
    present = torch.tensor([[False, False, True]]).expand(8, -1)
    tokens = {"c": sample.tokens["c"].keep(sample.present[:, 2])}
    vector = fusion(tokens, present).vector
    assert torch.equal(vector, torch.zeros_like(vector))


def test_targets_are_scaled_by_the_moments_of_all_that_was_seen():
    torch.manual_seed(0)
    x = 3 * torch.randn(30, 2, dtype=torch.float64) + 5
    real = torch.rand(30) < 0.7
    scale = RunningScale(2, momentum=0.01).double()
    for part, here in zip(x.split(10), real.split(10), strict=True):
        scale(part, here)
    # Batches count alike, as long as the momentum lets them.
    means = torch.stack(
        [p[h].mean(dim=0) for p, h in zip(x.split(10), real.split(10), strict=True)]
    )
    torch.testing.assert_close(scale.mean, means.mean(dim=0))
    squares = torch.stack(
        [(p[h] ** 2).mean(dim=0) for p, h in zip(x.split(10), real.split(10), strict=True)]
    )
    torch.testing.assert_close(scale.variance, squares.mean(dim=0) - means.mean(dim=0) ** 2)
    before = scale.mean.clone()
    scale(x, torch.zeros(30, dtype=torch.bool))
    assert torch.equal(scale.mean, before)


def test_a_target_gets_no_gradient_in_training(sample):
    fusion = ITHPFusion(sample.dims, out_dim=4, hidden=7).double().train()
    values = {
        m: t.keep(sample.present[:, i]).values for i, (m, t) in enumerate(sample.tokens.items())
    }
    leaves = {m: v.clone().requires_grad_() for m, v in values.items()}
    tokens = {m: Tokens(v, sample.tokens[m].mask) for m, v in leaves.items()}
    present = torch.ones(1, 3, dtype=torch.bool)
    row = {m: t.rows(torch.tensor([7])) for m, t in tokens.items()}
    sum(fusion(row, present).losses.values()).backward()
    assert leaves["a"].grad.any()
    assert not leaves["b"].grad.any()
    assert not leaves["c"].grad.any()


def test_without_weight_no_loss_is_left(sample):
    fusion = ITHPFusion(sample.dims, weight=0.0).double()
    assert all(loss == 0 for loss in fusion(sample.tokens, sample.present).losses.values())


def test_the_chain_learns_what_the_prime_tells_of_a_detector():
    torch.manual_seed(0)
    x = torch.randn(200, 3)
    batch = Batch(
        ("x", "y"), {"x": x, "y": 5 * x[:, :1].square() + 2}, torch.ones(200, 2, dtype=torch.bool)
    )
    spec = DataSpec(
        {"x": ModalitySpec.of(3), "y": ModalitySpec.of(1)}, {"t": TargetSpec("regression")}
    )
    encoders = {m: IdentityEncoder(s) for m, s in spec.modalities.items()}
    fusion = ITHPFusion({"x": 3, "y": 1}, hidden=32, dropout=0.0)
    model = FusionModel(spec, encoders, fusion)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(300):
        losses = model(batch).fused.losses
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    # With one detector the MSE is weighed by 2: half of it is left of a variance of 1.
    assert model.eval()(batch).fused.losses["detect_y"] < 2 * 0.5


@pytest.mark.parametrize("cls", [ITHPFusion, ITHPResidualFusion])
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"order": ["a", "b"]}, "must name each of"),
        ({"order": ["a", "b", "b"]}, "must name each of"),
        ({"betas": [1.0]}, "expected 2 numbers"),
        ({"lambdas": [1.0, -1.0]}, "expected 2 numbers"),
        ({"betas": [0.0, 0.0]}, "one beta"),
        ({"weight": -1.0}, "a weight of 0 or more"),
        ({"momentum": 0.0}, "momentum"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(cls, options, told):
    with pytest.raises(ConfigError, match=told):
        cls({"a": 3, "b": 4, "c": 2}, **options)
