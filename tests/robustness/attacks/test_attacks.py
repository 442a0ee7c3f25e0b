import copy

import pytest
import torch
from attack_models import (
    curved_model,
    joint_length,
    labelled_as_predicted,
    linear_model,
    rows,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.fusion import ConcatFusion, MeanFusion
from mmfuse.robustness.attacks import FGM, PGD, AutoPGD, Noise, Threat, strike
from mmfuse.robustness.attacks.auto_pgd import checkpoints
from mmfuse.robustness.attacks.losses import climbed, margin
from mmfuse.tokens import Tokens
from mmfuse_encoders import GRUEncoder, HashedNgramEncoder, MLPEncoder, TableMLPEncoder

BOTH = ("a", "b")
ATTACKS = [FGM(), Noise(), PGD(steps=5, restarts=2), AutoPGD(steps=8), PGD("ce", steps=5)]


def distance(model, batch):
    """How far each row of a linear model is from the nearest other class, in l2 and l_inf."""
    scores = model.eval()(batch).logits["y"]
    jacobian = torch.autograd.functional.jacobian(
        lambda a, b: model(Batch(BOTH, {"a": a, "b": b}, batch.present)).logits["y"].sum(dim=0),
        (batch.inputs["a"], batch.inputs["b"]),
    )
    slope = torch.cat([j[:, 0] for j in jacobian], dim=1)  # the same for every row
    found = {}
    for norm, dual in (("l2", 2), ("linf", 1)):
        far = []
        for row, label in zip(scores, batch.target, strict=True):
            far.append(
                min(
                    (row[label] - row[j]) / (slope[label] - slope[j]).norm(dual)
                    for j in range(3)
                    if j != label
                )
            )
        found[norm] = torch.stack(far).detach()
    return found


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize(
    "attack",
    [
        FGM(),
        PGD(steps=20, targets=2),
        AutoPGD(steps=20, targets=2),
        PGD("ce", steps=20),
    ],
)
def test_a_linear_model_falls_just_beyond_its_closed_distance(norm, attack):
    model = linear_model()
    batch = labelled_as_predicted(model, rows(8, torch.float64, gaps=False))
    far = distance(model, batch)[norm]
    for i, reach in enumerate(far.tolist()):
        row = batch.rows(torch.tensor([i]))
        found = strike(model, row, attack, Threat(BOTH, norm), [reach * 0.999, reach * 1.2])
        assert not found.fooled[0]
        # The nearest class need not be the strongest one.
        assert found.fooled[1] or not getattr(attack, "targets", 0)


@given(
    norm=st.sampled_from(["l2", "linf"]),
    budget=st.sampled_from(["joint", "each"]),
    on=st.sampled_from(["inputs", "tokens"]),
    attack=st.sampled_from(ATTACKS),
    eps=st.floats(0, 50),
    unit=st.floats(0.1, 10),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=30)
def test_every_attack_stays_in_its_ball(norm, budget, on, attack, eps, unit, seed):
    model, batch = curved_model(), rows()
    threat = Threat(BOTH, norm, budget, on, units={"b": unit})
    moves = dict(strike(model, batch, attack.climbing("margin"), threat, [eps]).moves)
    if on == "inputs":
        moves["a"] = moves["a"] * model.standardise["a"].scale
    moves["b"] = moves["b"] / unit
    if norm == "linf":
        length = torch.cat([v.flatten(2) for v in moves.values()], dim=2).abs().amax(dim=2)
    elif budget == "joint":
        length = joint_length(moves)
    else:
        length = torch.stack([v.flatten(2).norm(dim=2) for v in moves.values()]).amax(dim=0)
    assert (length <= eps * (1 + 1e-5) + 1e-7).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: f"{a.name}-{a.loss}")
