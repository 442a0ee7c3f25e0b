"""What a student learns from teachers: each term against loops, and its gradients."""

import itertools
import math

import pytest
import torch
from distilled_rows import batch_of, classes, model_of, team_of

from mmfuse import TargetSpec
from mmfuse.distillation import (
    FeatureDistillation,
    HardRoutedDistillation,
    Lesson,
    RelationalDistillation,
    Said,
    SoftTargets,
    WeightedRoutedDistillation,
)
from mmfuse.distillation.soft import divergence
from mmfuse.errors import ConfigError


def lesson_of(team, student, batch):
    own = batch.only(student.modalities)
    tokens, present = student.encode(own), student.present(own)
    output = student.read(student.fuse(tokens, present), present)
    return Lesson(Said.of(tokens, output, present.any(dim=1)), *team.say(batch, student))


@pytest.fixture
def team():
    return team_of(classes())


@pytest.fixture
def student():
    return model_of("a", classes(), 2)


@pytest.fixture
def lesson(team, student):
    return lesson_of(team, student, batch_of())


def built(term, student, team):
    torch.manual_seed(5)
    term.build(student, team)
    return term.double()


def rows_of(lesson):
    return [i for i, c in enumerate(lesson.teacher.counted.tolist()) if c]


def test_soft_targets_are_the_mean_over_rows_that_count(lesson, student, team):
    term = built(SoftTargets(temperature=3.0), student, team)
    rows = rows_of(lesson)
    assert 2 < len(rows) < len(lesson.teacher.counted)
    each = divergence(classes(), lesson.teacher.logits["y"], lesson.student.logits["y"], 3.0)
    assert torch.allclose(term(lesson)["soft"], sum(each[i] for i in rows) / len(rows))


def test_the_hint_is_half_the_squared_distance_of_a_linear_map(lesson, student, team):
    term = built(FeatureDistillation(student="a", teacher="b"), student, team)
    weight, bias = term.regressor.weight, term.regressor.bias
    total, rows = 0.0, []
    for i in rows_of(lesson):
        if not lesson.teacher.seen["b"][i]:
            continue
        rows.append(i)
        mapped = weight @ lesson.student.vectors["a"][i] + bias
        total += sum((mapped - lesson.teacher.vectors["b"][i]) ** 2) / 5 / 2
    assert 0 < len(rows) < len(rows_of(lesson))
    found = term(lesson)["hint"]
    assert torch.allclose(found, total / len(rows))
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(found, list(term.parameters())))


def huber(x):
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def slow_relations(ours, theirs):
    n = len(ours)
    spread = []
    for v in (ours, theirs):
        d = [[math.dist(v[i], v[j]) for j in range(n)] for i in range(n)]
        mean = sum(map(sum, d)) / (n * (n - 1))
        spread.append([[x / mean for x in line] for line in d])
    pairs = list(itertools.permutations(range(n), 2))
    distance = sum(huber(spread[0][i][j] - spread[1][i][j]) for i, j in pairs) / len(pairs)

    def cosine(v, i, j, k):
        a = [x - y for x, y in zip(v[i], v[j], strict=True)]
        b = [x - y for x, y in zip(v[k], v[j], strict=True)]
        norm = math.hypot(*a) * math.hypot(*b)
        return sum(x * y for x, y in zip(a, b, strict=True)) / norm

    triples = list(itertools.permutations(range(n), 3))
    angle = sum(huber(cosine(ours, *t) - cosine(theirs, *t)) for t in triples) / len(triples)
    return distance, angle


def test_relations_are_what_loops_over_pairs_and_triples_give(lesson, student, team):
    term = built(RelationalDistillation(distance=2.0, angle=3.0, student="a"), student, team)
    rows = rows_of(lesson)
    ours, theirs = lesson.student.vectors["a"][rows], lesson.teacher.vectors["fused"][rows]
    distance, angle = slow_relations(ours.tolist(), theirs.tolist())
    found = term(lesson)
    assert found["distance"].item() == pytest.approx(2 * distance, abs=1e-12)
    assert found["angle"].item() == pytest.approx(3 * angle, abs=1e-12)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_relations_of_too_few_or_equal_rows_have_a_finite_gradient(rows, student, team):
    batch = batch_of().rows(torch.zeros(rows, dtype=torch.long))
    found = built(RelationalDistillation(), student, team)(lesson_of(team, student, batch))
    total = found["distance"] + found["angle"]
    assert total.isfinite()
    assert rows == 2 or total == 0
    grads = torch.autograd.grad(total, list(student.parameters()), allow_unused=True)
    assert all(g is None or g.isfinite().all() for g in grads)


def slow_routed(lesson, term, hard):
    """The loss of a routed term, its balance, and the router's use, row by row."""
    able = torch.stack([s.counted for s in lesson.pool], dim=1)
    total, count, mean, even = 0.0, 0, [0.0] * 3, [0.0] * 3
    for i in range(len(able)):
        can = [j for j in range(3) if able[i, j]]
        if not can:
            continue
        count += 1
        scores = term.router(lesson.student.logits["y"][i].detach()).tolist()
        scale = sum(math.exp(scores[j]) for j in can)
        for j in can:
            mean[j] += math.exp(scores[j]) / scale
            even[j] += 1 / len(can)
        picked = sorted(can, key=lambda j: -scores[j])[: term.top]
        share = sum(math.exp(scores[j]) for j in picked)
        for j in picked:
            said = lesson.pool[j].logits["y"][i : i + 1]
            apart = divergence(classes(), said, lesson.student.logits["y"][i : i + 1], 4.0)
            total += apart.item() * (1 / len(picked) if hard else math.exp(scores[j]) / share)
    mean, even = [m / count for m in mean], [e / count for e in even]
    kl = sum(e * math.log(e / m) for m, e in zip(mean, even, strict=True))
    variation = sum((m - e) ** 2 for m, e in zip(mean, even, strict=True)) * 3
    return total / count, {"kl": kl, "variation": variation}


