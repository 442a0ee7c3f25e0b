"""M3CoL against slow, literal versions in float64, the authors' own faults among them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion
from mmfuse.objectives import M3CoLoss, MultiSClipLoss
from mmfuse.objectives.mixing import Mix, blend, draw_mix
from mmfuse.tokens import Tokens
from mmfuse_encoders import MLPEncoder

ROWS = 9
WIDTHS = {"a": 3, "b": 2, "c": 4}


@pytest.fixture
def model() -> FusionModel:
    torch.manual_seed(0)
    spec = DataSpec(
        {
            m: ModalitySpec("vector", (w,), mean=(0.25,) * w, std=(2.0,) * w)
            for m, w in WIDTHS.items()
        },
        {"y": TargetSpec("regression")},
    )
    encoders = {m: MLPEncoder(s, out_dim=5) for m, s in spec.modalities.items()}
    return FusionModel(spec, encoders, ConcatFusion(dict.fromkeys(WIDTHS, 5))).double()


def rows_of(present: Tensor | None = None) -> Batch:
    draw = torch.Generator().manual_seed(1)
    inputs = {m: torch.randn(ROWS, w, generator=draw).double() for m, w in WIDTHS.items()}
    if present is None:
        present = torch.rand(ROWS, 3, generator=draw) < 0.8
    return Batch(tuple(WIDTHS), inputs, present)


def loss_of(objective, model, batch) -> dict[str, Tensor]:
    objective.build(model)
    tokens = model.encode(batch)
    return objective(model, batch, tokens, model(batch))


def normal(v: Tensor) -> Tensor:
    return v / v.square().sum().sqrt()


def log_softmax(scores: list[float]) -> list[float]:
    total = math.log(sum(math.exp(s) for s in scores))
    return [s - total for s in scores]


def cross_entropies(p, q, x, y, scale) -> float:
    """Both directions of one pair, an entry at a time; p and q are lists of rows."""
    count = len(x)
    scores = [
        [scale * (normal(x[i]) @ normal(y[j])).item() for j in range(count)] for i in range(count)
    ]
    total = 0.0
    for i in range(count):
        forth = log_softmax(scores[i])
        back = log_softmax([scores[j][i] for j in range(count)])
        total -= sum(p[i][j] * forth[j] for j in range(count)) / 2
        total -= sum(q[i][j] * back[j] for j in range(count)) / 2
    return total / count


def literal_mixture(mixes: Iterator[Mix], model, batch, pairs, mix, reference) -> dict[str, float]:
    found = {}
    for a, b in pairs:
        drawn = next(mixes)
        has = {m: batch.present[:, i].tolist() for i, m in enumerate(WIDTHS)}
        rows = [i for i in range(ROWS) if has[a][i] and has[b][i]]
        place = {row: k for k, row in enumerate(rows)}

        def encode(m: str, x: Tensor) -> Tensor:
            return model.encoders[m](((x - 0.25) / 2).unsqueeze(0))[0]

        x, y, p = [], [], [[0.0] * len(rows) for _ in rows]
        for k, i in enumerate(rows):
            j, share = int(drawn.partner[i]), float(drawn.share[i])
            own, other = batch.inputs[a][i], batch.inputs[a][j]
            if mix == "input":
                x.append(encode(a, share * own + (1 - share) * other))
            else:
                x.append(share * encode(a, own) + (1 - share) * encode(a, other))
            y.append(encode(b, batch.inputs[b][i]))
            p[k][k] = share
            if reference:
                p[k][place[j]] = 1 - share
            else:
                p[k][place[j]] += 1 - share
        q = [[p[j][i] for j in range(len(rows))] for i in range(len(rows))]
        if not reference:
            q = [[v / sum(row) if sum(row) else 0.0 for v in row] for row in q]
        found[f"{a}_{b}"] = cross_entropies(p, q, x, y, 10.0) / len(pairs)
    return found


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("mix", ["input", "embedding"])
@pytest.mark.parametrize(
    ("pairs", "meant"),
    [
        ("ring", ["ab", "bc", "ca"]),
        ("all", ["ab", "ac", "ba", "bc", "ca", "cb"]),
        ("anchor:b", ["ba", "bc"]),
        ([["c", "a"]], ["ca"]),
    ],
)
def test_the_mixture_is_found_as_its_equation_says(
    model, monkeypatch, pairs, meant, mix, reference
):
    drawn: list[Mix] = []

    def remembered(*args, **kwargs) -> Mix:
        drawn.append(draw_mix(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr("mmfuse.objectives.m3col.draw_mix", remembered)
    torch.manual_seed(3)
    batch = rows_of()
    objective = M3CoLoss(pairs=pairs, mix=mix, rate=0.8, alpha=0.7, reference=reference)
    losses = loss_of(objective.double().train(), model, batch)
    expected = literal_mixture(
        iter(drawn), model, batch, [tuple(pair) for pair in meant], mix, reference
    )
    assert list(losses) == list(expected)
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-9), name


def test_a_row_that_is_its_own_partner_keeps_its_whole_target(model, monkeypatch):
    still = Mix(torch.arange(ROWS), torch.full((ROWS,), 0.25))
    monkeypatch.setattr("mmfuse.objectives.m3col.draw_mix", lambda *_: still)
    batch = rows_of(torch.ones(ROWS, 3, dtype=torch.bool))
    mended, faulty = (
        loss_of(M3CoLoss(reference=reference).double().train(), model, batch)["a_b"].item()
        for reference in (False, True)
    )
    plain = loss_of(M3CoLoss().double().eval(), model, batch)["a_b"].item()
    assert mended == pytest.approx(plain)
    assert faulty == pytest.approx(0.75 * plain)  # of 0.25 + 0.75 only the latter is left


def test_soft_contrast_is_its_equation(model):
    batch = rows_of()
    losses = loss_of(MultiSClipLoss(temperature=0.2).double().train(), model, batch)
    tokens = {m: t.pooled() for m, t in model.encode(batch).items()}
    has = {m: batch.present[:, i].tolist() for i, m in enumerate(WIDTHS)}
    assert list(losses) == ["a_b", "b_c", "c_a"]
    for name, loss in losses.items():
        a, b = name.split("_")
        rows = [i for i in range(ROWS) if has[a][i] and has[b][i]]
        y = [normal(tokens[b][i]) for i in rows]
        p = [[math.exp(s) for s in log_softmax([5 * (u @ v).item() for v in y])] for u in y]
        expected = cross_entropies(p, p, [tokens[a][i] for i in rows], y, 5.0)
        assert loss.item() == pytest.approx(expected / 3, rel=1e-9)


@pytest.mark.parametrize(
    "make", [M3CoLoss, functools.partial(M3CoLoss, mix="input"), MultiSClipLoss]
)
def test_the_gradient_is_the_numerical_one(model, make):
    batch = rows_of()
    objective = make().double().train()
    objective.build(model)
    x = batch.inputs["a"].clone().requires_grad_()

    def total(values: Tensor) -> Tensor:
        torch.manual_seed(5)
        given = Batch(batch.modalities, {**batch.inputs, "a": values}, batch.present)
        return sum(objective(model, given, model.encode(given), None).values())

    assert torch.autograd.gradcheck(total, x, fast_mode=True, atol=1e-6, rtol=1e-4)


def test_evaluation_mixes_nothing(model):
    batch = rows_of()
    objective = M3CoLoss().double().eval()
    first, second = (loss_of(objective, model, batch)["a_b"] for _ in range(2))
    assert torch.equal(first, second)
    unmixed = loss_of(M3CoLoss(rate=0.0).double().train(), model, batch)["a_b"]
    torch.testing.assert_close(first, unmixed)


def test_partners_are_a_permutation_of_the_rows_that_take_part():
    torch.manual_seed(0)
    valid = torch.rand(200) < 0.6
    mix = draw_mix(valid, alpha=0.15, rate=0.5)
    assert sorted(mix.partner.tolist()) == list(range(200))
    assert torch.equal(valid[mix.partner], valid)
    assert (mix.share[~valid] == 1).all()
    changed = mix.changed[valid].float().mean()
    assert 0.35 < changed < 0.65


def test_shares_follow_the_beta_distribution():
    torch.manual_seed(0)
    mix = draw_mix(torch.ones(20000, dtype=torch.bool), alpha=0.15, rate=1.0)
    assert mix.share.mean() == pytest.approx(0.5, abs=0.02)
    assert mix.share.var() == pytest.approx(1 / (4 * (2 * 0.15 + 1)), abs=0.01)


def test_only_mixed_rows_are_encoded_anew(model):
    batch = rows_of(torch.ones(ROWS, 3, dtype=torch.bool))
    seen: list[int] = []
    objective = M3CoLoss(pairs=[["a", "b"]], mix="input").double().train()
    objective.build(model)
    tokens = model.encode(batch)
    model.encoders["a"].register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    torch.manual_seed(1)
    mixed = int(draw_mix(batch.present[:, 0], 0.15, 0.5).changed.sum())
    torch.manual_seed(1)
    objective(model, batch, tokens, None)
    assert seen == [mixed]
    assert 0 < mixed < ROWS


def test_a_blend_of_sequences_lasts_as_long_as_the_longer_one():
    values = torch.tensor([[[1.0], [1.0], [9.0]], [[3.0], [9.0], [9.0]]])
    x = Tokens(values, torch.tensor([[True, True, False], [True, False, False]]))
    mix = Mix(torch.tensor([1, 0]), torch.tensor([0.25, 1.0]))
    found = blend(x, mix, torch.tensor([0]))
    assert found.values[0, :, 0].tolist() == [2.5, 0.25, 0.0]
    assert found.mask.tolist() == [[True, True, False]]


def test_phases_follow_each_other():
    first, second = M3CoLoss(), MultiSClipLoss()
    for progress, mixes in ((0.0, True), (0.3, True), (0.4, False), (1.0, False)):
        assert (first.factor(progress) > 0) == mixes
        assert (second.factor(progress) > 0) != mixes


# What is refused.


@pytest.mark.parametrize(
    "spec", [ModalitySpec("text"), ModalitySpec("table", (3,), categories=(4,))]
)
def test_inputs_that_cannot_be_mixed_are_named(spec):
    model = FusionModel(
        DataSpec({"a": ModalitySpec.of(3), "note": spec}, {"y": TargetSpec("regression")}),
        {"a": MLPEncoder(3, out_dim=4), "note": MLPEncoder(3, out_dim=4)},
        ConcatFusion({"a": 4, "note": 4}),
    )
    with pytest.raises(ConfigError, match=r"'note' is .* cannot be mixed"):
        M3CoLoss(mix="input").build(model)
    M3CoLoss(mix="input", pairs=[["a", "note"]]).build(model)
    M3CoLoss(mix="embedding").build(model)


def test_whole_numbers_are_no_inputs_to_mix():
    with pytest.raises(ConfigError, match="their numbers are names"):
        blend(torch.arange(4), Mix(torch.arange(4), torch.ones(4)), torch.arange(4))


@pytest.mark.parametrize(
    "options",
    [{"mix": "both"}, {"temperature": 0.0}, {"alpha": 0.0}, {"rate": 1.5}, {"alpha": math.nan}],
)
def test_settings_outside_their_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        M3CoLoss(**options)
    with pytest.raises(ConfigError, match="temperature"):
        MultiSClipLoss(temperature=-1.0)
