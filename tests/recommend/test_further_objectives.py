"""Objectives that contrast, align and separate, beside their equations, row by row in float64."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from planted import planted, planted_model, tower

from mmfuse.errors import ConfigError
from mmfuse.fusion import MeanFusion, SideBySideFusion
from mmfuse.recommend.ideal_point import IdealPointScore
from mmfuse.recommend.items import ItemVectors
from mmfuse.recommend.objectives import (
    AnchorAlignment,
    HingeLoss,
    InBatchSoftmaxLoss,
    MultimodalContrast,
    OrthogonalityLoss,
    PerturbedViews,
)
from mmfuse.recommend.propagation import LightGCN
from mmfuse.recommend.users import UserVectors


@pytest.fixture(scope="module")
def seen():
    """A model with every part, in float64, a batch, and what the model says of it."""
    data = planted(negatives=2)
    item = ItemVectors(7, content="concat")
    model = planted_model(data, item, UserVectors(), LightGCN(1), tower(SideBySideFusion)).double()
    batch = next(iter(data.train_dataloader()))
    content = data.catalogue.batch(batch.distinct_items())
    content = type(content)(
        content.modalities,
        {m: x.double() for m, x in content.inputs.items()},
        content.present,
        index=content.index,
    )
    batch = type(batch)(batch.users, batch.items, batch.negatives, content)
    # Content enters the vectors, so that all items are needed: in float64 as well.
    model.catalogue = DoubleCatalogue(data.catalogue)
    return model, batch, model(batch)


class DoubleCatalogue:
    def __init__(self, catalogue):
        self.catalogue = catalogue

    def batch(self, items=None, split="train"):
        found = self.catalogue.batch(items, split)
        inputs = {m: x.double() for m, x in found.inputs.items()}
        return type(found)(found.modalities, inputs, found.present, index=found.index)


def run(objective, seen):
    model, batch, output = seen
    torch.manual_seed(1)
    objective.build(model)
    return objective.double()(model, batch, output)


def scores(seen):
    """Each user's scores of its items, the observed one first."""
    _, _, output = seen
    return [
        [(u @ i).item() for i in items] for u, items in zip(output.users, output.items, strict=True)
    ]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def cosine(x, y):
    return (x @ y / (x.norm() * y.norm())).item()


def cosines(x, y):
    return (x @ y.T) / (x.norm(dim=1)[:, None] * y.norm(dim=1))


def nce(x, y, tau, directions=(1, 1)):
    """InfoNCE, row by row."""
    s = (cosines(x, y) / tau).tolist()
    forth = mean(math.log(sum(map(math.exp, row))) - row[i] for i, row in enumerate(s))
    columns = list(zip(*s, strict=True))
    back = mean(math.log(sum(map(math.exp, c))) - c[i] for i, c in enumerate(columns))
    return (directions[0] * forth + directions[1] * back) / sum(directions)


def close(found, expected):
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_hinge(seen):
    expected = mean(max(0, 0.5 - (i - j)) for i, *js in scores(seen) for j in js)
    close(run(HingeLoss(0.5), seen)["hinge"], expected)


@pytest.mark.parametrize("is_corrected", [True, False])
def test_softmax_over_the_batch(seen, is_corrected):
    model, batch, output = seen
    taken = model.item.taken.double()
    q = taken / taken.sum() if is_corrected else torch.ones_like(taken)
    pairs = list(zip(batch.users.tolist(), batch.items.tolist(), strict=True))
    observed = set(pairs)
    vectors = dict(zip(batch.items.tolist(), output.items[:, 0], strict=True))

    def mass(row, item):
        return math.exp((output.users[row] @ vectors[item]).item() / 0.5) / q[item].item()

    losses = []
    for row, (user, item) in enumerate(pairs):
        others = [mass(row, j) for _, j in pairs if (user, j) not in observed]
        own = mass(row, item)
        losses.append(-math.log(own / (own + sum(others))))
    assert any(items.count(i) > 1 for items in [batch.items.tolist()] for i in items)
    close(run(InBatchSoftmaxLoss(0.5, is_corrected), seen)["softmax"], mean(losses))


def encoded(seen, objective):
    """For each modality its vectors in the users' width, and who has it."""
    model, _, output = seen
    found = {}
    for i, m in enumerate(model.tower.modalities):
        vectors = output.content.tokens[m].pooled()
        project = getattr(objective, "project", {})
        found[m] = (project[m](vectors) if m in project else vectors, output.content.present[:, i])
    return found


def firsts(codes):
    return [codes.tolist().index(c) for c in sorted(set(codes.tolist()))]