@pytest.mark.parametrize("on", ["inputs", "tokens"])
def test_an_absent_modality_gets_nothing_and_spends_nothing(attack, on):
    model, batch = curved_model(), rows()
    found = strike(model, batch, attack, Threat(BOTH, on=on), [0.5, 2.0])
    for i, m in enumerate(BOTH):
        assert (found.moves[m][:, ~batch.present[:, i]] == 0).all()


def test_a_row_with_one_modality_spends_all_its_budget_there():
    model, batch = curved_model(), rows()
    both = strike(model, batch, FGM(), Threat(BOTH), [0.5])
    for i, m in enumerate(BOTH):
        alone = (batch.present.sum(dim=1) == 1) & batch.present[:, i] & (batch.target >= 0)
        single = strike(model, batch, FGM(), Threat((m,)), [0.5])
        assert single.moves[m][0, alone].any(dim=1).all()
        torch.testing.assert_close(both.moves[m][:, alone], single.moves[m][:, alone])


def test_what_stands_in_absent_slots_changes_no_attack():
    model, batch = curved_model(), rows()
    filled = {
        m: x.masked_fill(~batch.present[:, [i]], 7.0)
        for i, (m, x) in enumerate(batch.inputs.items())
    }
    other = Batch(BOTH, filled, batch.present, batch.target)
    found, again = (strike(model, b, PGD(steps=5), Threat(BOTH), [0.5]) for b in (batch, other))
    for m in BOTH:
        assert torch.equal(found.moves[m], again.moves[m])
    moved = found.moved(0)
    for i, m in enumerate(BOTH):
        assert moved.inputs[m][~batch.present[:, i]].isnan().all()


def test_moved_inputs_fool_the_model_itself_as_reported():
    model, batch = curved_model(), rows(60)
    found = strike(model, batch, PGD(steps=10), Threat(BOTH), [0.3, 1.0])
    for e in range(2):
        with torch.no_grad():
            scores = model.eval()(found.moved(e)).logits["y"]
        known = batch.target >= 0
        assert torch.equal(
            scores.argmax(dim=1)[known] != batch.target[known], found.fooled[e, known]
        )
    assert not found.fooled[:, batch.target < 0].any()
    assert found.margin[:, batch.target < 0].isnan().all()


def test_budget_zero_is_the_model_as_it_is():
    model, batch = curved_model(), rows()
    found = strike(model, batch, PGD(steps=3), Threat(BOTH), [0.0])
    with torch.no_grad():
        wrong = model.eval()(batch).logits["y"].argmax(dim=1) != batch.target
    assert torch.equal(found.fooled[0], wrong & (batch.target >= 0))
    assert all((v == 0).all() for v in found.moves.values())


def test_the_result_depends_neither_on_the_batch_nor_on_the_other_budgets():
    model, batch = curved_model(), rows()
    whole = strike(model, batch, PGD(steps=4), Threat(BOTH), [0.2, 1.0])
    parts = [batch.rows(i) for i in torch.arange(len(batch)).split(7)]
    again = [strike(model, b, PGD(steps=4), Threat(BOTH), [1.0]) for b in parts]
    margins = torch.cat([s.margin for s in again], dim=1)
    torch.testing.assert_close(whole.margin[1:], margins, equal_nan=True)


def test_model_mode_parameters_and_gradients_stay():
    model = curved_model()
    model.train()
    model.encoders["b"].eval()
    before = copy.deepcopy(model.state_dict())
    strike(model, rows(), AutoPGD(steps=3), Threat(BOTH), [1.0])
    assert model.training
    assert not model.encoders["b"].training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_frozen_encoder_is_attacked_through():
    model, batch = curved_model(), rows()
    plain = strike(model, batch, FGM(), Threat(("a",)), [1.0])
    model.encoders["a"].freeze()
    frozen = strike(model, batch, FGM(), Threat(("a",)), [1.0])
    assert plain.moves["a"].any()
    assert torch.equal(plain.moves["a"], frozen.moves["a"])


