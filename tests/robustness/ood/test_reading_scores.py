"""Scores that read more than the fused head: ODIN, and the disagreement of modalities."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from planted_classes import rows

from mmfuse import Batch, TargetSpec
from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion import (
    CRMTFusion,
    LateConfidenceFusion,
    LateMeanFusion,
    LateProductFusion,
    SequentialFusion,
)
from mmfuse.objectives import UnimodalLoss
from mmfuse.objectives.disagreement import distance
from mmfuse.robustness.ood import (
    ODIN,
    ProductEnergy,
    Reading,
    UnimodalDisagreement,
    class_head,
    ood_metrics,
    standard_scores,
)
from mmfuse.robustness.ood.base import class_logits
from mmfuse.tokens import Tokens


def reading(model, batch: Batch) -> Reading:
    with torch.no_grad():
        tokens, present = model.encode(batch), model.present(batch)
        output = model.read(model.fuse(tokens, present), present)
    return Reading(model, "kind", batch, tokens, present, output)


def belief(model, values, present, temperature: float) -> torch.Tensor:
    """log max softmax of one row at a temperature."""
    tokens = {m: Tokens(z, torch.ones(1, 1).bool()) for m, z in values.items()}
    logits = model.read(model.fuse(tokens, present), present).logits["kind"]
    return (logits / temperature).log_softmax(dim=1).max()


# ODIN.


@pytest.mark.parametrize("fusion", [SequentialFusion, LateProductFusion])
def test_each_row_s_tokens_take_one_step_along_the_sign_of_its_gradient(train, fusion):
    model = train(fusion, steps=20)[0].double()
    batch = rows(range(5), 12, seed=4, gaps=0.3)
    batch = Batch(batch.modalities, {m: x.double() for m, x in batch.inputs.items()}, batch.present)
    score = ODIN(temperature=10, epsilon=0.05)
    read = reading(model, batch)
    _, logits = score.inputs(read)
    for i in range(len(batch)):
        here = {m: read.tokens[m].values[i : i + 1] for m in model.modalities}
        present, moved = batch.present[i : i + 1], {}
        for m, z in here.items():
            # The gradient of each number by a difference, not by autograd.
            step = torch.zeros_like(z)
            for d in range(z.shape[2]):
                nudge = torch.zeros_like(z)
                nudge[0, 0, d] = 1e-6
                ends = [
                    belief(model, here | {m: z + s * nudge}, present, 10).item() for s in (1, -1)
                ]
                slope = ends[0] - ends[1]
                step[0, 0, d] = math.copysign(1, slope) if abs(slope) > 1e-13 else 0
            moved[m] = z + 0.05 * z.square().mean().sqrt() * step
        tokens = {m: Tokens(z, torch.ones(1, 1).bool()) for m, z in moved.items()}
        expected = model.read(model.fuse(tokens, present), present).logits["kind"]
        torch.testing.assert_close(logits[i : i + 1], expected, rtol=1e-7, atol=1e-7)


def test_the_step_makes_the_model_surer_and_no_step_leaves_it(trained):
    model, read = trained[0], reading(trained[0], rows(range(5), 50, seed=2))
    sure = [ODIN(10, e).score(*ODIN(10, e).inputs(read)) for e in (0.0, 0.01)]
    assert (sure[1] <= sure[0] + 1e-9).all()
    assert (sure[1] < sure[0]).any()
    torch.testing.assert_close(ODIN(epsilon=0).inputs(read)[1], read.output.logits["kind"])
    assert all(p.grad is None for p in model.fusion.parameters() if not p.requires_grad)


def test_odin_leaves_no_gradient_behind_and_knows_no_other_row(trained):
    model, batch = trained[0], rows(range(5), 10, seed=3, gaps=0.4)
    model.zero_grad()
    together = ODIN().inputs(reading(model, batch))[1]
    assert all(p.grad is None for p in model.parameters())
    apart = [ODIN().inputs(reading(model, batch.rows(torch.tensor([i]))))[1] for i in range(10)]
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-4, atol=1e-4)


def test_odin_s_score_is_one_minus_the_softmax_at_its_temperature():
    z = torch.tensor([[1.0, 3.0, -2.0]]).double()
    found = ODIN(temperature=4)(torch.zeros(1, 1), z)
    assert found.item() == pytest.approx(1 - (z / 4).softmax(dim=1).max().item(), rel=1e-12)


def test_what_stands_in_an_absent_slot_does_not_reach_the_perturbed_logits(trained):
    batch = rows(range(3), 20, seed=5, gaps=0.5)
    spoilt = {m: x.clone() for m, x in batch.inputs.items()}
    for i, m in enumerate(batch.modalities):
        spoilt[m][~batch.present[:, i]] = math.nan
    garbage = Batch(batch.modalities, spoilt, batch.present)
    found = [ODIN().inputs(reading(trained[0], b))[1] for b in (batch, garbage)]
    assert torch.equal(*found)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"epsilon": -1}])
def test_odin_s_options_are_checked(options):
    with pytest.raises(ConfigError, match="ODIN: temperature="):
        ODIN(**options)


# UnimodalDisagreement.


@pytest.mark.parametrize("name", ["l1", "l2", "hellinger", "wasserstein"])
def test_disagreement_is_the_mean_over_the_pairs_that_a_row_has(name):
    draw = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(16, 4, 5, generator=draw).double()
    present = torch.arange(16).unsqueeze(1).bitwise_and(2 ** torch.arange(4)) > 0
    given = logits.masked_fill(~present.unsqueeze(-1), math.nan)
    found = UnimodalDisagreement(UnimodalLoss(), name)(torch.zeros(16, 0), given)
    for row, score in zip(range(16), found.tolist(), strict=True):
        there = [m for m in range(4) if present[row, m]]
        pairs = list(itertools.combinations(there, 2))
        if not pairs:
            assert math.isnan(score)
            continue
        gaps = [distance(logits[row, i], logits[row, j], name).item() for i, j in pairs]
        assert score == pytest.approx(sum(gaps) / len(gaps), rel=1e-12)


def test_modalities_agree_on_known_classes_and_not_on_mixtures(trained):
    """A row whose views are of two classes is the plainest contradiction."""
    model, heads = trained
    known = rows(range(3), 60, seed=6)
    mixed = Batch(
        known.modalities, known.inputs | {"b": known.inputs["b"].roll(1, dims=0)}, known.present
    )
    score = UnimodalDisagreement(heads)
    found = [score(*score.inputs(reading(model, b))) for b in (known, mixed)]
    differs = known.target["kind"] != known.target["kind"].roll(1)
    assert found[0].mean() < 0.3
    assert found[1][differs].mean() > 1.5


def test_a_binary_head_and_a_late_fusion_are_read_too(train):
    model, heads = train(LateProductFusion, TargetSpec("binary", ("no", "yes")), steps=30)
    score = UnimodalDisagreement(heads)
    _, logits = score.inputs(reading(model, rows(range(2), 9, seed=7, gaps=0.3)))
    assert logits.shape == (9, 2, 2)
    features = torch.zeros(9, 8)
    p = logits[..., 1].double().sigmoid()
    torch.testing.assert_close(
        score(features, logits), 2 * (p[:, 0] - p[:, 1]).abs(), equal_nan=True
    )


def test_heads_of_another_model_are_refused(trained):
    with pytest.raises(ConfigError, match=r"the heads are for \[\]; the model reads 'kind'"):
        UnimodalDisagreement(UnimodalLoss()).inputs(reading(trained[0], rows(range(3), 4, seed=8)))


def test_logits_of_one_head_are_no_disagreement(trained):
    with pytest.raises(DataError, match="of one head a modality"):
        UnimodalDisagreement(trained[1])(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(ConfigError, match="distance is 'cosine'; expected one of hellinger, l1"):
        UnimodalDisagreement(trained[1], "cosine")


# The energy of a product of experts.


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_the_energy_of_a_product_is_that_of_what_is_multiplied(train, kind):
    target = TargetSpec("binary", ("no", "yes")) if kind == "binary" else None
    model = train(LateProductFusion, target, steps=30)[0].double()
    batch = rows(range(2), 12, seed=4, gaps=0.4)
    batch = Batch(batch.modalities, {m: x.double() for m, x in batch.inputs.items()}, batch.present)
    read = reading(model, batch)
    score = ProductEnergy(temperature=2.0)
    features, logits = score.inputs(read)
    found = score(features, logits)
    with torch.no_grad():
        for i in range(len(batch)):
            total = torch.zeros(model.spec.targets["kind"].out_dim, dtype=torch.float64)
            for place, m in enumerate(model.modalities):
                if batch.present[i, place]:
                    vote = model.fusion.vote[m](read.tokens[m].values[i].mean(0))
                    total += model.heads["kind"](vote)
            if not batch.present[i].any():
                total = model.heads["kind"](model.fusion.prior)
            if kind == "binary":
                total = torch.cat([torch.zeros(1), total])
            expected = -2 * (total / 2).exp().sum().log()
            assert found[i].item() == pytest.approx(expected.item(), abs=1e-9)
    # The probabilities are those of the model: only what softmax forgets differs.
    torch.testing.assert_close(
        logits.softmax(1), class_logits(read.output.logits["kind"]).softmax(1)
    )


def test_the_energy_of_a_product_finds_unknown_rows(train):
    model = train(LateProductFusion)[0]
    score = ProductEnergy()
    known, unknown = (
        score(*score.inputs(reading(model, rows(classes, 200, seed=6)))).numpy()
        for classes in (range(3), range(3, 5))
    )
    assert ood_metrics(known, unknown)["auroc"] > 0.6


def test_the_energy_of_a_product_is_refused_for_another_fusion(trained):
    with pytest.raises(ConfigError, match="the model has ConcatFusion"):
        ProductEnergy().inputs(reading(trained[0], rows(range(3), 4, seed=8)))
    with pytest.raises(ConfigError, match="temperature is 0"):
        ProductEnergy(temperature=0)


# The standard scores, and the head that some of them read through.


def test_a_model_gets_every_score_that_it_allows(train, trained):
    model, heads = trained
    every = {
        "msp", "energy", "max_logit", "gen", "odin", "knn", "mahalanobis", "react", "ash", "vim",
    }  # fmt: skip
    assert set(standard_scores(model)) == every
    told = {"disagreement_l1", "disagreement_hellinger"}
    assert set(standard_scores(model, heads=heads)) == every | told
    late = train(LateProductFusion, steps=1)[0]
    assert every - set(standard_scores(late)) == {"react", "ash", "vim"}
    for fusion, lacks in ((LateMeanFusion, 0), (CRMTFusion, 0), (LateConfidenceFusion, 1)):
        names = set(standard_scores(train(fusion, steps=1)[0]))
        assert len({"energy"} - names) == lacks, fusion
    with pytest.raises(ConfigError, match="LateProductFusion read each modality's vote"):
        class_head(late, "kind")


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_the_head_s_copy_says_what_the_model_says(train, kind):
    classes = ("no", "yes") if kind == "binary" else ("x", "y", "z")
    model = train(target=TargetSpec(kind, classes), steps=1)[0]
    read = reading(model, rows(range(2), 6, seed=9))
    said = class_head(model, "kind")(read.output.fused.vector.double())
    expected = model.spec.targets["kind"].predict(read.output.logits["kind"])
    torch.testing.assert_close(said.softmax(dim=1), expected.double(), rtol=1e-5, atol=1e-6)
