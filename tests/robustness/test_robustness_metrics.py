"""Every metric beside scikit-learn's or torchmetrics' value, or a sum written out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torchmetrics.functional import classification as tm

from mmfuse import TargetSpec
from mmfuse.robustness import metrics
from mmfuse.robustness.metrics import HIGHER_IS_BETTER, MAIN_METRIC, resamples, score

ROWS = 83
SPECS = {
    "binary": TargetSpec("binary", classes=("no", "yes")),
    "multiclass": TargetSpec("multiclass", classes=("red", "green", "blue")),
    "multilabel": TargetSpec("multilabel", classes=("old", "new")),
    "regression": TargetSpec("regression", width=2, mean=(0.0, 0.0), std=(1.0, 1.0)),
}


def drawn(kind: str, rows: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions ``(N, K)`` that know something, with ties, and labels."""
    draw = np.random.default_rng(seed)
    if kind in ("binary", "multiclass"):
        count = len(SPECS[kind].classes)
        label = draw.integers(0, count, rows)
        logits = draw.normal(size=(rows, count)) + 1.2 * np.eye(count)[label]
        logits = np.round(logits, 1)
        chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return chance.astype(np.float32), label.astype(float)
    if kind == "multilabel":
        label = draw.integers(0, 2, (rows, 2)).astype(float)
        chance = 1 / (1 + np.exp(-np.round(draw.normal(size=(rows, 2)) + 1.5 * label - 0.7, 1)))
        return chance.astype(np.float32), label
    label = draw.normal(size=(rows, 2)) * [1, 4] + [3, -2]
    return (label + draw.normal(size=(rows, 2))).astype(np.float32), label


def found(kind: str, predicted: np.ndarray, label: np.ndarray) -> dict[str, float]:
    scores = score(SPECS[kind], predicted[None], label, bootstrap=0)
    return {s.metric: float(s.value[0]) for s in scores}


