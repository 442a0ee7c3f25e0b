"""The objectives on the contrastive core against their equations."""

from __future__ import annotations

import itertools

import pytest
import torch
from contrastive_models import (
    ROWS,
    batch_of,
    both,
    losses_of,
    model_of,
    vectors,
)
from torch.nn import functional as F

from mmfuse.objectives import (
    ChangeAlignmentLoss,
    CLIPLoss,
    CyCLIPLoss,
    GoalAlignmentLoss,
    SigLIPLoss,
    SubsetLanguageLoss,
    SupConLoss,
)
from mmfuse.objectives.contrastive import cyclic_consistency, info_nce, multi_positive, unit


def test_cyclic_consistency_is_its_sum_over_pairs_of_rows():
    x, y = F.normalize(torch.randn(2, 9, 4).double(), dim=-1).requires_grad_()
    valid = torch.arange(9) % 3 != 1
    n, (a, b) = int(valid.sum()), (x[valid], y[valid])
    within = (a @ a.T - b @ b.T).square().sum() / n
    across = (a @ b.T - b @ a.T).square().sum() / n
    found = cyclic_consistency(x, y, valid=valid)
    for ours, expected in zip(found, (within, across), strict=True):
        torch.testing.assert_close(ours, expected)
        one, other = (torch.autograd.grad(v, (x, y), retain_graph=True) for v in (ours, expected))
        torch.testing.assert_close(one, other)


def test_cyclic_consistency_keeps_its_digits_where_both_sides_nearly_agree():
    x = F.normalize(torch.randn(500, 8), dim=1)
    y = F.normalize(x + 1e-4 * torch.randn(500, 8), dim=1)
    exact = cyclic_consistency(x.double(), y.double())
    for ours, expected in zip(cyclic_consistency(x, y), exact, strict=True):
        assert ours.item() == pytest.approx(expected.item(), rel=1e-2)


def test_cyclip_adds_both_consistencies_to_clip():
    model = model_of()
    batch = batch_of(model)
    found = losses_of(CyCLIPLoss(within=0.5, across=2.0), model, batch)
    clip = losses_of(CLIPLoss(), model, batch)
    for pair in itertools.combinations("abc", 2):
        x, y = (vectors(model, batch, m) for m in pair)
        within, across = cyclic_consistency(x, y, valid=both(batch, *pair))
        name = "_".join(pair)
        torch.testing.assert_close(found[name], clip[name] + (0.5 * within + 2 * across) / 3)


def test_siglip_judges_every_pair_of_rows():
    model = model_of(names=("a", "b"))
    batch = batch_of(model)
    found = losses_of(SigLIPLoss(temperature=0.2, bias=-3.0), model, batch)["a_b"]
    rows = both(batch, "a", "b").nonzero().squeeze(1).tolist()
    x, y = (vectors(model, batch, m) for m in "ab")
    total = 0.0
    for i, j in itertools.product(rows, rows):
        sign = 1 if i == j else -1
        total -= F.logsigmoid(sign * (5 * x[i] @ y[j] - 3)).item()
    assert found.item() == pytest.approx(total / len(rows), rel=1e-6)


def test_supcon_takes_the_modalities_of_a_row_for_its_views():
    model = model_of()
    batch = batch_of(model)
    found = losses_of(SupConLoss(temperature=0.5), model, batch)["kind"]
    views = [
        (i, batch.target["kind"][i].item(), vectors(model, batch, m)[i])
        for k, m in enumerate("abc")
        for i in range(ROWS)
        if batch.present[i, k]
    ]
    losses = []
    for v, (i, label, z) in enumerate(views):
        others = [w for w in range(len(views)) if w != v]
        log_sum = torch.stack([2 * z @ views[w][2] for w in others]).logsumexp(dim=0)
        wanted = [
            2 * z @ views[w][2] - log_sum
            for w in others
            if (views[w][1] == label if label >= 0 else views[w][0] == i)
        ]
        if wanted:
            losses.append(-torch.stack(wanted).mean())
    torch.testing.assert_close(found, torch.stack(losses).mean(), rtol=1e-6, atol=0)


def test_supcon_of_one_modality_needs_no_other():
    model = model_of({"a": 4, "b": 7})
    batch = batch_of(model, torch.ones(ROWS, 2, dtype=torch.bool))
    found = losses_of(SupConLoss(modalities=["b"]), model, batch)["kind"]
    x = vectors(model, batch, "b")
    kind = batch.target["kind"]
    torch.testing.assert_close(found, multi_positive(x, None, 10.0, labels=kind))


