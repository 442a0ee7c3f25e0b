"""Survival losses: their equations written out slowly, ties, steps and rows that do not count."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse import TargetSpec
from mmfuse.objectives.survival_loss import cox_loss, hazard_loss
from mmfuse.objectives.target_loss import TargetLoss, weighted_mean

CUTS = torch.tensor([1.0, 2.5, 4.0, 9.0], dtype=torch.float64)
NAN = float("nan")


def outcomes(rows=30, seed=0, grid=2):
    """Times with ties and events."""
    draw = torch.Generator().manual_seed(seed)
    time = (torch.rand(rows, generator=draw, dtype=torch.float64) * 10 * grid).round() / grid
    event = (torch.rand(rows, generator=draw) < 0.6).double()
    return torch.stack([time, event], dim=1)


def scores(*shape, seed=1, scale=1.0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64) * scale


def literal_hazard(logits, time, event):
    ends = [0.0, *CUTS.tolist()]
    survived, place = 1.0, next((k for k in range(4) if time <= ends[k + 1]), 3)
    for k in range(place):
        survived *= 1 - 1 / (1 + math.exp(-logits[k]))
    hazard = 1 / (1 + math.exp(-logits[place]))
    if event:
        return -math.log(survived * hazard)
    passed = min((time - ends[place]) / (ends[place + 1] - ends[place]), 1)
    return -math.log(survived * (1 - hazard) ** passed)


def literal_efron(score, target):
    """Each event's term; the events of one time take turns at leaving the risk set."""
    terms, taken = [], {}
    for r, (t, e) in zip(score, target, strict=True):
        if not e:
            terms.append(0.0)
            continue
        dying = [math.exp(s) for s, (u, d) in zip(score, target, strict=True) if u == t and d]
        at_risk = sum(math.exp(s) for s, (u, _) in zip(score, target, strict=True) if u >= t)
        turn = taken[t] = taken.get(t, -1) + 1
        terms.append(-r + math.log(at_risk - turn / len(dying) * sum(dying)))
    return terms


def test_the_hazard_loss_is_its_equation():
    target, logits = outcomes(60), scores(60, 4)
    target[0] = torch.tensor([40.0, 1.0])  # beyond the last cut
    target[1], target[2] = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0])
    expected = [
        literal_hazard(row.tolist(), *outcome.tolist())
        for row, outcome in zip(logits, target, strict=True)
    ]
    assert hazard_loss(logits, target, CUTS).tolist() == pytest.approx(expected, rel=1e-12)


def test_a_row_censored_at_a_cut_has_the_published_loss():
    logits = scores(3, 4)
    target = torch.stack([CUTS[:3], torch.zeros(3)], dim=1)
    passed = torch.nn.functional.logsigmoid(-logits).cumsum(dim=1).diagonal()
    assert torch.allclose(hazard_loss(logits, target, CUTS), -passed)


@pytest.mark.parametrize("grid", [1, 1000], ids=["many ties", "no ties"])
@pytest.mark.parametrize("seed", range(3))
def test_the_cox_loss_is_its_equation(seed, grid):
    target, score = outcomes(40, seed, grid), scores(40, seed=seed)
    found = cox_loss(score, target, torch.ones(40, dtype=torch.bool))
    expected = literal_efron(score.tolist(), [tuple(row) for row in target.tolist()])
    # Which of the tied events takes which turn has no meaning; their sum has.
    for time in target[:, 0].unique():
        here = target[:, 0] == time
        terms = [e for e, h in zip(expected, here, strict=True) if h]
        assert found[here].sum().item() == pytest.approx(sum(terms), abs=1e-10)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=9), st.data())
@settings(max_examples=60, deadline=None)
def test_the_cox_loss_is_its_equation_for_any_ties(pairs, data):
    score = [data.draw(st.floats(-30, 30)) for _ in pairs]
    target = torch.tensor([[float(t), float(e)] for t, e in pairs], dtype=torch.float64)
    everyone = torch.ones(len(pairs), dtype=torch.bool)
    found = cox_loss(torch.tensor(score, dtype=torch.float64), target, everyone).sum().item()
    expected = sum(literal_efron(score, [tuple(row) for row in target.tolist()]))
    assert found == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_the_gradients_are_those_of_finite_differences():
    target, counted = outcomes(12), torch.arange(12) % 4 > 0
    one, several = scores(12).requires_grad_(), scores(12, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: cox_loss(r, target, counted), one)
    assert torch.autograd.gradcheck(lambda x: hazard_loss(x, target, CUTS), several)


def test_a_row_that_does_not_count_is_in_no_risk_set():
    target, score = outcomes(20), scores(20)
    counted = torch.arange(20) % 3 > 0
    found = cox_loss(score, target, counted)
    alone = cox_loss(score[counted], target[counted], torch.ones(int(counted.sum())).bool())
    assert torch.allclose(found[counted], alone)
    assert (found[~counted] == 0).all()
    others = torch.where(counted, score, 1e30).requires_grad_()
    spoilt = cox_loss(others, torch.where(counted.unsqueeze(1), target, NAN), counted)
    assert torch.equal(spoilt, found)
    spoilt.sum().backward()
    assert (others.grad[~counted] == 0).all()


def test_every_step_is_a_model_of_its_own():
    target, score = outcomes(20), scores(20, 3)
    counted = scores(20, 3, seed=5) > -0.5
    wide = target.unsqueeze(1).expand(-1, 3, -1)
    found = cox_loss(score, wide, counted)
    for k in range(3):
        assert torch.allclose(found[:, k], cox_loss(score[:, k], target, counted[:, k]))


def test_scores_far_apart_neither_overflow_nor_vanish():
    target = torch.tensor([[1.0, 1], [1, 1], [2, 1], [3, 0], [3, 1], [4, 1]])
    score = torch.tensor([900.0, -900, 0, 3000, -3000, -2999]).requires_grad_()
    loss = cox_loss(score, target, torch.ones(6, dtype=torch.bool))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert score.grad.isfinite().all()


def loss_of(cuts, logits, target, counted=None):
    return weighted_mean(*TargetLoss(TargetSpec("survival", cuts=cuts))(logits, target, counted))


def test_cox_is_the_mean_over_events_of_the_known_rows():
    target = outcomes(25).float()
    target[3:6] = NAN
    logits = scores(25, 1).float()
    known = target.isfinite().all(dim=1)
    terms = cox_loss(logits[known, 0], target[known], torch.ones(22, dtype=torch.bool))
    expected = terms.sum() / target[known, 1].sum()
    assert loss_of((), logits, target).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("cuts", [(), (1.0, 4.0)], ids=["cox", "hazards"])
@pytest.mark.parametrize("unknown", [True, False], ids=["no outcome", "no event"])
def test_a_batch_with_nothing_to_learn_from_is_finite(cuts, unknown):
    target = torch.full((4, 2), NAN) if unknown else torch.tensor([[1.0, 0.0]] * 4)
    logits = scores(4, max(len(cuts), 1)).float().requires_grad_()
    loss = loss_of(cuts, logits, target)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    if unknown or not cuts:
        assert loss.item() == 0
        assert (logits.grad == 0).all()


@pytest.mark.parametrize("cuts", [(), (1.0, 4.0)], ids=["cox", "hazards"])
def test_half_precision_scores_are_judged_in_single(cuts):
    target, logits = outcomes(30).float(), scores(30, max(len(cuts), 1)).bfloat16()
    assert loss_of(cuts, logits, target) == loss_of(cuts, logits.float(), target)
