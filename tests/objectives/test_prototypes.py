"""DisPro's two objectives, by loops and by training."""

import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec
from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion, DisProFusion
from mmfuse.objectives import PrototypeDistillation, PrototypeLoss
from mmfuse.objectives.target_loss import TargetLoss
from mmfuse.spec import TargetSpec
from mmfuse.tokens import Tokens
from mmfuse_encoders import MLPEncoder

WIDTHS = {"a": 2, "b": 3, "c": 2}
TARGETS = {
    "kind": TargetSpec("multiclass", ("x", "y", "z"), weights=(0.5, 1.0, 3.0)),
    "time": TargetSpec("survival", cuts=(1.0, 2.0, 5.0)),
    "size": TargetSpec("regression"),
}
PRESENT = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 1]]).bool()


def make_model(make=DisProFusion, targets=TARGETS):
    torch.manual_seed(0)
    spec = DataSpec({m: ModalitySpec.of(d) for m, d in WIDTHS.items()}, targets)
    encoders = {m: MLPEncoder(d, out_dim=4) for m, d in WIDTHS.items()}
    return FusionModel(spec, encoders, make(dict.fromkeys(WIDTHS, 4), 8)).double().eval()


@pytest.fixture
def batch():
    torch.manual_seed(1)
    inputs = {m: torch.randn(6, d, dtype=torch.float64) for m, d in WIDTHS.items()}
    time = torch.tensor([[0.5, 1], [1.5, 0], [3.0, 1], [4.0, 0], [2.0, 1], [9.0, 1]]).double()
    time[1] = torch.nan
    target = {
        "kind": torch.tensor([0, 1, 2, -1, 1, 0]),
        "time": time,
        "size": torch.randn(6, dtype=torch.float64),
    }
    return Batch(tuple(WIDTHS), inputs, PRESENT, target)


def found(model, objective, batch):
    objective.build(model)
    return objective.double()(model, batch, model.encode(batch), model(batch))


def expected(model, batch, place, tokens, rows):
    """The mean over two targets of the weighted mean over the rows that count."""
    total = 0
    for name in ("kind", "time"):
        loss_of = TargetLoss(TARGETS[name]).double()
        sums = [0.0, 0.0]
        for i in rows:
            scores = model.heads[name].scores(place, tokens[i])
            loss, weight = loss_of(scores, batch.target[name][[i]])
            sums[0], sums[1] = sums[0] + loss * weight, sums[1] + weight
        total = total + sums[0] / sums[1].clamp(min=1e-300) / 2  # 0 where no row has a label
    return total.squeeze(0)


def test_each_modality_present_is_scored_by_its_own_prototypes(batch):
    model = make_model()
    losses = found(model, PrototypeLoss(), batch)
    for place, m in enumerate(WIDTHS):
        rows = [i for i in range(6) if PRESENT[i, place]]
        tokens = {}
        for i in rows:
            x = model.fusion.project[m](model.encoders[m](batch.inputs[m][[i]]))
            tokens[i] = Tokens.of(x + model.fusion.embedding[place])
        torch.testing.assert_close(losses[m], expected(model, batch, place, tokens, rows))


def test_each_modality_absent_is_scored_by_what_was_imagined(batch):
    model = make_model()
    losses = found(model, PrototypeDistillation(), batch)
    blanked, present = model.fusion.blanked(model.encode(batch), PRESENT)
    imagined = model.fusion.imagine(blanked, present)
    for place, m in enumerate(WIDTHS):
        rows = [i for i in range(6) if not PRESENT[i, place] and PRESENT[i].any()]
        tokens = {i: Tokens(imagined[[i], place], torch.ones(1, 1).bool()) for i in rows}
        torch.testing.assert_close(losses[m], expected(model, batch, place, tokens, rows))


def test_distillation_trains_placeholders_and_leaves_prototypes(batch):
    model = make_model()
    sum(found(model, PrototypeDistillation(), batch).values()).backward()
    assert model.fusion.placeholders.grad.any()
    assert model.heads["kind"].prototypes.grad is None
    assert model.heads["kind"].linear.weight.grad is None


def test_the_first_stage_trains_prototypes_and_their_scale(batch):
    model = make_model()
    sum(found(model, PrototypeLoss(), batch).values()).backward()
    assert model.heads["time"].prototypes.grad.any()
    assert model.heads["time"].log_scale.grad.any()
    assert model.fusion.placeholders.grad is None


@pytest.mark.parametrize("cls", [PrototypeLoss, PrototypeDistillation])
@pytest.mark.parametrize(
    ("make", "targets", "message"),
    [
        (ConcatFusion, TARGETS, "found ConcatFusion"),
        (DisProFusion, {"size": TARGETS["size"]}, "{'size': 'regression'}"),
        (DisProFusion, {}, "no target"),
    ],
)
def test_another_model_is_refused(cls, make, targets, message):
    with pytest.raises(ConfigError, match=f"needs a DisProFusion.*{message}"):
        cls().build(make_model(make, targets))
