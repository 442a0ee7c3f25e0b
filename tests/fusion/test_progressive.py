"""ProgressiveWeightFusion: its equation, and weights that follow the learned ones slowly."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import leaky_relu

from mmfuse.errors import ConfigError
from mmfuse.fusion import ProgressiveWeightFusion


def perceptron(x, module):
    first, last = module.first, module.last
    return last.weight @ leaky_relu(first.weight @ x + first.bias, 0.01) + last.bias


def cosine_transform(x):
    """The transform of type II by its definition, one coefficient after the other."""
    n = len(x)
    found = []
    for k in range(n):
        total = sum(x[j] * math.cos(math.pi * (2 * j + 1) * k / (2 * n)) for j in range(n))
        found.append(total * math.sqrt((1 if k == 0 else 2) / n))
    return torch.stack(found)


@pytest.mark.parametrize("joint", [True, False])
def test_the_equation(sample, agrees, joint):
    fusion = ProgressiveWeightFusion(sample.dims, out_dim=6, hidden=5, joint=joint)
    fusion.used.copy_(torch.tensor([0.5, 0.2, 0.1, 0.2][: 3 + joint]))
    weights = dict(zip(sample.dims, fusion.used.tolist(), strict=False))

    def equation(row):
        zeros = {m: torch.zeros(d, dtype=torch.float64) for m, d in sample.dims.items()}
        x = zeros | {m: v.mean(dim=0) for m, v in row.items()}
        parts = [(weights[m], perceptron(x[m], fusion.project[m])) for m in row]
        if joint:
            everything = cosine_transform(torch.cat([x[m] for m in sample.dims]))
            parts.append((fusion.used[3], perceptron(everything, fusion.project_joint)))
        return sum(w * z for w, z in parts) / sum(w for w, _ in parts)

    agrees(fusion.eval(), equation)


def test_weights_follow_the_learned_ones_and_stay_in_evaluation(sample):
    fusion = ProgressiveWeightFusion(sample.dims, decay=0.75, joint=False).double()
    with torch.no_grad():
        fusion.learned.copy_(torch.tensor([1.0, -1.0, 0.0]))
    goal, expected = fusion.learned.softmax(dim=0), torch.full((3,), 1 / 3).double()
    for _ in range(3):
        expected = 0.75 * expected + 0.25 * goal
        weights = fusion.train()(sample.tokens, sample.present).weights[7]
        torch.testing.assert_close(weights, expected)
    kept = fusion.used.clone()
    torch.testing.assert_close(fusion.eval()(sample.tokens, sample.present).weights[7], kept)
    assert torch.equal(fusion.used, kept)


def test_the_learned_weights_learn_through_what_is_new_alone(sample):
    found = {}
    for decay in (0.0, 0.9):
        torch.manual_seed(0)
        fusion = ProgressiveWeightFusion(sample.dims, decay=decay).double()
        fusion(sample.tokens, sample.present).vector.square().sum().backward()
        found[decay] = fusion.learned.grad
    # The weights are equal at the start, whatever the decay, so that the gradients compare.
    torch.testing.assert_close(found[0.9], 0.1 * found[0.0])
    assert found[0.9].abs().max() > 0


def test_a_checkpoint_carries_the_weights_that_are_used(sample):
    fusion = ProgressiveWeightFusion(sample.dims).double()
    with torch.no_grad():
        fusion.learned.copy_(torch.tensor([3.0, 0.0, 0.0, 0.0]))
    fusion(sample.tokens, sample.present)
    again = ProgressiveWeightFusion(sample.dims).double()
    again.load_state_dict(fusion.state_dict())
    assert torch.equal(again.used, fusion.used)


@pytest.mark.parametrize("wrong", [{"decay": 1.0}, {"decay": -0.1}, {"hidden": 0}])
def test_options_outside_their_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="decay"):
        ProgressiveWeightFusion({"a": 2}, **wrong)
