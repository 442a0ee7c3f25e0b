"""ImputationLoss: the equation by loops, what may be hidden, and whose encodings are the aim."""

import copy
import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion, ImputedFusion
from mmfuse.fusion.imputers import (
    CascadeImputer,
    MixtureImputer,
    PlaceholderImputer,
    RidgeImputer,
)
from mmfuse.objectives import ImputationLoss
from mmfuse.objectives.hidden import draw_hidden
from mmfuse.testing import check_objective
from mmfuse_encoders import MLPEncoder

WIDTHS = {"a": 2, "b": 3, "c": 2}


def make_model(imputer):
    torch.manual_seed(0)
    spec = DataSpec(
        {m: ModalitySpec.of(d) for m, d in WIDTHS.items()},
        {"y": TargetSpec("multiclass", ("x", "y"))},
    )
    encoders = {m: MLPEncoder(d, out_dim=4) for m, d in WIDTHS.items()}
    fusion = ImputedFusion(dict.fromkeys(WIDTHS, 4), imputer=imputer)
    return FusionModel(spec, encoders, fusion).double()


def make_batch(present):
    torch.manual_seed(1)
    inputs = {m: torch.randn(len(present), d, dtype=torch.float64) for m, d in WIDTHS.items()}
    return Batch(tuple(WIDTHS), inputs, present, index=torch.arange(5, 5 + len(present)))


def losses(model, objective, batch):
    return objective(model, batch, model.encode(batch), model(batch))


PRESENT = torch.tensor(
    [[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1], [1, 0, 1]]
).bool()


