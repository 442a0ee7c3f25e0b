import math

import pytest
import torch

from mmfuse import Batch
from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion, CRMTFusion, LateMeanFusion
from mmfuse.objectives import CRMTMargin
from mmfuse.objectives.crmt import margin_loss, margin_terms


def naive(scores, label, present):
    """The mean of the margin term, number by number."""
    terms = []
    for row, y, here in zip(scores.tolist(), label.tolist(), present.tolist(), strict=True):
        if y < 0 or not any(here):
            continue
        total = 1e-5
        for s, there in zip(row, here, strict=True):
            total += sum(math.exp(s[k] - s[y]) for k in range(len(s)) if k != y) if there else 0
        terms.append(math.log(total))
    return sum(terms) / len(terms)


@pytest.fixture
def case():
    torch.manual_seed(0)
    scores = torch.randn(12, 3, 4, dtype=torch.float64) * 3
    return scores, torch.arange(12) % 5 - 1, torch.rand(12, 3) < 0.6


def test_the_margin_term_is_that_of_a_plain_loop(case):
    assert margin_loss(*case).item() == pytest.approx(naive(*case), rel=1e-12)


def test_its_gradient_is_the_numerical_one(case):
    scores, label, present = case
    label = label.clamp(min=0)
    assert torch.autograd.gradcheck(
        lambda s: margin_terms(s, label, present), scores.requires_grad_()
    )


def test_large_scores_do_not_overflow(case):
    scores, label, present = case
    scores = (scores.float() * 1e4).requires_grad_()
    loss = margin_loss(scores, label, present)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad.isfinite().all()
    assert scores.grad[present & (label >= 0).unsqueeze(1)].any()
    assert not scores.grad[~present].any()


@pytest.mark.parametrize("fusion", [CRMTFusion, LateMeanFusion])
def test_it_reads_each_modality_alone(fusion, make_model, batch):
    model = make_model(fusion, ("kind", "ill", "size"))
    objective = CRMTMargin()
    objective.build(model)
    losses = objective(model, batch, model.encode(batch), model(batch))
    assert set(losses) == {"kind", "ill"}
    votes = model(batch).fused.votes
    kind = model.heads["kind"](votes)
    assert losses["kind"].item() == pytest.approx(
        naive(kind, batch.target["kind"], batch.present) / 2
    )
    ill = model.heads["ill"](votes)
    both = torch.cat([torch.zeros_like(ill), ill], dim=-1)
    assert losses["ill"].item() == pytest.approx(
        naive(both, batch.target["ill"], batch.present) / 2
    )


def test_training_on_it_widens_every_modalitys_margin(make_model, batch):
    model = make_model(CRMTFusion, ("kind",)).train()
    few = Batch(batch.modalities, batch.inputs, batch.present, batch.target["kind"])
    objective = CRMTMargin()
    objective.build(model)
    step = torch.optim.Adam(model.parameters(), lr=0.05)

    def loss():
        return objective(model, few, model.encode(few), model(few))["kind"]

    before = loss().item()
    for _ in range(60):
        step.zero_grad()
        loss().backward()
        step.step()
    assert loss().item() < before - 1


def test_it_needs_votes_and_classes(make_model):
    with pytest.raises(ConfigError, match=r"ConcatFusion joins.*CRMTFusion"):
        CRMTMargin().build(make_model(ConcatFusion))
    with pytest.raises(ConfigError, match="'regression'"):
        CRMTMargin().build(make_model(CRMTFusion, ("size",)))
