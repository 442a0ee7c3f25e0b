import pickle

import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError
from mmfuse.fusion import CRMTFusion
from mmfuse.orthonormal import orthonormal
from mmfuse_encoders import IdentityEncoder

WIDTHS = {"a": 4, "b": 3}
TARGETS = {
    "kind": TargetSpec("multiclass", ("x", "y", "z")),
    "ill": TargetSpec("binary", ("no", "yes")),
    "size": TargetSpec("regression", width=2),
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    spec = DataSpec({m: ModalitySpec.of(d) for m, d in WIDTHS.items()}, TARGETS)
    encoders = {m: IdentityEncoder(d) for m, d in WIDTHS.items()}
    return FusionModel(spec, encoders, CRMTFusion(WIDTHS, out_dim=4)).double()


@pytest.fixture
def batch():
    torch.manual_seed(1)
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    inputs = {m: torch.randn(4, d, dtype=torch.float64) for m, d in WIDTHS.items()}
    return Batch(("a", "b"), inputs, present)


def test_scores_are_the_weighted_sum_over_the_present(model, batch):
    output = model(batch)
    for name, spec in TARGETS.items():
        head = model.heads[name]
        for i in range(4):
            expected = head.bias.clone()
            for m, modality in enumerate(WIDTHS):
                if not batch.present[i, m]:
                    continue
                vote = model.fusion.vote[modality](batch.inputs[modality][i])
                for k in range(spec.out_dim):
                    alone = sum(head.rows[m, k, d] * vote[d] for d in range(4))
                    expected[k] = expected[k] + head.weights[m, k] * alone
            torch.testing.assert_close(output.logits[name][i], expected)


def test_an_absent_modality_leaves_the_scores_as_they_are(model, batch):
    before = model(batch).logits["kind"]
    inputs = {
        m: x.masked_fill(~batch.present[:, [i]], torch.nan)
        for i, (m, x) in enumerate(batch.inputs.items())
    }
    after = model(Batch(("a", "b"), inputs, batch.present)).logits["kind"]
    assert torch.equal(before, after)
    without = batch.keep(torch.tensor([[True, False]] * 4))
    alone = model(Batch(("a",), {"a": batch.inputs["a"]}, without.present[:, :1]))
    assert torch.equal(model(without).logits["kind"], alone.logits["kind"])


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_rows_stay_orthonormal_and_weights_positive_after_steps(model, batch, optimizer):
    model.float()
    batch = Batch(("a", "b"), {m: x.float() for m, x in batch.inputs.items()}, batch.present)
    step = optimizer(model.parameters(), lr=1.0)
    before = model.heads["kind"].rows.detach().clone()
    for _ in range(3):
        step.zero_grad()
        sum(x.square().sum() for x in model(batch).logits.values()).backward()
        step.step()
    for head in model.heads.values():
        rows = head.rows
        expected = torch.eye(rows.shape[1]).expand(2, -1, -1)
        torch.testing.assert_close(rows @ rows.mT, expected, atol=1e-5, rtol=0)
        assert (head.weights >= 0.01).all()
    assert (model.heads["kind"].rows - before).abs().max() > 1e-3


def test_weights_start_where_they_are_told():
    head = CRMTFusion({"a": 4}, out_dim=4, start=0.5, floor=0.2).head(TARGETS["kind"])
    torch.testing.assert_close(head.weights, torch.full((1, 3), 0.5))


def test_a_vote_of_the_right_width_is_the_mean_token_itself():
    fusion = CRMTFusion(WIDTHS, out_dim=4)
    assert isinstance(fusion.vote["a"], torch.nn.Identity)
    assert isinstance(fusion.vote["b"], torch.nn.Linear)


def test_too_many_classes_and_impossible_weights_are_refused():
    spec = DataSpec({"a": ModalitySpec.of(4)}, {"y": TargetSpec("multiclass", tuple("vwxyz"))})
    with pytest.raises(ConfigError, match=r"5 classes.*out_dim to 5"):
        FusionModel(spec, {"a": IdentityEncoder(4)}, CRMTFusion({"a": 4}, out_dim=4))
    for start, floor in ((0.1, 0.1), (0.1, 0.0), (0.1, -1.0)):
        with pytest.raises(ConfigError, match="0 < floor < start"):
            CRMTFusion({"a": 4}, start=start, floor=floor)


def test_the_model_is_described_copied_and_pickled_with_its_heads(model, batch):
    again = FusionModel.rebuild(model.describe()).double()
    again.load_state_dict(model.state_dict())
    for other in (again, pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(batch).logits["kind"], model(batch).logits["kind"])


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (4, 2, 6)])
def test_orthonormal_matrices_are_those_of_gram_schmidt(shape):
    raw = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    found = orthonormal(raw)
    wide = shape[-2] <= shape[-1]
    product = found @ found.mT if wide else found.mT @ found
    torch.testing.assert_close(product, torch.eye(min(shape[-2:])).double().expand_as(product))
    first = raw[..., 0, :] if wide else raw[..., :, 0]
    kept = found[..., 0, :] if wide else found[..., :, 0]
    torch.testing.assert_close(kept, first / first.norm(dim=-1, keepdim=True))
    assert torch.autograd.gradcheck(orthonormal, raw, fast_mode=True)


def test_orthonormal_answers_in_kind():
    assert orthonormal(torch.randn(2, 3).bfloat16()).dtype == torch.bfloat16
