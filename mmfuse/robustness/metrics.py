"""Metrics of one target under every condition, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mmfuse.robustness import weighted
from mmfuse.spec import TargetSpec

#: Each metric, and whether more of it is better.
HIGHER_IS_BETTER = {
    "accuracy": True,
    "balanced_accuracy": True,
    "macro_f1": True,
    "auroc": True,
    "ece": False,
    "brier": False,
    "nll": False,
    "aurc": False,
    "e_aurc": False,
    "mae": False,
    "rmse": False,
    "r2": True,
    "c_index": True,
    "c_index_ipcw": True,
    "ibs": False,
    "r_at_1": True,
    "r_at_5": True,
    "r_at_10": True,
    "mrr": True,
    "map": True,
}
#: The metric that stands for each kind of target in importance and summaries. Each is
#: higher for the better model, and has a plain value for a model that knows nothing.
MAIN_METRIC = {
    "binary": "auroc",
    "multiclass": "accuracy",
    "multilabel": "auroc",
    "regression": "r2",
    "survival": "c_index",
}

# Rows times resamples: beyond it fewer resamples are drawn, whose intervals are narrow anyway.
_DRAWS = 2e7
_FEWEST = 100
# Rows times conditions scored at once, each of which takes some hundred bytes on the way.
_CELLS = 2**22


@dataclass(frozen=True)
class Score:
    """One metric under every condition.

    Args:
        metric: its name.
        value: ``(C,)``, NaN where undefined.
        low: lower end of the 95 % interval, NaN without bootstrap.
        high: upper end.
        rows: how many it is of.
    """

    metric: str
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    rows: int


def is_labelled(spec: TargetSpec, label: NDArray[np.float64]) -> NDArray[np.bool_]:
    """``(N,)`` True where the row's label is known, or some of its labels or values are."""
    if spec.kind in ("binary", "multiclass"):
        return label >= 0
    if spec.kind == "survival":
        return np.asarray(np.isfinite(label).all(axis=1))
    return np.asarray(np.isfinite(label.reshape(len(label), -1)).any(axis=1))