def test_contrast_of_blocks(seen):
    _, batch, output = seen
    found = run(MultimodalContrast(0.5), seen)
    users = output.users[firsts(batch.users)]
    close(found["users_image_sound"], nce(users[:, 7:12], users[:, 12:], 0.5))
    rows = firsts(batch.items)
    both = output.content.present[output.places[rows, 0]].all(dim=1)
    items = output.items[rows, 0][both]
    assert 1 < len(items) < len(rows)
    close(found["items_image_sound"], nce(items[:, 7:12], items[:, 12:], 0.5))


def test_orthogonality(seen):
    objective = OrthogonalityLoss()
    found = run(objective, seen)
    for (a, (x, has_x)), (b, (y, has_y)) in combinations(encoded(seen, objective).items(), 2):
        both = has_x & has_y
        x, y = (z[both] / z[both].norm(dim=1, keepdim=True) for z in (x, y))
        x, y = x - x.mean(0), y - y.mean(0)
        total = 0.0
        for p in range(x.shape[1]):
            for q in range(y.shape[1]):
                total += (x[:, p] * y[:, q]).mean().item() ** 2
        close(found[f"{a}_{b}"], total / (x.shape[1] * y.shape[1]))


def test_anchor_alignment(seen):
    model, batch, output = seen
    objective = AnchorAlignment(0.5, fused_weight=3.0)
    found = run(objective, seen)
    rows = firsts(batch.items)
    places, behaviour = output.places[rows, 0], output.items[rows, 0]
    for m, (vectors, here) in encoded(seen, objective).items():
        kept = here[places]
        expected = nce(vectors[places][kept], behaviour[kept], 0.5, (1, 0))
        close(found[f"anchor_{m}"], expected)
    kept = output.content.present[places].any(dim=1)
    fused = objective.fused(output.content.vector[places])
    close(found["fused"], 3 * nce(fused[kept], behaviour[kept], 0.5))
    anchored = found["anchor_image"] + found["anchor_sound"]
    reached = torch.autograd.grad(
        anchored, model.user.table.weight, retain_graph=True, allow_unused=True
    )[0]
    assert reached is None or not reached.any()  # the anchor stays where it is


def test_views_are_as_far_as_told_and_stay_in_their_orthant():
    x = torch.randn(50, 8, dtype=torch.float64) * torch.logspace(-2, 2, 50).double()[:, None]
    seen = PerturbedViews(strength=0.3).view(x)
    # |x'| cos and sin are known from the triangle of x, 0.3 |x| and their angle.
    assert ((seen * x) >= 0).all()
    along = (seen * x).sum(1) / x.norm(dim=1)
    assert (along < 1).all()
    assert (along > math.cos(math.asin(0.3))).all()


def test_views_without_noise_are_the_vector_itself(seen):
    model, batch, output = seen
    found = PerturbedViews(1e-9)(model, batch, output)
    users, items = output.users[firsts(batch.users)], output.items[firsts(batch.items), 0]
    close(found["users"], nce(users, users, 0.2))
    close(found["items"], nce(items, items, 0.2))


@pytest.mark.parametrize(
    "make",
    [OrthogonalityLoss, AnchorAlignment, MultimodalContrast],
)
def test_what_reads_modalities_says_that_there_are_none(make):
    model = planted_model(planted(content=False), ItemVectors(4), UserVectors())
    with pytest.raises(ConfigError, match=r"modalities|blocks"):
        make().build(model)


def test_blocks_may_start_elsewhere(seen):
    users = seen[2].users[firsts(seen[1].users)]
    found = run(MultimodalContrast(0.5, start=2), seen)
    close(found["users_image_sound"], nce(users[:, 2:7], users[:, 7:12], 0.5))


@pytest.mark.parametrize("fusion", [MeanFusion, SideBySideFusion])
def test_contrast_needs_blocks(fusion):
    content = "concat" if fusion is MeanFusion else "add"
    data = planted()
    model = planted_model(data, ItemVectors(7, content=content), UserVectors(), tower=tower(fusion))
    with pytest.raises(ConfigError, match="SideBySideFusion"):
        MultimodalContrast().build(model)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HingeLoss(margin=0), "margin is 0"),
        (lambda: InBatchSoftmaxLoss(temperature=-1), "temperature is -1"),
        (lambda: PerturbedViews(strength=0), "strength is 0"),
        (lambda: PerturbedViews(temperature=2), "temperature is 2"),
        (lambda: MultimodalContrast(start=-1), "start is -1"),
        (lambda: AnchorAlignment(fused_weight=-1), "fused_weight is -1"),
        (lambda: IdealPointScore("near"), "form is 'near'"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
