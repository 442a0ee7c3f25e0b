"""Each score beside its equation, written out row by row in float64; what must not change it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import EmpiricalCovariance
from torch import nn

from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness.ood import (
    ASH,
    GEN,
    KNN,
    MSP,
    Energy,
    Mahalanobis,
    MaxLogit,
    ReAct,
    ViM,
    from_features,
)

ROWS, WIDTH, CLASSES = 60, 6, 4
DRAW = torch.Generator().manual_seed(0)
HEAD = nn.Linear(WIDTH, CLASSES, dtype=torch.float64).requires_grad_(False)
HEAD.weight.copy_(torch.randn(CLASSES, WIDTH, generator=DRAW))
HEAD.bias.copy_(torch.randn(CLASSES, generator=DRAW))
LABELS = torch.arange(ROWS) % (CLASSES + 1) - 1  # some unknown
TRAIN = torch.randn(ROWS, WIDTH, generator=DRAW).double() + LABELS.unsqueeze(1)
NEW = 2 * torch.randn(9, WIDTH, generator=DRAW).double()

SCORES = {
    "msp": MSP(),
    "energy": Energy(2.0),
    "max_logit": MaxLogit(),
    "gen": GEN(0.3, top=2),
    "react": ReAct(HEAD, 70),
    "ash": ASH(HEAD, 50),
    "knn": KNN(5),
    "mahalanobis": Mahalanobis(),
    "vim": ViM(HEAD, width=2),
}


def fitted(name: str):
    return SCORES[name].fit(TRAIN, HEAD(TRAIN), LABELS)


def probabilities(logits) -> list[float]:
    total = sum(math.exp(z) for z in logits)
    return [math.exp(z) / total for z in logits]


def energy(logits, t: float = 1.0) -> float:
    return -t * math.log(sum(math.exp(z / t) for z in logits))


def literal(name: str, h: torch.Tensor) -> float:
    """One row's score as its paper says it."""
    z = HEAD(h).tolist()
    if name == "msp":
        return 1 - max(probabilities(z))
    if name == "energy":
        return energy(z, 2.0)
    if name == "max_logit":
        return -max(z)
    if name == "gen":
        greatest = sorted(probabilities(z))[-2:]
        return sum(p**0.3 * (1 - p) ** 0.3 for p in greatest)
    if name == "react":
        ceiling = float(np.percentile(TRAIN.numpy(), 70))
        return energy(HEAD(h.new_tensor([min(v, ceiling) for v in h.tolist()])).tolist())
    if name == "ash":
        kept = sorted(range(WIDTH), key=lambda d: -abs(h[d]))[:3]
        before, after = h.abs().sum(), sum(abs(h[d]) for d in kept)
        shaped = torch.zeros_like(h)
        for d in kept:
            shaped[d] = h[d] * math.exp(before / after)
        return energy(HEAD(shaped).tolist())
    if name == "knn":
        directions = [r / r.norm() for r in TRAIN]
        return sorted(float((h / h.norm() - d).norm()) for d in directions)[4]
    if name == "mahalanobis":
        known, means = [], []
        for k in range(CLASSES):
            rows = TRAIN[k == LABELS]
            means.append(rows.mean(dim=0))
            known.append(rows - means[-1])
        precision = torch.linalg.inv(sum(r.T @ r for r in known) / sum(map(len, known)))
        return min(float((h - m) @ precision @ (h - m)) for m in means)
    # ViM, with the field's own covariance and numpy's eigenvectors.
    origin = -np.linalg.pinv(HEAD.weight.numpy()) @ HEAD.bias.numpy()
    covariance = EmpiricalCovariance(assume_centered=True).fit(TRAIN.numpy() - origin).covariance_
    values, vectors = np.linalg.eig(covariance)
    outside = vectors[:, np.argsort(values)[: WIDTH - 2]].real

    def residual(x) -> float:
        return float(np.linalg.norm((x.numpy() - origin) @ outside))

    top = np.mean([max(HEAD(r).tolist()) for r in TRAIN])
    alpha = top / np.mean([residual(r) for r in TRAIN])
    return alpha * residual(h) + energy(z)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_what_its_equation_says_row_by_row(name):
    found = fitted(name)(NEW, HEAD(NEW))
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([literal(name, h) for h in NEW], rel=1e-9)