def test_moved_inputs_stay_in_the_valid_range():
    model, batch = curved_model(), rows()
    inside = {m: x.clamp(-1, 1) for m, x in batch.inputs.items()}
    batch = Batch(BOTH, inside, batch.present, batch.target)
    threat = Threat(BOTH, "linf", valid={"a": (-1.0, 1.0), "b": (-1.0, 1.0)})
    moved = strike(model, batch, PGD(steps=5), threat, [3.0]).moved(0)
    for m in BOTH:
        x = moved.inputs[m]
        assert (x.isnan() | (x.abs() <= 1 + 1e-5)).all()


def test_a_saturated_model_hides_from_cross_entropy_and_not_from_the_margin():
    model = linear_model(torch.float32)
    batch = labelled_as_predicted(model, rows(60, gaps=False))
    reach = float(distance(model, batch)["l2"].median())
    with torch.no_grad():
        model.heads["y"].weight.mul_(1e5)
        model.heads["y"].bias.mul_(1e5)
    ce, by_margin = (
        strike(model, batch, PGD(loss, steps=10), Threat(BOTH), [reach]).fooled.float().mean()
        for loss in ("ce", "margin")
    )
    assert by_margin > ce + 0.2


def test_autopgd_finds_a_larger_margin_than_one_step():
    model, batch = curved_model(), rows()
    one, many = (
        strike(model, batch, a, Threat(BOTH), [1.0]).margin for a in (FGM(), AutoPGD(steps=30))
    )
    known = batch.target >= 0
    assert (many[:, known] >= one[:, known] - 1e-3).all()
    assert (many[:, known] > one[:, known] + 1e-4).any()


def test_checkpoints_are_those_of_the_paper():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]


def test_losses_are_what_they_say():
    scores = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]], dtype=torch.float64)
    label = torch.tensor([1, 0])
    assert margin(scores, label).tolist() == [-1.0, 2.0]
    expected = nn.functional.cross_entropy(scores, label)
    torch.testing.assert_close(climbed("ce", scores, label).mean(), expected)


def series_model(kind):
    spec = DataSpec({"x": kind}, {"y": TargetSpec("binary", ("no", "yes"))})
    encoder = {"series": GRUEncoder, "table": TableMLPEncoder, "vector": MLPEncoder}[kind.kind]
    return FusionModel(spec, {"x": encoder(kind, 8)}, ConcatFusion({"x": 8}, 8))


def test_padding_categories_and_missing_cells_are_not_moved():
    here, label = torch.ones(2, 1, dtype=torch.bool), torch.tensor([0, 1])
    series = Tokens(torch.randn(2, 5, 2), torch.arange(5) < torch.tensor([[5], [2]]))
    moves = strike(
        series_model(ModalitySpec("series", (None, 2))),
        Batch(("x",), {"x": series}, here, label),
        PGD(steps=3),
        Threat(("x",)),
        [1.0],
    ).moves["x"]
    assert moves[0, 1, :2].any()
    assert not moves[0, 1, 2:].any()

    table = torch.cat([torch.randn(2, 2), torch.ones(2, 1)], dim=1)
    model = series_model(ModalitySpec("table", (3,), categories=(3,)))
    moves = strike(model, Batch(("x",), {"x": table}, here, label), FGM(), Threat(("x",)), [1.0])
    assert moves.moves["x"][0, :, :2].any()
    assert not moves.moves["x"][0, :, 2].any()

    cells = torch.randn(2, 3)
    cells[0, 1] = torch.nan
    model = series_model(ModalitySpec("vector", (3,), has_gaps=True))
    moves = strike(model, Batch(("x",), {"x": cells}, here, label), FGM(), Threat(("x",)), [1.0])
    assert moves.moves["x"].isfinite().all()
    assert moves.moves["x"][0, 0, 1] == 0