@pytest.mark.parametrize("balance", ["kl", "variation"])
@pytest.mark.parametrize(
    ("cls", "top"),
    [
        (HardRoutedDistillation, 1),
        (HardRoutedDistillation, 2),
        (WeightedRoutedDistillation, 2),
        (WeightedRoutedDistillation, 3),
    ],
)
def test_routed_distillation_is_what_loops_over_rows_give(lesson, student, team, cls, top, balance):
    # Of some rows the teacher can tell and the auxiliary cannot, as it reads neither of them.
    lesson.pool[2].counted[0] = False
    term = built(cls(top=top, balance=balance, balance_weight=0.5), student, team)
    found = term(lesson)
    routed, uneven = slow_routed(lesson, term, cls is HardRoutedDistillation)
    assert found["routed"].item() == pytest.approx(routed, abs=1e-10)
    assert found["balance"].item() == pytest.approx(0.5 * uneven[balance], abs=1e-10)


def test_distillation_trains_a_weighted_router_and_no_hard_one(lesson, student, team):
    hard = built(HardRoutedDistillation(), student, team)
    loss = hard(lesson)["routed"]
    weights = list(hard.router.parameters())
    assert all(g is None for g in torch.autograd.grad(loss, weights, allow_unused=True))

    weighted = built(WeightedRoutedDistillation(), student, team)
    loss = weighted(lesson)["routed"]
    weights = list(weighted.router.parameters())
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(loss, weights))


@pytest.mark.parametrize("cls", [HardRoutedDistillation, WeightedRoutedDistillation])
def test_the_balance_moves_the_router_and_never_the_student(lesson, student, team, cls):
    term = built(cls(), student, team)
    balance = term(lesson)["balance"]
    own = torch.autograd.grad(balance, list(term.router.parameters()), retain_graph=True)
    assert all(g.abs().sum() > 0 for g in own)
    theirs = torch.autograd.grad(balance, list(student.parameters()), allow_unused=True)
    assert all(g is None for g in theirs)


def test_a_batch_without_rows_that_count_gives_zero_and_a_finite_gradient(student, team):
    batch = batch_of().rows(torch.tensor([1, 3]))  # a alone, nothing
    lesson = lesson_of(team, student, batch)
    for term in (
        SoftTargets(),
        FeatureDistillation(student="a", teacher="b"),
        RelationalDistillation(),
        HardRoutedDistillation(balance_weight=0),
        WeightedRoutedDistillation(balance="variation"),
        WeightedRoutedDistillation(),
    ):
        found = built(term, student, team)(lesson)
        total = torch.stack(list(found.values())).sum()
        assert total.item() == 0
        learned = [*student.parameters(), *term.parameters()]
        if total.requires_grad:
            grads = torch.autograd.grad(total, learned, retain_graph=True, allow_unused=True)
            assert all(g is None or g.isfinite().all() for g in grads)


@pytest.mark.parametrize(
    "target",
    [
        TargetSpec("binary", ("no", "yes")),
        TargetSpec("multilabel", ("p", "q")),
        TargetSpec("regression", mean=(1.0,), std=(2.0,)),
    ],
)
def test_every_term_takes_other_kinds_of_target(target):
    team, student = team_of(target), model_of("a", target, 2)
    lesson = lesson_of(team, student, batch_of())
    for term in (SoftTargets(), RelationalDistillation(), WeightedRoutedDistillation()):
        found = built(term, student, team)(lesson)
        assert all(v.isfinite() and v.dim() == 0 for v in found.values())
        torch.stack(list(found.values())).sum().backward(retain_graph=True)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SoftTargets(temperature=0), "temperature"),
        (lambda: HardRoutedDistillation(top=0), "top is 0"),
        (lambda: WeightedRoutedDistillation(top=1), "top is 1; expected 2 up"),
        (lambda: HardRoutedDistillation(balance="even"), "balance"),
        (lambda: HardRoutedDistillation(balance_weight=-1), "balance_weight"),
        (lambda: RelationalDistillation(angle=-1), "angle"),
        (lambda: SoftTargets(weight=-1), "weight"),
    ],
)
def test_options_outside_their_range_are_refused(make, match):
    with pytest.raises(ConfigError, match=match):
        make()


def test_terms_that_cannot_serve_say_so(student, team):
    with pytest.raises(ConfigError, match="student has no vector 'b'"):
        FeatureDistillation(student="b").build(student, team)
    with pytest.raises(ConfigError, match="teacher has no vector 'z'"):
        RelationalDistillation(teacher="z").build(student, team)
    with pytest.raises(ConfigError, match="top is 4"):
        HardRoutedDistillation(top=4).build(student, team)
    survival = TargetSpec("survival")
    with pytest.raises(ConfigError, match="of survival"):
        SoftTargets().build(model_of("a", survival, 2), team_of(survival))