@pytest.mark.parametrize("name", SCORES)
def test_a_row_s_score_knows_no_other_row(name):
    score = fitted(name)
    together = score(NEW, HEAD(NEW))
    apart = torch.cat([score(h[None], HEAD(h[None])) for h in NEW])
    torch.testing.assert_close(together, apart, rtol=1e-9, atol=1e-9)
    assert score(NEW[:0], HEAD(NEW[:0])).shape == (0,)


@pytest.mark.parametrize("name", SCORES)
def test_the_order_of_training_rows_changes_nothing(name):
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(3))
    expected = fitted(name)(NEW, HEAD(NEW))
    again = SCORES[name].fit(TRAIN[order], HEAD(TRAIN[order]), LABELS[order])
    torch.testing.assert_close(again(NEW, HEAD(NEW)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["msp", "gen"])
def test_a_constant_added_to_all_logits_changes_no_probability(name):
    z = HEAD(NEW)
    torch.testing.assert_close(SCORES[name](NEW, z + 7), SCORES[name](NEW, z))


@pytest.mark.parametrize("name", ["energy", "max_logit"])
def test_a_constant_added_to_all_logits_is_taken_from_the_score(name):
    z = HEAD(NEW)
    torch.testing.assert_close(SCORES[name](NEW, z + 7), SCORES[name](NEW, z) - 7)


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=6), st.randoms())
@settings(max_examples=50, deadline=None)
def test_classes_have_no_order(logits, random):
    turned = random.sample(logits, len(logits))
    for score in (MSP(), Energy(), MaxLogit(), GEN()):
        both = score(torch.zeros(2, 1), torch.tensor([logits, turned]))
        assert both[0].item() == pytest.approx(both[1].item(), rel=1e-9, abs=1e-12)


def test_sure_rows_do_not_tie():
    """1 - max p is below the rounding of float64 here, and still tells one from the other."""
    z = torch.tensor([[0.0, 40.0, 0.0], [0.0, 50.0, 0.0]], dtype=torch.float64)
    for score in (MSP(), GEN()):
        less_sure, more_sure = score(torch.zeros(2, 1), z)
        assert less_sure > more_sure > 0


def test_knn_and_lengths():
    """Directions alone count."""
    score = fitted("knn")
    torch.testing.assert_close(score(5 * NEW, HEAD(NEW)), score(NEW, HEAD(NEW)))


def test_knn_in_blocks_is_knn(monkeypatch):
    whole = fitted("knn")(NEW, HEAD(NEW))
    monkeypatch.setattr(from_features, "_AT_ONCE", 2 * ROWS)
    torch.testing.assert_close(fitted("knn")(NEW, HEAD(NEW)), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["mahalanobis"])
def test_an_invertible_map_of_the_features_changes_no_mahalanobis_distance(name):
    turn = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(5)).double()
    expected = fitted(name)(NEW, HEAD(NEW))
    turned = Mahalanobis().fit(TRAIN @ turn, HEAD(TRAIN), LABELS)(NEW @ turn, HEAD(NEW))
    torch.testing.assert_close(turned, expected, rtol=1e-7, atol=1e-7)


def test_a_direction_without_variance_does_not_count_for_mahalanobis():
    wide = torch.cat([TRAIN, torch.full((ROWS, 1), 3.0).double()], dim=1)
    score = Mahalanobis().fit(wide, HEAD(TRAIN), LABELS)
    expected = fitted("mahalanobis")(NEW, HEAD(NEW))
    found = score(torch.cat([NEW, torch.zeros(len(NEW), 1).double()], dim=1), HEAD(NEW))
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def test_a_class_with_one_row_has_its_mean_there():
    labels = LABELS.clone()
    labels[labels == 3] = -1
    labels[0] = 3
    score = Mahalanobis().fit(TRAIN, HEAD(TRAIN), labels)
    assert score(TRAIN[:1], HEAD(TRAIN[:1])).item() == pytest.approx(0, abs=1e-9)


