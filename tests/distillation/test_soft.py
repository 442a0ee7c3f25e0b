"""The divergence of what two models say, against loops in float64."""

import math

import pytest
import torch

from mmfuse import TargetSpec
from mmfuse.distillation.soft import divergence, require_soft, require_temperature
from mmfuse.errors import ConfigError

KINDS = {
    "binary": TargetSpec("binary", ("no", "yes")),
    "multiclass": TargetSpec("multiclass", ("x", "y", "z")),
    "multilabel": TargetSpec("multilabel", ("p", "q")),
    "regression": TargetSpec("regression", width=2, mean=(1.0, 0.0), std=(2.0, 1.0)),
}


def softmax(scores):
    total = sum(math.exp(s) for s in scores)
    return [math.exp(s) / total for s in scores]


def slow(kind, p, q, temperature):
    """One row, by the book."""
    if kind == "regression":
        return sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) / len(p)
    pairs = {
        "binary": [([0, p[0]], [0, q[0]])],
        "multiclass": [(p, q)],
        "multilabel": [([0, a], [0, b]) for a, b in zip(p, q, strict=True)],
    }[kind]
    total = 0.0
    for said, by in pairs:
        one = softmax([s / temperature for s in said])
        two = softmax([s / temperature for s in by])
        total += sum(a * math.log(a / b) for a, b in zip(one, two, strict=True))
    return temperature**2 * total / len(pairs)


@pytest.mark.parametrize("temperature", [0.7, 4.0])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_loops_give(kind, temperature):
    spec = KINDS[kind]
    generator = torch.Generator().manual_seed(0)
    said, by = torch.randn(2, 6, spec.out_dim, generator=generator, dtype=torch.float64) * 3
    found = divergence(spec, said, by, temperature)
    wanted = [
        slow(kind, p, q, temperature) for p, q in zip(said.tolist(), by.tolist(), strict=True)
    ]
    assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_its_gradient_reaches_both_sides_and_vanishes_where_they_agree(kind):
    spec = KINDS[kind]
    one = torch.randn(4, spec.out_dim, dtype=torch.float64, requires_grad=True)
    two = torch.randn(4, spec.out_dim, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda p, q: divergence(spec, p, q, 4.0), (one, two))
    same = divergence(spec, one, one.detach().requires_grad_(), 4.0)
    assert same.abs().max() < 1e-12
    assert torch.autograd.grad(same.sum(), one)[0].abs().max() < 1e-12


def test_scores_of_any_size_stay_finite():
    said = torch.tensor([[200.0, -300.0, 0.0]], requires_grad=True)
    found = divergence(KINDS["multiclass"], said, -said, 1.0)
    found.sum().backward()
    assert found.isfinite().all()
    assert said.grad.isfinite().all()


def test_survival_and_no_temperature_are_refused():
    with pytest.raises(ConfigError, match="'death' is of survival"):
        require_soft("SoftTargets", "death", TargetSpec("survival"))
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="temperature"):
            require_temperature("SoftTargets", wrong)