def text_model():
    modalities = {"text": ModalitySpec("text"), "a": ModalitySpec.of(3)}
    encoders = {"text": HashedNgramEncoder(modalities["text"], 8), "a": MLPEncoder(3, 8)}
    return FusionModel(
        DataSpec(modalities, {"y": THREE}), encoders, MeanFusion({"text": 8, "a": 8}, 8)
    )


THREE = TargetSpec("multiclass", ("x", "y", "z"))


def test_texts_are_attacked_as_tokens_alone():
    model = text_model()
    text = model.encoders["text"].preprocess(["one", "two words", "three"])
    batch = Batch(
        ("text", "a"),
        {"text": text, "a": torch.randn(3, 3)},
        torch.ones(3, 2).bool(),
        torch.tensor([0, 1, 2]),
    )
    with pytest.raises(ConfigError, match=r"'text'.*on='tokens'"):
        strike(model, batch, FGM(), Threat(("text",)), [1.0])
    assert strike(model, batch, FGM(), Threat(("text",), on="tokens"), [1.0]).moves["text"].any()
    assert strike(model, batch, FGM(), Threat(("a",)), [1.0]).moves["a"].any()


def test_an_encoder_without_a_gradient_is_named():
    class Rounding(MLPEncoder):
        def forward(self, x):
            with torch.no_grad():
                return super().forward(x)

    spec = DataSpec({"a": ModalitySpec.of(3), "b": ModalitySpec.of(4)}, {"y": THREE})
    encoders = {"a": Rounding(3, 8), "b": MLPEncoder(4, 8)}
    model = FusionModel(spec, encoders, MeanFusion({"a": 8, "b": 8}, 8))
    with pytest.raises(ConfigError, match=r"'a': Rounding passes no gradient.*on='tokens'"):
        strike(model, rows(), PGD(steps=2), Threat(BOTH), [1.0])
    assert strike(model, rows(), PGD(steps=2), Threat(BOTH, on="tokens"), [1.0]).moves["a"].any()


def test_mistakes_are_refused_in_words():
    model, batch = curved_model(), rows()
    for make, words in (
        (lambda: Threat(()), "needs a modality"),
        (lambda: Threat(BOTH, "l1"), "norm is 'l1'"),
        (lambda: Threat(BOTH, units={"a": 0.0}), "'a'.*unit"),
        (lambda: Threat(BOTH, valid={"a": (1.0, 1.0)}), "'a'.*empty"),
        (lambda: Threat(BOTH, on="tokens", valid={"a": (0.0, 1.0)}), "no valid range"),
        (lambda: PGD(steps=0), "steps is 0"),
        (lambda: PGD("hinge"), "loss is 'hinge'"),
        (lambda: PGD(step_size=0.0), "step_size"),
        (lambda: strike(model, batch, FGM(), Threat(BOTH), [-1.0]), "Budgets are"),
        (lambda: strike(model, batch, FGM(), Threat(BOTH), []), "Budgets are"),
        (lambda: strike(model, batch, FGM(), Threat(BOTH), [1.0], "z"), "'z'.*'y'"),
    ):
        with pytest.raises(ConfigError, match=words):
            make()
    with pytest.raises(UnknownModalityError, match="'c'"):
        strike(model, batch, FGM(), Threat(("c",)), [1.0])
    with pytest.raises(ConfigError, match="no inputs to show"):
        strike(model, batch, FGM(), Threat(BOTH, on="tokens"), [1.0]).moved(0)


def test_a_batch_that_nobody_can_be_moved_in_is_left_alone():
    model, batch = curved_model(), rows()
    nobody = batch.keep(torch.tensor([[False, True]]).expand(len(batch), -1))
    for attack in ATTACKS:
        found = strike(model, nobody, attack, Threat(("a",)), [1.0])
        with torch.no_grad():
            wrong = model.eval()(nobody).logits["y"].argmax(dim=1) != batch.target
        assert torch.equal(found.fooled[0], wrong & (batch.target >= 0))
        assert not found.moves