def test_the_text_is_compared_with_the_fusion_of_every_subset():
    model = model_of()
    batch = batch_of(model)
    objective = SubsetLanguageLoss(dim=3)
    found = losses_of(objective, model, batch)["c"]
    tokens = model.encode(batch)

    def space(z):
        return z / (z.norm(dim=1, keepdim=True) + 0.1)

    y = space(objective.project_text(tokens["c"].pooled()))
    losses = []
    for subset in ([0], [1], [0, 1]):
        present = torch.zeros_like(batch.present)
        present[:, subset] = batch.present[:, subset]
        x = space(objective.project(model.fuse(tokens, present).vector))
        rows = batch.present[:, 2] & batch.present[:, subset].any(dim=1)
        losses.append(info_nce(x[rows], y[rows], 1.0))
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_what_is_outside_a_subset_cannot_change_its_loss():
    model = model_of()
    present = torch.ones(ROWS, 3, dtype=torch.bool)
    present[:, 1] = False
    batch = batch_of(model, present)
    losses_of(objective := SubsetLanguageLoss(), model, batch)["c"].backward()
    assert model.encoders["a"].map.weight.grad.any()
    assert model.encoders["b"].map.weight.grad is None
    assert objective.project_text.weight.grad.any()


def test_a_bound_on_subsets_holds_in_training_alone():
    model = model_of({"a": 2, "b": 3, "c": 4, "d": 5, "t": 4})
    batch = batch_of(model, torch.ones(ROWS, 5, dtype=torch.bool))
    objective = SubsetLanguageLoss(subsets=3)
    objective.double().build(model)
    objective.double()
    seen = []
    model.fusion.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    tokens = model.encode(batch)
    for mode, count in ((True, 3), (False, 15)):
        objective.train(mode)
        seen.clear()
        objective(model, batch, tokens, None)
        assert len(seen) == count
        assert len({tuple(p[0].tolist()) for p in seen}) == count
        assert not any(p[:, 4].any() for p in seen)


def test_goal_alignment_compares_fusions_that_lack_one_or_the_other():
    model = model_of()
    batch = batch_of(model)
    found = losses_of(GoalAlignmentLoss(swap=["a", "c"], temperature=0.5), model, batch)["a_c"]
    tokens, rows = model.encode(batch), both(batch, "a", "c")
    without = []
    for column in (2, 0):
        there = batch.present.clone()
        there[:, column] = False
        without.append(unit(model.fuse(tokens, there).vector))
    expected = info_nce(without[0][rows], without[1][rows], 2.0)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_both_passes_draw_the_same_dropout():
    model = model_of(dropout=0.5).train()
    batch = batch_of(model, torch.ones(ROWS, 3, dtype=torch.bool))
    objective = GoalAlignmentLoss(swap=["a", "b"]).double()
    objective.build(model)
    tokens, states = model.encode(batch), []
    model.fusion.register_forward_pre_hook(lambda *_: states.append(torch.get_rng_state()))
    objective(model, batch, tokens, None)
    assert torch.equal(*states)
    assert not torch.equal(states[0], torch.get_rng_state())


def test_change_alignment_compares_the_text_with_the_difference():
    model = model_of(targets=("kind", "size"))
    batch = batch_of(model)
    objective = ChangeAlignmentLoss(
        states=["b", "a"], text="c", temperature=0.25, directions=(2, 1), group="kind"
    )
    found = losses_of(objective, model, batch)["c"]
    tokens = {m: t.pooled() for m, t in model.encode(batch).items()}
    rows = batch.present.all(dim=1)
    x = F.normalize(tokens["a"] - tokens["b"], dim=1)
    y = F.normalize(tokens["c"], dim=1)
    group = batch.target["kind"][rows]
    expected = info_nce(x[rows], y[rows], 4.0, group=group, directions=(2, 1))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert found < info_nce(x[rows], y[rows], 4.0, directions=(2, 1))


def test_states_that_are_alike_have_finite_gradients():
    model = model_of()
    with torch.no_grad():
        for encoder in model.encoders.values():
            encoder.map.weight.zero_()
            encoder.map.bias.zero_()
    batch = batch_of(model, torch.ones(ROWS, 3, dtype=torch.bool))
    losses_of(ChangeAlignmentLoss(), model, batch)["c"].backward()
    assert all(p.grad.isfinite().all() for p in model.encoders.parameters())


@pytest.mark.parametrize("objective", [CLIPLoss, CyCLIPLoss, SigLIPLoss])
def test_rows_of_different_groups_are_not_compared(objective):
    model = model_of(names=("a", "b"))
    batch = batch_of(model, torch.ones(ROWS, 2, dtype=torch.bool))
    options = {"within": 0.0, "across": 0.0} if objective is CyCLIPLoss else {}
    found = losses_of(objective(group="kind", **options), model, batch)["a_b"]
    kind = batch.target["kind"]
    parts = []
    for label in kind.unique():
        rows = (kind == label).nonzero().squeeze(1)
        part = losses_of(objective(**options), model, batch.rows(rows))["a_b"]
        parts.append(part * len(rows) / ROWS)
    torch.testing.assert_close(found, torch.stack(parts).sum())


@pytest.mark.parametrize(
    "objective", [CLIPLoss(), CyCLIPLoss(), SigLIPLoss(bias=-2.0), GoalAlignmentLoss()]
)
def test_training_on_it_brings_partners_together(objective):
    model = model_of(names=("a", "b"))
    batch = batch_of(model, torch.ones(ROWS, 2, dtype=torch.bool))
    batch.inputs["b"][:] = batch.inputs["a"].flip(1)
    objective.double().build(model)
    optimizer = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=0.1)
    losses = []
    for _ in range(30):
        loss = sum(objective(model, batch, model.encode(batch), None).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