def affordable(rows: int, bootstrap: int) -> int:
    """``bootstrap``, or as many resamples of so many rows as memory should hold."""
    return min(bootstrap, max(_FEWEST, int(_DRAWS // rows)))


def resamples(rows: int, count: int, seed: int = 0) -> NDArray[np.float64]:
    """Weights ``(rows, 1 + count)``: ones, then how often each resample draws each row."""
    draw = np.random.default_rng(seed)
    weight = np.ones((1 + count, rows))
    for line in weight[1:]:  # one at a time: all draws together would take thrice the memory
        line[:] = np.bincount(draw.integers(rows, size=rows), minlength=rows)
    return np.ascontiguousarray(weight.T)


def score(
    spec: TargetSpec,
    predicted: NDArray[np.float32],
    label: NDArray[np.float64],
    bootstrap: int = 1000,
    seed: int = 0,
) -> list[Score]:
    """Every metric of one target; what has no label is left out.

    One class a row: accuracy, balanced accuracy, macro F1 (classes that neither labels nor
    predictions name left out), AUROC (macro over classes against the rest, those with rows
    on both sides), ECE of the chosen class (15 bins), Brier (binary between 0 and 1, else
    summed over classes, between 0 and 2), the negative log-likelihood in nats, and for
    answering only the surest rows AURC and E-AURC, see ``selective.areas``. Several labels:
    macro F1, AUROC, ECE, Brier and negative log-likelihood, each averaged over labels on the
    rows where that label is known. Regression: MAE, mean squared error and R2 likewise over
    values; RMSE is the root of that mean. Survival: Harrell's and Uno's concordance index and,
    unless the model is Cox's, which has no curve, the integrated Brier score.

    Args:
        spec: the target.
        predicted: probabilities or values, ``(C, N, K)``.
        label: ``(N,)`` or ``(N, K)``.
        bootstrap: resamples of rows behind each percentile interval, the same ones for
            every condition; 0 for no intervals. Above 20,000 rows at a thousand resamples
            fewer are drawn, at least 100.
        seed: of the resamples.

    Example:
        >>> found = score(TargetSpec("binary"), np.array([[[0.9, 0.1]]]), np.array([0.0]), 0)
        >>> [(s.metric, float(s.value[0])) for s in found][0]
        ('accuracy', 1.0)
    """
    found = resampled(spec, predicted, label, bootstrap, seed)
    rows = int(is_labelled(spec, label).sum())
    return [Score(name, *interval(values), rows) for name, values in found.items()]


def resampled(
    spec: TargetSpec,
    predicted: NDArray[np.float32],
    label: NDArray[np.float64],
    bootstrap: int = 1000,
    seed: int = 0,
) -> weighted.Scores:
    """Each metric on all rows and on each resample of them, ``(C, 1 + resamples)``.

    For numbers that are made of several scores, whose intervals cannot be made of theirs; the
    arguments are those of ``score``.
    """
    known = is_labelled(spec, label)
    label = label[known]
    rows = len(label)
    if not rows:
        return {m: np.full((len(predicted), 1), np.nan) for m in metric_names(spec)}
    weight = resamples(rows, affordable(rows, bootstrap), seed)
    size = max(_CELLS // rows, 1)
    parts = [
        _scores(spec, predicted[at : at + size][:, known], label, weight)
        for at in range(0, len(predicted), size)
    ]
    return {m: np.concatenate([p[m] for p in parts]) for m in parts[0]}


def mean_score(
    metric: str, value: NDArray[np.float64], bootstrap: int = 1000, seed: int = 0
) -> Score:
    """The mean over rows of each line, ``value`` (C, N); options as in ``score``.

    Lines share their resamples, so that the interval of a difference of two lines is that of
    paired rows.
    """
    rows = value.shape[1]
    if not rows:
        nothing = np.full(len(value), np.nan)
        return Score(metric, nothing, nothing, nothing, 0)
    weight = resamples(rows, affordable(rows, bootstrap), seed)
    return Score(metric, *interval(value @ weight / rows), rows)


def _scores(
    spec: TargetSpec,
    predicted: NDArray[np.float32],
    label: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> weighted.Scores:
    if spec.kind in ("binary", "multiclass"):
        return weighted.classes(predicted, label, weight)
    label = label.reshape(len(label), -1)
    if spec.kind == "survival":
        return weighted.survival(predicted, label, weight, spec.cuts)
    if spec.kind == "multilabel":
        return weighted.several_labels(predicted, label, weight)
    return weighted.values(predicted, label, weight)


def metric_names(spec: TargetSpec) -> list[str]:
    """The metrics' names, in order: those of one made-up row."""
    row = spec.predict(torch.zeros(1, 1, spec.out_dim)).numpy()
    values = 2 if spec.kind == "survival" else spec.out_dim
    label = np.zeros(1 if spec.kind in ("binary", "multiclass") else (1, values))
    return list(_scores(spec, row, label, np.ones((1, 1))))


def interval(
    found: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The value (first column) and its 95 % interval by the other columns that are defined.

    NaN ends without resamples.
    """
    value, drawn = found[:, 0], np.sort(found[:, 1:], axis=1)  # NaN sorts last
    count = (~np.isnan(drawn)).sum(axis=1)
    if not drawn.shape[1]:
        nothing = np.full(len(found), np.nan)
        return value, nothing, nothing
    low, high = (_percentile(drawn, count, share) for share in (0.025, 0.975))
    return value, low, high


def _percentile(
    ordered: NDArray[np.float64], count: NDArray[np.int64], share: float
) -> NDArray[np.float64]:
    """Linear percentile of the first ``count`` numbers of each line; NaN for none."""
    place = share * np.maximum(count - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    line = np.arange(len(ordered))
    return ordered[line, below] + (place - below) * (ordered[line, above] - ordered[line, below])