def test_ash_of_features_without_sign_is_the_paper_s():
    h = NEW.abs()
    sums = h.sum(dim=1, keepdim=True)
    kept = h >= h.topk(3, dim=1).values[:, -1:]
    pruned = h * kept
    expected = -HEAD(pruned * (sums / pruned.sum(dim=1, keepdim=True)).exp()).logsumexp(dim=1)
    torch.testing.assert_close(ASH(HEAD, 50)(h, HEAD(h)), expected)


def test_rows_of_zeros_are_scored():
    nothing = torch.zeros(2, WIDTH, dtype=torch.float64)
    for name in SCORES:
        assert fitted(name)(nothing, HEAD(nothing)).isfinite().all(), name


@pytest.mark.parametrize("name", ["react", "knn", "mahalanobis", "vim"])
def test_what_learns_must_be_fitted(name):
    fresh = {"react": ReAct(HEAD), "knn": KNN(), "mahalanobis": Mahalanobis(), "vim": ViM(HEAD)}
    with pytest.raises(ConfigError, match=r"has not been fitted\. Call fit with the training rows"):
        fresh[name](NEW, HEAD(NEW))


def test_what_learns_nothing_needs_no_fit():
    for score in (MSP(), Energy(), MaxLogit(), GEN(), ASH(HEAD)):
        assert score(NEW, HEAD(NEW)).shape == (len(NEW),)


@pytest.mark.parametrize(
    ("features", "logits", "labels", "match"),
    [
        (TRAIN[:0], HEAD(TRAIN[:0]), LABELS[:0], "no training rows"),
        (TRAIN, HEAD(TRAIN), LABELS[:-1], "labels have shape"),
        (TRAIN[:-1], HEAD(TRAIN), LABELS, "59 rows of features, 60 of"),
        (TRAIN, HEAD(TRAIN)[:, :1], LABELS, "two classes or more"),
        (TRAIN * math.nan, HEAD(TRAIN), LABELS, "NaN or infinity"),
        (TRAIN, HEAD(TRAIN) * math.inf, LABELS, "NaN or infinity"),
        (TRAIN, HEAD(TRAIN), LABELS * 0 - 1, "no training row has a label"),
    ],
)
def test_rows_that_cannot_be_fitted_are_refused(features, logits, labels, match):
    with pytest.raises(DataError, match=match):
        Mahalanobis().fit(features, logits, labels)


def test_features_of_another_width_are_refused():
    with pytest.raises(DataError, match="fitted on features of width 6; these have 5"):
        fitted("knn")(NEW[:, :5], HEAD(NEW))
    with pytest.raises(DataError, match="the head reads 6 features; these have 5"):
        ViM(HEAD).fit(TRAIN[:, :5], HEAD(TRAIN), LABELS)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Energy(0), "temperature is 0"),
        (lambda: GEN(gamma=0), "gamma=0"),
        (lambda: GEN(top=0), "top=0"),
        (lambda: ReAct(HEAD, 101), "percentile is 101"),
        (lambda: ASH(HEAD, -1), "percentile is -1"),
        (lambda: KNN(0), "k is 0"),
        (lambda: ViM(HEAD, WIDTH), "width is 6; expected 0 to 5"),
        (lambda: ViM(nn.Sequential(HEAD)), "needs a linear head; found Sequential"),
    ],
)
def test_options_that_mean_nothing_are_refused(make, match):
    with pytest.raises(ConfigError, match=match):
        make()


def test_too_few_rows_for_the_neighbour_or_the_residual_are_refused():
    with pytest.raises(DataError, match="neighbour 61 among 60 training rows"):
        KNN(61).fit(TRAIN, HEAD(TRAIN), LABELS)
    flat = ViM(HEAD, width=2).origin + TRAIN[:, :2] @ torch.eye(2, WIDTH).double()
    with pytest.raises(DataError, match="no residual outside 2 directions"):
        ViM(HEAD, width=2).fit(flat, HEAD(flat), LABELS)


@pytest.mark.parametrize(("size", "width"), [(10, 5), (768, 512), (2048, 1000)])
def test_vim_keeps_as_many_directions_as_its_authors(size, width):
    assert ViM(nn.Linear(size, 3)).width == width
