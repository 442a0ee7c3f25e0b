import math

import pytest
import torch

from mmfuse import DataSpec, ModalitySpec, TargetSpec
from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.fusion import LateConfidenceFusion, LateMeanFusion, LateProductFusion
from mmfuse.model import FusionModel
from mmfuse.tokens import Tokens
from mmfuse_encoders import MLPEncoder

LATE = [LateMeanFusion, LateProductFusion, LateConfidenceFusion]
TARGETS = {
    "binary": TargetSpec("binary", ("no", "yes")),
    "multiclass": TargetSpec("multiclass", ("x", "y", "z")),
    "multilabel": TargetSpec("multilabel", ("p", "q")),
    "regression": TargetSpec("regression", width=2),
}
CASES = [(c, k) for c in LATE for k in TARGETS if (c, k) != (LateConfidenceFusion, "regression")]


def distribution(score, kind):
    """Probabilities of one score vector: over classes, or of no and yes for each label."""
    if kind == "multiclass":
        return [score.softmax(dim=0)]
    return [torch.stack([1 - s.sigmoid(), s.sigmoid()]) for s in score]


def mean_rule(scores, kind):
    return sum(scores) / len(scores)


def product_rule(scores, kind):
    if kind == "regression":
        return sum(scores) / len(scores)
    joined = []
    for experts in zip(*(distribution(s, kind) for s in scores), strict=True):
        product = torch.stack(experts).prod(dim=0)
        joined.append(product / product.sum())
    return joined


def confidence_rule(scores, kind):
    joined = []
    for experts in zip(*(distribution(s, kind) for s in scores), strict=True):
        sure = [1 + sum(p * math.log(p) for p in e.tolist()) / math.log(len(e)) for e in experts]
        joined.append(sum(c * e for c, e in zip(sure, experts, strict=True)) / sum(sure))
    return joined


RULES = {
    LateMeanFusion: mean_rule,
    LateProductFusion: product_rule,
    LateConfidenceFusion: confidence_rule,
}


@pytest.mark.parametrize(("cls", "kind"), CASES)
def test_each_rule_joins_the_scores_of_the_present(cls, kind, sample):
    target = TARGETS[kind]
    logits = torch.randn(8, 3, target.out_dim, dtype=torch.float64)
    joined = cls(sample.dims).combine(logits, sample.present, target)
    assert joined.shape == (8, target.out_dim)
    for i in range(1, 8):
        scores = [s for s, here in zip(logits[i], sample.present[i], strict=True) if here]
        expected = RULES[cls](scores, kind)
        found = distribution(joined[i], kind) if isinstance(expected, list) else joined[i]
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("cls", "kind"), CASES)
def test_a_modality_that_is_alone_keeps_its_own_prediction(cls, kind, sample):
    target = TARGETS[kind]
    logits = torch.randn(1, 3, target.out_dim, dtype=torch.float64)
    joined = cls(sample.dims).combine(logits, torch.tensor([[False, True, False]]), target)
    torch.testing.assert_close(target.predict(joined), target.predict(logits[:, 1]))


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_a_modality_that_knows_nothing_does_not_sway_the_confident(kind):
    target = TARGETS[kind]
    sure, unsure = torch.randn(1, 1, target.out_dim), torch.zeros(1, 1, target.out_dim)
    logits = torch.cat([sure, unsure], dim=1).double() * 3
    joined = LateConfidenceFusion({"a": 2, "b": 2}).combine(
        logits, torch.ones(1, 2, dtype=torch.bool), target
    )
    torch.testing.assert_close(
        target.predict(joined), target.predict(logits[:, 0]), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(("cls", "kind"), CASES)
@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
def test_scores_of_any_size_leave_result_and_gradient_finite(cls, kind, size, sample):
    target = TARGETS[kind]
    logits = (torch.randn(8, 3, target.out_dim) * size).requires_grad_()
    joined = cls(sample.dims).combine(logits, sample.present, target)
    joined[1:].sum().backward()
    assert joined[1:].isfinite().all()
    assert logits.grad.isfinite().all()
    assert (logits.grad[~sample.present] == 0).all()


def test_confidence_has_no_meaning_for_regression():
    with pytest.raises(ConfigError, match="Use LateMeanFusion"):
        LateConfidenceFusion({"a": 2}).combine(
            torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool), TARGETS["regression"]
        )


def test_the_vector_is_the_mean_of_the_present_votes(sample, agrees):
    fusion = LateMeanFusion(sample.dims, out_dim=6, hidden=4)
    agrees(
        fusion, lambda row: sum(fusion.vote[m](x.mean(dim=0)) for m, x in row.items()) / len(row)
    )
    fused = fusion(sample.tokens, sample.present)
    assert (fused.votes[~sample.present] == 0).all()
    torch.testing.assert_close(fused.weights[7], torch.full((3,), 1 / 3).double())


def test_no_hidden_layer_makes_a_vote_linear():
    assert isinstance(LateMeanFusion({"a": 2}, hidden=0).vote["a"], torch.nn.Linear)


@pytest.fixture
def model_of():
    def make(cls, kind="multiclass"):
        torch.manual_seed(0)
        spec = DataSpec({m: ModalitySpec.of(3) for m in "ab"}, {"y": TARGETS[kind]})
        encoders = {m: MLPEncoder(3, out_dim=4) for m in "ab"}
        model = FusionModel(spec, encoders, cls({"a": 4, "b": 4}, out_dim=6)).eval()
        torch.nn.init.normal_(model.fusion.prior)
        return model

    return make


PRESENT = torch.tensor([[True, True], [False, False], [False, True]])


@pytest.mark.parametrize(("cls", "kind"), CASES)
def test_a_model_joins_what_its_head_says_of_each_vote(cls, kind, model_of):
    model, inputs = model_of(cls, kind), {m: torch.randn(3, 3) for m in "ab"}
    output = model(Batch(("a", "b"), inputs, PRESENT))
    head, votes = model.heads["y"], output.fused.votes
    both = cls({"a": 1, "b": 1}).combine(head(votes[:1]), PRESENT[:1], TARGETS[kind])
    torch.testing.assert_close(output.logits["y"][:1], both)
    predict = TARGETS[kind].predict
    torch.testing.assert_close(predict(output.logits["y"][2]), predict(head(votes[2, 1])))


@pytest.mark.parametrize(("cls", "kind"), CASES)
def test_a_row_with_nothing_present_is_given_the_prior_and_no_bad_gradient(cls, kind, model_of):
    model = model_of(cls, kind)
    inputs = {m: torch.full((3, 3), torch.nan) for m in "ab"}
    logits = model(Batch(("a", "b"), inputs, torch.zeros(3, 2, dtype=torch.bool))).logits["y"]
    torch.testing.assert_close(logits, model.heads["y"](model.fusion.prior).expand_as(logits))
    logits.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.fusion.prior.grad.any()


def test_a_modality_whose_tokens_are_all_padding_casts_no_vote(model_of):
    model, both = model_of(LateMeanFusion), torch.ones(2, 2, dtype=torch.bool)
    a = Tokens.of(torch.randn(2, 4))
    b = Tokens(torch.randn(2, 5, 4), torch.tensor([[True] * 5, [False] * 5]))
    logits = model.read(model.fuse({"a": a, "b": b}, both), both).logits["y"]
    alone = model.fuse({"a": a}, torch.tensor([[True, False]] * 2))
    torch.testing.assert_close(logits[1], model.heads["y"](alone.votes[1, 0]))
