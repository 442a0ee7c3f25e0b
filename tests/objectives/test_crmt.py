import math

import pytest
import torch

from mmfuse import ArrayData, Batch, FusionModel, TargetSpec
from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion, CRMTFusion, LateMeanFusion
from mmfuse.objectives import CRMTMargin
from mmfuse.objectives.crmt import margin_loss, margin_terms
from mmfuse.objectives.row_weights import RowWeights
from mmfuse.objectives.target_loss import TargetLoss
from mmfuse_encoders import MLPEncoder


def naive(scores, label, present, weights):
    """The weighted mean of the margin term, number by number."""
    terms, counts = [], []
    for row, y, here in zip(scores.tolist(), label.tolist(), present.tolist(), strict=True):
        if y < 0 or not any(here):
            continue
        total = 1e-5
        for s, there in zip(row, here, strict=True):
            total += sum(math.exp(s[k] - s[y]) for k in range(len(s)) if k != y) if there else 0
        terms.append(math.log(total))
        counts.append(weights[y])
    return sum(c * t for c, t in zip(counts, terms, strict=True)) / sum(counts)


@pytest.fixture
def case():
    torch.manual_seed(0)
    scores = torch.randn(12, 3, 4, dtype=torch.float64) * 3
    return scores, torch.arange(12) % 5 - 1, torch.rand(12, 3) < 0.6


def test_the_margin_term_is_that_of_a_plain_loop(case):
    weights = torch.tensor([0.3, 1.0, 2.0, 5.0], dtype=torch.float64)
    weight = weights[case[1].clamp(min=0)] * (case[1] >= 0)
    found = margin_loss(*case, weight).item()
    assert found == pytest.approx(naive(*case, weights.tolist()), rel=1e-12)


def test_its_gradient_is_the_numerical_one(case):
    scores, label, present = case
    label = label.clamp(min=0)
    assert torch.autograd.gradcheck(
        lambda s: margin_terms(s, label, present), scores.requires_grad_()
    )


def test_large_scores_do_not_overflow(case):
    scores, label, present = case
    scores = (scores.float() * 1e4).requires_grad_()
    loss = margin_loss(scores, label, present, (label >= 0).float())
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
        naive(kind, batch.target["kind"], batch.present, (0.5, 1.0, 3.0)) / 2
    )
    ill = model.heads["ill"](votes)
    both = torch.cat([torch.zeros_like(ill), ill], dim=-1)
    assert losses["ill"].item() == pytest.approx(
        naive(both, batch.target["ill"], batch.present, (1.0, 4.0)) / 2
    )


def test_classes_count_alike_or_as_in_the_supervised_loss():
    label = torch.tensor([0, 1, 2, -1])
    shares = TargetSpec("multiclass", ("x", "y", "z"), (7.0, 8.0, 9.0), shares=(0.5, 0.4, 0.1))
    torch.testing.assert_close(
        RowWeights(shares, balanced=True)(label), torch.tensor([2.0, 2.5, 10.0, 0.0])
    )
    _, supervised = TargetLoss(shares)(torch.zeros(4, 3), label)
    assert torch.equal(RowWeights(shares, balanced=False)(label), supervised)
    unknown = TargetSpec("binary", ("no", "yes"))
    assert RowWeights(unknown, balanced=True)(label[:2]).tolist() == [1, 1]


@pytest.mark.parametrize("balanced", [True, False])
def test_a_modality_that_tells_little_names_the_largest_class_unless_classes_count_alike(balanced):
    """Nine labels of ten are 0; x is 1 in four fifths of the rest and a fifth of these."""
    torch.manual_seed(0)
    label = (torch.arange(1000) % 10 == 0).long()
    x = torch.where(torch.rand(1000) < torch.where(label == 1, 0.8, 0.2), 1.0, 0.0).unsqueeze(1)
    inputs, alone = {"a": x.numpy(), "b": x.numpy()}, {"val": 0.0, "test": 0.0}
    options = {"eval_batch_size": 1000, "on_duplicates": "allow"}
    data = ArrayData(inputs, {"y": label.numpy()}, **alone, **options)
    spec = data.spec
    encoders = {m: MLPEncoder(s, hidden=(8,), out_dim=4) for m, s in spec.modalities.items()}
    model = FusionModel(spec, encoders, CRMTFusion({"a": 4, "b": 4}, out_dim=4))
    objective = CRMTMargin(balanced=balanced)
    objective.build(model)
    (batch,) = data.loader("train")
    step = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        step.zero_grad()
        output = model(batch)
        objective(model, batch, model.encode(batch), output)["y"].backward()
        step.step()
    scores = spec.targets["y"].class_scores(model.heads["y"](output.fused.votes))[:, 0]
    named = scores.argmax(dim=1)
    seen = batch.inputs["a"][:, 0] > 0
    assert not named[~seen].any()
    assert named[seen].all() == balanced
    assert named[seen].any() == balanced


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
