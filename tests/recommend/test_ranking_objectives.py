"""Ranking objectives beside their equations, a pair at a time in float64."""

from __future__ import annotations

import math

import pytest
import torch
from recommenders_small import batch_of, small_model
from torch.nn.functional import cosine_similarity

from mmfuse.errors import ConfigError
from mmfuse.recommend.objectives import (
    AnchorAlignment,
    BCELoss,
    BootstrapLoss,
    BPRLoss,
    EmbeddingL2,
    ModalityBPR,
    SampledSoftmaxLoss,
)
from mmfuse.recommend.propagation import LightGCN


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.fixture
def seen():
    model, batch = small_model(content="add"), batch_of()
    return model, batch, model(batch)


def scores(output):
    users, items = output.users.tolist(), output.items.tolist()
    return [
        [sum(a * b for a, b in zip(u, i, strict=True)) for i in own]
        for u, own in zip(users, items, strict=True)
    ]


def test_bpr(seen):
    model, batch, output = seen
    terms = [-math.log(sigmoid(s[0] - x)) for s in scores(output) for x in s[1:]]
    found = BPRLoss()(model, batch, output)["bpr"]
    assert found.item() == pytest.approx(sum(terms) / len(terms))


def test_binary_cross_entropy(seen):
    model, batch, output = seen
    ones = [-math.log(sigmoid(s[0])) for s in scores(output)]
    zeros = [-math.log(1 - sigmoid(x)) for s in scores(output) for x in s[1:]]
    found = BCELoss()(model, batch, output)["bce"]
    assert found.item() == pytest.approx(sum(ones) / len(ones) + sum(zeros) / len(zeros))


def test_sampled_softmax(seen):
    model, batch, output = seen
    terms = []
    for s in scores(output):
        powers = [math.exp(x / 0.5) for x in s]
        terms.append(-math.log(powers[0] / sum(powers)))
    found = SampledSoftmaxLoss(0.5)(model, batch, output)["softmax"]
    assert found.item() == pytest.approx(sum(terms) / len(terms))
    with pytest.raises(ConfigError, match="temperature is 0"):
        SampledSoftmaxLoss(0)


def test_l2(seen):
    model, batch, output = seen
    total = sum(x * x for row in output.start_users.tolist() for x in row)
    total += sum(x * x for own in output.start_items.tolist() for row in own for x in row)
    found = EmbeddingL2()(model, batch, output)["l2"]
    assert found.item() == pytest.approx(total / 2 / len(batch))


def test_modality_bpr_leaves_out_items_that_lack_the_modality(seen):
    model, batch, output = seen
    loss = ModalityBPR()
    loss.build(model)
    found = loss.double()(model, batch, output)
    content = output.content
    for i, m in enumerate(model.tower.modalities):
        z = loss.project[m](content.tokens[m].pooled()) if m in loss.project else None
        z = content.tokens[m].pooled() if z is None else z
        terms = []
        for u, places in zip(output.users, output.places.tolist(), strict=True):
            for j in places[1:]:
                if content.present[places[0], i] and content.present[j, i]:
                    terms.append(-math.log(sigmoid((u @ z[places[0]] - u @ z[j]).item())))
        assert 0 < len(terms) < batch.negatives.numel()  # some item lacks it
        assert found[m].item() == pytest.approx(sum(terms) / len(terms))


def test_bootstrap_without_dropout_is_its_equation(seen):
    model, batch, output = seen
    loss = BootstrapLoss(dropout=0.0, modality_weight=2.0)
    loss.build(model)
    found = loss.double()(model, batch, output)

    def apart(a, b):
        return 1 - cosine_similarity(a, b, dim=0).item()

    p, x_u, x_i = loss.predict, output.users, output.items[:, 0]
    pairs = list(zip(x_u, x_i, strict=True))
    for name, terms in {
        "user": [apart(p(u), i) for u, i in pairs],
        "item": [apart(p(i), u) for u, i in pairs],
    }.items():
        assert found[name].item() == pytest.approx(sum(terms) / len(terms))
    for k, m in enumerate(model.tower.modalities):
        z = output.content.tokens[m].pooled()
        z = loss.project[m](z) if m in loss.project else z
        own = [
            (z[place], i)
            for place, i in zip(output.places[:, 0].tolist(), x_i, strict=True)
            if output.content.present[place, k]
        ]
        to_item = [2 * apart(p(a), i) for a, i in own]
        to_itself = [2 * apart(p(a), a) for a, _ in own]
        assert found[f"{m}_item"].item() == pytest.approx(sum(to_item) / len(own))
        assert found[m].item() == pytest.approx(sum(to_itself) / len(own))


def test_the_targets_of_the_bootstrap_have_no_gradient(seen):
    model, batch, output = seen
    loss = BootstrapLoss(modality_weight=0.0)
    loss.build(model)
    users = output.users.detach().requires_grad_()
    items = output.items.detach().requires_grad_()
    seen_apart = type(output)(users, items, users, items, None, None)
    found = loss.double()(model, batch, seen_apart)
    (to_items,) = torch.autograd.grad(found["user"], items, allow_unused=True)
    assert to_items is None or not to_items.any()


@pytest.mark.parametrize("make", [ModalityBPR, BootstrapLoss])
def test_items_without_modalities_are_refused(make):
    with pytest.raises(ConfigError, match="modalities"):
        make().build(small_model(content="none", tower=False))


@pytest.mark.parametrize("objective", [BootstrapLoss(0), AnchorAlignment()])
def test_who_looks_at_observed_items_alone_needs_no_others_encoded(objective):
    model, batch = small_model(backbone=LightGCN(1)), batch_of()
    torch.manual_seed(0)
    objective.build(model)
    objective.double()
    fewer = model(batch, reads_drawn=objective.reads_drawn)
    assert fewer.content.batch.index.tolist() == [0, 2, 3, 5]
    whole = objective(model, batch, model(batch))
    for name, loss in objective(model, batch, fewer).items():
        torch.testing.assert_close(loss, whole[name])