def reference(kind: str, predicted: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """The same metrics by the libraries that the field uses."""
    if kind == "regression":
        return {
            "mae": sk.mean_absolute_error(label, predicted),
            "rmse": math.sqrt(sk.mean_squared_error(label, predicted)),
            "r2": sk.r2_score(label, predicted),
        }
    chance, truth = torch.tensor(predicted), torch.tensor(label).long()
    if kind == "multilabel":
        columns = zip(chance.T.contiguous(), truth.T, strict=True)
        errors = [tm.binary_calibration_error(p, y, n_bins=15) for p, y in columns]
        return {
            "macro_f1": sk.f1_score(label, predicted > 0.5, average="macro"),
            "auroc": sk.roc_auc_score(label, predicted, average="macro"),
            "ece": float(torch.stack(errors).mean()),
            "brier": float(((predicted - label) ** 2).mean()),
            "nll": np.mean([sk.log_loss(y, p) for y, p in zip(label.T, predicted.T, strict=True)]),
        }
    chosen, count = predicted.argmax(axis=1), predicted.shape[1]
    wrong = (predicted - np.eye(count)[label.astype(int)]) ** 2
    normalised = predicted / predicted.sum(axis=1, keepdims=True, dtype=float)
    return {
        "accuracy": sk.accuracy_score(label, chosen),
        "balanced_accuracy": sk.balanced_accuracy_score(label, chosen),
        "macro_f1": sk.f1_score(label, chosen, average="macro"),
        "auroc": sk.roc_auc_score(label, predicted[:, 1])
        if count == 2
        else sk.roc_auc_score(label, predicted.astype(float), multi_class="ovr"),
        "ece": float(tm.multiclass_calibration_error(chance, truth, num_classes=count, n_bins=15)),
        "brier": sk.brier_score_loss(label, predicted[:, 1])
        if count == 2
        else float(wrong.sum(axis=1).mean()),
        "nll": sk.log_loss(label, normalised, labels=range(count)),
        "aurc": aurc(predicted.max(axis=1), chosen != label),
        # The best order puts the errors last.
        "e_aurc": aurc(predicted.max(axis=1), chosen != label)
        - aurc(-np.arange(len(label)), np.sort(chosen != label)),
    }


def aurc(confidence: np.ndarray, wrong: np.ndarray) -> float:
    """The mean over thresholds of the error of the rows that pass, by a loop."""
    return float(np.mean([wrong[confidence >= least].mean() for least in confidence]))


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("seed", range(3))
def test_every_metric_equals_the_field_s_own(kind: str, seed: int):
    predicted, label = drawn(kind, seed=seed)
    wanted = reference(kind, predicted, label)
    ours = found(kind, predicted, label)
    assert ours.keys() == wanted.keys()
    for metric, value in wanted.items():
        assert ours[metric] == pytest.approx(value, rel=1e-5, abs=1e-6), metric


@pytest.mark.parametrize("kind", SPECS)
def test_conditions_are_scored_each_on_its_own_predictions(kind: str):
    parts = [drawn(kind, seed=s)[0] for s in (0, 1, 2)]
    label = drawn(kind)[1]
    together = score(SPECS[kind], np.stack(parts), label, bootstrap=30)
    for c, part in enumerate(parts):
        alone = score(SPECS[kind], part[None], label, bootstrap=30)
        for a, b in zip(together, alone, strict=True):
            assert [a.value[c], a.low[c], a.high[c]] == pytest.approx(
                [b.value[0], b.low[0], b.high[0]], nan_ok=True
            )


def test_conditions_in_many_parts_score_the_same(monkeypatch):
    predicted, label = drawn("multiclass")
    stack = np.stack([predicted, predicted[::-1], np.roll(predicted, 3, axis=0)])
    whole = score(SPECS["multiclass"], stack, label, bootstrap=20)
    monkeypatch.setattr(metrics, "_CELLS", 1)
    for a, b in zip(whole, score(SPECS["multiclass"], stack, label, bootstrap=20), strict=True):
        assert a.metric == b.metric
        for x, y in ((a.value, b.value), (a.low, b.low), (a.high, b.high)):
            np.testing.assert_allclose(x, y, rtol=1e-9)


def weighted_scores(kind: str, predicted: np.ndarray, label: np.ndarray, weight: np.ndarray):
    return metrics._scores(SPECS[kind], predicted[None], label, weight)


@pytest.mark.parametrize("kind", SPECS)
def test_a_resample_scores_what_its_drawn_rows_score(kind: str):
    predicted, label = drawn(kind)
    weight = resamples(ROWS, 12, seed=3)
    scores = weighted_scores(kind, predicted, label, weight)
    for s in range(weight.shape[1]):
        rows = np.repeat(np.arange(ROWS), weight[:, s].astype(int))
        literal = found(kind, predicted[rows], label[rows])
        for metric, value in literal.items():
            # Areas are linear in the weights but for a term of order 1/N.
            terms = {"auroc": 2.0, "aurc": 5.0, "e_aurc": 5.0}
            slack = terms[metric] / ROWS if metric in terms and s else 1e-6
            assert scores[metric][0, s] == pytest.approx(value, abs=slack), metric


def test_the_interval_of_auroc_is_that_of_literal_resamples():
    predicted, label = drawn("binary", rows=300)
    ours = next(
        s for s in score(SPECS["binary"], predicted[None], label, 400) if s.metric == "auroc"
    )
    weight = resamples(300, 400)[:, 1:].astype(int)
    literal = [
        sk.roc_auc_score(label[rows], predicted[rows, 1])
        for rows in (np.repeat(np.arange(300), w) for w in weight.T)
    ]
    low, high = np.percentile(literal, [2.5, 97.5])
    assert ours.low[0] == pytest.approx(low, abs=0.1 * (high - low))
    assert ours.high[0] == pytest.approx(high, abs=0.1 * (high - low))


def test_intervals_are_percentiles_of_the_defined_resamples():
    predicted, label = drawn("multiclass", rows=6)
    spec = SPECS["multiclass"]
    literal: dict[str, list[float]] = {}
    for w in resamples(6, 50, seed=5)[:, 1:].T:
        for metric, value in weighted_scores("multiclass", predicted, label, w[:, None]).items():
            literal.setdefault(metric, []).append(value[0, 0])
    for s in score(spec, predicted[None], label, bootstrap=50, seed=5):
        wanted = np.nanpercentile(literal[s.metric], [2.5, 97.5])
        assert [s.low[0], s.high[0]] == pytest.approx(wanted.tolist(), abs=1e-12), s.metric


def test_resamples_draw_as_many_rows_as_there_are_and_follow_the_seed():
    weight = resamples(40, 25, seed=7)
    assert weight.shape == (40, 26)
    assert (weight[:, 0] == 1).all()
    assert (weight.sum(axis=0) == 40).all()
    assert np.array_equal(weight, resamples(40, 25, seed=7))
    assert not np.array_equal(weight[:, 1:], resamples(40, 25, seed=8)[:, 1:])


def test_many_rows_draw_fewer_resamples(monkeypatch):
    asked = []

    def watched(rows: int, count: int, seed: int) -> np.ndarray:
        asked.append(count)
        return np.ones((rows, 2))

    monkeypatch.setattr(metrics, "resamples", watched)
    for rows in (20_000, 40_000, 1_000_000):
        score(SPECS["binary"], np.full((1, rows, 2), 0.5, np.float32), np.zeros(rows))
    assert asked == [1000, 500, 100]


def test_no_bootstrap_gives_values_without_intervals():
    predicted, label = drawn("multiclass")
    for s in score(SPECS["multiclass"], predicted[None], label, bootstrap=0):
        assert np.isfinite(s.value).all()
        assert np.isnan([s.low, s.high]).all()


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_rows_of_unknown_label_are_left_out(kind: str):
    predicted, label = drawn(kind)
    unknown = label.copy()
    unknown[::4] = -1
    known = unknown >= 0
    assert found(kind, predicted, unknown) == found(kind, predicted[known], label[known])


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_each_output_counts_on_the_rows_where_it_is_known(kind: str):
    predicted, label = drawn(kind)
    unknown = label.copy()
    unknown[::4, 0] = np.nan
    unknown[1::3, 1] = np.nan
    unknown[5] = np.nan
    columns = []
    for k in range(2):
        rows = np.isfinite(unknown[:, k])
        # The same output twice averages to itself.
        twice = [0, 0] if k == 0 else [1, 1]
        columns.append(found(kind, predicted[rows][:, twice], unknown[rows][:, twice]))
    ours = found(kind, predicted, unknown)
    for metric, value in ours.items():
        first, second = columns[0][metric], columns[1][metric]
        wanted = (first + second) / 2
        if metric == "rmse":
            wanted = math.sqrt((first**2 + second**2) / 2)
        assert value == pytest.approx(wanted, rel=1e-9), metric


@pytest.mark.parametrize("kind", SPECS)
def test_without_a_labelled_row_every_metric_is_undefined(kind: str):
    predicted, label = drawn(kind)
    nothing = np.full_like(label, -1 if label.ndim == 1 else np.nan)
    scores = score(SPECS[kind], predicted[None], nothing)
    assert [s.metric for s in scores] == list(found(kind, predicted, label))
    assert all(np.isnan([s.value, s.low, s.high]).all() for s in scores)


def test_one_class_alone_leaves_auroc_undefined_and_the_rest_known():
    predicted, label = drawn("binary")
    ours = found("binary", predicted, np.ones_like(label))
    assert math.isnan(ours["auroc"])
    assert ours["accuracy"] == pytest.approx((predicted[:, 1] > 0.5).mean())


def test_a_constant_regression_target_leaves_r2_undefined():
    label = np.full((20, 1), 0.1) + 1e9
    spec = TargetSpec("regression")
    (r2,) = (s for s in score(spec, np.zeros((1, 20, 1), np.float32), label, 5) if s.metric == "r2")
    assert np.isnan([r2.value, r2.low, r2.high]).all()


def test_calibration_error_by_hand():
    # Bins of width 1/15: [0.6, 0.667) holds two rows, [0.933, 1] the third.
    chance = np.array([[0.4, 0.6], [0.35, 0.65], [0.95, 0.05]], np.float32)
    ours = found("binary", chance, np.array([1.0, 0.0, 0.0]))
    by_hand = 2 / 3 * abs(1 / 2 - (0.6 + 0.65) / 2) + 1 / 3 * abs(1 - 0.95)
    assert ours["ece"] == pytest.approx(by_hand, abs=1e-6)


def test_brier_score_by_hand():
    two = found("binary", np.array([[0.4, 0.6], [0.9, 0.1]], np.float32), np.array([1.0, 1.0]))
    assert two["brier"] == pytest.approx((0.4**2 + 0.9**2) / 2, abs=1e-6)
    three = found("multiclass", np.array([[0.2, 0.3, 0.5]], np.float32), np.array([0.0]))
    assert three["brier"] == pytest.approx(0.8**2 + 0.3**2 + 0.5**2, abs=1e-6)


def test_full_confidence_falls_into_the_last_bin():
    sure = found("binary", np.array([[0.0, 1.0], [1.0, 0.0]], np.float32), np.array([1.0, 1.0]))
    assert sure["ece"] == pytest.approx(0.5)


def test_every_metric_has_a_direction_and_every_kind_a_main_metric():
    for kind in SPECS:
        names = list(found(kind, *drawn(kind)))
        assert MAIN_METRIC[kind] in names
        assert HIGHER_IS_BETTER[MAIN_METRIC[kind]]
        assert set(names) <= HIGHER_IS_BETTER.keys()