@pytest.mark.parametrize("targets", ["own", "start"])
def test_it_is_the_squared_error_where_something_was_hidden_and_the_way_back(targets):
    model = make_model(CascadeImputer(hidden=(3,), blocks=2)).eval()
    objective = ImputationLoss(targets=targets, cycle=0.5)
    objective.build(model)
    objective.double().eval()
    start = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.encoders.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    batch = make_batch(PRESENT)
    found = losses(model, objective, batch)
    aims = (start if targets == "start" else model).encode(batch)
    tokens = model.encode(batch)
    errors, back = {m: [] for m in WIDTHS}, []
    for i, here in enumerate(PRESENT.tolist()):
        having = [k for k in range(3) if here[k]]
        if len(having) < 2:
            continue
        hidden = having[int(batch.index[i]) % len(having)]
        kept = torch.tensor([[k in having and k != hidden for k in range(3)]])
        parts = [
            tokens[m].values[i, 0] if kept[0, k] else torch.zeros(4, dtype=torch.float64)
            for k, m in enumerate(WIDTHS)
        ]
        row = torch.cat(parts).unsqueeze(0)
        made = model.fusion.imputer(row, kept)
        name = list(WIDTHS)[hidden]
        gap = made[0, 4 * hidden : 4 * hidden + 4] - aims[name].values[i, 0]
        errors[name].append((sum(g**2 for g in gap), sum(t**2 for t in aims[name].values[i, 0])))
        imagined = torch.zeros_like(made)
        imagined[0, 4 * hidden : 4 * hidden + 4] = made[0, 4 * hidden : 4 * hidden + 4]
        flags = torch.tensor([[k == hidden for k in range(3)]])
        returned = objective.back(imagined, flags)
        for d in range(12):
            if kept[0, d // 4]:
                back.append(((returned[0, d] - row[0, d]) ** 2, row[0, d].detach() ** 2))
    for m, pairs in errors.items():
        error, size = map(sum, zip(*pairs, strict=True))
        torch.testing.assert_close(found[m], error / size / 3)
    error, size = map(sum, zip(*back, strict=True))
    torch.testing.assert_close(found["cycle"], 0.5 * error / size)


@pytest.mark.parametrize("targets", ["own", "start"])
def test_encoders_learn_from_a_fixed_aim_alone_and_never_as_targets(targets):
    model = make_model(CascadeImputer())
    objective = ImputationLoss(targets=targets)
    objective.build(model)
    objective.double().eval()
    batch = make_batch(torch.tensor([[True, True, False]] * 2))
    found = losses(model, objective, batch)  # rows 5 and 6 hide b and a
    found["b"].backward()
    learns = {
        m: any(p.grad is not None and bool(p.grad.any()) for p in model.encoders[m].parameters())
        for m in WIDTHS
    }
    assert learns == {"a": targets == "start", "b": False, "c": False}
    assert all(p.grad is not None for p in model.fusion.imputer.parameters())


def test_the_size_of_the_encodings_is_no_matter():
    errors = []
    for size in (1.0, 100.0):
        model = make_model(PlaceholderImputer())
        objective = ImputationLoss()
        objective.build(model)
        objective.eval()
        with torch.no_grad():
            model.fusion.imputer.vectors.mul_(size)
            for encoder in model.encoders.values():
                last = [p for p in encoder.modules() if isinstance(p, torch.nn.Linear)][-1]
                last.weight.mul_(size)
                last.bias.mul_(size)
        errors.append(losses(model, objective, make_batch(PRESENT)))
    torch.testing.assert_close(*errors)


def test_the_copy_of_the_start_is_frozen_and_stays_in_eval_mode():
    objective = ImputationLoss(targets="start")
    objective.build(make_model(CascadeImputer()))
    objective.train()
    assert not objective.aims.start.training
    assert not any(p.requires_grad for p in objective.aims.parameters())


@given(seed=st.integers(0, 10_000), training=st.booleans())
def test_a_row_hides_some_of_what_it_has_and_never_all(seed, training):
    torch.manual_seed(seed)
    present = torch.rand(30, 4) < 0.6
    hidden = draw_hidden(present, torch.arange(30), training)
    assert not (hidden & ~present).any()
    several = present.sum(dim=1) > 1
    assert hidden.any(dim=1).equal(several)
    assert (present & ~hidden).any(dim=1).equal(present.any(dim=1))


def test_each_number_and_each_choice_is_alike_likely():
    torch.manual_seed(0)
    present = torch.tensor([True, False, True, True]).expand(20_000, 4)
    hidden = draw_hidden(present, torch.arange(20_000), training=True)
    count = hidden.sum(dim=1).bincount(minlength=4).double() / 20_000
    assert count[1:3].sub(0.5).abs().max() < 0.02
    assert hidden.double().mean(dim=0)[[0, 2, 3]].sub(0.5).abs().max() < 0.02


def test_in_evaluation_a_row_hides_the_same_in_any_company():
    present = torch.ones(4, 3).bool()
    whole = draw_hidden(present, torch.arange(4), training=False)
    alone = draw_hidden(present[2:3], torch.tensor([2]), training=False)
    assert whole.sum(dim=1).tolist() == [1, 1, 1, 1]
    assert whole[2:3].equal(alone)


def fitted(dims, imputer):
    made = ImputedFusion(dims, options={"out_dim": 4, "hidden": 4}, imputer=imputer)
    if made.imputer.is_fitted:
        draw = torch.Generator().manual_seed(0)
        made.imputer.fit(torch.randn(20, 12, generator=draw), torch.ones(20, 3).bool())
    return made


@pytest.mark.parametrize(
    ("imputer", "options"),
    [
        (CascadeImputer(hidden=(4,), blocks=2), {"cycle": 1.0, "targets": "start"}),
        (MixtureImputer(count=3), {"weight": 0.01}),
        (PlaceholderImputer(), {}),
    ],
    ids=["cascade", "mixture", "placeholder"],
)
def test_it_keeps_the_promises_of_an_objective(imputer, options):
    check_objective(ImputationLoss, [functools.partial(fitted, imputer=imputer)], **options)


@pytest.mark.parametrize(
    ("imputer", "options", "message"),
    [
        (RidgeImputer(), {}, "whose imputer learns; found RidgeImputer"),
        (MixtureImputer(), {"cycle": 1.0}, "MixtureImputer has no way back"),
    ],
)
def test_an_imputer_that_does_not_fit_is_refused(imputer, options, message):
    with pytest.raises(ConfigError, match=message):
        ImputationLoss(**options).build(make_model(imputer))


def test_another_fusion_is_refused():
    model = make_model(CascadeImputer())
    other = FusionModel(model.spec, dict(model.encoders.items()), ConcatFusion(model.dims))
    with pytest.raises(ConfigError, match=r"needs an ImputedFusion .* found ConcatFusion"):
        ImputationLoss().build(other)


@pytest.mark.parametrize("options", [{"targets": "teacher"}, {"cycle": -1.0}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ConfigError, match="expected"):
        ImputationLoss(**options)
